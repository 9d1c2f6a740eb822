"""What the streams of a joint prior say, alone and together, of a value that they share, such as
which digit they are of.

The data pairs its streams by that value, which each text of one stream has, such as "seven": so
p(value | streams) is what the prior gives to its texts, normalised over all texts.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, eval_batch_size, over_split
from vqjax.evaluation.joint import EXAMPLES, key_of
from vqjax.evaluation.posteriors import (
    Texts,
    by_value,
    judged,
    leak_p,
    prior_of,
    product_of,
)
from vqjax.ops.numerics import make_key
from vqjax.priors.joint_drawing import (
    all_ids,
    block_log_likelihoods,
    candidate_log_likelihoods,
)
from vqjax.tasks.joint import PRIOR, JointTask
from vqjax.tasks.streams import CAPTION, TextStream
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import local_rows, put_batch, replicated
from vqjax.types import BATCH_AXES, Batch, Tree, UsageError, did_you_mean

MOST_TEXTS = 256  # that are scored after every example
STEPS = 4  # of a grid of noise, from none to the most of training
LEAK_ROWS = 250
INFORMATION, GAIN, LEAK = "information", "gain", "leak_p"
NOISY, PRODUCT = "noisy_", "product_"
Ids = dict[str, np.ndarray]


class Rows(NamedTuple):
    """The first examples of the eval split: their batches, with the `mask` bool[m] of all; of those
    that count the values, int64[n], and which streams they have, {stream: bool[n]}.
    """

    batches: Sequence[Batch]
    mask: np.ndarray
    values: np.ndarray
    present: Mapping[str, np.ndarray]

    def having(self, names: Sequence[str]) -> np.ndarray:
        """Which rows have all these streams, bool[n]. One with a text has a value of some text."""
        return np.all([self.present[name] for name in names], axis=0)


def shared_value(experiment: Experiment) -> tuple[str, str] | None:
    """The stream of texts, and the array of the value that all streams share; None: the data has
    no such thing.
    """
    data = experiment.data
    sources, by = getattr(data, "sources", {}), getattr(data, "by", None)
    texts = [n for n, s in experiment.task.streams.items() if isinstance(s, TextStream)]
    if by is None or len(texts) != 1 or texts[0] not in sources:
        return None
    return (texts[0], by) if sources[texts[0]].num_eval() <= MOST_TEXTS else None


def fusion_evaluator(
    experiment: Experiment, mesh: Mesh, frozen: Tree, noise: Mapping[str, float] | None = None
) -> "FusionEvaluator | None":
    """That of a joint prior whose streams share a value; None: they share none, or this is none.

    Raises:
        UsageError: `noise` that does not fit.
    """
    if not isinstance(experiment.task, JointTask):
        if noise is not None:
            raise UsageError("noise is for the streams of a joint prior")
        return None
    if noise is None and shared_value(experiment) is None:
        return None
    return FusionEvaluator(experiment, mesh, frozen, noise)


class FusionEvaluator:
    """Numbers of the first `EXAMPLES` of the eval split. With t the stream of texts, x and y
    others, and "|" before what is given:
    - `information/t|x` and `label_accuracy/t|x`: see `judged`.
    - `information/x|t`: the same by Bayes' rule from p(x | text), a value's texts weighing alike.
    - `gain/x|y`: the mean of log p(x | y) - log p(x), in nats. More than x and y can share says
      that p(x) is the worse fitted one.
    - `leak_p/x|y`: see `leak_p`, of the first `LEAK_ROWS`.
    - `noisy_information/t|x=LEVEL+y=LEVEL`, `noisy_label_accuracy`: with noise on what is given,
      as in training; `noisy_product_...`: of `product_of` x alone and y alone.

    Args:
        experiment: of the run.
        mesh: where programs run.
        frozen: arrays of the tokenizers.
        noise: {stream: level} of two streams; None: a grid for every two, up to the most that was
            trained.

    Raises:
        UsageError: streams share no value of a text, there is no such stream, or noise of this
            level was not trained.
    """

    def __init__(
        self,
        experiment: Experiment,
        mesh: Mesh,
        frozen: Tree,
        noise: Mapping[str, float] | None = None,
    ) -> None:
        found = shared_value(experiment)
        if found is None:
            raise UsageError(
                "noise: the streams of this run share no value that each of a few texts has"
            )
        self._text, self._by = found
        self._experiment, self._mesh, self._frozen = experiment, mesh, frozen
        self._task = experiment.network_task()
        self._others = tuple(name for name in self._task.names if name != self._text)
        most = {n: s.noise for n, s in self._task.streams.items() if s.noise and n in self._others}
        self._levels = _grid(most) if noise is None else [_checked(noise, most)]
        self._size = eval_batch_size(experiment, mesh)
        self._network: Any = None  # over the streams of the first batch
        whole = {"out_shardings": replicated(mesh)}
        self._facts = jax.jit(self._facts_of, **whole)
        self._tokens = jax.jit(self._tokens_of, **whole)
        # One program for all orders of blocks, as they are an argument.
        self._score = jax.jit(self._scores, static_argnames=("names",), **whole)
        self._score_texts = jax.jit(self._text_scores, static_argnames=("names",), **whole)

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once.

        Raises:
            DataError: the eval split is empty, or holds numbers out of range.
        """
        del collections
        with jax.set_mesh(self._mesh):
            rows = self._read()
            texts, ids = self._texts(), self._ids(rows, {})
            numbers = self._of_texts(params, rows, ids, texts)
            numbers |= self._by_bayes(params, rows, ids, texts)
            numbers |= self._of_pairs(params, rows, ids)
            numbers |= self._of_noise(params, rows, texts)
        return Evaluation(numbers)

    def _read(self) -> Rows:
        """The first examples; every host knows all of them."""
        batches, facts = [], []
        count = -(-EXAMPLES // self._size)
        for positions, batch in itertools.islice(over_split(self._experiment, self._mesh), count):
            self._network = self._network or self._task.network_of(batch)
            mask = batch["mask"] & (positions < EXAMPLES)
            batches.append(put_batch({**batch, "mask": mask}, self._mesh))
            facts.append(jax.device_get(self._facts(batches[-1])))
        check_not_empty(sum(int(mask.sum()) for mask, _, _ in facts), self._experiment)
        mask, values, present = (np.concatenate(arrays) for arrays in zip(*facts, strict=True))
        columns = dict(zip(self._task.names, present[mask].T, strict=True))
        return Rows(batches, mask, values[mask].astype(np.int64), columns)

    def _facts_of(self, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mask and values [B], and which streams there are [B, streams]."""
        return batch["mask"], batch[self._by], self._task.present(batch)

    def _ids(self, rows: Rows, noise: Mapping[str, float]) -> Ids:
        """The tokens of all rows, with the same noise, but for its level, at every call."""
        levels = np.array([noise.get(name, 0.0) for name in self._task.names], np.float32)
        found = [
            jax.device_get(self._tokens(self._frozen, batch, levels, make_key(number)))
            for number, batch in enumerate(rows.batches)
        ]
        return {n: np.concatenate([ids[n] for ids in found])[rows.mask] for n in self._task.names}

    def _tokens_of(self, frozen: Tree, batch: Batch, levels: jax.Array, key: jax.Array) -> Any:
        noise = jnp.broadcast_to(levels, (len(batch["mask"]), len(levels)))
        return self._task.ids(self._network, frozen, batch, noise, key)

    def _texts(self) -> Texts:
        """Those of the eval split, each once."""
        (batch,) = self._experiment.data.sources[self._text].in_order("eval", MOST_TEXTS)
        mask = batch["mask"]
        captions, first = np.unique(batch[CAPTION][mask], axis=0, return_index=True)
        stream, order = self._task.streams[self._text], self._network.order(self._text)
        quiet, key = dataclasses.replace(stream, noise=0.0), make_key(0)
        ids = quiet.ids(order, {}, {CAPTION: jnp.asarray(captions)}, jnp.zeros(len(first)), key)
        return Texts(np.asarray(ids), batch[self._by][mask][first].astype(np.int64))

    def _of_texts(self, params: Tree, rows: Rows, ids: Ids, texts: Texts) -> dict[str, float]:
        """What other streams say of the value, by the texts that go with them."""
        numbers = {}
        for size in range(1, len(self._others) + 1):
            for names in itertools.combinations(self._others, size):
                there = rows.having((*names, self._text))
                if not there.any():
                    continue
                posterior = self._posterior(params, {n: ids[n][there] for n in names}, texts)
                found = judged(posterior, rows.values[there], texts.known)
                key = key_of(self._text, names)
                numbers |= {f"{kind}/{key}": value for kind, value in found.items()}
        return numbers

    def _by_bayes(self, params: Tree, rows: Rows, ids: Ids, texts: Texts) -> dict[str, float]:
        """What each stream says of the value, by how likely it is after each text."""
        numbers = {}
        alike = np.log([(texts.values == value).sum() for value in texts.values])  # [N]
        for name in self._others:
            there = rows.having((name, self._text))
            if not there.any():
                continue
            own, values = ids[name][there], rows.values[there]
            log_prior = prior_of(values, texts.known)  # [V]
            weights = log_prior[np.searchsorted(texts.known, texts.values)] - alike  # [N]
            scores = [
                self._log_p(params, {self._text: np.tile(text, (len(own), 1)), name: own}, name)
                for text in texts.ids
            ]
            posterior = by_value(np.stack(scores, axis=1) + weights, texts.values)
            found = judged(posterior, values, texts.known)
            numbers[f"{INFORMATION}/{key_of(name, (self._text,))}"] = found[INFORMATION]
        return numbers

    def _of_pairs(self, params: Tree, rows: Rows, ids: Ids) -> dict[str, float]:
        """What a stream gains from another, and whether pairs share more than their value."""
        numbers = {}
        for name, condition in itertools.permutations(self._task.names, 2):
            there = rows.having((name, condition))
            if not there.any():
                continue
            pair = {condition: ids[condition][there], name: ids[name][there]}
            gains = self._log_p(params, pair, name) - self._log_p(params, {name: pair[name]}, name)
            key = key_of(name, (condition,))
            numbers[f"{GAIN}/{key}"] = float(gains.mean())
            if self._text in pair:
                continue
            groups = rows.values[there][:LEAK_ROWS]
            i, j = np.nonzero(groups[:, None] == groups[None])  # rows of one value
            scores = np.full((len(groups),) * 2, np.nan)
            pairs = {condition: pair[condition][j], name: pair[name][i]}
            scores[i, j] = self._log_p(params, pairs, name)
            numbers[f"{LEAK}/{key}"] = leak_p(scores, groups)
        return numbers

    def _of_noise(self, params: Tree, rows: Rows, texts: Texts) -> dict[str, float]:
        """What two noisy streams say of the value, each alone and both together."""
        numbers: dict[str, float] = {}
        tokens: dict[tuple[str, float], np.ndarray] = {}
        for levels in self._levels:
            there = rows.having((*levels, self._text))
            if not there.any():
                continue
            values = rows.values[there]
            for item in levels.items():
                if item not in tokens:
                    tokens[item] = self._ids(rows, dict([item]))[item[0]]
            ids = {item[0]: tokens[item][there] for item in levels.items()}
            alone = [self._posterior(params, {name: ids[name]}, texts) for name in ids]
            both = self._posterior(params, ids, texts)
            apart = product_of(alone, prior_of(values, texts.known))
            for (name, level), posterior in zip(levels.items(), alone, strict=True):
                numbers |= self._named({name: level}, NOISY, posterior, values, texts)
            numbers |= self._named(levels, NOISY, both, values, texts)
            numbers |= self._named(levels, NOISY + PRODUCT, apart, values, texts)
        return numbers

    def _named(
        self,
        levels: Mapping[str, float],
        kind: str,
        posterior: np.ndarray,
        values: np.ndarray,
        texts: Texts,
    ) -> dict[str, float]:
        row = key_of(self._text, tuple(f"{name}={level:g}" for name, level in levels.items()))
        return {f"{kind}{n}/{row}": v for n, v in judged(posterior, values, texts.known).items()}

    def _posterior(self, params: Tree, ids: Ids, texts: Texts) -> np.ndarray:
        """log p(value | streams of these ids), float64[n, V]."""
        unit = math.prod(self._mesh.shape[axis] for axis in BATCH_AXES)
        size = -(-max(1, MOST_TEXTS // len(texts.ids)) // unit) * unit  # caches are large
        scores = self._in_batches(self._score_texts, size, params, ids, texts=texts.ids)
        return by_value(scores, texts.values)

    def _log_p(self, params: Tree, ids: Ids, target: str) -> np.ndarray:
        """log p of one stream given the others, in their order: float64[n]."""
        blocks = (*(name for name in ids if name != target), target)
        ranks = np.asarray(self._network.ranks(blocks, 1))
        every = all_ids(self._network, ids, len(ids[target]))
        # [n, streams]
        found = self._in_batches(self._score, self._size, params, every, ranks=ranks)
        return found[:, self._network.names.index(target)]

    def _in_batches(self, program: Any, size: int, params: Tree, ids: Ids, **how: Any) -> Any:
        """What `program` returns of all rows of `ids`, in global batches of `size`."""
        count, rows, parts = len(next(iter(ids.values()))), local_rows(size, self._mesh), []
        for start in range(0, count, size):
            indices = np.minimum(start + rows, count - 1)
            put = put_batch({name: array[indices] for name, array in ids.items()}, self._mesh)
            # A mapping that goes through `jit` comes out sorted.
            arrays = tuple(put[name] for name in ids)
            parts.append(np.asarray(program(params, arrays, names=tuple(ids), **how), np.float64))
        return np.concatenate(parts)[:count]

    def _scores(
        self, params: Tree, arrays: Any, *, names: tuple[str, ...], ranks: jax.Array
    ) -> jax.Array:
        ids = dict(zip(names, arrays, strict=True))
        ranks = jnp.broadcast_to(ranks, (len(arrays[0]), len(names)))
        found = block_log_likelihoods(self._network, params[PRIOR], ids, ranks)
        return jnp.stack([found[name] for name in self._network.names], axis=1)  # [B, streams]

    def _text_scores(
        self, params: Tree, arrays: Any, *, names: tuple[str, ...], texts: jax.Array
    ) -> jax.Array:
        ids = dict(zip(names, arrays, strict=True))
        return candidate_log_likelihoods(
            self._network, params[PRIOR], self._text, texts, ids
        )  # [B, N]


def _grid(most: Mapping[str, float]) -> list[dict[str, float]]:
    """Levels of every two streams, each from none to the most."""
    shares = np.linspace(0.0, 1.0, STEPS + 1).tolist()
    return [
        {a: share * most[a], b: other * most[b]}
        for a, b in itertools.combinations(most, 2)
        for share, other in itertools.product(shares, repeat=2)
    ]


def _checked(noise: Mapping[str, float], most: Mapping[str, float]) -> dict[str, float]:
    for name, level in noise.items():
        if name not in most:
            raise UsageError(f"noise of {name!r}: {did_you_mean(name, most)}")
        if not 0.0 <= level <= most[name]:
            raise UsageError(f"noise of {name!r}: {level:g}: it was trained up to {most[name]:g}")
    if len(noise) != 2:
        raise UsageError(f"noise of {len(noise)} streams: wanted two")
    return dict(sorted(noise.items()))
