"""Experiments as plain objects: JSON, overrides, experiment files, frozen runs."""

from vqjax.config.annotations import MissingArray, check_types
from vqjax.config.files import load_file
from vqjax.config.frozen import FrozenRun, apply_frozen, find_frozen, with_frozen
from vqjax.config.names import foreign_classes, foreign_sources
from vqjax.config.overrides import apply_override, apply_overrides
from vqjax.config.show import describe, difference
from vqjax.config.tree import check_single_use, show
from vqjax.config.values import decode, encode, from_json, read_json, to_json

__all__ = [
    "FrozenRun",
    "MissingArray",
    "apply_frozen",
    "apply_override",
    "apply_overrides",
    "check_single_use",
    "check_types",
    "decode",
    "describe",
    "difference",
    "encode",
    "find_frozen",
    "foreign_classes",
    "foreign_sources",
    "from_json",
    "load_file",
    "read_json",
    "show",
    "to_json",
    "with_frozen",
]
