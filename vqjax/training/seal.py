"""Seals: what makes `checkpoints/<step>/` a finished step of one run.

Orbax alone loads a flipped bit as wrong numbers, takes an empty folder for the newest step, and
does not know whose arrays they are. So a step counts only with a `seal.json` in it: the sha256 of
every file, the shape and dtype of every array, the run's id and a digest of the experiment. It is
written when all of them are on disk and read back.
"""

import collections
import dataclasses
import fnmatch
import hashlib
import json
import math
import os
import pathlib
import stat
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from vqjax.training.journal import write_whole
from vqjax.types import DataError, Tree

STATE = "state"
SEAL = "seal.json"
# Files that Orbax reads by name wherever they come from: they must be in the seal.
READ_BY_NAME = (f"{STATE}/_*", f"{STATE}/checkpoint", f"{STATE}/array_metadatas/process_*")
ZARRAY = b"/.zarray"  # ends the key of an array's shape and dtype


@dataclasses.dataclass(frozen=True)
class Owner:
    """The run whose steps are read or written.

    Attributes:
        run: its id; None: of a run whose record has none.
        experiment: digest of the experiment.
        earlier: {digest of an earlier experiment of this run: the changes since}.
    """

    run: str | None
    experiment: str
    earlier: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def sealed_steps(directory: str | os.PathLike) -> list[int]:
    """Steps under `directory` (RUN/checkpoints) that carry a seal, in increasing order.

    Raises:
        DataError: the directory cannot be read.
    """
    root = pathlib.Path(directory)
    return [n for n in steps_in(root) if file_type(root / str(n) / SEAL) in (stat.S_IFREG, None)]


def steps_in(root: pathlib.Path) -> list[int]:
    """Steps that have a folder, in increasing order.

    Raises:
        DataError: `root` is no directory, or cannot be read.
    """
    if file_type(root) == 0:
        return []
    try:
        return sorted(int(p.name) for p in root.iterdir() if is_step(p))
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror}") from error


def is_step(folder: pathlib.Path) -> bool:
    """Whether the name is that of a step's folder."""
    name = folder.name
    return name.isdecimal() and name.isascii() and name == str(int(name[:18]))


def file_type(path: pathlib.Path) -> int | None:
    """`stat.S_IFREG` and the like; 0: nothing there; None: unknown."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError:
        return None


def seal_of(directory: str | os.PathLike, step: int) -> str:
    """The sha256 of a step's seal: it changes when any of the step's files does.

    Raises:
        DataError: it cannot be read.
    """
    path = pathlib.Path(directory) / str(step) / SEAL
    try:
        return sha256(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def verify(folder: pathlib.Path) -> str | None:
    """What is wrong with a sealed step, in a few words, or None."""
    seal = read_seal(folder)
    if seal is None:
        return f"{SEAL} cannot be read"
    step, files, arrays = seal["step"], seal["files"], seal["arrays"]
    if seal.get("self") != _digest(step, files, arrays):
        return f"{SEAL} is damaged"
    owner = seal.get("owner")
    if owner is not None and owner.get("self") != _digest(
        seal["self"], owner.get("run"), owner.get("experiment")
    ):
        return f"{SEAL} is damaged"
    if str(step) != folder.name:
        return f"{SEAL} is that of step {step}"
    name = STATE
    try:
        for name, digest in files.items():
            if sha256(folder / name) != digest:
                return f"{name} differs from its seal"
        for name in _files(folder):
            if name not in files and any(fnmatch.fnmatchcase(name, p) for p in READ_BY_NAME):
                return f"{name} is not in its seal"
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is missing"
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        return f"{name} cannot be read ({getattr(error, 'strerror', error)})"
    return None


def read_seal(folder: pathlib.Path) -> dict[str, Any] | None:
    """A step's seal, whose values have the right types; None where it cannot be read as one."""
    path = folder / SEAL
    try:
        seal = json.loads(path.read_text()) if file_type(path) == stat.S_IFREG else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(seal, dict) or not {"step", "files", "arrays"} <= seal.keys():
        return None
    mappings = (seal["files"], seal["arrays"], seal.get("owner", {}))
    return seal if all(isinstance(value, dict) for value in mappings) else None


def mismatch(folder: pathlib.Path, owner: Owner) -> str | None:
    """Why a sound step does not belong to `owner`, in a few words, or None.

    Raises:
        DataError: it does, but to an experiment that the run never had.
    """
    sealed = (read_seal(folder) or {}).get("owner")
    if sealed is None:
        return None
    run, experiment = sealed.get("run"), sealed.get("experiment")
    if None not in (owner.run, run) and owner.run != run:
        return f"it belongs to run {str(run)[:8]}; this one is {owner.run[:8]}"
    if experiment not in (owner.experiment, *owner.earlier):
        raise DataError(
            f"{folder} was sealed under another experiment than experiment.json has: the record "
            "was changed by hand or comes from elsewhere; put the old one back"
        )
    return None


