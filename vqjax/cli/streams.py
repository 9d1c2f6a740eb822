"""Standard output and error that a verb can rely on.

They may be closed from the start (`>&-`), full (`>/dev/full`), or lose their reader (`| head`, a
connection that is gone). What cannot be written to standard error is dropped: nobody reads it.
Standard output is the purpose of a verb, so its first failure ends the verb, as `OutputLost`; but
not a training, which is worth more than its lines.
"""

import errno
import io
import os
import select
import sys

PATIENCE_MS = 5_000  # for a reader that takes nothing, such as a stopped terminal, in a training
CHUNK = 512  # bytes that fit into a pipe wherever it has room at all: POSIX's least PIPE_BUF
STANDARD = {0: "stdin", 1: "stdout", 2: "stderr"}  # by file descriptor


class OutputLost(Exception):
    """Standard output cannot be written.

    Attributes:
        reader_left: whether that is because nobody reads it any more.
    """

    def __init__(self, error: OSError) -> None:
        self.reader_left = error.errno == errno.EPIPE
        closed = error.errno == errno.EBADF
        super().__init__(f"cannot write the output: {'closed' if closed else error.strerror}")


class _Raw(io.FileIO):
    """A standard stream's descriptor; `strict`: its first failure is raised, as `OutputLost`."""

    def __init__(self, descriptor: int, strict: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.name = f"<{STANDARD[descriptor]}>"
        self.strict = strict
        self.patient = True  # waits for a reader however long it takes
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._stalled = False

    def write(self, data: bytes | memoryview) -> int:
        """Writes a first part of `data`, or drops it; its length."""
        part = memoryview(data)[:CHUNK] if not self.patient else data
        try:
            while self._has_room():
                written = super().write(part)
                if written is not None:  # else the descriptor does not block, and was full
                    return written
        except OSError as error:
            if self.strict:
                self.strict = False
                raise OutputLost(error) from error
        return len(part)

    def _has_room(self) -> bool:
        wait = None if self.patient else 0 if self._stalled else PATIENCE_MS
        self._stalled = not self._poll.poll(wait)
        return not self._stalled


def install() -> None:
    """Replaces the program's standard streams by such."""
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            # Or the next file opened would get this number, and what is written to this stream.
            # Read-only, so that writing fails as it did.
            null = os.open(os.devnull, os.O_RDONLY)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
    for descriptor in (1, 2):
        stream = getattr(sys, STANDARD[descriptor])
        raw = _Raw(descriptor, strict=descriptor == 1)
        lines = descriptor == 2 or raw.isatty()
        text = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding="utf-8" if stream is None else stream.encoding,
            errors="backslashreplace",  # file names need not be text
            newline="\n",
            line_buffering=lines,
            write_through=stream is not None and stream.write_through,
        )
        setattr(sys, STANDARD[descriptor], text)


def drop_what_fails() -> None:
    """From now on what cannot be written is dropped, on standard output, too, and a reader who has
    stopped reading is waited for only once.
    """
    for stream in (sys.stdout, sys.stderr):
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        if isinstance(raw, _Raw):
            raw.strict = raw.patient = False
