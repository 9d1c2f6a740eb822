"""A flow from data to noise: which noise an example comes from, and how likely it is.

A flow is `velocity(x, t) -> dx/dt`, x [B, *S, C], t a traced scalar, 0 at the data and 1 at the
noise; an example's velocity depends on that example alone.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.types import Tree

START = 1e-3  # the time of data: at 0 predictions of data or noise say no velocity
Velocity = Callable[[jax.Array, jax.Array], jax.Array]


def to_noise(velocity: Velocity, x0: jax.Array, steps: int) -> jax.Array:
    """The noise float32[B, *S, C] from which the flow comes to data x0 [B, *S, C] (arXiv
    2010.02502, section 5.3), by Heun's steps of equal length.
    """
    return _integrated(velocity, x0.astype(jnp.float32), steps)


def flow_log_prob(
    velocity: Velocity, x0: jax.Array, keys: jax.Array, steps: int, probes: int = 1
) -> jax.Array:
    """log of the density of data x0 [B, *S, C] under the flow from standard normal noise, nats,
    float32[B].

    d log p / dt = -div velocity (arXiv 1810.01367, eq. 4), where the divergence is estimated by
    probes of signs that stay along the way (eq. 7): right in the mean over keys, up to the error of
    the steps.

    Args:
        velocity: the flow.
        x0: data.
        keys: key[B], of the probes.
        steps: of Heun, of equal length.
        probes: of each example, at least 1.
    """
    x0 = x0.astype(jnp.float32)
    draw = jax.vmap(lambda key: jax.random.rademacher(key, (probes, *x0.shape[1:]), jnp.float32))
    signs = jnp.moveaxis(draw(keys), 1, 0)  # [probes, B, *S, C]
    axes = tuple(range(1, x0.ndim))

    def slopes(state: tuple[jax.Array, jax.Array], t: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, _ = state

        def along(sign: jax.Array) -> tuple[jax.Array, jax.Array]:
            slope, change = jax.jvp(lambda x: velocity(x, t), (x,), (sign,))
            return slope, (sign * change).sum(axis=axes)

        slope, divergence = jax.vmap(along, out_axes=(None, 0))(signs)
        return slope, divergence.mean(axis=0)

    noise, gained = _integrated(slopes, (x0, jnp.zeros(len(x0), jnp.float32)), steps)
    return jax.scipy.stats.norm.logpdf(noise).sum(axis=axes) + gained


def _integrated(slopes: Callable[[Tree, jax.Array], Tree], state: Tree, steps: int) -> Tree:
    """The state at t = 1 that begins at `START`, by Heun's steps."""
    times = np.linspace(START, 1.0, steps + 1, dtype=np.float32)

    def step(state: Tree, times: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
        now, after = times
        length = after - now
        first = slopes(state, now)
        ahead = jax.tree.map(lambda a, s: a + length * s, state, first)
        last = slopes(ahead, after)
        moved = jax.tree.map(lambda a, s, e: a + length * (s + e) / 2, state, first, last)
        return moved, None

    return jax.lax.scan(step, state, (times[:-1], times[1:]))[0]
