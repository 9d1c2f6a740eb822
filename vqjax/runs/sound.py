"""A trained tokenizer of sound from Python: waveforms in, tokens out, and back.

    run = vqjax.load("runs/spoken_digit_codec")
    tokens, gain = run.encode(samples, rate=44_100, return_gain=True)
    samples = run.decode(tokens, gain=gain, length=run.resampled_length(len(samples), 44_100))

Tokens are of sound at the level of training. Of causal networks one program of a fixed number of
hops does all of it, whole clips and streams alike; else lengths are padded up a ladder of few.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from vqjax import arguments
from vqjax.evaluation.sound import SoundEvaluator, rung
from vqjax.media.audio import to_int16
from vqjax.media.resampling import resampled_length
from vqjax.ops import progress
from vqjax.runs.base import Calls, Opening, Sizes
from vqjax.runs.clips import MOST_GAIN, at_rate, checked_clips, checked_gain
from vqjax.runs.examples import held_out_clips, in_parts
from vqjax.runs.footprint import Footprint, codec_sizes
from vqjax.runs.sound_stream import Stream
from vqjax.runs.stream import HOPS, LANES, Pipe, StreamPrograms, edge, lanes, stream_call, up_to
from vqjax.runs.tokenizer import TokenArrays, TokenizerRun
from vqjax.training.experiment import Experiment
from vqjax.types import ArraySpec, UsageError

PADDED_SAMPLES = 1 << 20  # of one call's batch, at most


class Encoded(NamedTuple):
    """What `encode(..., return_gain=True)` returns."""

    tokens: TokenArrays
    gain: np.ndarray


class SoundRun(TokenizerRun):
    """A trained tokenizer of sound; made by `vqjax.load`. Attributes: see `Run`.

    Sound is int16, or float in [-1, 1]: one clip [T], or clips of one length [B, T, C].
    """

    kind = "sound codec"
    headline = ("si_sdr", "mel_distance", "kbits_per_second")
    shows = "Reconstructions"
    reads = "sound"
    next_commands = ("vqjax report RUN", "vqjax reconstruct RUN --out out")
    evaluator = SoundEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        spec = opening.opened.inputs[self.task.inputs]
        self.rate: int = round(spec.rate or 0)
        self.dtype = "int16"
        self._padded_encode = jax.jit(self._encode_batch)
        self._padded_decode = jax.jit(self._decode_sound)

    @classmethod
    def abilities(cls, experiment: Experiment) -> dict[str, str | None]:
        """As of any tokenizer, without what only pictures have; it streams where it is causal."""
        abilities = super().abilities(experiment)
        if abilities.get("interpolate", "") is None:
            abilities["interpolate"] = "interpolations are of pictures"
        reason = None if experiment.task.streams else "its networks are not causal"
        return abilities | {"stream": reason}

    def held_out_clips(self, count: int) -> list[np.ndarray]:
        """The first `count` whole clips that training never saw, or all there are: int16[n] each,
        of the first channel. See `held_out`.
        """
        self._check_process()
        return [clip[:, 0] for clip in held_out_clips(self.experiment, count)]

    @classmethod
    def footprint(cls, experiment: Experiment, inputs: Mapping[str, ArraySpec]) -> Footprint:
        """Also its sizes in time: see `TokenizerRun.footprint`."""
        task = experiment.network_task()
        sizes = super().footprint(experiment, inputs)
        return dataclasses.replace(sizes, codec=codec_sizes(task, inputs[task.inputs].rate))

    @classmethod
    def single_calls(cls, task: Any, shape: tuple[int, ...]) -> Calls:
        """Encoding, decoding, and both of a piece of a stream: see `Run.single_calls`."""
        calls = super().single_calls(task, shape)
        return {**calls, "stream": functools.partial(stream_call, task)} if task.streams else calls

    @classmethod
    def seconds_of_calls(cls, task: Any, spec: ArraySpec) -> dict[str, float]:
        """See `Run.seconds_of_calls`."""
        if not spec.rate:
            return {}
        example = spec.shape[0] / spec.rate
        piece = {"stream": HOPS * task.hop / spec.rate} if task.streams else {}
        return {"encode": example, "decode": example, **piece}

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        task = experiment.network_task()
        codes = "tokens" if task.tokenizer.level_names else "real numbers"
        if sizes is not None and not short:
            found = {level.codebook_size for level in sizes.levels}
            of = f" of {min(found):,} codes" if len(found) == 1 else ""
            count = len(sizes.levels) or sizes.latents[-1]
            codes = f"{count:,} {codes}{of} for every {task.hop:,} samples"
        return f" that learns to turn sound from {data} into {codes} and back"

    @classmethod
    def evaluated(cls, experiment: Experiment, sizes: Sizes) -> tuple[str, ...]:
        """See `Run.evaluated`."""
        del experiment, sizes
        return cls.headline[:2]

    @functools.cached_property
    def _streams(self) -> StreamPrograms:
        channels = self.shape[-1]
        return StreamPrograms(self.task, *self._variables, channels, self._mesh)

    def resampled_length(self, length: int, rate: int | None = None) -> int:
        """Samples at the run's rate of `length` samples at `rate` Hz (None: the run's)."""
        return length if rate in (None, self.rate) else resampled_length(length, rate, self.rate)

    def gain_of(self, sound: np.ndarray) -> np.float32:
        """The factor that brings a clip, int16[T, C], to the level of training; 1 where training
        left levels as they are.
        """
        return self.gain_of_pieces((sound,))

    def gain_of_pieces(self, pieces: Iterable[np.ndarray]) -> np.float32:
        """`gain_of` a clip that comes in pieces, int16[n]."""
        loudness = getattr(self.experiment.data, "loudness", None)
        return np.float32(1.0) if loudness is None else loudness.gain_of_pieces(pieces)

    def encode(
        self, sound: np.ndarray, rate: int | None = None, *, return_gain: bool = False
    ) -> TokenArrays | Encoded:
        """Tokens of sound, at the level of training.

        Args:
            sound: int16, or float in [-1, 1]: [T] or [B, T, C], any T of at least 1, and any B.
            rate: Hz of `sound`; another than the run's is resampled. None: the run's.
            return_gain: whether to return the factors by which levels were changed, too.

        Returns:
            int32 [B, F], F frames (of [T]: [F]), in a dict by level name where there are several;
            without indices the mean latents, float32 [B, F, D]. With `return_gain` a pair of these
            and float32 [B] (of [T]: []).

        Raises:
            UsageError: another rank, dtype or number of channels; no samples; floats that are not
                in [-1, 1]; a rate that is none.
        """
        self._check_process()
        clips, single = self._checked_sound(sound)
        clips = self._at_rate(clips, rate)
        gains = np.array([self.gain_of(to_int16(clip)) for clip in clips], np.float32)
        with self._context():
            arrays = self._encoded(clips * gains[:, None, None])
        tokens = self._named(tuple(a[0] if single else a for a in arrays))
        return Encoded(tokens, gains[0] if single else gains) if return_gain else tokens

    def decode(
        self,
        indices: TokenArrays | Mapping[str, np.ndarray],
        *,
        gain: np.ndarray | float | None = None,
        length: int | None = None,
    ) -> np.ndarray:
        """Sound of tokens, or of the first few levels of them where that can be decoded.

        Args:
            indices: as `encode` returns them.
            gain: the factors that `encode` returned, which are taken back; None: sound stays at
                the level of training.
            length: samples; None: all that the frames have.

        Returns:
            int16 [B, T, C], of one clip's tokens [F] int16 [T]; what is beyond full scale is
            clipped.

        Raises:
            UsageError: missing or unknown levels, another dtype or rank, indices out of range; a
                length that the frames do not have.
        """
        self._check_process()
        single, indices = self._with_batch(indices)
        arrays = self._checked_tokens(indices)
        most = self._samples_of(arrays[0].shape[1])
        length = most if length is None else arguments.whole("length", length, 0, most)
        count = len(arrays[0])
        factors = np.ones(count, np.float32) if gain is None else checked_gain(gain, count)
        arguments.check_room(f"{count} clips of {most} samples", 4 * count * most)
        with self._context():
            sound = self._decoded(arrays)[:, :length] / factors[:, None, None]
        sound = to_int16(sound)
        return sound[0, :, 0] if single else sound

    def reconstruct(
        self, sound: np.ndarray, rate: int | None = None, *, codebooks: int | None = None
    ) -> np.ndarray:
        """Sound as its tokens, of the first `codebooks` levels or all, describe it: int16 of the
        same length and level, at the run's rate. See `encode`.
        """
        tokens, gain = self.encode(sound, rate, return_gain=True)
        shape = np.shape(sound)
        length = self.resampled_length(shape[0] if len(shape) == 1 else shape[1], rate)
        if codebooks is not None:
            tokens = self.first(tokens, codebooks)
        return self.decode(tokens, gain=gain, length=length)

    def reconstruct_pieces(
        self, pieces: Iterable[np.ndarray], gain: float, *, codebooks: int | None = None
    ) -> Iterator[np.ndarray]:
        """`reconstruct` of one clip that comes in pieces: the same samples, bit for bit, in others.

        Where the networks are causal, memory holds a piece; else all of the clip.

        Args:
            pieces: int16[n] at the run's rate, of one channel.
            gain: of the whole clip, as `gain_of_pieces` returns it.
            codebooks: see `reconstruct`.

        Raises:
            UsageError: there are not so many codebooks, or the run has several channels.
        """
        if self.shape[-1] != 1:
            raise UsageError(f"pieces have one channel, the run was trained on {self.shape[-1]}")
        codebooks = None if codebooks is None else self._checked_codebooks(codebooks)
        if self.task.streams:
            return self._streamed(pieces, gain, codebooks)
        clip = np.concatenate([np.zeros(0, np.int16), *pieces])
        return iter((self.reconstruct(clip, codebooks=codebooks),))

    def _streamed(
        self, pieces: Iterable[np.ndarray], gain: float, codebooks: int | None
    ) -> Iterator[np.ndarray]:
        stream, samples, left = self.stream(gain), 0, 0

        def decoded(tokens: TokenArrays) -> np.ndarray:
            return stream.decode(tokens if codebooks is None else self.first(tokens, codebooks))

        for piece in pieces:
            samples += len(piece)
            left += len(sound := decoded(stream.encode(piece)))
            yield sound
        sound = np.concatenate([decoded(stream.end_encoding()), stream.end_decoding()])
        yield sound[: samples - left]

    def first(self, tokens: TokenArrays, codebooks: int) -> TokenArrays:
        """The tokens of the first `codebooks` levels.

        Raises:
            UsageError: there are not so many.
        """
        codebooks = self._checked_codebooks(codebooks)
        if not isinstance(tokens, Mapping):
            return tokens
        return {name: tokens[name] for name in self.task.tokenizer.level_names[:codebooks]}

    def _checked_codebooks(self, codebooks: Any) -> int:
        names = self.task.tokenizer.level_names
        if not names:
            raise UsageError(f"codebooks={arguments.got(codebooks)}: this run has none")
        return arguments.whole("codebooks", codebooks, 1, len(names))

    def stream(self, gain: float | None = None) -> Stream:
        """Sound piece by piece.

        Args:
            gain: factor of samples before they are encoded, and taken back after decoding, since a
                stream's level is not known before its end; None: 1, of sound at the level of
                training.

        Raises:
            UsageError: its networks are not causal, or its sound has several channels.
        """
        self._check_process()
        if not self.task.streams:
            raise UsageError("no stream: the networks of this run are not causal")
        if self.shape[-1] != 1:
            raise UsageError(f"no stream: the sound of this run has {self.shape[-1]} channels")
        gain = 1.0 if gain is None else arguments.real("gain", gain, above=0.0, most=MOST_GAIN)
        return Stream(self, np.float32(gain))

    # What follows works on float32 [B, T, C] at the level of training, and tuples of frames.

    def _encoded(self, clips: np.ndarray) -> tuple[np.ndarray, ...]:
        frames = self.task.frames_of(clips.shape[1])
        if self.task.streams:
            after = up_to(frames, HOPS) * self.task.hop - clips.shape[1]
            clips = np.pad(clips, ((0, 0), (0, after), (0, 0)))
            return self._piped(self._streams.encoder, (clips,), frames, "encoding")
        samples = rung(clips.shape[1] + self.task.look_ahead, self.task.hop)
        clips = np.pad(clips, ((0, 0), (0, samples - clips.shape[1]), (0, 0)))
        program = functools.partial(self._padded_encode, *self._variables)
        arrays = in_parts(program, (clips,), max(1, PADDED_SAMPLES // samples), "clips")
        arrays = (arrays,) if isinstance(arrays, np.ndarray) else arrays
        return tuple(a[:, :frames] for a in arrays)

    def _decoded(self, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        frames = arrays[0].shape[1]
        most = self._samples_of(frames)
        if self.task.streams:
            hop = self.task.hop
            padded = tuple(edge(a, up_to(frames, HOPS)) for a in arrays)
            decoder = functools.partial(self._streams.decoder, arrays)
            return self._piped(decoder, padded, most + hop, "decoding")[0][:, hop:]
        samples = rung(most + self.task.look_ahead, self.task.hop)
        padded = tuple(edge(a, self.task.frames_of(samples)) for a in arrays)
        program = functools.partial(self._padded_decode, *self._variables)
        return in_parts(program, padded, max(1, PADDED_SAMPLES // samples), "clips")[:, :most]

    def _piped(self, make: Any, arrays: tuple[np.ndarray, ...], count: int, what: str) -> tuple:
        """The first `count` positions of what comes out for arrays [B, n, ..]."""
        groups = [[] for _ in range(-(-len(arrays[0]) // LANES))]
        size = make().size
        calls, done = len(groups) * -(-arrays[0].shape[1] // size), 0
        for number, results in enumerate(groups):
            pipe: Pipe = make()
            rows = slice(number * LANES, (number + 1) * LANES)
            signals = tuple(lanes(a[rows]) for a in arrays)
            for start in range(0, signals[0].shape[1], size):
                results.append(pipe.push(*(a[:, start : start + size] for a in signals)))
                done += 1
                progress.tell(what, done, calls)
        joined = [tuple(np.concatenate(p, 1) for p in zip(*r, strict=True)) for r in groups]
        if not joined:
            return tuple(a[:0, :count] for a in make().push(*(lanes(a) for a in arrays)))
        rows = zip(*joined, strict=True)
        return tuple(np.concatenate(parts)[: len(arrays[0]), :count] for parts in rows)

    def _decode_sound(self, params: Any, collections: Any, *arrays: jax.Array) -> jax.Array:
        if not self._discrete:
            return self.task.decode_latents(params, collections, arrays[0])
        names = self.task.tokenizer.level_names
        indices = dict(zip(names, arrays, strict=False))
        return self.task.decode_indices(params, collections, indices)

    @property
    def _discrete(self) -> bool:
        return bool(self.task.tokenizer.level_names)

    def _named(self, arrays: tuple[np.ndarray, ...]) -> TokenArrays:
        if len(arrays) == 1:
            return arrays[0]
        return dict(zip(self.task.tokenizer.level_names, arrays, strict=False))

    def _samples_of(self, frames: int) -> int:
        if not (samples := self.task.samples_of(frames)):
            least = self.task.frames_of(self.task.hop)
            raise UsageError(f"{frames} frames have no samples: wanted at least {least}")
        return samples

    def _checked_sound(self, sound: Any) -> tuple[np.ndarray, bool]:
        """float32 [B, T, C], and whether it was one clip [T]."""
        return checked_clips(sound, self.shape[-1])

    def _at_rate(self, clips: np.ndarray, rate: int | None) -> np.ndarray:
        return at_rate(clips, rate, self.rate)

    def _with_batch(self, indices: Any) -> tuple[bool, Any]:
        """Whether these are the tokens of one clip, without a batch axis; and them with one."""
        rank = 1 if self._discrete else 2
        if isinstance(indices, Mapping):
            if not all(np.ndim(a) == rank for a in indices.values()) or not indices:
                return False, indices
            return True, {name: np.asarray(a)[None] for name, a in indices.items()}
        single = np.ndim(indices) == rank
        return single, np.asarray(indices)[None] if single else indices

    def _checked_tokens(self, indices: Any) -> tuple[np.ndarray, ...]:
        """As of any tokenizer; or of the first few levels, where that can be decoded."""
        names = self.task.tokenizer.level_names
        first = names[: len(indices)] if isinstance(indices, Mapping) else ()
        few = 0 < len(first) < len(names) and set(first) == set(indices)
        if not few or not self.task.tokenizer.quantizer.decodes_first_levels:
            return super()._checked_tokens(indices)
        rest = np.zeros_like(np.asarray(indices[first[0]]))
        filled = {name: indices.get(name, rest) for name in names}
        return super()._checked_tokens(filled)[: len(first)]
