"""The conditions of samples as callers name them, and as the arrays that priors take."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqjax import arguments
from vqjax.format import shorten
from vqjax.priors import ClassLabel, Text
from vqjax.priors.conditions import LABEL, NULL, inputs_of, parts_of
from vqjax.types import Tree, UsageError, did_you_mean

Others = Mapping[str, Sequence[int | str]]
MAX_NAME = 60  # characters of a tokenizer's name in a sentence
IN_WORDS = {"caption": "a text", LABEL: "the class"}  # by array


def keywords_for(condition: Any) -> tuple[str, ...]:
    """Which of "classes", "prompts" and "conditions" the samples of a prior take."""
    parts, main = parts_of(condition), main_classes(condition)
    takes = {
        "classes": main is not None,
        "prompts": any(isinstance(part, Text) for part in parts),
        "conditions": any(isinstance(p, ClassLabel) and p.batch_key != LABEL for p in parts),
    }
    return tuple(name for name, taken in takes.items() if taken)


def main_classes(condition: Any) -> ClassLabel | None:
    """The condition that `classes` are of: that by the batch's "label", else the first by classes;
    None: there is none.
    """
    found = [part for part in parts_of(condition) if isinstance(part, ClassLabel)]
    return next((part for part in found if part.batch_key == LABEL), found[0] if found else None)


def in_words(condition: Any) -> str:
    """ ", conditioned on the class and the speaker", for a sentence; "": there is no condition."""
    words = [
        IN_WORDS.get(part.batch_key, f"the {part.batch_key}")
        if isinstance(part, ClassLabel | Text)
        else IN_WORDS.get(getattr(part, "batch_key", ""), "other inputs")
        for part in parts_of(condition)
    ]
    if len(words) > 1:
        words = [f"{', '.join(words[:-1])} and {words[-1]}"]
    return f", conditioned on {words[0]}" if words else ""


def tokenizer_name(path: str) -> str:
    """The name of a tokenizer's run, for a sentence."""
    return shorten(pathlib.PurePath(str(path)).name, MAX_NAME)


def condition_arrays(
    condition: Any,
    data: Any,
    n: int,
    classes: Sequence[int] | None = None,
    prompts: Sequence[str] | None = None,
    conditions: Others | None = None,
    *,
    rest_in_turn: bool = True,
    network: str = "prior",
) -> Tree | None:
    """What a condition takes, of n examples; None: there is no condition.

    Values are used in turn. Of classes that nobody names all are, in turn, the main ones first; the
    next condition's change when those before it have all been.

    Args:
        condition: of the prior.
        data: the run's source, which encodes prompts.
        n: examples.
        classes: of `main_classes`; -1: none.
        prompts: of a condition by a text; "": none.
        conditions: {array: classes, by number or name}, of any condition by classes.
        rest_in_turn: False: what nobody names is left out, as with -1.
        network: what has the condition, for messages.

    Raises:
        UsageError: the prior has no such condition, or the condition no such value.
    """
    parts, main = parts_of(condition), main_classes(condition)
    text = next((part for part in parts if isinstance(part, Text)), None)
    for name, value, part in (("class", classes, main), ("text", prompts, text)):
        if value is not None and part is None:
            raise UsageError(f"this {network} is not {name}-conditional")
    named = _labels_by_array(parts, main, classes, conditions)
    arrays, stride = {}, 1
    for part in sorted(parts, key=lambda part: part is not main):
        key = part.batch_key
        if key in named:
            arrays[key] = np.resize(np.asarray(named[key], np.int32), n)
        elif part is text and (rest_in_turn or prompts is not None):
            rows = _encoded(data, prompts)
            arrays[key] = np.resize(rows, (n, *rows.shape[1:]))
        elif rest_in_turn and hasattr(part, "classes"):
            arrays[key] = (np.arange(n) // stride % part.classes).astype(np.int32)
            stride *= part.classes
        else:
            arrays[key] = np.asarray(part.null(n))
    return inputs_of(condition, arrays)


def _labels_by_array(
    parts: Sequence[Any],
    main: ClassLabel | None,
    classes: Sequence[int] | None,
    conditions: Others | None,
) -> dict[str, list[int]]:
    """{array: labels} of the conditions by classes that are named."""
    by_key = {part.batch_key: part for part in parts if isinstance(part, ClassLabel)}
    named: dict[str, list[int]] = {}
    if classes is not None:
        most = main.classes - 1
        named[main.batch_key] = arguments.wholes("classes", classes, NULL, most, "[3, 7]")
    conditions = {} if conditions is None else conditions
    arguments.instance("conditions", conditions, Mapping, '{"speaker": [0, 2]}')
    for key, values in conditions.items():
        if key not in by_key:
            name = arguments.got(key)
            raise UsageError(f"conditions: {name}: {did_you_mean(str(key)[:60], by_key)}")
        if key in named:
            raise UsageError(f"conditions: {key!r} is what classes are of: give one of the two")
        items = arguments.items(f"conditions[{key!r}]", values, "[0, 2]")
        named[key] = [_label(by_key[key], i, item) for i, item in enumerate(items)]
    for key, labels in named.items():
        if not labels:
            what = "classes are" if main is not None and key == main.batch_key else f"{key!r} is"
            raise UsageError(f"{what} empty: name at least one class")
    return named


def _label(part: ClassLabel, index: int, value: Any) -> int:
    """A class by its number, also as a text, or by its name."""
    where = f"conditions[{part.batch_key!r}][{index}]"
    if isinstance(value, str):
        if value in part.names:
            return part.names.index(value)
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            valid = part.names or [f"0 to {part.classes - 1}"]
            raise UsageError(f"{where}={arguments.got(value)}: {did_you_mean(value[:60], valid)}")
        value = int(value)
    return arguments.whole(where, value, NULL, part.classes - 1)


def _encoded(data: Any, prompts: Sequence[str] | None) -> np.ndarray:
    """Prompts as ids, int32[len(prompts), T]."""
    if not hasattr(data, "encode"):
        raise UsageError(f"{type(data).__name__} cannot read prompts")
    texts = [""] if prompts is None else arguments.items("prompts", prompts, '["a red circle"]')
    for i, prompt in enumerate(texts):
        if not isinstance(prompt, str) or not _is_unicode(prompt):
            raise UsageError(f"prompts[{i}]={arguments.got(prompt)}: wanted a text")
    if not texts:
        raise UsageError("prompts are empty: name at least one text")
    return data.encode(texts)


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair."""
    return all(not "\ud800" <= letter <= "\udfff" for letter in text)
