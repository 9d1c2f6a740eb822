"""A digest tells experiments apart, and nothing else."""

import dataclasses

import numpy as np
import pytest

from vqjax.config import decode, digest, encode, names
from vqjax.config.tree import ABSENT
from vqjax.types import DataError


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """Has the name of one of vqjax's."""

    path: str


def same(a, b, **leave_out):
    return digest(a, leave_out) == digest(b, leave_out)


def test_numbers_go_by_their_value(parts):
    assert same(parts.Grid(pair=(1, "a")), parts.Grid())
    assert not same(parts.Grid(pair=(1.5, "a")), parts.Grid())
    assert not same((True,), (1,))
    assert not same(parts.Grid(levels=(4,)), parts.Grid(levels=(4, 4)))
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not same({"a": parts.Grid()}, {"b": parts.Grid()})


def test_it_outlives_json(parts):
    blob = parts.Blob(np.arange(4.0), note="x")
    assert same(blob, decode(encode(blob)))
    assert not same(blob, parts.Blob(np.arange(5.0), note="x"))


def test_what_does_not_count(parts):
    one, other = parts.Grid(mode="fast"), parts.Grid(mode="exact")
    assert not same(one, other)
    assert same({"a": one}, {"a": other}, Grid=("mode",))


def test_a_class_of_somebody_else_has_no_fields_that_do_not_count():
    assert not same(WeightFile("a"), WeightFile("b"), WeightFile=("path",))


def test_a_field_that_comes_later_changes_no_digest_and_keeps_old_records_as_they_were(
    parts, monkeypatch
):
    """`late` is 2 today; where a record lacks it, it was 1."""
    late = dataclasses.field(default=2, metadata={ABSENT: 1})
    fields = [("levels", tuple[int, ...], (8, 8)), ("late", int, late)]
    grown = dataclasses.make_dataclass("Grid", fields, frozen=True)
    old, before = encode(parts.Grid(levels=(4,))), digest(parts.Grid(levels=(4,)), {})
    monkeypatch.setitem(names.table(), "Grid", grown)
    old = {k: old[k] for k in ("class", "levels")}
    assert decode(old) == grown((4,), 1)
    assert digest(grown((4,), 1), {}) == before
    assert digest(grown((4,)), {}) != before
    assert decode(encode(grown((4,)))) == grown((4,), 2)


def test_a_class_that_was_renamed(parts, monkeypatch):
    lattice = dataclasses.make_dataclass(
        "Lattice", [("levels", tuple[int, ...], (8, 8))], frozen=True
    )
    before = digest(parts.Grid(levels=(4,)), {})
    monkeypatch.setitem(names.table(), "Lattice", lattice)
    monkeypatch.delitem(names.table(), "Grid")
    with pytest.raises(DataError, match="'Grid' is not a class of vqjax"):
        decode({"class": "Grid", "levels": [4]})
    monkeypatch.setitem(names.RENAMED, "Grid", "Lattice")
    assert decode({"class": "Grid", "levels": [4]}) == lattice((4,))
    assert digest(lattice((4,)), {}) == before
    monkeypatch.setitem(names.RENAMED, "Mesh", "Lattice")  # in between
    assert digest(lattice((4,)), {}) == before