def caveat(folder: pathlib.Path, owner: Owner) -> str | None:
    """A caveat on the settings under which a step of `owner` was sealed, or None."""
    sealed = (read_seal(folder) or {}).get("owner")
    if sealed is None:
        return (
            f"checkpoint {folder.name} was sealed by an earlier vqjax and names neither run nor "
            "settings: experiment.json is trusted"
        )
    experiment = sealed.get("experiment")
    changes = owner.earlier.get(experiment, ())
    if experiment == owner.experiment or not changes:
        return None
    return f"checkpoint {folder.name} was made before these changes: {'; '.join(changes)}"


def write_seal(folder: pathlib.Path, arrays: dict, stored: dict, owner: Owner | None) -> None:
    """Reads back what is in `folder`, then seals it.

    Args:
        arrays: from `describe`.
        stored: from `as_stored`.
        owner: the run of the step.

    Raises:
        DataError: what is on disk is not what was saved.
    """
    read_back(folder / STATE, stored)
    files = {name: sha256(folder / name) for name in _files(folder)}
    step = int(folder.name)
    seal = {"step": step, "self": _digest(step, files, arrays), "files": files, "arrays": arrays}
    if owner is not None:
        proof = _digest(seal["self"], owner.run, owner.experiment)
        seal["owner"] = {"run": owner.run, "experiment": owner.experiment, "self": proof}
    write_whole(folder / SEAL, json.dumps(seal))


def read_back(state: pathlib.Path, stored: Mapping[str, int]) -> None:
    """Compares the arrays on disk with those that were saved: the number of each shape and dtype,
    and whether all chunks are there. Their values are not read.

    Raises:
        DataError: some are missing or different.
    """
    base = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}}
    try:
        store = tensorstore.KvStore.open(base).result()
        keys = store.list().result()
        names = [key.removesuffix(ZARRAY) for key in keys if key.endswith(ZARRAY)]
        texts = [store.read(name + ZARRAY) for name in names]
        metadata = [json.loads(text.result().value) for text in texts]
    except ValueError as error:  # the class of all of tensorstore's errors
        raise DataError(f"{state} does not read back: {str(error)[:200]}") from error
    if not names:  # nothing there, or stored in another format than today's Orbax
        return _read_back_by_orbax(state, stored)
    entries = collections.Counter(key.rpartition(b"/")[0] for key in keys)
    counts: collections.Counter[str] = collections.Counter()
    for name, array in zip(names, metadata, strict=True):
        chunks = zip(array["shape"], array["chunks"], strict=True)
        if entries[name] != 1 + math.prod(-(-size // chunk) for size, chunk in chunks):
            raise DataError(f"{state} does not read back: parts of {name.decode()} are missing")
        counts[_leaf(array["shape"], np.dtype(array["dtype"]))] += 1
    _check_same(state, counts, stored)


def _read_back_by_orbax(state: pathlib.Path, stored: Mapping[str, int]) -> None:
    try:
        tree = ocp.StandardCheckpointHandler().metadata(state)
    except Exception as error:
        raise DataError(f"{state} does not read back: {str(error)[:200]}") from error
    leaves = jax.tree.leaves(getattr(tree, "tree", tree), is_leaf=lambda v: hasattr(v, "shape"))
    _check_same(state, collections.Counter(_leaf(v.shape, v.dtype) for v in leaves), stored)


def _check_same(state: pathlib.Path, counts: Mapping[str, int], stored: Mapping[str, int]) -> None:
    for leaf in sorted({*counts, *stored}):
        have, expected = counts.get(leaf, 0), stored.get(leaf, 0)
        if have != expected:
            raise DataError(f"{state} does not read back: {have} of {expected} arrays {leaf}")


def describe(tree: Tree) -> dict[str, list]:
    """{path of an array in the tree: [shape, dtype]}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p): [list(x.shape), str(x.dtype)] for p, x in leaves}


def as_stored(tree: Tree) -> dict[str, int]:
    """The number of arrays of each shape and dtype that Orbax writes; a key becomes its words."""
    leaves = [_key_data(x) if _is_key(x) else x for x in jax.tree.leaves(tree)]
    return dict(collections.Counter(_leaf(x.shape, x.dtype) for x in leaves))


def _is_key(array: jax.Array) -> bool:
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def _key_data(key: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(jax.random.key_data, key)


def _leaf(shape: Any, dtype: Any) -> str:
    return f"{np.dtype(dtype).name}{list(map(int, shape))}"


def _files(folder: pathlib.Path) -> list[str]:
    """A step's plain files, by their paths below `folder`."""
    paths = (folder / STATE).rglob("*")
    return sorted(p.relative_to(folder).as_posix() for p in paths if p.is_file())


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(list(values), sort_keys=True).encode()).hexdigest()


def sha256(path: pathlib.Path) -> str:
    """Of a plain file's content.

    Raises:
        OSError: it cannot be read, or is a folder, a pipe or a device.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(21, "Is a directory")
    if kind != stat.S_IFREG:  # opening a pipe would block
        raise OSError(22, "not a plain file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
