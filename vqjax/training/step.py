"""The training step: pure, jitted, for any task and any number of players."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vqjax.ops.schedules import Schedule, as_schedule
from vqjax.training.experiment import Experiment
from vqjax.training.optim import moves, transformation
from vqjax.training.partition import shardings
from vqjax.training.state import TrainState
from vqjax.types import Batch, Context, TaskOutput, Tree

Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def active_at(experiment: Experiment, step: int) -> tuple[str, ...]:
    """The players updated in step `step` (from 0) and the loss terms that count, sorted. Both have
    one list: where a player and a term share a name, as "discriminator", the term trains it.
    """
    task = experiment.task
    players = {p for p in task.players if moves(experiment.optimizers[p], step)}
    terms = {
        name
        for name, player in task.terms.items()
        if player in players and step >= as_schedule(task.weights[name]).start
    }
    return tuple(sorted(players | terms))


def patterns(experiment: Experiment, first: int, last: int) -> dict[tuple[str, ...], int]:
    """Every value of `active` in steps first..last-1, each a program to compile, with the first
    step that has it.

    Alternating updates are periodic between two starts, so one period after each has all values.
    """
    optimizers = experiment.optimizers.values()
    starts = {first, *(o.start for o in optimizers)}
    starts |= {as_schedule(weight).start for weight in experiment.task.weights.values()}
    period = math.lcm(*(o.every for o in optimizers))
    first_steps: dict[tuple[str, ...], int] = {}
    for start in sorted(s for s in starts if first <= s < last):
        for step in range(start, min(start + period, last)):
            first_steps.setdefault(active_at(experiment, step), step)
    return first_steps


def weighted_sum(
    losses: Mapping[str, jax.Array],
    weights: Mapping[str, float | Schedule],
    multipliers: Mapping[str, jax.Array],
    expected: set[str],
    step: jax.Array,
) -> jax.Array:
    """The only place where a loss meets its weight: sum of weight(step) * multiplier * loss.

    Raises:
        ValueError: `losses` are not exactly the `expected` terms, or a multiplier has no loss.
    """
    if set(losses) != expected or not set(multipliers) <= expected:
        raise ValueError(
            f"the task has the losses {sorted(losses)} with multipliers {sorted(multipliers)}; "
            f"expected {sorted(expected)}"
        )
    total = jnp.zeros((), jnp.float32)
    for name in sorted(losses):
        total += as_schedule(weights[name])(step) * multipliers.get(name, 1.0) * losses[name]
    return total


def make_train_step(experiment: Experiment, mesh: Mesh | None = None) -> Step:
    """Builds `train_step(state, frozen, batch, *, active) -> (state, metrics)`, jitted.

    `active` is static: each value compiles a program of its own. The state is donated, and, with a
    `mesh`, returned with the same shardings (`vqjax.training.partition`), so that every program
    accepts what another returns.
    """
    gradients = make_gradients(experiment)
    update = make_update(experiment)

    def constrain(tree):
        if mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, shardings(tree, mesh))

    @partial(jax.jit, static_argnames="active", donate_argnums=0)
    def train_step(state: TrainState, frozen: Tree, batch: Batch, *, active: tuple[str, ...]):
        grads, loss, out = gradients(state, frozen, batch, active=active)
        new, metrics = update(state, constrain(grads), loss, out, active=active)
        return constrain(new), metrics

    return train_step


def make_gradients(experiment: Experiment) -> Callable[..., tuple[Tree, jax.Array, TaskOutput]]:
    """The first half of a step, `(state, frozen, batch, *, active) -> (gradients, loss, output)`:
    gradients of the moving players, the weighted loss, and the task's output.
    """
    task = experiment.network_task()

    def total(params, state, frozen, batch, rng, active, statistics):
        context = Context(rng, state.step, active, train=True, statistics=statistics)
        out = task(params, state.collections, frozen, batch, context)
        if out.collections is None:
            out = out.replace(collections=state.collections)
        expected = {t for t in task.terms if t in active and task.terms[t] in active}
        loss = weighted_sum(out.losses, task.weights, out.multipliers, expected, state.step)
        return loss, (loss, out)

    def gradients(state: TrainState, frozen: Tree, batch: Batch, *, active: tuple[str, ...]):
        moving = {p: state.params[p] for p in task.players if p in active}
        fixed = {p: v for p, v in state.params.items() if p not in moving}
        rng, _ = _keys(state)

        def differentiate(microbatch, index, statistics):
            def loss_of(params):
                key = jax.random.fold_in(rng, index)
                return total(
                    {**params, **fixed}, state, frozen, microbatch, key, active, statistics
                )

            return jax.grad(loss_of, has_aux=True)(moving)

        return _accumulate(differentiate, batch, experiment.accumulate)

    return gradients


def make_update(experiment: Experiment) -> Step:
    """The second half, `(state, gradients, loss, output, *, active) -> (state, metrics)`: the
    optimizers, the codebooks, the EMA of parameters; where loss or gradients are not finite, only
    the step goes on.
    """
    task = experiment.network_task()
    optimizers = {p: transformation(experiment.optimizers[p]) for p in task.players}

    def update(state: TrainState, grads: Tree, loss: jax.Array, out: TaskOutput, *, active):
        players = [p for p in task.players if p in active]
        new, norms = _apply(experiment, optimizers, state, grads, players)
        stepped = new.params
        params, collections = task.update(
            stepped, out.collections, out.statistics, _keys(state)[1], state.step
        )
        new = new.replace(params=params, collections=collections)
        new = new.replace(ema=_average(experiment.ema_decay, state, stepped, new, players))
        finite = jnp.all(jnp.isfinite(jnp.stack([loss, *norms.values()])))
        new = _keep_if(finite, new, state)
        metrics = {**out.losses, **out.metrics, "total": loss, "nonfinite": new.nonfinite}
        return new, metrics | {f"grad_norm/{p}": norm for p, norm in norms.items()}

    return update


def _keys(state: TrainState) -> jax.Array:
    """key[2] of this step: for its gradients, and for its update."""
    return jax.random.split(jax.random.fold_in(state.rng, state.step))


def _accumulate(differentiate: Callable, batch: Batch, parts: int) -> tuple[Tree, Any, TaskOutput]:
    """Gradients, loss and output of the whole batch, from `parts` microbatches of equal size. They
    are means, but for `statistics`, which add up.

    Microbatch j takes the rows i * parts + j, so that every device keeps its own rows. They are
    unrolled: on CPU a convolution's weight gradient inside a loop is tens of times slower.
    """
    if parts == 1:
        grads, (loss, out) = differentiate(batch, 0, {})
        return grads, loss, out
    summed, statistics = None, {}
    for j in range(parts):
        rows = {
            k: v.reshape(-1, parts, *v.shape[1:])[:, j] for k, v in batch.items()
        }  # [B / parts]
        grads, (loss, out) = differentiate(rows, j, statistics)
        statistics = out.statistics
        new = (grads, loss, out.losses, out.metrics)
        summed = new if summed is None else jax.tree.map(jnp.add, summed, new)
    grads, loss, losses, metrics = jax.tree.map(lambda v: v / parts, summed)
    return grads, loss, out.replace(losses=losses, metrics=metrics)


def _apply(
    experiment: Experiment,
    optimizers: Mapping[str, optax.GradientTransformation],
    state: TrainState,
    grads: Tree,
    players: list[str],
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The optimizers of the moving players; the norms of their gradients before clipping."""
    params, states, norms = dict(state.params), dict(state.optimizers), {}
    for player in players:
        norms[player] = optax.tree.norm(grads[player])
        updates, states[player] = optimizers[player].update(
            grads[player], state.optimizers[player], state.params[player]
        )
        rate = as_schedule(experiment.optimizers[player].learning_rate)(state.step)
        params[player] = jax.tree.map(
            lambda p, d, rate=rate: p - (rate * d).astype(p.dtype), params[player], updates
        )
    return state.replace(step=state.step + 1, params=params, optimizers=states), norms


