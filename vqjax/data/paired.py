"""Examples of several sources side by side: pictures, sound and texts of the same class.

The batch of one source, the main one, is followed as that source alone would have it; to each of
its examples, every other source adds one that has the same value of an array, such as "label".
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vqjax.arguments import got
from vqjax.config.annotations import check_fields
from vqjax.data.side_by_side import EXAMPLE_ID, MASK, PRESENT, Choose, Chosen, side_by_side
from vqjax.data.source import SplitSource, Visit, Visits, hash64
from vqjax.types import ArraySpec, DataError, UsageError, VqjaxError, did_you_mean, fit_method

__all__ = ["Paired"]

_NAME = re.compile(r"[A-Za-z0-9_]+")
_PARTNER = 6  # the first word of the hash, apart from those of order, augmentation, captions, ...
_READ = 256  # examples read at once where values of `by` are not at hand
_SHOWN = 5  # values in a line
_NEEDS = ("visited", "in_order", "at_hand")


@dataclasses.dataclass(frozen=True)
class Groups:
    """Examples by their value.

    Attributes:
        values: int64[m], those that there are, ascending.
        starts: int64[m], where the examples of each begin in `order`.
        counts: int64[m], how many each has, at least 1.
        order: int64[n], the examples, by value.
    """

    values: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Groups":
        """Those of examples with `values`, int64[n], n at least 1."""
        order = np.argsort(values, kind="stable")
        found, starts, counts = np.unique(values[order], return_index=True, return_counts=True)
        return cls(found, starts, counts, order)

    def draw(self, values: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draws an example of each of `values`, int64[b], by `bits`, uint64[b].

        Returns:
            the examples, int64[b], and whether there are any of that value, bool[b]; else the
            example is one of another value.
        """
        rows = np.minimum(np.searchsorted(self.values, values), len(self.values) - 1)
        draws = (bits % self.counts[rows].astype(np.uint64)).astype(np.int64)
        return self.order[self.starts[rows] + draws], self.values[rows] == values


