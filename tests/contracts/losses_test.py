import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.losses import L1, L2, BinaryCrossEntropy, Hinge, NonSaturating

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

RECONSTRUCTION = [
    (L1(), "l1", False, (0.5 + 0 + 1 + 0.5) / 4),
    (L2(), "l2", False, (0.25 + 0 + 1 + 0.25) / 4),
    (BinaryCrossEntropy(), "binary_cross_entropy", True, BCE),
]
REAL, FAKE = jnp.array([2.0, 0.5, -1.0]), jnp.array([-2.0, 0.5, 1.0])


def softplus(x):
    return math.log1p(math.exp(x))


ADVERSARIAL = [
    (Hinge(), -(-2 + 0.5 + 1) / 3, 0.5 * ((0 + 0.5 + 2) / 3 + (0 + 1.5 + 2) / 3)),
    (
        NonSaturating(),
        (softplus(2) + softplus(-0.5) + softplus(-1)) / 3,
        0.5
        * (
            (softplus(-2) + softplus(-0.5) + softplus(1)) / 3
            + (softplus(-2) + softplus(0.5) + softplus(1)) / 3
        ),
    ),
]


@pytest.mark.parametrize(("loss", "name", "needs_logits", "wanted"), RECONSTRUCTION)
def test_reconstruction(loss, name, needs_logits, wanted):
    assert loss.name == name and loss.needs_logits is needs_logits
    value = loss(X, X_HAT, LOGITS)
    assert value.shape == ()
    np.testing.assert_allclose(value, wanted, rtol=1e-6)


@pytest.mark.parametrize("loss", [row[0] for row in RECONSTRUCTION])
def test_reconstruction_prefers_the_original(loss):
    target = jnp.array([[1.0, -1.0]])
    good = loss(target, 0.9 * target, 5.0 * target)
    bad = loss(target, -0.9 * target, -5.0 * target)
    assert good < bad


@pytest.mark.parametrize("loss", [row[0] for row in RECONSTRUCTION])
def test_reconstruction_in_at_least_float32(loss):
    x = jnp.zeros((1, 4096, 1), jnp.bfloat16)
    made = jnp.full((1, 4096, 1), 0.75, jnp.bfloat16)
    value = loss(x, made, made)
    assert value.dtype == jnp.float32
    wanted = loss(*(a.astype(jnp.float32) for a in (x, made, made)))
    np.testing.assert_allclose(value, wanted, rtol=1e-6)


@pytest.mark.parametrize("loss", [row[0] for row in RECONSTRUCTION])
def test_reconstruction_refuses_another_shape(loss):
    wrong = jnp.zeros((2, 1))  # would broadcast in silence
    with pytest.raises(AssertionError):
        loss(X, wrong, wrong)


def test_binary_cross_entropy_of_sure_logits_is_finite():
    logits = jnp.array([1e4, -1e4])
    x = jnp.array([1.0, 1.0])
    value, gradient = jax.value_and_grad(lambda y: BinaryCrossEntropy()(x, y, y))(logits)
    np.testing.assert_allclose(value, 5e3)
    np.testing.assert_allclose(gradient, [0.0, -0.5])


@pytest.mark.parametrize(("loss", "generator", "discriminator"), ADVERSARIAL)
def test_adversarial(loss, generator, discriminator):
    np.testing.assert_allclose(loss.generator(FAKE), generator, rtol=1e-6)
    np.testing.assert_allclose(loss.discriminator(REAL, FAKE), discriminator, rtol=1e-6)


@pytest.mark.parametrize("loss", [row[0] for row in ADVERSARIAL])
def test_players_pull_apart(loss):
    up = jax.grad(loss.generator)(jnp.zeros(3))
    real, fake = jax.grad(loss.discriminator, argnums=(0, 1))(jnp.zeros(3), jnp.zeros(3))
    assert (up < 0).all() and (real < 0).all() and (fake > 0).all()


@pytest.mark.parametrize("loss", [row[0] for row in ADVERSARIAL])
def test_adversarial_in_at_least_float32(loss):
    logits = jnp.full((4096,), 0.3, jnp.bfloat16)
    assert loss.generator(logits).dtype == jnp.float32
    wanted = loss.discriminator(logits.astype(jnp.float32), logits.astype(jnp.float32))
    np.testing.assert_allclose(loss.discriminator(logits, logits), wanted, rtol=1e-6)


def test_hinge_lets_sure_logits_alone():
    gradient = jax.grad(lambda r: Hinge().discriminator(r, -r))(jnp.array([1.5, 3.0]))
    np.testing.assert_array_equal(gradient, 0.0)


def test_float64_stays(x64):
    wide = jnp.zeros((2, 2), jnp.float64)
    for loss, *_ in RECONSTRUCTION:
        assert loss(wide, wide, wide).dtype == jnp.float64
    for loss, *_ in ADVERSARIAL:
        assert loss.generator(wide).dtype == jnp.float64
        assert loss.discriminator(wide, wide).dtype == jnp.float64
