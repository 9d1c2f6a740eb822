"""Lookup-free quantization: one bit per channel."""

import chex
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vqjax.config.annotations import check_fields
from vqjax.ops import bits as bit_ops
from vqjax.ops import codes as ops
from vqjax.quantizers.codebook import (
    Discrete,
    Watch,
    check_sizes,
    declare_ledger,
    mean_square,
    observe,
)
from vqjax.types import Quantized, UsageError

MAX_BITS = 30


class SignQuantizer(Discrete):
    """Base of LFQ and BSQ: every channel becomes its sign, times a length.

    The index has bit i set where z_i > 0 (arXiv 2310.05737). The loss `entropy` is

        E[H(q(. | z))] - gamma H(E[q(. | z)])

    in nats, over the whole batch on all devices (with `accumulate`, over each microbatch), where q
    makes every bit independently 1 with log-odds in proportion to z_i. The first term makes
    choices sure, the second makes all codes used. It is counted once: there is no other term.

    Attributes:
        codebook_dim: D; K = 2^D.
        temperature: of q, > 0; small: only vectors near a border feel the loss.
        gamma: of the second term, >= 0.
        entropy_bits: the second term is exact up to so many bits, else a sum over parts of the
            bits of at most this size: 2^entropy_bits probabilities are held per vector.
        watch: when codes count as alive.
    """

    codebook_dim: int
    temperature: float = 0.01
    gamma: float = 1.0
    entropy_bits: int = 10
    watch: Watch = Watch()

    remedies = ("a higher task.loss_weights.entropy", "a higher quantizer.gamma", "fewer bits")

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(codebook_dim=self.codebook_dim, entropy_bits=self.entropy_bits)
        if self.codebook_dim > MAX_BITS:
            raise UsageError(f"quantizer.codebook_dim={self.codebook_dim}: at most {MAX_BITS} bits")
        if not self.temperature > 0.0:
            raise UsageError(f"quantizer.temperature={self.temperature}: wanted a number above 0")
        super().__post_init__()

    @property
    def codebook_size(self) -> int:
        return 2**self.codebook_dim

    @property
    def length(self) -> float:
        """Of every channel of a code."""
        return 1.0

    def setup(self) -> None:
        declare_ledger(self)

    def prepare(self, z: jax.Array) -> jax.Array:
        """z [..., D] in at least float32 -> what becomes signs."""
        return z

    def log_odds(self, z: jax.Array) -> jax.Array:
        """Prepared z [..., D] -> log q(bit = 1) - log q(bit = 0), [..., D]."""
        raise NotImplementedError

    def losses(self, z: jax.Array, codes: jax.Array, entropy: jax.Array) -> dict[str, jax.Array]:
        """The loss terms."""
        return {"entropy": entropy}

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`."""
        chex.assert_axis_dimension(z, -1, self.codebook_dim)
        z = self.prepare(ops.at_least_float32(z))
        bits = z > 0  # [B, *S, D]
        indices = bit_ops.pack(bits)  # [B, *S]
        codes = self._codes(bits, z.dtype)  # [B, *S, D]
        odds = self.log_odds(z).reshape(-1, self.codebook_dim)  # [N, D]
        sample = bit_ops.sample_entropy(odds)  # E[H(q(. | z))], scalar
        batch = bit_ops.batch_entropy(odds, self.entropy_bits)  # H(E[q(. | z)]), scalar
        metrics = observe(self, indices.reshape(-1), train=train)
        return Quantized(
            z_q=ops.straight_through(z, codes),
            indices=(indices,),
            losses=self.losses(z, codes, sample - self.gamma * batch),
            metrics=metrics | {"sample_entropy": sample, "batch_entropy": batch},
        )

    def _codes(self, bits: jax.Array, dtype: jnp.dtype) -> jax.Array:
        return jnp.where(bits, self.length, -self.length).astype(dtype)

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices (int32[B, *S],)."""
        bits = bit_ops.unpack(indices[0], self.codebook_dim)  # [B, *S, D]
        return self._codes(bits, jnp.float32)


class LFQ(SignQuantizer):
    """Every channel becomes its sign: 2^D codes that nobody has to learn (arXiv 2310.05737).

    q is softmax(-|z - c|^2 / temperature) over the codes c in {-1, 1}^D. Losses: `entropy`, and
    `commitment` |z - sg(c)|^2, which keeps z near +-1. Pick it for very large codebooks (2^18 and
    more) with long training; the entropy's weight wants care. Attributes: see `SignQuantizer`.
    """

    loss_weights = {"entropy": 0.1, "commitment": 0.25}
    residual_scale = 0.5

    def log_odds(self, z: jax.Array) -> jax.Array:
        return 4.0 * z / self.temperature

    def losses(self, z: jax.Array, codes: jax.Array, entropy: jax.Array) -> dict[str, jax.Array]:
        return {"entropy": entropy, "commitment": mean_square(z - stop_gradient(codes))}
