"""Which files of pictures or sound a folder holds, of which class, and which are for evaluation.

All of it depends on relative paths alone, so every host and every later run finds the same.
"""

import collections
import dataclasses
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vqjax.media import audio, image
from vqjax.types import DataError, UsageError, did_you_mean

TRAIN, VALIDATION, TEST = "train", "val", "test"
SPLITS = {
    "train": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
}
_NAMED = 50  # bad files that one message names


class Medium(NamedTuple):
    """What a folder holds.

    Attributes:
        name: "pictures", in messages.
        one: "picture".
        suffixes: of each format.
        others: suffixes of formats that are not read.
    """

    name: str
    one: str
    suffixes: Mapping[str, tuple[str, ...]]
    others: tuple[str, ...]


PICTURES = Medium(
    "pictures",
    "picture",
    {name: known.suffixes for name, known in image.FORMATS.items()},
    image.OTHER_SUFFIXES,
)
SOUND = Medium(
    "sound files",
    "sound file",
    {name: known.suffixes for name, known in audio.FORMATS.items()},
    audio.OTHER_SUFFIXES,
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files under a folder; paths are relative to it, with "/" between the parts.

    Attributes:
        names: of what is listed, in the order of their bytes.
        files: all files, hidden ones left out.
        others: how many files there are of other formats than those listed, by suffix.
        unreadable: one phrase per directory that cannot be listed.
    """

    names: list[str]
    files: frozenset[str]
    others: Mapping[str, int]
    unreadable: list[str]


def list_folder(root: pathlib.Path, formats: Iterable[str], medium: Medium = PICTURES) -> Listing:
    """Lists what lies under `root`, at any depth; links are followed.

    Args:
        root: the folder.
        formats: of those of the medium, whose files are `names`.
        medium: what is listed.

    Raises:
        DataError: if `root` is not a directory or holds no such files.
    """
    if not root.exists():
        raise DataError(f"folder {root} does not exist")
    if not root.is_dir():
        raise DataError(f"{root} is a file, not a folder of {medium.name}")
    suffixes = [suffix for name in formats for suffix in medium.suffixes[name]]
    all_suffixes = {*itertools.chain(*medium.suffixes.values()), *medium.others}
    names: list[str] = []
    files: list[str] = []
    others: collections.Counter[str] = collections.Counter()
    unreadable: list[str] = []

    def failed(error: OSError) -> None:
        unreadable.append(f"{name_text(str(error.filename))} ({error.strerror})")

    visited: set[tuple[int, int]] = set()
    for directory, below, here in os.walk(root, followlinks=True, onerror=failed):
        stat = os.stat(directory)
        if (stat.st_dev, stat.st_ino) in visited:  # a link to where we have been
            below.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        relative = pathlib.PurePath(directory).relative_to(root)
        for name in here:
            if name.startswith("."):
                continue
            path, suffix = (relative / name).as_posix(), os.path.splitext(name)[1].lower()
            files.append(path)
            if suffix in suffixes:
                names.append(path)
            elif suffix in all_suffixes:
                others[suffix[1:]] += 1
    if not names:
        raise DataError(
            f"folder {root} holds no {medium.name} ({', '.join(s[1:] for s in suffixes)})"
            + (f" but {counted(others)}" if others else "")
            + (f"; unreadable: {', '.join(unreadable)}" if unreadable else "")
        )
    return Listing(sorted(names, key=os.fsencode), frozenset(files), others, unreadable)


def counted(others: Mapping[str, int]) -> str:
    """Returns "14 tiff, 1 heic", the most frequent first."""
    kinds = sorted(others.items(), key=lambda kind: (-kind[1], kind[0]))
    return ", ".join(f"{count:,} {suffix}" for suffix, count in kinds)


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the directories of a folder mean.

    Attributes:
        names: the files that are for training or evaluation.
        labels: int32[n], the class of each.
        classes: the names of the classes; "" is that of files at the top.
        held_out: bool[n], whether it is for evaluation; None where no directory says so.
        notes: lines for the user.
    """

    names: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]
    held_out: np.ndarray | None
    notes: list[str]


