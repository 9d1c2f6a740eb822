"""int16 samples of one channel -> a sound file, whole or not at all, with the mark of vqjax."""

import contextlib
import io
import math
import os
import pathlib
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from vqjax.files import GENERATOR, output_file, write_output
from vqjax.media.sound_file import FORMATS, RATES, library
from vqjax.types import UsageError, did_you_mean

OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
# How sound is written: libsndfile's names of format and subtype, and the rates that it takes.
_WRITTEN = {
    "wav": ("WAV", "PCM_16", None),
    "flac": ("FLAC", "PCM_16", None),
    "ogg": ("OGG", "VORBIS", None),
    "opus": ("OGG", "OPUS", OPUS_RATES),
    "mp3": (
        "MP3",
        "MPEG_LAYER_III",
        (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    ),
}
WRITTEN = tuple(_WRITTEN)
# FLAC's header has bits for no more; above, the Vorbis encoder ends the process.
_HIGHEST = {"flac": 655_350, "ogg": 200_000}
Write = Callable[[np.ndarray], None]


def check_written(format: str, rate: int) -> None:
    """Refuses, with UsageError, a format that is not written, or not at `rate` Hz."""
    if format not in _WRITTEN:
        raise UsageError(f"no sound is written as {format!r}: {did_you_mean(format, _WRITTEN)}")
    rates = _WRITTEN[format][2]
    if rates and rate not in rates:
        near = min(rates, key=lambda valid: (abs(math.log(valid / rate)), -valid))
        valid = ", ".join(f"{one:,}" for one in rates)
        raise UsageError(f"{format} has {valid} Hz, not {rate:,}: the nearest is {near:,}")
    highest = _HIGHEST.get(format, RATES[1])
    if not RATES[0] <= rate <= highest:
        raise UsageError(f"{format} is written at {RATES[0]:,} to {highest:,} Hz, not at {rate:,}")


def format_of_suffix(path: str | os.PathLike) -> str | None:
    """Returns the format that a file of this name is written in; None: it says none of them."""
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    return next((name for name in WRITTEN if suffix in FORMATS[name].suffixes), None)


class _Sink:
    """A file that libsndfile writes to through callbacks, out of which no exception comes: it is
    kept in `error`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                return self._file.write(data)
            except OSError as error:
                self.error = error
        return 0

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


@contextlib.contextmanager
def _encoder(file: BinaryIO, rate: int, format: str) -> Iterator[Write]:
    """Within `with`, blocks int16[n] are encoded into an empty file.

    Raises:
        UsageError: the library refuses.
        OSError: the file cannot be written.
    """
    soundfile, _ = library()
    container, subtype, _ = _WRITTEN[format]
    sink = _Sink(file)
    try:
        with soundfile.SoundFile(sink, "w", rate, 1, subtype, format=container) as sound:
            sound.software = GENERATOR

            def write(samples: np.ndarray) -> None:
                _check_samples(samples)
                try:
                    sound.write(samples)
                except AssertionError:  # fewer were written
                    if sink.error is None:
                        raise
                if sink.error is not None:
                    raise sink.error

            yield write
    except soundfile.LibsndfileError as error:
        text = error.error_string.removeprefix("Error").strip(" :.")
        raise sink.error or UsageError(
            f"{format} cannot be written at {rate:,} Hz: {text}"
        ) from error
    if sink.error is not None:
        raise sink.error


def _check_samples(samples: np.ndarray) -> None:
    if samples.ndim != 1 or samples.dtype != np.int16:
        raise UsageError(f"samples are int16[n], got {samples.dtype}{list(samples.shape)}")


def _id3() -> bytes:
    """Returns an ID3 tag that names the program: libsndfile writes none into an MP3."""
    text = b"\0" + GENERATOR.encode("latin-1")
    frame = b"TSSE" + len(text).to_bytes(4, "big") + b"\0\0" + text
    return b"ID3\3\0\0" + len(frame).to_bytes(4, "big") + frame


def can_encode() -> bool:
    """Whether the library is there, without which WAV alone is written, whole."""
    try:
        library()
    except UsageError:
        return False
    return True


def _wav(samples: np.ndarray, rate: int) -> bytes:
    """Returns the WAV of int16[n] without the library."""
    mark = GENERATOR.encode("latin-1") + b"\0"
    mark += b"\0" * (len(mark) % 2)
    content = samples.astype("<i2").tobytes()
    chunks = (
        (b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)),
        (b"LIST", b"INFOISFT" + struct.pack("<I", len(mark)) + mark),
        (b"data", content),
    )
    body = b"".join(name + struct.pack("<I", len(chunk)) + chunk for name, chunk in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def sound_bytes(samples: np.ndarray, rate: int, format: str) -> bytes:
    """Returns a file in memory, with the mark of what vqjax writes: int16[n], n at least 1, in one
    of the formats "wav", "flac", "ogg", "opus", "mp3".

    Raises:
        UsageError: there is no such format, or it has no such rate, or nothing to write.
    """
    check_written(format, rate)
    _check_samples(samples)
    if not len(samples):
        raise UsageError("no sound to write: 0 samples")
    if format == "wav" and not can_encode():
        return _wav(samples, rate)
    buffer = io.BytesIO()
    with _encoder(buffer, rate, format) as write:
        write(samples)
    return (_id3() if format == "mp3" else b"") + buffer.getvalue()


def _written_format(path: str | os.PathLike) -> str:
    """Returns the format of the suffix; UsageError where it is no written one."""
    if name := format_of_suffix(path):
        return name
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    names = [suffix for name in WRITTEN for suffix in FORMATS[name].suffixes]
    raise UsageError(f"{path}: the suffix says the format: {did_you_mean(suffix, names)}")


def write_sound(
    path: str | os.PathLike, samples: np.ndarray, rate: int, *, overwrite: bool = False
) -> pathlib.Path:
    """Writes a sound, whole or not at all, in the format of the suffix: .wav, .flac, .ogg, .opus or
    .mp3, of which the first two are exact.

    Args:
        path: of the file.
        samples: int16[n], n at least 1.
        rate: samples per second.
        overwrite: see `files.write_output`.

    Raises:
        UsageError: the suffix is another, the format has no such rate, or `path` cannot be written.
        DataError: the disk is full, or fails.
    """
    name = _written_format(path)
    return write_output(path, sound_bytes(samples, rate, name), overwrite=overwrite)


@contextlib.contextmanager
def sound_writer(path: str | os.PathLike, rate: int, *, overwrite: bool = False) -> Iterator[Write]:
    """`write_sound` block by block: within `with`, what is yielded takes int16[n], and memory holds
    one block. The file is there at the end alone, and not where the body raises.
    """
    name = _written_format(path)
    check_written(name, rate)
    with output_file(path, overwrite=overwrite) as file:
        if name != "mp3":
            with _encoder(file, rate, name) as write:
                yield write
            return
        # libsndfile goes back to the first byte, where the tag is to be.
        with tempfile.TemporaryFile() as sound:
            with _encoder(sound, rate, name) as write:
                yield write
            sound.seek(0)
            file.write(_id3())
            shutil.copyfileobj(sound, file)
