"""Which part of the training step takes how much of it.

Each part is a program of its own, made of the same functions as the step, that does what the step
does in this part: its forward pass and its gradient, from inputs and a gradient of its
outputs. Its share is its time by the step's, medians of rounds in which all take turns. So nothing
is subtracted, no share can be negative, and their sum, which is reported, is a check: it is 1 only
as far as the parts make up the step. (Parts in the step may be fused across their borders; that,
and what the parts write down for each other, is the difference.)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.benchmark.stopwatch import take_turns
from vqjax.training.experiment import Experiment
from vqjax.training.partition import shardings
from vqjax.training.state import TrainState
from vqjax.training.step import make_gradients, make_update
from vqjax.types import Batch, Context, Tree

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
        state: donated; the one that is returned replaces it.
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
        zeros = _zeros(make_gradients(experiment), state, frozen, batch, active, mesh)
        holder = [jax.tree.map(jnp.copy, state)]  # parts keep looking at the old one

        def step():
            holder[0], metrics = program(holder[0], frozen, batch)
            return metrics

        def optimizer():
            holder[0], metrics = update(holder[0], *zeros, active=active)
            return metrics

        parts = _gradient_parts(experiment, state, frozen, batch, active)
        parts = parts or {"gradient": lambda: gradients(state, frozen, batch, active=active)}
        calls = {**parts, "optimizer": optimizer, STEP: step}
        for call in calls.values():
            jax.block_until_ready(call())
        times = take_turns(calls, seconds)
    shares = {name: float(np.median(times[name] / times[STEP])) for name in calls if name != STEP}
    return holder[0], shares


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
) -> Parts:
    if experiment.accumulate > 1:
        return {}
    context = Context(state.rng, state.step, active, train=True)
    return experiment.network_task().parts(state.params, state.collections, frozen, batch, context)
