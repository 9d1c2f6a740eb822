"""Sound files as libsndfile opens them: which format they are, and whether all of them is there."""

import contextlib
import functools
import os
import re
import stat
import struct
import tempfile
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from vqjax.extras import pip_install
from vqjax.format import printable
from vqjax.types import UsageError


class Format(NamedTuple):
    """How files of one format are known: libsndfile's names of it, and suffixes."""

    library: tuple[str, ...]
    suffixes: tuple[str, ...]


FORMATS = {
    "wav": Format(("WAV", "WAVEX", "RF64"), (".wav", ".wave")),
    "flac": Format(("FLAC",), (".flac",)),
    "ogg": Format(("OGG",), (".ogg", ".oga")),
    "opus": Format(("OGG",), (".opus",)),
    "mp3": Format(("MP3",), (".mp3",)),
    "aiff": Format(("AIFF",), (".aiff", ".aif", ".aifc")),
}
# Suffixes of sound in formats that are not read: such files are counted, never passed over.
OTHER_SUFFIXES = (
    ".3gp", ".aac", ".ac3", ".amr", ".ape", ".au", ".avi", ".caf", ".dff", ".dsf", ".dts", ".gsm",
    ".m4a", ".m4b", ".mid", ".midi", ".mka", ".mkv", ".mov", ".mp2", ".mp4", ".mpc", ".oma", ".pcm",
    ".ra", ".raw", ".snd", ".sph", ".spx", ".tta", ".voc", ".vox", ".w64", ".webm", ".wma", ".wv",
)  # fmt: skip
NOT_READ = f"not read here: {', '.join(FORMATS)}"
ENDS_EARLY = "ends early"  # how notes on files begin of which a part is missing
RATES = (1_000, 768_000)  # samples per second, the least and the most
CHANNELS = 64

_RIFF, _FORM, _OGG = b"RIFF", b"FORM", b"OggS"
_MARKS = (_RIFF, b"RF64", _FORM, b"fLaC", _OGG)  # an MP3 begins with a frame or an ID3 tag
# libsndfile's names of samples that do not depend on others; FLAC says how many bits they have.
_INDEPENDENT = (
    "PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW",
)  # fmt: skip
_ENDLESS = 0x7FFF0000  # lengths from here on are those of programs that did not know any
_UNKNOWN = 1 << 62  # frames of a FLAC file without a length, and more
_CHUNKS = 1_000  # looked at for the one that holds the samples
_PAGE = 65_307  # bytes of the largest Ogg page
_LAST_PAGE = 4  # a flag of one
_FRAME = re.compile(rb"\xff[\xe2-\xff]")  # where a frame of an MP3 begins
_BEHIND = 4_096  # bytes behind the sound of an MP3 that may be anything
# What libmpg123 writes: "Note: ...", "Warning: ...", "[src/libmpg123/layer3.c:...] error: ...".
_REMARK = re.compile(r"(?:\[[^]]*libmpg123[^]]*\] *\w+|Note|Warning): *(.*)")
_OTHER_LENGTH = "Xing stream size off"  # of a cut file, and of one with tags at its end
_MOST_REMARKS = 1 << 16  # bytes
_REMARK_WIDTH = 80  # characters of one
_stderr_lock = threading.Lock()


class BadSound(Exception):
    """The file is not a usable sound; the message says why in a few words."""


class Header(NamedTuple):
    """What the header of a file says.

    Attributes:
        rate: samples per second, 1,000 to 768,000.
        channels: 1 to 64.
        frames: samples of each channel, at least 1; None: it does not say.
        format: one of `FORMATS`, as the content has it.
    """

    rate: int
    channels: int
    frames: int | None
    format: str


