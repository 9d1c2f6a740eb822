"""Optimizers as data: each is a direction (an optax transformation) times a learning rate.

The learning rate is a number or a schedule of the global step, and `clip`, `start`, `every` and
`offset` say how one player moves: it takes part in step n (counted from 0) when n >= start and
(n - start) % every == offset. With two players, `every=2` and offsets 0 and 1 alternate them.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from vqjax.config.annotations import check_fields
from vqjax.ops.schedules import Schedule
from vqjax.types import UsageError, did_you_mean

__all__ = ["SGD", "Adam", "AdamW", "Muon", "Optimizer", "Optax", "Transform"]
VECTORS = ("scale", "bias", "gate")  # how the names of such parameters end


@runtime_checkable
class Optimizer(Protocol):
    """The optimizer interface of the training step."""

    learning_rate: float | Schedule
    clip: float | None
    start: int
    every: int
    offset: int

    def direction(self) -> optax.GradientTransformation:
        """Gradients -> the direction that is multiplied by minus the learning rate."""


def moves(optimizer: Optimizer, step: int) -> bool:
    """Whether the optimizer's player moves in step `step` (counted from 0)."""
    since = step - optimizer.start
    return since >= 0 and since % optimizer.every == optimizer.offset


def transformation(optimizer: Optimizer) -> optax.GradientTransformation:
    """Clipping by global norm, if set, then the direction."""
    if optimizer.clip is None:
        return optimizer.direction()
    return optax.chain(optax.clip_by_global_norm(optimizer.clip), optimizer.direction())


class _Betas:
    """Base of those with decays b1 and b2."""

    decays = ("b1", "b2")

    def __post_init__(self) -> None:
        check_fields(self)
        for name in self.decays:
            beta = getattr(self, name)
            if not 0.0 <= beta < 1.0:
                raise UsageError(f"{type(self).__name__}.{name}={beta}: wanted 0 <= {name} < 1")


@dataclasses.dataclass(frozen=True)
class SGD:
    """Gradient descent, with momentum or Nesterov's if set."""

    learning_rate: float | Schedule
    momentum: float | None = None
    nesterov: bool = False
    clip: float | None = None
    start: int = 0
    every: int = 1
    offset: int = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def direction(self) -> optax.GradientTransformation:
        if self.momentum is None:
            return optax.identity()
        return optax.trace(self.momentum, self.nesterov)


