"""The weight of the generator's term against the reconstruction's."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.lax import stop_gradient

from vqjax.types import Tree


@dataclasses.dataclass(frozen=True)
class AdaptiveWeight:
    """Balances the generator's term against the reconstruction's (arXiv 2012.09841, eq. 7).

    lambda = |grad nll| / (|grad generator| + epsilon), clipped to [0, maximum], both gradients
    taken at the parameters of the decoder's last layer, kernel and bias.
    """

    maximum: float = 1e4
    epsilon: float = 1e-4

    def __call__(
        self,
        to_output: Callable[[Tree, jax.Array], jax.Array],
        last: Tree,
        h: jax.Array,
        nll: Callable[[jax.Array], jax.Array],
        generator: Callable[[jax.Array], jax.Array],
    ) -> jax.Array:
        """Works on copies without gradient, so nothing is differentiated twice.

        Args:
            to_output: (last, h) -> logits, the decoder's last layer.
            last: its parameters.
            h: its input.
            nll: logits -> the weighted reconstruction terms, summed.
            generator: logits -> the generator's unweighted term.
        """
        last, h = stop_gradient((last, h))
        logits, vjp = jax.vjp(lambda p: to_output(p, h), last)
        (of_nll,) = vjp(jax.grad(nll)(logits))  # like `last`
        (of_generator,) = vjp(jax.grad(generator)(logits))
        ratio = optax.tree.norm(of_nll) / (optax.tree.norm(of_generator) + self.epsilon)  # eq. 7
        return stop_gradient(jnp.clip(ratio, 0.0, self.maximum))