def layout_of(names: Sequence[str], old: bool = False, medium: Medium = PICTURES) -> Layout:
    """Returns which of the files `names` count, and for what; see `Folder`.

    Args:
        names: relative to the folder, in order.
        old: read as `Folder(reading=1)` does.
        medium: what they are, for messages.
    """
    splits = [SPLITS.get(name.split("/")[0].lower()) if "/" in name else None for name in names]
    tops = {name.split("/")[0] for name in names if "/" in name}
    tops = ", ".join(f"{top}/" for top in sorted(tops) if top.lower() in SPLITS)
    if old or TRAIN not in splits or None in splits:
        reason = (
            "as they were when this run began"
            if old
            else "there are others beside them"
            if TRAIN in splits
            else "there is no train/"
        )
        notes = [f"taken as classes, not as splits: {tops} ({reason})"] if tops else []
        return Layout(list(names), labels_of(names), classes_of(names), None, notes)
    evaluated = next((split for split in (VALIDATION, TEST) if split in splits), None)
    counts = collections.Counter(splits)
    note = (
        f"taken as splits, not as classes: {tops}; {counts[TRAIN]:,} {medium.name} for training, "
    )
    if evaluated is None:
        note += "a share of these for evaluation"
    else:
        note += f"{counts[evaluated]:,} for evaluation (eval_fraction does not count)"
    if evaluated == VALIDATION and counts[TEST]:
        note += f", {counts[TEST]:,} for neither"
    within = [name.split("/", 1)[1] for name in names]
    labels, classes = labels_of(within), classes_of(within)
    used = [i for i, split in enumerate(splits) if split in (TRAIN, evaluated)]
    held_out = np.array([splits[i] == evaluated for i in used])
    names = [names[i] for i in used]
    held_out = None if evaluated is None else held_out
    return Layout(names, labels[used], classes, held_out, [note])


def _class_of(name: str) -> str:
    return name.split("/")[0] if "/" in name else ""


def classes_of(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of all classes, in the order of their numbers."""
    return tuple(sorted({_class_of(name) for name in names}, key=os.fsencode))


def labels_of(names: Sequence[str]) -> np.ndarray:
    """Returns each name's class, int32[n]: its first directory; files at the top come first."""
    numbers = {name: i for i, name in enumerate(classes_of(names))}
    return np.array([numbers[_class_of(name)] for name in names], np.int32)


def chosen_for_eval(names: Sequence[str], fraction: float) -> np.ndarray:
    """Returns bool[n]: which names are for evaluation, by a hash of each.

    Where there are two or more, and `fraction` is neither 0 nor 1, each side gets at least one: the
    name with the smallest hash is for evaluation and the one with the largest is not. Such a name
    may change sides when others are added; all others never do.
    """
    digests = (hashlib.sha256(os.fsencode(name)).digest() for name in names)
    shares = np.array([int.from_bytes(d[:7], "big") / (1 << 56) for d in digests])
    chosen = shares < fraction
    if 0 < fraction < 1 and len(names) > 1:
        chosen[np.argmin(shares)] = True
        chosen[np.argmax(shares)] = False
    return chosen


def stamps(root: pathlib.Path, names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns (name, size, time of change in ns) of each file; -1 for what is gone."""
    result = []
    for name in names:
        try:
            stat = os.stat(root / name)
            result.append((name_text(name), stat.st_size, stat.st_mtime_ns))
        except OSError:
            result.append((name_text(name), -1, -1))
    return result


def name_text(name: str) -> str:
    """Returns `name` with bytes that are not text, and line breaks, written out."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]


def named(entries: Sequence[str], most: int = _NAMED) -> str:
    """Returns the first of some phrases, and how many more there are."""
    rest = len(entries) - most
    return ", ".join(entries[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def check_formats(what: str, formats: Sequence[str] | None, known: Iterable[str]) -> None:
    """Refuses, with UsageError, a setting `formats` of `what` that is not of those `known`."""
    if formats is not None and not formats:
        raise UsageError(f"{what}: formats names none of {', '.join(known)}")
    for name in formats or ():
        if name not in known:
            raise UsageError(f"{what}: formats has {name!r}: {did_you_mean(name, known)}")


def report_bad(
    root: pathlib.Path,
    names: Sequence[str],
    reasons: Sequence[str],
    unreadable: Sequence[str],
    on_bad: str,
    medium: Medium = PICTURES,
) -> list[str]:
    """Returns the lines about what was left out, or raises them, as `on_bad` says.

    Args:
        root: the folder.
        names: of all files.
        reasons: why each is bad, or "".
        unreadable: of the listing.
        on_bad: "skip" or "fail".
        medium: what the files are.

    Raises:
        DataError: all are bad, or some are and `on_bad` is "fail".
    """
    bad = [f"{name_text(n)} ({r})" for n, r in zip(names, reasons, strict=True) if r]
    listed = named(bad)
    count = f"{len(bad):,} of {len(names):,} files"
    if len(bad) == len(names):
        raise DataError(f"folder {root} has no readable {medium.one}: {listed}")
    if on_bad == "fail" and (bad or unreadable):
        raise DataError(
            f"folder {root} has bad files and on_bad='fail': "
            + "; ".join(filter(None, (f"{count}: {listed}" if bad else "", *unreadable)))
        )
    notes = [f"skipped {count}: {listed}"] if bad else []
    return [*notes, *(f"skipped a folder that cannot be listed: {u}" for u in unreadable)]
