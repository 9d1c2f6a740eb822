"""Experiments as JSON values and back.

    None, bool, int, str       themselves
    float                      itself; {"class": "float", "value": "inf" | "-inf" | "nan"}
    tuple                      a list
    mapping with str keys      an object; with a key "class" {"class": "mapping", "items": {...}}
    dataclass or module        {"class": NAME, field: value, ...}, all fields, defaults too
    class that is not vqjax's  the same, NAME "module:Class"; or "file.py:Class" with "class sha256"
    numpy array                its fingerprint, a `MissingArray`

Field names are identifiers other than keywords, so "class" and "class sha256" never meet one.
A field that an object lacks has its default, or what its class says that older records mean
(`tree.absent`).
Reading constructs objects of classes named in `vqjax.config.names`, and does nothing else.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqjax.config.annotations import MissingArray, hints, mismatch
from vqjax.config.names import RENAMED, ForeignName, Trust, foreign_name, parse_trust, table
from vqjax.config.tree import ABSENT, absent, fields_of, is_object, is_required, join
from vqjax.files import read_text
from vqjax.format import shorten
from vqjax.types import DataError, UsageError, VqjaxError, did_you_mean

CLASS = "class"
CLASS_SHA256 = "class sha256"
MAX_DEPTH = 100  # levels of nesting; a real experiment has about ten
MAX_JSON_DEPTH = 2 * MAX_DEPTH + 10  # mappings take two


def encode(value: Any, path: str = "") -> Any:
    """`value` as a JSON value.

    Raises:
        UsageError: something in the tree cannot be recorded; the line names its path.
    """
    return _encode(value, path, 0)


def _encode(value: Any, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise UsageError(f"{shorten(path, 60)}: nested more than {MAX_DEPTH} levels deep")
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float):
        value = float(value)
        return value if math.isfinite(value) else {CLASS: "float", "value": repr(value)}
    if type(value) is tuple:
        return [_encode(v, join(path, str(i)), depth + 1) for i, v in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise UsageError(f"{path or 'experiment'}: the key {key!r} is not a str")
        items = {k: _encode(v, join(path, k), depth + 1) for k, v in value.items()}
        return {CLASS: "mapping", "items": items} if CLASS in items else items
    if isinstance(value, np.ndarray):
        value = fingerprint(value, path)
    if is_object(value):
        return _encode_object(value, path, depth)
    raise UsageError(f"{path or 'experiment'}: {_refusal(value)}")


def _encode_object(value: Any, path: str, depth: int) -> dict[str, Any]:
    try:
        tag = tag_of(type(value))
    except UsageError as error:
        raise UsageError(f"{path or 'experiment'}: {error}") from error
    return tag | {
        field: _encode(getattr(value, field), join(path, field), depth + 1)
        for field in fields_of(type(value))
    }


def tag_of(cls: type) -> dict[str, str]:
    """What names a class in JSON.

    Raises:
        UsageError: no name would lead back to the class.
    """
    name = foreign_name(cls)
    tag = {CLASS: cls.__name__ if name is None else name.tag}
    if name is not None and name.sha256 is not None:
        tag[CLASS_SHA256] = name.sha256
    return tag


def fingerprint(array: np.ndarray, path: str) -> MissingArray:
    """What a record holds of an array.

    Raises:
        UsageError: it holds Python objects.
    """
    if array.dtype.hasobject:
        raise UsageError(f"{path or 'experiment'}: an array of Python objects cannot be recorded")
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return MissingArray(array.shape, str(array.dtype), content)


def _refusal(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, list):
        return "a list cannot be recorded: use a tuple"
    if isinstance(value, type):
        return f"the class {value.__name__} cannot be recorded: use its name or an instance"
    if isinstance(value, np.generic):
        return f"{kind} {value} cannot be recorded: use a Python number"
    if dataclasses.is_dataclass(value):
        return f"{kind} cannot be recorded: it is not a frozen dataclass"
    if callable(value):
        return f"the function {getattr(value, '__name__', kind)} cannot be recorded: use its name"
    return (
        f"{kind} cannot be recorded (None, bool, int, float, str, tuple, mapping, frozen "
        "dataclass, Linen module)"
    )


def decode(value: Any, trust: Sequence[str] = (), path: str = "") -> Any:
    """What `encode` made `value` from.

    Args:
        value: a JSON value.
        trust: the values of `--trust`; classes of other modules and files need them.
        path: what error lines call the root.

    Raises:
        DataError: anything that `encode` does not write; the line names its path.
        UsageError: `trust` itself is wrong.
    """
    return _decode(value, parse_trust(trust), path, 0)


def _decode(value: Any, trust: Trust, path: str, depth: int) -> Any:
    where = shorten(path, 120) or "experiment"
    if depth > MAX_DEPTH:
        raise DataError(f"{shorten(path, 60)}: nested more than {MAX_DEPTH} levels deep")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return tuple(_decode(v, trust, join(path, str(i)), depth + 1) for i, v in enumerate(value))
    if not isinstance(value, dict):
        raise DataError(f"{where}: {type(value).__name__} is not a JSON value")
    if CLASS not in value:
        return {k: _decode(v, trust, join(path, k), depth + 1) for k, v in value.items()}
    tag = value[CLASS]
    if not isinstance(tag, str):
        raise DataError(f"{where}: a class is named by a string, not by {type(tag).__name__}")
    if tag == "float":
        return _decode_float(value, where)
    if tag == "mapping":
        items = value["items"] if set(value) == {CLASS, "items"} else None
        if not isinstance(items, dict):
            raise DataError(f"{where}: a mapping needs 'items' and nothing else")
        return {k: _decode(v, trust, join(path, k), depth + 1) for k, v in items.items()}
    return _decode_object(value, trust, path, depth)


def _decode_float(value: dict[str, Any], where: str) -> float:
    if set(value) != {CLASS, "value"} or value["value"] not in ("inf", "-inf", "nan"):
        raise DataError(f"{where}: a float written as an object is inf, -inf or nan")
    return float(value["value"])


def _decode_object(value: dict[str, Any], trust: Trust, path: str, depth: int) -> Any:
    where = shorten(path, 120) or "experiment"
    cls = _class_of(value, trust, where)
    fields = fields_of(cls)
    values = {k: v for k, v in value.items() if k not in (CLASS, CLASS_SHA256)}
    for name in values:
        if name not in fields:
            hint = did_you_mean(name, fields)
            raise DataError(f"{where}: {cls.__name__} has no field {shorten(name, 60)!r}: {hint}")
    for name, field in fields.items():
        if is_required(field) and name not in values:
            raise DataError(f"{where}: {cls.__name__} needs a field {name!r}")
    below = {k: _decode(v, trust, join(path, k), depth + 1) for k, v in values.items()}
    missing = {k: absent(f) for k, f in fields.items() if k not in values and ABSENT in f.metadata}
    below |= missing
    for name, child in below.items():
        line = mismatch(hints(cls)[name], child, join(path, name))
        if line:
            raise DataError(line)
    try:
        return cls(**below)
    except VqjaxError as error:
        raise DataError(f"{where}: {error}") from error
    except Exception as error:
        kind = type(error).__name__
        raise DataError(f"{where}: {cls.__name__} refuses its fields: {kind}: {error}") from error


def _class_of(value: dict[str, Any], trust: Trust, where: str) -> type:
    tag = value[CLASS]
    if ":" not in tag:
        cls = table().get(RENAMED.get(tag, tag))
        if cls is None:
            raise DataError(f"{where}: {shorten(tag, 80)!r} is not a class of vqjax")
        return cls
    module, _, name = tag.partition(":")
    sha256 = value.get(CLASS_SHA256)
    if not name.isidentifier():
        raise DataError(f"{where}: {shorten(tag, 80)!r} does not name a class")
    try:
        return trust.find(ForeignName(module, name, sha256))
    except VqjaxError as error:
        raise DataError(f"{where}: {error}") from error


def to_json(value: Any) -> str:
    """A JSON value as indented text with a newline at its end."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    # Lone surrogates, as in file names that are not UTF-8, are escaped, as in JSON.
    return text.encode("utf-8", "backslashreplace").decode()


def from_json(text: str) -> Any:
    """Reads strict JSON.

    Raises:
        DataError: it is damaged, or nested too deep for the parser.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        _check_depth(value)
        return value
    except RecursionError as error:
        raise DataError("nested too deep to be an experiment") from error
    except ValueError as error:
        raise DataError(f"not valid JSON: {shorten(str(error), 120)}") from error


def _check_depth(value: Any) -> None:
    """Refuses, with RecursionError, what is nested deeper than `decode` or a copy could follow."""
    level, depth = [value] if isinstance(value, dict | list) else [], 0
    while level:
        depth += 1
        if depth > MAX_JSON_DEPTH:
            raise RecursionError
        inner = (v.values() if isinstance(v, dict) else v for v in level)
        level = [v for values in inner for v in values if isinstance(v, dict | list)]


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a local JSON file; errors as in `from_json`, with the file's name in front."""
    text = read_text(path)
    try:
        return from_json(text)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
