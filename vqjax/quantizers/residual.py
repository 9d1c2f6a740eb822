"""Residual quantization: each stage quantizes what the stages before it left."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient

from vqjax.config.annotations import check_fields
from vqjax.ops import codes as ops
from vqjax.quantizers.codebook import check_sizes
from vqjax.quantizers.combined import Combined, level_metrics
from vqjax.types import Quantized, Tree, UsageError, did_you_mean

PER = ("batch", "example")


class Residual(Combined):
    """z_q is the sum of one code per stage: coarse first, then corrections (arXiv 2107.03312,
    algorithm 1; 2203.01941).

    r_0 = z;  e_q = quantize_q(r_q);  r_{q+1} = r_q - sg(e_q);  z_q = sum_q e_q. stages * log2 K
    bits per position, one level of indices per stage. Losses are sums over stages
    (2203.01941), and since r_{q+1} takes e_q without gradient, the commitment of every stage
    reaches the encoder. The gradient of z_q is that of the template's estimator, once. Pick it for
    audio, and wherever a bitrate should be chosen after training (`dropout`).

    Where codes are fixed, FSQ (use bound="clip" and odd `levels`) and LFQ, e_q is
    s^q quantize_q(r_q / s^q), s being the template's `residual_scale`. Quantizers of directions
    alone (cosine, BSQ) gain little by stages. IBQ's codebook gets the gradients of its own losses
    alone.

    Attributes:
        template: the quantizer of a stage.
        stages: Q.
        shared: whether all stages use one codebook, as in RQ-VAE.
        dropout: quantizer dropout, the chance that a training batch uses only its first n stages,
            n uniform in 1 to Q - 1: so that fewer levels of indices can be decoded, too.
        per: "batch", or "example": each has an n of its own. Then the dropped stages of an example
            give the encoder no gradient, though losses name their values.
    """

    template: nn.Module
    stages: int
    shared: bool = False
    dropout: float = 0.0
    per: str = "batch"

    decodes_first_levels = True

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(stages=self.stages)
        if not 0.0 <= self.dropout <= 1.0:
            raise UsageError(f"quantizer.dropout={self.dropout}: wanted 0 to 1")
        if self.per not in PER:
            raise UsageError(f"quantizer.per={self.per!r}: {did_you_mean(self.per, PER)}")
        super().__post_init__()
        _ = self.template.residual_scale  # a template may refuse to have one
        if self.template.input_dim != self.codebook_dim:
            kind = type(self.template).__name__
            raise UsageError(
                f"quantizer.template: {kind} cannot be stacked: its input and output differ in size"
            )

    @property
    def num_codebooks(self) -> int:
        """Q, also where all stages share one."""
        return self.stages

    def setup(self) -> None:
        self.parts = self._copies(1 if self.shared else self.stages)

    def _scale(self, stage: int) -> jax.Array:
        """s^q, [] or [D]: what the residual of a stage is divided by."""
        scale = self.template.residual_scale
        return jnp.asarray(scale, jnp.float32) ** stage

    def _keeps(self, train: bool, first: jax.Array) -> list[jax.Array | float]:
        """1 for the stages that count in this call, 0 for the dropped ones: scalars, or with `per`
        "example" [B, 1, .., 1, 1] for indices of the first stage, [B, *S], which always counts.
        """
        if not train or self.dropout == 0.0 or self.stages == 1 or self.is_initializing():
            return [1.0] * self.stages
        if self.per == "batch":
            n = self._draw_count(self.make_rng("quantizer"))  # []
        else:
            n = jax.vmap(self._draw_count)(self._example_keys(first))  # [B]
            n = n.reshape(-1, *(1,) * first.ndim)  # [B, 1, .., 1]
        return [(stage < n).astype(jnp.float32) for stage in range(self.stages)]

    def _draw_count(self, key: jax.Array) -> jax.Array:
        """How many stages count, 1 to Q."""
        drop_key, n_key = jax.random.split(key)
        drops = jax.random.uniform(drop_key, dtype=jnp.float32) < self.dropout
        n = jax.random.randint(n_key, (), 1, self.stages, jnp.int32)  # 1 to Q - 1
        return jnp.where(drops, n, self.stages)

    def _example_keys(self, first: jax.Array) -> jax.Array:
        """A key for each example, key[B], from one of the step and its `first` indices [B, *S]: so
        it draws the same in whatever microbatch and place it is.
        """
        bits = self.get_variable("statistics", "drop_bits")  # the step's, in later microbatches
        if bits is None:
            bits = jax.random.bits(self.make_rng("quantizer"), (2,), jnp.uint32)
        if self.is_mutable_collection("statistics"):
            self.put_variable("statistics", "drop_bits", bits)
        flat = first.reshape(len(first), -1).astype(jnp.uint32)  # [B, T]
        weights = jax.random.bits(jax.random.key(0), (1, flat.shape[1]), jnp.uint32) | 1
        hashed = jnp.sum(flat * weights, axis=1, dtype=jnp.uint32)  # [B]
        key = jax.random.wrap_key_data(bits, impl="threefry2x32")
        return jax.vmap(lambda h: jax.random.fold_in(key, h))(hashed)

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`. Dropped stages count neither in z_q nor in
        losses; they have indices, metrics and statistics.
        """
        z = ops.at_least_float32(z)
        residual, total, outputs = z, jnp.zeros_like(z), []  # r_0, z_q: [B, *S, D]
        keeps, each = [1.0], self.per == "example"
        for stage in range(self.stages):
            scale = _channels(self._scale(stage), z)  # [1, .., 1 or D]
            part, r = self.parts[0 if self.shared else stage], residual  # r_q
            if each and stage:
                r = jnp.where(keeps[stage], r, stop_gradient(r))
            out = part(r / scale, train=train, step=step)
            codes = stop_gradient(out.z_q) * scale  # e_q [B, *S, D]
            total = total + codes * keeps[stage]  # z_q = sum of e_q that are not dropped
            residual = residual - codes  # r_{q+1} = r_q - sg(e_q)
            outputs.append(out)
            if not stage:
                keeps = self._keeps(train, out.indices[0])  # Q
        estimator = self.template.estimator
        return Quantized(
            z_q=estimator(z, total),
            indices=tuple(out.indices[0] for out in outputs),  # Q arrays [B, *S]
            losses={
                name: sum(
                    out.losses[name] if each else out.losses[name] * keep
                    for out, keep in zip(outputs, keeps, strict=True)
                )
                for name in self.loss_weights
            },
            metrics=level_metrics(outputs),
        )

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices int32[B, *S], one array per stage: all, or the first few."""
        total = 0.0
        for stage, index in enumerate(indices):
            codes = self.parts[0 if self.shared else stage].lookup((index,))  # [B, *S, D]
            total = total + codes * _channels(self._scale(stage), codes)
        return total

    def init_codebook(self, params: Tree, codebook: Tree, z: jax.Array, rng: jax.Array) -> tuple:
        """Initialises stage after stage from the residual of z [B, *S, D]. Called unbound.

        One shared codebook is initialised from z alone; `Revival` fits it to the later stages.
        """
        residual = ops.at_least_float32(z)
        for stage in range(1 if self.shared else self.stages):
            name, key = f"parts_{stage}", jax.random.fold_in(rng, stage)
            scale = _channels(self._scale(stage), residual)
            params, codebook = self._init_part(name, params, codebook, residual / scale, key)
            variables = {"params": params.get(name, {}), "codebook": codebook[name]}
            out = self.template.apply(variables, residual / scale, train=False, step=0)
            residual = residual - out.z_q * scale
        return params, codebook


def _channels(scale: jax.Array, like: jax.Array) -> jax.Array:
    """`scale`, [] or [D], as [1, .., 1 or D], which broadcasts against `like` [..., D]."""
    return jnp.reshape(scale, (1,) * (like.ndim - 1) + (-1,)).astype(like.dtype)
