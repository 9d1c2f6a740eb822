import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.tokenizers.conv import ConvDecoder, ConvEncoder
from vqjax.types import UsageError

PUBLISHED = {"width": 128, "multipliers": (1, 1, 2, 2, 4), "attention_factors": (16,)}


def tiny(strides, multipliers, channels=2, **encoder):
    shared = {"width": 4, "multipliers": multipliers, "strides": strides, "latent_dim": 5}
    shared |= {"blocks": 1, "mid_attention": False}
    return ConvEncoder(**shared, **encoder), ConvDecoder(**shared, channels=channels)


def initialise(module, x, seed=0):
    """The result's shape and random parameters, drawn by numpy: compiling the draws takes long."""
    y, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    rng = np.random.default_rng(seed)
    leaves, tree = jax.tree.flatten(variables["params"])
    drawn = [jnp.asarray(rng.normal(0.0, 0.3, p.shape), p.dtype) for p in leaves]
    return y, jax.tree.unflatten(tree, drawn)


def count(params):
    return sum(p.size for p in jax.tree.leaves(params))


def conv3(a, b):
    return 9 * a * b + b


def res(a, b):
    return 2 * a + conv3(a, b) + 2 * b + conv3(b, b) + (a * b + b if a != b else 0)


def attention(c):
    return 2 * c + 4 * (c * c + c)


def middle(c):
    return res(c, c) + attention(c) + res(c, c)


def test_published_encoder_has_the_parameters_that_its_layers_add_up_to():
    x = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    z, variables = jax.eval_shape(ConvEncoder(**PUBLISHED).init_with_output, jax.random.key(0), x)
    assert z.shape == (1, 16, 16, 256)
    levels = [
        res(128, 128) + res(128, 128) + conv3(128, 128),
        res(128, 128) + res(128, 128) + conv3(128, 128),
        res(128, 256) + res(256, 256) + conv3(256, 256),
        res(256, 256) + res(256, 256) + conv3(256, 256),
        res(256, 512) + attention(512) + res(512, 512) + attention(512),
    ]
    wanted = conv3(3, 128) + sum(levels) + middle(512) + 2 * 512 + conv3(512, 256)
    assert count(variables) == wanted == 29_298_176


def test_published_decoder_has_the_parameters_that_its_layers_add_up_to():
    z = jax.ShapeDtypeStruct((1, 16, 16, 256), jnp.float32)
    x, variables = jax.eval_shape(ConvDecoder(**PUBLISHED).init_with_output, jax.random.key(0), z)
    assert x.shape == (1, 256, 256, 3)
    levels = [
        3 * (res(512, 512) + attention(512)) + conv3(512, 512),
        res(512, 256) + 2 * res(256, 256) + conv3(256, 256),
        3 * res(256, 256) + conv3(256, 256),
        res(256, 128) + 2 * res(128, 128) + conv3(128, 128),
        3 * res(128, 128),
    ]
    wanted = conv3(256, 512) + middle(512) + sum(levels) + 2 * 128 + conv3(128, 3)
    assert count(variables) == wanted == 42_449_795


def test_names_of_the_parameters():
    encoder = ConvEncoder(width=4, multipliers=(1, 2), blocks=1, attention_factors=(2,))
    decoder = ConvDecoder(width=4, multipliers=(1, 2), blocks=1, attention_factors=(2,))
    z, variables = jax.eval_shape(
        encoder.init_with_output, jax.random.key(0), jnp.zeros((1, 4, 4, 3))
    )
    params = variables["params"]
    assert set(params) == {
        "conv_in",
        "level_0",
        "downsample_0",
        "level_1",
        "mid",
        "norm_out",
        "conv_out",
    }
    assert set(params["level_0"]) == {"block_0"}
    assert set(params["level_1"]) == {"block_0", "attention_0"}
    assert params["level_1"]["block_0"]["conv_1"]["kernel"].shape == (3, 3, 4, 8)
    params = jax.eval_shape(decoder.init, jax.random.key(0), z)["params"]
    assert set(params) == {
        "conv_in",
        "mid",
        "level_1",
        "upsample_0",
        "level_0",
        "norm_out",
        "to_output",
    }
    assert params["upsample_0"]["kernel"].shape == (3, 3, 8, 8)


SHAPES = [
    (None, (1, 1), (4,), (2,)),
    ((3,), (1, 2), (6, 9), (2, 3)),
    (((1, 3), 2), (1, 1, 1), (2, 12), (1, 2)),
    (((1, 2, 2),), (1, 1), (3, 4, 2), (3, 2, 1)),
    ((8,), (1, 1), (16,), (2,)),
]


@pytest.mark.parametrize("downsample", ["strided", "average"])
@pytest.mark.parametrize(("strides", "multipliers", "shape", "grid"), SHAPES)
def test_there_and_back_in_any_rank(strides, multipliers, shape, grid, downsample):
    encoder, decoder = tiny(strides, multipliers, downsample=downsample)
    x = jax.ShapeDtypeStruct((2, *shape, 2), jnp.float32)
    z, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), x)
    assert z.shape == (2, *grid, encoder.latent_dim)
    assert encoder.grid(shape) == grid
    y, _ = jax.eval_shape(decoder.init_with_output, jax.random.key(0), z)
    assert y.shape == x.shape


