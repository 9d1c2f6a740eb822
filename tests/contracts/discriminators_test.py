import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.discriminators import MultiPeriod, PatchGAN
from vqjax.types import UsageError

NORMS = ("group", "batch", "none")


def logits_of(module, shape, seed=0):
    x = jax.random.uniform(jax.random.key(seed), shape, minval=-1.0)
    return quick(module.init_with_output)(jax.random.key(1), x)


@pytest.mark.parametrize(
    ("layers", "shape", "wanted"),
    [
        (1, (2, 16, 16, 1), (2, 6, 6, 1)),
        (2, (2, 28, 28, 3), (2, 5, 5, 1)),
        (3, (1, 32, 40, 3), (1, 2, 3, 1)),
        (2, (2, 32, 1), (2, 6, 1)),
        (1, (2, 6, 8, 10, 3), (2, 1, 2, 3, 1)),
    ],
)
@pytest.mark.parametrize("norm", NORMS)
def test_shapes_in_any_rank(layers, shape, wanted, norm):
    module = PatchGAN(width=4, layers=layers, norm=norm)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    logits, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    assert logits.shape == wanted
    assert set(variables) == {"params"}


def test_published_parameter_count():
    """Three layers on RGB, as the published 70x70 discriminator with batch normalisation."""
    x = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    params = jax.eval_shape(PatchGAN(norm="batch").init, jax.random.key(0), x)["params"]
    count = sum(p.size for p in jax.tree.leaves(params))
    first, last = 16 * 3 * 64 + 64, 16 * 512 + 1
    inner = 16 * (64 * 128 + 128 * 256 + 256 * 512) + 2 * (128 + 256 + 512)
    assert count == first + inner + last == 2_765_633


def test_one_logit_sees_its_patch_alone():
    module = PatchGAN(width=4, layers=1, norm="none")
    x = jnp.zeros((1, 32, 32, 1))
    variables = quick(module.init)(jax.random.key(0), x)
    gradient = quick(jax.grad(lambda x: module.apply(variables, x)[0, 7, 7, 0]))(x)[0, ..., 0]
    rows = np.flatnonzero(np.abs(gradient).sum(1))
    assert rows.max() - rows.min() + 1 == 16


@pytest.mark.parametrize(("norm", "same"), [("group", True), ("none", True), ("batch", False)])
def test_only_batch_statistics_tie_examples_together(norm, same):
    module = PatchGAN(width=8, layers=1, norm=norm)
    logits, variables = logits_of(module, (3, 12, 12, 1))
    x = jax.random.uniform(jax.random.key(0), (3, 12, 12, 1), minval=-1.0)
    alone = quick(module.apply)(variables, x[:1])
    assert np.allclose(alone, logits[:1], atol=1e-5) is same


def test_initial_kernels_are_normal_with_two_hundredths():
    _, variables = logits_of(PatchGAN(width=16, layers=2, norm="batch"), (1, 16, 16, 3))
    params = variables["params"]
    kernels = np.concatenate([params[f"conv_{i}"]["kernel"].ravel() for i in range(3)])
    assert abs(kernels.std() - 0.02) < 1e-3 and abs(kernels.mean()) < 1e-3
    assert 0.005 < np.std(params["norm_2"]["scale"]) < 0.04
    assert abs(np.mean(params["norm_2"]["scale"]) - 1.0) < 0.02


@pytest.mark.parametrize(
    ("layers", "sizes", "line"),
    [
        (3, (16, 16), "between 1 and 2"),
        (4, (28, 64), "between 1 and 3"),
        (0, (16, 16), "between 1 and 2"),
        (1, (5, 16), "at least 6 positions"),
    ],
)
def test_layers_that_the_input_has_no_room_for(layers, sizes, line):
    with pytest.raises(UsageError, match=line):
        logits_of(PatchGAN(width=4, layers=layers), (1, *sizes, 1))


