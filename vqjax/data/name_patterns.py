"""What regular expressions find in the names of files: which are for what, and their classes."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from vqjax.types import DataError, UsageError


def check_pattern(where: str, pattern: str, groups: int = 0) -> None:
    """Refuses, with UsageError, what is no regular expression, or has fewer than `groups` groups.

    Args:
        where: names the setting, for messages.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{where}={pattern!r} is no regular expression: {error}") from error
    if compiled.groups < groups:
        raise UsageError(
            f"{where}={pattern!r} has no group: put what names the class in brackets, as in "
            r"'^\d+_([a-z]+)_'"
        )


def check_class_patterns(where: str, classes: Mapping[str, str], taken: Sequence[str]) -> None:
    """Refuses, with UsageError, a field {name in the batch: pattern with one group}.

    Args:
        where: names the field, for messages.
        taken: names that a batch has for something else.
    """
    for name, pattern in classes.items():
        if name in taken:
            raise UsageError(
                f"{where}: a class cannot be named {name!r}: batches have another array of this "
                "name"
            )
        check_pattern(f"{where}[{name!r}]", pattern, groups=1)


def _found(where: str, pattern: str, names: Sequence[str], among: str) -> np.ndarray:
    """Which of `names` the pattern is found in: bool[n], neither none nor all."""
    found = np.array([re.search(pattern, name) is not None for name in names], bool)
    if not found.any() or found.all():
        how_many = "all" if found.any() else "none"
        example = f", such as {names[0]!r}" if len(names) else ""
        raise DataError(
            f"{where}={pattern!r} is found in {how_many} of {len(names):,} {among}{example}"
        )
    return found


def left_in(where: str, names: Sequence[str], leave_out: str | None) -> np.ndarray:
    """Returns which of `names` the pattern `leave_out` is not found in: bool[n].

    Args:
        where: names the source, for messages.
        names: of all examples.
        leave_out: searched in each name; None: nothing is left out.

    Raises:
        DataError: it is found in none of them, or in all.
    """
    if leave_out is None:
        return np.ones(len(names), bool)
    return ~_found(f"{where}: leave_out", leave_out, names, "names")


def held_out(
    where: str, names: Sequence[str], hold_out: str, leave_out: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which of `names` are for training and which for evaluation, int64 indices both.

    Args:
        where: names the source, for messages.
        names: of all examples.
        hold_out: searched in each name: those with it are for evaluation.
        leave_out: likewise: those with it are for neither.

    Raises:
        DataError: a pattern is found in none of the names that count, or in all.
    """
    kept = np.flatnonzero(left_in(where, names, leave_out))
    among = "names" if leave_out is None else "names that are not left out"
    chosen = _found(f"{where}: hold_out", hold_out, [names[i] for i in kept], among)
    return kept[~chosen], kept[chosen]


def classes_of(
    where: str, pattern: str, names: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the class of each name, int32[n], and the names of the classes.

    Args:
        where: names the setting, for messages.
        pattern: its first group is the class.
        names: of all examples of the data set, for training or not: so the numbers, from 0 in the
            order of the sorted classes, are the same for every split.

    Raises:
        DataError: the pattern is not found in a name.
    """
    found = []
    for name in names:
        match = re.search(pattern, name)
        if match is None or match[1] is None:
            raise DataError(f"{where}={pattern!r} finds no class in the name {name!r}")
        found.append(match[1])
    classes = tuple(sorted(set(found)))
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[name] for name in found], np.int32), classes
