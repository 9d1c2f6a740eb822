"""Files of weights, read without torch and without running what they hold.

Three formats, recognized by their first bytes: safetensors; torch's zip archives; and what torch
wrote before version 1.6, three pickles and a fourth of the tensors, followed by their numbers.
"""

import io
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from safetensors import safe_open

from vqjax.features.pickled import MOST_BYTES, Parameter, Refused, Storage, Tensor, read_pickle
from vqjax.types import DataError, VqjaxError

ZIP = b"PK\x03\x04"
PICKLE = b"\x80"
MAGIC = 0x1950A86A20F9469CFC6C  # the first of the pickles before torch 1.6
VERSION = 1001  # the second
MOST_LETTERS = 1 << 24  # of all names together, 16 more for each
DEEPEST = 4  # mappings within mappings, as in {"state_dict": {...}}
DTYPES = {"bfloat16": ml_dtypes.bfloat16}

Numbers = Callable[[Storage], np.ndarray]  # of the storage, one axis
Shapes = Mapping[str, tuple[int, ...]]
Names = Collection[str] | Callable[[Shapes], Collection[str]] | None


def read_weights(path: str | os.PathLike, names: Names = None) -> dict[str, np.ndarray]:
    """The arrays of a file, by name.

    Names within mappings are joined by dots, "state_dict.features.0.weight"; what is neither a
    tensor nor a mapping of them is left out.

    Args:
        path: a file in any of the three formats.
        names: of the arrays to read, or what chooses them from {name: shape}, before any is read;
            None: all.

    Raises:
        DataError: there is no file; it is damaged; it lacks a name; or it asks for code to be run.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(len(ZIP))
            if start == ZIP:
                return _read_zip(path, file, names)
            if start.startswith(PICKLE):
                return _read_legacy(path, file, names)
        return _read_safetensors(path, names)
    except VqjaxError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except Refused as error:
        content = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} holds {content}, which is not read: only tensors are, and no code is run"
        ) from error
    except Exception as error:  # damaged bytes raise anything
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is no sound file of weights: {line[:200]}") from error


def read_exactly(
    path: str | os.PathLike, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The arrays with these names and shapes as float32; others in the file do not matter.

    Raises:
        DataError: see `read_weights`; or another shape, numbers that are not floats, or not finite.
    """
    arrays = read_weights(path, shapes)
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != tuple(shape):
            raise DataError(f"{path}: {name} is {array.shape}, wanted {tuple(shape)}")
        if array.dtype.kind not in "fV":  # bfloat16 is of numpy's kind V
            raise DataError(f"{path}: {name} holds {array.dtype}, wanted floats")
        arrays[name] = array.astype(np.float32)
        if not np.isfinite(arrays[name]).all():
            raise DataError(f"{path}: {name} holds numbers that are not finite")
    return arrays


def _read_safetensors(path: str | os.PathLike, names: Names) -> dict[str, np.ndarray]:
    with safe_open(path, "np") as file:
        names_in = file.keys()
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names_in}
        return {name: file.get_tensor(name) for name in _select(path, shapes, names)}


def _read_zip(path: str | os.PathLike, file: BinaryIO, names: Names) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        # Stored as they are and not twice, so that nothing grows when it is read.
        if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
            raise Refused("compressed entries")
        if sum(e.file_size for e in entries) > _size(file):
            raise Refused("entries larger than the file")
        pickles = [e for e in entries if pathlib.PurePosixPath(e.filename).name == "data.pkl"]
        if len(pickles) != 1:
            raise Refused(f"{len(pickles)} entries data.pkl")
        (entry,) = pickles
        root = entry.filename.removesuffix("data.pkl")
        order = root + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise Refused("numbers in big-endian order")
        if entry.file_size > MOST_BYTES:
            raise Refused(f"a description of {entry.file_size:,} bytes")
        tensors = _flat(read_pickle(io.BytesIO(archive.read(entry))))

        def numbers(storage: Storage) -> np.ndarray:
            return _as_numbers(storage, archive.read(f"{root}data/{storage.key}"))

        return _arrays(path, tensors, names, numbers)


