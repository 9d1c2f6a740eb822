"""A published file as a tokenizer and its parameters."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from vqjax.convert.layouts import as_ours
from vqjax.convert.structure import GROUPS, PROJECTED, PROJECTION, Plan, plan_of
from vqjax.features.weights import read_weights
from vqjax.tokenizers import Tokenizer
from vqjax.types import DataError, Tree

CONFIG = "config.json"
DIFFUSERS_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
MOST_CONFIG = 1 << 20  # bytes


@dataclasses.dataclass(frozen=True)
class Read:
    """What a file holds.

    Attributes:
        path: of the file.
        format: of its names.
        root: what they begin with.
        tokenizer: the network.
        params: of it.
        lines: of what its settings say that has no place in a tokenizer.
    """

    path: pathlib.Path
    format: str
    root: str
    tokenizer: Tokenizer
    params: Tree
    lines: tuple[str, ...]


def read(path: pathlib.Path, wanted: str | None = None) -> Read:
    """Reads a file of weights, or a folder as diffusers writes it.

    Args:
        path: safetensors, or torch's .pt, .pth, .ckpt or .bin.
        wanted: the format; None: by the names of its arrays.

    Raises:
        DataError: it cannot be read, names do not match, or numbers are not finite.
        UsageError: there is no such format.
    """
    path = _file_in(path)
    settings = _settings(path)
    found: list[Plan] = []

    def choose(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        try:
            found.append(plan_of(shapes, wanted, settings.get("norm_num_groups", GROUPS)))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        (plan,) = found
        root, composed = plan.root, plan.composed
        more = [
            name for name in shapes if name.startswith((f"{root}quant_conv.", f"{root}quantize."))
        ]
        return [*dict.fromkeys([*plan.names.values(), *(more if composed else ())])]

    arrays = read_weights(path, choose)
    (plan,) = found
    params = _params(path, plan, arrays)
    _check_settings(path, settings)
    return Read(
        path, plan.layout.name, plan.root, plan.tokenizer, params, tuple(_lines(plan, settings))
    )


def _file_in(path: pathlib.Path) -> pathlib.Path:
    if not path.is_dir():
        return path
    files = [path / name for name in DIFFUSERS_FILES if (path / name).is_file()]
    if not files:
        raise DataError(
            f"{path} holds neither {' nor '.join(DIFFUSERS_FILES)}: name the file itself"
        )
    return files[0]


def _settings(path: pathlib.Path) -> dict[str, Any]:
    """The settings that diffusers writes beside its file; {}: there are none."""
    file = path.parent / CONFIG
    if path.name not in DIFFUSERS_FILES or not file.is_file():
        return {}
    try:
        if os.path.getsize(file) > MOST_CONFIG:
            raise ValueError(f"more than {MOST_CONFIG:,} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
        groups = content.get("norm_num_groups", GROUPS)
        if type(groups) is not int or groups < 1:
            raise ValueError(f"norm_num_groups={groups!r}")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    return content


def _check_settings(path: pathlib.Path, settings: Mapping[str, Any]) -> None:
    """Refuses what makes another network of the same arrays."""
    for name, ours in (("act_fn", "silu"), ("norm_type", "group"), ("lookup_from_codebook", False)):
        if settings.get(name, ours) != ours:
            raise DataError(
                f"{path.parent / CONFIG}: {name}={settings[name]!r}: here it can only be {ours!r}"
            )


def _lines(plan: Plan, settings: Mapping[str, Any]) -> list[str]:
    lines = []
    names = ("scaling_factor", "shift_factor")
    scales = {n: settings[n] for n in names if settings.get(n) is not None}
    if scales and plan.tokenizer.quantizer.codebook_size == 0:
        listed = ", ".join(f"{name}={value}" for name, value in scales.items())
        lines.append(f"{listed}: of the diffusion model over its latents, not applied here")
    if plan.missing:
        lines.append("it has no layers beside its latents: these pass everything on here")
    return lines


def _params(path: pathlib.Path, plan: Plan, arrays: Mapping[str, np.ndarray]) -> Tree:
    found = {}
    for ours, name in plan.names.items():
        found[ours] = as_ours(ours, arrays[name], len(plan.shapes[ours]))
    for ours in plan.missing:
        shape = plan.shapes[ours]
        found[ours] = np.eye(*shape) if len(shape) == 2 else np.zeros(shape)
    if plan.composed:
        found |= _gumbel(plan, arrays)
    for ours, shape in plan.shapes.items():
        array = found[ours]
        name = plan.names.get(ours, ours)
        if array.shape != shape:
            raise DataError(f"{path}: {name} is {array.shape} here, wanted {shape}")
        if array.dtype.kind not in "fV":  # bfloat16 is of numpy's kind V
            raise DataError(f"{path}: {name} holds {array.dtype}, wanted floats")
        found[ours] = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(found[ours]).all():
            raise DataError(f"{path}: {name} holds numbers that are not finite")
    return unflatten_dict(found, sep="/")


def _gumbel(plan: Plan, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The projection to logits, of two linear layers one after the other, and the codes."""
    first, second = (
        [
            as_ours(f"layer/{ours}", arrays[f"{plan.root}{name}.{theirs}"].astype(np.float64), 2)
            for ours, theirs in (("kernel", "weight"), ("bias", "bias"))
        ]
        for name in ("quant_conv", PROJECTION)
    )
    return {
        "pre_quant/kernel": first[0] @ second[0],
        "pre_quant/bias": first[1] @ second[0] + second[1],
        "quantizer/codes": arrays[f"{plan.root}{PROJECTED}"],
    }
