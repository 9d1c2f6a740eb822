"""Solvers on data whose way back from noise is known exactly."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.ops.diffusion import CosinePath, DDPMPath, StraightPath, over, understood
from vqjax.sampling import flow_log_prob, to_noise
from vqjax.sampling.solvers import (
    Ancestral,
    DPMSolver,
    Euler,
    Heun,
    Moment,
    Sample,
    noise_of,
    solve,
)
from vqjax.types import UsageError

MEAN, DEVIATION = 0.7, 0.3
KEYS = jax.random.split(jax.random.key(0), 512)
START = noise_of(KEYS, (1,), 0)


def gaussian(path):
    """What is known of mixtures of N(MEAN, DEVIATION^2)."""

    def predict(x, t):
        alpha, sigma = path.alpha(t), path.sigma(t)
        gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
        x0 = MEAN + over(gain, x) * (x - over(alpha, x) * MEAN)
        return understood(path, "x0", x0, x, t, floor=1e-6)

    return predict


def exact(path, x, begin, end):
    """Where the flow from x at one time is at another."""

    def spread(t):
        return np.sqrt(float(path.alpha(t)) ** 2 * DEVIATION**2 + float(path.sigma(t)) ** 2)

    mean = [float(path.alpha(t)) * MEAN for t in (begin, end)]
    return mean[1] + spread(end) / spread(begin) * (np.asarray(x) - mean[0])


def errors(solver, path, counts, times=None):
    found = []
    for count in counts:
        how = dataclasses.replace(solver, steps=count)
        grid = how.times() if times is None else times(count)
        x = solve(gaussian(path), path, how, START, KEYS, grid)
        found.append(np.abs(np.asarray(x) - exact(path, START, grid[0], grid[-1])).max())
    return np.array(found)


def even_log_snr(count):
    """Times of the cosine path at equal distances of log(alpha / sigma)."""
    return 2 / np.pi * np.arctan(np.exp(-np.linspace(-3, 3, count + 1)))


@pytest.mark.parametrize(
    "solver, path, times, order",
    [
        (Euler(), StraightPath(), None, 1),
        (Heun(), StraightPath(), None, 2),
        (Heun(), CosinePath(), None, 2),
        (Ancestral(eta=0.0), CosinePath(), even_log_snr, 1),
        (DPMSolver(), CosinePath(), even_log_snr, 2),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_the_error_falls_with_the_order(solver, path, times, order):
    found = errors(solver, path, (20, 40, 80), times)
    orders = np.log2(found[:-1] / found[1:])
    assert np.all(np.abs(orders - order) < 0.2), (found, orders)


@pytest.mark.parametrize("solver", [Euler(), Heun(), Ancestral(), Ancestral(eta=0.0), DPMSolver()])
@pytest.mark.parametrize("path", [StraightPath(), CosinePath(), DDPMPath()], ids=str)
def test_data_of_one_point_are_found(solver, path):
    def predict(x, t):
        return understood(path, "x0", jnp.full_like(x, MEAN), x, t)

    if solver.is_flow and not path.smooth:
        with pytest.raises(UsageError, match="wanted Ancestral or DPMSolver"):
            solve(predict, path, solver, START, KEYS)
        return
    straight = not solver.is_flow or path == StraightPath()
    for steps in (1, 2, 5) if straight else (400,):
        x = solve(predict, path, dataclasses.replace(solver, steps=steps), START, KEYS)
        np.testing.assert_allclose(x, MEAN, atol=2e-5 if straight else 0.02)


def test_what_is_drawn_on_the_way_has_the_distribution_of_the_data():
    keys = jax.random.split(jax.random.key(1), 20_000)
    start = noise_of(keys, (1,), 0)
    x = solve(gaussian(CosinePath()), CosinePath(), Ancestral(steps=200), start, keys)
    error = DEVIATION / np.sqrt(len(keys))
    assert abs(float(x.mean()) - MEAN) < 4 * error
    assert abs(float(x.std()) - DEVIATION) < 4 * error / np.sqrt(2) + 0.003  # of 200 steps


@pytest.mark.parametrize("solver", [Euler(5), Heun(5), Ancestral(5), DPMSolver(5)], ids=str)
def test_an_example_depends_on_its_key_alone_and_steps_are_a_loop(solver):
    path = StraightPath()
    whole = solve(gaussian(path), path, solver, START, KEYS)
    part = solve(gaussian(path), path, solver, START[7:9], KEYS[7:9])
    np.testing.assert_allclose(part, whole[7:9], atol=1e-6)
    sample, calls = Sample(START, jnp.zeros_like(START)), []

    def counted(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return gaussian(path)(x, t)

    for moment in zip(*solver.moments(), strict=True):
        sample = solver.advance(counted, path, sample, Moment(*moment), KEYS)
    np.testing.assert_allclose(sample.x, whole, atol=1e-6)
    jax.effects_barrier()
    assert len(calls) == solver.evaluations


def test_times_go_from_noise_to_data():
    assert Euler(4).times().tolist() == [1, 0.75, 0.5, 0.25, 0]
    np.testing.assert_allclose(Euler(2, shift=3.0).times(), [1, 0.75, 0])
    for make in (lambda: Euler(0), lambda: Ancestral(eta=2.0), lambda: DPMSolver(shift=0)):
        with pytest.raises(UsageError):
            make()


@pytest.mark.parametrize("path", [StraightPath(), CosinePath()], ids=str)
def test_the_flow_says_where_data_come_from_and_how_likely_they_are(path):
    def velocity(x, t):
        return gaussian(path)(x, t).velocity

    x0 = MEAN + DEVIATION * START.reshape(-1, 2)
    noise = to_noise(velocity, x0, 100)
    np.testing.assert_allclose(noise, exact(path, x0, 1e-3, 1.0), atol=2e-3)
    alpha, sigma = float(path.alpha(1e-3)), float(path.sigma(1e-3))  # where data count as such
    spread = np.hypot(alpha * DEVIATION, sigma)
    expected = jax.scipy.stats.norm.logpdf(x0, alpha * MEAN, spread).sum(axis=1)
    for probes in (1, 3):  # of a velocity of each number alone one probe is exact
        found = flow_log_prob(velocity, x0, KEYS[:256], 100, probes)
        np.testing.assert_allclose(found, expected, atol=4e-3)


def test_probes_are_right_in_the_mean():
    mixing = jnp.array([[-0.9, 0.7], [0.4, 0.2]])
    keys = jax.random.split(jax.random.key(2), 4_000)
    x0 = jnp.broadcast_to(jnp.array([0.3, -0.5]), (len(keys), 2))

    def velocity(x, t):
        return x @ mixing

    found = flow_log_prob(velocity, x0, keys, 30)
    grown = jax.scipy.linalg.expm(mixing)
    expected = jax.scipy.stats.norm.logpdf(x0[0] @ grown).sum() + jnp.trace(mixing)
    assert float(found.std()) > 0.1  # one probe errs
    assert abs(float(found.mean() - expected)) < 4 * float(found.std()) / len(keys) ** 0.5 + 0.01
