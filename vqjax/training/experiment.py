"""`Experiment`: the complete description of one training run, as plain objects.

An experiment file defines `experiment(...)` that returns one; its tree is written to the run as
JSON and read back without the file (`vqjax.config`).
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
from flax import linen as nn

from vqjax.config import FrozenRun, check_types
from vqjax.ops.schedules import Schedule, as_schedule
from vqjax.training.mesh import MeshShape
from vqjax.training.optim import Optimizer
from vqjax.types import (
    Alarm,
    ArraySpec,
    Batch,
    Context,
    TaskOutput,
    Tree,
    UsageError,
    check_offers,
    did_you_mean,
)

__all__ = ["Experiment", "Task"]

COMPUTE_DTYPES = ("bfloat16", "float32", "float64")
TASK_NEEDS = (
    "players",
    "terms",
    "averaged",
    "weights",
    "check",
    "init",
    "start",
    "update",
    "alarm",
)
SIGNATURES = {  # of a task's methods
    "__call__": ("params", "collections", "frozen", "batch", "context"),
    "start": ("params", "collections", "frozen", "batches", "rng"),
}
DATA_NEEDS = ("train", "eval", "example_spec", "check", "notes")
OPTIMIZER_NEEDS = ("learning_rate", "clip", "start", "every", "offset", "direction")
SCHEDULE_NUMBERS = ("value", "start", "steps", "warmup", "final")


class Task(Protocol):
    """The interface of a model for training; `vqjax.tasks.Task` documents each member.

    `terms` maps every loss term to the player that it trains; `weights` has the same names: the
    values of the task's field `loss_weights`, else the defaults of its parts. `averaged` are the
    players whose parameters `ema_decay` averages.
    """

    players: tuple[str, ...]
    weights: Mapping[str, float | Schedule]
    terms: Mapping[str, str]
    averaged: tuple[str, ...]
    check: Callable[[Mapping[str, ArraySpec]], None]
    init: Callable[[jax.Array, Batch], tuple[Tree, Tree]]  # parameters and collections by player
    start: Callable[[Tree, Tree, Tree, Iterator[Batch], jax.Array], tuple[Tree, Tree]]
    update: Callable[[Tree, Tree, Tree, jax.Array, jax.Array], tuple[Tree, Tree]]
    alarm: Callable[[Mapping[str, float]], Alarm | None]

    def __call__(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> TaskOutput: ...


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run.

    Attributes:
        task: what a batch means (`vqjax.tasks`): networks, losses and their weights.
        data: where batches come from (`vqjax.data`).
        optimizers: one per player of the task, by the player's name.
        batch_size: examples per step, over all devices and hosts.
        total_steps: parameter updates until the run is done.
        compute_dtype: "float32" or "bfloat16": the precision of the networks' layers. Parameters,
            lookups, losses and optimizer states stay in float32. "float64" needs JAX_ENABLE_X64.
        accumulate: microbatches per step; the batch is cut into so many parts of equal size.
        ema_decay: decay per step of the averaged parameters kept beside the raw ones, or None.
        seed: of parameters, data order, augmentation and noise.
        eval_batch_size: examples per evaluation batch; None: `batch_size`.
        log_every: steps between lines of metrics.
        eval_every: steps between evaluations; None: as `save_every`.
        save_every: steps between checkpoints; None: max(50, total_steps // 10).
        keep: checkpoints kept, the newest ones.
        max_nonfinite: steps in a row with infinite or NaN gradients after which the run ends.
        mesh: how the devices are laid out; a run resumes in any other layout.
        init_from: another run, with whose newest parameters and codebooks step 0 begins.
        init_new: paths below which arrays are initialized anew, such as "prior/head".
        init_cast: whether to cast arrays of another dtype.
    """

    task: Any
    data: Any
    optimizers: Mapping[str, Optimizer]
    batch_size: int
    total_steps: int
    compute_dtype: str = "float32"
    accumulate: int = 1
    ema_decay: float | None = None
    seed: int = 0
    eval_batch_size: int | None = None
    log_every: int = 10
    eval_every: int | None = None
    save_every: int | None = None
    keep: int = 3
    max_nonfinite: int = 10
    mesh: MeshShape = MeshShape()
    init_from: str | None = None
    init_new: tuple[str, ...] = ()
    init_cast: bool = False

    def network_task(self) -> Any:
        """The task with `compute_dtype` put into every layer that names no dtype of its own."""
        return with_dtype(self.task, self.compute_dtype)

    @property
    def save_period(self) -> int:
        return self.save_every or max(50, self.total_steps // 10)

    @property
    def eval_period(self) -> int:
        return self.eval_every or self.save_period

    def check(self) -> None:
        """Refuses, with UsageError, settings that contradict each other. Reads no data."""
        check_types(self)
        self.check_parts()
        self._check_numbers()
        if self.init_from is None and (self.init_new or self.init_cast):
            raise UsageError("init_new and init_cast need init_from")
        _same_names("optimizers", self.optimizers, self.task.players)
        _same_names("task.loss_weights", self.task.weights, self.task.terms)
        for name, weight in self.task.weights.items():
            _check_schedule(f"task.loss_weights.{name}", weight)
        for player, optimizer in self.optimizers.items():
            self._check_optimizer(player, optimizer)

    def check_parts(self) -> None:
        """Refuses, with UsageError, a task, data or an optimizer that lacks methods or fields."""
        check_offers("task", self.task, TASK_NEEDS)
        _check_calls(self.task)
        check_offers("data", self.data, DATA_NEEDS)
        for player, optimizer in self.optimizers.items():
            check_offers(f"optimizers.{player}", optimizer, OPTIMIZER_NEEDS)

    def _check_numbers(self) -> None:
        for name in ("batch_size", "total_steps", "accumulate", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: at least 1 is needed")
        for name in ("save_every", "eval_every", "eval_batch_size", "max_nonfinite"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: at least 1 is needed")
        if self.batch_size % self.accumulate:
            raise UsageError(
                f"batch_size={self.batch_size} cannot be cut into accumulate={self.accumulate} "
                "equal parts"
            )
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise UsageError(
                f"compute_dtype={self.compute_dtype!r}: "
                f"{did_you_mean(self.compute_dtype, COMPUTE_DTYPES)}"
            )
        if self.compute_dtype == "float64" and not jax.config.jax_enable_x64:
            raise UsageError("compute_dtype='float64' needs JAX_ENABLE_X64=1 in the environment")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed={self.seed}: wanted 0 <= seed < 2**32")
        if self.ema_decay is not None and not 0.0 <= self.ema_decay < 1.0:
            raise UsageError(f"ema_decay={self.ema_decay}: wanted 0 <= ema_decay < 1")

    def _check_optimizer(self, player: str, optimizer: Optimizer) -> None:
        where = f"optimizers.{player}"
        _check_schedule(f"{where}.learning_rate", optimizer.learning_rate)
        if optimizer.clip is not None and not optimizer.clip > 0:
            raise UsageError(f"{where}.clip={optimizer.clip}: wanted a number above 0, or None")
        if optimizer.every < 1 or not 0 <= optimizer.offset < optimizer.every:
            raise UsageError(
                f"{where}: every={optimizer.every}, offset={optimizer.offset}: "
                "wanted every >= 1 and 0 <= offset < every"
            )
        name_clash = self.task.weights.get(player)
        if name_clash is not None and as_schedule(name_clash).start:
            raise UsageError(f"task.loss_weights.{player} has a start: set {where}.start instead")


def _check_calls(task: Any) -> None:
    """Refuses, with UsageError, a task whose methods take other arguments."""
    kind = type(task)
    for name, expected in SIGNATURES.items():
        method = next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)
        if method is None:
            raise UsageError(f"task: {kind.__name__} does not fit here: it has no {name!r}")
        try:
            inspect.signature(method).bind(task, *expected)
        except TypeError as error:
            call = f"{kind.__name__}.{name}(self, {', '.join(expected)})"
            hint = ": context has rng, step, active, train and statistics"
            raise UsageError(
                f"task: wanted {call}{hint if name == '__call__' else ''} ({error})"
            ) from error
        except ValueError:  # not a Python function: no signature
            continue


def with_dtype(value: Any, dtype: str) -> Any:
    """Sets `dtype` where an object's field `dtype` is None, anywhere in a tree of objects.

    A frozen run keeps the dtype of its own experiment.
    """
    if isinstance(value, Mapping):
        return {k: with_dtype(v, dtype) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(with_dtype(v, dtype) for v in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type | FrozenRun):
        return value
    changes = {}
    for field in dataclasses.fields(value):
        if field.name in ("parent", "name") or not field.init:
            continue
        old = getattr(value, field.name)
        new = dtype if field.name == "dtype" and old is None else with_dtype(old, dtype)
        if new is not old:
            changes[field.name] = new
    if not changes:
        return value
    return (
        value.clone(**changes)
        if isinstance(value, nn.Module)
        else dataclasses.replace(value, **changes)
    )


def _check_schedule(where: str, value: Any) -> None:
    """Refuses a number, or a schedule with one, that is not finite or below 0."""
    numbers = {where: value}
    if isinstance(value, Schedule):
        fields = vars(value)
        numbers = {f"{where}.{name}": fields[name] for name in SCHEDULE_NUMBERS if name in fields}
    for name, number in numbers.items():
        if isinstance(number, int | float) and not 0 <= number < math.inf:
            raise UsageError(f"{name}={number}: wanted a finite number, at least 0")


def _same_names(where: str, names: Mapping[str, Any], expected: Any) -> None:
    for name in names:
        if name not in expected:
            raise UsageError(f"{where} has no {name!r}: {did_you_mean(name, expected)}")
    for name in expected:
        if name not in names:
            raise UsageError(f"{where} lacks {name!r} (it has {', '.join(names) or 'nothing'})")
