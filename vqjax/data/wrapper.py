"""Sources that are made of another one."""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from vqjax.data.source import Visits
from vqjax.types import fit_method

CAPTION = "caption"  # the array of texts, which a wrapper may make or change


@dataclasses.dataclass(frozen=True)
class Wrapper(abc.ABC):
    """A source made of another one; what it does not change is that of `source`."""

    source: Any

    def _changed(self, batches: Iterator[Mapping[str, np.ndarray]]) -> Iterator[dict]:
        return (self._change(batch) for batch in batches)

    @abc.abstractmethod
    def _change(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the batch as it leaves."""

    def train(
        self, batch_size: int, seed: int, start_step: int, rows: np.ndarray
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.train`."""
        return self._changed(self.source.train(batch_size, seed, start_step, rows))

    def eval(self, batch_size: int, rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.eval`."""
        return self._changed(self.source.eval(batch_size, rows))

    def in_order(
        self, part: str, batch_size: int, start_step: int = 0
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `SplitSource.in_order`."""
        return self._changed(self.source.in_order(part, batch_size, start_step))

    def at_hand(self, part: str, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""
        unchanged = hasattr(self.source, "at_hand") and name != CAPTION
        return self.source.at_hand(part, name) if unchanged else None

    def fitted(self, before: Any = None) -> Any:
        """This with its source fitted, as it is before the first step of a run: as in `before`, the
        result of an earlier start, or anew.
        """
        fit = fit_method(self.source)
        if fit is None:
            return self
        return dataclasses.replace(self, source=fit(getattr(before, "source", None)))

    # Properties, so that a wrapper of pictures has none of these: `hasattr` sees it.

    @property
    def visited(self) -> Callable[[str, Visits], Iterator[dict[str, np.ndarray]]]:
        """See `SplitSource.visited`."""
        visited = self.source.visited
        return lambda part, visits: self._changed(visited(part, visits))

    @property
    def clips(self) -> Callable[[str, np.ndarray, int], dict[str, np.ndarray]]:
        """See `SoundSource.clips`."""
        clips = self.source.clips
        return lambda part, indices, samples: self._change(clips(part, indices, samples))

    @property
    def clip_lengths(self) -> Callable[[str], np.ndarray]:
        """See `SoundSource.clip_lengths`."""
        return self.source.clip_lengths

    @property
    def class_names(self) -> Callable[[str], tuple[str, ...]]:
        """See `SoundSource.class_names`."""
        return self.source.class_names

    @property
    def sample_rate(self) -> float:
        """See `SoundSource.sample_rate`."""
        return self.source.sample_rate

    @property
    def seals(self) -> tuple[str, ...]:
        """Of the steps that made tokens: see `TokenSet.seals`."""
        return getattr(self.source, "seals", ())

    def num_train(self) -> int:
        """See `Source.num_train`."""
        return self.source.num_train()

    def num_eval(self) -> int:
        """See `Source.num_eval`."""
        return self.source.num_eval()

    def notes(self) -> list[str]:
        """See `Source.notes`."""
        return self.source.notes()
