"""`SoundTokenizerTask`: a tokenizer's task where examples are sound at a recorded level."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from vqjax.tasks.base import within_length
from vqjax.tasks.tokenizer import TokenizerTask
from vqjax.types import Batch, UsageError


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
    """

    inputs: str = "audio"
    until_length: bool = True

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

    @property
    def streams(self) -> bool:
        """Whether pieces of sound can be encoded and decoded as they come."""
        parts = self.tokenizer.encoder, self.tokenizer.decoder
        return all(getattr(part, "streams", False) for part in parts)
