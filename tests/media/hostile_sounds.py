"""Sound files as they should not be, and a few odd ones that are good: how each must come out."""

import functools
import io
import os
import pathlib
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RATE = 16_000


class Hostile(NamedTuple):
    """A file and what must come of it.

    Attributes:
        make: writes it to a path.
        is_used: whether there is sound in it.
        words: of its note, where it is used, else of the reason why not; "": it has no note.
    """

    make: Callable[[pathlib.Path], None]
    is_used: bool
    words: str


def tone(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """int16[n]: a sweep, for which encoders need more bits here than there."""
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 300, len(t))
    return (9_000 * np.sin(2 * np.pi * (200 + 300 * t) * t) + noise).astype(np.int16)


def encoded(
    x: np.ndarray, container: str, subtype: str | None = "PCM_16", rate: int = RATE
) -> bytes:
    """A file as soundfile writes it: x[n] or [n, channels]."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, x, rate, subtype=subtype, format=container)
    return buffer.getvalue()


def wav(
    data: bytes,
    rate: int = RATE,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,
    size: int | None = None,
    riff: int | None = None,
    before: bytes = b"",
) -> bytes:
    """A WAV file of any numbers; `before`: chunks in front of the samples."""
    width = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * width & 0xFFFFFFFF, width, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + before
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def _pcm(x: np.ndarray) -> bytes:
    return x.astype("<i2").tobytes()


def _floats(*values: float) -> bytes:
    x = np.sin(np.arange(8_000) / 9)
    x[100 : 100 + len(values)] = values
    return wav(x.astype("<f4").tobytes(), tag=3, bits=32)


def flac_of_length(frames: int) -> bytes:
    """A FLAC file of one second whose header says `frames`; 0: that it does not know."""
    data = bytearray(encoded(tone(), "FLAC"))
    data[21] &= 0xF0
    data[22:26] = struct.pack(">I", frames)
    return bytes(data)


def mp3_without_length() -> bytes:
    """An MP3 of 20 s and variable bit rate without its first frame, which says how long it is."""
    data = encoded(np.concatenate([tone(2.0) // 50, tone(18.0)]), "MP3", None)
    return data[data.index(data[:2], 2) :]


def damaged(data: bytes, at: float, length: int = 1) -> bytes:
    """`data` with `length` bytes at the share `at` of it turned around."""
    start = int(len(data) * at)
    spoiled = bytes(byte ^ 0x77 for byte in data[start : start + length])
    return data[:start] + spoiled + data[start + length :]


def _cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def _content(data: bytes) -> Callable[[pathlib.Path], None]:
    return lambda path: path.write_bytes(data)


def _no_permission(path: pathlib.Path) -> None:
    path.write_bytes(wav(_pcm(tone())))
    path.chmod(0)


def _art() -> bytes:
    """An ID3 tag with a picture and nothing behind it."""
    frame = b"APIC" + struct.pack(">I", 1_000) + bytes(2) + b"\0image/png\0\3\0" + bytes(987)
    return b"ID3\3\0\0" + bytes([0, 0, len(frame) >> 7, len(frame) & 127]) + frame


@functools.cache
def hostile_sounds() -> dict[str, Hostile]:
    """{file name: the file}; names hold a line break, letters of other scripts, 250 characters."""
    x, pcm = tone(), _pcm(tone())
    ogg, opus = encoded(x, "OGG", "VORBIS"), encoded(x, "OGG", "OPUS")
    mp3, flac, aiff = encoded(x, "MP3", None), encoded(x, "FLAC"), encoded(x, "AIFF")
    long_ogg = encoded(tone(20.0), "OGG", "VORBIS")
    is_root = os.access("/root", os.R_OK)
    bad = {
        "empty.wav": (b"", "empty"),
        "zero.flac": (b"", "empty"),
        "text.wav": (b"This is a text and no sound at all.\n" * 9, "not read here"),
        "header.wav": (wav(pcm)[:20], "damaged"),
        "nothing.wav": (wav(b""), "no sound in it"),
        "cut.ogg": (_cut(ogg, 0.6), ""),  # damaged, or no sound in it
        "cut.flac": (_cut(flac, 0.6), "damaged"),
        "flipped.flac": (damaged(flac, 0.5), "damaged"),
        "flipped.ogg": (damaged(long_ogg, 0.5), "damaged"),
        "flipped.opus": (damaged(opus, 0.5), "damaged"),
        "flipped.mp3": (damaged(mp3, 0.5, 600), "damaged: "),
        "nan.wav": (_floats(np.nan), "NaN or infinity"),
        "infinity.wav": (_floats(np.inf, -np.inf), "NaN or infinity"),
        "huge.wav": (_floats(3e30), "values up to 3e+30"),
        "one_hertz.wav": (wav(pcm, rate=1), "a sample rate of 1 Hz"),
        "gigahertz.wav": (wav(pcm, rate=2_000_000_000), "a sample rate of 2,000,000,000 Hz"),
        "four_gigahertz.wav": (wav(pcm, rate=4_000_000_000), "damaged"),
        "ten_hours.flac": (flac_of_length(36_000 * RATE), "36,000 s, more than max_seconds="),
        "film.m4a.wav": (b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(4_000), "not read here"),
        "art.mp3": (_art(), "damaged"),
        "no_channels.wav": (wav(pcm, channels=0), "damaged: Channel count is zero"),
        "choir.wav": (wav(pcm[:1300], channels=65), "65 channels, wanted 1 to 64"),
        "film.ogg": (b"OggS\0\2" + bytes(20) + b"\1\x2a\x80theora" + bytes(100), "damaged"),
        "film.avi.wav": (b"RIFF\0\1\0\0AVI LIST" + bytes(200), "damaged"),
        "sun.wav": (encoded(x, "AU"), "not read here"),
    }
    good = {
        "cut.wav": (_cut(wav(pcm), 0.4), "ends early: 6,386 of 16,000 samples"),
        "cut.aiff": (_cut(aiff, 0.4), "ends early: 6,3"),
        "cut.mp3": (_cut(mp3, 0.6), "ends early: "),
        "cut_late.ogg": (_cut(long_ogg, 0.6), "ends early: its last page is missing"),
        "no_length.flac": (flac_of_length(0), ""),
        "no_length.mp3": (mp3_without_length(), "its header has no length: what follows sample"),
        "loud.wav": (
            _floats(*(5.0 * np.sin(np.arange(4_000) / 9))),
            "samples clipped: the peak is 5",
        ),
        "riff_lies.wav": (wav(pcm, riff=2_000_000_000), ""),
        "data_lies.wav": (wav(pcm, size=2_000_000_000), "ends early: 16,000 of 1,000,000,000"),
        "piped.wav": (wav(pcm, size=0xFFFFFFFF, riff=0xFFFFFFFF), ""),
        "six.wav": (encoded(np.stack([x] * 6, 1), "WAV"), ""),
        "fast.wav": (encoded(tone(rate=96_000), "WAV", rate=96_000), ""),
        "deep.wav": (encoded(x, "WAV", "PCM_24"), ""),
        "flat.wav": (encoded(x, "WAV", "PCM_U8"), ""),
        "telephone.wav": (encoded(x, "WAV", "ULAW"), ""),
        "one.wav": (wav(pcm[:2]), ""),
        "short.wav": (wav(pcm[:74]), ""),
        "mp3.wav": (mp3, "named .wav, is mp3"),
        "wav.mp3": (wav(pcm), "named .mp3, is wav"),
        "silence.wav": (wav(bytes(8_000)), ""),
        "constant.wav": (wav(_pcm(np.full(4_000, 12_345))), ""),
        "odd.wav": (wav(pcm, before=b"junk" + struct.pack("<I", 3) + b"abc\0"), ""),
        "line\nbreak.wav": (wav(pcm), ""),
        "grüße-音.flac": (flac, ""),
        f"{'l' * 246}.wav": (wav(pcm), ""),
    }
    return {
        **{name: Hostile(_content(data), False, words) for name, (data, words) in bad.items()},
        **{name: Hostile(_content(data), True, words) for name, (data, words) in good.items()},
        "directory.wav": Hostile(pathlib.Path.mkdir, False, "no plain file"),
        "pipe.wav": Hostile(os.mkfifo, False, "no plain file"),
        "dangling.wav": Hostile(lambda path: path.symlink_to("nowhere"), False, "it is gone"),
        "loop.wav": Hostile(lambda path: path.symlink_to(path), False, "symbolic links"),
        "no_permission.wav": Hostile(_no_permission, is_root, "" if is_root else "ermission"),
    }


FEW = (
    "empty.wav", "text.wav", "nothing.wav", "cut.wav", "cut.mp3", "flipped.flac", "flipped.mp3",
    "nan.wav", "loud.wav", "one_hertz.wav", "ten_hours.flac", "pipe.wav",
)  # fmt: skip