def _average(
    decay: float | None, old: TrainState, stepped: Tree, new: TrainState, players: list[str]
) -> Tree:
    """Averages of the parameters that moved; the decay of step n is at most (1 + n) / (10 + n), so
    that the initial parameters soon lose their weight.

    Values that were replaced after the optimizer's step (`stepped`), such as a revived code, start
    a new average: halfway between its old and its new value a code would match no latent.
    """
    if decay is None:
        return old.ema
    d = jnp.minimum(decay, (1.0 + old.step) / (10.0 + old.step))

    def average(e: jax.Array, before: jax.Array, p: jax.Array) -> jax.Array:
        averaged = e + (1.0 - d).astype(e.dtype) * (p - e)
        # The same array: the task's update left it alone, and nothing need be compared.
        return averaged if p is before else jnp.where(p == before, averaged, p)

    return {
        player: jax.tree.map(average, ema, stepped[player], new.params[player])
        if player in players
        else ema
        for player, ema in old.ema.items()
    }


def _keep_if(finite: jax.Array, new: TrainState, old: TrainState) -> TrainState:
    """`new`, or else `old` one step on, with one more skipped step in a row."""

    def choose(a: Tree, b: Tree) -> Tree:
        return jax.tree.map(lambda x, y: jnp.where(finite, x, y), a, b)

    return new.replace(
        params=choose(new.params, old.params),
        collections=choose(new.collections, old.collections),
        optimizers=choose(new.optimizers, old.optimizers),
        ema=choose(new.ema, old.ema),
        nonfinite=jnp.where(finite, 0, old.nonfinite + 1),
    )
