"""How well a prior predicts the tokens of the eval split, and samples of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, over_split
from vqjax.media.gallery import Gallery
from vqjax.media.stream_gallery import StreamGallery
from vqjax.ops.numerics import make_key
from vqjax.sampling import Guidance, TokenSampling
from vqjax.tasks.base import LENGTH
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Level, Tree

SAMPLES = 64  # in the gallery
COLUMNS = 8
SOUNDS = 16  # of them, where they are sound


def _count(cond: Tree) -> int:
    return len(jax.tree.leaves(cond)[0])


def first_samples(*arrays: np.ndarray) -> np.ndarray:
    """`SAMPLES` rows of the batches' arrays, in turn where there are fewer."""
    return np.resize(np.concatenate(arrays), (SAMPLES, *arrays[0].shape[1:]))


class Totals(NamedTuple):
    """Sums over the examples of the eval split.

    Attributes:
        nats: of -log p, or of a bound on it.
        examples: how many there are.
        tokens: that they have, as `PriorEvaluator.sizes` counts them.
        values: likewise.
    """

    nats: float
    examples: float
    tokens: float
    values: float


class PriorEvaluator:
    """`nats_per_token`: mean of -log p over all tokens of the eval split, or of a bound on it
    (`Prior.is_bound`); `bits_per_dim`: the same per value of an example. Where clips end, tokens
    and values are those of the clips, of which each also has the end itself as a token, and
    `nats_per_clip` is the mean over clips; of a clip that is longer than the window, its beginning
    counts, and no end. The gallery has `SAMPLES` samples; of a conditional
    prior under the conditions of the first examples of the split.

    A subclass may count and show otherwise, by `sizes`, `numbers` and `gallery`.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree) -> None:
        self._experiment, self._mesh = experiment, mesh
        self._task = experiment.network_task()
        self._frozen = frozen
        sharding = replicated(mesh)
        self._sum = jax.jit(self._batch_sum, out_shardings=sharding)
        self._cond = jax.jit(self._task.cond_of, out_shardings=sharding)
        self._sample = jax.jit(self._draw, static_argnames="levels", out_shardings=sharding)

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over the split.

        Raises:
            DataError: the eval split is empty, or holds tokens or conditions out of range.
        """
        condition = self._task.prior.condition
        sums, levels = np.zeros(len(Totals._fields), np.float64), ()
        conditions: list[Tree] = []
        for positions, batch in over_split(self._experiment, self._mesh):
            levels = self._task.levels_of({k: a.shape[1:] for k, a in batch.items()})
            put = put_batch({**batch, "eval_position": positions}, self._mesh)
            with jax.set_mesh(self._mesh):
                own = self._sum(params, self._frozen, put)
            sums += [float(value) for value in own]
            if condition is not None and sum(map(_count, conditions)) < SAMPLES:
                conditions.append(jax.device_get(self._cond(put)))  # of all hosts' rows
        totals = Totals(*sums.tolist())
        check_not_empty(int(totals.examples), self._experiment)
        with jax.set_mesh(self._mesh):
            cond = jax.tree.map(first_samples, *conditions) if conditions else None
            samples, lengths = self._sample(params, self._frozen, cond, levels=levels)
            samples, lengths = np.asarray(samples), np.asarray(lengths)
        numbers = self.numbers(totals, levels, samples.shape[1:])
        return Evaluation(numbers, self.gallery(samples, lengths))

    def sizes(self, batch: Batch, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        """How many tokens and values the examples of a batch have, [B] each, where they end.

        Args:
            batch: on the device.
            weights: of the task's objective, [B, T].
        """
        length = batch[LENGTH] if self._task.ends else jnp.zeros(len(weights), jnp.int32)  # [B]
        return weights.sum(axis=1), length

    def numbers(
        self, totals: Totals, levels: tuple[Level, ...], shape: tuple[int, ...]
    ) -> dict[str, float]:
        """The result of the evaluation; `shape`: (*S, C) of a sample."""
        nats = totals.nats / totals.examples
        if self._task.ends:
            tokens = totals.tokens / totals.examples
            values = totals.values / totals.examples * shape[-1]
            numbers = {"nats_per_token": nats / tokens, "nats_per_clip": nats}
        else:
            tokens, values = self._task.network(levels).order.length, np.prod(shape)
            numbers = {"nats_per_token": nats / tokens}
        return numbers | {"bits_per_dim": nats / np.log(2.0) / float(values)}

    def gallery(self, samples: np.ndarray, lengths: np.ndarray) -> Gallery | StreamGallery:
        """Samples [n, *S, C], and how long each of them is, int32[n], to look at."""
        specs = self._task.tokenizer.inputs or {}  # of a set of tokens, too
        specs = {**specs, **self._experiment.data.example_spec()}
        spec = specs.get(self._task.inputs)
        if spec is None or spec.shown_as != "audio":
            return Gallery({"samples": samples}, columns=COLUMNS)
        sounds = [x[: max(1, n)] for x, n in zip(samples, lengths.tolist(), strict=True)]
        return Gallery({"samples": sounds[:SOUNDS]}, spec.shown_as, spec.rate)

    def _batch_sum(self, params: Tree, frozen: Tree, batch: Batch) -> Totals:
        """Of the examples that are not padding."""
        rngs = {"mask": make_key(0)}
        nats, weights = self._task.objective(params, frozen, batch, rngs, batch["eval_position"])
        mask = batch["mask"]

        def total(values: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(mask, values, 0))

        tokens, values = self.sizes(batch, weights)
        return Totals(total(nats.sum(axis=1)), jnp.sum(mask), total(tokens), total(values))

    def _draw(
        self, params: Tree, frozen: Tree, cond: Tree | None, *, levels: tuple[Level, ...]
    ) -> tuple[jax.Array, jax.Array]:
        keys = jax.vmap(lambda i: jax.random.fold_in(make_key(0), i))(jnp.arange(SAMPLES))
        plain = {"sampling": TokenSampling(), "guidance": Guidance()}
        drawn = self._task.draw(params, keys, cond, levels, frozen, **plain)
        return self._task.decode_drawn(frozen, drawn)
