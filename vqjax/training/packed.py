"""Packs: a run's networks as a folder to give away, which opens like the run.

experiment.json      the record
model.safetensors    the arrays, as `run.save_weights` writes them
seal.json            the sha256 of both
frozen/NAME/         the same of each run that it builds on
README.md            for people; not sealed, so that it can be edited
"""

import dataclasses
import itertools
import json
import pathlib
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from vqjax import config
from vqjax.files import GENERATOR, json_text
from vqjax.training import seal
from vqjax.training.experiment import Experiment
from vqjax.training.journal import unwritable, write_whole
from vqjax.training.record import RECORD, ExperimentRecord, is_pack, write_record
from vqjax.training.state import TrainState
from vqjax.types import DataError, Tree, UsageError

MODEL, FROZEN = "model.safetensors", "frozen"
SEALED = (RECORD, MODEL)
DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
MOST_SEAL = 1 << 16  # bytes


class Read(NamedTuple):
    """Parameters and collections of a pack's network, its step, and "ema" or "raw"."""

    params: Tree
    collections: Tree
    step: int
    kind: str


def step_of(run: pathlib.Path) -> int:
    """The step whose parameters a pack holds.

    Raises:
        DataError: it cannot be read.
    """
    return _header(run)[0]


def sealed_steps(run: pathlib.Path) -> list[int]:
    """Steps of a run or pack that can be opened; see `seal.sealed_steps`."""
    return [step_of(run)] if is_pack(run) else seal.sealed_steps(run / "checkpoints")


def seal_of(run: pathlib.Path, step: int) -> str:
    """The sha256 of the seal of a run's step, or of a pack; see `seal.seal_of`."""
    if not is_pack(run):
        return seal.seal_of(run / "checkpoints", step)
    try:
        return seal.sha256(run / seal.SEAL)
    except OSError as error:
        raise DataError(f"{run / seal.SEAL} cannot be read: {error.strerror}") from error


def network_player(experiment: Experiment) -> str:
    """The player whose network is that of the run."""
    task = experiment.network_task()
    return next(iter(task.averaged or task.players))


def verify(run: pathlib.Path) -> None:
    """Compares a pack's files with its seal.

    Raises:
        DataError: one differs, is missing or is no plain file; the line names it.
    """
    path = run / seal.SEAL
    try:
        if path.stat().st_size > MOST_SEAL:
            raise ValueError
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        if not isinstance(files, dict):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is no seal of a pack") from error
    for name in SEALED:
        if name not in files:
            raise DataError(f"{path} does not name {name}")
        try:
            same = seal.sha256(run / name) == files[name]
        except OSError as error:
            raise DataError(f"{run / name} cannot be read: {error.strerror}") from error
        if not same:
            raise DataError(f"{run / name} differs from its seal: it is damaged or was changed")