def test_factors():
    assert ConvEncoder().factors == ConvDecoder().factors == 16
    assert ConvEncoder(multipliers=(1,)).factors == 1
    assert ConvEncoder(multipliers=(1, 1, 1), strides=(3, 2)).factors == 6
    assert ConvEncoder(multipliers=(1, 1, 1), strides=((1, 3), 2)).factors == (2, 6)


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        ((30, 28), r"size 30 of spatial axis 0.*28 or 32"),
        ((28, 3), r"size 3 of spatial axis 1.*nearest valid size is 4"),
    ],
)
def test_sizes_that_the_factor_does_not_divide(shape, line):
    encoder = ConvEncoder(width=4, multipliers=(1, 1, 1))
    with pytest.raises(UsageError, match=line):
        encoder.grid(shape)
    with pytest.raises(UsageError, match=line):
        jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, *shape, 1)))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"multipliers": (1, 2, 2), "strides": (2,)}, "3 multipliers need 2"),
        ({"multipliers": (1, 2), "attention_factors": (16,)}, "valid: 1, 2"),
        ({"multipliers": (1, 2), "strides": ((2, 2, 2),)}, "2 spatial axes"),
        ({"multipliers": (1, 2, 2), "strides": ((2, 2, 2), (2, 2))}, "2 entries"),
        ({"multipliers": (1, 2), "strides": (0,)}, "at least 1"),
        ({"multipliers": (1, 2), "activation": "sil"}, "'silu'"),
    ],
)
@pytest.mark.parametrize("cls", [ConvEncoder, ConvDecoder])
def test_settings_that_cannot_work(cls, settings, line):
    with pytest.raises(UsageError, match=line):
        module = cls(width=4, latent_dim=1, **settings)
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def test_unknown_downsampling():
    with pytest.raises(UsageError, match="'strided'"):
        ConvEncoder(width=4, multipliers=(1, 1), downsample="stride").init(
            jax.random.key(0), jnp.zeros((1, 4, 1))
        )


def test_output_layer_alone_and_features_before_it():
    _, decoder = tiny(None, (1, 2))
    z = jax.random.normal(jax.random.key(0), (2, 3, 5))
    _, params = initialise(decoder, z)
    h = quick(functools.partial(decoder.apply, method="to_features"))({"params": params}, z)
    assert h.shape == (2, 6, 4)
    last = {"to_output": params["to_output"]}
    out = decoder.apply({"params": last}, h, method=lambda m, h: m.to_output(h))
    np.testing.assert_array_equal(out, quick(decoder.apply)({"params": params}, z))


def test_latents_of_another_width_are_refused():
    _, decoder = tiny(None, (1, 2))
    with pytest.raises(ValueError, match="latent_dim=5"):
        decoder.init(jax.random.key(0), jnp.zeros((1, 3, 4)))


@pytest.mark.parametrize(("dtype", "shape"), [("float32", (4, 4)), ("bfloat16", (4,))])
def test_dtypes_and_gradients_to_every_parameter(dtype, shape):
    settings = {"width": 8, "multipliers": (1, 2), "blocks": 1, "latent_dim": 3, "dtype": dtype}
    encoder = ConvEncoder(**settings, attention_factors=(2,))
    decoder = ConvDecoder(**settings, mid_attention=False, channels=2)
    x = jax.random.normal(jax.random.key(0), (2, *shape, 2))
    z, one = initialise(encoder, x)
    _, two = initialise(decoder, z)
    assert z.dtype == dtype
    assert {p.dtype for p in jax.tree.leaves((one, two))} == {jnp.dtype("float32")}

    def loss(params):
        z = encoder.apply({"params": params["encoder"]}, x)
        y = decoder.apply({"params": params["decoder"]}, z)
        assert y.dtype == dtype
        return jnp.mean((y.astype(jnp.float32) - x) ** 2)

    gradients = quick(jax.grad(loss))({"encoder": one, "decoder": two})
    for path, g in jax.tree.leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(g).all(), name
        if "['key']['bias']" not in name:  # it shifts all logits of a query alike
            assert np.abs(g).max() > 0, name


def test_bfloat16_is_near_float32():
    settings = {"width": 8, "multipliers": (1, 2), "blocks": 1, "latent_dim": 3}
    x = jax.random.normal(jax.random.key(0), (2, 8, 1))
    _, params = initialise(ConvEncoder(**settings), x)
    z = quick(ConvEncoder(**settings).apply)({"params": params}, x)
    low = quick(ConvEncoder(**settings, dtype="bfloat16").apply)({"params": params}, x)
    error = jnp.linalg.norm(low.astype(jnp.float32) - z) / jnp.linalg.norm(z)
    assert 0.0 < error < 0.05


def test_float64_is_computed_in_float64(x64):
    encoder, decoder = tiny(None, (1, 2))
    x = jax.random.normal(jax.random.key(1), (1, 4, 2), jnp.float64)
    z, one = initialise(encoder, x)
    _, two = initialise(decoder, z)
    one, two = jax.tree.map(lambda p: p.astype(jnp.float64), (one, two))
    assert z.dtype == jnp.float64

    @quick
    @jax.value_and_grad
    def loss(x):
        z = encoder.apply({"params": one}, x)
        return jnp.sum(decoder.apply({"params": two}, z) ** 2)

    _, gradient = loss(x)
    assert gradient.dtype == jnp.float64
    step = jnp.zeros_like(x).at[0, 1, 1].set(1e-6)
    difference = (loss(x + step)[0] - loss(x - step)[0]) / 2e-6
    np.testing.assert_allclose(difference, gradient[0, 1, 1], rtol=1e-6)
