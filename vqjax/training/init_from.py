"""Step 0 out of another run: its arrays wherever name, shape and dtype are the same here.

What differs starts anew only where `init_new` names it, so that nothing is left untrained by
accident; a dtype is changed only where `init_cast` allows it.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import jax
from jax.sharding import Mesh

from vqjax.paths import as_path
from vqjax.training import distributed
from vqjax.training.checkpoint import newest_sound
from vqjax.training.experiment import Experiment
from vqjax.training.partition import path_of
from vqjax.training.record import Record, owner_of, read_record
from vqjax.training.restore import open_run
from vqjax.training.state import state_shapes
from vqjax.types import ArraySpec, DataError, Tree, UsageError

SHOWN = 6  # differences in a line


@dataclasses.dataclass(frozen=True)
class Difference:
    """How the arrays of a run compare with those that are wanted.

    Attributes:
        same: paths of arrays to take.
        cast: those among them that change their dtype.
        new: {path: what is here and there} of arrays that cannot be taken.
        left: paths of the run's arrays that nothing here asks for.
        step: of the run, from which all is taken.
    """

    same: tuple[str, ...]
    cast: tuple[str, ...]
    new: Mapping[str, str]
    left: tuple[str, ...]
    step: int

    def lines(self, source: str) -> Iterator[str]:
        """For people."""
        yield f"{len(self.same)} arrays from {source}"
        if self.cast:
            yield f"  dtype changed: {_some(self.cast)}"
        if self.new:
            yield f"  new here: {_some([f'{p} ({why})' for p, why in self.new.items()])}"
        if self.left:
            yield f"  not used: {_some(self.left)}"


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def check_init_from(
    experiment: Experiment, inputs: Mapping[str, ArraySpec], trust: Sequence[str] = ()
) -> Difference:
    """Compares shapes alone, and finds the newest sound step; nothing is computed or loaded. All
    processes call it alike.

    Raises:
        DataError: no run there, or none with a sound step.
        UsageError: something differs that `init_new` or `init_cast` does not name.
    """
    record = distributed.agree(lambda: read_record(experiment.init_from, trust))
    compared = distributed.agree(lambda: _compare(experiment, inputs, record))
    folder = as_path(experiment.init_from, "init_from") / "checkpoints"
    step, _ = distributed.from_first(lambda: newest_sound(folder, owner=owner_of(record)))
    if step is None:
        raise DataError(f"{experiment.init_from} has no sealed checkpoint yet")
    return Difference(*compared, step)


def _compare(
    experiment: Experiment, inputs: Mapping[str, ArraySpec], record: Record
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """All of a `Difference` but its step."""
    state = state_shapes(experiment, inputs)
    here = _leaves(state)
    there = _leaves(state_shapes(record.experiment, record.inputs))
    _check_names(experiment.init_new, here)
    same, cast, new = [], [], {}
    for path, leaf in here.items():
        named = _is_below(path, experiment.init_new)
        other = there.get(path)
        if named:
            new[path] = "as asked"
        elif other is None or other.shape != leaf.shape:
            new[path] = f"{_show(leaf)} here, {_show(other)} there"
        else:
            same.append(path)
            if other.dtype != leaf.dtype:
                cast.append(path)
    missing = [path for path, why in new.items() if why != "as asked"]
    if missing:
        told = [f"{path} is {new[path]}" for path in missing]
        raise UsageError(
            f"init_from={experiment.init_from} does not fit: {_some(told)}; to start these anew "
            f"add init_new={','.join(_roots(missing, same, _codebooks(state)))}"
        )
    if cast and not experiment.init_cast:
        path = cast[0]
        raise UsageError(
            f"init_from={experiment.init_from}: {path} is {there[path].dtype} there and "
            f"{here[path].dtype} here: add init_cast=true to change it ({len(cast)} arrays)"
        )
    left = tuple(path for path in there if path not in here)
    return tuple(same), tuple(cast), new, left


def _leaves(state: Tree) -> dict[str, jax.ShapeDtypeStruct]:
    """{path: shape and dtype} of parameters ("tokenizer/...") and codebooks
    ("tokenizer/codebook/...").
    """
    found = {}
    for tree in (state.params, state.collections):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            found[path_of(path)] = leaf
    return found


def _check_names(names: Sequence[str], here: Mapping[str, object]) -> None:
    for name in names:
        if not any(_is_below(path, (name,)) for path in here):
            near = sorted({"/".join(path.split("/")[:3]) for path in here})
            raise UsageError(f"init_new: no array here is below {name!r} (there are {_some(near)})")


def _is_below(path: str, names: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in names)


def _codebooks(state: Tree) -> list[str]:
    return [f"{player}/{name}" for player, books in state.collections.items() for name in books]


def _roots(missing: Sequence[str], same: Sequence[str], wholes: Sequence[str]) -> list[str]:
    """The shortest paths below which everything is missing; of `wholes`, what a codebook counts
    beside its codes, no part is of use without the others.
    """
    roots: list[str] = []
    for path in missing:
        if _is_below(path, roots):
            continue
        parts = path.split("/")
        names = ["/".join(parts[:n]) for n in range(2, len(parts) + 1)]
        free = (n for n in names if n in wholes or not any(_is_below(p, (n,)) for p in same))
        roots.append(next(free))
    return roots


def _show(leaf: jax.ShapeDtypeStruct | None) -> str:
    return "nothing" if leaf is None else f"{leaf.dtype}{list(leaf.shape)}"


def filled(
    params: Tree,
    collections: Tree,
    experiment: Experiment,
    mesh: Mesh,
    step: int,
    trust: Sequence[str] = (),
) -> tuple[Tree, Tree, str]:
    """The trees with everything that is the same taken from that `step` of `experiment.init_from`,
    and what that was: "RUN, step N, averaged parameters".
    """
    run = open_run(experiment.init_from, step=step, mesh=mesh, trust=trust)
    there = {}
    for tree in (run.params, run.collections):
        there |= {path_of(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(tree)}

    def take(path: tuple, leaf: jax.Array) -> jax.Array:
        other = there.get(path_of(path))
        if other is None or _is_below(path_of(path), experiment.init_new):
            return leaf
        return other.astype(leaf.dtype)

    kind = {"ema": "averaged", "raw": "raw"}[run.params_kind]
    source = f"{run.path}, step {run.step}, {kind} parameters"
    params, collections = (
        jax.tree_util.tree_map_with_path(take, tree) for tree in (params, collections)
    )
    return params, collections, source
