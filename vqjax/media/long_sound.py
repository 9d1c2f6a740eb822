"""Sound files of any length: decoded once, to a temporary file, and read from there in blocks."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from vqjax.media.resampling import Resampler
from vqjax.media.sound_file import BadSound, opened
from vqjax.media.sound_samples import VALUES, Rounding, check_rate, mono_blocks, suffix_note
from vqjax.types import UsageError

_IN_MEMORY = 1 << 25  # bytes; of longer sounds they are on the disk
_ENDLESS = 1 << 62  # samples


class LongSound:
    """A decoded sound; made by `long_sound`.

    Attributes:
        samples: how many there are.
        rate: of them per second.
        file_samples: how many the file has of each channel.
        file_rate: of these per second.
        notes: what is odd about the file, a few words each.
    """

    def __init__(
        self, file: BinaryIO, rate: int, file_samples: int, file_rate: int, notes: tuple[str, ...]
    ) -> None:
        self._file = file
        self.samples = file.seek(0, os.SEEK_END) // 2
        self.rate, self.file_samples, self.file_rate = rate, file_samples, file_rate
        self.notes = notes

    def blocks(self, samples: int = VALUES) -> Iterator[np.ndarray]:
        """Yields all of it, int16[n], n at most `samples`; one iteration at a time."""
        self._file.seek(0)
        while data := self._file.read(2 * samples):
            yield np.frombuffer(data, np.int16)


@contextlib.contextmanager
def long_sound(
    path: str | bytes | os.PathLike, rate: int | None = None, *, max_seconds: float | None = None
) -> Iterator[LongSound]:
    """A sound as `read_sound` reads it, the same samples bit for bit, within `with`. Memory holds a
    block, and the disk two bytes of each sample.

    Args:
        path: of the file.
        rate: to resample to, in Hz; None: that of the file.
        max_seconds: a longer file is bad; None: none is too long.

    Raises:
        BadSound: the file is damaged, empty, too long, or no such sound.
        UsageError: soundfile is not installed, or `rate` is none.
    """
    if rate is not None:
        check_rate(rate)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        with opened(path) as sound:
            header = sound.header
            most = _ENDLESS if max_seconds is None else int(max_seconds * header.rate)
            if header.frames is not None and header.frames > most:
                seconds = header.frames / header.rate
                raise BadSound(f"{seconds:,.0f} s, more than max_seconds={max_seconds:g}")
            try:
                resampler = Resampler(header.rate, rate or header.rate)
            except UsageError as error:
                raise BadSound(str(error)) from error
            rounding, decoded = Rounding(), 0
            for mono in mono_blocks(sound, header.frames, most):
                decoded += len(mono)
                # As `read_sound` keeps what it resamples.
                x = mono if rate in (None, header.rate) else mono.astype(np.float32)
                file.write(rounding(resampler.push(x)).tobytes())
            file.write(rounding(resampler.end()).tobytes())
            if not decoded:
                raise BadSound("no sound in it")
            notes = sound.missing(decoded)
        notes = (*suffix_note(path, header.format), *notes, *rounding.notes())
        yield LongSound(file, rate or header.rate, decoded, header.rate, notes)
