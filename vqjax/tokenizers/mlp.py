"""Fully connected encoder and decoder, as the first autoencoders had: one token per example.

For small examples of one size. On MNIST and CPUs they see some thirty times as many examples per
second as convolutions of the same quality do.
"""

import math

import jax
from flax import linen as nn

from vqjax.nn.activations import activation
from vqjax.nn.checked import Checked
from vqjax.types import UsageError


def _check_widths(module: "MLPEncoder | MLPDecoder") -> None:
    if not module.widths or min(module.widths) < 1:
        name = type(module).__name__
        raise UsageError(f"{name}.widths={module.widths}: wanted one or more numbers of at least 1")


def _one_position(shape: tuple[int, ...], expected: tuple[int, ...]) -> tuple[int, ...]:
    """The grid of one position; UsageError where `shape` is not `expected`."""
    if tuple(shape) != tuple(expected):
        raise UsageError(
            f"spatial shape {tuple(shape)}: fully connected layers take only the size that they "
            f"were made for, {tuple(expected)}"
        )
    return (1,) * len(expected)


class MLPEncoder(Checked):
    """x [B, *S, C] -> latents [B, *1, latent_dim], one position per example (arXiv 1312.6114).

    Attributes:
        shape: *S, the spatial shape of the data.
        widths: of the hidden layers; the last one is the result.
        activation: after each layer, by name.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (512,)
    activation: str = "silu"
    dtype: str | None = None

    @property
    def latent_dim(self) -> int:
        """Channels of the result."""
        return self.widths[-1]

    @property
    def factors(self) -> tuple[int, ...]:
        """Positions of the data per token along each axis: all of them."""
        return tuple(self.shape)

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial shape of the data -> of the latents: ones.

        Raises:
            UsageError: it is not `self.shape`.
        """
        return _one_position(shape, self.shape)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *1, latent_dim]."""
        _check_widths(self)
        grid = self.grid(x.shape[1:-1])
        h = x.reshape(len(x), math.prod(x.shape[1:]))  # [B, S * C]
        for i, width in enumerate(self.widths):
            h = nn.Dense(width, dtype=self.dtype, name=f"layer_{i}")(h)  # [B, width]
            h = activation(self.activation)(h)
        return h.reshape(len(h), *grid, self.latent_dim)  # [B, *1, latent_dim]


class _ToExample(nn.Module):
    """h [B, width] -> x [B, *S, C], one linear layer; `shape`: (*S, C)."""

    shape: tuple[int, ...]
    dtype: str | None = None

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        x = nn.Dense(math.prod(self.shape), dtype=self.dtype, name="dense")(h)  # [B, S * C]
        return x.reshape(len(h), *self.shape)  # [B, *S, C]


class MLPDecoder(Checked):
    """Latents [B, *1, latent_dim] -> x_hat [B, *S, channels], the encoder's mirror.

    The projection from the quantizer is its first layer: `to_features` begins with the activation.

    Attributes:
        shape: *S, the spatial shape of the data.
        widths: of the hidden layers; the first one is that of the latents.
        channels: of the result.
        activation: after each hidden layer, by name.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (512,)
    channels: int = 3
    activation: str = "silu"
    dtype: str | None = None

    @property
    def latent_dim(self) -> int:
        """Channels of the latents."""
        return self.widths[0]

    def setup(self) -> None:
        _check_widths(self)
        if self.channels < 1:
            raise UsageError(f"decoder.channels={self.channels}: at least 1 is needed")
        self.to_output = _ToExample((*self.shape, self.channels), self.dtype)

    def __call__(self, z: jax.Array) -> jax.Array:
        """z [B, *1, latent_dim] -> [B, *S, channels]."""
        return self.to_output(self.to_features(z))

    @nn.compact
    def to_features(self, z: jax.Array) -> jax.Array:
        """z [B, *1, latent_dim] -> the input of `to_output`, [B, widths[-1]]."""
        grid = (1,) * len(self.shape)
        if z.shape[1:] != (*grid, self.latent_dim):
            raise UsageError(
                f"latents of shape {z.shape[1:]}: wanted {(*grid, self.latent_dim)}, one position"
            )
        act = activation(self.activation)
        h = act(z.reshape(len(z), self.latent_dim))  # [B, latent_dim]
        for i, width in enumerate(self.widths[1:], start=1):
            h = act(nn.Dense(width, dtype=self.dtype, name=f"layer_{i}")(h))  # [B, width]
        return h
