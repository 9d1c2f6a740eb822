import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax import losses
from vqjax.losses import (
    BernoulliLikelihood,
    GaussianLikelihood,
    Hinge,
    LeastSquares,
    LogisticLikelihood,
    NonSaturating,
    Relativistic,
    gradient_penalty,
)
from vqjax.types import UsageError

X = jnp.array([[1.0, -1.0], [0.0, 0.5]])
X_HAT = jnp.array([[0.5, -1.0], [1.0, 0.0]])
LOGITS = jnp.array([[0.0, 0.0], [math.log(3.0), -math.log(3.0)]])

# p = 1/2, 1/2, 3/4, 1/4 against t = 1, 0, 1/2, 3/4
BCE = (
    math.log(2)
    + math.log(2)
    - 0.5 * math.log(3 / 4)
    - 0.5 * math.log(1 / 4)
    - 0.75 * math.log(1 / 4)
    - 0.25 * math.log(3 / 4)
) / 4

# Each: the loss, its name, whether it reads logits, and its value for X and X_HAT by hand.
RECONSTRUCTION = {
    "l1": (losses.L1(), "l1", False, (0.5 + 0 + 1 + 0.5) / 4),
    "l2": (losses.L2(), "l2", False, (0.25 + 0 + 1 + 0.25) / 4),
    "cross_entropy": (losses.BinaryCrossEntropy(), "binary_cross_entropy", True, BCE),
}


def logistic(x):
    return 1.0 / (1.0 + math.exp(-x))


# Nats per example: sums over its two values, means over the two examples. Bernoulli: the cross
# entropy above is a mean over four. Logistic, scale 1/2: first X = 1 and -1, the edge bins, then
# 0 (between the values 127 and 128, a bin is as wide everywhere) and 0.5.
HALF = 1 / 255
LIKELIHOODS = [
    (BernoulliLikelihood(), True, 2 * BCE),
    (
        GaussianLikelihood(2.0),
        False,
        (0.25 + 0 + 1 + 0.25) / (2 * 4) / 2 + 2 * (math.log(2) + 0.5 * math.log(2 * math.pi)),
    ),
    (
        LogisticLikelihood(0.5),
        False,
        -0.5
        * (
            math.log(1 - logistic((1 - 0.5 - HALF) / 0.5))
            + math.log(logistic((-1 + 1 + HALF) / 0.5))
            + math.log(logistic((0 - 1 + HALF) / 0.5) - logistic((0 - 1 - HALF) / 0.5))
            + math.log(logistic((0.5 + HALF) / 0.5) - logistic((0.5 - HALF) / 0.5))
        ),
    ),
]
RECONSTRUCTION |= {
    type(loss).__name__: (loss, "nll", logits, wanted) for loss, logits, wanted in LIKELIHOODS
}
REAL, FAKE = jnp.array([2.0, 0.5, -1.0]), jnp.array([-2.0, 0.5, 1.0])


def softplus(x):
    return math.log1p(math.exp(x))


ADVERSARIAL = [
    (Hinge(), -(-2 + 0.5 + 1) / 3, 0.5 * ((0 + 0.5 + 2) / 3 + (0 + 1.5 + 2) / 3)),
    (
        LeastSquares(),
        (9 + 0.25 + 0) / 3,
        0.5 * ((1 + 0.25 + 4) / 3 + (4 + 0.25 + 1) / 3),
    ),
    (
        NonSaturating(),
        (softplus(2) + softplus(-0.5) + softplus(-1)) / 3,
        0.5
        * (
            (softplus(-2) + softplus(-0.5) + softplus(1)) / 3
            + (softplus(-2) + softplus(0.5) + softplus(1)) / 3
        ),
    ),
    (
        Relativistic(),
        (softplus(4) + softplus(0) + softplus(-2)) / 3,
        (softplus(-4) + softplus(0) + softplus(2)) / 3,
    ),
]


def generator_of(loss, fake, real=REAL):
    return loss.generator(fake, real) if getattr(loss, "sees_both", False) else loss.generator(fake)


@pytest.mark.parametrize("row", RECONSTRUCTION)
def test_reconstruction(row):
    loss, name, needs_logits, wanted = RECONSTRUCTION[row]
    assert loss.name == name and loss.needs_logits is needs_logits
    value = loss(X, X_HAT, LOGITS)
    assert value.shape == ()
    np.testing.assert_allclose(value, wanted, rtol=1e-6)


@pytest.mark.parametrize("loss", [row[0] for row in RECONSTRUCTION.values()])
def test_reconstruction_prefers_the_original(loss):
    target = jnp.array([[1.0, -1.0]])
    good = loss(target, 0.9 * target, 5.0 * target)
    bad = loss(target, -0.9 * target, -5.0 * target)
    assert good < bad


@pytest.mark.parametrize("loss", [row[0] for row in RECONSTRUCTION.values()])
def test_reconstruction_in_at_least_float32(loss):
    x = jnp.zeros((1, 4096, 1), jnp.bfloat16)
    made = jnp.full((1, 4096, 1), 0.75, jnp.bfloat16)
    value = loss(x, made, made)
    assert value.dtype == jnp.float32
    wanted = loss(*(a.astype(jnp.float32) for a in (x, made, made)))
    np.testing.assert_allclose(value, wanted, rtol=1e-6)


@pytest.mark.parametrize("loss", [row[0] for row in RECONSTRUCTION.values()])
def test_reconstruction_refuses_another_shape(loss):
    wrong = jnp.zeros((2, 1))  # would broadcast in silence
    with pytest.raises(AssertionError):
        loss(X, wrong, wrong)


