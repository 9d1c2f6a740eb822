"""`Adversary`: one or several discriminators (`vqjax.discriminators`) and the losses of both
players.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.ops.numerics import at_least_float32
from vqjax.types import Tree, UsageError, Verdict, check_offers

GENERATOR = "generator"
DISCRIMINATOR = "discriminator"
MATCHING = "feature_matching"
ADVERSARIAL = (GENERATOR, MATCHING, DISCRIMINATOR)  # terms of two players against each other


@dataclasses.dataclass(frozen=True)
class Adversary:
    """The adversary of a task, made from its fields.

    Attributes:
        discriminators: x [B, *S, C] -> verdicts; those with `gives_features = True` of features,
            too. The parameters of one are a tree, those of several
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
    def has_feature_matching(self) -> bool:
        """Whether a discriminator gives features, so that there is feature matching."""
        return any(getattr(d, "gives_features", False) for d in self.discriminators)

    @property
    def terms(self) -> dict[str, str]:
        """{loss term: which side it trains}."""
        matching = {MATCHING: GENERATOR} if self.has_feature_matching else {}
        return {GENERATOR: GENERATOR, **matching, DISCRIMINATOR: DISCRIMINATOR}

    def init(self, rng: jax.Array, x: jax.Array) -> tuple[Tree, Tree]:
        """Parameters and collections for x [B, *S, C]."""
        if len(self.discriminators) == 1:
            return _parameters(self.discriminators[0], rng, x), {}
        keys = jax.random.split(rng, len(self.discriminators))
        pairs = zip(self.discriminators, keys, strict=True)
        return {str(i): _parameters(d, key, x) for i, (d, key) in enumerate(pairs)}, {}

    def verdicts(self, params: Tree, x: jax.Array) -> tuple[Verdict, ...]:
        """The verdicts of all discriminators on x [B, *S, C]."""
        if len(self.discriminators) == 1:
            return _verdicts(self.discriminators[0].apply({"params": params}, x))
        verdicts: tuple[Verdict, ...] = ()
        for number, discriminator in enumerate(self.discriminators):
            verdicts += _verdicts(discriminator.apply({"params": params[str(number)]}, x))
        return verdicts

    def generator_side(
        self, params: Tree, x: jax.Array, active: Iterable[str]
    ) -> Callable[[jax.Array], dict[str, jax.Array]] | None:
        """The generator's losses against discriminators of `params`, which get no gradient: x_hat
        [B, *S, C] -> {each of its `active` terms: scalar}; None: none is active. The real x
        [B, *S, C] are judged only where a term compares with them.
        """
        names = [n for n, side in self.terms.items() if side == GENERATOR and n in active]
        if not names:
            return None
        params = jax.lax.stop_gradient(params)
        real = self.verdicts(params, x) if MATCHING in names or self.sees_both else ()

        def losses_of(x_hat: jax.Array) -> dict[str, jax.Array]:
            fake = self.verdicts(params, x_hat)
            losses = {GENERATOR: self.generator, MATCHING: self.matching}
            return {name: losses[name](fake, real) for name in names}

        return losses_of

    def generator(self, fake: Sequence[Verdict], real: Sequence[Verdict] = ()) -> jax.Array:
        """The generator's loss, the mean over verdicts; `real` where the
        losses see both.
        """
        if self.sees_both:
            pairs = zip(fake, real, strict=True)
            return _mean([self.losses.generator(f.logits, r.logits) for f, r in pairs])
        return _mean([self.losses.generator(v.logits) for v in fake])

    def discriminator(
        self, real: Sequence[Verdict], fake: Sequence[Verdict]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The discriminator's loss, the mean over verdicts, and the means of logits."""
        pairs = zip(real, fake, strict=True)
        loss = _mean([self.losses.discriminator(r.logits, f.logits) for r, f in pairs])
        means = {"real": real, "fake": fake}
        logits = {f"logits_{k}": _mean([jnp.mean(v.logits) for v in vs]) for k, vs in means.items()}
        return loss, logits

    def matching(self, fake: Sequence[Verdict], real: Sequence[Verdict]) -> jax.Array:
        """Mean absolute difference of features, over that of real ones (arXiv 2210.13438, eq. 2);
        the mean over layers and verdicts. No gradient goes to `real`.
        """
        distances = []
        if not any(verdict.features for verdict in real):
            raise UsageError("discriminator: gives_features, and there are none in its verdicts")
        for a, b in zip(real, fake, strict=True):
            for one, other in zip(a.features, b.features, strict=True):
                one = jax.lax.stop_gradient(at_least_float32(one))
                far = jnp.mean(jnp.abs(at_least_float32(other) - one))
                distances.append(far / jnp.maximum(jnp.mean(jnp.abs(one)), 1e-8))
        return _mean(distances)


def _parameters(discriminator: nn.Module, rng: jax.Array, x: jax.Array) -> Tree:
    variables = discriminator.init(rng, x)
    if kept := sorted(variables.keys() - {"params"}):
        kind = type(discriminator).__name__
        raise UsageError(f"discriminator: {kind} keeps {', '.join(kept)} beside its parameters")
    return variables["params"]


def _verdicts(output: Any) -> tuple[Verdict, ...]:
    if isinstance(output, Verdict):
        return (output,)
    if isinstance(output, tuple | list):
        return tuple(verdict for one in output for verdict in _verdicts(one))
    return (Verdict(output),)


def _mean(values: Sequence[jax.Array]) -> jax.Array:
    return values[0] if len(values) == 1 else sum(values) / len(values)
