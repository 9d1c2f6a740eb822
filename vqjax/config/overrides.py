"""Overrides: `task.tokenizer.quantizer.codebook_size=1024` on an experiment's objects."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vqjax.config.annotations import child_hint, type_name
from vqjax.config.text import SHOWN, construct, parse_text
from vqjax.config.tree import children, is_object, join, show
from vqjax.format import shorten
from vqjax.types import UsageError, did_you_mean


@dataclasses.dataclass
class _Node:
    """An opened object, mapping or tuple: its original and what is below it now."""

    original: Any
    below: dict[str, Any]


def apply_override(tree: Any, path: str, text: str) -> Any:
    """The tree with the value at `path` replaced by what `text` says (`apply_overrides`)."""
    return apply_overrides(tree, (f"{path}={text}",))


def apply_overrides(tree: Any, items: Sequence[str]) -> Any:
    """The tree with `path=value` items applied in order.

    Objects on the way are rebuilt once, after all items, so settings that only fit together can
    be changed together. What no path touches stays the same instance.

    Raises:
        UsageError: no such path, or a value that is not of the expected type.
    """
    root = tree
    for item in items:
        path, equals, text = item.partition("=")
        if not equals or not path:
            raise UsageError(f"{shorten(item, SHOWN)!r} is not an override: give path=value")
        root = _open(root, "")
        _set(root, path.strip(), text)
    return _close(root, "")


def _open(value: Any, path: str) -> _Node:
    if isinstance(value, _Node):
        return value
    if not isinstance(value, (tuple, Mapping)) and not is_object(value):
        kind = "None" if value is None else type_name(type(value))
        raise UsageError(f"{path} is {kind} and has nothing below it")
    return _Node(value, children(value))


def _set(root: _Node, path: str, text: str) -> None:
    node, so_far, hint = root, "", Any
    names = path.split(".")
    for name in names[:-1]:
        _check_name(node, so_far, name)
        hint, so_far = child_hint(hint, node.original, name), join(so_far, name)
        node.below[name] = _open(node.below[name], so_far)
        node = node.below[name]
    _check_name(node, so_far, names[-1])
    hint = child_hint(hint, node.original, names[-1])
    current = node.below[names[-1]]
    current = current.original if isinstance(current, _Node) else current
    node.below[names[-1]] = parse_text(text, hint, current, path)


def _check_name(node: _Node, path: str, name: str) -> None:
    if name in node.below:
        return
    where = shorten(path, SHOWN) or "the experiment"
    shown = shorten(name, SHOWN)
    if isinstance(node.original, tuple):
        count = len(node.below)
        raise UsageError(f"{where} has no item {shown!r}: it has {count}, counted from 0")
    kind = "field" if is_object(node.original) else "key"
    raise UsageError(f"{where} has no {kind} {shown!r}: {did_you_mean(name, node.below)}")


def _close(value: Any, path: str) -> Any:
    if not isinstance(value, _Node):
        return value
    below = {name: _close(child, join(path, name)) for name, child in value.below.items()}
    if is_object(value.original):
        return construct(type(value.original), below, path or show(value.original, 40))
    return tuple(below.values()) if isinstance(value.original, tuple) else below
