"""`SoundTokenizerTask`: a tokenizer's task where examples are sound at a recorded level."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient

from vqjax.ops.numerics import at_least_float32
from vqjax.quantizers.estimators import StraightThrough
from vqjax.tasks.base import LENGTH, inputs_of, within_length
from vqjax.tasks.parts import TOKENIZER
from vqjax.tasks.tokenizer import TokenizerTask
from vqjax.types import Batch, Tree, UsageError, check_offers

FIRST_CODEBOOK = "first_codebook"  # the head's loss term
HEAD = "head"  # where its parameters are, among the tokenizer's


@dataclasses.dataclass(frozen=True)
class SoundTokenizerTask(TokenizerTask):
    """Reconstruction of sound [B, T, C] through a bottleneck; terms as of `TokenizerTask`.

    A batch has "audio", int16 (divided by 32,768) or float in [-1, 1]; where it has "gain",
    float[B], the networks see the product; where it has "length", int[B], samples from there on are
    padding.

    Attributes:
        tokenizer: see `TokenizerTask`, as for all that follows.
        loss_weights: one number or schedule per loss term.
        losses: of x_hat against x.
        discriminator: one, a tuple of several, or None.
        adversarial: the two players' losses.
        adaptive: factor on the generator's term; None: only its weight counts.
        inputs: the batch's array to reconstruct.
        metrics: further metrics of evaluations.
        until_length: whether losses end with the "length": what is made of padding counts as equal
            to it.
        head: what has to be predicted from the codes of the first codebook alone, such as
            `vqjax.tokenizers.MelHead`: the loss term "first_codebook", its mean absolute error;
            None: nothing.
    """

    inputs: str = "audio"
    until_length: bool = True
    head: nn.Module | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head is not None:
            check_offers("head", self.head, ("target",))
            if not self.tokenizer.level_names:
                raise UsageError("task.head: there are no codes to predict from")

    @property
    def terms(self) -> dict[str, str]:
        """{loss term: the player that it trains}."""
        return super().terms | ({FIRST_CODEBOOK: TOKENIZER} if self.head is not None else {})

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        params, collections = super().init(rng, batch)
        if self.head is None:
            return params, collections
        z = jnp.zeros((1, 1, self.tokenizer.quantizer.codebook_dim), jnp.float32)
        head = self.head.init(jax.random.fold_in(rng, 1), z)["params"]
        return params | {TOKENIZER: {**params[TOKENIZER], HEAD: head}}, collections

    def encoding_losses(
        self, variables: Tree, z: Any, indices: tuple, batch: Batch, active: tuple[str, ...]
    ) -> dict[str, jax.Array]:
        """The head's error, its gradient reaching the encoder straight through the first code."""
        if FIRST_CODEBOOK not in active:
            return {}
        code = self.tokenizer.apply(
            variables, indices[:1], method=lambda network, i: network.quantizer.lookup(i)
        )  # [B, F, D]
        code = StraightThrough()(at_least_float32(z), code)  # [B, F, D]
        params = variables["params"][HEAD]
        predicted = self.head.apply({"params": params}, code)  # [B, F, bands]
        target = stop_gradient(self.head.target(inputs_of(batch, self.inputs)))
        wrong = jnp.abs(at_least_float32(predicted) - target).mean(-1)  # [B, F]
        if LENGTH in batch and self.until_length:
            frames = jnp.arange(wrong.shape[1])[None]
            wrong = jnp.where(frames < self.frames_of(batch[LENGTH])[:, None], wrong, 0.0)
        return {FIRST_CODEBOOK: wrong.mean()}

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Refuses settings that cannot work on examples of these `ArraySpec`s, with UsageError."""
        if self.inputs in inputs and len(inputs[self.inputs].shape) != 2:
            shape = list(inputs[self.inputs].shape)
            raise UsageError(
                f"task.inputs={self.inputs!r}: {shape} is no sound, [T, C]; for pictures there is "
                "TokenizerTask"
            )
        super().check(inputs)

    def reconstruction(self, batch: Batch, logits: jax.Array) -> jax.Array:
        """x_hat [B, T, C] of the decoder's logits, zero after the batch's "length"."""
        x_hat = super().reconstruction(batch, logits)
        return within_length(batch, x_hat) if self.until_length else x_hat

    @property
    def hop(self) -> int:
        """Samples per frame of tokens."""
        factor = self.tokenizer.encoder.factors
        return factor if isinstance(factor, int) else factor[0]

    def padded(self, length: Any) -> Any:
        """The least number of samples that the encoder takes and `length` fit into."""
        return -(-length // self.hop) * self.hop

    def frames_of(self, length: Any) -> Any:
        """Frames of tokens that `length` samples become, at least one hop; ints or arrays."""
        extra = self.tokenizer.encoder.grid((self.hop,))[0] - 1
        return -(-length // self.hop) + extra

    def samples_of(self, frames: Any) -> Any:
        """Samples that so many frames of tokens become, none of too few; ints or arrays."""
        extra = self.tokenizer.encoder.grid((self.hop,))[0] - 1
        return (frames - extra) * self.hop * (frames > extra)

    @property
    def look_ahead(self) -> int:
        """Samples after a clip that change its own tokens or sound: of causal networks none."""
        parts = self.tokenizer.encoder, self.tokenizer.decoder
        return sum(getattr(part, "look_ahead", 0) for part in parts) * self.hop

    @property
    def streams(self) -> bool:
        """Whether pieces of sound can be encoded and decoded as they come."""
        parts = self.tokenizer.encoder, self.tokenizer.decoder
        return all(getattr(part, "streams", False) for part in parts)
