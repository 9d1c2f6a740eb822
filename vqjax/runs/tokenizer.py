"""A trained tokenizer from Python, numpy in and numpy out.

    run = vqjax.load("runs/mnist_vqvae")
    tokens = run.encode(images)      # int32 [B, *grid]
    images = run.decode(tokens)      # as the run was trained on: uint8 or float32 in [-1, 1]

Encoding and decoding are two programs. Each is compiled for one batch size per shape of example,
and batches of other sizes go through it in padded parts, so a result does not depend on the rest
of its batch; `reconstruct` is `decode` after `encode`.
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
from vqjax.runs.footprint import Footprint, size_of, state_of, values_of
from vqjax.runs.large import LARGE_VALUES, LargePrograms
from vqjax.tasks.tokenizer import TOKENIZER
from vqjax.training.experiment import Experiment
from vqjax.types import ArraySpec, Level, UsageError, VqjaxError

CALL_BATCH = 32  # examples per call of a program
CALL_VALUES = LARGE_VALUES  # fewer examples when they hold more values than this
MODULES = ("encoder", "quantizer", "decoder")  # whose sizes are listed one by one
PROJECTIONS = ("pre_quant", "post_quant")  # and together
IMAGE_RANK = 3  # of one example, [H, W, C]
MAX_LATENT = 1e6  # no encoder makes larger ones; far beyond, decoders turn them into NaN
TokenArrays = np.ndarray | dict[str, np.ndarray]


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
        """It samples where its latents have a prior, interpolates where they are continuous."""
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
        """Also its latents and tokens; UsageError for a shape that it does not take."""
        task = experiment.network_task()
        shape = tuple(inputs[task.inputs].shape)
        params, collections = state_of(task, inputs)
        net = params[TOKENIZER]
        parameters = {name: size_of(net.get(name, {})) for name in MODULES}
        parameters["projections"] = size_of({k: net[k] for k in PROJECTIONS if k in net})
        listed = (*MODULES, *PROJECTIONS)
        parameters |= {name: size_of(tree) for name, tree in net.items() if name not in listed}
        parameters |= {name: size_of(tree) for name, tree in params.items() if name != TOKENIZER}
        latents = (*task.tokenizer.encoder.grid(shape[:-1]), task.tokenizer.quantizer.codebook_dim)
        layout = task.token_layout(shape)
        values = values_of(inputs[task.inputs])
        return Footprint(parameters, size_of(collections), shape, layout, latents, **values)

    @classmethod
    def single_calls(cls, task: Any, shape: tuple[int, ...]) -> Calls:
        """Encoding, and decoding the result: see `Run.single_calls`."""
        discrete = bool(task.token_layout(shape))
        key, decode = ("indices", task.decode_indices) if discrete else ("z_q", task.decode_latents)
        return {"encode": lambda *args: getattr(task.encode(*args), key), "decode": decode}

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
        usage = [kind + end for end in ends for kind in ("codebook_usage", "perplexity")]
        return ("psnr", *(["ssim"] if len(sizes.shape) == IMAGE_RANK else []), *usage)

    def numbers_of(self, samples: np.ndarray) -> dict[str, float]:
        """`sample_diversity` of the first samples, as in `evaluate`.

        Raises:
            DataError: the data is not at hand.
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
        """`shape` (*S, C), checked to be that of an example of any size."""
        example = str(list(self.shape))
        sizes = tuple(arguments.wholes("shape", shape, 1, arguments.MOST_COUNT, example))
        if len(sizes) != len(self.shape) or sizes[-1] != self.shape[-1]:
            axes = f"{len(self.shape)} axes, the last of {self.shape[-1]} channels"
            raise UsageError(f"shape={list(sizes)[:9]}: wanted {axes}, such as {example}")
        return sizes

    def encode(self, images: np.ndarray) -> TokenArrays:
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
        size = self._batch_size(images.shape[1:])
        with self._context():
            encode = self._fitted(self._encode, images.shape[1:], size, images)
            parts = in_parts(encode, (images,), size)
        if isinstance(parts, np.ndarray):
            return parts
        names = [level.name for level in self.task.token_layout(images.shape[1:])]
        return parts[0] if len(parts) == 1 else dict(zip(names, parts, strict=True))

    def decode(self, indices: TokenArrays | Mapping[str, np.ndarray]) -> np.ndarray:
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
        arrays = self._checked_tokens(indices)
        shape, count = self._decoded_shape(tuple(a.shape[1:] for a in arrays)), len(arrays[0])
        arguments.check_room(f"{count} examples of {list(shape)}", self._bytes(count, *shape))
        size = self._batch_size(shape)
        with self._context():
            return in_parts(self._fitted(self._decode, shape, size, *arrays), arrays, size)

    def fitting(self, shape: Sequence[int]) -> tuple[int, ...]:
        """`shape` with sizes that the tokenizer's factor divides: see `Run.fitting`."""
        sizes, factors = tuple(shape[:-1]), self.task.tokenizer.encoder.factors
        factors = (factors,) * len(sizes) if isinstance(factors, int) else factors
        padded = (size + -size % factor for size, factor in zip(sizes, factors, strict=True))
        shape = (*padded, shape[-1])
        self.check_size(shape)
        return shape

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
        with self._context():
            x = jax.ShapeDtypeStruct((1, *shape), self.dtype)
            tokens = jax.tree.leaves(jax.eval_shape(self._encode, *self._variables, x))
            self._fitted(self._encode, shape, 1, x)
            self._fitted(self._decode, shape, 1, *tokens)

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """`decode(encode(images))`: the examples as their tokens describe them."""
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
            UsageError: the run has no prior, or an argument is of the wrong kind.
        """
        self._check_process()
        n, seed = checked_count(n, self.shape, self.dtype), arguments.seed_of(seed)
        ids, key = np.arange(n, dtype=np.int32), make_key(seed)
        size = self._batch_size(self.shape)
        with self._context():
            draw = functools.partial(self._sample, *self._variables, key)
            return in_parts(draw, (ids,), size, "samples")

    def interpolate(self, a: np.ndarray, b: np.ndarray, steps: int = 8) -> np.ndarray:
        """Decodes the straight line between the latents of `a` and `b`, the means of Gaussian ones.

        Args:
            a: [B, *S, C] of the run's `dtype`.
            b: likewise.
            steps: points on each line, at least 2: the first is the reconstruction of `a`, the
                last one of `b`.

        Returns:
            [B, steps, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the latents are discrete, or `encode` does not take the arrays.
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
        decoded = self.decode(line.reshape(-1, *line.shape[2:]))
        return decoded.reshape(*line.shape[:2], *decoded.shape[1:])

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
        except Exception as error:  # whatever a network raises for levels that do not fit
            grids = ", ".join(str(list(shape)) for shape in shapes)
            raise UsageError(f"no example has tokens of {printable(grids, 200)}") from error

    def _fitted(self, program: Any, shape: Sequence[int], size: int, *arrays: Any) -> Any:
        """`program` of the parameters, for parts of `size` examples of `shape` and their `arrays`.

        Raises:
            UsageError: there is no memory for one.
        """
        part = (jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype) for a in arrays)
        fitted = self._large.fitting(shape, program, *self._variables, *part)
        return functools.partial(fitted, *self._variables)

    def _batch_size(self, shape: Sequence[int]) -> int:
        return max(1, min(CALL_BATCH, CALL_VALUES // max(int(np.prod(shape)), 1)))

    def _encode_batch(self, params: Any, collections: Any, x: jax.Array) -> Any:
        tokens = self.task.encode(params, collections, x)
        if not tokens.indices:
            return tokens.z_q.astype(jnp.float32)
        levels = self.task.token_layout(x.shape[1:])
        return tuple(tokens.indices[level.name] for level in levels)

    def _decode_batch(self, params: Any, collections: Any, *arrays: jax.Array) -> jax.Array:
        if jnp.issubdtype(arrays[0].dtype, jnp.floating):
            x_hat = self.task.decode_latents(params, collections, arrays[0])
        else:
            # A tuple until here: a dict that passes through `jit` comes back with sorted keys.
            names = [level.name for level in self.token_layout()]
            indices = dict(zip(names, arrays, strict=True))
            x_hat = self.task.decode_indices(params, collections, indices)
        return as_trained(x_hat, self.dtype)

    def _sample_batch(self, params: Any, collections: Any, key: jax.Array, ids: jax.Array):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
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
                raise UsageError(f"indices of {len(levels)} levels are wanted: {_dict_of(levels)}")
            indices = {levels[0].name: indices}
        if set(indices) != {level.name for level in levels}:
            names = printable(", ".join(map(str, indices)), 100) or "no level"
            raise UsageError(f"indices of {names}: wanted {_dict_of(levels)}")
        arrays = tuple(_checked_level(indices[v.name], v) for v in levels)
        if len(set(map(len, arrays))) > 1:
            raise UsageError(f"levels with {[*map(len, arrays)]} examples: wanted equally many")
        return arrays

    def _checked_latents(self, latents: Any) -> np.ndarray:
        dim = self.task.tokenizer.quantizer.codebook_dim
        expected = f"the latents that encode gives, float32 [B, *grid, {dim}]"
        z = arguments.array("indices", latents, f"{expected}: this run has no indices")
        fits = z.ndim == len(self.shape) + 1 and z.dtype.kind == "f"
        if not fits or z.shape[-1] != dim or not all(z.shape[1:]):
            raise UsageError(
                f"{z.dtype} {list(z.shape)}: this run has no indices; decode takes {expected}"
            )
        checked_finite("latents", z, MAX_LATENT, f"finite numbers, at most {MAX_LATENT:,.0f}")
        return z.astype(np.float32)


def _dict_of(levels: Sequence[Level]) -> str:
    return "a dict with " + ", ".join(repr(level.name) for level in levels)


def _checked_level(value: Any, level: Level) -> np.ndarray:
    expected = f"int32 [B, {', '.join(map(str, level.grid))}] (other sizes may do)"
    a = arguments.array(f"indices {level.name!r}", value, expected)
    if a.dtype.kind not in "iu" or a.ndim != len(level.grid) + 1 or not all(a.shape[1:]):
        raise UsageError(f"indices {level.name!r} are {a.dtype} {list(a.shape)}: wanted {expected}")
    if a.size and not 0 <= a.min() <= a.max() < level.codebook_size:
        raise UsageError(
            f"indices {level.name!r} are {a.min()} to {a.max()}: "
            f"wanted 0 to {level.codebook_size - 1}"
        )
    return a.astype(np.int32)
