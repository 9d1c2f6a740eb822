"""What the conditions of a network read from batches, and what they refuse there."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from vqjax.priors.conditions import parts_of
from vqjax.tasks.base import Batches
from vqjax.types import ArraySpec, Bound, UsageError, check_offers

LOOKED_AT = 8  # batches, for conditions that do not fit
NEEDS = ("batch_key", "spec", "check_spec")


class Conditions:
    """Those of a network that read one array each.

    Attributes:
        parts: by their paths in the task.
    """

    def __init__(self, condition: nn.Module | None, network: str) -> None:
        """Of a network whose field in the task is `network`.

        Raises:
            UsageError: something else.
        """
        path, parts = f"{network}.condition", parts_of(condition)
        single = bool(parts) and parts[0] is condition
        self.parts: dict[str, Any] = {
            path if single else f"{path}.parts.{i}": part for i, part in enumerate(parts)
        }
        for name, part in self.parts.items():
            check_offers(name, part, NEEDS)

    def check(self, inputs: Mapping[str, ArraySpec]) -> None:
        """Refuses, with UsageError, arrays that are not theirs."""
        for path, part in self.parts.items():
            if part.batch_key not in inputs:
                raise UsageError(
                    f"{path} reads {part.batch_key!r}: the data has {', '.join(inputs)}"
                )
            part.check_spec(inputs[part.batch_key])

    @property
    def specs(self) -> dict[str, ArraySpec]:
        """{array of a batch: its spec}."""
        return {part.batch_key: part.spec for part in self.parts.values()}

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array."""
        bounds = {}
        for path, part in self.parts.items():
            if hasattr(part, "bound"):
                setting = part.bound.setting.replace("prior.condition", path)
                bounds[part.batch_key] = dataclasses.replace(part.bound, setting=setting)
        return bounds

    def look_at(self, batches: Batches) -> None:
        """Checks those without `bound` on the first batches.

        Raises:
            UsageError: one does not fit.
        """
        parts = self.parts.values()
        checked = [p for p in parts if hasattr(p, "check") and not hasattr(p, "bound")]
        for batch in itertools.islice(batches, LOOKED_AT) if checked else ():
            for part in checked:
                part.check(np.asarray(batch[part.batch_key]))
