"""Classes like those of experiments; `conftest.py` gives them to the table of names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from flax import linen as nn

from vqjax.ops.schedules import Schedule

if TYPE_CHECKING:
    from nowhere import Unknown

__all__ = ["Blob", "Codebook", "Grid", "Job", "Net", "Task", "a_function"]


def a_function():
    return 1


@dataclasses.dataclass(frozen=True)
class Blob:
    weights: np.ndarray
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Grid:
    levels: tuple[int, ...] = (8, 8)
    pair: tuple[float, str] = (1.0, "a")
    mode: Literal["fast", "exact"] = "fast"
    untyped: Unknown = 3

    def __post_init__(self):
        if len(self.levels) > 9:
            raise ValueError("at most nine levels")


class Codebook(nn.Module):
    codebook_size: int
    codebook_dim: int = 4
    decay: float = 0.99
    revive: bool = False
    start: Schedule | float | None = None


class Net(nn.Module):
    width: int = 8
    quantizer: Any = None
    parts: tuple[nn.Module, ...] = ()
    activation: str = "silu"

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x)


@dataclasses.dataclass(frozen=True)
class Task:
    tokenizer: nn.Module
    losses: tuple[Any, ...] = ()
    loss_weights: Mapping[str, float | Schedule] = dataclasses.field(default_factory=dict)
    discriminator: nn.Module | None = None


@dataclasses.dataclass(frozen=True)
class Job:
    task: Any
    data: Any
    batch_size: int = 64
    accumulate: int = 1
    ema_decay: float | None = None
    rate: float = 1e-3
    name: str = "job"
    extra: Any = None

    def __post_init__(self):
        numbers = isinstance(self.accumulate, int) and isinstance(self.batch_size, int)
        if numbers and self.batch_size % self.accumulate:
            raise ValueError("accumulate does not divide batch_size")