@pytest.mark.parametrize("loss", [row[0] for row in LIKELIHOODS])
def test_a_likelihood_is_summed_over_values_and_averaged_over_examples(loss):
    each = loss.log_prob(X, X_HAT, LOGITS)
    assert each.shape == (2,)
    np.testing.assert_allclose(loss(X, X_HAT, LOGITS), -each.mean(), rtol=1e-6)
    first = loss.log_prob(X[:1, :, None, None], X_HAT[:1, :, None, None], LOGITS[:1, :, None, None])
    np.testing.assert_allclose(first, each[:1], rtol=1e-6)
    nothing = jnp.zeros((0, 2))
    assert loss(nothing, nothing, nothing) == 0.0


@pytest.mark.parametrize("mean", [-3.0, -1.0, -0.997, 0.1234, 1.0, 40.0])
@pytest.mark.parametrize("scale", [1e-3, 0.05, 10.0])
def test_the_logistic_likelihood_sums_to_one_over_the_256_values(x64, mean, scale):
    x = (jnp.arange(256, dtype=jnp.float64) / 127.5 - 1.0)[:, None]
    log_prob = LogisticLikelihood(scale).log_prob(x, jnp.full_like(x, mean), x)
    assert np.isfinite(log_prob).all()
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=1e-9)


def test_the_logistic_likelihood_of_a_far_value_keeps_its_gradient():
    x = jnp.array([[100 / 127.5 - 1.0]])

    def loss(mean):
        return LogisticLikelihood(0.01)(x, mean, mean)

    value, gradient = jax.value_and_grad(loss)(jnp.array([[5.0]]))  # both sigmoids are 0 here
    assert np.isfinite(value) and gradient == pytest.approx(100.0, rel=1e-3)


def test_the_bernoulli_likelihoods_of_the_two_values_sum_to_one():
    logits = jnp.array([[-30.0], [-0.3], [4.0]])
    both = [
        BernoulliLikelihood().log_prob(jnp.full((3, 1), v), logits, logits) for v in (-1.0, 1.0)
    ]
    np.testing.assert_allclose(np.exp(both[0]) + np.exp(both[1]), 1.0, rtol=1e-6)


@pytest.mark.parametrize("make", [GaussianLikelihood, LogisticLikelihood])
@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_no_distribution_has_is_refused(make, scale):
    with pytest.raises(UsageError, match="scale="):
        make(scale)


def test_binary_cross_entropy_of_sure_logits_is_finite():
    logits = jnp.array([1e4, -1e4])
    x = jnp.array([1.0, 1.0])
    value, gradient = jax.value_and_grad(lambda y: losses.BinaryCrossEntropy()(x, y, y))(logits)
    np.testing.assert_allclose(value, 5e3)
    np.testing.assert_allclose(gradient, [0.0, -0.5])


@pytest.mark.parametrize(("loss", "generator", "discriminator"), ADVERSARIAL)
def test_adversarial(loss, generator, discriminator):
    np.testing.assert_allclose(generator_of(loss, FAKE), generator, rtol=1e-6)
    np.testing.assert_allclose(loss.discriminator(REAL, FAKE), discriminator, rtol=1e-6)


@pytest.mark.parametrize("loss", [row[0] for row in ADVERSARIAL])
def test_players_pull_apart(loss):
    unsure = jnp.full(3, 0.1)
    up = jax.grad(lambda fake: generator_of(loss, fake, unsure))(unsure)
    real, fake = jax.grad(loss.discriminator, argnums=(0, 1))(unsure, unsure)
    assert (up < 0).all() and (real < 0).all() and (fake > 0).all()


@pytest.mark.parametrize("loss", [row[0] for row in ADVERSARIAL])
def test_adversarial_in_at_least_float32(loss):
    logits = jnp.full((4096,), 0.3, jnp.bfloat16)
    assert generator_of(loss, logits, logits).dtype == jnp.float32
    wanted = loss.discriminator(logits.astype(jnp.float32), logits.astype(jnp.float32))
    np.testing.assert_allclose(loss.discriminator(logits, logits), wanted, rtol=1e-6)


def test_hinge_lets_sure_logits_alone():
    gradient = jax.grad(lambda r: Hinge().discriminator(r, -r))(jnp.array([1.5, 3.0]))
    np.testing.assert_array_equal(gradient, 0.0)


def test_float64_stays(x64):
    wide = jnp.zeros((2, 2), jnp.float64)
    for loss, *_ in RECONSTRUCTION.values():
        assert loss(wide, wide, wide).dtype == jnp.float64
    for loss, *_ in ADVERSARIAL:
        assert generator_of(loss, wide, wide).dtype == jnp.float64
        assert loss.discriminator(wide, wide).dtype == jnp.float64


def test_the_penalty_of_a_gradient_by_hand():
    """judge(x) = x0^2 + 3 x1, whose gradient is (2 x0, 3)."""

    def judge(x):
        return x[:, 0] ** 2 + 3 * x[:, 1]

    x = jnp.array([[1.0, 5.0], [-2.0, 0.0]], jnp.bfloat16)
    value = gradient_penalty(judge, x)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, ((4 + 9) + (16 + 9)) / 2)
    by_weight = jax.grad(lambda w: gradient_penalty(lambda x: w * judge(x), x))(2.0)
    np.testing.assert_allclose(by_weight, 2 * 2.0 * 19, rtol=1e-6)
