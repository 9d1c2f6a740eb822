"""`SharedTokenizer`: several modalities of one thing, fused into the codes that they share.

An encoder for each modality, attention among all that they give, one codebook, and a decoder for
each modality: from the codes of those that are there it makes all.
"""

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.attention import INIT
from vqjax.nn.checked import Checked
from vqjax.nn.transformer import Transformer
from vqjax.types import Quantized, UsageError, check_offers

Arrays = Mapping[str, jax.Array]  # by modality


class TextEncoder(Checked):
    """Ids int32[B, T] -> vectors [B, T, latent_dim], those of an embedding.

    Attributes:
        vocabulary: V, of the ids.
        latent_dim: channels of the result.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    vocabulary: int
    latent_dim: int = 128
    dtype: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.vocabulary, self.latent_dim) < 1:
            raise UsageError(
                f"TextEncoder: vocabulary={self.vocabulary}, latent_dim={self.latent_dim}: wanted "
                "at least 1 each"
            )

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        """int32[B, T] -> [B, T, latent_dim]."""
        return nn.Embed(self.vocabulary, self.latent_dim, dtype=self.dtype, name="embed")(ids)


@flax.struct.dataclass
class Fusion:
    """What examples become: their codes, and by modality what is decoded from these alone."""

    quantized: Quantized
    decoded: dict[str, jax.Array]


class SharedTokenizer(Checked):
    """Encoders, a transformer over all their vectors and M slots, a codebook for what the slots
    read, decoders of these M codes.

    Every vector gets a learned one of its modality and place added. Nobody attends to a modality
    that is absent, so nothing depends on what stands in its place.

    Attributes:
        encoders: by modality, inputs -> vectors [B, *s, latent_dim].
        quantizer: see `vqjax.quantizers`.
        decoders: by modality, fully connected: latents [B, *1, latent_dim] of all codes -> [B, *S,
            C], S its `shape`, as `MLPDecoder`.
        slots: M, codes per example.
        width: channels of the transformer.
        layers: its blocks.
        heads: of its attention.
        dropout: of each of its residual branches.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    encoders: Mapping[str, nn.Module]
    quantizer: nn.Module
    decoders: Mapping[str, nn.Module]
    slots: int = 8
    width: int = 128
    layers: int = 2
    heads: int = 4
    dropout: float = 0.0
    dtype: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.encoders or set(self.encoders) != set(self.decoders):
            raise UsageError(
                f"SharedTokenizer: encoders of {', '.join(self.encoders) or 'nothing'}, decoders "
                f"of {', '.join(self.decoders) or 'nothing'}: wanted one of each for each modality"
            )
        for name, decoder in self.decoders.items():
            check_offers(f"decoders.{name}", decoder, ("latent_dim", "shape"))
        check_offers("quantizer", self.quantizer, ("input_dim", "codebook_dim"))
        if min(self.slots, self.layers, self.heads) < 1 or not 0.0 <= self.dropout < 1.0:
            raise UsageError(
                f"SharedTokenizer: slots={self.slots}, layers={self.layers}, heads={self.heads}, "
                f"dropout={self.dropout}: wanted at least 1 each and a chance below 1"
            )
        if self.width < 1 or self.width % (2 * self.heads):
            raise UsageError(
                f"SharedTokenizer.width={self.width}: wanted a multiple of 2 heads={2 * self.heads}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the modalities, n, sorted: records that differ in the order of a mapping are the
        same.
        """
        return tuple(sorted(self.encoders))

    def setup(self) -> None:
        self.pre_quant = nn.Dense(self.quantizer.input_dim, dtype=self.dtype)
        self.post_quant = {
            name: nn.Dense(self.decoders[name].latent_dim, dtype=self.dtype) for name in self.names
        }

    @nn.compact
    def latents(self, inputs: Arrays, present: jax.Array) -> jax.Array:
        """The quantizer's input, [B, M, input_dim].

        Args:
            inputs: {modality: [B, ...]}, of all; those of absent ones are not looked at.
            present: bool[B, n], which modalities each row has.
        """
        vectors, counts = [], []
        for i, name in enumerate(self.names):
            h = self.encoders[name](inputs[name])  # [B, *s, latent_dim]
            h = h.reshape(len(h), -1, h.shape[-1])
            h = nn.Dense(self.width, dtype=self.dtype, name=f"to_width_{name}")(h)  # [B, m, width]
            places = self.param(f"places_{name}", INIT, (1, *h.shape[1:]), jnp.float32)
            vectors.append(h + places.astype(h.dtype))
            counts.append(jnp.broadcast_to(present[:, i : i + 1], h.shape[:2]))  # [B, m]
        slots = self.param("slot", INIT, (1, self.slots, self.width), jnp.float32)
        slots = jnp.broadcast_to(slots, (len(present), *slots.shape[1:])).astype(h.dtype)
        mask = jnp.concatenate([*counts, jnp.ones(slots.shape[:2], bool)], axis=1)  # [B, P]
        x = jnp.concatenate([*vectors, slots], axis=1)  # [B, P, width]
        angles = jnp.zeros((x.shape[1], self.width // self.heads // 2), jnp.float32)
        transformer = Transformer(
            self.layers,
            self.heads,
            causal=False,
            qk_norm=True,
            dropout=self.dropout,
            dtype=self.dtype,
            name="transformer",
        )
        return self.pre_quant(transformer(x, angles, mask)[:, -self.slots :])

    def encode(
        self, inputs: Arrays, present: jax.Array, *, train: bool, step: jax.Array | int
    ) -> Quantized:
        """The M codes of each row, of the modalities that it has; see `latents`."""
        return self.quantizer(self.latents(inputs, present), train=train, step=step)

    def decode(self, z_q: jax.Array) -> dict[str, jax.Array]:
        """Codes [B, M, D] -> {modality: [B, *S, C]}."""
        codes, decoded = z_q.reshape(len(z_q), -1), {}  # [B, M D]
        for name in self.names:
            h = self.post_quant[name](codes)  # [B, latent_dim]
            ones = (1,) * len(self.decoders[name].shape)
            decoded[name] = self.decoders[name](h.reshape(len(h), *ones, h.shape[-1]))
        return decoded

    def __call__(
        self, inputs: Arrays, present: jax.Array, *, train: bool, step: jax.Array | int
    ) -> Fusion:
        """Codes and all that is decoded from them; `init` calls this."""
        quantized = self.encode(inputs, present, train=train, step=step)
        return Fusion(quantized, self.decode(quantized.z_q))
