"""Texts that verbs draw: a JSON file of all, the first ones printed."""

import pathlib
from collections.abc import Sequence
from typing import Any

from vqjax.cli.drawing import Names
from vqjax.format import printable

SHOWN = 64  # lines that are printed


def sample_texts(
    trained: Any, options: dict[str, Any], conditions: Sequence[int | str], names: Names
) -> None:
    """`vqjax sample` of texts: draws by `options` of the run's method, and writes them.

    Raises:
        UsageError: they would be written over something else.
    """
    path = texts_path(names, conditions)
    names.check([path])
    name, overwrite = trained.task.inputs, names.args.overwrite
    write_texts(name, trained.sample(**options), path, overwrite=overwrite)


def texts_path(names: Names, conditions: Sequence[int | str]) -> pathlib.Path:
    """Where texts are written."""
    return names.path(conditions).with_suffix(".json")


def write_texts(name: str, texts: Sequence[str], path: pathlib.Path, *, overwrite: bool) -> None:
    """Writes texts as {name: all of them}, and prints the first ones and the path."""
    from vqjax.files import write_json

    write_json(path, {name: list(texts)}, overwrite=overwrite)
    for line in texts[:SHOWN]:
        print(f"{name}: {printable(line)}")
    print(printable(str(path)))
