"""Programs for examples far larger than those of training: there must be memory for them.

A picture of 64 megapixels is a file of some kilobytes and takes gigabytes in a network. What a
program takes is known once it is compiled, before it runs.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from vqjax import arguments
from vqjax.format import times
from vqjax.types import UsageError

LARGE_VALUES = 32 * 256 * 256 * 3  # of one example; smaller ones are not looked at


class LargePrograms:
    """Compiled programs by their shapes.

    Args:
        mesh: where they run.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._compiled: dict[tuple, Any] = {}

    def fitting(self, shape: Sequence[int], program: Any, *args: Any) -> Callable[..., Any]:
        """`program`, a jitted function, or where examples of `shape` are large, it compiled for
        arguments like `args`.

        Raises:
            UsageError: it takes more memory than is free.
        """
        if math.prod(shape) <= LARGE_VALUES:
            return program
        key = (program, *((a.shape, str(a.dtype)) for a in jax.tree.leaves(args)))
        if key not in self._compiled:
            self._compiled[key] = program.lower(*args).compile()
        needed, free = _bytes_of(self._compiled[key]), self._free()
        if needed is not None and free is not None and needed > free:
            raise UsageError(
                f"an example of {times(shape[:-1])} takes {needed / 1e9:,.1f} GB while it is "
                f"worked on, and {free / 1e9:,.1f} GB of memory are free: make it smaller, or cut "
                "it"
            )
        return self._compiled[key]

    def _free(self) -> int | None:
        """Free bytes of a device that reports its memory, else of this machine."""
        stats = self._mesh.devices.flat[0].memory_stats() or {}
        if "bytes_limit" in stats:
            return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
        return arguments.free_memory()


def _bytes_of(compiled: Any) -> int | None:
    """What a program takes beside its arguments; None where the backend does not report it."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes
