"""What every evaluator gives, and how the parts of a split are put together."""

import dataclasses

import jax
import numpy as np

from vqjax.metrics import State


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """`numbers` by name; `pictures`: uint8 [H, W, 3], originals with reconstructions beneath."""

    numbers: dict[str, float]
    pictures: np.ndarray | None


def merged(states: dict[str, State], new: dict[str, State]) -> dict[str, State]:
    """Adds one batch's states, on the host; `states` is empty before the first."""
    new = jax.device_get(new)
    return {
        name: states[name].merge(state)
        if name in states
        else state.merge(jax.tree.map(np.zeros_like, state))
        for name, state in new.items()
    } or states
