"""Classifier-free guidance: logits that are extrapolated away from the unconditional ones."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vqjax import arguments
from vqjax.types import Tree, UsageError, did_you_mean

SCHEDULES = ("constant", "linear", "cosine")


@dataclasses.dataclass(frozen=True)
class Guidance:
    """logits = without + scale (with - without) (arXiv 2207.12598, eq. 6, w = scale - 1).

    Attributes:
        scale: 1: the condition alone, no guidance; more: further from the unconditional logits.
        schedule: "constant"; or from 1 at the first token to `scale` at the last, along a line
            ("linear") or half a cosine ("cosine").
    """

    scale: float = 1.0
    schedule: str = "constant"

    def __post_init__(self) -> None:
        scale = arguments.real("guidance.scale", self.scale, least=0)
        object.__setattr__(self, "scale", scale)  # an array without axes is no static argument
        arguments.one_of("guidance.schedule", self.schedule, SCHEDULES)

    def at(self, done: jax.Array) -> jax.Array:
        """The scale when a share `done` in [0, 1] of the tokens, or of the steps, is over."""
        grown = {
            "constant": lambda s: jnp.ones_like(s),
            "linear": lambda s: s,
            "cosine": lambda s: (1.0 - jnp.cos(math.pi * s)) / 2.0,
        }[self.schedule](jnp.asarray(done, jnp.float32))
        return 1.0 + (self.scale - 1.0) * grown

    def __call__(self, logits: jax.Array, done: jax.Array) -> jax.Array:
        """[2 B, .., V], those with the condition first -> [B, .., V]."""
        cond, uncond = jnp.split(logits, 2)  # [B, .., V] each
        scale = self.at(done)
        # Equal logits stay: impossible ids have the lowest finite number in both halves, which the
        # equation would make inf - inf.
        same = cond == uncond
        guided = scale * cond + (1.0 - scale) * uncond  # eq. 6
        return jnp.where(same, cond, guided)


class Interval(NamedTuple):
    """Times t with low < t <= high in which a denoiser is guided (arXiv 2404.07724), 0 being data
    and 1 noise.
    """

    low: float = 0.0
    high: float = 1.0


@dataclasses.dataclass(frozen=True)
class StreamGuidance:
    """A weight for each condition: logits = with all + sum over conditions c of (scale of c - 1)
    (with c alone - without any). 1 everywhere: no guidance; of a single condition: `Guidance`.

    Attributes:
        scales: (condition, scale) pairs; those that are not named have 1.
    """

    scales: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        pairs = self.scales.items() if isinstance(self.scales, Mapping) else self.scales
        scales = tuple((str(n), arguments.real(f"guidance {n}", s, least=0)) for n, s in pairs)
        object.__setattr__(self, "scales", scales)


def branches_of(
    guidance: Guidance | StreamGuidance, conditions: tuple[str, ...]
) -> tuple[tuple[tuple[str, ...], ...], Callable[[jax.Array, jax.Array], jax.Array]]:
    """With which of its conditions a network runs, branch by branch, on the same B examples, all of
    them first; and what makes one of their logits [branches B, .., V], (logits, share done) -> [B,
    .., V].

    Raises:
        UsageError: there is nothing to guide towards, or no such condition.
    """
    if isinstance(guidance, Guidance):
        if guidance == Guidance():
            return (conditions,), lambda logits, done: logits
        if not conditions:
            raise UsageError("no guidance: there is no condition to guide towards")
        return (conditions, ()), guidance
    for name, _ in guidance.scales:
        if name not in conditions:
            raise UsageError(f"guidance {name}: {did_you_mean(name, conditions)}")
    moved = {name: scale for name, scale in guidance.scales if scale != 1.0}
    if not moved:
        return (conditions,), lambda logits, done: logits
    if len(conditions) == 1:
        return (conditions, ()), Guidance(moved[conditions[0]])

    def combine(logits: jax.Array, done: jax.Array) -> jax.Array:
        together, without, *alone = jnp.split(logits, 2 + len(moved))  # [B, .., V] each
        guided = together
        for scale, with_one in zip(moved.values(), alone, strict=True):
            guided = guided + (scale - 1.0) * (with_one - without)
        # Impossible ids have the lowest finite number everywhere.
        return jnp.where(together <= jnp.finfo(together.dtype).min / 2, together, guided)

    return (conditions, (), *((name,) for name in moved)), combine


def with_null(
    condition: Any, cond: Tree | None, count: int, guidance: Guidance, network: str = "prior"
) -> tuple[Tree | None, Callable[[jax.Array, jax.Array], jax.Array]]:
    """The conditions with which a network samples `count` examples, and what combines its outputs.

    With guidance the network runs on 2 B examples: with their condition, and without.

    Args:
        condition: of the network; None: it is unconditional.
        cond: what that takes, of the examples; None: no condition.
        count: of examples, B.
        guidance: towards the condition.
        network: what it is, for messages.

    Raises:
        UsageError: guidance, or a condition's array, of an unconditional network; or guidance of
            one that never did without its condition.
    """
    guided = guidance != Guidance()
    if condition is None:
        if guided or cond is not None:
            raise UsageError(f"this {network} is unconditional: there is nothing to guide towards")
        return None, _plain
    if guided and condition.dropout == 0.0:
        raise UsageError(
            f"no guidance: with {network}.condition.dropout=0 the {network} never learned to do "
            "without its condition"
        )
    null = condition.null(count)  # [B, ...]
    cond = null if cond is None else cond
    if not guided:
        return cond, _plain
    both = jax.tree.map(lambda *halves: jnp.concatenate(halves), cond, null)  # [2 B, ...]
    return both, guidance


def _plain(logits: jax.Array, done: jax.Array) -> jax.Array:
    return logits
