"""The tree of an experiment: objects, mappings and tuples over plain values.

An object is a frozen dataclass or a Linen module; both are dataclasses, and Linen's own fields
`parent` and `name` are not part of the tree. A path is the names on it joined by dots:
field names, mapping keys and indices in tuples ("losses.0.weight").
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from flax import linen as nn

from vqjax.format import shorten
from vqjax.types import UsageError

LINEN_FIELDS = ("parent", "name")
ABSENT = "absent"  # in a field's metadata: its value in records that are older than the field


def is_object_class(cls: Any) -> bool:
    """Whether `cls` is a Linen module class or a frozen dataclass."""
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        return False
    return issubclass(cls, nn.Module) or cls.__dataclass_params__.frozen


def is_object(value: Any) -> bool:
    """Whether `value` is a Linen module or a frozen dataclass."""
    return is_object_class(type(value))


def fields_of(cls: type) -> dict[str, dataclasses.Field]:
    """The constructor's fields by name, in order, without Linen's own."""
    hidden = LINEN_FIELDS if issubclass(cls, nn.Module) else ()
    return {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in hidden}


def is_required(field: dataclasses.Field) -> bool:
    """Whether a field has no default."""
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def absent(field: dataclasses.Field) -> Any:
    """What a field that is not required has where a record lacks it: `metadata={"absent": ...}`, or
    its default. A field that is newer than some records of its class, and whose default means
    something new, thereby states what these mean.
    """
    if ABSENT in field.metadata:
        return field.metadata[ABSENT]
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def children(value: Any) -> dict[str, Any]:
    """What hangs directly below `value`, by the name that a path gives it; {} for a leaf."""
    if is_object(value):
        return {name: getattr(value, name) for name in fields_of(type(value))}
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, tuple):
        return {str(index): item for index, item in enumerate(value)}
    return {}


def join(path: str, name: str) -> str:
    """The path of the child `name` of the value at `path`."""
    return f"{path}.{name}" if path else name


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All (path, value) pairs of the tree, parents first."""
    yield path, value
    for name, child in children(value).items():
        yield from walk(child, join(path, name))


def rebuild(value: Any, below: Mapping[str, Any]) -> Any:
    """A value like `value` (object, mapping or tuple) with `below` as all of its children."""
    if is_object(value):
        return type(value)(**below)
    return tuple(below.values()) if isinstance(value, tuple) else dict(below)


def check_single_use(tree: Any) -> None:
    """Refuses a tree in which one module instance has two paths.

    Two paths to one instance would mean shared parameters to the reader and separate ones
    after a round trip through JSON.

    Raises:
        UsageError: names both paths.
    """
    paths: dict[int, str] = {}
    for path, value in walk(tree):
        if isinstance(value, nn.Module):
            if id(value) in paths:
                kind = type(value).__name__
                raise UsageError(
                    f"the same {kind} instance stands at {paths[id(value)]} and at {path}: "
                    f"construct a separate {kind}(...) for each"
                )
            paths[id(value)] = path


def show(value: Any, width: int = 80) -> str:
    """A value as it would be written, on one line; objects show what differs from the defaults."""
    return shorten(_format(value), width)


def differs_from_default(field: dataclasses.Field, value: Any) -> bool:
    """Whether `value` is other than the field's default, or the field has none."""
    if is_required(field):
        return True
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    return _format(value) != _format(default)


def _format(value: Any) -> str:
    if is_object(value):
        fields = fields_of(type(value))
        items = [(name, getattr(value, name)) for name in fields]
        parts = [f"{n}={_format(v)}" for n, v in items if differs_from_default(fields[n], v)]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_format(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple):
        comma = "," if len(value) == 1 else ""
        return f"({', '.join(_format(v) for v in value)}{comma})"
    try:
        return repr(value)
    except Exception:  # a whole number of thousands of digits, or an object's own
        return f"a {type(value).__name__} that cannot be shown"
