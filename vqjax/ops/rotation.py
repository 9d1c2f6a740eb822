"""Directions: unit vectors, and the rotation trick, a gradient that keeps angles."""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

TINY = 1e-12  # squared norm below which a vector has no direction


def unit(x: jax.Array) -> jax.Array:
    """x / |x| along the last axis; shorter than 1e-6, where |x| says nothing, it is x * 1e6."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)  # [..., 1]
    return x / jnp.sqrt(jnp.maximum(square, TINY))


def rotate(z: jax.Array, q: jax.Array) -> jax.Array:
    """`q` exactly, with the rotation and scaling from `z` to `q` as its gradient to `z`.

    q~ = |q| / |z| (I - 2 r r^T + 2 q^ z^T) z with r the direction of z^ + q^, the matrix and the
    ratio held constant (arXiv 2410.06424, section 4.2). Where `z` or `q` is zero or both are
    opposite, there is no such rotation and the matrix is finite all the same.

    Args:
        z: [..., D] in at least float32.
        q: [..., D], the codes.
    """
    fixed = stop_gradient(z)
    z_unit, q_unit = unit(fixed), unit(stop_gradient(q))
    r = unit(z_unit + q_unit)
    length = jnp.linalg.norm(stop_gradient(q), axis=-1, keepdims=True)  # [..., 1]
    square = jnp.sum(fixed * fixed, axis=-1, keepdims=True)  # [..., 1]
    scale = length / jnp.sqrt(jnp.maximum(square, TINY))

    def along(direction: jax.Array) -> jax.Array:
        return jnp.sum(direction * z, axis=-1, keepdims=True)  # [..., 1]

    rotated = scale * (z - 2.0 * along(r) * r + 2.0 * along(z_unit) * q_unit)  # [..., D]
    # The value is `q` to the last bit: only the gradient of `rotated` counts.
    return stop_gradient(q) + (rotated - stop_gradient(rotated))
