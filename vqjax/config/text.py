"""Values typed on a command line: `3e-4`, `true`, `4,4,4`, `Ramp(0.1, start=2000)`.

Text is read by `ast`: literals, and constructor calls of the classes in `vqjax.config.names`.
Nothing is evaluated.
"""

import ast
import math
from collections.abc import Mapping
from typing import Any

from vqjax.config.annotations import admits, alternatives, child_hint, hints, mismatch, type_name
from vqjax.config.names import RENAMED, table
from vqjax.config.tree import children, fields_of, is_object, is_required, rebuild
from vqjax.format import shorten
from vqjax.types import UsageError, VqjaxError, did_you_mean

WORDS = {"true": True, "false": False, "null": None, "inf": math.inf, "nan": math.nan}


NONE = ("none", "null", "nil")  # what None is called elsewhere
SHOWN = 120  # characters of a text in a message


def parse_text(text: str, annotation: Any, current: Any, path: str) -> Any:
    """Reads `text` as a value of the annotated type.

    Args:
        text: as the user typed it.
        annotation: the expected type; where it is `Any`, that of `current`, unless that is None,
            too.
        current: the value to be replaced.
        path: what error lines call the value.

    Raises:
        UsageError: `text` is not such a value.
    """
    expected = _type_of(current) if annotation is Any else annotation
    shown = shorten(text, SHOWN)
    try:
        value = as_floats(parse_literal(text, path), expected, path)
        line = mismatch(expected, value, path)
        if line is None and (expected is not object or is_object(value) or value is None):
            return value
        if expected is object:
            line = f"{path}: {shown!r} is not an object such as {type(current).__name__}(...)"
        problem = UsageError(line)
    except UsageError as error:
        problem = error
    if _admits_raw(text, expected):
        return text
    if _is_word(text) and expected is not object:
        none = text.strip().lower() in NONE and type(None) in alternatives(expected)
        hint = ": did you mean None?" if none else ""
        raise UsageError(f"{path}: {shown!r} is not {type_name(expected)}{hint}") from problem
    raise problem


def _type_of(current: Any) -> Any:
    if current is None:
        return Any
    if is_object(current):
        return object  # any object may replace it
    if isinstance(current, (tuple, Mapping)):
        return (tuple if isinstance(current, tuple) else Mapping) | None
    return type(current)


def _admits_raw(text: str, annotation: Any) -> bool:
    """Whether text without quotes is a value; for `Any` only if it is not code."""
    options = [o for o in alternatives(annotation) if o is not object]
    return any(admits(o, text) for o in options if o is not Any or _is_word(text))


def _is_word(text: str) -> bool:
    return not any(sign in text for sign in "()[]{}")


def as_floats(value: Any, annotation: Any, path: str) -> Any:
    """Turns an int into a float where only a float is expected, so that records agree.

    Raises:
        UsageError: the int is beyond every float.
    """
    options = alternatives(annotation)
    if type(value) is int and float in options and int not in options and Any not in options:
        try:
            return float(value)
        except OverflowError as error:
            raise UsageError(f"{path}: a number beyond every float") from error
    if isinstance(value, (tuple, Mapping)):
        items = children(value).items()
        return rebuild(
            value, {n: as_floats(v, child_hint(annotation, value, n), path) for n, v in items}
        )
    return value


def parse_literal(text: str, path: str) -> Any:
    """Reads a literal or a constructor call; UsageError with one line otherwise."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or type(error).__name__
        raise UsageError(f"{path}: cannot read {shorten(text, SHOWN)!r}: {reason}") from error
    try:
        return _value(tree, path)
    except RecursionError as error:
        raise UsageError(f"{path}: {text[:40]!r}... is nested too deep") from error


def _value(node: ast.AST, path: str) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.Name(id=name) if name in WORDS:
            return WORDS[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            value = _value(operand, path)
            if type(value) in (int, float):
                return -value if isinstance(sign, ast.USub) else value
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_value(item, path) for item in items)
        case ast.Dict(keys=keys, values=values):
            names = [_value(key, path) if key else None for key in keys]
            if all(isinstance(name, str) for name in names):
                return {n: _value(v, path) for n, v in zip(names, values, strict=True)}
        case ast.Call(func=ast.Name(id=name)):
            return _call(name, node, path)
    raise UsageError(
        f"{path}: cannot read {ast.unparse(node)[:60]!r}: only literals and constructors such as "
        "Constant(value=1.0) are allowed, and text inside them stands in quotes"
    )


def _call(name: str, node: ast.Call, path: str) -> Any:
    name = RENAMED.get(name, name)
    if name not in table():
        raise UsageError(f"{path}: {name!r} is not a class of vqjax: {did_you_mean(name, table())}")
    cls = table()[name]
    fields = fields_of(cls)
    positional = [field for field in fields if not fields[field].kw_only]
    if len(node.args) > len(positional):
        raise UsageError(
            f"{path}: {name} takes {len(positional)} arguments in order, got {len(node.args)}"
        )
    arguments = dict(zip(positional, node.args, strict=False))
    for keyword in node.keywords:
        if keyword.arg not in fields:
            raise UsageError(
                f"{path}: {name} has no field {keyword.arg or '**'!r}: "
                f"{did_you_mean(str(keyword.arg), fields)}"
            )
        if keyword.arg in arguments:
            raise UsageError(f"{path}: {name} got {keyword.arg!r} twice")
        arguments[keyword.arg] = keyword.value
    for field in fields:
        if is_required(fields[field]) and field not in arguments:
            raise UsageError(f"{path}: {name} needs {field!r}")
    values = {}
    for field, argument in arguments.items():
        where = f"{path}: {name}.{field}"
        values[field] = as_floats(_value(argument, path), hints(cls)[field], where)
        line = mismatch(hints(cls)[field], values[field], where)
        if line:
            raise UsageError(line)
    return construct(cls, values, path)


def construct(cls: type, values: dict[str, Any], path: str) -> Any:
    """`cls(**values)`; what it refuses becomes a UsageError that names the path."""
    try:
        return cls(**values)
    except VqjaxError as error:
        raise UsageError(f"{path}: {error}") from error
    except Exception as error:
        kind = type(error).__name__
        raise UsageError(f"{path}: {cls.__name__} refuses this: {kind}: {error}") from error
