"""A trained tokenizer from Python, numpy in and numpy out.

    run = vqjax.load("runs/mnist_vqvae")
    tokens = run.encode(images)      # int32 [B, *grid]
    images = run.decode(tokens)      # as the run was trained on: uint8 or float32 in [-1, 1]

Encoding and decoding are two programs. Each is compiled for one batch size per shape of example
and larger or smaller batches go through it in padded parts, so a result does not depend on the
batch that it came in; `reconstruct` is `decode` after `encode`.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax import arguments
from vqjax.evaluation.diversity import COMPARED, sample_diversity
from vqjax.evaluation.reconstruction import ReconstructionEvaluator
from vqjax.format import number, printable
from vqjax.ops.numerics import make_key
from vqjax.runs.base import Calls, Opening, Run, Sizes
from vqjax.runs.examples import (
    as_trained,
    checked_count,
    checked_examples,
    checked_finite,
    in_parts,
)
from vqjax.runs.footprint import Footprint, size_of, state_of
from vqjax.runs.large import LARGE_VALUES, LargePrograms
from vqjax.tasks.tokenizer import TOKENIZER
from vqjax.training.experiment import Experiment
from vqjax.types import ArraySpec, Level, UsageError, VqjaxError

BATCH = 32  # examples per call of a program
BATCH_VALUES = LARGE_VALUES  # fewer examples when they hold more values than this
PARTS = ("encoder", "quantizer", "decoder")  # whose sizes are told apart
PICTURE_RANK = 3  # of one example, [H, W, C]
MAX_LATENT = 1e6  # no encoder makes larger ones; far beyond, decoders make NaN of them
Tokens = np.ndarray | dict[str, np.ndarray]


class TokenizerRun(Run):
    """A trained tokenizer or autoencoder; made by `vqjax.load`. Attributes: see `Run`."""

    kind = "tokenizer"
    headline = ("psnr", "ssim", "perplexity")
    shows = "Reconstructions"
    next_commands = ("vqjax report RUN", "vqjax reconstruct RUN --out out")
    evaluator = ReconstructionEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self._variables = (opening.opened.params, opening.opened.collections)
        self._large = LargePrograms(opening.mesh)
        self._encode = jax.jit(self._encode_batch)
        self._decode = jax.jit(self._decode_batch)
        self._sample = jax.jit(self._sample_batch)

    def network(self) -> nn.Module:
        """The tokenizer."""
        return self.task.tokenizer

    @classmethod
    def abilities(cls, experiment: Experiment) -> dict[str, str | None]:
        """It samples where its latents have a prior, interpolates where they are real numbers."""
        task = experiment.task
        kind = type(task.tokenizer.quantizer).__name__
        limits: dict[str, str] = {}
        if not task.has_prior:
            limits["sample"] = f"the bottleneck {kind} has no prior"
        if task.tokenizer.level_names:
            limits["interpolate"] = "its latents are discrete"
        return super().abilities(experiment) | limits

    @classmethod
    def footprint(cls, experiment: Experiment, inputs: Mapping[str, ArraySpec]) -> Footprint:
        """Also what it compresses to; UsageError for a shape that it does not take."""
        task = experiment.network_task()
        shape = tuple(inputs[task.inputs].shape)
        params, collections = state_of(task, inputs)
        own = params[TOKENIZER]
        parameters = {part: size_of(own.get(part, {})) for part in PARTS}
        parameters["projections"] = size_of({k: v for k, v in own.items() if k not in PARTS})
        parameters |= {name: size_of(tree) for name, tree in params.items() if name != TOKENIZER}
        latents = (*task.tokenizer.encoder.grid(shape[:-1]), task.tokenizer.quantizer.codebook_dim)
        layout = task.token_layout(shape)
        return Footprint(parameters, size_of(collections), shape, layout, latents)

    @classmethod
    def single_calls(cls, task: Any, shape: tuple[int, ...]) -> Calls:
        """Encoding, and decoding what came of it: see `Run.single_calls`."""
        discrete = bool(task.token_layout(shape))
        give, take = ("indices", task.decode_indices) if discrete else ("z_q", task.decode_latents)
        return {"encode": lambda *given: getattr(task.encode(*given), give), "decode": take}

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        codes = "tokens" if sizes is None or sizes.levels else "real numbers"
        if sizes is not None and not short:
            codes = f"{' × '.join(map(str, sizes.latents))} real numbers"
            if sizes.levels:
                codes = f"{sizes.grids}, {number(sizes.compression, 3)} times smaller,"
        examples = "examples" if sizes is None else sizes.examples
        return f" that learns to turn {examples} from {data} into {codes} and back"

    @classmethod
    def evaluated(cls, experiment: Experiment, sizes: Footprint) -> tuple[str, ...]:
        """See `Run.evaluated`."""
        levels = [level.name for level in sizes.levels]
        ends = [f"/{name}" for name in levels] if len(levels) > 1 else [""] * len(levels)
        of_codes = [kind + end for end in ends for kind in ("codebook_usage", "perplexity")]
        return ("psnr", *(["ssim"] if len(sizes.shape) == PICTURE_RANK else []), *of_codes)

    def numbers_of(self, samples: np.ndarray) -> dict[str, float]:
        """`sample_diversity` of the first samples, as in `evaluate`.

        Raises:
            DataError: the originals are not at hand.
        """
        samples, originals = samples[:COMPARED], self.held_out(COMPARED)
        if min(len(samples), len(originals)) < 2:
            return {}
        return {"sample_diversity": sample_diversity(samples, originals)}

    def token_layout(self, shape: Sequence[int] | None = None) -> tuple[Level, ...]:
        """Levels of tokens for one example of `shape` (*S, C); None: the training shape.

        Raises:
            UsageError: the tokenizer's factor does not divide `shape`, or it is no such shape.
        """
        return self.task.token_layout(self.shape if shape is None else self._sizes(shape))

    def _sizes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """`shape` (*S, C) as an example of this run may have it."""
        example = str(list(self.shape))
        sizes = tuple(arguments.wholes("shape", shape, 1, arguments.MOST_COUNT, example))
        if len(sizes) != len(self.shape) or sizes[-1] != self.shape[-1]:
            wanted = f"{len(self.shape)} axes, the last of {self.shape[-1]} channels"
            raise UsageError(f"shape={list(sizes)[:9]}: wanted {wanted}, such as {example}")
        return sizes

    def encode(self, images: np.ndarray) -> Tokens:
        """Tokens of `images`.

        Args:
            images: [B, *S, C] of the run's `dtype`; any B, also 0, and any *S that the
                tokenizer's factor divides. (Signals and clips likewise.)

        Returns:
            int32 [B, *grid], in a dict by level name where there are several levels. Without
            indices (no quantizer, or a Gaussian one): the mean latents, float32 [B, *grid, D].

        Raises:
            UsageError: another rank, dtype, number of channels or size; NaN, or floats that are
                not in [-1, 1]; or such large examples that there is no memory for one.
        """
        self._check_process()
        images = self._checked_images(images)
        size = self._part_size(images.shape[1:])
        with self._at_home():
            encode = self._ready(self._encode, images.shape[1:], size, images)
            parts = in_parts(encode, (images,), size)
        if isinstance(parts, np.ndarray):
            return parts
        names = [level.name for level in self.task.token_layout(images.shape[1:])]
        return parts[0] if len(parts) == 1 else dict(zip(names, parts, strict=True))

    def decode(self, indices: Tokens | Mapping[str, np.ndarray]) -> np.ndarray:
        """Examples from what `encode` returned.

        Args:
            indices: int [B, *grid] in [0, codebook_size), in a dict by level name where there
                are several levels; any B, also 0, and any grid. Without indices: mean latents.

        Returns:
            [B, *S, C] of the run's `dtype`, floats clipped to [-1, 1].

        Raises:
            UsageError: missing or unknown levels, another dtype or rank, indices out of range;
                latents of other channels, not finite, or far beyond what encoders make.
        """
        self._check_process()
        given = self._checked_tokens(indices)
        shape = self._decoded_shape(tuple(a.shape[1:] for a in given))
        arguments.check_room(
            f"{len(given[0])} examples of {list(shape)}", self._bytes(*shape) * len(given[0])
        )
        size = self._part_size(shape)
        with self._at_home():
            return in_parts(self._ready(self._decode, shape, size, *given), given, size)

    def fitting(self, shape: Sequence[int]) -> tuple[int, ...]:
        """`shape` with sizes that the tokenizer's factor divides: see `Run.fitting`."""
        sizes, factors = tuple(shape[:-1]), self.task.tokenizer.encoder.factors
        by_axis = (factors,) * len(sizes) if isinstance(factors, int) else factors
        grown = (size + -size % by for size, by in zip(sizes, by_axis, strict=True))
        fits = (*grown, shape[-1])
        self.check_size(fits)
        return fits

    def check_size(self, shape: Sequence[int]) -> None:
        """Refuses examples of `shape` (*S, C) that `reconstruct` has no memory for; where these are
        large, by compiling its programs.

        Raises:
            UsageError: there is no memory, the tokenizer's factor does not divide `shape`, or it
                is no such shape.
        """
        self._check_process()
        shape = self._sizes(shape)
        self.task.token_layout(shape)
        if math.prod(shape) <= LARGE_VALUES:
            return
        with self._at_home():
            x = jax.ShapeDtypeStruct((1, *shape), self.dtype)
            tokens = jax.tree.leaves(jax.eval_shape(self._encode, *self._variables, x))
            self._ready(self._encode, shape, 1, x)
            self._ready(self._decode, shape, 1, *tokens)

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """`decode(encode(images))`: the examples as their tokens tell them."""
        return self.decode(self.encode(images))

    def sample(self, n: int = 64, seed: int = 0) -> np.ndarray:
        """Draws examples from the prior.

        Args:
            n: how many, at least 0 and no more than memory has room for.
            seed: from 0 to 2**32 - 1; example i is a pure function of (seed, i): more of them
                begin with the same.

        Returns:
            [n, *S, C] of the run's `dtype` and training shape.

        Raises:
            UsageError: the run has no prior, or an argument is not of its kind.
        """
        self._check_process()
        n, seed = checked_count(n, self.shape, self.dtype), arguments.seed_of(seed)
        numbers, key = np.arange(n, dtype=np.int32), make_key(seed)
        size = self._part_size(self.shape)
        with self._at_home():
            draw = functools.partial(self._sample, *self._variables, key)
            return in_parts(draw, (numbers,), size, "samples")

    def interpolate(self, a: np.ndarray, b: np.ndarray, steps: int = 8) -> np.ndarray:
        """Decodes the straight line between the latents of `a` and `b`, the means of Gaussian ones.

        Args:
            a: [B, *S, C] of the run's `dtype`.
            b: likewise.
            steps: points on each line, at least 2: the first is the reconstruction of `a`, the
                last that of `b`.

        Returns:
            [B, steps, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the latents are discrete, or the arrays are not as `encode` wants them.
        """
        self._check_process()
        if self._discrete:
            raise UsageError("nothing to interpolate: the latents of this run are discrete")
        a, b = (self._checked_images(x, name) for x, name in ((a, "a"), (b, "b")))
        steps = arguments.whole("steps", steps, 2, arguments.MOST_COUNT)
        if a.shape != b.shape:
            raise UsageError(
                f"a and b are {list(a.shape)} and {list(b.shape)}: wanted equal shapes"
            )
        arguments.check_room(f"steps={steps}", steps * self._bytes(*a.shape))
        start, end = self.encode(a)[:, None], self.encode(b)[:, None]
        share = np.linspace(0.0, 1.0, steps, dtype=np.float32)
        share = share.reshape(1, steps, *(1,) * (start.ndim - 2))
        line = (1.0 - share) * start + share * end  # [B, steps, *s, D]
        made = self.decode(line.reshape(-1, *line.shape[2:]))
        return made.reshape(*line.shape[:2], *made.shape[1:])

    @functools.cached_property
    def _discrete(self) -> bool:
        example = jax.ShapeDtypeStruct((1, *self.shape), self.dtype)
        return isinstance(jax.eval_shape(self._encode_batch, *self._variables, example), tuple)

    def _decoded_shape(self, shapes: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
        dtype = "int32" if self._discrete else "float32"
        tokens = [jax.ShapeDtypeStruct((1, *shape), dtype) for shape in shapes]
        try:
            return jax.eval_shape(self._decode_batch, *self._variables, *tokens).shape[1:]
        except VqjaxError:
            raise
        except Exception as error:  # whatever a network says of levels that do not fit together
            grids = ", ".join(str(list(shape)) for shape in shapes)
            raise UsageError(f"no example has tokens of {printable(grids, 200)}") from error

    def _ready(self, program: Any, shape: Sequence[int], size: int, *arrays: Any) -> Any:
        """`program` of the parameters, for parts of `size` examples of `shape` and their `arrays`.

        Raises:
            UsageError: there is no memory for one.
        """
        part = (jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype) for a in arrays)
        chosen = self._large.fitting(shape, program, *self._variables, *part)
        return functools.partial(chosen, *self._variables)

    def _part_size(self, shape: Sequence[int]) -> int:
        return max(1, min(BATCH, BATCH_VALUES // max(int(np.prod(shape)), 1)))

    def _encode_batch(self, params: Any, collections: Any, x: jax.Array) -> Any:
        tokens = self.task.encode(params, collections, x)
        if not tokens.indices:
            return tokens.z_q.astype(jnp.float32)
        levels = self.task.token_layout(x.shape[1:])
        return tuple(tokens.indices[level.name] for level in levels)

    def _decode_batch(self, params: Any, collections: Any, *given: jax.Array) -> jax.Array:
        if jnp.issubdtype(given[0].dtype, jnp.floating):
            x_hat = self.task.decode_latents(params, collections, given[0])
        else:
            # A tuple until here: a dict that passes through `jit` comes back with sorted keys.
            names = [level.name for level in self.token_layout()]
            indices = dict(zip(names, given, strict=True))
            x_hat = self.task.decode_indices(params, collections, indices)
        return as_trained(x_hat, self.dtype)

    def _sample_batch(self, params: Any, collections: Any, key: jax.Array, numbers: jax.Array):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
        return as_trained(self.task.sample_prior(params, collections, keys, self.shape), self.dtype)

    def _bytes(self, *shape: int) -> int:
        """Of an array of examples."""
        return math.prod(shape) * np.dtype(self.dtype).itemsize

    def _checked_images(self, images: Any, name: str = "images") -> np.ndarray:
        images = checked_examples(images, self.shape, self.dtype, any_size=True, name=name)
        self.task.token_layout(images.shape[1:])  # refuses sizes that the factor does not divide
        return images

    def _checked_tokens(self, indices: Any) -> tuple[np.ndarray, ...]:
        levels = self.token_layout()
        if not self._discrete:
            return (self._checked_latents(indices),)
        if not isinstance(indices, Mapping):
            if len(levels) > 1:
                raise UsageError(f"indices of {len(levels)} levels are wanted: {_names(levels)}")
            indices = {levels[0].name: indices}
        if set(indices) != {level.name for level in levels}:
            names = printable(", ".join(map(str, indices)), 100) or "no level"
            raise UsageError(f"indices of {names}: wanted {_names(levels)}")
        given = tuple(_checked_level(indices[v.name], v) for v in levels)
        if len({len(a) for a in given}) > 1:
            raise UsageError(f"levels with {[len(a) for a in given]} examples: wanted equally many")
        return given

    def _checked_latents(self, latents: Any) -> np.ndarray:
        dim = self.task.tokenizer.quantizer.codebook_dim
        wanted = f"the latents that encode gives, float32 [B, *grid, {dim}]"
        found = arguments.array("indices", latents, f"{wanted}: this run has no indices")
        fits = found.ndim == len(self.shape) + 1 and found.dtype.kind == "f"
        if not fits or found.shape[-1] != dim or not all(found.shape[1:]):
            raise UsageError(
                f"{found.dtype} {list(found.shape)}: this run has no indices; decode takes {wanted}"
            )
        checked_finite("latents", found, MAX_LATENT, f"finite numbers, at most {MAX_LATENT:,.0f}")
        return found.astype(np.float32)


def _names(levels: Sequence[Level]) -> str:
    return "a dict with " + ", ".join(repr(level.name) for level in levels)


def _axes(level: Level) -> str:
    return ", ".join(map(str, level.grid))


def _checked_level(value: Any, level: Level) -> np.ndarray:
    wanted = f"int32 [B, {_axes(level)}] (other sizes may do)"
    a = arguments.array(f"indices {level.name!r}", value, wanted)
    if a.dtype.kind not in "iu" or a.ndim != len(level.grid) + 1 or not all(a.shape[1:]):
        raise UsageError(f"indices {level.name!r} are {a.dtype} {list(a.shape)}: wanted {wanted}")
    if a.size and not 0 <= a.min() <= a.max() < level.codebook_size:
        raise UsageError(
            f"indices {level.name!r} are {a.min()} to {a.max()}: "
            f"wanted 0 to {level.codebook_size - 1}"
        )
    return a.astype(np.int32)
