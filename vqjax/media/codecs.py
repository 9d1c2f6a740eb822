"""The codecs of libsndfile: sound through one of them, and how many bits it takes."""

import io
from typing import NamedTuple

import numpy as np

from vqjax.media.sound_file import library
from vqjax.media.sound_writing import OPUS_RATES
from vqjax.types import UsageError, did_you_mean

_OGG_HEADERS = 2  # packets before those of the sound
_PAGE = 27  # bytes of an Ogg page before its table of segments
_FULL = 255  # a segment that its packet goes on behind
_GSM_RATE, _GSM_BLOCK, _GSM_BYTES = 8_000, 320, 65  # a block of samples, as WAV holds it


class Codec(NamedTuple):
    """How libsndfile calls a codec.

    Attributes:
        container: the format of its files.
        subtype: of that.
        rates: Hz that it takes; None: any.
        level: libsndfile's `compression_level`, 0 to 1; None: there is none.
    """

    container: str
    subtype: str
    rates: tuple[int, ...] | None = None
    level: float | None = None


class Coded(NamedTuple):
    """What comes back from a codec.

    Attributes:
        samples: float32[n], as many as went in.
        bits: of the sound alone.
        file_bits: of a file, with all its headers.
    """

    samples: np.ndarray
    bits: int
    file_bits: int


CODECS = {
    "opus_1.00": Codec("OGG", "OPUS", OPUS_RATES, 1.0),
    "opus_0.99": Codec("OGG", "OPUS", OPUS_RATES, 0.99),
    "opus_0.98": Codec("OGG", "OPUS", OPUS_RATES, 0.98),
    "opus_0.97": Codec("OGG", "OPUS", OPUS_RATES, 0.97),
    "gsm_6.10": Codec("WAV", "GSM610", (_GSM_RATE,)),
    "mu_law": Codec("WAV", "ULAW"),
}


def coded(samples: np.ndarray, rate: int, name: str) -> Coded:
    """Sends a sound through a codec.

    Args:
        samples: int16[n], n at least 1.
        rate: samples per second.
        name: one of `CODECS`.

    Raises:
        UsageError: there is no such codec, it has no such rate, or soundfile is not installed.
    """
    if name not in CODECS:
        raise UsageError(f"no codec {name!r}: {did_you_mean(name, CODECS)}")
    codec = CODECS[name]
    if codec.rates and rate not in codec.rates:
        valid = ", ".join(f"{one:,}" for one in codec.rates)
        raise UsageError(f"{name} has {valid} Hz, not {rate:,}")
    soundfile, _ = library()
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, rate, codec.subtype, format=codec.container, compression_level=codec.level
    )
    data = buffer.getvalue()
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    decoded = np.pad(decoded[: len(samples)], (0, max(0, len(samples) - len(decoded))))
    return Coded(decoded, 8 * _bytes_of_sound(data, codec.subtype, len(samples)), 8 * len(data))


def _bytes_of_sound(data: bytes, subtype: str, samples: int) -> int:
    if subtype == "OPUS":
        return sum(ogg_packets(data)[_OGG_HEADERS:])
    return -(-samples // _GSM_BLOCK) * _GSM_BYTES if subtype == "GSM610" else samples


def ogg_packets(data: bytes) -> list[int]:
    """Returns the bytes of each packet of an Ogg file, those of its pages' headers left out.

    Raises:
        ValueError: it is no such file, or not whole.
    """
    packets, position, size = [], 0, 0
    while position < len(data):
        if data[position : position + 4] != b"OggS" or position + _PAGE > len(data):
            raise ValueError(f"no page of Ogg at byte {position}")
        segments = data[position + _PAGE :][: data[position + _PAGE - 1]]
        for segment in segments:
            size += segment
            if segment < _FULL:
                packets.append(size)
                size = 0
        position += _PAGE + len(segments) + sum(segments)
    if position != len(data) or size:
        raise ValueError("it ends within a packet")
    return packets
