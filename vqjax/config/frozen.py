"""`FrozenRun`: a finished run that another experiment builds on, as plain data."""

import dataclasses
from typing import Any

from vqjax.config.tree import children, join, rebuild
from vqjax.types import UsageError, did_you_mean


@dataclasses.dataclass(frozen=True)
class FrozenRun:
    """A trained run whose networks are used and not trained.

    Attributes:
        path: the run directory.
        experiment: stands in for the run's own where only shapes are needed and no run is there.
        command: what makes the run, printed when it is not there.
        step: the sealed step to use; None: the newest, which the first start then records.
        seal: that step's seal; None like `step`.
    """

    path: str
    experiment: Any = None
    command: str | None = None
    step: int | None = None
    seal: str | None = None


def find_frozen(tree: Any) -> dict[str, FrozenRun]:
    """All frozen runs by path; those inside a frozen run's own experiment are its own affair."""
    found: dict[str, FrozenRun] = {}

    def visit(value: Any, path: str) -> None:
        if isinstance(value, FrozenRun):
            found[path] = value
            return
        for name, child in children(value).items():
            visit(child, join(path, name))

    visit(tree, "")
    return found


def frozen_path(tree: Any, key: str) -> str:
    """The path of the frozen run that `key`, a whole path or its last name, means.

    Raises:
        UsageError: no frozen run or several have that name.
    """
    paths = list(find_frozen(tree))
    matches = [p for p in paths if p == key] or [p for p in paths if p.split(".")[-1] == key]
    if not matches:
        raise UsageError(f"no frozen run {key!r} in the experiment: {did_you_mean(key, paths)}")
    if len(matches) > 1:
        raise UsageError(f"{key!r} can mean the frozen runs {' and '.join(matches)}: give the path")
    return matches[0]


def with_frozen(tree: Any, key: str, run: FrozenRun) -> Any:
    """The tree with `run` in the place of the frozen run that `key` means (`frozen_path`)."""
    return _replaced(tree, tuple(frozen_path(tree, key).split(".")), run)


def apply_frozen(tree: Any, item: str) -> Any:
    """Applies one `--frozen NAME=RUN`: that frozen run is now found at RUN."""
    key, equals, path = item.partition("=")
    if not (key and equals and path):
        raise UsageError(f"--frozen {item}: give NAME=RUN")
    old = find_frozen(tree)[frozen_path(tree, key)]
    return with_frozen(tree, key, dataclasses.replace(old, path=path))


def _replaced(value: Any, names: tuple[str, ...], new: Any) -> Any:
    if not names:
        return new
    below = children(value)
    below[names[0]] = _replaced(below[names[0]], names[1:], new)
    return rebuild(value, below)
