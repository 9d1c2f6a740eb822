"""Examples of several streams side by side, those of each stream chosen by a rule of its own."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from vqjax.data.source import Visit, Visits

EXAMPLE_ID, MASK, PRESENT = "example_id", "mask", "present"

# A visit of the pass -> which examples of a stream it has, int64[b], and whether the rows have the
# stream, bool[b]; else the example is any other.
Choose = Callable[[Visit], tuple[np.ndarray, np.ndarray]]


class Chosen(NamedTuple):
    """A stream: which of its examples a visit has, and how these are read."""

    choose: Choose
    batches: Callable[[Visits], Iterator[Mapping[str, np.ndarray]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OtherVisits(Visits):
    """The positions and the seed of the pass `of`, but the examples that `choose` returns."""

    of: Visits
    choose: Choose

    def at(self, step: int) -> Visit:
        """See `Visits.at`."""
        visit = self.of.at(step)
        return visit._replace(indices=self.choose(visit)[0])


def side_by_side(
    visits: Visits, streams: Mapping[str, Chosen]
) -> Iterator[tuple[Visit, dict[str, np.ndarray]]]:
    """The visits of a pass and their batches: of every stream s its arrays as "s.NAME", and
    "s.present", bool[b]. In evaluation there is "mask", too.
    """
    plain = visits.num, visits.batch_size, visits.rows, visits.seed, visits.start
    read = [
        stream.batches(_OtherVisits(*plain, of=visits, choose=stream.choose))
        for stream in streams.values()
    ]

    def joined() -> Iterator[tuple[Visit, dict[str, np.ndarray]]]:
        for step, batches in zip(visits.steps(), zip(*read, strict=True), strict=False):
            visit, batch = visits.at(step), {}
            for (name, stream), arrays in zip(streams.items(), batches, strict=True):
                batch |= {f"{name}.{array}": a for array, a in arrays.items() if array != MASK}
                batch[f"{name}.{PRESENT}"] = stream.choose(visit)[1]
            if visit.mask is not None:
                batch[MASK] = visit.mask
            yield visit, batch

    return joined()