@pytest.mark.parametrize("size", range(6, 40))
def test_the_named_number_of_layers_is_the_largest_that_works(size):
    x = jax.ShapeDtypeStruct((1, size, 1), jnp.float32)
    works = []
    for layers in range(1, 6):
        try:
            module = PatchGAN(width=1, layers=layers, norm="none")
            out, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
        except UsageError:
            continue
        assert out.shape == (1, size // 2**layers - 2, 1) and out.size > 0
        works.append(layers)
    assert works == list(range(1, max(works) + 1))
    assert size // 2 ** (max(works) + 1) - 2 < 1


def test_unknown_norm():
    with pytest.raises(UsageError, match="did you mean 'batch'"):
        logits_of(PatchGAN(norm="bach"), (1, 32, 1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtypes_and_finite_gradients(norm, dtype):
    module = PatchGAN(width=4, layers=1, norm=norm, dtype=dtype)
    logits, variables = logits_of(module, (2, 8, 8, 1))
    assert logits.dtype == dtype
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    x = jax.random.normal(jax.random.key(2), (2, 8, 8, 1))
    gradients = quick(jax.grad(lambda v, x: module.apply(v, x).sum(), argnums=(0, 1)))(variables, x)
    for g in jax.tree.leaves(gradients):
        assert np.isfinite(g).all()
    assert all(np.any(g) for g in jax.tree.leaves(gradients[0]["params"]["conv_0"]))


def test_float64_stays(x64):
    x = jnp.zeros((1, 8, 1), jnp.float64)
    for norm in NORMS:
        module = PatchGAN(width=4, layers=1, norm=norm)
        logits, variables = quick(module.init_with_output)(jax.random.key(0), x)
        assert logits.dtype == jnp.float64


def test_each_period_has_verdicts_of_its_own_and_features_of_its_layers():
    module = MultiPeriod(width=2, layers=2, periods=(2, 3))
    x = jax.ShapeDtypeStruct((2, 31, 1), jnp.float32)
    verdicts, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    assert set(variables) == {"params"} and len(verdicts) == 2
    # 31 samples are 16 rows of 2, or 11 of 3; strides of 3: 16, 6, 2 and 11, 4, 2.
    assert [v.logits.shape for v in verdicts] == [(4, 2, 1), (6, 2, 1)]
    assert [f.shape for f in verdicts[0].features] == [(4, 6, 2), (4, 2, 8), (4, 2, 32)]


def test_a_period_sees_every_pth_sample_alone():
    module = MultiPeriod(width=2, layers=1, periods=(3,))
    x = jnp.zeros((1, 36, 1))
    variables = quick(module.init)(jax.random.key(0), x)

    def logit(x):
        return module.apply(variables, x)[0].logits[1, 2, 0]  # of samples 1, 4, 7, ...

    gradient = quick(jax.grad(logit))(x)[0, :, 0]
    assert {*(np.flatnonzero(gradient) % 3).tolist()} == {1}


def test_a_published_number_of_parameters():
    """HiFi-GAN's five periods; each kernel is 5 x 1 there."""
    module = MultiPeriod(width=32, layers=4, periods=(2, 3, 5, 7, 11))
    x = jax.ShapeDtypeStruct((1, 4096, 1), jnp.float32)
    params = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    widths = [1, 32, 128, 512, 1024, 1024]
    layers = [5 * a * b + b for a, b in zip(widths, widths[1:], strict=False)]
    assert sum(p.size for p in jax.tree.leaves(params)) == 5 * (sum(layers) + 3 * 1024 + 1)


def test_no_sound_and_too_little_of_it_are_refused():
    for shape in ((1, 8, 8, 1), (1, 11, 1)):
        with pytest.raises(UsageError, match="more than 11 samples"):
            MultiPeriod().init(jax.random.key(0), jnp.zeros(shape))
    with pytest.raises(UsageError, match=r"periods=\(\)"):
        MultiPeriod(periods=())
