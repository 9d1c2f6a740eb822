"""FLOPs against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.sharding import PartitionSpec

from tests import tiny
from vqjax.hardware.flops import flops_of, total_flops
from vqjax.training.mesh import make_mesh
from vqjax.training.programs import trace_programs


def count(function, *shapes):
    return total_flops(jax.make_jaxpr(function)(*(jnp.zeros(s) for s in shapes)))


def convolve(x, w, stride=1, padding="VALID", **settings):
    axes = ("NHWC", "HWIO", "NHWC") if x.ndim == 4 else ("NTC", "TIO", "NTC")
    strides = (stride,) * (x.ndim - 2)
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=axes, **settings)


def test_a_dense_layer():
    assert count(lambda x, w: x @ w, (5, 3), (3, 7)) == 2 * 5 * 3 * 7
    assert count(lambda x, w: jnp.einsum("bij,bjk->bik", x, w), (4, 5, 3), (4, 3, 7)) == 840
    dense = nn.Dense(7)
    params = dense.init(jax.random.key(0), jnp.zeros((5, 3)))
    loss = lambda p, x: dense.apply(p, x).sum()  # noqa: E731
    traced = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(params, jnp.zeros((5, 3)))
    assert total_flops(traced) == 2 * 210  # of kernel and x; the sum needs no product


@pytest.mark.parametrize(
    ("shape", "kernel", "settings", "products"),
    [
        # 6 x 6 places, 3 x 3 taps, 2 -> 5 channels, batch 4
        ((4, 8, 8, 2), (3, 3, 2, 5), {}, 4 * 36 * 9 * 2 * 5),
        # SAME: along an axis of 8 the taps meet 7 + 8 + 7 numbers
        ((4, 8, 8, 2), (3, 3, 2, 5), {"padding": "SAME"}, 4 * 22 * 22 * 2 * 5),
        # stride 2: 3 places
        ((4, 7, 7, 2), (3, 3, 2, 5), {"stride": 2}, 4 * 9 * 9 * 2 * 5),
        # of a signal, dilated: 8 places
        ((4, 12, 2), (3, 2, 5), {"rhs_dilation": (2,)}, 4 * 8 * 3 * 2 * 5),
        # upwards: 15 numbers, every other a zero: 13 places, 7 of which meet two numbers
        ((1, 8, 1), (3, 1, 1), {"lhs_dilation": (2,), "padding": ((0, 0),)}, 7 * 2 + 6 * 1),
        # two groups: each output channel sees 2 of 4
        ((4, 8, 8, 4), (3, 3, 2, 6), {"feature_group_count": 2}, 4 * 36 * 9 * 2 * 6),
    ],
)
def test_a_convolution(shape, kernel, settings, products):
    assert count(lambda x, w: convolve(x, w, **settings), shape, kernel) == 2 * products


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_each_gradient_of_a_convolution_costs_what_it_costs(stride, padding):
    shapes = ((3, 10, 9, 4), (3, 3, 2, 6))

    def f(x, w):
        return convolve(x, w, stride, padding, feature_group_count=2)

    forward = count(f, *shapes)
    for argument in (0, 1):
        gradient = jax.grad(lambda x, w: f(x, w).sum(), argument)
        assert count(gradient, *shapes) == forward  # nobody reads the value of the sum
    both = jax.grad(lambda x, w: (f(x, w) ** 2).sum(), (0, 1))
    assert count(both, *shapes) == 3 * forward


def test_loops_branches_and_pieces_of_devices():
    def looped(x, w):
        return lax.scan(lambda c, _: (c @ w, None), x, length=6)[0]

    assert count(looped, (5, 3), (3, 3)) == 6 * 90
    assert count(jax.jit(looped), (5, 3), (3, 3)) == 6 * 90
    assert count(jax.checkpoint(looped), (5, 3), (3, 3)) == 6 * 90

    def branched(x, w):
        return lax.cond(x.sum() > 0, lambda: x @ w, lambda: (x @ w) @ w)

    assert count(branched, (5, 3), (3, 3)) == 2 * 90
    rows = PartitionSpec("data")
    mapped = jax.shard_map(
        lambda x, w: x @ w, mesh=make_mesh(), in_specs=(rows, PartitionSpec()), out_specs=rows
    )
    assert count(mapped, (16, 3), (3, 7)) == 2 * 16 * 3 * 7


def test_a_convolution_is_what_xla_counts():
    x, w = np.zeros((2, 9, 9, 3), np.float32), np.zeros((3, 3, 3, 4), np.float32)
    traced = jax.jit(lambda x, w: convolve(x, w, 2, "SAME")).trace(x, w)
    assert total_flops(traced.jaxpr) == traced.lower().cost_analysis()["flops"]


def test_precisions_are_kept_apart():
    a, b = np.zeros((2, 3), np.float32), np.zeros((3, 5), np.float32)
    half = jnp.zeros((5, 5), jnp.bfloat16)

    def products(a, b, half):
        return jnp.dot(a, b, precision="highest"), a @ b, half @ half

    counts = flops_of(jax.make_jaxpr(products)(a, b, half))
    assert counts == {"float32 exact": 60, "float32": 60, "bfloat16": 250}


def test_what_is_worked_out_again_counts_again():
    body = jax.checkpoint(lambda h, w: jnp.tanh(h @ w), prevent_cse=False)

    def walk(x, w):
        return lax.scan(lambda h, _: (body(h, w), None), x, length=7)[0].sum()

    # Forward twice, backward two products.
    assert count(jax.grad(walk, (0, 1)), (2, 3), (3, 3)) == 7 * 4 * 36


def test_a_train_step_is_the_same_on_any_mesh():
    experiment = tiny.vqgan()
    inputs = experiment.data.example_spec()
    totals = []
    for devices in (1, 8):
        mesh = make_mesh(jax.devices()[:devices])
        program = list(trace_programs(experiment, inputs, {}, mesh).values())[-1]
        totals.append(total_flops(program.jaxpr))
    assert totals[0] == totals[1] > 0
