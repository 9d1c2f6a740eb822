"""Index backpropagation: the gradient reaches every code through the choice itself."""

import chex
import jax
import jax.numpy as jnp
from jax.lax import Precision, stop_gradient

from vqjax.config.annotations import check_fields
from vqjax.ops import codes as ops
from vqjax.ops.bits import entropy
from vqjax.quantizers.codebook import (
    Discrete,
    Watch,
    check_sizes,
    declare_ledger,
    mean_square,
    observe,
)
from vqjax.types import Quantized, UsageError

BLOCK_VALUES = 2**23  # of each array of probabilities that is held at a time


def soft_choice(
    z: jax.Array, codes: jax.Array, temperature: float
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """All of IBQ that needs probabilities, block of rows by block of rows.

    A block is recomputed in the backward pass, so that no N x K array is held. Blocks take every
    n-th row: where rows are split over devices, each keeps its own.

    Args:
        z: [N, D].
        codes: [K, D].
        temperature: of the entropies.

    Returns:
        int32[N] argmax z . e; [N, D] softmax(z C^T) sg(C); and with p = softmax(z C^T /
        temperature) the mean entropy of the rows' p and the entropy of their mean, in nats.
    """
    rows, (size, dim) = len(z), codes.shape
    count = max(1, -(-rows * size // BLOCK_VALUES))  # blocks
    padding = -rows % count
    padded = jnp.pad(z, ((0, padding), (0, 0)))  # [count * n, D]
    blocks = padded.reshape(-1, count, dim).swapaxes(0, 1)  # [count, n, D]
    weights = jnp.pad(jnp.ones(rows, z.dtype), (0, padding)).reshape(-1, count).T  # [count, n]

    @jax.checkpoint
    def block(codes, z, weights):
        logits = jnp.matmul(z, codes.T, precision=Precision.HIGHEST)  # [n, K]
        soft = jnp.matmul(jax.nn.softmax(logits), stop_gradient(codes), precision=Precision.HIGHEST)
        log_p = jax.nn.log_softmax(logits / temperature)  # [n, K]
        p = jnp.exp(log_p) * weights[:, None]  # [n, K]
        indices = jnp.argmax(logits, axis=-1).astype(jnp.int32)  # [n]
        return (indices, soft), (-jnp.sum(p * log_p), jnp.sum(p, axis=0))

    def add(sums, part):
        results, new = block(codes, *part)
        return jax.tree.map(jnp.add, sums, new), results

    sums = (jnp.zeros((), z.dtype), jnp.zeros(size, z.dtype))
    (total, mean), (indices, soft) = jax.lax.scan(add, sums, (blocks, weights))  # [count, n, ...]
    indices = indices.T.reshape(-1)[:rows]  # [N]
    soft = soft.swapaxes(0, 1).reshape(-1, dim)[:rows]  # [N, D]
    return indices, soft, total / max(rows, 1), entropy(mean / max(rows, 1))


class IBQ(Discrete):
    """The largest product with a code wins; all codes get gradient (arXiv 2412.02692).

    p = softmax(z C^T), Ind = onehot(argmax p) + (p - sg(p)), z_q = Ind C. Losses: `commitment`
    |z - sg(e)|^2, `codebook` |sg(z) - e|^2 and `double` |z - z_q|^2 through Ind, together the
    double quantization loss, and `entropy` E[H(p_t)] - H(E[p_t]) with p_t = softmax(z C^T / t), in
    nats over the whole batch. Probabilities are N x K by definition; they are computed, and once
    more for the gradient, in blocks. Pick it for codebooks of high dimension (256).

    Attributes:
        codebook_size: K.
        codebook_dim: D.
        temperature: t, of the entropy alone, > 0.
        watch: when codes count as alive.
    """

    codebook_size: int
    codebook_dim: int
    temperature: float = 0.01
    watch: Watch = Watch()

    loss_weights = {"commitment": 1.0, "codebook": 0.25, "double": 1.0, "entropy": 0.05}
    remedies = ("a higher task.loss_weights.entropy", "a smaller codebook_size")

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(codebook_size=self.codebook_size, codebook_dim=self.codebook_dim)
        if not self.temperature > 0.0:
            raise UsageError(f"quantizer.temperature={self.temperature}: wanted a number above 0")
        super().__post_init__()

    def setup(self) -> None:
        declare_ledger(self)
        # Not smaller: while all products are small, p is flat and the encoder gets no gradient.
        shape = (self.codebook_size, self.codebook_dim)
        self.codes = self.param("codes", jax.nn.initializers.normal(1.0), shape, jnp.float32)

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`."""
        chex.assert_axis_dimension(z, -1, self.codebook_dim)
        z = ops.at_least_float32(z)
        flat = z.reshape(-1, self.codebook_dim)  # [N, D]
        indices, soft, sample, batch = soft_choice(flat, self.codes, self.temperature)
        hard = ops.take(self.codes, indices).reshape(z.shape)  # [B, *S, D]
        # Ind C: the value is that of the code; gradients are those of p C, and of the code itself
        # to the one row that was picked.
        z_q = ops.straight_through(soft.reshape(z.shape), stop_gradient(hard))
        z_q = z_q + (hard - stop_gradient(hard))
        indices = indices.reshape(z.shape[:-1])  # [B, *S]
        return Quantized(
            z_q=z_q,
            indices=(indices,),
            losses={
                "commitment": mean_square(z - stop_gradient(hard)),
                "codebook": mean_square(stop_gradient(z) - hard),
                "double": mean_square(z - z_q),
                "entropy": sample - batch,
            },
            metrics=observe(self, indices.reshape(-1), train=train)
            | {"sample_entropy": sample, "batch_entropy": batch},
        )

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices (int32[B, *S],)."""
        return ops.take(self.codes, indices[0])  # [B, *S, D]