@functools.cache
def library() -> tuple[Any, type]:
    """Returns soundfile and the class that opens files; UsageError where it is not installed."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: it is there, libsndfile is not
        raise UsageError(
            "sound files are read and written by soundfile, which cannot be imported "
            f"({error}): {pip_install('audio')}"
        ) from error

    class Forward(soundfile.SoundFile):
        """Reads blocks one behind the other.

        Where a file can be sought, soundfile seeks after every block to where it is: an MP3 loses
        what the next frame needs of the last ones, and a FLAC file without a length fails.
        """

        def seekable(self) -> bool:
            return False

    return soundfile, Forward


def library_version() -> str:
    """Returns the version of libsndfile, on which lengths of decoded MP3 files may depend."""
    soundfile, _ = library()
    return soundfile.__libsndfile_version__


class Remarks:
    """What libmpg123 wrote to a file in place of file descriptor 2, and what others did; None:
    nothing is written there.
    """

    def __init__(self, descriptor: int | None = None):
        self._descriptor = descriptor

    def _lines(self) -> list[bytes]:
        if self._descriptor is None:
            return []
        # Reading at a position: those who write share the file's own.
        return os.pread(self._descriptor, _MOST_REMARKS, 0).splitlines(keepends=True)

    def said(self) -> list[str]:
        """Returns the decoder's remarks so far, without those on the length of the file."""
        found = [_REMARK.match(line.decode("utf-8", "replace")) for line in self._lines()]
        said = [printable(remark[1].strip(), _REMARK_WIDTH) for remark in found if remark]
        return [remark for remark in said if not remark.startswith(_OTHER_LENGTH)]

    def of_others(self) -> bytes:
        """Returns the other lines."""
        lines = self._lines()
        return b"".join(li for li in lines if not _REMARK.match(li.decode("utf-8", "replace")))


@contextlib.contextmanager
def quiet() -> Iterator[Remarks]:
    """Collects what libmpg123 writes to file descriptor 2; what others write there goes on later.
    One thread at a time.
    """
    with _stderr_lock, tempfile.TemporaryFile() as written:
        try:
            stderr = os.dup(2)
        except OSError:  # it is closed
            yield Remarks()
            return
        remarks = Remarks(written.fileno())
        os.dup2(written.fileno(), 2)
        try:
            yield remarks
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if others := remarks.of_others():
                os.write(2, others)