@dataclasses.dataclass(frozen=True)
class Adam(_Betas):
    """Adam (arXiv 1412.6980, algorithm 1)."""

    learning_rate: float | Schedule
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip: float | None = None
    start: int = 0
    every: int = 1
    offset: int = 0

    def direction(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(self.b1, self.b2, self.eps)


@dataclasses.dataclass(frozen=True)
class AdamW(_Betas):
    """Adam with decoupled weight decay (arXiv 1711.05101) on matrices and kernels.

    Biases, scales and other vectors do not decay, nor does a codebook: parameters named `codes`.
    """

    learning_rate: float | Schedule
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float | None = None
    start: int = 0
    every: int = 1
    offset: int = 0

    def direction(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_adam(self.b1, self.b2, self.eps), _decay(self.weight_decay)
        )


@dataclasses.dataclass(frozen=True)
class Muon(_Betas):
    """Momentum made orthogonal, of the matrices inside a transformer (arXiv 2502.16982, section
    2.2); AdamW, with the same learning rate and decay, of everything else.

    Matrices are the parameters named `kernel` of two axes, or of three where blocks are stacked,
    in a module "transformer" or "blocks": neither embeddings nor softmax layers. Their steps have
    the root mean square that Adam's have, about 0.2 of the learning rate. Networks without such
    matrices are refused with UsageError.

    Attributes:
        momentum: its decay (Nesterov's).
        b1, b2, eps: of AdamW; the others: see `AdamW`.
    """

    decays = ("momentum", "b1", "b2")

    learning_rate: float | Schedule
    momentum: float = 0.95
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float | None = None
    start: int = 0
    every: int = 1
    offset: int = 0

    def direction(self) -> optax.GradientTransformation:
        muon = optax.chain(
            optax.contrib.scale_by_muon(
                beta=self.momentum, eps=self.eps, weight_dimension_numbers=_matrix_axes
            ),
            optax.stateless(lambda updates, _: jax.tree.map(_like_adam, updates)),
        )
        rest = optax.scale_by_adam(self.b1, self.b2, self.eps)
        return optax.chain(
            optax.partition({True: muon, False: rest}, _are_matrices), _decay(self.weight_decay)
        )


def _decay(weight_decay: float) -> optax.GradientTransformation:
    """Decoupled weight decay, of kernels alone."""

    def is_kernel(path: Any, p: jax.Array) -> bool:
        name = str(getattr(path[-1], "key", ""))
        # Vectors of a stack of blocks have two axes.
        return jnp.ndim(p) > 1 and "codes" not in name and not name.endswith(VECTORS)

    def kernels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(is_kernel, params)

    return optax.add_decayed_weights(weight_decay, mask=kernels)


def _are_matrices(params: Any) -> Any:
    """Which parameters are matrices inside a transformer, as a tree of bools."""

    def is_one(path: Any, p: jax.Array) -> bool:
        names = [getattr(key, "key", "") for key in path]
        inside = "transformer" in names or "blocks" in names
        return inside and names[-1] == "kernel" and jnp.ndim(p) in (2, 3)

    found = jax.tree_util.tree_map_with_path(is_one, params)
    if not any(jax.tree.leaves(found)):
        raise UsageError("Muon: the player has no matrices inside a transformer: use AdamW")
    return found


def _like_adam(u: jax.Array) -> jax.Array:
    """An orthogonal update [..., m, n], whose root mean square is max(m, n)^-1/2, at 0.2."""
    return 0.2 * max(u.shape[-2:]) ** 0.5 * u


def _matrix_axes(updates: Any) -> Any:
    """The axes of each matrix; those before the last two are of blocks."""
    axes = optax.contrib.MuonDimensionNumbers(-2, -1)
    return jax.tree.map(lambda u: axes, updates)


@dataclasses.dataclass(frozen=True)
class Transform:
    """One optax transformation by name: Transform("scale_by_lion", {"b1": 0.95, "b2": 0.98})."""

    name: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def make(self) -> optax.GradientTransformation:
        valid = [
            n for n in dir(optax) if not n.startswith("_") and inspect.isfunction(getattr(optax, n))
        ]
        if self.name not in valid:
            near = [n for n in valid if n.startswith(("scale_by", "clip", "add_", "trace"))]
            raise UsageError(f"optax has no {self.name!r}: {did_you_mean(self.name, near)}")
        if "learning_rate" in inspect.signature(getattr(optax, self.name)).parameters:
            raise UsageError(
                f"optax.{self.name} brings a learning rate and sign of its own: name a scale_by_*"
            )
        try:
            transform = getattr(optax, self.name)(**self.arguments)
        except TypeError as error:
            raise UsageError(f"optax.{self.name}: {error}") from error
        if not isinstance(transform, optax.GradientTransformation):
            raise UsageError(f"optax.{self.name} does not make a gradient transformation")
        return transform


@dataclasses.dataclass(frozen=True)
class Optax:
    """Any chain of optax transformations, times the learning rate.

    Optax(1e-4, (Transform("scale_by_lion"),)). The chain gives a direction: name `scale_by_lion`,
    not `lion`, which has a learning rate of its own.
    """

    learning_rate: float | Schedule
    transforms: tuple[Transform, ...]
    clip: float | None = None
    start: int = 0
    every: int = 1
    offset: int = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def direction(self) -> optax.GradientTransformation:
        return optax.chain(*(t.make() for t in self.transforms))
