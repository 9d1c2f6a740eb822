import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.hardware.flops import total_flops
from vqjax.nn import Conv, DepthwiseConv, Downsample, TransposedConv, Upsample
from vqjax.ops.convolution import (
    _as_product,
    _as_transposed,
    _convolve,
    _gradient_in_pieces,
    _piece_size,
)
from vqjax.types import UsageError


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 5, 4, 3), (2, 2, 3, 4, 3)])
def test_conv_sums_the_neighbourhood_in_any_rank(shape):
    axes = len(shape) - 2
    params = {"kernel": jnp.ones((*(3,) * axes, 3, 1)), "bias": jnp.full((1,), 2.0)}
    y = Conv(1).apply({"params": params}, jnp.ones(shape))
    neighbours = np.ones(())
    for size in shape[1:-1]:
        line = [min(i + 2, size) - max(i - 1, 0) for i in range(size)]
        neighbours = np.multiply.outer(neighbours, line)
    np.testing.assert_allclose(y[1, ..., 0], 3 * neighbours + 2, rtol=1e-6)


@pytest.mark.parametrize("padding", [None, 0, 1, 3])
@pytest.mark.parametrize("window", [(3,), (4,), (3, 2), (2, 1, 3)])
def test_few_channels_have_the_gradients_of_a_convolution(window, padding):
    axes = len(window)
    x = random(2, *range(4, 4 + axes), 2 * math.prod(window))
    kernel = random(*window, x.shape[-1], 2, seed=1)
    around = "SAME" if padding is None else [(padding, padding)] * axes
    letters = "DHW"[:axes]
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1,) * axes, around, dimension_numbers=numbers
        )

    def ours(x, kernel):
        conv = Conv(2, window, padding=padding, use_bias=False)
        return conv.apply({"params": {"kernel": kernel}}, x)

    def both(conv):
        def run(x, kernel, gradient):
            y, pull = jax.vjp(conv, x, kernel)
            return y, pull(gradient)

        gradient = random(*jax.eval_shape(conv, x, kernel).shape, seed=2)
        return quick(run)(x, kernel, gradient)

    (y, pulled), (wanted, pulled_plain) = both(ours), both(plain)
    np.testing.assert_array_equal(y, wanted)
    for got, want in zip(pulled, pulled_plain, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_the_kernel_of_few_channels_learns_by_a_product_on_a_cpu_alone():
    x, kernel = jnp.ones((2, 8, 8, 27)), jnp.ones((3, 3, 27, 3))

    def loss(kernel):
        return Conv(3, use_bias=False).apply({"params": {"kernel": kernel}}, x).sum()

    lowered = jax.jit(jax.grad(loss)).trace(kernel)
    counts = {
        platform: lowered.lower(lowering_platforms=(platform,)).as_text().count("convolution(")
        for platform in ("cpu", "tpu")
    }
    assert counts == {"cpu": 0, "tpu": 1}


def test_strided_kernel_starts_at_each_window_and_reaches_one_beyond():
    x = jnp.arange(1.0, 7.0).reshape(1, 6, 1)
    params = {
        "conv": {"kernel": jnp.array([100.0, 10.0, 1.0]).reshape(3, 1, 1), "bias": jnp.zeros(1)}
    }
    y = Downsample(1, 2).apply({"params": params}, x)
    np.testing.assert_allclose(y[0, :, 0], [123.0, 345.0, 560.0])


@pytest.mark.parametrize("factor", [2, 3, (3, 2), (1, 2)])
@pytest.mark.parametrize("method", ["strided", "average"])
def test_downsample_divides_the_shape(factor, method):
    x = random(2, 6, 12, 4)
    y, _ = Downsample(4, factor, method).init_with_output(jax.random.key(1), x)
    f = factor if isinstance(factor, tuple) else (factor, factor)
    assert y.shape == (2, 6 // f[0], 12 // f[1], 4)
    if method == "average":
        np.testing.assert_allclose(
            y[1, 0, 1, 2], x[1, : f[0], f[1] : 2 * f[1], 2].mean(), rtol=1e-5
        )


def test_downsample_names_the_nearest_method():
    with pytest.raises(UsageError, match="'average'"):
        Downsample(4, 2, "averaged").init(jax.random.key(0), random(1, 4, 4))


def enlarge(x, factors):
    for axis, factor in enumerate(factors, start=1):
        x = jnp.repeat(x, factor, axis)
    return x


@pytest.mark.parametrize(
    ("sizes", "factors"),
    [
        ((5,), (2,)),
        ((3,), (8,)),
        ((4, 3), (2, 2)),
        ((2, 3), (3, 4)),
        ((3, 2), (1, 2)),
        ((1, 1), (2, 3)),
        ((2, 2, 3), (1, 2, 2)),
        ((2, 1, 2), (2, 3, 2)),
    ],
)
def test_upsample_equals_repeat_then_convolution(sizes, factors):
    x = random(2, *sizes, 3)
    axes = len(sizes)
    params = {"kernel": random(*(3,) * axes, 3, 5, seed=1), "bias": random(5, seed=2)}

    def ours(p, x):
        return Upsample(5, factors).apply({"params": p}, x)

    def naive(p, x):
        return Conv(5).apply({"params": p}, enlarge(x, factors))

    @functools.partial(jax.jit, static_argnums=0)
    def forward_and_backward(f, p, x):
        y, pull = jax.vjp(f, p, x)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    got = forward_and_backward(ours, params, x)
    wanted = forward_and_backward(naive, params, x)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max() + 1e-5)


@pytest.mark.parametrize("factors", [(2,), (3, 1), (2, 2), (1, 2, 2)])
def test_upsampling_on_accelerators_is_that_on_a_cpu(factors):
    x = random(2, *range(2, 2 + len(factors)), 3)
    kernel = random(*(3,) * len(factors), 3, 5, seed=1)

    def value_and_gradients(method):
        y, pull = jax.vjp(lambda x, k: method(x, k, factors), x, kernel)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    both = map(jax.jit(value_and_gradients, static_argnums=0), (_as_transposed, _as_product))
    for a, b in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_upsample_needs_fewer_multiplications_than_repeat_then_convolution():
    x = random(1, 16, 16, 32)
    params = Upsample(32).init(jax.random.key(0), x)

    def flops(f):
        cost = jax.jit(f).lower(params, x).compile().cost_analysis()
        return cost["flops"]

    ours = flops(lambda p, x: Upsample(32).apply(p, x))
    naive = flops(lambda p, x: Conv(32).apply(p, enlarge(x, (2, 2))))
    assert ours < 0.6 * naive  # 4/9 * (17/16)^2 = 0.50, and the additions


@pytest.mark.parametrize("factor", [(2,), (2, 2, 2), (0, 2)])
def test_factors_that_do_not_fit_the_input_are_refused(factor):
    with pytest.raises(UsageError):
        Upsample(2, factor).init(jax.random.key(0), random(1, 2, 2, 2))


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (4, 2, 1), (3, 1, 3), (2, 3, 1)]
)
def test_causal_results_depend_on_nothing_later(kernel, stride, dilation, size):
    conv = Conv(2, kernel, stride, padding="causal", dilation=dilation)
    x = random(1, size, 3)
    variables = conv.init(jax.random.key(1), x)
    slopes = jax.jacobian(lambda x: conv.apply(variables, x)[0])(x)[..., 0, :, :]  # [s, F, S, C]
    assert len(slopes) == -(-size // stride)
    for i, slope in enumerate(np.asarray(slopes)):
        last = (i + 1) * stride - 1
        assert not slope[:, last + 1 :].any() and slope[:, min(i * stride, size - 1)].any()


def test_padding_of_axes_by_name():
    x = random(1, 4, 5, 6, 2)
    conv = Conv(1, 3, padding={"T": "causal"}, use_bias=False)
    variables = conv.init(jax.random.key(1), x)
    y = conv.apply(variables, x)
    later = conv.apply(variables, x.at[:, 2:].set(9.0))
    assert y.shape == (1, 4, 5, 6, 1)
    np.testing.assert_array_equal(y[:, :2], later[:, :2])
    image = {"params": {"kernel": variables["params"]["kernel"][0]}}
    np.testing.assert_array_equal(
        conv.apply(image, x[0]), Conv(1, 3, use_bias=False).apply(image, x[0])
    )


def test_replicated_edges_keep_a_constant():
    conv = Conv(1, (3, 4), padding="replicate", use_bias=False)
    variables = {"params": {"kernel": random(3, 4, 2, 1)}}
    y = conv.apply(variables, jnp.ones((1, 5, 6, 2)))
    np.testing.assert_allclose(y, np.full((1, 5, 6, 1), y[0, 2, 2, 0]), rtol=1e-5)


@pytest.mark.parametrize(
    ("padding", "line"),
    [("casual", "did you mean 'causal'"), ({"X": "causal"}, "no axis 'X' .valid: T, H, W")],
)
def test_padding_that_is_none(padding, line):
    with pytest.raises(UsageError, match=line):
        Conv(1, 3, padding=padding).init(jax.random.key(0), jnp.ones((1, 5, 2)))


@pytest.mark.parametrize("stride", [1, 2, 3, (2, 3)])
def test_transposed_convolutions_have_a_stride_times_as_many_positions(stride):
    factors = stride if isinstance(stride, tuple) else (stride,)
    x = random(2, *(4 for _ in factors), 3)
    for padding in (None, "causal"):
        conv = TransposedConv(5, stride, padding=padding)
        y, variables = conv.init_with_output(jax.random.key(0), x)
        assert y.shape == (2, *(4 * f for f in factors), 5)
        assert 0.5 < float(jnp.std(y)) < 2.0  # of inputs of variance 1
        later = conv.apply(variables, x.at[:, 2:].set(9.0))
        unchanged = 2 * factors[0] if padding else 2 * factors[0] - factors[0] // 2
        np.testing.assert_array_equal(y[:, :unchanged], later[:, :unchanged])
        assert padding is None or (y != later)[:, unchanged:].any()


def test_a_depthwise_convolution_keeps_channels_apart():
    x = random(1, 9, 4)
    conv = DepthwiseConv(5, padding="causal")
    variables = conv.init(jax.random.key(0), x)
    slopes = jax.jacobian(lambda x: conv.apply(variables, x)[0])(x)[:, :, 0]  # [S, C, S, C]
    slopes = np.moveaxis(np.asarray(slopes), 2, 1)  # [S, S, C, C]
    assert not (slopes * (1 - np.eye(4))).any() and not slopes[3, 4:].any()
    assert slopes[8, 4:].any(axis=(0, 1)).all()


@pytest.mark.parametrize(
    ("shape", "window", "pads"),
    [
        ((3, 30, 31), (3, 3), ((1, 1), (1, 1))),
        ((2, 1700), (7,), ((6, 0),)),
        ((40, 7, 7), (3, 2), ((1, 1), (0, 1))),
        ((1, 4, 800), (3, 3), ((3, 3), (1, 1))),  # pieces that see zeros alone
    ],
)
def test_a_kernels_gradient_in_pieces_is_that_of_all_at_once(shape, window, pads):
    x, kernel = random(*shape, 4), random(*window, 4, 96, seed=1)
    y = jax.eval_shape(lambda: _convolve(x, kernel, (1,) * len(window), pads))
    gradient = random(*y.shape, seed=2)
    size = _piece_size(gradient.shape, window)
    assert 768 <= size < math.prod(y.shape[:-1])

    def whole(x, gradient, pads=pads):
        strides = (1,) * len(window)
        return jax.vjp(lambda k: _convolve(x, k, strides, pads), kernel)[1](gradient)[0]

    settings = {"window": window, "pads": pads, "size": size}
    pieces = lambda x, g: _gradient_in_pieces(whole, x, g, **settings)  # noqa: E731
    got = quick(pieces)(x, gradient)
    expected = quick(whole)(x, gradient)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    counts = {total_flops(jax.make_jaxpr(f)(x, gradient)) for f in (whole, pieces)}
    assert len(counts) == 1  # zeros around count in neither


def test_rows_that_a_mesh_splits_are_left_whole():
    assert _piece_size((8, 32, 32, 128), (3, 3)) == 1024
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        assert _piece_size((8, 32, 32, 128), (3, 3)) == 0
