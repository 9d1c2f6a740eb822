"""Experiments as plain objects: JSON, overrides, experiment files, what is frozen under them.

Floor 0, imports floor 0. Most important file: `values.py`, objects to JSON and back.
"""

from vqjax.config.annotations import MissingArray, check_fields, check_types
from vqjax.config.canonical import digest
from vqjax.config.files import load_file
from vqjax.config.frozen import (
    FrozenRun,
    WeightFile,
    apply_frozen,
    find_files,
    find_frozen,
    find_owners,
    frozen_path,
    with_frozen,
)
from vqjax.config.names import foreign_classes, foreign_sources
from vqjax.config.overrides import apply_override, apply_overrides
from vqjax.config.show import describe, difference
from vqjax.config.tree import check_single_use, show
from vqjax.config.values import decode, encode, from_json, read_json, to_json
from vqjax.types import ArraySpec

__all__ = [
    "ArraySpec",
    "FrozenRun",
    "MissingArray",
    "WeightFile",
    "apply_frozen",
    "apply_override",
    "apply_overrides",
    "check_fields",
    "check_single_use",
    "check_types",
    "decode",
    "describe",
    "difference",
    "digest",
    "encode",
    "find_files",
    "find_frozen",
    "find_owners",
    "foreign_classes",
    "foreign_sources",
    "frozen_path",
    "from_json",
    "load_file",
    "read_json",
    "show",
    "to_json",
    "with_frozen",
]
