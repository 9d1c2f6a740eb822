"""What the codecs of libsndfile make of the eval split, to compare a tokenizer of sound with."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, merged, over_split
from vqjax.evaluation.sound import rung
from vqjax.media.audio import library_version, to_int16
from vqjax.media.codecs import CODECS, coded
from vqjax.metrics import ExampleMean, State
from vqjax.metrics.sound import mel_distance, si_sdr, stft_distance
from vqjax.numbers import ordered
from vqjax.ops import progress
from vqjax.tasks.base import LENGTH, inputs_of
from vqjax.training.experiment import Experiment
from vqjax.types import Batch, UsageError

SECONDS = 600  # of sound that is one file
READ = 64  # clips at a time
BATCH_SAMPLES = 1 << 18  # of one program's batch, at most
HOP = 64  # samples: what clips are padded to is a multiple of it


class CodecEvaluator:
    """Sends every clip of the eval split, at the level that networks see, through other codecs.

    `si_sdr`, `mel_distance`, `stft_distance` as of `SoundEvaluator`, "/<name>" of each of
    `vqjax.media.codecs.CODECS` that takes the rate; `kbits_per_second` of the sound alone, all
    clips one behind the other in one file, and `file_kbits_per_second` of a file for each clip,
    with its headers.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh) -> None:
        """Touches neither data nor devices; programs compile at the first call.

        Raises:
            UsageError: the data is no sound of one channel.
        """
        self._experiment, self._mesh = experiment, mesh
        self._inputs = experiment.network_task().inputs
        spec = experiment.data.example_spec().get(self._inputs)
        if spec is None or not spec.rate or spec.shown_as != "audio" or spec.shape[-1] != 1:
            has = "nothing" if spec is None else f"{spec.dtype} {list(spec.shape)}"
            raise UsageError(f"codecs are for sound of one channel with a rate: the data has {has}")
        self._rate = float(spec.rate)
        self._program = jax.jit(self._batch_states)

    def __call__(self) -> Evaluation:
        """Evaluates once over the split.

        Raises:
            DataError: the eval split is empty.
            UsageError: soundfile is not installed.
        """
        rate = round(self._rate)
        able = [name for name, codec in CODECS.items() if not codec.rates or rate in codec.rates]
        states: dict[str, dict[str, State]] = {name: {} for name in able}
        bits = dict.fromkeys(able, 0)
        file_bits = dict.fromkeys(able, 0)
        count = samples = 0
        for group in self._groups():
            count, samples = count + len(group), samples + sum(map(len, group))
            for name in able:
                progress.tell("clips through other codecs", count, self._experiment.data.num_eval())
                joined = coded(to_int16(np.concatenate(group)), rate, name)
                bits[name] += joined.bits
                file_bits[name] += sum(coded(to_int16(x), rate, name).file_bits for x in group)
                made = np.split(joined.samples, np.cumsum([len(x) for x in group])[:-1])
                for batch in _batches(group, made):
                    states[name] = merged(states[name], self._program(batch))
        check_not_empty(count, self._experiment)
        seconds = samples / self._rate
        numbers: dict[str, float] = {}
        for name in able:
            found = {k: v for state in states[name].values() for k, v in state.compute().items()}
            found["kbits_per_second"] = bits[name] / seconds / 1000.0
            found["file_kbits_per_second"] = file_bits[name] / seconds / 1000.0
            numbers |= {f"{kind}/{name}": value for kind, value in found.items()}
        lines = [
            f"other codecs: libsndfile {library_version()}, {count:,} clips, {seconds:,.0f} s, at "
            f"the level that the networks see, as one file for every {SECONDS} s"
        ]
        if left_out := [name for name in CODECS if name not in able]:
            lines.append(f"left out, as they have no {rate:,} Hz: {', '.join(left_out)}")
        return Evaluation(ordered(numbers), protocol=tuple(lines))

    def _groups(self) -> Iterator[list[np.ndarray]]:
        """All clips, float32[n] each, in the order of the split, about `SECONDS` at a time."""
        group: list[np.ndarray] = []
        for batch in self._in_order():
            x = inputs_of(batch, self._inputs)[..., 0]  # [b, T]
            lengths = batch.get(LENGTH, np.full(len(x), x.shape[1]))
            mask = batch.get("mask", np.ones(len(x), bool))
            for row in np.flatnonzero(mask & (lengths > 0)):
                group.append(np.asarray(x[row, : lengths[row]]))
                if sum(map(len, group)) >= SECONDS * self._rate:
                    yield group
                    group = []
        if group:
            yield group

    def _in_order(self) -> Iterator[Batch]:
        data = self._experiment.data
        if not hasattr(data, "clip_lengths"):
            yield from (batch for _, batch in over_split(self._experiment, self._mesh))
            return
        lengths = data.clip_lengths("eval")  # int64[n]
        for start in range(0, len(lengths), READ):
            indices = np.arange(start, min(start + READ, len(lengths)))
            yield data.clips("eval", indices, int(lengths[indices].max()))

    def _batch_states(self, batch: Batch) -> dict[str, State]:
        x, x_hat = batch["x"][..., None], batch["x_hat"][..., None]  # [B, T, 1]
        length, mask = batch["length"], batch["mask"]
        ratio, sounds = si_sdr(x, x_hat, length)
        found = {
            "si_sdr": (ratio, mask & sounds),
            "mel_distance": (mel_distance(x, x_hat, length, self._rate), mask),
            "stft_distance": (stft_distance(x, x_hat, length), mask),
        }
        return {name: ExampleMean.of(name, *values) for name, values in found.items()}


def _batches(clips: list[np.ndarray], made: list[np.ndarray]) -> Iterator[Batch]:
    """Yields batches of clips of one rung each: {"x", "x_hat": float32[B, T], "length": int32[B],
    "mask": bool[B]}.
    """
    rungs = np.array([rung(len(clip), HOP) for clip in clips])
    for samples in np.unique(rungs).tolist():
        members = np.flatnonzero(rungs == samples)
        size = max(1, min(len(members), BATCH_SAMPLES // samples))
        for start in range(0, len(members), size):
            rows = members[start : start + size]
            batch = {
                "x": np.zeros((size, samples), np.float32),
                "x_hat": np.zeros((size, samples), np.float32),
                "length": np.zeros(size, np.int32),
                "mask": np.arange(size) < len(rows),
            }
            for row, index in enumerate(rows.tolist()):
                for name, sounds in (("x", clips), ("x_hat", made)):
                    batch[name][row, : len(sounds[index])] = sounds[index]
                batch["length"][row] = len(clips[index])
            yield {name: jnp.asarray(array) for name, array in batch.items()}