def read_pack(
    run: pathlib.Path, target: TrainState, player: str, step: int | None, params: str
) -> Read:
    """The arrays of a pack.

    Args:
        target: shapes, dtypes and shardings of the run's whole state.
        player: whose network it is.
        step: the one that is wanted; None: whichever it holds.
        params: "ema", "raw" or "auto".

    Raises:
        DataError: it is damaged, holds another step or another model.
        UsageError: it holds parameters of another kind.
    """
    verify(run)
    found, kind, arrays = _header(run, read=True)
    if step not in (None, found):
        raise DataError(f"{run} holds step {found}, not {step}")
    if params not in ("auto", kind):
        raise UsageError(f"{run} is a pack of {kind} parameters alone, not of {params} ones")
    wanted = flatten_dict({"params": target.params[player], **target.collections[player]}, sep="/")
    differences = [f"{name} is missing" for name in wanted if name not in arrays]
    differences += [f"{name} is not expected" for name in arrays if name not in wanted]
    differences += [
        f"{name} is {arrays[name].dtype}{list(arrays[name].shape)}, wanted {spec.dtype}"
        f"{list(spec.shape)}"
        for name, spec in wanted.items()
        if name in arrays and not _fits(arrays[name], spec)
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise DataError(f"{run / MODEL} holds another model: {'; '.join(differences[:3])}{more}")
    placed = {name: _placed(arrays[name], spec) for name, spec in wanted.items()}
    tree = unflatten_dict(placed, sep="/")
    return Read(tree.pop("params"), tree, found, kind)


def _fits(array: np.ndarray, spec: jax.ShapeDtypeStruct) -> bool:
    """Whether an array can be used: floats may be of another width."""
    floats = all(jnp.issubdtype(dtype, jnp.floating) for dtype in (array.dtype, spec.dtype))
    return array.shape == spec.shape and (floats or array.dtype == spec.dtype)


def _placed(array: np.ndarray, spec: jax.ShapeDtypeStruct) -> jax.Array:
    """An array that every process has, as a global one."""
    array = array.astype(spec.dtype)
    return jax.make_array_from_callback(spec.shape, spec.sharding, lambda index: array[index])


def _header(run: pathlib.Path, read: bool = False) -> Any:
    """(step, "ema" or "raw") of a pack, and with `read` its arrays, {name: array}."""
    path = run / MODEL
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is no plain file")
        with safetensors.safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            step, kind = int(metadata["step"]), metadata["parameters"]
            if step < 0 or kind not in ("ema", "raw"):
                raise ValueError(f"step {step}, parameters {kind}")
            if not read:
                return step, kind
            names = file.keys()
            return step, kind, {name: file.get_tensor(name) for name in names}
    except DataError:
        raise
    except Exception as error:  # damaged bytes raise anything
        line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{path} is no model of a pack: {line}") from error


@dataclasses.dataclass(frozen=True)
class Contents:
    """What becomes a pack.

    Attributes:
        record: of the run.
        arrays: {"params/...": array}, and those of its other variables.
        step: of the parameters.
        kind: "ema" or "raw".
        frozen: by path in the experiment, the runs that it builds on.
    """

    record: ExperimentRecord
    arrays: Mapping[str, np.ndarray]
    step: int
    kind: str
    frozen: Mapping[str, "Contents"]


def _place(folder: pathlib.Path, run: str) -> pathlib.Path:
    """Where a run goes below a pack, by its name."""
    name = pathlib.PurePath(run).name
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(place for n in names if not (folder / (place := pathlib.Path(FROZEN) / n)).exists())


def contents_of(
    record: ExperimentRecord,
    params: Tree,
    collections: Tree,
    step: int,
    kind: str,
    frozen: Mapping[str, Contents],
) -> Contents:
    """Of an opened run's network."""
    flat = flatten_dict({"params": params, **collections}, sep="/")
    arrays = {name: np.asarray(array) for name, array in flat.items()}
    return Contents(record, arrays, step, kind, frozen)


def write_pack(folder: pathlib.Path, contents: Contents, dtype: str = "float32") -> None:
    """Writes a pack.

    Args:
        folder: made where it is missing.
        dtype: of its floating-point numbers, "float32" or "bfloat16".

    Raises:
        UsageError: it cannot be written.
        DataError: the disk is full, or fails.
    """
    record, experiment = contents.record, contents.record.experiment
    for path, below in contents.frozen.items():
        place = _place(folder, config.find_frozen(experiment)[path].path)
        write_pack(folder / place, below, dtype)
        own = config.find_frozen(experiment)[path]
        experiment = config.with_frozen(
            experiment,
            path,
            dataclasses.replace(
                own,
                path=place.as_posix(),
                step=below.step,
                seal=seal_of(folder / place, below.step),
            ),
        )
    write_record(folder, dataclasses.replace(record, experiment=experiment, replaced=()))
    arrays = {
        name: array.astype(DTYPES[dtype]) if array.dtype == np.float32 else array
        for name, array in contents.arrays.items()
    }
    metadata = {
        "generator": GENERATOR, "step": str(contents.step), "parameters": contents.kind,
    }  # fmt: skip
    try:
        (folder / MODEL).write_bytes(safetensors.numpy.save(arrays, metadata))
        files = {name: seal.sha256(folder / name) for name in SEALED}
        write_whole(folder / seal.SEAL, json_text({"generator": GENERATOR, "files": files}) + "\n")
    except OSError as error:
        raise unwritable(folder, error) from error
