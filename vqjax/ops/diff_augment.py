"""Augmentation of what a discriminator sees, through which gradients go."""

import dataclasses

import jax
import jax.numpy as jnp

from vqjax import arguments

__all__ = ["DiffAugment"]


@dataclasses.dataclass(frozen=True)
class DiffAugment:
    """Random colour, translation and cutout of real and made examples alike, in the updates of both
    players (arXiv 2006.10738, section 3.2 and appendix): the discriminator cannot learn small data
    by heart, and the generator need not make what the discriminator was shown.

    Attributes:
        colour: how strong changes of brightness (up to half of the colour's strength to either
            side), saturation and contrast are: 1 as published, 0 none.
        shift: the most that an example is moved, along each axis, as a share of its size; zeros
            come in from outside.
        cut: side of the window that becomes zero, as a share of the example's; 0: none.
    """

    colour: float = 1.0
    shift: float = 0.125
    cut: float = 0.5

    def __post_init__(self) -> None:
        for name in ("colour", "shift", "cut"):
            arguments.real(f"augment.{name}", getattr(self, name), least=0, most=1)

    def __call__(self, x: jax.Array, keys: jax.Array) -> jax.Array:
        """x [B, *S, C] in [-1, 1], by key[B] -> [B, *S, C]; equal keys change examples alike."""
        return jax.vmap(self._one)(x, keys)

    def _one(self, x: jax.Array, key: jax.Array) -> jax.Array:
        coloured, moved, cut = jax.random.split(key, 3)
        if self.colour:
            x = self._coloured(x, coloured)
        sizes = x.shape[:-1]
        if self.shift:
            x = _moved(x, [round(self.shift * size) for size in sizes], moved)
        if self.cut:
            x = x * _window(sizes, [max(1, round(self.cut * size)) for size in sizes], cut)
        return x

    def _coloured(self, x: jax.Array, key: jax.Array) -> jax.Array:
        bright, saturated, contrast = jax.random.uniform(key, (3,), x.dtype, -1.0, 1.0)
        x = x + 0.5 * self.colour * bright
        grey = x.mean(axis=-1, keepdims=True)
        x = grey + (1.0 + self.colour * saturated) * (x - grey)
        mean = x.mean()
        return mean + (1.0 + 0.5 * self.colour * contrast) * (x - mean)


def _moved(x: jax.Array, most: list[int], key: jax.Array) -> jax.Array:
    """x [*S, C], moved by up to `most` along each axis."""
    limits = jnp.asarray([*most, 0])
    start = jax.random.randint(key, (x.ndim,), 0, 2 * limits + 1)
    padded = jnp.pad(x, [(n, n) for n in (*most, 0)])
    return jax.lax.dynamic_slice(padded, tuple(start), x.shape)


def _window(sizes: tuple[int, ...], sides: list[int], key: jax.Array) -> jax.Array:
    """Ones [*S, 1], but zeros in a window with its middle anywhere."""
    middles = jax.random.randint(key, (len(sizes),), 0, jnp.asarray(sizes) + 1)
    inside = jnp.ones((*sizes, 1), bool)
    for axis, side in enumerate(sides):
        place = jnp.arange(sizes[axis])
        first = middles[axis] - side // 2
        own = (place >= first) & (place < first + side)
        inside = inside & own.reshape([-1 if a == axis else 1 for a in range(len(sizes) + 1)])
    return jnp.where(inside, 0.0, 1.0)
