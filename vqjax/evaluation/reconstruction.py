"""How well a tokenizer reconstructs the eval split, in numbers and in one sheet.

The training loop and `vqjax evaluate` call the same object, so their numbers agree.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, merged, over_split
from vqjax.evaluation.diversity import COMPARED, sample_diversity
from vqjax.evaluation.likelihood import elbo_at, protocol, with_positions
from vqjax.media.gallery import Gallery
from vqjax.metrics import (
    AbsoluteError,
    CodebookCounts,
    ExampleMean,
    HighFrequency,
    NegativeBound,
    SquaredError,
    State,
    StructuralSimilarity,
)
from vqjax.numbers import ordered
from vqjax.ops.numerics import make_key
from vqjax.tasks.base import normalize
from vqjax.tasks.likelihood import has_bound
from vqjax.tasks.reconstruction_terms import distances
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Level, Tree

SHOWN = 16  # examples on the sheet: the first of the eval split
IMAGE_RANK = 4  # [B, H, W, C]


def states_of(x: jax.Array, x_hat: jax.Array, mask: jax.Array) -> dict[str, State]:
    """The metrics of one batch, [B, *S, C] in [-1, 1]; those of images only for images."""
    states: dict[str, State] = {
        "error": SquaredError.of(x, x_hat, mask),
        "absolute": AbsoluteError.of(x, x_hat, mask),
    }
    if x.ndim == IMAGE_RANK:
        states["structure"] = StructuralSimilarity.of(x, x_hat, mask)
        states["detail"] = HighFrequency.of(x, x_hat, mask)
    return states


def numbers_of(states: dict[str, State], levels: tuple[Level, ...]) -> dict[str, float]:
    """The numbers of merged states; `/level` is added to names where there are several levels."""
    numbers: dict[str, float] = {}
    names = {f"codes {level.name}": f"/{level.name}" for level in levels if len(levels) > 1}
    for key, state in states.items():
        numbers |= {name + names.get(key, ""): v for name, v in state.compute().items()}
    return ordered(numbers)  # `jit` sorts the keys of what it returns


class ReconstructionEvaluator:
    """Reconstructs the whole eval split; every example counts once, padding never.

    `psnr` (dB over all values in [0, 1]), `mse`, `l1`, for images `ssim` and
    `high_frequency_ratio`, and per level of tokens `codebook_usage` and `perplexity` (with
    `/level` where there are several): see `vqjax.metrics`. Where the latents have a prior and the
    losses a likelihood, also `nll_bound`, see `vqjax.evaluation.likelihood`; where the losses have
    LPIPS, `lpips` in float32; where the latents have a prior, `sample_diversity` of `COMPARED`
    samples, see `vqjax.evaluation.diversity`; and the task's own `metrics`. Numbers that are not
    defined on these data are left out.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree | None = None) -> None:
        """Touches neither data nor devices; programs compile at the first call.

        Args:
            frozen: arrays of losses; numbers whose arrays are missing are left out.
        """
        self._frozen = frozen or {}
        self._losses = experiment.task.losses  # in float32, whatever trained
        self._metrics = experiment.task.metrics
        self._experiment = experiment
        self._task = experiment.network_task()
        self._mesh = mesh
        # Small results are replicated: every host reads the same numbers.
        self._program = jax.jit(self._batch_states, out_shardings=replicated(mesh))
        self._has_prior = self._task.has_prior
        self._num_originals = SHOWN  # originals to keep
        if self._has_prior:
            self._num_originals = max(SHOWN, COMPARED)
            self._sample = jax.jit(
                self._task.sample_prior, static_argnames="shape", out_shardings=replicated(mesh)
            )

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over the split.

        Args:
            params: {player: tree}, the raw or the averaged ones.
            collections: {player: {collection: tree}}.

        Raises:
            DataError: the eval split is empty.
        """
        states: dict[str, State] = {}
        pending: dict[str, State] = {}
        originals: list[np.ndarray] = []
        reconstructions: list[np.ndarray] = []
        for positions, batch in over_split(self._experiment, self._mesh):
            put = put_batch(with_positions(batch, self._task.inputs, positions), self._mesh)
            with jax.set_mesh(self._mesh):  # for layers that work on each device's own rows
                new, shown = self._program(params, collections, self._frozen, put)
            states, pending = merged(states, pending), new  # one behind: the device never waits
            if sum(map(len, originals)) < self._num_originals:
                counted, x, x_hat = jax.device_get(shown)
                originals.append(x[counted])
                reconstructions.append(x_hat[counted])
        states = merged(states, pending)
        check_not_empty(sum(map(len, originals)), self._experiment)
        x, x_hat = (np.concatenate(part) for part in (originals, reconstructions))
        numbers = numbers_of(states, self._task.token_layout(x.shape[1:]))
        if self._has_prior and len(x) > 1:
            numbers["sample_diversity"] = self._diversity(params, collections, x[:COMPARED])
        shown = {"originals": x[:SHOWN], "reconstructions": x_hat[:SHOWN]}
        spec = self._experiment.data.example_spec()[self._task.inputs]
        gallery = Gallery(shown, spec.shown_as, spec.rate)
        lines = protocol(self._experiment) if has_bound(self._experiment.task) else ()
        return Evaluation(numbers, gallery, lines)

    def _diversity(self, params: Tree, collections: Tree, originals: np.ndarray) -> float:
        """Of the samples that `Run.sample` draws by default."""
        keys = jax.vmap(lambda i: jax.random.fold_in(make_key(0), i))(np.arange(COMPARED))
        samples = self._sample(params, collections, keys, shape=originals.shape[1:])
        return sample_diversity(np.asarray(samples), originals)

    def _batch_states(self, params: Tree, collections: Tree, frozen: Tree, batch: Batch) -> Any:
        raw, mask = batch[self._task.inputs], batch["mask"]
        tokens = self._task.encode(params, collections, raw)
        x_hat = self._task.decode_latents(params, collections, tokens.z_q)
        x = normalize(raw)
        states = states_of(x, x_hat.astype(x.dtype), mask)
        shown = jnp.clip(x_hat.astype(x.dtype), -1.0, 1.0)  # as for the other metrics
        for name, distance in distances(self._losses, frozen, x, shown).items():
            states[f"distance {name}"] = ExampleMean.of(name, distance, mask)
        for index, metric in enumerate(self._metrics):
            states[f"metric {index:03d}"] = ExampleMean.of(metric.name, metric(x, shown), mask)
        if has_bound(self._task):
            bound = elbo_at(self._task, params, collections, batch, tokens.z)
            states["bound"] = NegativeBound.of(bound, mask)
        levels = self._task.token_layout(raw.shape[1:])
        for level in levels if tokens.indices else ():
            states[f"codes {level.name}"] = CodebookCounts.of(
                tokens.indices[level.name], level.codebook_size, mask
            )
        first = slice(self._num_originals)
        return states, (mask[first], x[first], x_hat[first])
