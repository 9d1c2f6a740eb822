"""Which part of the training step takes how much of it.

Each part is a program of its own, made of the same functions as the step, that does what the step
does in this part: its forward pass and its gradient, from given inputs and a given gradient of its
outputs. Its share is its time by the step's, medians of rounds in which all take turns. So nothing
is subtracted, no share can be negative, and their sum, which is reported, is a check: it is 1 only
as far as the parts make up the step. (Parts in the step may be fused across their borders; that,
and what the parts write down for each other, is the difference.)
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.sharding import Mesh

from vqjax.benchmark.stopwatch import take_turns
from vqjax.ops.schedules import as_schedule
from vqjax.tasks import PriorTask, TokenizerTask
from vqjax.tasks.compared import compare
from vqjax.tasks.tokenizer import DISCRIMINATOR, GENERATOR, TOKENIZER, normalize
from vqjax.training.experiment import Experiment
from vqjax.training.partition import shardings
from vqjax.training.state import TrainState
from vqjax.training.step import make_gradients, make_update
from vqjax.types import Batch, Tree

STEP = "step"
Parts = dict[str, Callable[[], Any]]


def measure_shares(
    experiment: Experiment,
    state: TrainState,
    frozen: Tree,
    batch: Batch,
    program: Any,
    active: tuple[str, ...],
    mesh: Mesh,
    seconds: float,
) -> tuple[TrainState, dict[str, float]]:
    """Times the step and its parts.

    Args:
        state: given away; the one that comes back takes its place.
        program: the compiled step of `active`.
        seconds: to spend, compiling not counted.

    Returns:
        The state, and {part: share of the step}: of a tokenizer "encoder", "quantizer", "decoder",
        "losses", "discriminator" and "optimizer" (with what the task does after it: codebooks,
        averages); of a prior "tokenizer", "gradient" and "optimizer"; of others, and where batches
        are accumulated from several, "gradient" and "optimizer".
    """
    with jax.set_mesh(mesh):
        gradients = jax.jit(make_gradients(experiment), static_argnames="active")
        update = jax.jit(make_update(experiment), static_argnames="active", donate_argnums=0)
        made = _zeros(make_gradients(experiment), state, frozen, batch, active, mesh)
        here = [jax.tree.map(jnp.copy, state)]  # parts keep looking at the old one

        def step():
            here[0], metrics = program(here[0], frozen, batch)
            return metrics

        def optimizer():
            here[0], metrics = update(here[0], *made, active=active)
            return metrics

        parts = _gradient_parts(experiment, state, frozen, batch, active)
        if parts is None:
            parts = {"gradient": lambda: gradients(state, frozen, batch, active=active)}
        calls = {**parts, "optimizer": optimizer, STEP: step}
        for call in calls.values():
            jax.block_until_ready(call())
        times = take_turns(calls, seconds)
    shares = {name: float(np.median(times[name] / times[STEP])) for name in calls if name != STEP}
    return here[0], shares


def _zeros(
    gradients: Callable,
    state: TrainState,
    frozen: Tree,
    batch: Batch,
    active: tuple[str, ...],
    mesh: Mesh,
) -> Any:
    """Gradients, loss and output of no value: an update costs what it costs."""
    shapes = jax.eval_shape(lambda *args: gradients(*args, active=active), state, frozen, batch)
    make = jax.jit(
        lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
        out_shardings=shardings(shapes, mesh),
    )
    return make()


def _gradient_parts(
    experiment: Experiment, state: TrainState, frozen: Tree, batch: Batch, active: tuple[str, ...]
) -> Parts | None:
    task = experiment.network_task()
    if experiment.accumulate > 1:
        return None
    if isinstance(task, TokenizerTask):
        return _TokenizerParts(task, state, frozen, batch, active).calls()
    if isinstance(task, PriorTask) and task.inputs in batch:
        return _prior_parts(experiment, task, state, frozen, batch, active)
    return None


def _prior_parts(
    experiment: Experiment,
    task: PriorTask,
    state: TrainState,
    frozen: Tree,
    batch: Batch,
    active: tuple[str, ...],
) -> Parts:
    tokenize = jax.jit(task.tokens)
    gradients = jax.jit(make_gradients(experiment), static_argnames="active")
    rest = {name: array for name, array in batch.items() if name != task.inputs}
    tokens = rest | tokenize(frozen, batch)
    return {
        "tokenizer": lambda: tokenize(frozen, batch),
        "gradient": lambda: gradients(state, frozen, tokens, active=active),
    }


class _TokenizerParts:
    """The parts of a `TokenizerTask`'s gradient; each method is one program.

    For the gradient of what comes after a part stands what the part itself gives: it has the right
    shape, and no compiler can foresee it.

    Args:
        task: its parts are taken from it, as its step composes them.
        active: of the step. A tokenizer that rests has no gradients, here either.
    """

    def __init__(
        self,
        task: TokenizerTask,
        state: TrainState,
        frozen: Tree,
        batch: Batch,
        active: tuple[str, ...],
    ) -> None:
        self._task, self._state, self._frozen, self._active = task, state, frozen, active
        self._network = task.tokenizer
        self._moves = TOKENIZER in active
        self._x = batch[task.inputs]

    def calls(self) -> Parts:
        """The programs, with their inputs, which come from one another."""
        state, frozen, x = self._state, self._frozen, self._x
        mine, kept, step = state.params[TOKENIZER], state.collections[TOKENIZER], state.step
        encoder, quantizer, decoder = map(jax.jit, (self._encode, self._quantize, self._decode))
        losses, discriminator = jax.jit(self._lose), jax.jit(self._judge)
        z = encoder(mine, kept, x)[0]
        z_q = quantizer(mine, kept, z, state.rng, step)[0]
        logits, h = decoder(mine, kept, z_q)[:2]
        parts = {
            "encoder": lambda: encoder(mine, kept, x),
            "quantizer": lambda: quantizer(mine, kept, z, state.rng, step),
            "decoder": lambda: decoder(mine, kept, z_q),
            "losses": lambda: losses(frozen, x, logits, step),
        }
        if {GENERATOR, DISCRIMINATOR} & set(self._active):
            last, judge = mine["decoder"]["to_output"], state.params[DISCRIMINATOR]
            parts["discriminator"] = lambda: discriminator(judge, last, frozen, x, h, logits, step)
        return parts

    def _encode(self, mine: Tree, kept: Tree, x: jax.Array):
        own, rest = _divide(mine, ("encoder", "pre_quant"))

        def latents(own):
            variables = {"params": {**rest, **own}, **kept}
            return self._network.apply(variables, normalize(x), method="latents")

        if not self._moves:
            return latents(own), ()
        z, pull = jax.vjp(latents, own)
        return z, pull(z)

    def _quantize(self, mine: Tree, kept: Tree, z: jax.Array, key: jax.Array, step: jax.Array):
        own, rest = _divide(mine, ("quantizer",))

        def codes(own, z):
            quantized, mutated = self._network.apply(
                {"params": {**rest, **own}, **kept, "statistics": {}},
                z,
                rngs={"quantizer": key},
                mutable=["statistics"],
                method=lambda network, z: network.quantizer(z, train=True, step=step),
            )
            losses = {k: v for k, v in quantized.losses.items() if k in self._active}
            return (quantized.z_q, self._weighted(losses, step)), mutated

        if not self._moves:
            return codes(own, z)[0]
        (z_q, loss), pull, statistics = jax.vjp(codes, own, z, has_aux=True)
        return z_q, pull((z_q, jnp.ones_like(loss))), statistics

    def _decode(self, mine: Tree, kept: Tree, z_q: jax.Array):
        own, rest = _divide(mine, ("decoder", "post_quant"))

        def decoded(own, z_q):
            variables = {"params": {**rest, **own}, **kept}
            h = self._network.apply(variables, z_q, method="to_features")
            return self._last(own["decoder"]["to_output"], h), h

        if not self._moves:
            return (*decoded(own, z_q), ())
        logits, pull, h = jax.vjp(decoded, own, z_q, has_aux=True)
        return logits, h, pull(logits)

    def _last(self, last: Tree, h: jax.Array) -> jax.Array:
        variables = {"params": {"to_output": last}}
        return self._network.decoder.apply(variables, h, method=lambda m, h: m.to_output(h))

    def _lose(self, frozen: Tree, x: jax.Array, logits: jax.Array, step: Any):
        def loss(logits):
            return self._reconstruction(frozen, normalize(x), logits, step)

        return jax.value_and_grad(loss)(logits) if self._moves else self._network.link(logits)

    def _reconstruction(self, frozen: Tree, x: jax.Array, logits: jax.Array, step: Any):
        x_hat = self._network.link(logits)
        losses = self._task.losses
        terms = compare(losses, frozen, x, x_hat, logits, self._active)
        return self._weighted(terms, step)

    def _weighted(self, losses: Mapping[str, jax.Array], step: Any) -> jax.Array:
        weights = self._task.weights
        terms = (as_schedule(weights[name])(step) * value for name, value in losses.items())
        return sum(terms, start=jnp.zeros((), jnp.float32))

    def _judge(
        self, judge: Tree, last: Tree, frozen: Tree, x: Any, h: Any, logits: jax.Array, step: Any
    ):
        """Both players' adversarial terms, with the adaptive weight, and their gradients."""
        task, x = self._task, normalize(x)
        apply, link = task.discriminator.apply, self._network.link

        def fooled(logits):
            fake = apply({"params": stop_gradient(judge)}, link(logits))
            return task.adversarial.generator(fake)

        def terms(judge, logits):
            losses = {}
            if GENERATOR in self._active and self._moves:
                losses[GENERATOR] = fooled(logits)
                if task.adaptive is not None:
                    nll = lambda v: self._reconstruction(frozen, x, v, step)  # noqa: E731
                    losses[GENERATOR] *= task.adaptive(self._last, last, h, nll, fooled)
            if DISCRIMINATOR in self._active:
                fake = apply({"params": judge}, stop_gradient(link(logits)))
                real = apply({"params": judge}, x)
                losses[DISCRIMINATOR] = task.adversarial.discriminator(real, fake)
            return self._weighted(losses, step)

        moving = [i for i, p in enumerate((DISCRIMINATOR, TOKENIZER)) if p in self._active]
        return jax.value_and_grad(terms, tuple(moving))(judge, logits)


def _divide(tree: Mapping[str, Tree], names: tuple[str, ...]) -> tuple[dict, dict]:
    """The named branches, and the rest."""
    own = {name: tree[name] for name in names if name in tree}
    return own, {name: branch for name, branch in tree.items() if name not in own}
