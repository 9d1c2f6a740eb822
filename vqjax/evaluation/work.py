"""FLOPs of a traced program, by formula: 2 for every multiply and add of its matrix products and
convolutions. All else is bound by memory.

Counted on the jaxpr, so it is the same for every platform and mesh, and a loop counts as often as
it runs; compilers count a loop's body once, and XLA for GPUs does not count at all.

Precisions: "bfloat16" (all 16-bit numbers), "float32" (as the platform multiplies it when nothing
is asked for: TF32 on newer GPUs, bfloat16 on TPUs) and "float32 exact" (Precision.HIGHEST, and
float64).
"""

import collections
import math
from typing import Any

import jax
import numpy as np
from jax.extend import core

PRECISIONS = ("bfloat16", "float32", "float32 exact")


def flops_of(jaxpr: core.ClosedJaxpr) -> dict[str, float]:
    """{precision: FLOPs} of one run of a whole program, over all devices.

    A branch of `cond` counts as its costliest one, a `while` of unknown length as one turn.
    """
    return dict(_count(jaxpr.jaxpr))


def _count(jaxpr: core.Jaxpr) -> collections.Counter:
    total: collections.Counter = collections.Counter()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            total[_precision(equation)] += _dot(equation)
        elif name == "conv_general_dilated":
            total[_precision(equation)] += _convolution(equation)
        elif name == "cond":
            branches = [_count(branch.jaxpr) for branch in equation.params["branches"]]
            total += max(branches, key=lambda counts: sum(counts.values()))
        else:
            times = _times(equation)
            for inner in _inside(equation):
                for precision, flops in _count(inner).items():
                    total[precision] += times * flops
    return total


def _inside(equation: Any) -> list[core.Jaxpr]:
    """The programs within an equation."""
    leaves = jax.tree.leaves(
        list(equation.params.values()),
        is_leaf=lambda v: isinstance(v, core.ClosedJaxpr | core.Jaxpr),
    )
    found = [v.jaxpr if isinstance(v, core.ClosedJaxpr) else v for v in leaves]
    return [v for v in found if isinstance(v, core.Jaxpr)]


def _times(equation: Any) -> int:
    if equation.primitive.name == "scan":
        return equation.params["length"]
    if equation.primitive.name == "shard_map":  # its inside is one device's
        mesh = equation.params["mesh"]
        axes = next(v for name, v in equation.params.items() if name.endswith("manual_axes"))
        return math.prod(mesh.shape[axis] for axis in axes)
    return 1


def _precision(equation: Any) -> str:
    asked = equation.params.get("precision")
    asked = asked if isinstance(asked, tuple) else (asked,)
    dtypes = [v.aval.dtype for v in equation.invars[:2]]
    if any(d == np.float64 for d in dtypes) or any("HIGHEST" in str(a) for a in asked):
        return "float32 exact"
    return "float32" if any(d.itemsize > 2 for d in dtypes) else "bfloat16"


def _dot(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    result = math.prod(equation.outvars[0].aval.shape)
    return 2.0 * result * math.prod(left[axis] for axis in contracted)


def _convolution(equation: Any) -> float:
    """Products with what padding and dilation put between numbers do not count."""
    p, (left, right) = equation.params, (v.aval.shape for v in equation.invars[:2])
    numbers = p["dimension_numbers"]
    result = equation.outvars[0].aval.shape
    places = 1
    for i, (a, k, o) in enumerate(
        zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
    ):
        at = (
            np.arange(result[o])[:, None] * p["window_strides"][i]
            - p["padding"][i][0]
            + np.arange(right[k]) * p["rhs_dilation"][i]
        )
        dilation = p["lhs_dilation"][i]
        inside = (at >= 0) & (at < (left[a] - 1) * dilation + 1) & (at % dilation == 0)
        places *= int(inside.sum())
    batch, features = (result[axis] for axis in numbers.out_spec[:2])
    return 2.0 * places * batch * features * right[numbers.rhs_spec[1]] / p["batch_group_count"]
