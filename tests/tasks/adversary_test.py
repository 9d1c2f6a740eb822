"""One or several discriminators, worked out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from vqjax.discriminators import PatchGAN
from vqjax.losses import Hinge
from vqjax.tasks.adversary import Adversary, Verdict
from vqjax.types import UsageError


class Layers(nn.Module):
    """Logits three times x, features x and its double; two scales of it."""

    gives_features = True

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.constant(3.0), ())
        verdict = Verdict(w * x, (x, 2 * x))
        return verdict, Verdict(verdict.logits[:, ::2], (x[:, ::2],))


@dataclasses.dataclass(frozen=True)
class Relative:
    """What real examples get more than made ones."""

    sees_both = True

    def generator(self, fake, real):
        return jnp.mean(real - fake)

    def discriminator(self, real, fake):
        return jnp.mean(fake - real)


X = jnp.arange(1.0, 5.0).reshape(1, 4, 1)


def test_a_bare_array_is_one_verdict_and_its_parameters_are_a_tree():
    adversary = Adversary.of(PatchGAN(width=4, layers=1), Hinge())
    x = jnp.ones((1, 8, 8, 1))
    params, collections = adversary.init(jax.random.key(0), x)
    assert set(params) == {"conv_0", "conv_1", "norm_1", "to_logits"} and collections == {}
    (verdict,) = adversary.judge(params, x)
    assert verdict.logits.shape == (1, 2, 2, 1) and verdict.features == ()
    assert adversary.terms == {"generator": "generator", "discriminator": "discriminator"}


def test_several_are_averaged():
    adversary = Adversary.of((Layers(), Layers()), Hinge())
    params, _ = adversary.init(jax.random.key(0), X)
    assert set(params) == {"0", "1"}
    real, fake = adversary.judge(params, X), adversary.judge(params, -X)
    assert len(real) == 4
    # -mean of -3 x: over all four positions 7.5, over every other one 6.
    assert float(adversary.generator(fake)) == pytest.approx((7.5 + 6) / 2)
    loss, means = adversary.discriminator(real, fake)
    assert float(loss) == 0.0  # beyond +-1 nothing is lost
    assert float(means["logits_real"]) == pytest.approx((7.5 + 6) / 2)
    assert float(means["logits_fake"]) == -float(means["logits_real"])


def test_features_are_matched_by_their_relative_distance():
    adversary = Adversary.of(Layers(), Hinge())
    params, _ = adversary.init(jax.random.key(0), X)
    assert adversary.matches and adversary.terms["feature_matching"] == "generator"
    real, fake = adversary.judge(params, X), adversary.judge(params, 1.5 * X)
    assert float(adversary.matching(real, fake)) == pytest.approx(0.5)
    gradient = jax.grad(lambda x: adversary.matching(adversary.judge(params, x), fake))(X)
    assert not gradient.any()  # real examples are what is to be matched


def test_losses_may_look_at_both_sides():
    adversary = Adversary.of(Layers(), Relative())
    params, _ = adversary.init(jax.random.key(0), X)
    real, fake = adversary.judge(params, X), adversary.judge(params, 2 * X)
    assert float(adversary.generator(fake, real)) == pytest.approx(-(7.5 + 6) / 2)


def test_what_is_none():
    assert Adversary.of(None, Hinge()) is None and Adversary.of((), Hinge()) is None
    with pytest.raises(UsageError, match="adversarial: str does not fit here"):
        Adversary.of(Layers(), "hinge")
