"""Experiments for people: what changed between two, and what one is."""

import textwrap
from collections.abc import Mapping
from typing import Any

from vqjax.config.tree import children, differs_from_default, fields_of, is_object, join, show
from vqjax.config.values import CLASS, CLASS_SHA256, encode
from vqjax.format import shorten

WIDTH = 96  # of a line of `describe`
MANY = 12  # plain values, from which on only the first ones are shown
FIRST = 4


def difference(old: Any, new: Any) -> list[str]:
    """Lines such as "batch_size: 64 -> 32", one per change; none where nothing changed.

    Args:
        old, new: experiments, or what `encode` makes of them.
    """
    old, new = (encode(v) if is_object(v) else v for v in (old, new))
    return _changes(old, new, "")


def _changes(old: Any, new: Any, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict) and _kind(old) == _kind(new) != "float":
        lines = []
        if CLASS_SHA256 in old and old[CLASS_SHA256] != new.get(CLASS_SHA256):
            lines.append(f"{path or 'experiment'}: the code of {old[CLASS]} changed")
        names = [n for n in dict.fromkeys([*old, *new]) if n not in (CLASS, CLASS_SHA256)]
        for name in names:
            below = join(path, name)
            if name not in new:
                lines.append(f"{below}: {_text(old[name])} -> (gone)")
            elif name not in old:
                lines.append(f"{below}: (none) -> {_text(new[name])}")
            else:
                lines.extend(_changes(old[name], new[name], below))
        return lines
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in _changes(a, b, join(path, str(i)))]
    same = old == new and isinstance(old, bool) == isinstance(new, bool)
    return [] if same else [f"{path or 'experiment'}: {_text(old)} -> {_text(new)}"]


def _kind(tree: dict[str, Any]) -> str | None:
    return tree.get(CLASS)


def _text(tree: Any) -> str:
    return shorten(_format(tree), 120)


def _format(tree: Any) -> str:
    if isinstance(tree, list):
        return f"({', '.join(map(_format, tree))}{',' if len(tree) == 1 else ''})"
    if not isinstance(tree, dict):
        return repr(tree)
    kind = _kind(tree)
    if kind == "float":
        return tree["value"]
    if kind is None:
        return "{" + ", ".join(f"{k}: {_format(v)}" for k, v in tree.items()) + "}"
    fields = ((k, v) for k, v in tree.items() if k not in (CLASS, CLASS_SHA256))
    return f"{kind.split(':')[-1]}({', '.join(f'{k}={_format(v)}' for k, v in fields)})"


def describe(tree: Any) -> str:
    """The tree as indented lines: what differs from the defaults, then the defaults in brackets.

    Experiment
      task: TokenizerTask
        ...
      optimizers: {tokenizer: Adam(learning_rate=0.0003)}
      batch_size: 64
      [seed=0, keep=3]
    """
    return "\n".join(_lines(tree, "", 0))


def _lines(value: Any, label: str, depth: int) -> list[str]:
    indent = "  " * depth
    below = children(value)
    defaults = []
    if is_object(value):
        fields = fields_of(type(value))
        defaults = [n for n in below if not differs_from_default(fields[n], below[n])]
    if _is_short(value):
        lines = [f"{indent}{label}{show(value, WIDTH)}"]
    elif isinstance(value, tuple) and len(value) > MANY and not any(map(children, value)):
        first = ", ".join(show(entry, 20) for entry in value[:FIRST])
        lines = [f"{indent}{label}({first}, ...), {len(value):,} in all"]
    else:
        head = type(value).__name__ if is_object(value) else ""
        lines = [f"{indent}{label}{head}".rstrip()]
        for name, child in below.items():
            if name not in defaults:
                lines.extend(_lines(child, f"{name}: ", depth + 1))
    unchanged = ", ".join(f"{name}={show(below[name], 40)}" for name in defaults)
    if unchanged:
        start = f"{indent}  "
        lines += textwrap.wrap(
            f"[{unchanged}]", WIDTH, initial_indent=start, subsequent_indent=f"{start} "
        )
    return lines


def _is_short(value: Any) -> bool:
    """Whether a value is shown on one line: no object in it has objects of its own."""
    if not isinstance(value, (tuple, Mapping)) and not is_object(value):
        return True
    nested = is_object(value) and any(is_object(v) for v in children(value).values())
    fits = len(show(value, 10_000)) <= WIDTH
    return fits and not nested and all(_is_short(v) for v in children(value).values())
