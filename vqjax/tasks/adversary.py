"""`Adversary`: one or several discriminators and the losses of both players.

A discriminator gives logits, a `Verdict` of logits and features, or several verdicts, as those of
many scales do. It keeps no running statistics (`vqjax.discriminators`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.ops.numerics import at_least_float32
from vqjax.types import Tree, check_offers

GENERATOR = "generator"
DISCRIMINATOR = "discriminator"
MATCHING = "feature_matching"


class Verdict(NamedTuple):
    """What a discriminator says of examples: `logits` of any shape, `features` of its layers."""

    logits: jax.Array
    features: tuple[jax.Array, ...] = ()


@dataclasses.dataclass(frozen=True)
class Adversary:
    """The adversary of a task, made from its fields.

    Attributes:
        discriminators: x [B, *S, C] -> verdicts. The parameters of one are a tree, those of several
            {"0": tree, "1": ...}.
        losses: of both players, such as `vqjax.losses.Hinge`: `generator(fake)` and
            `discriminator(real, fake)` of logits. One with `sees_both = True` is called as
            `generator(fake, real)`.
    """

    discriminators: tuple[nn.Module, ...]
    losses: Any

    @classmethod
    def of(cls, discriminator: Any, losses: Any) -> "Adversary | None":
        """From a field that holds one discriminator, a tuple of them, or None.

        Raises:
            UsageError: the losses are none.
        """
        if discriminator is None or discriminator == ():
            return None
        check_offers("adversarial", losses, (GENERATOR, DISCRIMINATOR))
        several = discriminator if isinstance(discriminator, tuple) else (discriminator,)
        return cls(several, losses)

    @property
    def sees_both(self) -> bool:
        """Whether the generator's loss looks at real examples, too."""
        return getattr(self.losses, "sees_both", False)

    @property
    def matches(self) -> bool:
        """Whether a discriminator gives features, so that there is feature matching."""
        return any(getattr(d, "gives_features", False) for d in self.discriminators)

    @property
    def terms(self) -> dict[str, str]:
        """{loss term: which side it trains}."""
        matching = {MATCHING: GENERATOR} if self.matches else {}
        return {GENERATOR: GENERATOR, **matching, DISCRIMINATOR: DISCRIMINATOR}

    def init(self, rng: jax.Array, x: jax.Array) -> tuple[Tree, Tree]:
        """Parameters and collections for x [B, *S, C]."""
        if len(self.discriminators) == 1:
            return _divided(self.discriminators[0].init(rng, x))
        keys = jax.random.split(rng, len(self.discriminators))
        pairs = zip(self.discriminators, keys, strict=True)
        made = [_divided(d.init(key, x)) for d, key in pairs]
        params = {str(i): params for i, (params, _) in enumerate(made)}
        return params, {}

    def judge(self, params: Tree, x: jax.Array) -> tuple[Verdict, ...]:
        """What each says of x [B, *S, C]."""
        if len(self.discriminators) == 1:
            return _verdicts(self.discriminators[0].apply({"params": params}, x))
        found: tuple[Verdict, ...] = ()
        for number, discriminator in enumerate(self.discriminators):
            found += _verdicts(discriminator.apply({"params": params[str(number)]}, x))
        return found

    def generator(self, fake: Sequence[Verdict], real: Sequence[Verdict] = ()) -> jax.Array:
        """The scalar that makes fakes pass for real, the mean over verdicts; `real` where the
        losses see both.
        """
        if self.sees_both:
            pairs = zip(fake, real, strict=True)
            return _mean([self.losses.generator(f.logits, r.logits) for f, r in pairs])
        return _mean([self.losses.generator(v.logits) for v in fake])

    def discriminator(
        self, real: Sequence[Verdict], fake: Sequence[Verdict]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The scalar that tells them apart, the mean over verdicts, and the means of logits."""
        pairs = zip(real, fake, strict=True)
        loss = _mean([self.losses.discriminator(r.logits, f.logits) for r, f in pairs])
        means = {"real": real, "fake": fake}
        logits = {f"logits_{k}": _mean([jnp.mean(v.logits) for v in vs]) for k, vs in means.items()}
        return loss, logits

    def matching(self, real: Sequence[Verdict], fake: Sequence[Verdict]) -> jax.Array:
        """Mean absolute difference of features, over that of real ones (arXiv 2210.13438, eq. 2);
        the mean over layers and verdicts. No gradient goes to `real`.
        """
        distances = []
        for a, b in zip(real, fake, strict=True):
            for one, other in zip(a.features, b.features, strict=True):
                one = jax.lax.stop_gradient(at_least_float32(one))
                far = jnp.mean(jnp.abs(at_least_float32(other) - one))
                distances.append(far / jnp.maximum(jnp.mean(jnp.abs(one)), 1e-8))
        return _mean(distances)


def _divided(variables: Tree) -> tuple[Tree, Tree]:
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}


def _verdicts(said: Any) -> tuple[Verdict, ...]:
    if isinstance(said, Verdict):
        return (said,)
    if isinstance(said, tuple | list):
        return tuple(verdict for one in said for verdict in _verdicts(one))
    return (Verdict(said),)


def _mean(values: Sequence[jax.Array]) -> jax.Array:
    return values[0] if len(values) == 1 else sum(values) / len(values)
