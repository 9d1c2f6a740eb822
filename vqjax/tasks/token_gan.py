"""`TokenGANTask`: a GAN through the codebook of a frozen tokenizer."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vqjax import arguments
from vqjax.config import FrozenRun
from vqjax.tasks.adversary import GENERATOR
from vqjax.tasks.base import Batches
from vqjax.tasks.frozen_latents import FROZEN, STATISTICS, FrozenLatents
from vqjax.tasks.gan import GANTask
from vqjax.types import ArraySpec, Batch, Tree, UsageError, check_offers

THROUGH = ("straight", "soft", "none")


@dataclasses.dataclass(frozen=True)
class TokenGANTask(FrozenLatents, GANTask):
    """A GAN whose generator makes the latents of a frozen tokenizer: z [B, Z] -> latents
    [B, *s, D] -> codes -> the tokenizer's decoder -> x [B, *S, C] -> the discriminator.

    Nobody has published a generator that is trained so by its adversary alone: an experiment.
    Players, terms and other attributes are those of `GANTask`, but for `array`, which the tokenizer
    names. What the generator makes is scaled to the mean and deviation of the tokenizer's latents,
    as measured before step 0.

    Attributes:
        tokenizer: the run whose codes are made.
        through: how gradients pass the codebook: "straight", each latent its nearest code, whose
            gradient it takes as its own (arXiv 1308.3432); "soft", in training, the mean of all
            codes (arXiv 2509.22925 has means of codes, too), weighted by softmax(-|z - e|^2 /
            (`temperature` D v)), v being the mean variance of the D channels, else the nearest
            code; or "none": latents are decoded as they are, the control.
        temperature: of "soft", above 0.
    """

    tokenizer: FrozenRun | None = None
    through: str = "straight"
    temperature: float = 0.1

    where = "task"
    latents = "mean"
    latent_player = GENERATOR

    def __post_init__(self) -> None:
        self.check_tokenizer()
        arguments.one_of("task.through", self.through, THROUGH)
        arguments.real("task.temperature", self.temperature, above=0)
        super().__post_init__()

    @property
    def inputs(self) -> str:
        """The batch's array that is learned."""
        return self.tokenizer_task.inputs

    def made_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """See `GANTask.made_shape`: the tokenizer's latents."""
        return self.latent_shape(tuple(shape))

    def check(self, inputs: Mapping[str, ArraySpec]) -> None:
        """See `GANTask.check`."""
        if self.inputs in inputs:
            self.check_channels(tuple(inputs[self.inputs].shape))
        quantizer = self.tokenizer_task.tokenizer.quantizer
        if self.through != "none" and quantizer.num_codebooks != 1:
            raise UsageError(
                f"task.through={self.through!r}: {self.tokenizer.path} has "
                f"{quantizer.num_codebooks} levels of codes, wanted one"
            )
        if self.through != "straight" and quantizer.input_dim != quantizer.codebook_dim:
            raise UsageError(
                f"task.through={self.through!r}: the codes of {self.tokenizer.path} are no such "
                "vectors as its latents"
            )
        if self.through == "soft":
            check_offers("task.through='soft': the tokenizer's quantizer", quantizer, ("codebook",))
        super().check(inputs)

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """See `GANTask.init`."""
        params, collections = super().init(rng, batch)
        channels = self.made_shape(tuple(batch[self.inputs].shape[1:]))[-1:]
        none = jnp.zeros(channels, jnp.float32)
        return params, {
            **collections,
            GENERATOR: {STATISTICS: {"mean": none, "deviation": none + 1}},
        }

    def start(self, params: Tree, collections: Tree, frozen: Tree, batches: Batches, rng: Any):
        """See `GANTask.start`; measures the tokenizer's latents, too."""
        batches, again = itertools.tee(batches)
        measured = {STATISTICS: self.measured(frozen, batches, rng)}
        params, collections = super().start(params, collections, frozen, again, rng)
        return params, {**collections, GENERATOR: measured}

    def finished(self, collections: Tree, frozen: Tree, made: jax.Array, train: bool) -> jax.Array:
        """Examples [B, *S, C] of latents [B, *s, D] of mean 0 and deviation 1, about."""
        mean, deviation = self.statistics_of(collections, made)
        z, task, arrays = made * deviation + mean, self.tokenizer_task, frozen[FROZEN]
        networks = arrays["params"], arrays["collections"]
        if self.through == "none":
            return task.decode_latents(*networks, z)
        if self.through == "straight" or not train:
            return task.decode_raw(*networks, z)
        codebook = task.ask_quantizer(*networks, "codebook")  # [K, D]
        scale = jnp.mean(jnp.square(deviation)) * self.temperature * z.shape[-1]
        return task.decode_latents(*networks, softly_quantized(z, codebook, scale))


def softly_quantized(z: jax.Array, codebook: jax.Array, temperature: jax.Array) -> jax.Array:
    """The mean of codes [K, D] for each of z [..., D], by softmax(-|z - e|^2 / temperature)."""
    cross = jnp.einsum("...d,kd->...k", z, codebook, precision="highest")
    squares = jnp.sum(jnp.square(codebook), axis=-1)  # [K]
    distance = squares.reshape((1,) * (z.ndim - 1) + (-1,)) - 2.0 * cross  # but for |z|^2
    return jnp.einsum("...k,kd->...d", jax.nn.softmax(-distance / temperature), codebook)
