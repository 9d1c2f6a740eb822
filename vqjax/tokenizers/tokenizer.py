"""`Tokenizer`: encoder, quantizer and decoder as one network."""

import flax.struct
import jax
from flax import linen as nn

from vqjax.ops.numerics import at_least_float32
from vqjax.types import Level, Quantized, UsageError, did_you_mean

OUTPUTS = ("linear", "sigmoid")


@flax.struct.dataclass
class Encoding:
    """Latents before the quantizer, z [B, *s, input_dim], and their quantization."""

    z: jax.Array
    quantized: Quantized


class Tokenizer(nn.Module):
    """Encoder, projection to D, quantizer, projection from D, decoder (arXiv 2012.09841).

    Any number of spatial axes: a signal [B, T, C], an image [B, H, W, C], a clip [B, T, H, W, C].

    Attributes:
        encoder: x [B, *S, C] -> [B, *s, encoder.latent_dim].
        quantizer: see `vqjax.quantizers`.
        decoder: [B, *s, decoder.latent_dim] -> [B, *S, C].
        output: what the decoder's numbers mean: "linear", values in [-1, 1]; or "sigmoid",
            logits of values in [0, 1], which are then scaled to [-1, 1].
        dtype: of the projections; None: the experiment's `compute_dtype`.
    """

    encoder: nn.Module
    quantizer: nn.Module
    decoder: nn.Module
    output: str = "linear"
    dtype: str | None = None

    def setup(self) -> None:
        for part, name in ((self.quantizer, "codebook_dim"), (self.decoder, "latent_dim")):
            if getattr(part, name) < 1:
                raise UsageError(f"{part.name}.{name}={getattr(part, name)}: at least 1 is needed")
        self.pre_quant = nn.Dense(self.quantizer.input_dim, dtype=self.dtype)
        self.post_quant = nn.Dense(self.decoder.latent_dim, dtype=self.dtype)

    def encode(self, x: jax.Array, *, train: bool, step: jax.Array | int) -> Encoding:
        """x [B, *S, C] in [-1, 1] -> latents and their codes."""
        z = self.latents(x)  # [B, *s, input_dim]
        return Encoding(z=z, quantized=self.quantizer(z, train=train, step=step))

    def latents(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> the quantizer's input, [B, *s, input_dim]."""
        h = self.encoder(x)  # [B, *s, encoder.latent_dim]
        return self.pre_quant(h)  # [B, *s, input_dim]

    def to_features(self, z_q: jax.Array) -> jax.Array:
        """z_q [B, *s, D] -> the input of the decoder's last layer."""
        return self.decoder.to_features(self.post_quant(z_q))  # of [B, *s, decoder.latent_dim]

    def decode(self, z_q: jax.Array) -> jax.Array:
        """z_q [B, *s, D] -> x_hat [B, *S, C]."""
        h = self.post_quant(z_q)  # [B, *s, decoder.latent_dim]
        return self.link(self.decoder(h))  # [B, *S, C]

    def decode_indices(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """int32[B, *s], one per level -> x_hat [B, *S, C]."""
        return self.decode(self.quantizer.lookup(indices))  # of codes [B, *s, D]

    def __call__(self, x: jax.Array, *, train: bool, step: jax.Array | int) -> jax.Array:
        """Everything once; `init` calls this."""
        return self.decode(self.encode(x, train=train, step=step).quantized.z_q)

    def link(self, logits: jax.Array) -> jax.Array:
        """The decoder's numbers -> x_hat, in at least float32. Needs no parameters."""
        logits = at_least_float32(logits)
        if self.output == "linear":
            return logits
        if self.output == "sigmoid":
            return 2.0 * jax.nn.sigmoid(logits) - 1.0
        raise UsageError(f"output={self.output!r}: {did_you_mean(self.output, OUTPUTS)}")

    def token_layout(self, shape: tuple[int, ...]) -> tuple[Level, ...]:
        """Levels of tokens for one example of `shape` (*S, C); the order of `indices`.

        Raises:
            UsageError: the encoder's factor does not divide `shape`.
        """
        grid = self.encoder.grid(tuple(shape[:-1]))
        names, size = self.level_names, self.quantizer.codebook_size
        grids = self.quantizer.grids(grid)
        return tuple(Level(name, g, size) for name, g in zip(names, grids, strict=True))

    @property
    def level_names(self) -> tuple[str, ...]:
        """The levels' names, in the order of `indices`; none where nothing is discrete."""
        count = self.quantizer.num_codebooks
        return ("tokens",) if count == 1 else tuple(f"tokens_{q}" for q in range(count))
