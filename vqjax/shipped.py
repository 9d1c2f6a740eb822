"""The experiments that come with vqjax: in a checkout beside the package, in a wheel inside it.

They are files to read, to run by name and to copy, and no modules of the package.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).resolve().parent


class Description(NamedTuple):
    """What an experiment file says of itself, read without running it.

    Attributes:
        docstring: of the file.
        arguments: of its experiment(), {"name: type": default as it is written, or None}.
    """

    docstring: str
    arguments: dict[str, str | None]


def folder() -> Path | None:
    """Where the experiments lie; None: this installation has none."""
    beside = _PACKAGE.parent
    folders = [_PACKAGE / "experiments"]  # of a wheel
    if (beside / "setup.cfg").is_file():  # of a checkout, not of whatever packages lie beside
        folders.append(beside / "experiments")
    return next((path for path in folders if path.is_dir()), None)


def experiments() -> dict[str, Path]:
    """{name: file}, by name."""
    root = folder()
    files = sorted(root.glob("[a-z]*.py")) if root is not None else []
    return {file.stem: file for file in files}


def described(file: Path) -> Description:
    """What an experiment file says of itself.

    Raises:
        UsageError: it cannot be read, or is not Python.
    """
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        from vqjax.types import UsageError  # which imports more than a list of names needs

        reason = getattr(error, "strerror", None) or getattr(error, "msg", None) or error
        raise UsageError(f"{file} cannot be read: {reason}") from error
    arguments: dict[str, str | None] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "experiment":
            arguments = _arguments(node.args)
    return Description(ast.get_docstring(tree) or "", arguments)


def _arguments(args: ast.arguments) -> dict[str, str | None]:
    names = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    missing = [None] * (len(args.posonlyargs) + len(args.args) - len(args.defaults))
    defaults = [*missing, *args.defaults, *args.kw_defaults]
    return {
        name.arg + (f": {ast.unparse(name.annotation)}" if name.annotation else ""): (
            None if default is None else ast.unparse(default)
        )
        for name, default in zip(names, defaults, strict=True)
    }


def cost(docstring: str) -> str:
    """What a docstring says of the minutes that its experiment takes on two CPU cores, by a line
    such as "Cost: 9.5 min."; "" if it does not. "busy": others used them, too.
    """
    match = re.search(r"^Cost: (.+)\.$", docstring, re.MULTILINE)
    return match[1] if match else ""
