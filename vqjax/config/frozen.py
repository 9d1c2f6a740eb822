"""What an experiment builds on and does not train, as plain data: finished runs, files of weights.

An object of the experiment that needs arrays out of files, such as a loss, is their owner. It has
them as fields of the class `WeightFile`, and offers

    sources                {field: where to get the file, a text for people}
    frozen_shapes()        the shapes of the arrays, without the files
    read_frozen()          the arrays
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from vqjax.config.annotations import check_fields
from vqjax.config.tree import children, join, rebuild
from vqjax.types import ArraySpec, UsageError, did_you_mean


@dataclasses.dataclass(frozen=True)
class FrozenRun:
    """A trained run whose networks are used and not trained.

    Attributes:
        path: the run directory, or a pack, which may be hf://ORG/NAME@REVISION.
        experiment: stands in for the run's own where only shapes are needed and no run is there.
        inputs: specs of its examples, recorded once the run was there; None: unknown.
        command: what trains the run, printed when it is missing.
        step: the sealed step to use; None: the newest, which the first start then records.
        seal: that step's seal; None like `step`.
    """

    path: str
    experiment: Any = None
    command: str | None = None
    step: int | None = None
    seal: str | None = None
    inputs: Mapping[str, ArraySpec] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """A file of trained weights, a field of the object that uses them.

    Attributes:
        path: safetensors, or torch's .pt or .pth.
        sha256: of the file; None: as it is at the first start, which records it.
    """

    path: str
    sha256: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def find_frozen(tree: Any) -> dict[str, FrozenRun]:
    """All frozen runs by path, but those inside a frozen run's own experiment."""
    return {path: v for path, v in _walk(tree) if isinstance(v, FrozenRun)}


def find_files(tree: Any) -> dict[str, WeightFile]:
    """All files of weights by path, but those of frozen runs."""
    return {path: v for path, v in _walk(tree) if isinstance(v, WeightFile)}


def find_owners(tree: Any) -> dict[str, Any]:
    """The objects that need arrays out of files, by path, but those of frozen runs."""
    return {path: v for path, v in _walk(tree) if hasattr(v, "read_frozen")}


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All (path, value) pairs of the tree, none from inside a frozen run."""
    yield path, value
    if not isinstance(value, FrozenRun):
        for name, child in children(value).items():
            yield from _walk(child, join(path, name))


def frozen_path(tree: Any, key: str) -> str:
    """The path of the frozen run or file that `key`, a whole path or its last name, means.

    Raises:
        UsageError: none has that name, or several have.
    """
    paths = [*find_frozen(tree), *find_files(tree)]
    matches = [p for p in paths if p == key] or [p for p in paths if p.split(".")[-1] == key]
    if not matches:
        raise UsageError(f"nothing frozen {key!r} in the experiment: {did_you_mean(key, paths)}")
    if len(matches) > 1:
        raise UsageError(f"{key!r} can mean {' and '.join(matches)}: give the path")
    return matches[0]


def with_frozen(tree: Any, key: str, new: FrozenRun | WeightFile) -> Any:
    """The tree with `new` for what `key` means (`frozen_path`)."""
    return _replace(tree, tuple(frozen_path(tree, key).split(".")), new)


def apply_frozen(tree: Any, item: str) -> Any:
    """Applies one `--frozen NAME=PATH`: that frozen run or file is now found at PATH."""
    key, equals, path = item.partition("=")
    if not (key and equals and path):
        raise UsageError(f"--frozen {item}: give NAME=PATH")
    old = {**find_frozen(tree), **find_files(tree)}[frozen_path(tree, key)]
    return with_frozen(tree, key, dataclasses.replace(old, path=path))


def _replace(value: Any, names: tuple[str, ...], new: Any) -> Any:
    if not names:
        return new
    below = children(value)
    below[names[0]] = _replace(below[names[0]], names[1:], new)
    return rebuild(value, below)
