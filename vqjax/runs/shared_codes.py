"""A trained `SharedCodesTask` from Python: which captions fit other modalities, by their codes.

run = vqjax.load("runs/digits_shared_codes")
scores = run.caption_scores({"image": images, "audio": clips}, ["one", "two"])
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax import arguments
from vqjax.evaluation.shared_codes import SharedCodesEvaluator
from vqjax.numbers import LOW, Number
from vqjax.runs.base import Opening, Run, Sizes
from vqjax.runs.clips import checked_clips, fitted, levelled
from vqjax.runs.examples import checked_examples, in_parts
from vqjax.runs.stream_examples import in_turn, named_streams
from vqjax.tasks.base import normalize
from vqjax.tasks.modalities import SoundModality, TextModality
from vqjax.tasks.streams import arrays_of
from vqjax.training.experiment import Experiment
from vqjax.types import Tree, UsageError

CALL_BATCH = 100  # rows per call of the program
QUIET: Mapping[str, float] = {}


class SharedCodesRun(Run):
    """A trained tokenizer of several modalities; made by `vqjax.load`.

    Examples are images uint8 or float in [-1, 1], [*S, C] or [B, *S, C]; clips of sound [T], int16
    or float at any level, one or a list of them; texts str.

    Attributes (see `Run` for the others):
        modalities: their names.
    """

    kind = "tokenizer of several modalities"
    headline = ("nats_per_example",)
    numbers = {
        "error": Number(
            "Error",
            "mean squared error of a modality that is made from the codes of others: of values "
            "from -1 to 1, of sound of log10 mel bands",
            best=LOW,
        )
    }
    evaluator = SharedCodesEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.modalities: tuple[str, ...] = self.task.names
        opened = opening.opened
        self._variables = opened.params, opened.collections
        self._fuse = jax.jit(self._fuse_batch, static_argnames=("text",))

    def network(self) -> nn.Module:
        """The tokenizer."""
        return self.task.tokenizer

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        del sizes, short
        return f", {', '.join(experiment.task.names)}, as codes that they share, trained on {data}"

    def codes(
        self,
        conditions: Mapping[str, Any],
        *,
        noise: Mapping[str, float] = QUIET,
        seed: int = 0,
    ) -> np.ndarray:
        """The codes of examples, int32[B, M, levels].

        Args:
            conditions: {modality: an example, or B of them}, at least one; the others are absent.
                Where one has several and another one, that one is used for all.
            noise: {modality: standard deviation of Gaussian noise on its inputs, whose range is
                [-1, 1]}; not of texts.
            seed: of the noise, from 0 to 2**32 - 1.

        Raises:
            UsageError: there is no such modality, there are no conditions, or an example does not
                fit.
        """
        return self._fused(conditions, noise, seed, None)

    def caption_scores(
        self,
        conditions: Mapping[str, Any],
        texts: Sequence[str],
        *,
        noise: Mapping[str, float] = QUIET,
        seed: int = 0,
    ) -> np.ndarray:
        """log p of each of N texts from the codes of each row alone, in nats: float64[B, N].

        Args:
            conditions: see `codes`, as for `noise` and `seed`.
            texts: of the first modality of texts.

        Raises:
            UsageError: as `codes`; a text is too long, or there is no modality of texts.
        """
        found = [n for n in self.modalities if isinstance(self.task.modalities[n], TextModality)]
        if not found:
            raise UsageError(f"{self.path}: none of its modalities is a text")
        texts = arguments.texts("texts", texts, '["one"]')
        ids = self._source(found[0]).encode(texts)  # [N, T]
        log_p = self._fused(conditions, noise, seed, found[0])  # [B, T, V]
        return log_p[:, np.arange(ids.shape[1]), ids].sum(axis=-1, dtype=np.float64)

    def _fused(
        self, conditions: Mapping[str, Any], noise: Mapping[str, float], seed: int, text: str | None
    ) -> np.ndarray:
        self._check_process()
        arguments.instance("conditions", conditions, Mapping, '{"image": images}')
        names = named_streams(tuple(conditions), self.modalities, "conditions")
        levels = self._checked_noise(noise, names)
        seed = arguments.seed_of(seed)
        if not names:
            raise UsageError("conditions: wanted at least one modality")
        inputs = {}
        for name in names:
            rng = np.random.default_rng((seed, self.modalities.index(name)))
            draw = functools.partial(_with_noise, level=levels.get(name, 0.0), rng=rng)
            inputs[name] = self._inputs_of(name, conditions[name], draw)
        counts = {len(x) for x in inputs.values()}
        if counts - {1, max(counts)}:
            raise UsageError(f"numbers of examples {sorted(counts)}: wanted one number, or 1")
        absent = {n: x for n, x in self._zeros.items() if n not in inputs}
        arrays = [in_turn((inputs | absent)[name], max(counts)) for name in self.modalities]
        present = np.tile([name in names for name in self.modalities], (max(counts), 1))
        with self._context():
            program = functools.partial(self._fuse, *self._variables, text=text)
            return in_parts(program, (present, *arrays), CALL_BATCH)

    def _fuse_batch(
        self,
        params: Tree,
        collections: Tree,
        present: jax.Array,
        *arrays: jax.Array,
        text: str | None,
    ) -> jax.Array:
        """The codes int32[B, M, levels], or with `text` its log p of each id, float32[B, T, V]."""
        inputs = dict(zip(self.modalities, arrays, strict=True))
        fusion = self.task.fuse(params, collections, inputs, present)
        if text is None:
            return jnp.stack(fusion.quantized.indices, axis=-1)
        return jax.nn.log_softmax(fusion.decoded[text].astype(jnp.float32))

    @functools.cached_property
    def _zeros(self) -> dict[str, np.ndarray]:
        """What stands in the place of absent modalities, [1, ...]."""
        found = {}
        for name, modality in self.task.modalities.items():
            spec = arrays_of(self._opening.opened.inputs, name)[modality.inputs]
            dtype = np.int32 if self._is_text(name) else np.float32
            found[name] = np.zeros((1, *spec.shape), dtype)
        return found

    def _is_text(self, name: str) -> bool:
        return isinstance(self.task.modalities[name], TextModality)

    def _source(self, name: str) -> Any:
        """Where the examples of a modality come from."""
        return getattr(self.experiment.data, "sources", {}).get(name, self.experiment.data)

    def _checked_noise(self, noise: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
        arguments.instance("noise", noise, Mapping, '{"image": 1.0}')
        for name in named_streams(tuple(noise), names, "noise"):
            arguments.real(f"noise[{name!r}]", noise[name], 0.0)
            if self._is_text(name):
                raise UsageError(f"noise: {name} is a text")
        return dict(noise)

    def _inputs_of(self, name: str, values: Any, draw: Any) -> np.ndarray:
        """What the encoder takes of examples, [m, ...], with noise by `draw`."""
        shape = self._zeros[name].shape[1:]
        if self._is_text(name):
            texts = [values] if isinstance(values, str) else values
            return self._source(name).encode(arguments.texts(name, texts, '["one"]'))
        if not isinstance(self.task.modalities[name], SoundModality):
            values = np.asarray(values)[None] if np.ndim(values) == len(shape) else values
            images = checked_examples(values, shape, None, name=name)
            return draw(np.asarray(normalize(jnp.asarray(images))))
        one = isinstance(values, np.ndarray) and values.ndim == 1
        clips = [values] if one else arguments.items(name, values, "[clip]")
        loudness = getattr(self._source(name), "loudness", None)
        found = [np.zeros((0, *shape), np.float32)]
        for clip in clips:
            sound = checked_clips(np.asarray(clip)[: shape[0]], shape[-1], name)[0]
            found.append(fitted(draw(levelled(sound, loudness)), shape[0]))
        return np.concatenate(found)


def _with_noise(x: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """x in [-1, 1] with noise of a standard deviation, clipped; without noise as it is."""
    if not level:
        return x
    drawn = rng.standard_normal(x.shape, np.float32)
    return np.clip(x + np.float32(level) * drawn, -1.0, 1.0)
