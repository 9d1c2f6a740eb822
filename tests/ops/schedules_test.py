"""Schedules, worked out by hand."""

import jax
import jax.numpy as jnp
import pytest

from vqjax.ops.schedules import Constant, Cosine, Ramp, Schedule, as_schedule


def values(schedule, steps):
    return [float(schedule(n)) for n in steps]


@pytest.mark.parametrize(
    ("schedule", "steps", "expected"),
    [
        (Constant(0.5), (0, 7), [0.5, 0.5]),
        (Constant(0.5, start=3), (0, 2, 3, 9), [0.0, 0.0, 0.5, 0.5]),
        (Ramp(2.0), (0, 1, 100), [2.0, 2.0, 2.0]),
        (Ramp(2.0, start=5), (4, 5, 6), [0.0, 2.0, 2.0]),
        (Ramp(2.0, start=2, steps=3), (1, 2, 3, 4, 5, 9), [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]),
        (Cosine(2.0, steps=4), (0, 1, 2, 4, 9), [2.0, 1.7071068, 1.0, 0.0, 0.0]),
        (Cosine(2.0, steps=4, final=0.5), (0, 2, 4), [2.0, 1.5, 1.0]),
        (Cosine(2.0, steps=7, warmup=3), (0, 1, 2, 3, 5, 7), [0.5, 1.0, 1.5, 2.0, 1.0, 0.0]),
        (Cosine(1.0, steps=2, start=3), (2, 3, 4, 5), [0.0, 1.0, 0.5, 0.0]),
    ],
)
def test_by_hand(schedule, steps, expected):
    assert values(schedule, steps) == pytest.approx(expected, abs=1e-6)
    traced = jax.jit(lambda n: jnp.asarray(schedule(n)))
    assert values(traced, steps) == pytest.approx(expected, abs=1e-6)


def test_nothing_counts_before_start_and_the_first_step_does():
    for schedule in (Constant(1.0, 3), Ramp(1.0, 3, 10), Cosine(1.0, 10, start=3)):
        assert isinstance(schedule, Schedule) and schedule.start == 3
        assert values(schedule, range(3)) == [0.0] * 3
        assert float(schedule(3)) > 0


def test_a_number_is_a_schedule():
    assert as_schedule(0.25) == Constant(0.25) and as_schedule(2)(10**6) == 2.0
    ramp = Ramp(1.0)
    assert as_schedule(ramp) is ramp
