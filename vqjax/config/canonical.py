"""The canonical form of an experiment, for its digest: it outlives changes of vqjax itself.

A field whose value is the one that an absent field has in a record (`tree.absent`) is left out, so
that a field which vqjax gets later changes no digest of what was there before. A class goes by its
first name (`names.RENAMED`), and 1.0 is 1, as where two experiments are compared.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from vqjax.config.names import first_name
from vqjax.config.tree import absent, fields_of, is_object, is_required
from vqjax.config.values import CLASS, encode, fingerprint, tag_of


def digest(value: Any, leave_out: Mapping[str, tuple[str, ...]]) -> str:
    """The sha256 of a tree.

    Args:
        value: an experiment, or anything that `encode` takes.
        leave_out: {class: fields} that do not count.
    """
    text = json.dumps(_canonical(value, leave_out), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any, leave_out: Mapping[str, tuple[str, ...]]) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is tuple:
        return [_canonical(v, leave_out) for v in value]
    if isinstance(value, Mapping):
        return {"mapping": {k: _canonical(v, leave_out) for k, v in value.items()}}
    if isinstance(value, np.ndarray):
        value = fingerprint(value, "")
    if not is_object(value):
        return encode(value)
    tag = tag_of(type(value))
    ignored = leave_out.get(tag[CLASS], ())  # a user's own class of the same name has another tag
    tag[CLASS] = first_name(tag[CLASS])
    fields = {}
    for name, field in fields_of(type(value)).items():
        if name in ignored:
            continue
        below = _canonical(getattr(value, name), leave_out)
        if is_required(field) or below != _canonical(absent(field), leave_out):
            fields[name] = below
    return tag | {"fields": fields}