def _read_legacy(path: str | os.PathLike, file: BinaryIO, names: Names) -> dict[str, np.ndarray]:
    file.seek(0)
    stream = io.BytesIO(file.read(MOST_BYTES))
    if read_pickle(stream) != MAGIC or read_pickle(stream) != VERSION:
        raise Refused("a pickle that torch did not write")
    read_pickle(stream)  # the sizes of C's types
    storages: dict[str, Storage] = {}
    tensors = _flat(read_pickle(stream, storages))
    keys = read_pickle(stream)
    starts, start, size = {}, stream.tell(), _size(file)
    for key in keys:
        if type(key) not in (str, int):
            raise Refused(f"a storage's key of type {type(key).__name__}")
        storage = storages[str(key)]
        start += 8  # how many numbers follow, once more
        starts[storage.key] = start
        start += storage.count * np.dtype(DTYPES.get(storage.dtype, storage.dtype)).itemsize
        if start > size:
            raise Refused(f"{size:,} bytes where at least {start:,} belong: it is cut off, or lies")

    def numbers(storage: Storage) -> np.ndarray:
        file.seek(starts[storage.key] - 8)
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count:
            raise Refused(f"a storage of {count:,} numbers where {storage.count:,} belong")
        dtype = np.dtype(DTYPES.get(storage.dtype, storage.dtype))
        return _as_numbers(storage, file.read(count * dtype.itemsize))

    return _arrays(path, tensors, names, numbers)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _as_numbers(storage: Storage, content: bytes) -> np.ndarray:
    dtype = np.dtype(DTYPES.get(storage.dtype, storage.dtype))
    if len(content) != storage.count * dtype.itemsize:
        raise Refused(f"{len(content):,} bytes for {storage.count:,} numbers of {storage.dtype}")
    return np.frombuffer(content, dtype)


def _flat(tree: Any) -> dict[str, Tensor]:
    """Every tensor by the path of names to it."""
    tensors: dict[str, Tensor] = {}
    budget = MOST_LETTERS

    def visit(value: Any, path: str, depth: int) -> None:
        nonlocal budget
        budget -= 16 + len(path)
        if depth > DEEPEST or budget < 0:
            raise Refused("too many mappings within mappings, or too long names")
        if isinstance(value, Parameter) and value.tensor is not None:
            tensors[path] = value.tensor
        elif isinstance(value, Tensor):
            tensors[path] = value
        elif isinstance(value, dict):
            for key, child in value.items():
                visit(child, f"{path}.{key}" if path else str(key), depth + 1)

    visit(tree, "", 0)
    if not isinstance(tree, dict):
        raise Refused(f"{type(tree).__name__} where a mapping of tensors belongs")
    return tensors


def _arrays(
    path: str | os.PathLike,
    tensors: Mapping[str, Tensor],
    names: Names,
    numbers: Numbers,
) -> dict[str, np.ndarray]:
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return {
        name: _array(tensors[name], numbers(tensors[name].storage))
        for name in _select(path, shapes, names)
    }


def _array(tensor: Tensor, numbers: np.ndarray) -> np.ndarray:
    """The tensor's own numbers, in C order."""
    shape, strides = tensor.shape, tensor.strides
    size = math.prod(shape)
    last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if size > len(numbers) or (size and last >= len(numbers)):
        raise Refused(
            f"a tensor of shape {shape} with strides {strides} at {tensor.offset} in a storage of "
            f"{len(numbers):,} numbers"
        )
    if not size:
        return np.zeros(shape, numbers.dtype)
    steps = tuple(s * numbers.itemsize for s in strides)
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], shape, steps, writeable=False)
    return np.array(view, order="C")


def _select(path: str | os.PathLike, shapes: Shapes, names: Names) -> list[str]:
    present = list(shapes)
    if names is None:
        return present
    if callable(names):
        names = names(shapes)
    for name in names:
        if name not in present:
            near = get_close_matches(name, present, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"{path} has no array {name!r}: {hint}(it has {len(present)} others)")
    return list(names)
