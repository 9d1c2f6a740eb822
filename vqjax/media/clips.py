"""The sounds of a gallery as files beside its sheet, for a page that plays them."""

import io
import os
import pathlib
import re
import wave
from collections.abc import Sequence

import numpy as np

from vqjax.media.audio import sound_bytes, to_int16
from vqjax.media.gallery import Gallery
from vqjax.media.stream_gallery import StreamGallery
from vqjax.types import UsageError

SUFFIXES = (".flac", ".wav")
LEAST_RATE = 3_000  # Hz that browsers play
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,39}")
_NAME = re.compile(r"(\d{8,})_\d+_[A-Za-z0-9-]+(\.flac|\.wav)")
_KINDS = {b"fLaC": "audio/flac", b"RIFF": "audio/wav"}  # by how a file begins


def clip_bytes(sound: np.ndarray, rate: int) -> tuple[str, bytes]:
    """The suffix and the content of a file of a sound float[T], T at least 1: FLAC, or a WAV twice
    as large where soundfile is missing or FLAC has no such rate.
    """
    samples = to_int16(sound)
    try:
        return ".flac", sound_bytes(samples, rate, "flac")
    except UsageError:
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(samples.astype("<i2").tobytes())
        return ".wav", buffer.getvalue()


def clip_files(step: int, gallery: Gallery | StreamGallery) -> dict[str, bytes]:
    """{name: content} of the files of all sounds of a gallery; {} where it has none to play."""
    files = {}
    for row, (sounds, rate) in gallery.clips().items():
        for number, sound in enumerate(sounds):
            if len(sound) and round(rate) >= LEAST_RATE:
                suffix, content = clip_bytes(sound, round(rate))
                files[_stem(step, number, row, tuple(gallery.rows)) + suffix] = content
    return files


def clip_path(
    folder: str | os.PathLike, step: int, number: int, row: str, rows: Sequence[str]
) -> pathlib.Path | None:
    """The file of a sound of the gallery of a step, if it is there.

    Args:
        folder: of the sheets.
        step: of the evaluation.
        number: of the example.
        row: its row.
        rows: names of all rows.
    """
    stem = _stem(step, number, row, rows)
    paths = (pathlib.Path(folder) / (stem + suffix) for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def clip_kind(content: bytes) -> str | None:
    """The media type of a clip's file, as its first bytes have it; None: it is no clip."""
    return _KINDS.get(content[:4])


def is_clip_of_other_step(name: str, step: int) -> bool:
    """Whether a file of this name is a clip of the gallery of another step."""
    found = _NAME.fullmatch(name)
    return found is not None and int(found[1]) != step


def _stem(step: int, number: int, row: str, rows: Sequence[str]) -> str:
    """Of a file, named after its row; after the row's number where a name could be no file's."""
    plain = all(_WORD.fullmatch(name) for name in rows)
    return f"{step:08d}_{number}_{row if plain else tuple(rows).index(row)}"
