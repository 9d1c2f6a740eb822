"""How large networks are and how much they compress, from shapes alone."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax

from vqjax.ops.numerics import make_key
from vqjax.training.state import example_batch
from vqjax.types import ArraySpec, Level, Tree

EXAMPLES = {2: "signals", 3: "pictures", 4: "clips"}  # by the rank of one, with channels
SOUNDS = "sounds"
# What compression is measured against: uint8 values, or int16 where examples are such.
VALUE_BITS = {"uint8": 8, "int16": 16}
VALUES = "uint8"


@dataclasses.dataclass(frozen=True)
class CodecSizes:
    """Sizes of a tokenizer of sound in time.

    Attributes:
        hop: samples from frame to frame.
        bits: of a frame in each codebook, log2 of its size; empty where nothing is discrete.
        rate: samples per second; None: unknown.
        look_ahead: frames after its own that a frame of the encoder, and one of the decoder, depend
            on; None: unknown.
        edge: frames more than a clip has hops: a sample is complete with so many after its own.
    """

    hop: int
    bits: tuple[float, ...]
    rate: float | None
    look_ahead: tuple[int, int] | None
    edge: int

    @property
    def frames_per_second(self) -> float | None:
        """Frames of tokens."""
        return self.rate / self.hop if self.rate else None

    @property
    def kbits_per_second(self) -> tuple[float, ...]:
        """Of the first n codebooks, for each n; empty where nothing is discrete or no rate is
        known.
        """
        if not self.rate:
            return ()
        frames = self.rate / self.hop
        return tuple(frames * bits / 1000.0 for bits in itertools.accumulate(self.bits))

    @property
    def delay(self) -> int | None:
        """Samples that must have come before one can be decoded, at the most; None: unknown."""
        if self.look_ahead is None:
            return None
        return (1 + self.edge + sum(self.look_ahead)) * self.hop


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Sizes of one experiment.

    Attributes:
        parameters: trained values per part of the network, of several players those of each.
        kept: values that are saved but not trained by gradient, such as averaged codebooks.
        shape: of one example, (*S, C).
        levels: of tokens; empty where nothing is discrete.
        latents: shape of one example's vectors, (*s, D), where there are any.
        latents_are: their name.
        values_are: dtype of its values that compression is measured against, of `VALUE_BITS`.
        is_sound: whether examples are sound with a rate.
        codec: sizes in time, of a tokenizer of sound.
    """

    parameters: dict[str, int]
    kept: int
    shape: tuple[int, ...]
    levels: tuple[Level, ...]
    latents: tuple[int, ...] = ()
    latents_are: str = "latents"
    values_are: str = VALUES
    is_sound: bool = False
    codec: CodecSizes | None = None

    @property
    def total(self) -> int:
        """All trained parameters."""
        return sum(self.parameters.values())

    @property
    def tokens(self) -> int:
        """Tokens per example."""
        return sum(math.prod(level.grid) for level in self.levels)

    @property
    def bits(self) -> float:
        """Bits per example: log2 of the codebook size for every token."""
        return sum(math.prod(v.grid) * math.log2(v.codebook_size) for v in self.levels)

    @property
    def bits_per_position(self) -> float:
        """Bits per pixel, per sample of a signal; of sound without what a clip has at its edge."""
        if self.codec is not None:
            return sum(self.codec.bits) / self.codec.hop
        return self.bits / math.prod(self.shape[:-1])

    @property
    def compression(self) -> float | None:
        """How many times fewer bits than its values have; None where nothing is discrete."""
        if not self.bits:
            return None
        return VALUE_BITS[self.values_are] * self.shape[-1] / self.bits_per_position

    @property
    def examples(self) -> str:
        """A word for its examples."""
        return SOUNDS if self.is_sound else EXAMPLES.get(len(self.shape), "examples")

    @property
    def grids(self) -> str:
        """Its tokens in words: "7 × 7 tokens of 512 codes"."""
        return " + ".join(
            f"{' × '.join(map(str, v.grid))} tokens of {v.codebook_size:,} codes"
            for v in self.levels
        )


def values_of(spec: ArraySpec | None) -> dict[str, Any]:
    """What a `Footprint` says of the values of an example's array: its fields."""
    if spec is None:
        return {}
    is_sound = spec.shown_as == "audio" and bool(spec.rate)
    return {"values_are": spec.dtype if spec.dtype in VALUE_BITS else VALUES, "is_sound": is_sound}


def codec_sizes(task: Any, rate: float | None) -> CodecSizes:
    """Of the task of a tokenizer of sound."""
    network = task.tokenizer
    parts = [getattr(p, "look_ahead", None) for p in (network.encoder, network.decoder)]
    bits = math.log2(max(network.quantizer.codebook_size, 1))
    return CodecSizes(
        hop=task.hop,
        bits=(bits,) * len(network.level_names),
        rate=rate,
        look_ahead=None if None in parts else (parts[0], parts[1]),
        edge=task.frames_of(task.hop) - 1,
    )


def size_of(tree: Tree) -> int:
    """Values in a tree of arrays or of their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def state_of(task: Any, inputs: Mapping[str, ArraySpec]) -> tuple[Tree, Tree]:
    """Shapes of a task's initial parameters and collections on examples of `inputs`."""
    return jax.eval_shape(lambda: task.init(make_key(0), example_batch(dict(inputs))))


def parts_of(params: Tree) -> dict[str, int]:
    """Values of each part of a player's network; of several players, those of each."""
    parts = params if len(params) > 1 else next(iter(params.values()))
    return {name: size_of(part) for name, part in parts.items()}
