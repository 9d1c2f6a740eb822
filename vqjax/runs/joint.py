"""A trained joint prior from Python: any of its streams given any others.

run = vqjax.load("runs/digits_any_to_any")
drawn = run.sample(8, conditions={"text": "seven"}, targets=["image", "audio"])
run.log_likelihood({"text": ["seven", "one"]}, {"image": picture})
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from vqjax import arguments, config
from vqjax.evaluation.base import Evaluation
from vqjax.evaluation.fusion import fusion_evaluator
from vqjax.evaluation.joint import JointEvaluator
from vqjax.ops.numerics import make_key
from vqjax.priors.joint_drawing import (
    all_ids,
    block_log_likelihoods,
    candidate_log_likelihoods,
    draw_streams,
)
from vqjax.runs.base import Opening, Run, Sizes
from vqjax.runs.editing import PLAIN, UNGUIDED
from vqjax.runs.examples import in_parts
from vqjax.runs.stream_examples import TextExamples, TokenExamples, in_turn, named_streams
from vqjax.sampling import Guidance, StreamGuidance, TokenSampling
from vqjax.tasks.streams import TextStream, arrays_of
from vqjax.training.experiment import Experiment
from vqjax.training.platform import jax_defaults
from vqjax.types import Tree, UsageError

CALL_BATCH = 64  # rows per call of a program
SCORES = ("gain", "likelihood")
Weights = Guidance | StreamGuidance | Mapping[str, float]


class JointRun(Run):
    """A trained joint prior; made by `vqjax.load`.

    Examples of a stream are those of its tokenizer's run: images uint8 [*S, C], sound int16 [T] at
    any level, texts str.

    Attributes (see `Run` for the others):
        streams: their names.
    """

    kind = "joint prior"
    headline = ("nats_per_example",)
    shows = "Given one stream, all the others"
    next_commands = ("vqjax report RUN",)
    evaluator = JointEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.streams: tuple[str, ...] = self.task.names
        how = ("blocks", "targets", "sampling", "guidance")
        self._draw = jax.jit(self._draw_batch, static_argnames=how)
        self._rank = jax.jit(self._rank_batch, static_argnames=("name", "blocks"))
        self._score = jax.jit(self._score_batch)

    def network(self) -> nn.Module:
        """The prior over its streams."""
        inputs = self._opening.opened.inputs
        return self.task.network({name: tuple(spec.shape) for name, spec in inputs.items()})

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        del sizes, short
        names = sorted(experiment.task.streams)
        listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
        return f" of {listed}, each given any of the others, trained on {data}"

    @functools.cached_property
    def _media(self) -> dict[str, Any]:
        """How the examples of each stream become tokens, and back."""
        found = {}
        for name in self.streams:
            stream, order = self.task.streams[name], self.module.order(name)
            if isinstance(stream, TextStream):
                data = self.experiment.data
                texts = data.texts_of(name) if hasattr(data, "texts_of") else data
                found[name] = TextExamples(name, order, texts)
                continue
            path = self.task.frozen_path(name)
            frozen = config.find_frozen(self.experiment)[path]
            load = self._opening.load
            run = load(frozen.path, step=frozen.step, trust=self._opening.trust)
            spec = arrays_of(self._opening.opened.inputs, name)[stream.inputs]
            arrays = self._opening.frozen[path]
            found[name] = TokenExamples(name, stream, order, run, arrays, spec)
        return found

    @property
    def media(self) -> dict[str, str]:
        """{stream: "image", "audio", "video" or "text"}."""
        return {name: examples.medium for name, examples in self._media.items()}

    def shape_of(self, name: str) -> tuple[int, ...]:
        """(*S, C) of an example of a stream of tokens."""
        return tuple(self._media[name].spec.shape)

    def rate_of(self, name: str | None) -> int:
        """Hz of a stream of sound; 0: it is none."""
        spec = getattr(self._media.get(name), "spec", None)
        return 0 if spec is None else round(spec.rate or 0)

    def coded(self, name: str, examples: Any) -> Any:
        """What the tokens of a stream's examples make of them; see `sample`."""
        media = self._media[name]
        return media.examples(media.ids(examples))

    def evaluate(self, noise: Mapping[str, float] | None = None) -> Evaluation:
        """See `Run.evaluate`.

        Args:
            noise: {stream: level} of two streams, see `FusionEvaluator`, which adds its numbers
                where streams share a value.
        """
        opening = self._opening
        fusion = fusion_evaluator(self.experiment, opening.mesh, opening.frozen, noise)
        evaluation = super().evaluate()  # which takes minutes: what is wrong was said before
        if fusion is None:
            return evaluation
        with jax_defaults(self.experiment.compute_dtype):
            found = fusion(opening.opened.params, opening.opened.collections)
        return dataclasses.replace(evaluation, numbers=evaluation.numbers | found.numbers)

    def sample(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        conditions: Mapping[str, Any] | None = None,
        targets: Sequence[str] | None = None,
        sampling: TokenSampling = PLAIN,
        guidance: Weights = UNGUIDED,
    ) -> dict[str, Any]:
        """Draws rows of some streams given others.

        Args:
            n: how many, at least 0.
            seed: from 0 to 2**32 - 1; row i is a pure function of (seed, i) and its conditions.
            conditions: {stream: an example, or several that are used in turn}, read in this order.
            targets: streams to draw, one given those before it; None: all others, sorted.
            sampling: temperature, top-k and top-p of the tokens.
            guidance: classifier-free, towards all conditions and the targets drawn before one
                together; or {stream: weight} of these, 1 where it is not named. 1 everywhere is the
                model itself.

        Returns:
            {stream: images [n, *S, C], sounds as a list of int16 [T], or a list of texts}.

        Raises:
            UsageError: there is no such stream, nothing to draw, or nothing to guide towards; or an
                example does not fit.
        """
        self._check_process()
        n = arguments.whole("n", n, 0, arguments.MOST_COUNT)
        seed = arguments.seed_of(seed)
        conditions = {} if conditions is None else dict(conditions)
        names = named_streams(tuple(conditions), self.streams, "conditions")
        if targets is None:
            targets = [name for name in self.streams if name not in names]
        targets = named_streams(targets, self.streams, "targets")
        self._check_apart(names, targets)
        if isinstance(guidance, Mapping):
            guidance = StreamGuidance(tuple(guidance.items()))
        ids = {name: in_turn(self._media[name].ids(conditions[name]), n) for name in names}
        drawn = self.draw_ids(n, seed, ids, targets, sampling=sampling, guidance=guidance)
        return {name: self._media[name].examples(drawn[name]) for name in targets}

    def draw_ids(
        self,
        n: int,
        seed: int,
        conditions: Mapping[str, np.ndarray],
        targets: tuple[str, ...],
        *,
        sampling: TokenSampling = PLAIN,
        guidance: Guidance | StreamGuidance = UNGUIDED,
    ) -> dict[str, np.ndarray]:
        """`sample` of tokens: ids int32[n, T] by stream, of conditions as of results."""
        rows, key = np.arange(n, dtype=np.int32), make_key(seed)

        how = {"targets": targets, "sampling": sampling, "guidance": guidance}

        def draw(rows: np.ndarray, *ids: np.ndarray) -> Any:
            return self._draw(self.params, key, rows, ids, blocks=tuple(conditions), **how)

        with self._context():
            return in_parts(draw, (rows, *conditions.values()), CALL_BATCH, "samples")

    def _draw_batch(
        self,
        params: Tree,
        key: jax.Array,
        rows: jax.Array,
        ids: tuple[jax.Array, ...],
        *,
        blocks: tuple[str, ...],
        **how: Any,
    ) -> dict[str, jax.Array]:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(rows)
        conditions = dict(zip(blocks, ids, strict=True))
        return draw_streams(self.module, params, keys, conditions=conditions, **how)

    def log_likelihood(
        self, targets: Mapping[str, Any], conditions: Mapping[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        """log p of each stream of `targets`, in their order, given those before it and all
        `conditions`, in nats: {stream: float64[B]}. The sum is log p(targets | conditions).

        Args:
            targets: {stream: an example, or B of them}; where one stream has several and another
                one, that one is used for all.
            conditions: the same.

        Raises:
            UsageError: there is no such stream, there are no targets, or numbers of examples that
                do not fit.
        """
        self._check_process()
        conditions = {} if conditions is None else dict(conditions)
        names = named_streams(tuple(conditions), self.streams, "conditions")
        wanted = named_streams(tuple(targets), self.streams, "targets")
        self._check_apart(names, wanted)
        examples = {**conditions, **targets}
        ids = {name: self._media[name].ids(value) for name, value in examples.items()}
        counts = {len(a) for a in ids.values()}
        most = max(counts)
        if counts - {1, most}:
            raise UsageError(f"numbers of examples {sorted(counts)}: wanted one number, or 1")
        return self.score_ids({n: in_turn(a, most) for n, a in ids.items()}, wanted)

    def rank(
        self,
        name: str,
        candidates: Any,
        conditions: Mapping[str, Any],
        *,
        score: str = "gain",
    ) -> np.ndarray:
        """How well candidates of one stream go with the conditions, in nats: float64[N].

        Args:
            name: of the stream.
            candidates: N examples of it.
            conditions: {stream: one example}, read in this order.
            score: "gain", log p(candidate | conditions) - log p(candidate), so that what is likely
                anyway comes no further; or "likelihood", log p(candidate | conditions).

        Raises:
            UsageError: there is no such stream, there are no conditions or several examples of one,
                or an example does not fit.
        """
        self._check_process()
        arguments.one_of("score", score, SCORES)
        (name,) = named_streams((name,), self.streams, "name")
        names = named_streams(tuple(conditions), self.streams, "conditions")
        self._check_apart(names, (name,))
        ids = {n: self._media[n].ids(conditions[n]) for n in names}
        for stream, found in ids.items():
            if len(found) != 1:
                raise UsageError(f"conditions: {len(found)} examples of {stream}: wanted one")
        if not ids:
            raise UsageError("conditions: wanted at least one stream")
        wanted = self._media[name].ids(candidates)
        likely = self._candidates(name, wanted, ids)
        return likely if score == "likelihood" else likely - self._candidates(name, wanted, {})

    def _candidates(
        self, name: str, wanted: np.ndarray, conditions: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """log p of candidates, ids int32[N, T], given conditions [1, T] each: float64[N]."""
        blocks = tuple(conditions)

        def score(ids: np.ndarray) -> Any:
            return self._rank(
                self.params, ids, tuple(conditions.values()), name=name, blocks=blocks
            )

        with self._context():
            return in_parts(score, (wanted,), CALL_BATCH, "log p").astype(np.float64)

    def _rank_batch(
        self, params: Tree, ids: jax.Array, arrays: Any, *, name: str, blocks: tuple[str, ...]
    ) -> jax.Array:
        conditions = dict(zip(blocks, arrays, strict=True))
        return candidate_log_likelihoods(self.module, params, name, ids, conditions)[0]

    def score_ids(
        self, ids: Mapping[str, np.ndarray], targets: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """`log_likelihood` of tokens: ids int32[B, T] by stream, conditions first."""
        count = len(next(iter(ids.values())))
        ranks = np.asarray(self.module.ranks(tuple(ids), count))

        def score(ranks: np.ndarray, *arrays: np.ndarray) -> Any:
            return self._score(self.params, ranks, arrays)

        with self._context():
            every = all_ids(self.module, ids, count)
            found = in_parts(score, (ranks, *every.values()), CALL_BATCH, "log p")
        return {name: found[name].astype(np.float64) for name in targets}

    def _score_batch(
        self, params: Tree, ranks: jax.Array, arrays: tuple[jax.Array, ...]
    ) -> dict[str, jax.Array]:
        """One program for all orders, as ranks are an argument."""
        ids = dict(zip(self.module.names, arrays, strict=True))
        return block_log_likelihoods(self.module, params, ids, ranks)

    def _check_apart(self, conditions: tuple[str, ...], targets: tuple[str, ...]) -> None:
        if both := [name for name in targets if name in conditions]:
            raise UsageError(f"targets: {both[0]} is a condition: draw it or give it")
        if not targets:
            raise UsageError("targets: wanted at least one stream that is no condition")
