"""`Stream`: one stream of sound of an opened run, from samples to tokens and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqjax.media.audio import to_int16
from vqjax.runs.stream import HOPS, Pipe, lanes, up_to
from vqjax.runs.tokenizer import TokenArrays
from vqjax.types import UsageError


class Stream:
    """One stream of sound, made by `SoundRun.stream`: samples go in by `encode`, tokens by
    `decode`, independently of each other.

    A call returns what is ready: each `HOPS` hops give as many frames. `run.encode` of a whole clip
    gives what `encode` of its pieces and `end_encoding` do, at the same gain, bit for bit; and
    `run.decode` likewise.
    """

    def __init__(self, run: Any, gain: np.float32) -> None:
        self._run, self._gain = run, gain
        with run._context():
            self._encoder: Pipe = run._streams.encoder()
        self._decoder: Pipe | None = None
        self._came = self._left = 0  # samples in, frames out
        self._received = self._made = 0  # frames in, samples out

    @property
    def latency(self) -> int:
        """Samples that must come before the first ones can be decoded."""
        return HOPS * self._run.task.hop

    def encode(self, samples: np.ndarray) -> TokenArrays:
        """Takes int16 or float [n], any n; returns tokens, int32 [m] per level, m of 0 or more.

        Raises:
            UsageError: another rank or dtype; floats that are not in [-1, 1].
        """
        array = np.asarray(samples)
        if array.ndim != 1:
            raise UsageError(f"stream: {array.dtype} {list(array.shape)}, wanted samples [n]")
        clips = np.zeros((1, 0, 1), np.float32)
        if array.size:
            clips, _ = self._run._checked_sound(array)
        self._came += clips.shape[1]
        return self._pushed(clips * self._gain)

    def end_encoding(self) -> TokenArrays:
        """The last tokens; after it another signal may begin."""
        task, run = self._run.task, self._run
        frames = task.frames_of(self._came) if self._came else 0
        missing = up_to(frames, HOPS) * task.hop - self._came
        before = self._left
        tokens = self._pushed(np.zeros((1, max(missing, 0), run.shape[-1]), np.float32))
        with run._context():
            self._encoder = run._streams.encoder()
        self._came = self._left = 0
        return _cut(tokens, max(frames - before, 0))

    def _pushed(self, clips: np.ndarray) -> TokenArrays:
        with self._run._context():
            arrays = self._encoder.push(lanes(clips))
        self._left += arrays[0].shape[1]
        return self._run._named(tuple(a[0] for a in arrays))

    def decode(self, tokens: TokenArrays) -> np.ndarray:
        """Takes tokens [m], as `encode` gives them; returns int16 [n], n of 0 or more."""
        _, indices = self._run._with_batch(tokens)
        arrays = tuple(indices.values()) if isinstance(indices, Mapping) else (indices,)
        if arrays[0].shape[1]:
            arrays = self._run._checked_tokens(indices)
        self._received += arrays[0].shape[1]
        return self._sound(arrays)

    def end_decoding(self) -> np.ndarray:
        """The last samples; after it other tokens may begin."""
        if self._decoder is None or not self._received:
            return np.zeros(0, np.int16)
        missing = up_to(self._received, HOPS) - self._received
        made = self._run._samples_of(self._received) - self._made
        last = self._last
        sound = self._sound(tuple(np.repeat(a, missing, 1) for a in last))[:made]
        self._decoder, self._received, self._made = None, 0, 0
        return sound

    def _sound(self, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        run = self._run
        with run._context():
            if self._decoder is None:
                self._decoder = run._streams.decoder(arrays)
            if arrays[0].shape[1]:
                self._last = tuple(a[:, -1:] for a in arrays)
            (sound,) = self._decoder.push(*(lanes(a) for a in arrays))
        if not self._made and sound.shape[1]:  # the first hop is of what was before the beginning
            sound = sound[:, run.task.hop :]
        self._made += sound.shape[1]
        return to_int16(sound[0, :, 0] / self._gain)


def _cut(tokens: TokenArrays, count: int) -> TokenArrays:
    if isinstance(tokens, dict):
        return {name: a[:count] for name, a in tokens.items()}
    return tokens[:count]
