"""`vqjax.load(RUN)`: a trained tokenizer from Python, numpy in and numpy out.

    run = vqjax.load("runs/mnist_vqvae")
    tokens = run.encode(images)      # int32 [B, *grid]
    images = run.decode(tokens)      # as the run was trained on: uint8 or float32 in [-1, 1]

Encoding and decoding are two programs. Each is compiled for one batch size per shape of example
and larger or smaller batches go through it in padded parts, so a result does not depend on the
batch that it came in; `reconstruct` is `decode` after `encode`.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.sharding import Mesh

from vqjax.evaluation.kinds import is_classifier, is_prior
from vqjax.training.experiment import Experiment
from vqjax.training.frozen import load_frozen
from vqjax.training.mesh import make_mesh
from vqjax.training.platform import devices_at_hand
from vqjax.training.restore import OpenedRun, open_run
from vqjax.types import DataError, Level, UsageError

if TYPE_CHECKING:
    from vqjax.evaluation.classification import ClassifierRun
    from vqjax.evaluation.prior_run import PriorRun

BATCH = 32  # examples per call of a program
BATCH_VALUES = 32 * 256 * 256 * 3  # fewer examples when they hold more values than this
Tokens = np.ndarray | dict[str, np.ndarray]


def load(
    run: str | os.PathLike,
    *,
    params: str = "auto",
    step: int | None = None,
    trust: Sequence[str] = (),
    frozen: Sequence[str] = (),
) -> "Run | PriorRun | ClassifierRun":
    """Opens a run directory for use: a tokenizer's as a `Run`, a prior's as a `PriorRun`,
    a classifier's as a `ClassifierRun`.

    Args:
        run: RUN, as `vqjax train` wrote it.
        params: "ema" or "raw" parameters; "auto": the averaged ones where the run keeps them.
        step: the sealed step to read; None: the newest sound one.
        trust: modules or files whose classes the run may name beside vqjax's own.
        frozen: "NAME=PATH" where a run or a file that this one builds on has moved.

    Raises:
        DataError: no such run, no sound step in it, or not the tokenizer that a prior is over.
        UsageError: the run names a class that is not trusted, or keeps no such `params`.
    """
    devices_at_hand()  # or what comes first would fail for the lack of them
    one = make_mesh(jax.local_devices()[:1])  # copies on every device would all do the same work
    opened = open_run(
        os.fspath(run),
        params=params,
        step=step,
        trust=tuple(trust),
        frozen=tuple(frozen),
        mesh=one,
    )
    if is_prior(opened.experiment):
        from vqjax.evaluation.prior_run import PriorRun

        return PriorRun(opened, one, load_frozen(opened.experiment, one, tuple(trust)), trust)
    if is_classifier(opened.experiment):
        from vqjax.evaluation.classification import ClassifierRun

        return ClassifierRun(opened, one)
    return Run(opened, one)


def held_out(experiment: Experiment, count: int) -> np.ndarray:
    """The first `count` examples of the eval split, or all there are: [n, *S, C].

    Raises:
        DataError: the data is not at hand.
    """
    experiment.data.check()
    batch = next(iter(experiment.data.eval(count, np.arange(count))))
    if experiment.task.inputs not in batch:
        raise DataError(f"{experiment.data} holds tokens, not the examples themselves")
    return batch[experiment.task.inputs][batch["mask"]]


def as_trained(x_hat: jax.Array, dtype: str) -> jax.Array:
    """x_hat in about [-1, 1] as a run's examples are: uint8, or float32 clipped to [-1, 1]."""
    x_hat = jnp.clip(x_hat.astype(jnp.float32), -1.0, 1.0)
    return jnp.rint((x_hat + 1.0) * 127.5).astype(jnp.uint8) if dtype == "uint8" else x_hat


