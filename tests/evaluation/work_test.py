"""FLOPs by hand, and beside the compiler's own count where it has no loop to miss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests import tiny
from vqjax.evaluation.work import flops_of
from vqjax.training.mesh import make_mesh
from vqjax.training.programs import trace_programs


def counted(function, *shapes, dtype=np.float32):
    return flops_of(jax.make_jaxpr(function)(*(jnp.zeros(s, dtype) for s in shapes)))


def test_products_by_hand():
    assert counted(lambda a, b: a @ b, (2, 3), (3, 5)) == {"float32": 2 * 2 * 3 * 5}
    batched = counted(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (7, 2, 3), (7, 3, 5))
    assert batched == {"float32": 7 * 2 * 2 * 3 * 5}


def test_precisions_are_kept_apart():
    exact = counted(lambda a, b: jnp.dot(a, b, precision="highest"), (2, 3), (3, 5))
    assert exact == {"float32 exact": 60}
    assert counted(lambda a, b: a @ b, (2, 3), (3, 5), dtype=jnp.bfloat16) == {"bfloat16": 60}


def test_loops_count_as_often_as_they_run():
    def walk(x, w):
        return lax.scan(lambda h, _: (h @ w, None), x, length=7)[0]

    assert counted(walk, (2, 3), (3, 3)) == {"float32": 7 * 2 * 2 * 3 * 3}
    # Again in the backward pass where it is worked out anew: forward twice, backward two products.
    grad = jax.grad(lambda x, w: walk_remat(x, w).sum(), argnums=(0, 1))
    assert counted(grad, (2, 3), (3, 3)) == {"float32": 7 * 4 * 36}


def walk_remat(x, w):
    body = jax.checkpoint(lambda h, _: (jnp.tanh(h @ w), None), prevent_cse=False)
    return lax.scan(body, x, length=7)[0]


def test_the_costliest_branch_counts():
    def either(p, a, b):
        return lax.cond(p[0] > 0, lambda: a @ b, lambda: (a @ b) @ b)

    assert counted(either, (1,), (2, 3), (3, 3)) == {"float32": 2 * 36}


@pytest.mark.parametrize(("stride", "padding"), [(1, "SAME"), (2, "SAME"), (2, "VALID")])
def test_convolutions_and_their_gradients_as_the_compiler_counts(stride, padding):
    def loss(x, w):
        dims = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=dims)
        return (y**2).sum()

    grad = jax.jit(jax.grad(loss, argnums=(0, 1)))
    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((2, 9, 8, 3), (3, 3, 3, 16))]
    (ours,) = flops_of(grad.trace(*shapes).jaxpr).values()
    theirs = grad.lower(*shapes).cost_analysis()["flops"]
    assert ours == pytest.approx(theirs, rel=0.05) and ours <= theirs  # they add what is added


def test_a_train_step_is_the_same_on_any_mesh():
    experiment = tiny.vqgan()
    inputs = experiment.data.example_spec()
    totals = []
    for devices in (1, 8):
        mesh = make_mesh(jax.devices()[:devices])
        program = list(trace_programs(experiment, inputs, {}, mesh).values())[-1]
        totals.append(sum(flops_of(program.jaxpr).values()))
    assert totals[0] == totals[1]
