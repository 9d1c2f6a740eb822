"""Arguments as callers pass them: each check says, in one line, what it got and what it wanted.

Numbers may be Python's, numpy's or arrays without axes. A bool is not a number, a float not a whole
number whatever its value, and a text not a sequence.
"""

import operator
import os
import pathlib
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqjax.format import printable
from vqjax.types import UsageError, did_you_mean

SHOWN = 60  # characters of a value that a line repeats
LARGEST = float(np.finfo(np.float32).max)  # larger values are infinite in float32
SEEDS = 2**32
MOST_COUNT = 2**31 - 1  # of what is counted in int32
MOST_ITEMS = 10**7  # of a sequence
_NO_NUMBERS = (str, bytes, bytearray, complex)  # although `float` reads some of them
_GROUPS, _GROUP_OF = "/sys/fs/cgroup", "/proc/self/cgroup"
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 20, 20


def got(value: Any) -> str:
    """`value` in a few words: numbers, texts and short lists themselves, else kind and size."""
    if isinstance(value, str | bytes):
        return printable(repr(value[:SHOWN]), SHOWN)
    kind = type(value).__name__
    try:
        if _rank(value):
            return printable(f"{value.dtype} {list(value.shape)}", SHOWN)
        if _rank(value) == 0 or value is None or isinstance(value, bool | int | float):
            return printable(str(value), SHOWN)
        if isinstance(value, list | tuple | dict | set):
            return printable(_SHORT.repr(value), SHOWN)
    except Exception:  # of an int of thousands of digits, or the object's own
        kind = f"{kind}, which cannot be shown"
    return _a(printable(kind, SHOWN))


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """`value` as an int within [least, most].

    Raises:
        UsageError: it is not one.
    """
    number = _index(value)
    if number is None or not _within(number, least, most):
        limit = None if most == MOST_COUNT and (number is None or number <= most) else most
        raise UsageError(f"{name}={got(value)}: wanted a whole number{_span(least, limit)}")
    return number


def real(
    name: str,
    value: Any,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
) -> int | float:
    """`value` as a finite number within [least, most], or (above, most].

    Raises:
        UsageError: it is not one.
    """
    number = _number(value)
    fits = number is not None and abs(number) <= LARGEST and _within(number, least, most)
    if not fits or (above is not None and not number > above):
        over = "" if above is None else f" above {above:g}{' and' if most is not None else ''}"
        raise UsageError(f"{name}={got(value)}: wanted a finite number{over}{_span(least, most)}")
    return number


def seed_of(value: Any, name: str = "seed") -> int:
    """`value` as a seed.

    Raises:
        UsageError: it is not one.
    """
    number = _index(value)
    if number is None or not 0 <= number < SEEDS:
        raise UsageError(f"{name}={got(value)}: wanted a whole number, 0 <= {name} < 2**32")
    return number


def one_of(name: str, value: Any, valid: Sequence[str]) -> str:
    """`value`, one of some words.

    Raises:
        UsageError: it is none of them.
    """
    if not isinstance(value, str) or value not in valid:
        near = did_you_mean(value[:SHOWN] if isinstance(value, str) else "", valid)
        raise UsageError(f"{name}={got(value)}: {near}")
    return value


def instance(name: str, value: Any, kind: type, example: str) -> Any:
    """`value`, an object of the class `kind`; `example` is how one is written.

    Raises:
        UsageError: it is of another class.
    """
    if not isinstance(value, kind):
        raise UsageError(f"{name}={got(value)}: wanted {_a(kind.__name__)}, such as {example}")
    return value


def items(name: str, values: Any, example: str) -> list:
    """`values`, a sequence that is not a text, as a list; `example` is how one is written.

    Raises:
        UsageError: it is not a sequence.
    """
    try:
        text = isinstance(values, str | bytes | bytearray | memoryview | Mapping)
        indexed = hasattr(values, "__getitem__") and _rank(values) != 0
        count = len(values) if indexed and not text else None
        result = None if count is None or count > MOST_ITEMS else list(values)
    except Exception:  # the object's own
        result = None
    if result is None:
        raise UsageError(f"{name}={got(values)}: wanted a sequence, such as {example}")
    return result


def wholes(name: str, values: Any, least: int, most: int, example: str) -> list[int]:
    """`values`, a sequence of whole numbers within [least, most].

    Raises:
        UsageError: it is not one; the line names the index of the first item that does not fit.
    """
    numbers = enumerate(items(name, values, example))
    return [whole(f"{name}[{index}]", item, least, most) for index, item in numbers]


