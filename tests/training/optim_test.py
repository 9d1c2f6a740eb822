"""Optimizers as data."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vqjax.ops.schedules import Ramp
from vqjax.training.optim import (
    SGD,
    Adam,
    AdamW,
    Muon,
    Optax,
    Optimizer,
    Transform,
    moves,
    transformation,
)
from vqjax.types import UsageError

PARAMS = {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full((2,), 2.0)}
GRADS = {"kernel": jnp.full((2, 2), 0.5), "bias": jnp.full((2,), -0.5)}


def directions(optimizer, steps=1):
    made = transformation(optimizer)
    state = made.init(PARAMS)
    for _ in range(steps):
        direction, state = made.update(GRADS, state, PARAMS)
    return direction


def test_sgd_is_the_gradient():
    np.testing.assert_allclose(directions(SGD(0.1))["kernel"], 0.5)


def test_momentum_by_hand():
    # 0.5, then 0.9 * 0.5 + 0.5; Nesterov's: 0.9 * 0.95 + 0.5
    np.testing.assert_allclose(directions(SGD(0.1, momentum=0.9), 2)["kernel"], 0.95, rtol=1e-6)
    nesterov = directions(SGD(0.1, momentum=0.9, nesterov=True), 2)
    np.testing.assert_allclose(nesterov["kernel"], 1.355, rtol=1e-6)


def test_adam_is_a_sign_while_gradients_stay():
    for steps in (1, 3):
        direction = directions(Adam(1e-3), steps)
        np.testing.assert_allclose(direction["kernel"], 1.0, rtol=1e-5)
        np.testing.assert_allclose(direction["bias"], -1.0, rtol=1e-5)


def test_adamw_decays_kernels_only():
    direction = directions(AdamW(1e-3, weight_decay=0.25))
    np.testing.assert_allclose(direction["kernel"], 1.0 + 0.25 * 2.0, rtol=1e-5)
    np.testing.assert_allclose(direction["bias"], -1.0, rtol=1e-5)


def test_muon_steps_alike_in_every_direction_of_a_matrix():
    rng = np.random.default_rng(0)
    stacked = jnp.asarray(rng.normal(size=(2, 4, 12)) * np.logspace(0, -1.5, 4)[:, None])
    grads = {
        "transformer": {"blocks": {"kernel": stacked, "scale": jnp.full((2, 4), -0.5)}},
        "head": {"kernel": jnp.full((4, 3), 0.5)},
    }
    params = {**grads, "head": {"kernel": jnp.full((4, 3), 2.0)}}
    made = transformation(Muon(1e-3, weight_decay=0.25))
    direction, _ = made.update(grads, made.init(params), params)
    inside = direction["transformer"]["blocks"]
    for own, decayed in zip(inside["kernel"], 0.25 * stacked, strict=True):
        # Five steps of Newton and Schulz bring all singular values near 1, up to a half away.
        values = np.linalg.svd(np.asarray(own - decayed), compute_uv=False) / (0.2 * 12**0.5)
        assert values.min() > 0.5 and values.max() < 1.5
    np.testing.assert_allclose(inside["scale"], -1.0, rtol=1e-5)  # Adam's
    np.testing.assert_allclose(direction["head"]["kernel"], 1.0 + 0.25 * 2.0, rtol=1e-5)


def test_muon_wants_a_transformer():
    with pytest.raises(UsageError, match="Muon.momentum=1.5: wanted 0 <= momentum < 1"):
        Muon(1e-3, momentum=1.5)
    with pytest.raises(UsageError, match="no matrices inside a transformer"):
        transformation(Muon(1e-3)).init(PARAMS)


def test_clipping_is_by_the_global_norm():
    direction = directions(SGD(0.1, clip=0.1))
    assert optax.tree.norm(direction) == pytest.approx(0.1)
    np.testing.assert_allclose(directions(SGD(0.1, clip=10.0))["kernel"], 0.5)


def test_any_optax_chain():
    chain = Optax(1e-4, (Transform("clip", {"max_delta": 0.25}), Transform("scale_by_sign")))
    np.testing.assert_allclose(directions(chain)["bias"], -1.0)
    lion = Optax(1e-4, (Transform("scale_by_lion", {"b1": 0.95, "b2": 0.98}),))
    np.testing.assert_allclose(directions(lion)["kernel"], 1.0)


@pytest.mark.parametrize(
    ("transform", "line"),
    [
        (Transform("scale_by_lino"), "optax has no 'scale_by_lino': did you mean 'scale_by_lion'?"),
        (Transform("__init__"), "optax has no '__init__'"),
        (Transform("scale_by_lion", {"b3": 1}), "optax.scale_by_lion: .*b3"),
        (Transform("constant_schedule", {"value": 1.0}), "does not make a gradient transformation"),
    ],
)
def test_wrong_transforms(transform, line):
    with pytest.raises(UsageError, match=line):
        transform.make()


def test_moves():
    assert [moves(SGD(1.0, start=2), n) for n in range(4)] == [False, False, True, True]
    odd = SGD(1.0, start=1, every=3, offset=1)
    assert [n for n in range(9) if moves(odd, n)] == [2, 5, 8]


def test_what_is_an_optimizer():
    optax_one = Optax(1e-3, (Transform("scale_by_lion"),))
    assert all(
        isinstance(o, Optimizer) for o in (SGD(1.0), Adam(1.0), AdamW(1.0), Muon(1.0), optax_one)
    )
    assert not isinstance(Ramp(1.0), Optimizer) and not isinstance(optax.adam(1e-3), Optimizer)
