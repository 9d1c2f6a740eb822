"""Paths, predictions and times against what their definitions say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.ops.diffusion import (
    PREDICTIONS,
    CosinePath,
    DDPMPath,
    LogitNormalTimes,
    StraightPath,
    UniformTimes,
    log_snr,
    mixed,
    shifted,
    understood,
    velocity_of,
)
from vqjax.types import UsageError

PATHS = [
    StraightPath(),
    CosinePath(),
    DDPMPath(),
    DDPMPath(kind="scaled"),
    DDPMPath(count=50, kind="cosine"),
]
BETWEEN = np.linspace(0.1304, 0.9304, 5, dtype=np.float32)  # no steps of a path of betas


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_path_leads_from_data_to_noise(path):
    t = jnp.linspace(0.0, 1.0, 41)
    alpha, sigma = path.alpha(t), path.sigma(t)
    assert alpha[0] == 1 and sigma[0] == 0 and sigma[-1] == pytest.approx(1, abs=1e-3)
    assert np.all(np.diff(alpha) < 0) and np.all(np.diff(sigma) > 0)
    assert np.all(np.diff(log_snr(path, t)) < 0)
    if not isinstance(path, StraightPath):  # those that keep the variance
        np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=1e-6)
    for of, slope in zip((path.alpha, path.sigma), path.slopes(BETWEEN), strict=True):
        _, derivative = jax.jvp(of, (BETWEEN,), (np.ones_like(BETWEEN),))
        np.testing.assert_allclose(slope, derivative, rtol=1e-4)


def test_betas_are_those_of_the_published_steps():
    betas = np.linspace(1e-4, 0.02, 1_000)
    kept = np.cumprod(1 - betas)  # eq. 4
    t = (np.arange(1_000, dtype=np.float32) + 1) / 1_000
    np.testing.assert_allclose(DDPMPath().alpha(t) ** 2, kept, rtol=1e-5)
    between = DDPMPath().alpha(np.float32(0.5005)) ** 2
    assert kept[500] < between < kept[499]


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_each_prediction_tells_the_others(path):
    x0, noise = jax.random.normal(jax.random.key(0), (2, 5, 3, 2, 4))
    x_t = mixed(path, x0, noise, BETWEEN)
    known = {"x0": x0, "noise": noise, "velocity": velocity_of(path, x0, noise, BETWEEN)}
    for predicts in PREDICTIONS:
        found = understood(path, predicts, known[predicts], x_t, BETWEEN)._asdict()
        for name, value in known.items():
            np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=2e-4, err_msg=name)


def test_nothing_is_divided_by_less_than_the_floor():
    x_t, ends = jnp.ones((2, 3)), np.array([0.0, 1.0], np.float32)
    for predicts in PREDICTIONS:
        for value in understood(StraightPath(), predicts, jnp.zeros((2, 3)), x_t, ends, floor=0.05):
            assert np.all(np.abs(value) <= 20)


def test_shifts_follow_each_other():
    t = jnp.linspace(0, 1, 9)
    np.testing.assert_allclose(shifted(shifted(t, 2.0), 1.5), shifted(t, 3.0), atol=1e-6)
    np.testing.assert_array_equal(shifted(t, 1.0), t)


@pytest.mark.parametrize(
    "times", [UniformTimes(), UniformTimes(low=0.2, high=0.5), LogitNormalTimes(mean=-0.8)]
)
def test_times_are_distributed_as_they_say(times):
    drawn = np.sort(times.draw(jax.random.key(0), 4_000))
    shares = (np.arange(4_000) + 0.5) / 4_000
    expected = np.asarray(times.at(jnp.asarray(shares)))
    np.testing.assert_allclose(drawn[10:-10], expected[10:-10], atol=2e-3)  # every share is hit
    free = np.sort(
        type(times)(**{**vars(times), "stratified": False}).draw(jax.random.key(0), 4_000)
    )
    worst = np.abs(np.searchsorted(drawn, free) / 4_000 - shares).max()
    assert 0.002 < worst < 0.03  # Kolmogorov and Smirnov's: .03 is exceeded once in 500 times


@pytest.mark.parametrize(
    "make",
    [
        lambda: DDPMPath(kind="quadratic"),
        lambda: DDPMPath(count=0),
        lambda: UniformTimes(low=0.5, high=0.5),
        lambda: LogitNormalTimes(deviation=0.0),
        lambda: UniformTimes(shift=0.0),
    ],
)
def test_what_is_no_path_and_no_time_is_refused(make):
    with pytest.raises(UsageError):
        make()
