"""FLOPs of a program by formula: its matrix products and convolutions, counted on the jaxpr.

The count does not depend on the device or the compiler, and a loop's body counts as often as it
runs (XLA counts it once, and for GPUs not at all). Additions, activations and norms are left out:
they are bound by memory.
"""

import collections
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.extend import core

LOOPS = ("scan", "while")  # all results of an iteration are read by the next one

# "bfloat16": all 16-bit numbers; "float32": as the platform multiplies it by default (TF32 on newer
# GPUs, bfloat16 on TPUs); "float32 exact": Precision.HIGHEST, and float64.
PRECISIONS = ("bfloat16", "float32", "float32 exact")
Counts = collections.Counter  # FLOPs by precision


def flops_of(jaxpr: core.ClosedJaxpr) -> dict[str, int]:
    """{precision: FLOPs}: 2 x the multiplications. Those with padding and with the zeros between
    the elements of a dilated array do not count, so each of a convolution's two gradients costs
    what it costs itself.

    Unused results do not count; what is computed twice, or again to save memory (`jax.checkpoint`),
    counts twice. Of `cond` the most expensive branch counts. The body of a `while` counts once,
    since its trip count is not known (`fori_loop` with fixed bounds is a `scan`, and exact).

    Args:
        jaxpr: of a whole program over all devices: `jax.make_jaxpr(f)(...)`, or `.jaxpr` of
            `jax.jit(f).trace(...)`.
    """
    return dict(_count(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars)))


def total_flops(jaxpr: core.ClosedJaxpr) -> int:
    """`flops_of`, all precisions together."""
    return sum(flops_of(jaxpr).values())


def _count(jaxpr: core.Jaxpr, needed: list[bool]) -> Counts:
    """FLOPs of the results that are `needed`."""
    total, read = Counts(), set()
    read.update(v for v, w in zip(jaxpr.outvars, needed, strict=True) if w and _is_variable(v))
    for equation in reversed(jaxpr.eqns):
        used = [v in read for v in equation.outvars]
        if any(used) or equation.effects:
            read.update(filter(_is_variable, equation.invars))
            total.update(_flops(equation, used))
    return total


def _is_variable(value: Any) -> bool:
    return not isinstance(value, core.Literal)


def _flops(equation: Any, used: list[bool]) -> Counts:
    name = equation.primitive.name
    if name == "dot_general":
        return Counts({_precision(equation): 2 * _dot_products(equation)})
    if name == "conv_general_dilated":
        return Counts({_precision(equation): 2 * _convolution_products(equation)})
    bodies = []
    for body in _programs(equation.params.values()):
        all_used = name in LOOPS or len(body.outvars) != len(used)
        bodies.append(_count(body, [True] * len(body.outvars) if all_used else used))
    if name == "cond":
        return max(bodies, key=lambda counts: counts.total())
    total, times = Counts(), _times(equation)
    for counts in bodies:
        total.update({precision: times * flops for precision, flops in counts.items()})
    return total


def _precision(equation: Any) -> str:
    precisions = equation.params.get("precision")
    precisions = precisions if isinstance(precisions, tuple) else (precisions,)
    dtypes = [v.aval.dtype for v in equation.invars[:2]]
    if any(d == np.float64 for d in dtypes) or any("HIGHEST" in str(a) for a in precisions):
        return "float32 exact"
    return "float32" if any(d.itemsize > 2 for d in dtypes) else "bfloat16"


def _programs(values: Any) -> Iterator[core.Jaxpr]:
    """The jaxprs among an equation's parameters."""
    for value in values:
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
        elif isinstance(value, tuple | list):
            yield from _programs(value)


def _times(equation: Any) -> int:
    """How often the jaxprs of an equation run."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return params["length"]
    if name == "shard_map":  # each device runs it on its own shard
        axes = next(v for key, v in params.items() if key.endswith("manual_axes"))
        return math.prod(params["mesh"].shape[axis] for axis in axes)
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid)
    return 1


def _dot_products(equation: Any) -> int:
    left, right = (v.aval.shape for v in equation.invars)
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    rows = math.prod(left)  # free, contracted and batch axes of the left side
    shared = math.prod(left[axis] for axis in (*contracted, *batch))
    return rows * (math.prod(right) // shared)


def _convolution_products(equation: Any) -> int:
    params = equation.params
    numbers = params["dimension_numbers"]
    left, kernel = (v.aval.shape for v in equation.invars)
    out = equation.outvars[0].aval.shape
    batch, features = (out[axis] for axis in numbers.out_spec[:2])
    pairs = 1  # of an output position and an input element under the kernel
    for axis, (i, k, o) in enumerate(
        zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
    ):
        pairs *= _pairs(
            size=left[i],
            taps=kernel[k],
            outputs=out[o],
            stride=params["window_strides"][axis],
            before=params["padding"][axis][0],
            spread=params["lhs_dilation"][axis],
            dilation=params["rhs_dilation"][axis],
        )
    return batch * features * kernel[numbers.rhs_spec[1]] * pairs


def _pairs(
    size: int, taps: int, outputs: int, stride: int, before: int, spread: int, dilation: int
) -> int:
    """Along one axis: pairs of an output and a tap that meet one of the `size` inputs, which are
    `spread` apart."""
    x = np.arange(outputs)[:, None] * stride + np.arange(taps)[None] * dilation - before
    return int(np.sum((x >= 0) & (x <= (size - 1) * spread) & (x % spread == 0)))
