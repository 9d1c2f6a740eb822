"""Experiment files: a Python file whose function `experiment(...)` returns the experiment."""

import dataclasses
import difflib
import inspect
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqjax.config.annotations import check_types
from vqjax.config.frozen import apply_frozen
from vqjax.config.modules import importable, mark_siblings, run_file
from vqjax.config.overrides import apply_overrides
from vqjax.config.text import parse_text
from vqjax.config.tree import check_single_use
from vqjax.format import shorten
from vqjax.paths import as_path
from vqjax.shipped import experiments
from vqjax.types import UsageError, VqjaxError, did_you_mean

FUNCTION = "experiment"


def load_file(
    path: str,
    arguments: Mapping[str, Any] = types.MappingProxyType({}),
    overrides: Sequence[str] = (),
    frozen: Sequence[str] = (),
) -> Any:
    """Runs an experiment file and returns the resolved experiment.

    Args:
        path: the file, or the name of an experiment that comes with vqjax.
        arguments: of `experiment()`, by name; texts are read as after `--arg name=`.
        overrides: `path=value` items, applied in order (`apply_overrides`).
        frozen: `NAME=PATH` items (`--frozen`).

    Raises:
        UsageError: one line for whatever is wrong with the file, an argument or an override.
    """
    for name, items in (("overrides", overrides), ("frozen", frozen)):
        if isinstance(items, str):
            raise UsageError(f"{name}={items!r}: wanted a list of texts, such as [{items!r}]")
    file = find_file(path)
    path = str(file)
    try:
        module = run_file(file)
    except (Exception, SystemExit) as error:
        raise _explain(error, path) from error
    function = vars(module).get(FUNCTION)
    if not inspect.isfunction(function):
        raise UsageError(f"{path} has no function {FUNCTION}()")
    keywords = _typed_arguments(function, arguments, path)
    tree = _call(function, keywords, path)
    try:
        check_single_use(tree)
        tree = apply_overrides(tree, overrides)
        for item in frozen:
            tree = apply_frozen(tree, item)
        check_types(tree)
    except UsageError as error:
        line = str(error) if overrides or frozen else f"{path}: {error}"
        raise UsageError(line) from error
    return tree


def find_file(path: str) -> Path:
    """The experiment file at `path`; where nothing lies there and it is a bare name, NAME.py here,
    or else the one that comes with vqjax.

    Raises:
        UsageError: there is none, with the nearest name.
    """
    file = as_path(path, "FILE")
    shipped = experiments()
    if not file.exists() or file.is_dir():
        bare = file.parent == Path() and file.name.removesuffix(".py")
        if bare and file.suffix != ".py" and file.with_name(f"{bare}.py").is_file():
            return file.with_name(f"{bare}.py")
        if bare in shipped:
            return shipped[bare]
    if file.is_dir():
        raise UsageError(f"{path} is a directory, not an experiment file")
    if not file.exists():
        beside = [f.name for f in file.parent.glob("*.py")] if file.parent.is_dir() else []
        raise UsageError(f"{path} does not exist{_hint(file, beside, list(shipped))}")
    if file.suffix != ".py":
        raise UsageError(f"{path} is not a Python file (.py)")
    if not file.is_file():
        raise UsageError(f"{path} is a pipe or a device, not a Python file")
    return file


def _hint(file: Path, beside: list[str], shipped: list[str]) -> str:
    """The nearest of the files beside a missing one and of the names that come with vqjax."""
    name = file.name.removesuffix(".py")
    stems = {n: n for n in shipped} | {n.removesuffix(".py"): n for n in beside}
    if near := difflib.get_close_matches(name, stems, n=1):
        return f": did you mean {stems[near[0]]!r}?"
    if beside:
        return f": {did_you_mean(file.name, beside)}"
    return " (`vqjax experiments` lists those that come with vqjax)" if shipped else ""


def _typed_arguments(
    function: Callable[..., Any], arguments: Mapping[str, Any], path: str
) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    try:
        annotations = typing.get_type_hints(function)
    except Exception:  # a name that only a type checker sees
        annotations = {}
    typed = {}
    for name, text in arguments.items():
        if name not in parameters:
            hint = did_you_mean(name, parameters)
            raise UsageError(f"{path}: {FUNCTION}() has no argument {name!r}: {hint}")
        parameter = parameters[name]
        default = None if parameter.default is parameter.empty else parameter.default
        if name not in annotations:
            annotations[name] = Any
        text = text if isinstance(text, str) else repr(text)
        typed[name] = parse_text(text, annotations[name], default, f"--arg {name}")
    for name, parameter in parameters.items():
        variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not variable and name not in typed:
            raise UsageError(f"{path}: {FUNCTION}() needs an argument: give --arg {name}=VALUE")
    return typed


def _call(function: Callable[..., Any], keywords: dict[str, Any], path: str) -> Any:
    directory = Path(path).resolve().parent
    before = set(sys.modules)
    try:
        with importable(directory):
            tree = function(**keywords)
    except (Exception, SystemExit) as error:
        raise _explain(error, path) from error
    finally:
        mark_siblings(directory, before)
    names = {f.name for f in dataclasses.fields(tree)} if dataclasses.is_dataclass(tree) else set()
    if isinstance(tree, type) or not {"task", "data"} <= names:
        kind = type(tree).__name__
        raise UsageError(f"{path}: {FUNCTION}() returned {kind}, not an Experiment")
    return tree


def _explain(error: BaseException, path: str) -> VqjaxError:
    """An error of one line, with the line of the file at which it went wrong."""
    absolute = str(Path(path).resolve())
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == absolute]
    if isinstance(error, SyntaxError) and error.filename == absolute:
        lines.append(error.lineno)
        message = f"SyntaxError: {error.msg}"
    elif isinstance(error, VqjaxError):
        message = str(error)
    else:
        message = f"{type(error).__name__}: {shorten(str(error), 300)}"
    kind = type(error) if isinstance(error, VqjaxError) else UsageError
    return kind(f"{path}:{lines[-1]}: {message}" if lines else f"{path}: {message}")
