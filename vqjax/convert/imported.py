"""A published tokenizer as a run: its record, and its parameters as step 0."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.config import apply_override
from vqjax.convert.reading import DIFFUSERS_FILES, Read
from vqjax.data import NoData
from vqjax.files import json_text
from vqjax.paths import as_path
from vqjax.tasks import TokenizerTask
from vqjax.tasks.parts import TOKENIZER
from vqjax.training.checkpoint import Checkpoints
from vqjax.training.experiment import Experiment
from vqjax.training.journal import unwritable, write_whole
from vqjax.training.optim import SGD
from vqjax.training.platform import COMPILE_QUICKLY, jax_defaults
from vqjax.training.record import ExperimentRecord, new_id, owner_of, write_record
from vqjax.training.seal import sha256
from vqjax.training.state import create_state, state_shapes
from vqjax.types import UsageError

SIZE = 256  # of pictures, where no data says
SOURCE = "source.json"


def experiment_of(read: Read, data: str | None = None) -> Experiment:
    """What describes the run: the network, a reconstruction loss, and its data.

    Args:
        data: a source as typed, such as 'Folder("DIR", 256)'; None: there is none.

    Raises:
        UsageError: it is no source, or its examples do not fit the network.
    """
    task = TokenizerTask(read.tokenizer, loss_weights={"l1": 1.0})
    shape = (SIZE, SIZE, read.tokenizer.decoder.channels)
    made = Experiment(
        task=task,
        data=NoData(shape),
        optimizers={TOKENIZER: SGD(1e-4)},
        batch_size=8,
        total_steps=1,
    )
    return made if data is None else apply_override(made, "data", data)


def write_run(
    read: Read, experiment: Experiment, workdir: pathlib.Path, command: tuple[str, ...] = ()
) -> None:
    """Writes the run.

    Raises:
        UsageError: there is something at `workdir`, or it cannot be written.
        DataError: the data is not at hand, or the disk is full.
    """
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UsageError(f"{workdir} is not empty: name another by --workdir")
    inputs = experiment.data.example_spec()
    experiment.task.check(inputs)
    with jax_defaults(experiment.compute_dtype):
        shapes = state_shapes(experiment, inputs)
        # Without the parameters, which come from the file.
        rest = jax.jit(
            lambda: create_state(experiment, inputs).replace(params={}),
            compiler_options=COMPILE_QUICKLY,
        )()
        params = {TOKENIZER: jax.tree.map(jnp.asarray, read.params)}
        state = rest.replace(params=params)
    jax.tree.map(_check_like, shapes, state)
    record = ExperimentRecord(experiment, inputs, workdir.name, command, id=new_id())
    write_record(workdir, record)
    try:
        content = {"file": read.path.name, "sha256": sha256(read.path), "format": read.format}
        write_whole(workdir / SOURCE, json_text(content))
    except OSError as error:
        raise unwritable(workdir, error) from error
    with Checkpoints(workdir / "checkpoints", 1, owner_of(record)) as checkpoints:
        checkpoints.save(0, state)


def _check_like(expected: jax.ShapeDtypeStruct, array: jax.Array) -> None:
    assert (expected.shape, expected.dtype) == (array.shape, array.dtype), (expected, array)


def default_workdir(path: pathlib.Path) -> pathlib.Path:
    """Where the run of a file goes."""
    path = path.absolute()
    path = path.parent if path.name in DIFFUSERS_FILES else path
    return as_path("runs").absolute() / (path.name if path.is_dir() else path.stem)


def described(read: Read) -> str:
    """What was read, in a line."""
    tokenizer, count = read.tokenizer, sum(a.size for a in jax.tree.leaves(read.params))
    quantizer = tokenizer.quantizer
    what: Any = f"{quantizer.codebook_size:,} codes of {quantizer.codebook_dim}"
    if quantizer.codebook_size == 0:
        what = f"{quantizer.codebook_dim} channels of latents"
    factor = int(np.max(tokenizer.encoder.factors))
    return (
        f"{read.format}: one position per {factor} x {factor} pixels, {what}, {count:,} parameters"
    )
