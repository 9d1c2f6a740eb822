"""Product quantization: groups of channels, a codebook for each."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.quantizers.codebook import check_sizes
from vqjax.quantizers.combined import Combined, level_metrics
from vqjax.types import Quantized, Tree


class Product(Combined):
    """Channels are cut into groups, each with its own copy of the template (Jegou et al. 2011,
    "Product quantization for nearest neighbor search"; learned codes: arXiv 2006.11477, section 2).

    K^groups combinations for the price of looking among K, groups times: groups * log2 K bits per
    position, one level of indices per group. Losses are means over the groups. Pick it for many
    bits per position where the groups' indices may be predicted in parallel.

    Attributes:
        template: the quantizer of one group; D of the whole is `groups` times its codebook_dim.
        groups: Q.
    """

    template: nn.Module
    groups: int

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(groups=self.groups)
        super().__post_init__()

    @property
    def codebook_dim(self) -> int:
        return self.groups * self.template.codebook_dim

    @property
    def input_dim(self) -> int:
        return self.groups * self.template.input_dim

    @property
    def num_codebooks(self) -> int:
        return self.groups

    def setup(self) -> None:
        self.parts = self._copies(self.groups)

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`."""
        pieces = jnp.split(z, self.groups, axis=-1)  # Q arrays [B, *S, D / Q]
        outputs = [
            part(piece, train=train, step=step)
            for part, piece in zip(self.parts, pieces, strict=True)
        ]
        return Quantized(
            z_q=jnp.concatenate([out.z_q for out in outputs], axis=-1),  # [B, *S, D]
            indices=tuple(out.indices[0] for out in outputs),  # Q arrays [B, *S]
            losses={
                name: sum(out.losses[name] for out in outputs) / self.groups
                for name in self.loss_weights
            },
            metrics=level_metrics(outputs),
        )

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices int32[B, *S], one array per group."""
        codes = [part.lookup((i,)) for part, i in zip(self.parts, indices, strict=True)]
        return jnp.concatenate(codes, axis=-1)  # [B, *S, D]

    def init_codebook(self, params: Tree, codebook: Tree, z: jax.Array, rng: jax.Array) -> tuple:
        """Starts every group's codebook from its channels of z. Called unbound."""
        for i, piece in enumerate(jnp.split(z, self.groups, axis=-1)):
            key = jax.random.fold_in(rng, i)
            params, codebook = self._init_part(f"parts_{i}", params, codebook, piece, key)
        return params, codebook
