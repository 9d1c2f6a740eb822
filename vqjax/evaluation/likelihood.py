"""Bounds on -log p(x) over the eval split, of runs whose latents have a prior.

`nll_bound` is the negative evidence lower bound, `nll_bound_K` its importance-weighted form, both
in nats per example, lower being better. The noise of an example is a pure function of its position
in the split and of the number of the draw: neither batch size nor devices change a number.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.sharding import Mesh

from vqjax import arguments
from vqjax.evaluation.base import check_not_empty, over_split
from vqjax.metrics import NegativeBound
from vqjax.ops.numerics import make_key
from vqjax.tasks.likelihood import check_bound, elbo, log_weights
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import batch_sharding, put_batch, replicated
from vqjax.types import Batch, Tree, UsageError

SEED = 0  # of the noise
ELBO_DRAW = 2**31 - 1  # the number of the draw that `nll_bound` uses; no importance sample has it
MAX_SAMPLES = 1_000_000
CHUNK_VALUES = 1 << 22  # of decoded examples at a time


def noise_of(positions: jax.Array, draw: int | jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal noise of the examples at `positions` of the split, float32[B, *shape].

    Args:
        positions: int32[B].
        draw: its number.
        shape: of one example's latents, (*s, D).
    """

    def one(position: jax.Array) -> jax.Array:
        key = jax.random.fold_in(make_key(SEED), position)
        return jax.random.normal(jax.random.fold_in(key, draw), shape, jnp.float32)

    return jax.vmap(one)(positions)


def with_positions(batch: Batch, inputs: str, positions: np.ndarray) -> Batch:
    """The arrays of a host's batch that a bound needs, and its examples' positions in the split."""
    return {inputs: batch[inputs], "mask": batch["mask"], "eval_position": positions}


def elbo_at(
    task: Any, params: Tree, collections: Tree, batch: Batch, latents: jax.Array
) -> jax.Array:
    """The evidence lower bound of each example of a batch `with_positions`, float[B]."""
    shape = (*latents.shape[1:-1], task.tokenizer.quantizer.codebook_dim)
    noise = noise_of(batch["eval_position"], ELBO_DRAW, shape)
    return elbo(task, params, collections, batch[task.inputs], latents, noise)


def log_mean_exp(log_sums: list[np.ndarray], count: int) -> np.ndarray:
    """log(sum of exp / count) along the chunks, in float64: arXiv 1509.00519, eq. 8.

    Args:
        log_sums: float[B] each, log of the sum of exp over a chunk.
        count: of samples in all chunks.
    """
    return np.logaddexp.reduce(np.stack(log_sums).astype(np.float64), axis=0) - math.log(count)


class ImportanceEvaluator:
    """The importance-weighted bound over the whole eval split, `nll_bound_<samples>`.

    log p(x) >= E log (1/K) sum_k p(x, z_k) / q(z_k | x) (arXiv 1509.00519, eq. 8). The samples of
    an example go through the decoder in chunks; sums are logarithms, merged in float64. Every
    example counts once, padding never.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, samples: int) -> None:
        """Touches neither data nor devices.

        Raises:
            UsageError: the run's latents have no prior, or `samples` is out of range.
        """
        self._task = experiment.network_task()
        check_bound(self._task)
        samples = arguments.whole("samples", samples)
        if not 1 <= samples <= MAX_SAMPLES:
            raise UsageError(f"{samples} importance samples: wanted 1 to {MAX_SAMPLES:,}")
        self._experiment = experiment
        self._mesh = mesh
        self._samples = samples
        self._encode = jax.jit(
            self._latents, out_shardings=(batch_sharding(mesh), replicated(mesh))
        )
        self._chunk = jax.jit(self._log_sum, static_argnames="size", out_shardings=replicated(mesh))

    def __call__(self, params: Tree, collections: Tree) -> dict[str, float]:
        """Evaluates once over the split.

        Raises:
            DataError: the eval split is empty.
        """
        state = NegativeBound.empty()
        batches = over_split(self._experiment, self._mesh)
        # Shown on a terminal only, and only if it takes long.
        bar = {"desc": "importance samples", "unit": "batch", "delay": 2.0, "disable": None}
        for positions, batch in tqdm.tqdm(batches, leave=False, **bar):
            arrays = with_positions(batch, self._task.inputs, positions)
            put = put_batch(arrays, self._mesh)
            with jax.set_mesh(self._mesh):  # for layers that work on each device's own rows
                latents, mask = self._encode(params, collections, put)
                bound = self._bound(params, collections, put, latents)
            counted = np.asarray(mask)
            bound = bound[counted]
            state = state.merge(NegativeBound(-bound.sum(), counted.sum()))
        check_not_empty(state.count, self._experiment)
        return {f"nll_bound_{self._samples}": state.compute()["nll_bound"]}

    def _latents(self, params: Tree, collections: Tree, batch: Batch) -> tuple[Any, Any]:
        tokens = self._task.encode(params, collections, batch[self._task.inputs])
        return tokens.z, batch["mask"]

    def _bound(
        self, params: Tree, collections: Tree, batch: Batch, latents: jax.Array
    ) -> np.ndarray:
        """float64[B], in equal chunks of samples."""
        most = max(1, CHUNK_VALUES // max(batch[self._task.inputs].size, 1))
        size = -(-self._samples // -(-self._samples // most))
        sums = [
            self._chunk(params, collections, batch, latents, np.int32(first), size=size)
            for first in range(0, self._samples, size)
        ]
        return log_mean_exp(jax.device_get(sums), self._samples)

    def _log_sum(
        self,
        params: Tree,
        collections: Tree,
        batch: Batch,
        latents: jax.Array,
        first: jax.Array,
        *,
        size: int,
    ) -> jax.Array:
        """log of the sum of the importance weights of draws first .. first + size - 1, float[B]."""
        shape = (*latents.shape[1:-1], self._task.tokenizer.quantizer.codebook_dim)
        draws = first + jnp.arange(size)
        noise_at = functools.partial(noise_of, batch["eval_position"], shape=shape)
        noise = jax.vmap(noise_at, out_axes=1)(draws)  # [B, size, *s, D]
        x = batch[self._task.inputs]
        weights = log_weights(self._task, params, collections, x, latents, noise)  # [B, size]
        counts = jnp.broadcast_to(draws < self._samples, weights.shape)  # the last chunk is padded
        return jax.nn.logsumexp(jnp.where(counts, weights, -jnp.inf), axis=1)


def protocol(experiment: Experiment) -> tuple[str, ...]:
    """For a VAE: what the bounds are of, and a line per random transform of the data."""
    likelihoods = [type(v).__name__ for v in experiment.task.losses if hasattr(v, "log_prob")]
    lines = [
        "nll_bound: nats per example, lower is better; one draw of the latents per example, exact "
        f"KL, {likelihoods[0]}"
    ]
    transforms = getattr(experiment.data, "augment", ())
    lines += [f"data {t.protocol}" for t in transforms if hasattr(t, "protocol")]
    return tuple(lines)