class Run:
    """A trained tokenizer; made by `load`.

    Attributes:
        path: the run directory.
        experiment: what was trained.
        step: finished updates of the parameters in use.
        params_kind: "ema" or "raw".
        shape: of one training example, (*S, C).
        dtype: "uint8", or "float32" for values in [-1, 1].
        lines: what opening the run had to say, such as a damaged step that was passed over.
    """

    def __init__(self, opened: OpenedRun, mesh: Mesh) -> None:
        task = opened.experiment.network_task()
        spec = opened.inputs[task.inputs]
        self.path: str = str(opened.path)
        self.experiment: Experiment = opened.experiment
        self.step: int = opened.step
        self.params_kind: str = opened.params_kind
        self.lines: list[str] = list(opened.lines)
        self.shape: tuple[int, ...] = tuple(spec.shape)
        self.dtype: str = "uint8" if spec.dtype == "uint8" else "float32"
        self._task = task
        self._variables = (opened.params, opened.collections)
        self._mesh = mesh
        self._encode = jax.jit(self._encode_batch)
        self._decode = jax.jit(self._decode_batch)
        self._sample = jax.jit(self._sample_batch)

    def token_layout(self, shape: Sequence[int] | None = None) -> tuple[Level, ...]:
        """Levels of tokens for one example of `shape` (*S, C); None: the training shape.

        Raises:
            UsageError: the tokenizer's factor does not divide `shape`.
        """
        return self._task.token_layout(self.shape if shape is None else tuple(shape))

    def held_out(self, count: int) -> np.ndarray:
        """The first `count` examples that training never saw, or all there are: [n, *S, C].

        Raises:
            DataError: the data is not at hand.
        """
        return held_out(self.experiment, count)

    def encode(self, images: np.ndarray) -> Tokens:
        """Tokens of `images`.

        Args:
            images: [B, *S, C] of the run's `dtype`; any B, also 0, and any *S that the
                tokenizer's factor divides. (Signals and clips likewise.)

        Returns:
            int32 [B, *grid], in a dict by level name where there are several levels. Without
            indices (no quantizer, or a Gaussian one): the mean latents, float32 [B, *grid, D].

        Raises:
            UsageError: another rank, dtype, number of channels or size.
        """
        images = self._checked_images(images)
        size = self._part_size(images.shape[1:])
        with jax.set_mesh(self._mesh):  # whatever mesh the caller is in: the parameters lie here
            parts = in_parts(lambda x: self._encode(*self._variables, x), (images,), size)
        if isinstance(parts, np.ndarray):
            return parts
        names = [level.name for level in self.token_layout(images.shape[1:])]
        return parts[0] if len(parts) == 1 else dict(zip(names, parts, strict=True))

    def decode(self, indices: Tokens | Mapping[str, np.ndarray]) -> np.ndarray:
        """Examples from what `encode` returned.

        Args:
            indices: int [B, *grid] in [0, codebook_size), in a dict by level name where there
                are several levels; any B, also 0, and any grid. Without indices: mean latents.

        Returns:
            [B, *S, C] of the run's `dtype`, floats clipped to [-1, 1].

        Raises:
            UsageError: missing or unknown levels, another dtype or rank, indices out of range.
        """
        given = self._checked_tokens(indices)
        size = self._part_size(self._decoded_shape(tuple(a.shape[1:] for a in given)))
        with jax.set_mesh(self._mesh):
            return in_parts(lambda *a: self._decode(*self._variables, *a), given, size)

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """`decode(encode(images))`: the examples as their tokens tell them."""
        return self.decode(self.encode(images))

    def sample(self, n: int = 64, seed: int = 0) -> np.ndarray:
        """Draws examples from the prior.

        Args:
            n: how many, at least 0.
            seed: example i is a pure function of (seed, i): more of them begin with the same.

        Returns:
            [n, *S, C] of the run's `dtype` and training shape.

        Raises:
            UsageError: the run has no prior.
        """
        if n < 0 or not 0 <= seed < 2**32:
            raise UsageError(f"n={n}, seed={seed}: wanted n >= 0 and 0 <= seed < 2**32")
        numbers, key = np.arange(n, dtype=np.int32), jax.random.key(seed)
        size = self._part_size(self.shape)
        with jax.set_mesh(self._mesh):
            return in_parts(lambda i: self._sample(*self._variables, key, i), (numbers,), size)

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
        if self._discrete:
            raise UsageError("nothing to interpolate: the latents of this run are discrete")
        if np.shape(a) != np.shape(b) or steps < 2:
            shapes = f"{list(np.shape(a))} and {list(np.shape(b))}"
            raise UsageError(f"{shapes}, steps={steps}: wanted equal shapes and steps >= 2")
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
        return jax.eval_shape(self._decode_batch, *self._variables, *tokens).shape[1:]

    def _part_size(self, shape: Sequence[int]) -> int:
        return max(1, min(BATCH, BATCH_VALUES // max(int(np.prod(shape)), 1)))

    def _encode_batch(self, params: Any, collections: Any, x: jax.Array) -> Any:
        tokens = self._task.encode(params, collections, x)
        if not tokens.indices:
            return tokens.z_q.astype(jnp.float32)
        levels = self._task.token_layout(x.shape[1:])
        return tuple(tokens.indices[level.name] for level in levels)

    def _decode_batch(self, params: Any, collections: Any, *given: jax.Array) -> jax.Array:
        if jnp.issubdtype(given[0].dtype, jnp.floating):
            x_hat = self._task.decode_latents(params, collections, given[0])
        else:
            # A tuple until here: a dict that passes through `jit` comes back with sorted keys.
            names = [level.name for level in self.token_layout()]
            indices = dict(zip(names, given, strict=True))
            x_hat = self._task.decode_indices(params, collections, indices)
        return as_trained(x_hat, self.dtype)

    def _sample_batch(self, params: Any, collections: Any, key: jax.Array, numbers: jax.Array):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
        return as_trained(
            self._task.sample_prior(params, collections, keys, self.shape), self.dtype
        )

    def _checked_images(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        rank = len(self.shape) + 1
        wanted = f"[B, {', '.join(map(str, self.shape))}] (other sizes may do), {self.dtype}"
        if images.ndim == rank - 1:
            raise UsageError(
                f"one example of shape {list(images.shape)} without a batch axis: pass x[None]; "
                f"wanted {wanted}"
            )
        if images.ndim != rank:
            raise UsageError(
                f"an array of {images.ndim} axes {list(images.shape)}: wanted {wanted}"
            )
        if images.shape[-1] != self.shape[-1]:
            raise UsageError(
                f"{images.shape[-1]} channels in {list(images.shape)}: the run was trained on "
                f"{self.shape[-1]}; wanted {wanted}"
            )
        if self.dtype == "uint8" and images.dtype != np.uint8:
            raise UsageError(f"{images.dtype} values: the run was trained on uint8, 0 to 255")
        if self.dtype != "uint8" and not np.issubdtype(images.dtype, np.floating):
            raise UsageError(f"{images.dtype} values: the run was trained on float32 in [-1, 1]")
        self.token_layout(images.shape[1:])  # refuses sizes that the factor does not divide
        return images.astype(self.dtype)

    def _checked_tokens(self, indices: Tokens | Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        levels = self.token_layout()
        if not self._discrete:
            latents = np.asarray(indices)
            if latents.ndim != len(self.shape) + 1 or latents.dtype.kind != "f":
                raise UsageError(
                    f"{latents.dtype} {list(latents.shape)}: this run has no indices; decode takes "
                    "the latents that encode gives, float32 [B, *grid, D]"
                )
            return (latents.astype(np.float32),)
        if not isinstance(indices, Mapping):
            if len(levels) > 1:
                raise UsageError(f"indices of {len(levels)} levels are wanted: {_names(levels)}")
            indices = {levels[0].name: indices}
        if set(indices) != {level.name for level in levels}:
            raise UsageError(f"indices of {', '.join(indices)}: wanted {_names(levels)}")
        given = tuple(_checked_level(np.asarray(indices[v.name]), v) for v in levels)
        if len({len(a) for a in given}) > 1:
            raise UsageError(f"levels with {[len(a) for a in given]} examples: wanted equally many")
        return given


def _names(levels: Sequence[Level]) -> str:
    return "a dict with " + ", ".join(repr(level.name) for level in levels)


def _axes(level: Level) -> str:
    return ", ".join(map(str, level.grid))


def _checked_level(a: np.ndarray, level: Level) -> np.ndarray:
    if a.dtype.kind not in "iu" or a.ndim != len(level.grid) + 1:
        raise UsageError(
            f"indices {level.name!r} are {a.dtype} {list(a.shape)}: "
            f"wanted int32 [B, {_axes(level)}] (other sizes may do)"
        )
    if a.size and not 0 <= a.min() <= a.max() < level.codebook_size:
        raise UsageError(
            f"indices {level.name!r} are {a.min()} to {a.max()}: "
            f"wanted 0 to {level.codebook_size - 1}"
        )
    return a.astype(np.int32)


def in_parts(
    program: Any, arrays: tuple[np.ndarray, ...], size: int, named: str | None = None
) -> Any:
    """Runs `program` over parts of `size` examples, the last one padded with zeros.

    With `named` there is a progress bar, on a terminal only and only where this takes a while.
    """
    count = len(arrays[0])
    results = []
    bar = {"desc": named, "unit": "batch", "delay": 2.0, "disable": None if named else True}
    for first in tqdm.tqdm(range(0, max(count, 1), size), leave=False, **bar):
        part = []
        for a in arrays:
            piece = a[first : first + size]
            padding = np.zeros((size - len(piece), *a.shape[1:]), a.dtype)
            part.append(np.concatenate([piece, padding]))
        kept = min(size, count - first)
        results.append(jax.tree.map(lambda r, n=kept: np.asarray(r)[:n], program(*part)))
    return jax.tree.map(lambda *r: np.concatenate(r), *results)
