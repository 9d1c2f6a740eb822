"""Token sets: what `vqjax tokenize` wrote, read back as examples.

A folder holds `tokens.json`, and for every array of every split numbered shards of rows, such as
`train/label.00003.npy`. A shard is there whole or not at all.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.arrays import ArraySplit
from vqjax.data.source import Split, SplitSource
from vqjax.files import read_text
from vqjax.paths import as_path
from vqjax.types import ArraySpec, DataError, UsageError, did_you_mean

__all__ = ["TokenSet"]

DESCRIPTION = "tokens.json"
_PARTS = ("train", "eval")


def shard_path(folder: pathlib.Path, part: str, name: str, number: int) -> pathlib.Path:
    """Where rows of one array of one split lie."""
    return folder / part / f"{name}.{number:05d}.npy"


def write_shard(folder: pathlib.Path, part: str, number: int, arrays: Mapping[str, Any]) -> None:
    """Writes one shard of every array."""
    for name in arrays:
        path = shard_path(folder, part, name, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.save(file, arrays[name], allow_pickle=False)
        os.replace(temporary, path)


def read_description(folder: pathlib.Path) -> dict[str, Any]:
    """The description of a token set.

    Raises:
        DataError: no token set, or its description cannot be read.
    """
    path = folder / DESCRIPTION
    if not os.path.lexists(path):
        raise DataError(
            f"{folder} is not a token set: make it by `vqjax tokenize RUN --out {folder}`"
        )
    try:
        content = json.loads(read_text(path))
        parts = {part: int(content["examples"][part]) for part in _PARTS}
        specs = {
            str(k): ArraySpec.of_json({**v, "dtype": np.dtype(v["dtype"])})
            for k, v in content["arrays"].items()
        }
        levels = [str(level["name"]) for level in content["levels"]]
        makers = content["tokenizers"] if "tokenizers" in content else [content["tokenizer"]]
        run, seals = str(makers[0]["run"]), tuple(str(maker["seal"]) for maker in makers)
        shard = int(content["shard"])
        classes = {
            str(name): tuple(map(str, names)) for name, names in content.get("classes", {}).items()
        }
        if shard < 1 or min(parts.values()) < 0:
            raise ValueError(f"{parts} examples in shards of {shard}")
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    return {
        "examples": parts,
        "arrays": specs,
        "levels": levels,
        "classes": classes,
        "run": run,
        "seals": seals,
        "shard": shard,
    }


@dataclasses.dataclass(frozen=True)
class TokenSet(SplitSource):
    """The tokens of a data set, with whatever else its examples had but the inputs themselves.

    Batches hold int32[b, *grid] by the names of the tokenizer's levels. Order and epochs are those
    of the data set that was tokenized: step n sees the same examples. Of sound these are whole
    clips, of "length" samples: what follows are tokens of silence.

    Attributes:
        path: the folder that `vqjax tokenize` wrote.
    """

    path: str

    def __post_init__(self) -> None:
        check_fields(self)

    @functools.cached_property
    def _description(self) -> dict[str, Any]:
        return read_description(self._folder)

    @property
    def _folder(self) -> pathlib.Path:
        return as_path(self.path, "TokenSet.path")

    @property
    def seals(self) -> tuple[str, ...]:
        """Seals of the steps of its tokenizers."""
        return self._description["seals"]

    def class_names(self, name: str) -> tuple[str, ...]:
        """The names of the classes 0, 1, ... of the array `name`.

        Raises:
            UsageError: the data set that was tokenized had none.
        """
        classes = self._description["classes"]
        if name not in classes:
            hint = did_you_mean(name, classes)
            raise UsageError(f"{self.path} has no names of classes {name!r}: {hint}")
        return classes[name]

    def _open(self, part: str) -> Split:
        info, folder = self._description, self._folder
        num, shard = info["examples"][part], info["shard"]
        numbers = range(-(-num // shard))
        for name in info["arrays"]:
            for number in numbers:
                if not shard_path(folder, part, name, number).is_file():
                    raise DataError(
                        f"{folder} is not finished: `vqjax tokenize {info['run']} --out {folder}` "
                        "goes on with it"
                    )
        specs = {
            name: dataclasses.replace(spec, dtype="int32") if name in info["levels"] else spec
            for name, spec in info["arrays"].items()
        }

        def load() -> dict[str, np.ndarray]:
            arrays = {}
            for name, spec in specs.items():
                paths = [shard_path(folder, part, name, number) for number in numbers]
                rows = np.concatenate([_read(path) for path in paths])
                if rows.shape != (num, *spec.shape):
                    raise DataError(f"{folder}: {part}/{name} is {rows.shape}, not as described")
                arrays[name] = rows.astype(spec.dtype, copy=False)
            return arrays

        return ArraySplit(num, specs, load, ())


def _read(path: pathlib.Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
