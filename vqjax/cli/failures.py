"""Failures as one line and an exit code."""

import os
import sys
import traceback

from vqjax.format import LINE, printable

MESSAGE_LENGTH = 300  # of an unexpected error's text


def explain(error: Exception) -> tuple[str, int]:
    """The line and the exit code for what a verb raised."""
    from vqjax.types import VqjaxError

    text = " ".join(str(error).split())
    if isinstance(error, VqjaxError):
        return text, error.exit_code
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return (
            "out of memory: lower batch_size, raise accumulate, or set compute_dtype=bfloat16 "
            f"({text[:MESSAGE_LENGTH] or type(error).__name__})",
            1,
        )
    kind = type(error).__name__
    if isinstance(error, OSError) and error.strerror:  # such as of a disk that is full
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{where[:MESSAGE_LENGTH]}{error.strerror} ({kind}; --debug shows where)", 1
    return (
        f"unexpected {kind}: {text[:MESSAGE_LENGTH]}: run again with --debug for the traceback",
        1,
    )


def fail(message: str, code: int, error: BaseException | None, *, word: str = "error: ") -> int:
    """Prints a failure's line, with the traceback of `error` unless it is None; returns `code`.

    Args:
        word: how the line begins; "" where it is no failure.
    """
    if error is not None:
        traceback.print_exception(error)
    print(printable(f"vqjax: {word}{message}", LINE), file=sys.stderr)
    return code