class OpenSound:
    """An open file; made by `opened`.

    Attributes:
        header: what its header says.
        seeks_exactly: whether samples after `seek` are those of a decoding of the whole file, bit
            for bit. Those of Vorbis, Opus and MP3 are not, as they depend on what was before.
    """

    def __init__(self, file: Any, descriptor: int, header: Header, remarks: Remarks):
        self.header = header
        exact = header.format in ("wav", "flac", "aiff") and file.subtype in _INDEPENDENT
        self.seeks_exactly = exact and header.frames is not None
        self._file = file
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._remarks = remarks

    def seek(self, frame: int) -> None:
        """Goes to a sample, counted from 0; for files that seek exactly."""
        self._file.seek(frame)

    def blocks(self, frames: int | None, values: int) -> Iterator[np.ndarray]:
        """Yields the next `frames` samples, or all: float64[n, channels], full scale 1.0, in blocks
        of at most about so many `values`.
        """
        size = max(1, values // self.header.channels)
        while frames is None or frames > 0:
            count = size if frames is None else min(size, frames)
            block = self._file.read(count, dtype="float64", always_2d=True)
            if not len(block):
                return
            yield block
            frames = None if frames is None else frames - len(block)

    def missing(self, decoded: int) -> list[str]:
        """Returns notes on what is not there of a file that was decoded whole.

        Args:
            decoded: samples of each channel.

        Raises:
            BadSound: something in the middle is missing.
        """
        frames, kind = self.header.frames, self.header.format
        short = frames is not None and decoded < frames
        remarks = self._remarks.said()
        if short and kind == "mp3" and (remarks or self._goes_on()):
            where = f"decoding stops at sample {decoded:,} of {frames:,}"
            raise BadSound(f"damaged: {remarks[0] if remarks else where}")
        if short and kind in ("ogg", "opus"):
            raise BadSound(f"damaged: {frames - decoded:,} of {frames:,} samples are lost")
        notes = [f"the decoder says: {remark}" for remark in remarks[:1]]
        if short:
            notes.append(f"{ENDS_EARLY}: {decoded:,} of {frames:,} samples")
        elif kind == "mp3" and self._goes_on():
            notes.append(f"its header has no length: what follows sample {decoded:,} is not read")
        elif kind in ("ogg", "opus") and not self._has_last_page():
            notes.append(f"{ENDS_EARLY}: its last page is missing")
        elif kind in ("wav", "aiff"):
            notes += self._cut(decoded)
        return notes

    def _goes_on(self) -> bool:
        """Whether frames of an MP3 follow where its decoding ended."""
        position = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if self._size - position <= _BEHIND:
            return False
        return _FRAME.search(os.pread(self._descriptor, _BEHIND, position)) is not None

    def _has_last_page(self) -> bool:
        end = os.pread(self._descriptor, _PAGE, max(0, self._size - _PAGE))
        page = end.rfind(_OGG)
        return page < 0 or page + 5 >= len(end) or bool(end[page + 5] & _LAST_PAGE)

    def _cut(self, decoded: int) -> list[str]:
        """Returns a line where the header of a WAV or AIFF file says more than there is."""
        length, there = _chunk_of_samples(self._descriptor, self._size)
        if length <= there or length >= _ENDLESS:
            return []
        width = there // decoded  # bytes of a sample of all channels; 0: less than one
        have, of, what = (
            (decoded, length // width, "samples") if width else (there, length, "bytes")
        )
        return [f"{ENDS_EARLY}: {have:,} of {of:,} {what}"]


def _chunk_of_samples(descriptor: int, size: int) -> tuple[int, int]:
    """Returns how many bytes of samples a RIFF or AIFF header says, and how many follow it at most;
    (0, 0) where there is no such header.
    """
    order = {_RIFF: "<I", _FORM: ">I"}.get(os.pread(descriptor, 4, 0))
    position = 12
    for _ in range(_CHUNKS if order else 0):
        chunk = os.pread(descriptor, 8, position)
        if len(chunk) < 8:
            break
        (length,) = struct.unpack(order, chunk[4:])
        position += 8
        if chunk[:4] in (b"data", b"SSND"):
            return length, size - position
        position += length + length % 2
    return 0, 0


def _open_file(path: str | bytes | os.PathLike) -> int:
    """Returns a descriptor of a plain file that is not empty. Never waits, as a pipe would."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise BadSound("it is gone") from error
    except OSError as error:
        raise BadSound(error.strerror or str(error)) from error
    if descriptor <= 2:  # one of those was closed: it must not become that of the file
        import fcntl

        low, descriptor = descriptor, fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(low)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return descriptor
    os.close(descriptor)
    raise BadSound("empty" if stat.S_ISREG(status.st_mode) else "no plain file")


def _format_of(file: Any) -> str:
    """Returns which of `FORMATS` an open file is."""
    for name, known in FORMATS.items():
        if file.format in known.library and (name == "opus") == (file.subtype == "OPUS"):
            return name
    raise BadSound(f"{file.format}, {NOT_READ}")


def _header_of(file: Any, formats: Iterable[str]) -> Header:
    """Returns the header of an open file; BadSound where it is out of bounds."""
    name = _format_of(file)
    if name not in formats:
        raise BadSound(f"{name}, which is not among the formats to be read")
    if not RATES[0] <= file.samplerate <= RATES[1]:
        wanted = f"{RATES[0]:,} to {RATES[1]:,}"
        raise BadSound(f"a sample rate of {file.samplerate:,} Hz, wanted {wanted}")
    if not 1 <= file.channels <= CHANNELS:
        raise BadSound(f"{file.channels:,} channels, wanted 1 to {CHANNELS}")
    if file.frames <= 0:
        raise BadSound("no sound in it")
    frames = None if file.frames >= _UNKNOWN else file.frames
    return Header(file.samplerate, file.channels, frames, name)


@contextlib.contextmanager
def opened(
    path: str | bytes | os.PathLike, formats: Iterable[str] = tuple(FORMATS)
) -> Iterator[OpenSound]:
    """Opens a file, as one of `formats` whatever its name says; nothing is decoded yet.

    Raises:
        BadSound: it is damaged, empty or no such sound; also for what decoding raises inside.
        UsageError: soundfile is not installed.
    """
    soundfile, forward = library()
    descriptor = _open_file(path)
    try:
        mark = os.pread(descriptor, 4, 0)
        is_mp3 = mark[:3] == b"ID3" or _FRAME.match(mark) is not None
        if mark not in _MARKS and not is_mp3:
            raise BadSound(NOT_READ)
        # Opening an MP3 makes its decoder speak, too. A FLAC file may begin with an ID3 tag.
        with (
            quiet() if is_mp3 else contextlib.nullcontext(Remarks()) as remarks,
            forward(descriptor, closefd=False) as file,
        ):
            yield OpenSound(file, descriptor, _header_of(file, formats), remarks)
    except soundfile.LibsndfileError as error:
        text = error.error_string.removeprefix("Error").strip(" :.")
        raise BadSound(f"damaged: {text or error.code}") from error
    except soundfile.SoundFileError as error:
        raise BadSound(f"damaged: {error}") from error
    finally:
        os.close(descriptor)
