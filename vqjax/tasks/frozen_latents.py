"""Latents of a frozen tokenizer as data: measured, moved and scaled, and decoded again."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops.numerics import at_least_float32
from vqjax.tasks.base import Batches, inputs_of, normalize
from vqjax.tasks.frozen_tokens import FrozenTokenizer
from vqjax.types import Batch, Tree, UsageError

FROZEN = "task.tokenizer"  # where the tokenizer's arrays are in `frozen`
STATISTICS = "latents"  # the collection of their mean and deviation
MEASURED = 2_000  # examples, at least, from which these come


class FrozenLatents(FrozenTokenizer):
    """Base of what learns the latents of a frozen run, or the examples themselves where the field
    `tokenizer` is None. A subclass has also the field `latents`, "mean" or "draw", and a player,
    the first or `latent_player`, whose collection `STATISTICS` holds what `measured` returns.
    """

    @property
    def latent_player(self) -> str:
        """See the class."""
        return self.players[0]

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(*s, C) of what is denoised, of examples (*S, C).

        Raises:
            UsageError: the tokenizer does not take such examples.
        """
        if self.tokenizer is None:
            return shape
        tokenizer = self.tokenizer_task.tokenizer
        quantizer = tokenizer.quantizer
        channels = quantizer.codebook_dim if quantizer.has_prior else quantizer.input_dim
        return (*tokenizer.encoder.grid(shape[:-1]), channels)

    def measured(self, frozen: Tree, batches: Batches, rng: Any) -> dict[str, jax.Array]:
        """Mean and deviation of each channel, float32[C], over `MEASURED` examples or all there
        are.

        Raises:
            UsageError: a latent is not finite.
        """
        draws = self.latents == "draw"

        @jax.jit
        def sums(frozen: Tree, batch: Batch, key: jax.Array) -> tuple[jax.Array, ...]:
            z = self.raw_latents(frozen, batch, key if draws else None)  # [B, *s, C]
            mask = batch.get("mask", jnp.ones(len(z), bool))
            z = jnp.where(mask.reshape(-1, *(1,) * (z.ndim - 1)), z, 0.0)
            axes = tuple(range(z.ndim - 1))
            return z.sum(axes), (z * z).sum(axes), mask.sum() * (z[0].size // z.shape[-1])

        total, squares, count, examples = 0.0, 0.0, 0, 0
        for number, batch in enumerate(batches):
            found = jax.device_get(sums(frozen, batch, jax.random.fold_in(rng, number)))
            total, squares, count = (
                a + np.asarray(b, np.float64)
                for a, b in zip((total, squares, count), found, strict=True)
            )
            examples += len(batch[self.inputs])
            if examples >= MEASURED:
                break
        mean = total / count
        variance = squares / count - mean**2
        if not np.isfinite(variance).all():
            raise UsageError(
                f"task.tokenizer: {self.tokenizer.path} has latents that are not finite"
            )
        # A channel that never changes stays as it is.
        deviation = np.sqrt(np.where(variance > 1e-12, variance, 1.0))
        return {"mean": jnp.float32(mean), "deviation": jnp.float32(deviation)}

    def raw_latents(self, frozen: Tree, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """Of a batch, not moved and scaled: float32 [B, *s, C].

        Args:
            frozen: with the tokenizer's arrays.
            batch: with inputs.
            key: of the draws from a variational autoencoder; None: means.
        """
        task, arrays = self.tokenizer_task, frozen[FROZEN]
        z = task.raw_latents(arrays["params"], arrays["collections"], inputs_of(batch, self.inputs))
        quantizer = task.tokenizer.quantizer
        if not quantizer.has_prior:
            return at_least_float32(z)
        mean, _ = quantizer.split(z)
        if key is None:
            return mean
        return quantizer.draw(z, jax.random.normal(key, mean.shape)).z

    def data_of(
        self, collections: Tree, frozen: Tree, batch: Batch, key: jax.Array | None = None
    ) -> jax.Array:
        """What is denoised, float32 [B, *s, C]; see `raw_latents`."""
        if self.tokenizer is None:
            return at_least_float32(normalize(inputs_of(batch, self.inputs)))
        z = self.raw_latents(frozen, batch, key if self.latents == "draw" else None)
        mean, deviation = self.statistics_of(collections, z)
        return (z - mean) / deviation

    def decode(self, collections: Tree, frozen: Tree, x: jax.Array) -> jax.Array:
        """What `data_of` makes, backwards: float32 [B, *S, C] in [-1, 1]."""
        if self.tokenizer is None:
            return x
        mean, deviation = self.statistics_of(collections, x)
        task, arrays = self.tokenizer_task, frozen[FROZEN]
        return task.decode_raw(arrays["params"], arrays["collections"], x * deviation + mean)

    def statistics_of(self, collections: Tree, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and deviation of latents, with the axes of z [B, *s, C]."""
        found = collections[self.latent_player][STATISTICS]
        shape = (*(1,) * (z.ndim - 1), -1)
        return found["mean"].reshape(shape), found["deviation"].reshape(shape)
