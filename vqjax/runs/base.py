"""What every opened run has: what it is, its examples, and the process that it lives in."""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import tqdm
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from vqjax import arguments
from vqjax.files import GENERATOR, check_output, write_output
from vqjax.paths import as_path
from vqjax.training.experiment import Experiment
from vqjax.training.platform import own_defaults
from vqjax.training.restore import OpenedRun
from vqjax.types import DataError, Tree, UsageError

HELD_OUT_BATCH = 256  # examples read at a time
_first_opened: list[int] = []  # the process in which the first run was opened


def check_process(opened_in: Sequence[int]) -> None:
    """Refuses, with UsageError, to work in a fork of the process where a run was opened.

    JAX's threads do not live through a fork: the first program would wait for ever.

    Args:
        opened_in: that process's id; empty: none was opened yet.
    """
    here = os.getpid()
    if opened_in and here != opened_in[0]:
        raise UsageError(
            f"process {here} is a fork of {opened_in[0]}, where a run was opened, and JAX does not "
            "live through a fork: start processes by multiprocessing.get_context('spawn') and "
            "vqjax.load the run in each"
        )


def begin_process() -> None:
    """`check_process` for the first run that is opened and for all later ones."""
    check_process(_first_opened)
    if not _first_opened:
        _first_opened.append(os.getpid())


def held_out(experiment: Experiment, count: int) -> np.ndarray:
    """The first `count` examples of the eval split, or all there are: [n, *S, C].

    Reads no more than these. Floats become float32 in [-1, 1]: training also takes what is a little
    beyond.

    Raises:
        DataError: the data is not at hand, or has no such examples.
        UsageError: `count` is no whole number of at least 0, or more than memory has room for.
    """
    count = arguments.whole("count", count, least=0)
    data, inputs = experiment.data, experiment.task.inputs
    data.check()
    count = min(count, data.num_eval() if hasattr(data, "num_eval") else arguments.MOST_COUNT)
    spec = data.example_spec().get(inputs)
    if spec is not None:
        each = int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
        arguments.check_room(f"count={count}", count * each)
    size = max(1, min(count, HELD_OUT_BATCH))
    found, left = [], count
    for batch in data.eval(size, np.arange(size)):
        if inputs not in batch:
            raise DataError(f"{experiment.data} holds tokens, not the examples themselves")
        found.append(batch[inputs][batch["mask"]][:left])
        left -= len(found[-1])
        if left <= 0:
            break
    if not found:
        raise DataError(f"the eval split of {type(data).__name__} is empty")
    examples = found[0] if len(found) == 1 else np.concatenate(found)
    if jax.dtypes.issubdtype(examples.dtype, np.floating):
        return np.clip(examples.astype(np.float32), -1, 1)
    return examples


def as_trained(x_hat: jax.Array, dtype: str) -> jax.Array:
    """x_hat in about [-1, 1] as a run's examples are: uint8, or float32 clipped to [-1, 1]."""
    x_hat = jnp.clip(x_hat.astype(jnp.float32), -1.0, 1.0)
    return jnp.rint((x_hat + 1.0) * 127.5).astype(jnp.uint8) if dtype == "uint8" else x_hat


class TrainedRun:
    """Base of what `vqjax.load` returns.

    Attributes:
        path: the run directory.
        experiment: what was trained.
        step: finished updates of the parameters in use.
        params_kind: "ema" or "raw".
        lines: what opening the run had to say, such as a damaged step that was passed over.
        module: the network, a Linen module; of a prior over the levels of its tokens.
        params: its parameters, {name: ... array}.
        collections: what it holds beside them, such as a moving codebook: {collection: tree}.
    """

    def __init__(self, opened: OpenedRun, mesh: Mesh, module: nn.Module, player: str) -> None:
        self.path: str = str(opened.path)
        self.experiment: Experiment = opened.experiment
        self.step: int = opened.step
        self.params_kind: str = opened.params_kind
        self.lines: list[str] = list(opened.lines)
        self.module, self.params = module, opened.params[player]
        self.collections: Tree = opened.collections[player]
        self._mesh, self._process = mesh, os.getpid()

    def apply(self, params: Tree, *args: Any, method: str | None = None, **keywords: Any) -> Any:
        """The network as a pure function, for a `jit` or a gradient of your own.

            loss = jax.jit(lambda params, x: run.apply(params, x, method="latents").sum())
            loss(run.params, x)

        Arrays go in and come out as the module has them: examples are floats in [-1, 1]
        (`vqjax.tasks.normalize` makes them of uint8), without padding or checks.

        Args:
            params: `run.params`, or others of these shapes.
            args: of the method.
            method: of `run.module`, by name; None: its call.
            keywords: likewise, or `rngs` and `mutable` of Linen's `apply`.
        """
        self._check_process()
        variables = {"params": params, **self.collections}
        with own_defaults(self.experiment.compute_dtype):
            return self.module.apply(variables, *args, method=method, **keywords)

    def save_weights(self, path: str | os.PathLike, *, overwrite: bool = False) -> None:
        """Writes the network's arrays as safetensors, without the optimizer's and without an
        adversary: "params/decoder/to_output/kernel", "codebook/quantizer/sums", ...

        `flax.traverse_util.unflatten_dict(safetensors.numpy.load_file(path), sep="/")` is what
        `run.module.apply` takes.

        Args:
            path: of the file; its folder is made.
            overwrite: whether a file that no run was saved to may be replaced.

        Raises:
            UsageError: it cannot be written, or is somebody else's file.
            DataError: the disk is full, or fails.
        """
        self._check_process()
        path = as_path(arguments.path("path", path, "a file"), "path")
        arguments.instance("overwrite", overwrite, bool, "True")
        check_output(path, overwrite=overwrite, option="overwrite=True")
        flat = flatten_dict({"params": self.params, **self.collections}, sep="/")
        arrays = {name: np.asarray(array) for name, array in flat.items()}
        said = {"generator": GENERATOR, "step": str(self.step), "parameters": self.params_kind}
        write_output(path, safetensors.numpy.save(arrays, said), overwrite=overwrite)

    def held_out(self, count: int) -> np.ndarray:
        """The first `count` examples that training never saw, or all there are: [n, *S, C], floats
        clipped to [-1, 1].

        Raises:
            DataError: the data is not at hand.
            UsageError: `count` is no whole number of at least 0, or more than memory has room for.
        """
        self._check_process()
        return held_out(self.experiment, count)

    def _check_process(self) -> None:
        check_process((self._process,))

    @contextlib.contextmanager
    def _at_home(self) -> Iterator[None]:
        """Within `with`, whatever the caller has set, the mesh is the one where the parameters lie
        and JAX's defaults are those of training.
        """
        with jax.set_mesh(self._mesh), own_defaults(self.experiment.compute_dtype):
            yield

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise UsageError(
            "an opened run cannot be pickled or copied: hand its path on, and "
            f"vqjax.load({self.path!r}, step={self.step}) where it is used"
        )


def checked_count(n: Any, shape: Sequence[int], dtype: str) -> int:
    """`n` examples of `shape` and `dtype` to draw.

    Raises:
        UsageError: `n` is no whole number of at least 0, or more than memory has room for.
    """
    n = arguments.whole("n", n, least=0, most=arguments.MOST_COUNT)
    arguments.check_room(f"n={n}", n * math.prod(shape) * np.dtype(dtype).itemsize)
    return n


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
