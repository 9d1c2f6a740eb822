"""Classifier-free guidance: logits that are extrapolated away from the unconditional ones."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from vqjax import arguments

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
