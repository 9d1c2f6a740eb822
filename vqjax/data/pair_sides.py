"""Which rows of a table of pairs are for evaluation; see `PairsFolder`."""

import collections
import os
from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np

from vqjax.data.listing import SPLITS, TEST, TRAIN, VALIDATION, chosen_for_eval


class Row(NamedTuple):
    """What says on which side a row is.

    Attributes:
        identity: its first file, or its words where it has none.
        files: all of them, relative to the folder.
    """

    identity: str
    files: Sequence[str]


class Sides(NamedTuple):
    """What rows are for.

    Attributes:
        used: bool[n], whether a row counts.
        evaluated: bool[n], whether it is for evaluation.
        notes: lines for the user.
    """

    used: np.ndarray
    evaluated: np.ndarray
    notes: list[str]


def sides_of(rows: Sequence[Row], readable: Set[str], fraction: float) -> Sides:
    """Returns on which side each row is: as directories say, else by hashes.

    Args:
        rows: n, at least 1.
        readable: the files that count where one may lie beside all splits.
        fraction: of the rows, for evaluation.
    """
    splits = {name: _split_of(name) for row in rows for name in row.files}
    tops = {name.split("/")[0] for name, split in splits.items() if split}
    tops = ", ".join(f"{top}/" for top in sorted(tops))
    every = np.ones(len(rows), bool)
    if TRAIN not in splits.values() or any(
        splits[name] is None for name in splits if name in readable
    ):
        evaluated, notes = _by_hash(rows, fraction)
        reason = "there are files beside them" if TRAIN in splits.values() else "there is no train/"
        notes += [f"not taken as splits: {tops} ({reason})"] if tops else []
        return Sides(every, evaluated, notes)
    evaluation = next((s for s in (VALIDATION, TEST) if s in splits.values()), None)
    if evaluation is None:
        evaluated, notes = _by_hash(rows, fraction)
        return Sides(every, evaluated, [*notes, f"{tops}: a share of its rows for evaluation"])
    of_rows = [{splits[name] for name in row.files if splits[name]} or {TRAIN} for row in rows]
    used = np.array([found in ({TRAIN}, {evaluation}) for found in of_rows])
    notes = [f"taken as splits: {tops} (eval_fraction does not count)"]
    mixed = sum(len(found) > 1 for found in of_rows)
    if mixed:
        notes.append(f"left out, with files of several splits: {mixed:,} rows")
    neither = np.count_nonzero(~used) - mixed
    if neither:
        notes.append(f"for neither training nor evaluation: {neither:,} rows of {TEST}/")
    return Sides(used, np.array([found == {evaluation} for found in of_rows]), notes)


def _split_of(name: str) -> str | None:
    return SPLITS.get(name.split("/")[0].lower()) if "/" in name else None


def _by_hash(rows: Sequence[Row], fraction: float) -> tuple[np.ndarray, list[str]]:
    """Returns which rows are for evaluation, bool[n], and lines for the user."""
    identities = _joined(rows)
    names = sorted(set(identities), key=os.fsencode)
    chosen = dict(zip(names, chosen_for_eval(names, fraction), strict=True))
    several = collections.defaultdict(set)
    for row, identity in zip(rows, identities, strict=True):
        several[identity].add(row.identity)
    joined = sum(len(several[identity]) > 1 for identity in identities)
    notes = [f"{joined:,} rows share files, and are on one side with those"] if joined else []
    return np.array([chosen[identity] for identity in identities]), notes


def _joined(rows: Sequence[Row]) -> list[str]:
    """Returns the identity of each row together with all that share a file with it, directly or
    through others: the first of theirs in the order of bytes.
    """
    parents = {name: name for row in rows for name in row.files}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = parents[parents[name]]  # halves the path
            name = parents[name]
        return name

    for row in rows:
        for name in row.files[1:]:
            parents[root(name)] = root(row.files[0])
    first: dict[str, str] = {}
    for row in rows:
        if row.files:
            group = root(row.files[0])
            first[group] = min(first.get(group, row.identity), row.identity, key=os.fsencode)
    return [first[root(row.files[0])] if row.files else row.identity for row in rows]
