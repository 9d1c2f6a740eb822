"""Type checks of a tree against the annotations of its classes.

An annotation that cannot be resolved, or that says nothing (`Any`), admits everything. A float
admits an int; an int admits neither a float nor a bool. The `MissingArray` that a fingerprint is
read as may stand for an array.
"""

import dataclasses
import functools
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union

import numpy as np

from vqjax.arguments import got
from vqjax.config.tree import fields_of, is_object, join, show, walk
from vqjax.format import shorten
from vqjax.types import UsageError


@dataclasses.dataclass(frozen=True)
class MissingArray:
    """An array that was in the experiment, of which the run keeps only the fingerprint.

    Attributes:
        shape: of the array.
        dtype: its numpy name.
        sha256: of its bytes in C order, in hexadecimal.
    """

    shape: tuple[int, ...]
    dtype: str
    sha256: str


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """The annotation of each field of `cls`, strings resolved where they can be."""
    try:
        resolved = typing.get_type_hints(cls)
    except Exception:  # one name that only a type checker sees spoils the whole class
        resolved = {}
    return {
        name: resolved[name] if name in resolved else _resolve(cls, field.type)
        for name, field in fields_of(cls).items()
    }


def _resolve(cls: type, annotation: Any) -> Any:
    holder = types.SimpleNamespace(__annotations__={"field": annotation})
    try:
        return typing.get_type_hints(holder, vars(sys.modules[cls.__module__]))["field"]
    except Exception:
        return Any


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; the annotation itself where it is not one."""
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        return tuple(a for arg in typing.get_args(annotation) for a in alternatives(arg))
    if origin is typing.Annotated:
        return alternatives(typing.get_args(annotation)[0])
    return (annotation,)


def child_hint(annotation: Any, value: Any, name: str) -> Any:
    """The annotation of the child `name` of `value`, which itself is annotated `annotation`."""
    if is_object(value):
        return hints(type(value))[name]
    kind = Mapping if isinstance(value, Mapping) else tuple
    for option in alternatives(annotation):
        origin, args = typing.get_origin(option), typing.get_args(option)
        if not (isinstance(origin, type) and args):
            continue
        if kind is Mapping and issubclass(origin, Mapping):
            return args[1]
        if kind is tuple and issubclass(tuple, origin):
            if origin is not tuple or args[-1] is Ellipsis:
                return args[0]
            return args[int(name)] if int(name) < len(args) else Any
    return Any


def mismatch(annotation: Any, value: Any, path: str) -> str | None:
    """None where `value` fits, else the line that says where and how it does not."""
    options = alternatives(annotation)
    if any(_fits(option, value) for option in options):
        return None
    if len(options) == 1:
        for name, child in _items(annotation, value):
            line = mismatch(child_hint(annotation, value, name), child, join(path, name))
            if line:
                return line
    return f"{path}: {show(value)} is not {type_name(annotation)}"


def admits(annotation: Any, value: Any) -> bool:
    """Whether `value` fits the annotation."""
    return mismatch(annotation, value, "") is None


def check_types(tree: Any) -> None:
    """Checks every field of every object of the tree against its annotation.

    Raises:
        UsageError: one line with the path, the value and the expected type.
    """
    for path, value in walk(tree):
        if is_object(value):
            for name, annotation in hints(type(value)).items():
                line = mismatch(annotation, getattr(value, name), join(path, name))
                if line:
                    raise UsageError(line)


def check_fields(value: Any) -> None:
    """Refuses fields of another type than their annotations say; called first in a `__post_init__`
    that compares them.

    Here numpy's numbers are numbers, lists tuples, and paths texts. What a run's record holds is
    checked again, more strictly (`check_types`).

    Raises:
        UsageError: one line with the class, the field, the value and the expected type.
    """
    kind = type(value).__name__
    for name, annotation in hints(type(value)).items():
        actual = plain = getattr(value, name)
        try:
            plain = _plain(actual)
            fits = admits(annotation, plain)
        except Exception:  # the object's own
            fits = False
        if not fits:
            where = f"{kind}.{name}={got(actual)}"
            most = " of at most 64 bits" if isinstance(plain, _TooLarge) else ""
            raise UsageError(f"{where}: wanted {shorten(type_name(annotation), 200)}{most}")


class _TooLarge:
    """Stands for an int of more than 64 bits, which no field admits."""


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, int) and value.bit_length() > 64:
        return _TooLarge()
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def type_name(annotation: Any) -> str:
    """An annotation in words: "an int", "a float or None", "a tuple of int"."""
    names = [_option_name(option) for option in alternatives(annotation)]
    return " or ".join(dict.fromkeys(names))


def _option_name(option: Any) -> str:
    origin, args = typing.get_origin(option), typing.get_args(option)
    if option in (None, type(None)):
        return "None"
    if option is bool:
        return "a bool (true or false)"
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    kind = origin or option
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "a mapping"
    if kind is tuple and len(args) > 1 and args[-1] is not Ellipsis:
        return f"a tuple of {len(args)} ({', '.join(map(_bare_name, args))})"
    if kind in (tuple, Sequence):
        return f"a tuple of {_bare_name(args[0])}" if args else "a tuple"
    name = _bare_name(kind)
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _bare_name(annotation: Any) -> str:
    options = alternatives(annotation)
    return " or ".join(
        "None" if o is type(None) else getattr(o, "__name__", str(o)) for o in options
    )


def _items(option: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """The children of a container that the annotation speaks about; none if the kind is wrong."""
    kind = typing.get_origin(option)
    if not isinstance(kind, type) or not isinstance(value, (tuple, Mapping)):
        return
    if isinstance(value, kind):
        args = typing.get_args(option)
        if kind is tuple and args[-1] is not Ellipsis and len(args) != len(value):
            return
        named = value.items() if isinstance(value, Mapping) else enumerate(value)
        yield from ((str(name), child) for name, child in named)


def _fits(option: Any, value: Any) -> bool:
    origin, args = typing.get_origin(option), typing.get_args(option)
    if option is Any or isinstance(option, (str, typing.TypeVar)):
        return True
    if option in (None, type(None)):
        return value is None
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if option is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is Literal:
        return any(type(value) is type(arg) and value == arg for arg in args)
    if option is np.ndarray or origin is np.ndarray:
        return isinstance(value, (np.ndarray, MissingArray))
    if origin is Callable or option is Callable:
        return callable(value)
    if isinstance(origin, type):
        return _fits_container(option, origin, args, value)
    try:
        return isinstance(value, option)
    except TypeError:  # a protocol that is not checkable at run time, or no class at all
        return True


def _fits_container(option: Any, origin: type, args: tuple, value: Any) -> bool:
    if isinstance(value, str):  # a sequence to Python, never one here
        return False
    if origin is type or not isinstance(value, origin) or not isinstance(value, (tuple, Mapping)):
        return isinstance(value, origin)
    if origin is tuple and args and args[-1] is not Ellipsis and len(args) != len(value):
        return False
    if isinstance(value, Mapping) and args and not all(_fits(args[0], key) for key in value):
        return False
    return all(admits(child_hint(option, value, n), child) for n, child in _items(option, value))
