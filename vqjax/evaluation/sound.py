"""How well a tokenizer of sound reconstructs the eval split, clip by clip, with each number of its
codebooks.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import (
    Evaluation,
    check_not_empty,
    eval_batch_size,
    merged,
    over_split,
)
from vqjax.format import printable
from vqjax.media.gallery import Gallery
from vqjax.metrics import CodebookCounts, ExampleMean, State
from vqjax.metrics.sound import mel_distance, si_sdr, stft_distance
from vqjax.numbers import ordered
from vqjax.tasks.base import GAIN, LENGTH, inputs_of, last_repeated
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import local_rows, put_batch, replicated
from vqjax.types import BATCH_AXES, Batch, Tree, UsageError, VqjaxError, did_you_mean

SHOWN = 8  # clips on the sheet: the first of the eval split
BATCH_SAMPLES = 1 << 17  # of one program's batch, at most
FIRST_RUNG = 8  # hops
GAIN_BITS = 8
NAME = 60  # characters of a class's name


@dataclasses.dataclass(frozen=True)
class Clips:
    """One batch of whole clips: {"audio": [b, T, C], "length": int32[b], ...}, and what is counted
    on the host: `indices` int64[B] in the split and `mask` bool[B], of the global batch.
    """

    batch: Batch
    indices: np.ndarray
    mask: np.ndarray


class Shown(NamedTuple):
    """A clip on the sheet: float[T, C] and what came of it, and the numbers of its classes."""

    original: np.ndarray
    reconstruction: np.ndarray
    classes: Mapping[str, int]


def rung(samples: int, hop: int) -> int:
    """The least length that clips of so many samples are padded to: the hop times a power of 2, so
    that few programs are compiled.
    """
    hops = max(FIRST_RUNG, -(-samples // hop))
    return hop * (1 << (hops - 1).bit_length())


def whole_clips(experiment: Experiment, mesh: Mesh) -> Iterator[Clips]:
    """Every clip of the eval split once, the shortest first, in batches of one rung each, silence
    behind it as far as networks look ahead. A source that has windows alone gives these.
    """
    data, task = experiment.data, experiment.network_task()
    unit = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    if not hasattr(data, "clip_lengths"):
        name = task.inputs
        size, num = eval_batch_size(experiment, mesh), data.num_eval()
        for number, (_, batch) in enumerate(over_split(experiment, mesh)):
            length = np.full(len(batch[name]), batch[name].shape[1], np.int32)
            indices = number * size + np.arange(size)
            yield Clips({LENGTH: length, **batch}, indices, indices < num)
        return
    lengths = data.clip_lengths("eval")  # int64[n]
    rungs = np.array([rung(int(n) + task.look_ahead, task.hop) for n in lengths])
    for samples in np.unique(rungs).tolist():
        members = np.flatnonzero(rungs == samples)
        size = max(1, BATCH_SAMPLES // samples)
        size = -(-min(size, len(members)) // unit) * unit
        rows = local_rows(size, mesh)
        for start in range(0, len(members), size):
            places = np.arange(start, start + size)
            indices, mask = members[np.minimum(places, len(members) - 1)], places < len(members)
            batch = data.clips("eval", indices[rows], samples)
            yield Clips({**batch, "mask": mask[rows]}, indices, mask)


class SoundEvaluator:
    """Reconstructs every clip of the eval split, whole, from the first n codebooks for each n.

    `si_sdr` (dB, the mean over clips that are not silent; `silent_clips` others), `mel_distance`,
    `stft_distance` and `kbits_per_second`, all of clips at the level that the networks see, with
    "/first_n" where fewer codebooks than all are decoded; and per codebook `codebook_usage`,
    `perplexity` and `code_entropy`. See `vqjax.metrics.sound`.
    """

    def __init__(
        self,
        experiment: Experiment,
        mesh: Mesh,
        frozen: Tree | None = None,
        *,
        by: str | None = None,
    ) -> None:
        """Touches neither data nor devices; programs compile at the first call.

        Args:
            experiment: of the run.
            mesh: where programs run.
            frozen: none of its numbers needs them.
            by: array of the batch; of the clips of each of its classes these numbers, from all
                codebooks, are "/<by>=<class>", with how many `clips` there are.

        Raises:
            UsageError: the data has no classes `by`.
        """
        del frozen
        self._experiment, self._mesh, self._by = experiment, mesh, by
        self._task = experiment.network_task()
        if by is not None and by not in self._classes:
            raise UsageError(f"by={by!r}: {did_you_mean(by, self._classes)}")
        self._program = jax.jit(self._batch_states, out_shardings=replicated(mesh))
        names = self._task.tokenizer.level_names
        self._counts = tuple(range(1, len(names) + 1)) or (0,)  # codebooks decoded; 0: latents

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over the split; parameters and collections by player.

        Raises:
            DataError: the eval split is empty.
        """
        states: dict[str, State] = {}
        shown: dict[int, Shown] = {}
        sums: dict[int, _Sums] = {}
        seconds = bits = count = silent = 0
        for clips in whole_clips(self._experiment, self._mesh):
            with jax.set_mesh(self._mesh):
                put = put_batch(clips.batch, self._mesh)
                new, examples, counted = self._program(params, collections, put)
            states = merged(states, new)
            # Of the global batch.
            length, sounds, classes, found = jax.device_get(counted)
            if (clips.indices < SHOWN).any():
                x, x_hat = jax.device_get(examples)
            for row, index in enumerate(clips.indices.tolist()):
                if not clips.mask[row]:
                    continue
                count += 1
                silent += not sounds[row]
                took = self._bits(int(length[row]), GAIN in clips.batch)
                seconds += length[row] / self._rate
                bits += took
                if self._by is not None:
                    of_class = sums.setdefault(int(classes[self._by][row]), _Sums())
                    values = {name: array[row] for name, array in found.items()}
                    of_class.add(values, bool(sounds[row]), took[-1], length[row] / self._rate)
                if index < SHOWN:
                    of = {name: int(numbers[row]) for name, numbers in classes.items()}
                    shown[index] = Shown(x[row, : length[row]], x_hat[row, : length[row]], of)
        check_not_empty(count, self._experiment)
        numbers = self._numbers(states, bits / seconds / 1000.0)
        numbers["silent_clips"] = float(silent)
        for label, of_class in sorted(sums.items()):
            end = f"/{self._by}={self._class_name(self._by, label)}"
            numbers |= {name + end: value for name, value in of_class.numbers().items()}
        return Evaluation(ordered(numbers), self._gallery(shown))

    @property
    def _rate(self) -> float:
        return self._experiment.data.example_spec()[self._task.inputs].rate or 1.0

    def _bits(self, length: int, has_gain: bool) -> np.ndarray:
        """Of one clip, for each number of codebooks: float[n]."""
        size = self._task.tokenizer.quantizer.codebook_size
        per_codebook = self._task.frames_of(length) * math.log2(max(size, 1))
        return np.array(self._counts) * per_codebook + GAIN_BITS * has_gain

    def _numbers(self, states: dict[str, State], rates: np.ndarray) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for name, state in states.items():
            kind, _, level = name.partition(" ")
            found = state.compute()
            if kind == "codes":
                found["code_entropy"] = math.log2(found["perplexity"])
            several = len(self._counts) > 1
            numbers |= {
                key + (f"/{level}" if level and several else ""): v for key, v in found.items()
            }
        for count, rate in zip(self._counts, rates.tolist(), strict=True):
            if count:
                numbers[f"kbits_per_second{self._suffix(count)}"] = rate
        return numbers

    def _suffix(self, count: int) -> str:
        return "" if count == self._counts[-1] else f"/first_{count}"

    def _gallery(self, shown: dict[int, Shown]) -> Gallery | None:
        """Originals and reconstructions, each as long as it is, with their classes."""
        if not shown:
            return None
        clips = [shown[index] for index in sorted(shown)]
        spec = self._experiment.data.example_spec()[self._task.inputs]
        rows = {
            "originals": [clip.original for clip in clips],
            "reconstructions": [clip.reconstruction for clip in clips],
        }
        captions = [self._caption(clip.classes) for clip in clips]
        return Gallery(rows, spec.shown_as, spec.rate, captions=captions)

    def _caption(self, classes: Mapping[str, int]) -> str:
        """The names of a clip's classes; of those without names their numbers."""
        words = (f"{name} {self._class_name(name, n)}" for name, n in classes.items())
        return ", ".join(words)

    def _class_name(self, name: str, number: int) -> str:
        """The name of a class, or its number where it has none."""
        data, names = self._experiment.data, ()
        if hasattr(data, "class_names"):
            with contextlib.suppress(VqjaxError):  # numbers that are no classes
                names = data.class_names(name)
        return printable(str(names[number]), NAME) if 0 <= number < len(names) else str(number)

    @property
    def _classes(self) -> tuple[str, ...]:
        """Names of the batch's arrays of one number each."""
        specs = self._experiment.data.example_spec().items()
        return tuple(
            name
            for name, spec in specs
            if not spec.shape and np.dtype(spec.dtype) == np.int32 and name != LENGTH
        )

    def _batch_states(self, params: Tree, collections: Tree, batch: Batch) -> Any:
        task, mask, length = self._task, batch["mask"], batch[LENGTH]
        x = inputs_of(batch, task.inputs)  # [B, T, C]
        tokens = task.encode(params, collections, x)
        # A decoder that is not causal hears what follows a clip: nothing of which bits are counted.
        whole = functools.partial(last_repeated, count=task.frames_of(length))
        states: dict[str, State] = {}
        for count in self._counts:
            if count:
                first = dict(list(tokens.indices.items())[:count])
                x_hat = task.decode_indices(params, collections, jax.tree.map(whole, first))
            else:
                x_hat = task.decode_latents(params, collections, whole(tokens.z_q))
            inside = jnp.arange(x.shape[1])[None] < length[:, None]  # [B, T]
            x_hat = jnp.where(inside[..., None], x_hat.astype(x.dtype), 0)
            ratio, sounds = si_sdr(x, x_hat, length)
            suffix = self._suffix(count)[1:]
            found = {
                "si_sdr": (ratio, mask & sounds),
                "mel_distance": (mel_distance(x, x_hat, length, self._rate), mask),
                "stft_distance": (stft_distance(x, x_hat, length), mask),
            }
            for name, (values, counted) in found.items():
                states[f"{name} {suffix}"] = ExampleMean.of(name, values, counted)
            of_all = {name: values for name, (values, _) in found.items()}  # at the end
        frames = jnp.arange(task.frames_of(x.shape[1]))[None] < task.frames_of(length)[:, None]
        for name, indices in tokens.indices.items():
            size = task.tokenizer.quantizer.codebook_size
            used = mask[:, None] & frames  # [B, F]
            states[f"codes {name}"] = CodebookCounts.of(indices, size, used)
        classes = {name: batch[name] for name in self._classes}
        return states, (x, x_hat), (length, sounds, classes, of_all)


@dataclasses.dataclass
class _Sums:
    """Of the clips of one class."""

    clips: int = 0
    sounding: int = 0
    bits: float = 0.0
    seconds: float = 0.0
    values: dict[str, float] = dataclasses.field(default_factory=dict)

    def add(self, values: Mapping[str, Any], sounds: bool, bits: float, seconds: float) -> None:
        """One clip; of one that is silent no `si_sdr` counts."""
        self.clips, self.sounding = self.clips + 1, self.sounding + sounds
        self.bits, self.seconds = self.bits + bits, self.seconds + seconds
        for name, value in values.items():
            counts = sounds or name != "si_sdr"
            self.values[name] = self.values.get(name, 0.0) + float(value) * counts

    def numbers(self) -> dict[str, float]:
        """By name."""
        counts = dict.fromkeys(self.values, self.clips) | {"si_sdr": self.sounding}
        means = {name: total / counts[name] for name, total in self.values.items() if counts[name]}
        rate = {"kbits_per_second": self.bits / self.seconds / 1000.0} if self.bits else {}
        return means | rate | {"clips": float(self.clips)}