def texts(name: str, values: Any, example: str) -> list[str]:
    """`values`, a sequence of texts or paths.

    Raises:
        UsageError: it is not one, such as a single text.
    """
    pairs = [(item, path_of(item)) for item in items(name, values, example)]
    for index, (item, text) in enumerate(pairs):
        if text is None:
            raise UsageError(f"{name}[{index}]={got(item)}: wanted a text")
    return [text for _, text in pairs]


def path(name: str, value: Any, what: str) -> str:
    """`value` as the text of a path of `what`.

    Raises:
        UsageError: it is not one, or it is empty.
    """
    text = path_of(value)
    if not text:
        raise UsageError(f"{name}={got(value)}: wanted the path of {what}")
    return text


def path_of(value: Any) -> str | None:
    """The text of a path; None: it is not one."""
    try:
        text = os.fspath(value)
    except Exception:  # also the object's own
        return None
    return text if isinstance(text, str) else None


def array(name: str, value: Any, expected: str) -> np.ndarray:
    """`value` as an array of numbers or bools; `expected` describes one, for errors.

    Raises:
        UsageError: it is not one, such as None, a text, or lists of unequal lengths.
    """
    try:
        result = np.asarray(value)
    except Exception as error:  # whatever the object's own conversion raises
        reason = "items of unequal shapes" if "inhomogeneous" in str(error) else "no array"
        raise UsageError(f"{name}: {got(value)}, {reason}: wanted {expected}") from error
    if result.dtype.kind not in "biufcV":  # "V": of bfloat16, too
        raise UsageError(f"{name}: {got(value)}: wanted {expected}")
    return result


def check_room(what: str, size: int) -> None:
    """Refuses, with UsageError, results of `size` bytes that this machine has no memory for.

    Args:
        what: the argument that asks for them, as "n=1000000".
        size: of the results; any passes where the system does not say how much is free.
    """
    free = free_memory()
    if free is not None and size > free:
        raise UsageError(
            f"{what}: {_gigabytes(size)} of results, and {_gigabytes(free)} of memory are free: "
            "wanted fewer at a time"
        )


def free_memory() -> int | None:
    """Bytes that this process can still allocate on the machine and within its control groups."""
    kilobytes = _first_number("/proc/meminfo", "MemAvailable:")
    free = [] if kilobytes is None else [kilobytes * 1024]
    for group in _control_groups():
        memory = f"{group}/memory"
        most, used = _first_number(f"{memory}.max"), _first_number(f"{memory}.current")
        if most is not None and used is not None:
            cache = _first_number(f"{memory}.stat", "inactive_file ") or 0
            free.append(max(most - used + cache, 0))
    return min(free, default=None)


def _control_groups() -> list[pathlib.PurePath]:
    """The folders of the group, of version 2, that this process is in, and of all above it."""
    try:
        with open(_GROUP_OF, encoding="utf-8", errors="surrogateescape") as file:
            name = next((line[3:].strip() for line in file if line.startswith("0::")), "/")
    except OSError:
        name = "/"
    group = pathlib.PurePath(f"{_GROUPS}{name}")
    return [path for path in (group, *group.parents) if path.is_relative_to(_GROUPS)]


def _first_number(path: str, line: str = "") -> int | None:
    """The number behind `line` in one of the system's files; None where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            words = next((text[len(line) :] for text in file if text.startswith(line)), "").split()
        return int(words[0])
    except (OSError, ValueError, IndexError):
        return None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size < 10**18 else "more than 10^9 GB"


def _a(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def _rank(value: Any) -> int | None:
    """Axes of an array, also a library's own; None: it is not one."""
    try:
        shape = value.shape if hasattr(value, "dtype") else None
        return len(shape) if isinstance(shape, tuple) else None
    except Exception:  # the object's own
        return None


def _is_scalar(value: Any) -> bool:
    """Whether it may be a number: no bool, and no array with axes."""
    if _rank(value) is None:
        return not isinstance(value, bool)
    return _rank(value) == 0 and str(value.dtype) != "bool"


def _index(value: Any) -> int | None:
    try:
        return operator.index(value) if _is_scalar(value) else None
    except Exception:  # also that of a traced value
        return None


def _number(value: Any) -> int | float | None:
    if type(value) in (int, float):
        return value
    try:
        return float(value) if _is_scalar(value) and not isinstance(value, _NO_NUMBERS) else None
    except Exception:
        return None


def _within(number: int | float, least: float | None, most: float | None) -> bool:
    return (least is None or number >= least) and (most is None or number <= most)


def _span(least: float | None, most: float | None) -> str:
    if least is None:
        return "" if most is None else f" at most {most:,}"
    return f", at least {least:,}" if most is None else f" from {least:,} to {most:,}"
