"""A data set as tokens: `vqjax tokenize`."""

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh

from vqjax import arguments
from vqjax._version import __version__
from vqjax.data.token_set import DESCRIPTION, read_description, shard_path, write_shard
from vqjax.files import read_text, write_output
from vqjax.paths import as_path
from vqjax.runs.base import check_can
from vqjax.runs.load import run_class
from vqjax.tasks.base import GAIN, LENGTH, inputs_of
from vqjax.training import packed
from vqjax.training.experiment import Experiment
from vqjax.training.mesh import make_mesh
from vqjax.training.platform import devices_at_hand, jax_defaults
from vqjax.training.restore import OpenedRun, open_run
from vqjax.training.sharding import put_batch, replicated
from vqjax.training.state import is_host_only
from vqjax.types import ArraySpec, Batch, Level, Tree, UsageError, VqjaxError, check_offers

SHARD = 16_384  # examples
SPLITS = ("train", "eval")
BATCH_VALUES = 1 << 24  # of a batch, where it is not the least
Batches = Callable[[str, int, int], Iterator[Batch]]


def tokenize_run(
    run: str | os.PathLike,
    out: str | os.PathLike,
    *,
    step: int | None = None,
    samples: int | None = None,
    trust: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> pathlib.Path:
    """Writes the tokens of a run's data set; existing shards stay.

    Args:
        run: a tokenizer's run directory, whose averaged parameters are used where it keeps them,
            as priors do; `step`, `trust`: see `open_run`.
        out: the folder of the token set.
        samples: of each clip of sound the first ones alone, a multiple of the hop; None: all, as
            many as the longest has.
        say: is called with each message from opening the run and its data.

    Raises:
        DataError: no run, or its data is not at hand.
        UsageError: nothing discrete in the run, a folder with other tokens, or one that cannot be
            written; `samples` of what is no sound, or that the tokenizer does not take.
    """
    folder, devices = as_path(out, "--out"), devices_at_hand()
    mesh = make_mesh(devices if SHARD % len(devices) == 0 else devices[:1])
    opened = open_run(run, step=step, trust=trust, mesh=mesh)
    for line in opened.lines:
        say(line)
    experiment = opened.experiment
    check_can(run_class(experiment.task), experiment, opened.path, "tokenize", "encode")
    source = experiment.data
    source.check()
    for line in source.notes():
        say(line)
    if not hasattr(source, "in_order"):
        raise UsageError(f"{type(source).__name__} cannot be read in order: it has no in_order()")
    task = experiment.network_task()
    check_offers(f"{opened.path}: tokens of it: its task", task, ("encode", "token_layout"))
    spec = source.example_spec()
    shape, batches = _examples(source, task, samples)
    levels = task.token_layout(shape)
    if not levels:
        raise UsageError(f"{opened.path} has no tokens, only latents")
    others = [name for name in spec if name != task.inputs and not is_host_only(name)]
    description = _describe(opened, levels, {name: spec[name] for name in others})
    _write_description(folder, description)
    encode_batch = _encoder(opened, task, mesh)
    size = _batch_size(experiment, mesh, math.prod(shape))
    for split in SPLITS:
        _write_split(folder, split, description, batches, encode_batch, others, size)
    return folder


def _encoder(opened: OpenedRun, task: Any, mesh: Mesh) -> Callable[[Batch], Tree]:
    """A source's batch -> its tokens, {level name: int32[B, *grid]}."""
    encode = jax.jit(
        lambda p, c, batch: task.encode(p, c, inputs_of(batch, task.inputs)).indices,
        out_shardings=replicated(mesh),
    )

    def encode_batch(batch: Batch) -> Tree:
        needed = {name: batch[name] for name in (task.inputs, GAIN) if name in batch}
        with jax.set_mesh(mesh), jax_defaults(opened.experiment.compute_dtype):
            put = put_batch(needed, mesh)
            return jax.device_get(encode(opened.params, opened.collections, put))

    return encode_batch


def _examples(source: Any, task: Any, samples: int | None) -> tuple[tuple[int, ...], Batches]:
    """The shape of an example, and what makes batches of them: (split, size, start step) -> ...

    Clips of sound are whole, zeros behind them: windows would end them anywhere.
    """
    shape = tuple(source.example_spec()[task.inputs].shape)
    if not hasattr(source, "clip_lengths"):
        if samples is not None:
            kind = type(source).__name__
            raise UsageError(f"samples={samples}: {kind} has no whole clips of sound to cut")
        return shape, source.in_order
    if samples is None:
        longest = max(int(source.clip_lengths(split).max(initial=0)) for split in SPLITS)
        samples = task.padded(max(longest, 1))
    samples = arguments.whole("samples", samples, 1, arguments.MOST_COUNT)
    task.token_layout((samples, *shape[1:]))  # refuses what is no multiple of the hop

    def batches(split: str, size: int, start_step: int) -> Iterator[Batch]:
        lengths = source.clip_lengths(split)
        for first in range(start_step * size, len(lengths), size):
            positions = np.arange(first, first + size)
            indices = np.minimum(positions, len(lengths) - 1)
            batch = source.clips(split, indices, max(samples, int(lengths[indices].max())))
            yield {
                **batch,
                task.inputs: batch[task.inputs][:, :samples],
                LENGTH: np.minimum(batch[LENGTH], samples),
                "mask": positions < len(lengths),
            }

    return (samples, *shape[1:]), batches


def _describe(
    opened: OpenedRun, levels: Sequence[Level], others: Mapping[str, ArraySpec]
) -> dict[str, Any]:
    """The contents of DIR/tokens.json."""
    source = opened.experiment.data
    return {
        "vqjax": __version__,
        "tokenizers": [
            {
                "run": str(opened.path),
                "step": opened.step,
                "params": opened.params_kind,
                "seal": packed.seal_of(opened.path, opened.step),
            }
        ],
        "levels": [
            {"name": v.name, "grid": list(v.grid), "codebook_size": v.codebook_size} for v in levels
        ],
        "arrays": {
            **{v.name: ArraySpec(v.grid, _smallest(v.codebook_size)).as_json() for v in levels},
            **{name: spec.as_json() for name, spec in others.items()},
        },
        "classes": _class_names(source, others),
        "examples": {"train": source.num_train(), "eval": source.num_eval()},
        "shard": SHARD,
    }


def _class_names(source: Any, others: Mapping[str, ArraySpec]) -> dict[str, list[str]]:
    """{array: the names of its classes}, of those whose names the source knows."""
    found = {}
    for name in others if hasattr(source, "class_names") else ():
        with contextlib.suppress(VqjaxError):  # no classes, or without names
            found[name] = list(source.class_names(name))
    return found


def _smallest(codebook_size: int) -> str:
    """The narrowest dtype that holds every index."""
    return "uint8" if codebook_size <= 2**8 else "uint16" if codebook_size <= 2**16 else "int32"


def _batch_size(experiment: Experiment, mesh: Any, values: int) -> int:
    """A multiple of the devices that divides a shard, of examples of so many values."""
    most = min(experiment.eval_batch_size or experiment.batch_size, BATCH_VALUES // values)
    size = mesh.size
    while size * 2 <= most and SHARD % (size * 2) == 0:
        size *= 2
    return size


def _write_description(folder: pathlib.Path, description: dict[str, Any]) -> None:
    """Writes that of a new token set, or checks that an existing one is the same."""
    path = folder / DESCRIPTION
    if path.exists():
        existing = read_description(folder)
        old = json.loads(read_text(path))
        for key in ("levels", "arrays", "examples", "shard"):
            if old[key] != description[key]:
                raise UsageError(f"{folder} holds other tokens ({key} differ): name another --out")
        if existing["seals"] != tuple(run["seal"] for run in description["tokenizers"]):
            raise UsageError(f"{folder} holds tokens of another step or run, {existing['run']}")
        return
    for split, total in description["examples"].items():
        for name in description["arrays"]:
            for number in range(-(-total // SHARD)):
                if (shard := shard_path(folder, split, name, number)).exists():
                    raise UsageError(
                        f"{shard} is there without {DESCRIPTION}, so nobody knows what it holds: "
                        "name another --out"
                    )
    write_output(path, json.dumps(description, indent=2))


def _write_split(
    folder: pathlib.Path,
    split: str,
    description: dict[str, Any],
    make_batches: Batches,
    encode_batch: Callable[[Batch], Tree],
    others: Sequence[str],
    batch_size: int,
) -> None:
    arrays, total = description["arrays"], description["examples"][split]
    missing = [
        number
        for number in range(-(-total // SHARD))
        if not all(shard_path(folder, split, name, number).is_file() for name in arrays)
    ]
    steps = SHARD // batch_size
    bar = tqdm.tqdm(total=len(missing), desc=f"tokens of {split}", unit="shard", disable=None)
    for number in missing:
        rows: dict[str, list[np.ndarray]] = {name: [] for name in arrays}
        batches = make_batches(split, batch_size, number * steps)
        for _, batch in zip(range(steps), batches, strict=False):
            mask = batch["mask"]
            for name, values in encode_batch(batch).items():
                rows[name].append(values[mask])
            for name in others:
                rows[name].append(np.asarray(batch[name])[mask])
        shard = {k: np.concatenate(v).astype(arrays[k]["dtype"]) for k, v in rows.items()}
        write_shard(folder, split, number, shard)
        bar.update()
    bar.close()
