"""How the encoder gets a gradient past the choice of a code, as policies."""

import dataclasses
from typing import Protocol

import jax

from vqjax.ops.codes import straight_through
from vqjax.ops.rotation import rotate


class Estimator(Protocol):
    """`estimator(z, q)`: `q` [..., D] to the last bit, with some gradient to `z` [..., D]."""

    def __call__(self, z: jax.Array, q: jax.Array) -> jax.Array: ...


@dataclasses.dataclass(frozen=True)
class StraightThrough:
    """The decoder's gradient goes to the encoder as it is (arXiv 1308.3432)."""

    def __call__(self, z: jax.Array, q: jax.Array) -> jax.Array:
        return straight_through(z, q)


@dataclasses.dataclass(frozen=True)
class RotationTrick:
    """The decoder's gradient is turned and scaled as the code is from z (arXiv 2410.06424)."""

    def __call__(self, z: jax.Array, q: jax.Array) -> jax.Array:
        return rotate(z, q)