class PairedSplit:
    """A split of the main source with partners of the same split of the others.

    Args:
        sources: by the names of their streams.
        main: the name of the main one.
        by: the array whose values partners have in common.
        part: "train" or "eval".
        passes: how often each example of the main one occurs.

    Attributes:
        of_main: examples of the main one.
        num: examples of this split, those `passes` times.
    """

    def __init__(self, sources: Mapping[str, Any], main: str, by: str, part: str, passes: int):
        self._sources, self._main, self._by = dict(sources), main, by
        self._part, self._passes = part, passes
        source = sources[main]
        self.of_main = source.num_train() if part == "train" else source.num_eval()
        self.num = self.of_main * passes

    @functools.cached_property
    def _values(self) -> np.ndarray:
        return values_of(self._sources[self._main], self._part, self._by)

    @functools.cached_property
    def _groups(self) -> dict[str, Groups]:
        """Of every stream but the main one."""
        groups = {}
        for stream in self._sources.keys() - {self._main}:
            values = values_of(self._sources[stream], self._part, self._by)
            if not values.size:
                raise DataError(f"Paired: {stream!r} has no {self._part} examples")
            groups[stream] = Groups.of(values)
        return groups

    def partnerless(self, stream: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the values of the main source that `stream` has no example of, int64[m], and how
        many examples of the main source have each, int64[m].
        """
        values, counts = np.unique(self._values, return_counts=True)
        missing = ~np.isin(values, self._groups[stream].values)
        return values[missing], counts[missing]

    def spec(self) -> dict[str, ArraySpec]:
        """See `Split.spec`."""
        return paired_spec(self._sources, self._main, self._by)

    def at_hand(self, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`; of the main source alone, as partners change."""
        stream, _, array = (self._main, ".", name) if name == self._by else name.partition(".")
        if stream != self._main or not array:
            return None
        values = self._sources[stream].at_hand(self._part, array)
        several = values is not None and self._passes > 1
        return np.concatenate([values] * self._passes) if several else values

    def batches(self, visits: Visits) -> Iterator[dict[str, np.ndarray]]:
        """See `Split.batches`."""
        streams = {
            stream: Chosen(
                self._choice(stream, visits.seed), functools.partial(source.visited, self._part)
            )
            for stream, source in self._sources.items()
        }
        return map(self._finished, side_by_side(visits, streams))

    def _choice(self, stream: str, seed: int | None) -> Choose:
        """What is chosen of a stream. Values are read here, not in the threads that call it."""
        of_main = self.of_main
        if stream == self._main:
            return lambda visit: (visit.indices % of_main, np.ones(len(visit.indices), bool))
        values, groups = self._values, self._groups[stream]
        number = sorted(self._sources).index(stream)

        def choose(visit: Visit) -> tuple[np.ndarray, np.ndarray]:
            if seed is None:
                bits = hash64(_PARTNER, number, visit.indices)
            else:
                bits = hash64(_PARTNER, seed, number, visit.positions)
            return groups.draw(values[visit.indices % of_main], bits)

        return choose

    def _finished(self, visited: tuple[Visit, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        visit, batch = visited
        for name in (self._by, EXAMPLE_ID):
            batch[name] = batch[f"{self._main}.{name}"]
        if self._passes > 1:
            batch[EXAMPLE_ID] = visit.indices
        return batch


def values_of(source: Any, part: str, by: str) -> np.ndarray:
    """The array `by` of all examples of a part, int64[n]: where it is not at hand, nor after the
    first batch, all of them are read and decoded once.
    """
    values, read = source.at_hand(part, by), [np.zeros(0, np.int64)]
    for batch in source.in_order(part, _READ) if values is None else ():
        read.append(batch[by][batch[MASK]])
        values = source.at_hand(part, by)
        if values is not None:
            break
    return np.asarray(np.concatenate(read) if values is None else values).astype(np.int64)


def paired_spec(sources: Mapping[str, Any], main: str, by: str) -> dict[str, ArraySpec]:
    """The spec of one example of all `sources`.

    Raises:
        UsageError: one lacks `by`, or has an array of a name that means something here.
    """
    spec = {}
    for stream, source in sources.items():
        arrays = source.example_spec()
        if by not in arrays:
            raise UsageError(f"Paired: {stream!r} has no array {by!r}: {did_you_mean(by, arrays)}")
        if arrays[by].shape or np.dtype(arrays[by].dtype).kind not in "iu":
            kind = f"{arrays[by].dtype}{list(arrays[by].shape)}"
            raise UsageError(f"Paired: {by!r} of {stream!r} is {kind}: wanted one whole number")
        if PRESENT in arrays:
            raise UsageError(f"Paired: {stream!r} has an array {PRESENT!r}: name it otherwise")
        spec |= {f"{stream}.{name}": array for name, array in arrays.items()}
        spec[f"{stream}.{PRESENT}"] = ArraySpec((), "bool")
    spec[by] = spec[f"{main}.{by}"]
    return {**spec, EXAMPLE_ID: ArraySpec((), "int64")}


@dataclasses.dataclass(frozen=True)
class Paired(SplitSource):
    """Examples of several sources ("streams") side by side, with one value of an array in common.

    A batch has, of every stream s, the arrays of its source as "s.NAME", "s.example_id" among them,
    and "s.present", bool[b]; and once, of the main source, `by` and "example_id", int64[b]. With
    `eval_partners` greater than 1 the latter, in evaluation, is the place in the pass.

    An epoch is one of the main source: its order, augmentation and windows are those that it has
    alone. In training, its partner in another stream is drawn anew at each visit, by (seed,
    position), uniformly among the training examples of that stream with the same value; in
    evaluation among its eval examples, by the place in the pass, always the same. Where there is no
    such example "s.present" is False, and the arrays are those of some other example: not to be
    used.

    The values of all examples are needed before the first batch. Where a source does not have them
    at hand (a TFDS data set or a token set does not) its first batch is read; and all of both
    splits, once, where it keeps no examples in memory.

    Attributes:
        sources: by the names of their streams, of letters, digits and underscores; at least two,
            each a `SplitSource` or made of one.
        by: the array of one whole number that partners have in common.
        eval_partners: how often each example of the main source occurs in evaluation, each time
            with other draws of partners.
        main: the name of the main source; None: the first. The record of a run has its name.
    """

    sources: Mapping[str, Any]
    by: str = "label"
    eval_partners: int = 1
    main: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.sources) < 2:
            raise UsageError(f"Paired: sources has {len(self.sources)}: wanted at least two")
        for stream, source in self.sources.items():
            if not _NAME.fullmatch(stream):
                raise UsageError(
                    f"Paired: sources has {got(stream)}: wanted a name of letters, digits and "
                    "underscores"
                )
            if not all(hasattr(source, name) for name in _NEEDS):
                kind = type(source).__name__
                raise UsageError(
                    f"Paired: sources[{got(stream)}]: {kind} cannot be read by index: wanted a "
                    "SplitSource, or captions of one"
                )
        if not _NAME.fullmatch(self.by) or self.by in (EXAMPLE_ID, MASK):
            raise UsageError(f"Paired: by={got(self.by)}: wanted an array such as 'label'")
        if self.eval_partners < 1:
            raise UsageError(f"Paired: eval_partners is at least 1, got {self.eval_partners!r}")
        if self.main is None:
            # Two records that differ in the order of a mapping alone count as the same.
            object.__setattr__(self, "main", next(iter(self.sources)))
        if self.main not in self.sources:
            hint = did_you_mean(self.main, self.sources)
            raise UsageError(f"Paired: main={got(self.main)} is none of the sources: {hint}")

    def _open(self, part: str) -> PairedSplit:
        passes = 1 if part == "train" else self.eval_partners
        return PairedSplit(self.sources, self.main, self.by, part, passes)

    @property
    def _others(self) -> list[str]:
        return [stream for stream in self.sources if stream != self.main]

    def fitted(self, before: Any = None) -> "Paired":
        """This with its sources fitted: as in `before`, the result of an earlier start, or anew."""
        earlier = before.sources if isinstance(before, Paired) else {}
        sources = dict(self.sources)
        for stream, source in sources.items():
            fit = fit_method(source)
            sources[stream] = source if fit is None else fit(earlier.get(stream))
        return dataclasses.replace(self, sources=sources)

    def check(self) -> None:
        """See `Source.check`; also requires a value in common with the main source, of each."""
        for source in self.sources.values():
            source.check()
        self.example_spec()
        for part, stream in ((p, s) for p in ("train", "eval") for s in self._others):
            missing, counts = self._part(part).partnerless(stream)
            if counts.sum() == self._part(part).of_main:
                raise DataError(
                    f"Paired: {part}: {stream!r} has none of the values of {self.by!r} that "
                    f"{self.main!r} has: {_listed(missing)}"
                )

    def notes(self) -> list[str]:
        """See `Source.notes`: those of each stream, and which values have no partners."""
        lines = [
            f"{stream}: {line}"
            for stream, source in self.sources.items()
            for line in source.notes()
        ]
        for part, stream in ((p, s) for p in ("train", "eval") for s in self._others):
            missing, counts = self._part(part).partnerless(stream)
            if len(missing):
                lines.append(
                    f"{stream}: {part}: no example of {len(missing):,} of the values of "
                    f"{self.by!r}, which {counts.sum():,} examples of {self.main} have: "
                    f"{_listed(missing)}"
                )
        return lines

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; nothing is read for it that the sources do not read."""
        return paired_spec(self.sources, self.main, self.by)

    def texts_of(self, stream: str) -> Any:
        """What encodes and decodes the texts of a stream: its `Captions`."""
        return self.sources[stream]

    def class_names(self, name: str) -> tuple[str, ...]:
        """Returns the names of the classes 0, 1, ... of an array of the batch; of `by` those of the
        first source that knows them, the main one before others.

        Raises:
            UsageError: there are no such classes.
        """
        stream, _, array = name.partition(".")
        asked = [(stream, array)]
        if name == self.by:
            asked = [(stream, name) for stream in (self.main, *self._others)]
        for stream, array in asked:
            if hasattr(self.sources.get(stream), "class_names"):
                with contextlib.suppress(VqjaxError):  # it has no such names
                    return self.sources[stream].class_names(array)
        raise UsageError(f"Paired: no names of classes {got(name)} are known")

    @property
    def seals(self) -> tuple[str, ...]:
        """Of the steps that made tokens: see `TokenSet.seals`."""
        sources = self.sources.values()
        return tuple(seal for source in sources for seal in getattr(source, "seals", ()))


def _listed(values: np.ndarray) -> str:
    """The first of some values."""
    more = ", ..." if len(values) > _SHOWN else ""
    return ", ".join(map(str, values[:_SHOWN].tolist())) + more
