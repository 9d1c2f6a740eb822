"""How large networks are and how much they compress, from shapes alone."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax

from vqjax.ops.numerics import make_key
from vqjax.training.state import example_batch
from vqjax.types import ArraySpec, Level, Tree

EXAMPLES = {2: "signals", 3: "pictures", 4: "clips"}  # by the rank of one, with channels
VALUE_BITS = 8  # what compression is measured against: uint8 values


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
    """

    parameters: dict[str, int]
    kept: int
    shape: tuple[int, ...]
    levels: tuple[Level, ...]
    latents: tuple[int, ...] = ()
    latents_are: str = "latents"

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
        """Bits per pixel (per sample of a signal)."""
        return self.bits / math.prod(self.shape[:-1])

    @property
    def compression(self) -> float | None:
        """How many times fewer bits than uint8 values; None where nothing is discrete."""
        return VALUE_BITS * math.prod(self.shape) / self.bits if self.bits else None

    @property
    def examples(self) -> str:
        """A word for its examples."""
        return EXAMPLES.get(len(self.shape), "examples")

    @property
    def grids(self) -> str:
        """Its tokens in words: "7 × 7 tokens of 512 codes"."""
        return " + ".join(
            f"{' × '.join(map(str, v.grid))} tokens of {v.codebook_size:,} codes"
            for v in self.levels
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
