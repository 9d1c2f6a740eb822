"""Opening a run: record -> shapes -> shardings for the mesh -> arrays."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import jax
from jax.sharding import Mesh

from vqjax import config
from vqjax.hub import run_path
from vqjax.paths import is_text
from vqjax.training import checkpoint, packed
from vqjax.training.experiment import Experiment
from vqjax.training.logbook import METRICS, last_recorded
from vqjax.training.mesh import make_mesh
from vqjax.training.partition import shardings
from vqjax.training.platform import COMPILE_QUICKLY, jax_defaults
from vqjax.training.record import RECORD, ExperimentRecord, is_pack, load_record, owner_of
from vqjax.training.state import TrainState, create_state, state_shapes
from vqjax.types import ArraySpec, DataError, Tree, UsageError, did_you_mean

PARAMS = ("auto", "ema", "raw")


@dataclasses.dataclass(frozen=True)
class OpenedRun:
    """A run's networks, ready to use.

    Attributes:
        path: of the run.
        record: of the run.
        step: of the checkpoint that was read.
        params: {player: tree}; averaged ones where `params_kind` is "ema".
        collections: {player: {collection: tree}}.
        params_kind: "ema" or "raw".
        lines: for the user, such as damaged checkpoints that were passed over.
    """

    path: pathlib.Path
    record: ExperimentRecord
    step: int
    params: Tree
    collections: Tree
    params_kind: str
    lines: tuple[str, ...]

    @property
    def experiment(self) -> Experiment:
        return self.record.experiment

    @property
    def inputs(self) -> dict[str, ArraySpec]:
        return self.record.inputs


def state_target(experiment: Experiment, inputs: dict[str, ArraySpec], mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the state; nothing is computed."""
    shapes = state_shapes(experiment, inputs)
    return jax.tree.map(
        lambda s, sharding: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding),
        shapes,
        shardings(shapes, mesh),
    )


def initial_state(experiment: Experiment, inputs: dict[str, ArraySpec], mesh: Mesh) -> TrainState:
    """Step 0, made with its shardings."""
    shapes = state_shapes(experiment, inputs)
    make = jax.jit(
        lambda: create_state(experiment, inputs),
        out_shardings=shardings(shapes, mesh),
        compiler_options=COMPILE_QUICKLY,
    )
    return make()


def usable(state: TrainState, kind: str) -> tuple[Tree, str]:
    """The parameters to use, and their kind.

    Args:
        kind: "ema", "raw", or "auto": averaged where the run keeps them.

    Raises:
        UsageError: "ema" of a run that keeps no averages.
    """
    if kind not in PARAMS:
        raise UsageError(f"params={kind!r}: {did_you_mean(kind, PARAMS)}")
    if kind == "ema" and not state.ema:
        raise UsageError("this run keeps no averaged parameters (ema_decay is None): use raw")
    if kind == "raw" or not state.ema:
        return state.params, "raw"
    return {**state.params, **state.ema}, "ema"


def _open_pack(
    run: pathlib.Path, record: ExperimentRecord, target: TrainState, step: int | None, params: str
) -> OpenedRun:
    """`open_run` of a pack, which has the network of one player alone."""
    if params not in PARAMS:
        raise UsageError(f"params={params!r}: {did_you_mean(params, PARAMS)}")
    player = packed.network_player(record.experiment)
    read = packed.read_pack(run, target, player, step, params)
    return OpenedRun(
        run, record, read.step, {player: read.params}, {player: read.collections}, read.kind, ()
    )


def open_run(
    path: str | os.PathLike,
    *,
    params: str = "auto",
    step: int | None = None,
    trust: Sequence[str] = (),
    frozen: Sequence[str] = (),
    mesh: Mesh | None = None,
) -> OpenedRun:
    """Opens a run's newest sound checkpoint, or that of `step`.

    Args:
        path: the run directory.
        params: see `usable`.
        step: a sealed step.
        trust: modules and files whose classes may be built.
        frozen: "NAME=PATH" where a frozen run or a file of weights has moved.
        mesh: for the arrays; None: all devices.

    Raises:
        DataError: no run, no checkpoint, or none that is sound.
    """
    run = run_path(path).absolute()
    record = load_record(run, trust)
    if not is_text(run):
        raise DataError(f"checkpoints cannot be read at {run}, which is not UTF-8: rename it")
    experiment = record.experiment
    for item in frozen:
        experiment = config.apply_frozen(experiment, item)
    record = dataclasses.replace(record, experiment=experiment)
    with jax_defaults(experiment.compute_dtype):
        mesh = mesh or make_mesh()
        try:
            target = state_target(experiment, record.inputs, mesh)
        except UsageError as error:
            raise DataError(f"{run / RECORD}: {error}") from error
        if is_pack(run):
            return _open_pack(run, record, target, step, params)
        restored = checkpoint.restore(run / "checkpoints", target, step, owner_of(record))
    if restored is None:
        raise DataError(f"{run} has no sealed checkpoint yet")
    chosen, kind = usable(restored.state, params)
    lines, recorded = restored.lines, last_recorded(run)
    if step is None and recorded > restored.step:
        lines += (
            f"{METRICS} goes on to step {recorded}, the newest checkpoint here is {restored.step}: "
            "the run trains on, was stopped between two checkpoints, or has lost some",
        )
    return OpenedRun(run, record, restored.step, chosen, restored.state.collections, kind, lines)
