"""Examples of several sources side by side: those that have the same label."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.source import Visit, Visits, hash64
from vqjax.types import ArraySpec, DataError, UsageError, did_you_mean, fit_method

__all__ = ["Paired"]

PRESENT = "present"  # whether a row has an example of a stream
EXAMPLE_ID = "example_id"
_PARTNERS = 7  # the first word of the hash, apart from those of all else that is drawn
_EVAL = -1  # in the place of the seed
_READ = 256  # examples at a time, where labels are not at hand
_NEEDS = ("visited", "in_order", "example_spec", "num_train", "num_eval")


@dataclasses.dataclass(frozen=True)
class _Chosen(Visits):
    """The visits of another source, each of an example that `choose` takes instead of its own."""

    choose: Callable[[Visit], np.ndarray] = lambda visit: visit.indices

    def at(self, step: int) -> Visit:
        """See `Visits.at`."""
        visit = super().at(step)
        return visit._replace(indices=self.choose(visit))


@dataclasses.dataclass(frozen=True)
class _Members:
    """Which examples have a value: `order[starts[v] : starts[v] + counts[v]]` have the value v."""

    order: np.ndarray  # int64[n]
    starts: np.ndarray  # int64[values]
    counts: np.ndarray  # int64[values]

    @classmethod
    def of(cls, values: np.ndarray, most: int) -> "_Members":
        """Those of examples with `values` int[n], of 0 to `most`."""
        inside = np.flatnonzero((values >= 0) & (values <= most))
        order = inside[np.argsort(values[inside], kind="stable")]
        counts = np.bincount(values[inside], minlength=most + 1)
        return cls(order, np.cumsum(counts) - counts, counts)

    def pick(self, values: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """One example of each value, int64[b], by draws uint64[b]; the first of all where there is
        none.
        """
        counts = self.counts[values]
        offsets = (draws % np.maximum(counts, 1).astype(np.uint64)).astype(np.int64)
        at = np.minimum(self.starts[values] + offsets, len(self.order) - 1)
        return np.where(counts > 0, self.order[at], 0)


@dataclasses.dataclass(frozen=True)
class Paired:
    """Examples of two or more sources that have the same label, a stream from each.

    The first source is the main one: its examples come as they would alone, and an epoch is its
    own. In training each meets another partner at every visit, drawn uniformly by (seed, position)
    from the training examples of its label; the partner is cropped and shifted as its source does
    at that position. In evaluation partners are of eval splits alone, and always the same.

    Batches hold the arrays of stream s as "s.image", "s.label", ...; "s.present" bool[b], False
    where the source has no example of that label, whose arrays then mean nothing; and once the
    label and "example_id" (in evaluation the position).

    Attributes:
        sources: by the name of the stream, the main one first.
        by: the array with a label of each example, which all sources have.
        eval_partners: how many times each example of the main eval split occurs, each with other
            partners.
    """

    sources: Mapping[str, Any]
    by: str = "label"
    eval_partners: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.sources) < 2:
            raise UsageError(f"Paired: {len(self.sources)} sources: wanted at least two")
        for name, source in self.sources.items():
            if not name.isidentifier():
                raise UsageError(f"Paired: stream {name!r}: wanted letters, digits and _")
            missing = [need for need in _NEEDS if not hasattr(source, need)]
            if missing:
                kind = type(source).__name__
                raise UsageError(f"Paired: {name}: {kind} cannot be paired, it has no {missing[0]}")
        if self.eval_partners < 1:
            raise UsageError(f"Paired: eval_partners={self.eval_partners}: wanted at least 1")

    @property
    def _main(self) -> tuple[str, Any]:
        return next(iter(self.sources.items()))

    def _labels(self, name: str, part: str) -> np.ndarray:
        """The labels of all examples of a part of one stream, int64[n]."""
        return self._all_labels(part)[name]

    def _all_labels(self, part: str) -> dict[str, np.ndarray]:
        return self._train_labels if part == "train" else self._eval_labels

    @functools.cached_property
    def _train_labels(self) -> dict[str, np.ndarray]:
        return {n: _labels_of(n, s, "train", self.by) for n, s in self.sources.items()}

    @functools.cached_property
    def _eval_labels(self) -> dict[str, np.ndarray]:
        return {n: _labels_of(n, s, "eval", self.by) for n, s in self.sources.items()}

    @functools.cached_property
    def _train_members(self) -> dict[str, _Members]:
        return self._members("train")

    @functools.cached_property
    def _eval_members(self) -> dict[str, _Members]:
        return self._members("eval")

    def _members(self, part: str) -> dict[str, _Members]:
        main, *others = self.sources
        labels = self._all_labels(part)
        most = int(labels[main].max(initial=0))
        return {name: _Members.of(labels[name], most) for name in others}

    def _batches(
        self, part: str, batch_size: int, rows: np.ndarray, seed: int | None, start: int
    ) -> Iterator[dict[str, np.ndarray]]:
        main, _ = self._main
        labels = self._labels(main, part)
        if not len(labels):
            raise DataError(f"Paired: {main} has no {part} examples")
        repeats = 1 if part == "train" else self.eval_partners
        members = self._train_members if part == "train" else self._eval_members
        plan = (len(labels) * repeats, batch_size, rows, seed, start)

        def own(visit: Visit) -> np.ndarray:
            return visit.indices % len(labels)

        def partner(number: int, name: str, visit: Visit) -> np.ndarray:
            draws = hash64(_PARTNERS, _EVAL if seed is None else seed, number, visit.positions)
            return members[name].pick(labels[own(visit)], draws)

        streams = {}
        for number, (name, source) in enumerate(self.sources.items()):
            choose = own if name == main else functools.partial(partner, number, name)
            streams[name] = source.visited(part, _Chosen(*plan, choose=choose))
        visits = Visits(*plan)
        for step, *batches in zip(visits.steps(), *streams.values(), strict=False):
            visit = visits.at(step)
            values = labels[own(visit)]
            found = {self.by: values.astype(np.int32), EXAMPLE_ID: visit.indices}
            for name, batch in zip(streams, batches, strict=True):
                there = np.ones(len(values), bool)
                if name != main:
                    there = members[name].counts[values] > 0
                found |= {f"{name}.{a}": v for a, v in batch.items() if a != "mask"}
                found[f"{name}.{PRESENT}"] = there
            yield found if visit.mask is None else {**found, "mask": visit.mask}

    def train(
        self, batch_size: int, seed: int, start_step: int, rows: np.ndarray
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.train`."""
        return self._batches("train", batch_size, rows, seed, start_step)

    def eval(self, batch_size: int, rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.eval`."""
        return self._batches("eval", batch_size, rows, None, 0)

    def in_order(
        self, part: str, batch_size: int, start_step: int = 0
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `SplitSource.in_order`."""
        return self._batches(part, batch_size, np.arange(batch_size), None, start_step)

    def at_hand(self, part: str, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`: the labels, in evaluation of all visits."""
        if name != self.by:
            return None
        labels = self._labels(self._main[0], part)
        return labels if part == "train" else np.tile(labels, self.eval_partners)

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`."""
        found = {self.by: ArraySpec((), "int32"), EXAMPLE_ID: ArraySpec((), "int64")}
        for name, source in self.sources.items():
            specs = source.example_spec()
            if self.by not in specs:
                raise UsageError(
                    f"Paired: by={self.by!r}: {name} has none: it has {', '.join(specs)}"
                )
            found |= {f"{name}.{array}": spec for array, spec in specs.items()}
            found[f"{name}.{PRESENT}"] = ArraySpec((), "bool")
        return found

    def num_train(self) -> int:
        """See `Source.num_train`: those of the main source."""
        return self._main[1].num_train()

    def num_eval(self) -> int:
        """See `Source.num_eval`: those of the main source, times `eval_partners`."""
        return self._main[1].num_eval() * self.eval_partners

    def check(self) -> None:
        """See `Source.check`; also requires a label in all sources, and partners."""
        for name, source in self.sources.items():
            try:
                source.check()
            except DataError as error:
                raise DataError(f"{name}: {error}") from error
        self.example_spec()
        main, *others = self.sources
        for part in ("train", "eval"):
            labels = np.unique(self._labels(main, part))
            for name in others:
                if not np.isin(labels, self._labels(name, part)).any():
                    raise DataError(
                        f"Paired: no {self.by} of {main} occurs in {name}, split {part}"
                    )

    def notes(self) -> list[str]:
        """See `Source.notes`; also how many examples have no partner."""
        lines = [f"{n}: {line}" for n, source in self.sources.items() for line in source.notes()]
        main, *others = self.sources
        labels = self._labels(main, "train")
        for name in others:
            alone = int((~np.isin(labels, self._labels(name, "train"))).sum())
            if alone:
                lines.append(f"{alone:,} of {len(labels):,} examples of {main} have no {name}")
        return lines

    def class_names(self, name: str) -> tuple[str, ...]:
        """See `SoundSource.class_names`: of the label, as the first source that has them says."""
        if name == self.by:
            for source in self.sources.values():
                if hasattr(source, "class_names"):
                    return source.class_names(name)
        raise UsageError(f"Paired: no names of classes {name!r}: {did_you_mean(name, [self.by])}")

    def fitted(self, before: Any = None) -> "Paired":
        """See `Wrapper.fitted`."""
        old = getattr(before, "sources", {})
        fitted = {}
        for name, source in self.sources.items():
            fit = fit_method(source)
            fitted[name] = source if fit is None else fit(old.get(name))
        return dataclasses.replace(self, sources=fitted)


def _labels_of(name: str, source: Any, part: str, by: str) -> np.ndarray:
    """The labels of all examples of one source, int64[n]: at hand, or read once."""
    known = source.at_hand(part, by) if hasattr(source, "at_hand") else None
    if known is None:
        parts = [np.zeros(0, np.int64)]
        for batch in source.in_order(part, _READ):
            if by not in batch:
                raise UsageError(f"Paired: by={by!r}: {name} has {', '.join(batch)}")
            parts.append(np.asarray(batch[by])[batch["mask"]])
        known = np.concatenate(parts)
    return np.asarray(known).astype(np.int64)
