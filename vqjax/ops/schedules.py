"""Schedules: numbers that depend on the step, as data.

A schedule is called with the step (a Python int or a traced int32 scalar) and returns a float or
a float32 scalar. Its `start` is the first step at which it can be other than zero: the loss term
that it weighs is not computed before. Learning rates and temperatures are schedules, too.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from vqjax.config.annotations import check_fields

__all__ = ["Constant", "Cosine", "Ramp", "Schedule", "as_schedule"]


@runtime_checkable
class Schedule(Protocol):
    """`schedule(step)`; zero before `schedule.start`."""

    start: int

    def __call__(self, step: int | jax.Array) -> float | jax.Array: ...


@dataclasses.dataclass(frozen=True)
class Constant:
    """`value` from step `start` on, zero before."""

    value: float
    start: int = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, step: int | jax.Array) -> float | jax.Array:
        return (
            jnp.where(jnp.asarray(step) >= self.start, self.value, 0.0)
            if self.start
            else self.value
        )


@dataclasses.dataclass(frozen=True)
class Ramp:
    """Zero before `start`, then linearly up to `value` over `steps` steps (0: at once).

    The first step that counts, `start`, already has value / (steps + 1), so no term is computed
    only to be multiplied by zero.
    """

    value: float
    start: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, step: int | jax.Array) -> jax.Array:
        done = (jnp.asarray(step) - self.start + 1) / (self.steps + 1)
        return jnp.clip(done, 0.0, 1.0) * self.value


@dataclasses.dataclass(frozen=True)
class Cosine:
    """Linear warm-up over `warmup` steps to `value`, then half a cosine to `final * value`.

    The cosine ends at step `start + steps` and stays there. arXiv 1608.03983, eq. 5, without
    restarts.
    """

    value: float
    steps: int
    warmup: int = 0
    final: float = 0.0
    start: int = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, step: int | jax.Array) -> jax.Array:
        step = jnp.asarray(step) - self.start
        up = (step + 1) / (self.warmup + 1)
        progress = (step - self.warmup) / max(self.steps - self.warmup, 1)
        down = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0)))  # eq. 5
        factor = jnp.where(step < self.warmup, up, self.final + (1.0 - self.final) * down)
        return jnp.where(step < 0, 0.0, factor * self.value)


def as_schedule(value: float | Schedule) -> Schedule:
    """A plain number is constant from step 0 on."""
    return value if isinstance(value, Schedule) else Constant(float(value))
