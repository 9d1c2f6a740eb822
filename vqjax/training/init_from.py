"""Step 0 from another run: its arrays where name, shape and dtype are the same.

Other arrays are initialized anew only where `init_new` names them, so that nothing stays untrained
by accident; dtypes are cast only with `init_cast`.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jax
from jax.sharding import Mesh

from vqjax.hub import run_path
from vqjax.training import distributed, packed
from vqjax.training.checkpoint import newest_sound
from vqjax.training.experiment import Experiment
from vqjax.training.partition import path_of
from vqjax.training.record import ExperimentRecord, is_pack, load_record, owner_of
from vqjax.training.restore import open_run
from vqjax.training.state import state_shapes
from vqjax.types import ArraySpec, DataError, Tree, UsageError

SHOWN = 6  # differences in a line


@dataclasses.dataclass(frozen=True)
class Difference:
    """How the arrays of a run compare with those of the experiment.

    Attributes:
        same: paths of arrays to take over.
        cast: those among them whose dtype changes.
        new: {path: why} of arrays that are initialized anew.
        unused: paths of the run's other arrays.
        step: of the run, whose arrays are taken.
    """

    same: tuple[str, ...]
    cast: tuple[str, ...]
    new: Mapping[str, str]
    unused: tuple[str, ...]
    step: int

    def lines(self, source: str) -> Iterator[str]:
        """The comparison as lines of text."""
        yield f"{len(self.same)} arrays from {source}"
        if self.cast:
            yield f"  dtype changed: {_list(self.cast)}"
        if self.new:
            yield f"  new here: {_list([f'{p} ({why})' for p, why in self.new.items()])}"
        if self.unused:
            yield f"  not used: {_list(self.unused)}"


def _list(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def check_init_from(
    experiment: Experiment, inputs: Mapping[str, ArraySpec], trust: Sequence[str] = ()
) -> Difference:
    """Compares only shapes, and finds the newest sound step; nothing is computed or loaded. To be
    called on all processes.

    Raises:
        DataError: no run there, or none with a sound step.
        UsageError: an array differs that `init_new` or `init_cast` does not cover.
    """
    record = distributed.agree(lambda: load_record(experiment.init_from, trust))
    compared = distributed.agree(lambda: _compare(experiment, inputs, record))
    run = run_path(experiment.init_from, "init_from")
    if is_pack(run):
        return Difference(*compared, distributed.from_first(lambda: packed.step_of(run)))
    folder = run / "checkpoints"
    step, _ = distributed.from_first(lambda: newest_sound(folder, owner=owner_of(record)))
    if step is None:
        raise DataError(f"{experiment.init_from} has no sealed checkpoint yet")
    return Difference(*compared, step)


def _compare(
    experiment: Experiment, inputs: Mapping[str, ArraySpec], record: ExperimentRecord
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """All of a `Difference` but its step."""
    state = state_shapes(experiment, inputs)
    target = _leaves(state)
    source = _leaves(_shapes_in(record, run_path(experiment.init_from, "init_from")))
    _check_names(experiment.init_new, target)
    same, cast, new = [], [], {}
    for path, leaf in target.items():
        is_new = _is_below(path, experiment.init_new)
        saved = source.get(path)
        if is_new:
            new[path] = "as requested"
        elif saved is None or saved.shape != leaf.shape:
            new[path] = f"{_show(leaf)} here, {_show(saved)} there"
        else:
            same.append(path)
            if saved.dtype != leaf.dtype:
                cast.append(path)
    misfits = [path for path, why in new.items() if why != "as requested"]
    if misfits:
        details = [f"{path} is {new[path]}" for path in misfits]
        raise UsageError(
            f"init_from={experiment.init_from} does not fit: {_list(details)}; to initialize these "
            f"anew add init_new={','.join(_roots(misfits, same, _codebooks(state)))}"
        )
    if cast and not experiment.init_cast:
        path = cast[0]
        raise UsageError(
            f"init_from={experiment.init_from}: {path} is {source[path].dtype} there and "
            f"{target[path].dtype} here: add init_cast=true to change it ({len(cast)} arrays)"
        )
    unused = tuple(path for path in source if path not in target)
    return tuple(same), tuple(cast), new, unused


def _shapes_in(record: ExperimentRecord, run: pathlib.Path) -> Tree:
    """The shapes of a run's state; of a pack, of the network that it has."""
    state = state_shapes(record.experiment, record.inputs)
    if not is_pack(run):
        return state
    player = packed.network_player(record.experiment)
    params, collections = ({player: tree[player]} for tree in (state.params, state.collections))
    return state.replace(params=params, collections=collections)


def _leaves(state: Tree) -> dict[str, jax.ShapeDtypeStruct]:
    """{path: shape and dtype} of parameters ("tokenizer/...") and codebooks
    ("tokenizer/codebook/...").
    """
    leaves = {}
    for tree in (state.params, state.collections):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            leaves[path_of(path)] = leaf
    return leaves


def _check_names(names: Sequence[str], target: Mapping[str, object]) -> None:
    for name in names:
        if not any(_is_below(path, (name,)) for path in target):
            near = sorted({"/".join(path.split("/")[:3]) for path in target})
            raise UsageError(f"init_new: no array here is below {name!r} (there are {_list(near)})")


def _is_below(path: str, names: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in names)


def _codebooks(state: Tree) -> list[str]:
    return [f"{player}/{name}" for player, books in state.collections.items() for name in books]


def _roots(misfits: Sequence[str], same: Sequence[str], codebooks: Sequence[str]) -> list[str]:
    """The shortest paths below which nothing fits; a codebook's statistics are useless without each
    other, so `codebooks` are not divided.
    """
    roots: list[str] = []
    for path in misfits:
        if _is_below(path, roots):
            continue
        parts = path.split("/")
        names = ["/".join(parts[:n]) for n in range(2, len(parts) + 1)]
        free = (n for n in names if n in codebooks or not any(_is_below(p, (n,)) for p in same))
        roots.append(next(free))
    return roots


def _show(leaf: jax.ShapeDtypeStruct | None) -> str:
    return "nothing" if leaf is None else f"{leaf.dtype}{list(leaf.shape)}"


def take_over(
    params: Tree,
    collections: Tree,
    experiment: Experiment,
    mesh: Mesh,
    step: int,
    trust: Sequence[str] = (),
) -> tuple[Tree, Tree, str]:
    """The trees with the arrays that fit from `step` of `experiment.init_from`, and their source:
    "RUN, step N, averaged parameters".
    """
    run = open_run(experiment.init_from, step=step, mesh=mesh, trust=trust)
    arrays = {}
    for tree in (run.params, run.collections):
        arrays |= {path_of(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(tree)}

    def take(path: tuple, leaf: jax.Array) -> jax.Array:
        saved = arrays.get(path_of(path))
        if saved is None or _is_below(path_of(path), experiment.init_new):
            return leaf
        return saved.astype(leaf.dtype)

    kind = {"ema": "averaged", "raw": "raw"}[run.params_kind]
    source = f"{run.path}, step {run.step}, {kind} parameters"
    params, collections = (
        jax.tree_util.tree_map_with_path(take, tree) for tree in (params, collections)
    )
    return params, collections, source
