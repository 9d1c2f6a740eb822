"""One or several discriminators, worked out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from vqjax.discriminators import PatchGAN
from vqjax.losses import Hinge
from vqjax.tasks.adversary import Adversary
from vqjax.types import UsageError, Verdict


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
    (verdict,) = adversary.verdicts(params, x)
    assert verdict.logits.shape == (1, 2, 2, 1) and verdict.features == ()
    assert adversary.terms == {"generator": "generator", "discriminator": "discriminator"}


def test_several_are_averaged():
    adversary = Adversary.of((Layers(), Layers()), Hinge())
    params, _ = adversary.init(jax.random.key(0), X)
    assert set(params) == {"0", "1"}
    real, fake = adversary.verdicts(params, X), adversary.verdicts(params, -X)
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
    assert adversary.has_feature_matching and adversary.terms["feature_matching"] == "generator"
    real, fake = adversary.verdicts(params, X), adversary.verdicts(params, 1.5 * X)
    assert float(adversary.matching(fake, real)) == pytest.approx(0.5)
    gradient = jax.grad(lambda x: adversary.matching(fake, adversary.verdicts(params, x)))(X)
    assert not gradient.any()  # real examples are what is to be matched


def test_losses_may_look_at_both_sides():
    adversary = Adversary.of(Layers(), Relative())
    params, _ = adversary.init(jax.random.key(0), X)
    real, fake = adversary.verdicts(params, X), adversary.verdicts(params, 2 * X)
    assert float(adversary.generator(fake, real)) == pytest.approx(-(7.5 + 6) / 2)


def test_what_is_none():
    assert Adversary.of(None, Hinge()) is None and Adversary.of((), Hinge()) is None
    with pytest.raises(UsageError, match="adversarial: str does not fit here"):
        Adversary.of(Layers(), "hinge")


class Keeping(nn.Module):
    gives_features = True

    @nn.compact
    def __call__(self, x):
        self.variable("batch_stats", "mean", jnp.zeros, ())
        return Verdict(nn.Dense(1)(x))


def test_what_discriminators_must_not_be():
    keeps = "Keeping keeps batch_stats beside its parameters"
    for several in (Keeping(), (Layers(), Keeping())):
        with pytest.raises(UsageError, match=keeps):
            Adversary.of(several, Hinge()).init(jax.random.key(0), X)
    nothing = (Verdict(X),)
    with pytest.raises(UsageError, match="gives_features, and there are none"):
        Adversary.of(Keeping(), Hinge()).matching(nothing, nothing)


def test_real_examples_are_looked_at_only_where_a_term_does():
    params, _ = Adversary.of(Layers(), Hinge()).init(jax.random.key(0), X)

    def seen(losses, *active):
        adversary = Adversary.of(Layers(), losses)
        lost = jax.jit(lambda x, x_hat: adversary.generator_side(params, x, active)(x_hat))
        found = str(lost.trace(X, -X).jaxpr).count(":f32[1,4,1] = mul")
        return found, set(lost(X, -X))

    once, terms = seen(Hinge(), "generator", "discriminator", "tokenizer")
    assert terms == {"generator"}
    assert seen(Relative(), "generator")[0] == 2 * once
    found, terms = seen(Hinge(), "feature_matching", "generator")
    assert found == 2 * once and terms == {"generator", "feature_matching"}
    assert Adversary.of(Layers(), Hinge()).generator_side(params, X, ("discriminator",)) is None
