"""Transposed and depthwise convolutions: a CPU's form equals the convolution of other devices."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.ops import depthwise, transposed


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def check_same(cpu, default, x, kernel):
    """Values to 1e-5 of the largest, gradients to 1e-4."""
    gradient = random(*jax.eval_shape(default, x, kernel).shape, seed=2)

    def both(form):
        def run(x, kernel):
            y, vjp = jax.vjp(form, x, kernel)
            return y, *vjp(gradient)

        return quick(run)(x, kernel)

    for got, expected, bound in zip(both(cpu), both(default), (1e-5, 1e-4, 1e-4), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=bound * np.abs(expected).max())


@pytest.mark.parametrize("factors", [(2,), (3,), (5,), (2, 3), (1, 2)])
def test_a_product_of_neighbours_is_the_transposed_convolution(factors):
    x = random(2, *range(4, 4 + len(factors)), 3)
    kernel = random(*(2 * f for f in factors), 3, 4, seed=1)
    check_same(transposed._as_product, transposed._as_convolution, x, kernel)


def test_a_transposed_convolution_by_hand():
    x, kernel = jnp.array([1.0, 10.0]), jnp.array([1.0, 2.0, 3.0, 4.0])
    y = transposed.transposed_convolution(x.reshape(1, 2, 1), kernel.reshape(4, 1, 1))
    np.testing.assert_array_equal(y[0, :, 0], [1, 2, 3 + 10, 4 + 20, 30, 40])


@pytest.mark.parametrize(
    ("window", "dilation", "pads"),
    [((7,), (1,), ((3, 3),)), ((3,), (4,), ((8, 0),)), ((3, 2), (2, 1), ((2, 2), (0, 1)))],
)
def test_shifted_copies_are_the_convolution_in_groups(window, dilation, pads):
    x, kernel = random(2, *range(9, 9 + len(window)), 5), random(*window, 5, seed=1)
    settings = {"pads": pads, "dilation": dilation}
    check_same(
        lambda x, k: depthwise._as_shifts(x, k, **settings),
        lambda x, k: depthwise._in_groups(x, k, **settings),
        x,
        kernel,
    )


@pytest.mark.parametrize(
    "form",
    [
        transposed.transposed_convolution,
        lambda x, k: depthwise.depthwise_convolution(x, k[..., 0], ((3, 4),), (1,)),
    ],
)
def test_a_cpu_alone_has_its_own_form_forward_and_backward(form):
    x, kernel = jnp.ones((2, 8, 6)), jnp.ones((8, 6, 5))
    loss = jax.grad(lambda x, k: form(x, k).sum(), argnums=(0, 1))
    traced = jax.jit(loss).trace(x, kernel)
    for platform, found in (("cpu", False), ("tpu", True), ("cuda", True)):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("convolution(" in text) == found, platform


def test_the_slow_forms_do_not_come_back():
    """Of a codec's widest layer, the gradient of the kernel: some forty times faster."""
    x, kernel = random(16, 130, 64), random(8, 64, 32, seed=1)
    gradient = random(16, 131 * 4, 32, seed=2)

    def seconds(form):
        program = jax.jit(lambda k, g: jax.vjp(lambda k: form(x, k), k)[1](g)[0])
        program(kernel, gradient).block_until_ready()
        times = []
        for _ in range(3):
            start = time.perf_counter()
            program(kernel, gradient).block_until_ready()
            times.append(time.perf_counter() - start)
        return min(times)

    slow, fast = seconds(transposed._as_convolution), seconds(transposed.transposed_convolution)
    assert slow > 4 * fast, f"{slow / fast:.1f} times"
