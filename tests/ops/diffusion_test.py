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
    variational_bits,
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
        for value in understood(StraightPath(), predicts, x_t * 0, x_t, ends, floor=0.05)[:3]:
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


def test_the_variational_term_is_the_divergence_of_two_normals():
    steps, path = 50, DDPMPath(50, 1e-3, 0.3)
    betas = np.linspace(1e-3, 0.3, 50)
    kept = np.cumprod(1 - betas)
    i = np.array([1, 7, 49])
    t = ((i + 1) / steps).astype(np.float32)
    x0, noise, guess = np.asarray(jax.random.normal(jax.random.key(0), (3, 3, 4, 2)))
    spread = np.asarray(jax.random.uniform(jax.random.key(1), (3, 4, 2)))
    x_t = np.asarray(mixed(path, x0, noise, t))
    now, before = kept[i][:, None, None], kept[i - 1][:, None, None]
    beta = betas[i][:, None, None]
    least = beta * (1 - before) / (1 - now)

    def mean(x0):  # arXiv 2006.11239, eq. 7
        return (
            np.sqrt(before) * beta / (1 - now) * x0
            + np.sqrt(1 - beta) * (1 - before) / (1 - now) * x_t
        )

    variance = np.exp(spread * np.log(beta) + (1 - spread) * np.log(least))
    ratio = least / variance
    nats = 0.5 * (ratio - 1 - np.log(ratio) + (mean(x0) - mean(guess)) ** 2 / variance)
    found = understood(path, "x0", guess, x_t, t)._replace(spread=spread)
    bits = variational_bits(path, x0, x_t, t, found, steps)
    np.testing.assert_allclose(bits, nats.mean(axis=(1, 2)) / np.log(2), rtol=2e-3)
    perfect = understood(path, "x0", x0, x_t, t)._replace(spread=np.zeros_like(spread))
    np.testing.assert_allclose(variational_bits(path, x0, x_t, t, perfect, steps), 0, atol=1e-5)


def test_the_last_step_is_that_of_eight_bits():
    path, t = DDPMPath(), np.full(256, 1 / 1_000, np.float32)
    x0 = np.linspace(-1, 1, 256, dtype=np.float32)[:, None, None]
    found = understood(path, "x0", jnp.zeros((256, 1, 1)), x0, t)._replace(spread=x0 * 0)
    bits = variational_bits(path, x0, x0, t, found, 1_000)
    assert np.all(np.isfinite(bits)) and bits[127] < bits[0]
    exact = found._replace(x0=jnp.asarray(x0))
    assert np.all(variational_bits(path, x0, x0, t, exact, 1_000) < 1e-3 + bits)
