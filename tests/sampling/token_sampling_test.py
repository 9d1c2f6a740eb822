"""Choices of one token against what their distributions say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.sampling import Guidance, TokenSampling
from vqjax.types import UsageError

P = np.array([0.4, 0.3, 0.2, 0.06, 0.04])


def frequencies(choice, count=20_000):
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(np.arange(count))
    logits = jnp.broadcast_to(jnp.log(jnp.asarray(P, jnp.float32)), (count, len(P)))
    drawn = np.asarray(jax.jit(choice)(logits, keys))
    return np.bincount(drawn, minlength=len(P)) / count


def normalized(p):
    return p / p.sum()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (TokenSampling(), P),
        (TokenSampling(temperature=0.0), [1, 0, 0, 0, 0]),
        (TokenSampling(temperature=0.5), normalized(P**2)),
        (TokenSampling(top_k=2), normalized(P * [1, 1, 0, 0, 0])),
        (TokenSampling(top_k=9), P),
        (TokenSampling(top_p=0.69), normalized(P * [1, 1, 0, 0, 0])),
        (TokenSampling(top_p=0.71), normalized(P * [1, 1, 1, 0, 0])),
        (TokenSampling(top_p=1e-6), [1, 0, 0, 0, 0]),
        (TokenSampling(top_k=3, top_p=0.5), normalized(P * [1, 1, 0, 0, 0])),
    ],
)
def test_frequencies(choice, expected):
    np.testing.assert_allclose(frequencies(choice), expected, atol=0.015)


def test_a_draw_depends_on_its_own_key_alone():
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(np.arange(9))
    logits = jax.random.normal(jax.random.key(1), (9, 50))
    whole = TokenSampling()(logits, keys)
    np.testing.assert_array_equal(TokenSampling()(logits[4:6], keys[4:6]), whole[4:6])


def test_guidance_by_hand():
    lowest = jnp.finfo(jnp.float32).min
    told, untold = jnp.array([[1.0, 2.0, lowest]]), jnp.array([[0.5, 3.0, lowest]])
    both = jnp.concatenate([told, untold])
    np.testing.assert_allclose(Guidance(1.0)(both, 0.3), told)
    np.testing.assert_allclose(Guidance(0.0)(both, 0.3)[:, :2], untold[:, :2])
    np.testing.assert_allclose(Guidance(3.0)(both, 0.3)[:, :2], [[2.0, 0.0]], rtol=1e-6)
    assert Guidance(3.0)(both, 0.3)[0, 2] == lowest
    for schedule, half in (("constant", 3.0), ("linear", 2.0), ("cosine", 2.0)):
        guidance = Guidance(3.0, schedule)
        assert guidance.at(0.5) == pytest.approx(half)
        assert guidance.at(1.0) == pytest.approx(3.0)
        assert guidance.at(0.0) == pytest.approx(3.0 if schedule == "constant" else 1.0)
    assert Guidance(3.0, "cosine").at(0.25) < Guidance(3.0, "linear").at(0.25)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TokenSampling(temperature=-1.0), "temperature=-1.0"),
        (lambda: TokenSampling(top_k=0), "top_k=0"),
        (lambda: TokenSampling(top_p=0.0), "top_p=0.0"),
        (lambda: Guidance(-1.0), "guidance.scale"),
        (lambda: Guidance(1.0, "cosin"), "did you mean 'cosine'"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()
