"""How large networks are and how much it compresses, from shapes alone."""

import dataclasses
import math
from collections.abc import Mapping

import jax

from vqjax.ops.numerics import make_key
from vqjax.runs.kinds import is_classifier
from vqjax.training.experiment import Experiment
from vqjax.training.state import example_batch, settings_named
from vqjax.types import ArraySpec, Level, Tree

PARTS = ("encoder", "quantizer", "decoder")
VALUE_BITS = 8  # what compression is measured against: uint8 values


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Sizes of one experiment.

    Attributes:
        parameters: trained values per part: "encoder", "quantizer", "decoder", "projections"
            (between them), and the other players by name; of a prior and of a classifier their
            own parts.
        kept: values that are kept but not trained by gradient, such as averaged codebooks.
        shape: of one example, (*S, C).
        levels: of tokens; empty where nothing is discrete.
        latents: shape of one example's vectors, (*s, D), from which it is decoded; of a
            classifier that of its features.
    """

    parameters: dict[str, int]
    kept: int
    shape: tuple[int, ...]
    levels: tuple[Level, ...]
    latents: tuple[int, ...] = ()

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


def _size(tree: Tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def footprint_of(experiment: Experiment, inputs: Mapping[str, ArraySpec]) -> Footprint:
    """Measures an experiment on examples of `inputs`; computes nothing and reads no data.

    Raises:
        UsageError: the tokenizer does not take examples of this shape, or no network can be built
            of the settings.
    """
    with settings_named():
        return _measured(experiment, inputs)


def _measured(experiment: Experiment, inputs: Mapping[str, ArraySpec]) -> Footprint:
    task = experiment.network_task()
    if hasattr(task, "levels_of"):  # tokens, or examples that become tokens
        levels = task.levels_of({name: tuple(spec.shape) for name, spec in inputs.items()})
        shape = task.example_shape(levels)
    else:
        shape = tuple(inputs[task.inputs].shape)
        levels = task.token_layout(shape) if hasattr(task, "token_layout") else ()
    params, collections = jax.eval_shape(
        lambda: task.init(make_key(0), example_batch(dict(inputs)))
    )
    if "tokenizer" not in params:
        parts = {name: _size(part) for tree in params.values() for name, part in tree.items()}
        latents = (task.encoder.latent_dim,) if is_classifier(experiment) else ()
        return Footprint(parts, _size(collections), shape, levels, latents)
    tokenizer = params["tokenizer"]
    parameters = {part: _size(tokenizer.get(part, {})) for part in PARTS}
    parameters["projections"] = _size({k: v for k, v in tokenizer.items() if k not in PARTS})
    parameters |= {name: _size(tree) for name, tree in params.items() if name != "tokenizer"}
    latents = (*task.tokenizer.encoder.grid(shape[:-1]), task.tokenizer.quantizer.codebook_dim)
    return Footprint(parameters, _size(collections), shape, levels, latents)
