"""The laws of a prior over tokens. To add one is to add a row to `PRIORS`."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from tests.quickly import quick
from vqjax import config
from vqjax.priors import (
    GPT,
    AbsorbingDiffusion,
    ClassLabel,
    CodebookGPT,
    MaskGIT,
    PixelCNN,
    Several,
    Text,
)
from vqjax.sampling import Guidance, MaskedDecoding, TokenSampling
from vqjax.training.mesh import make_mesh
from vqjax.types import BATCH_AXES, Level, UsageError

ONE = (Level("tokens", (3, 2), 7),)
STACK = (Level("tokens_0", (2, 2), 5), Level("tokens_1", (2, 2), 5), Level("tokens_2", (2, 2), 3))
SOUND = tuple(Level(f"tokens_{q}", (4,), 5) for q in range(3))
PICTURE = tuple(Level(f"tokens_{q}", (3, 2), 4) for q in range(2))
SCALES = (Level("tokens_0", (1, 1), 6), Level("tokens_1", (2, 2), 6), Level("tokens_2", (4, 4), 6))

PLAIN = {"sampling": TokenSampling(), "guidance": Guidance()}

LOOKED_AT = Text(9, 3, 8, 1, 2, by="cross")
SEVERAL = Several((ClassLabel(3), Text(9, 3, 8, 1, 2), ClassLabel(2, batch_key="speaker")))
PRIORS = {
    "gpt": (lambda: GPT(16, 2, 2, condition=ClassLabel(3)), ONE),
    "gpt_of_a_stack": (
        lambda: GPT(16, 1, 4, kv_heads=2, qk_norm=True, positions="sequence"),
        STACK,
    ),
    "gpt_of_scales": (lambda: GPT(16, 1, 2, condition=ClassLabel(3), remat=True), SCALES),
    "gpt_told_a_text": (lambda: GPT(16, 1, 2, condition=Text(9, 3, 8, 1, 2)), ONE),
    "gpt_looking_at_a_text": (lambda: GPT(16, 2, 2, condition=LOOKED_AT), ONE),
    "gpt_under_several_conditions": (lambda: GPT(16, 1, 2, condition=SEVERAL), ONE),
    "codebook_gpt": (
        lambda: CodebookGPT(16, 2, 4, kv_heads=2, condition=ClassLabel(3)),
        SOUND,
    ),
    "codebook_gpt_flat": (lambda: CodebookGPT(16, 1, 2, pattern="flat", qk_norm=True), PICTURE),
    "codebook_gpt_that_ends": (
        lambda: CodebookGPT(16, 1, 2, ends=True, condition=LOOKED_AT, positions="sequence"),
        PICTURE,
    ),
    "maskgit_told_a_text": (
        lambda: MaskGIT(16, 1, 2, condition=Text(9, 3, 8, 1, 2), decoding=MaskedDecoding(2)),
        ONE,
    ),
    "pixelcnn": (
        lambda: PixelCNN(8, 2, condition=ClassLabel(3), first_kernel=5),
        ONE,
    ),
    "pixelcnn_of_a_stack": (lambda: PixelCNN(8, 3, first_kernel=3), STACK),
    "maskgit": (
        lambda: MaskGIT(16, 2, 2, condition=ClassLabel(3), decoding=MaskedDecoding(3)),
        ONE,
    ),
    "maskgit_of_scales": (lambda: MaskGIT(16, 1, 2, decoding=MaskedDecoding(40, "linear")), SCALES),
    "absorbing": (lambda: AbsorbingDiffusion(16, 1, 2, condition=ClassLabel(3), steps=3), ONE),
}


def those(*names, slow=()):
    """One test per name; the slow ones in the full suite only."""
    marked = [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]
    return pytest.mark.parametrize("name", marked)


ORDERED = [name for name in PRIORS if "maskgit" not in name and name != "absorbing"]
rows = those(*PRIORS, slow=["pixelcnn_of_a_stack", "codebook_gpt_flat"])
in_order = those(*ORDERED, slow=["pixelcnn"])
RNGS = ("mask", "dropout")
B = 8


def conditions_of(condition, rng):
    """Labels, some of them of no class; or captions of 0 to 3 tokens; or both."""
    if condition is None:
        return None
    if isinstance(condition, Several):
        return {part.batch_key: conditions_of(part, rng) for part in condition.parts}
    if isinstance(condition, ClassLabel):
        return jnp.asarray(rng.integers(-1, condition.classes, B), jnp.int32)
    ids = rng.integers(1, condition.vocabulary, (B, condition.tokens))
    lengths = np.arange(B)[:, None] % (condition.tokens + 1)
    return jnp.asarray(np.where(np.arange(condition.tokens) < lengths, ids, 0), jnp.int32)


@functools.cache
def made(name):
    """(network, parameters none of which is zero, tokens [B, T], conditions or None)."""
    make, levels = PRIORS[name]
    network = make().clone(levels=levels)
    rng = np.random.default_rng(0)
    indices = {
        v.name: jnp.asarray(rng.integers(0, v.codebook_size, (B, *v.grid)), jnp.int32)
        for v in levels
    }
    tokens = network.order.flatten(indices)
    cond = conditions_of(network.condition, rng)
    params = quick(network.init)(jax.random.key(0), tokens, cond)["params"]
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype(p.dtype), params)
    return network, params, tokens, cond


@functools.cache
def logits_of(name):
    network, params, tokens, cond = made(name)
    return quick(lambda p, t: network.apply({"params": p}, t, cond))(params, tokens)


def step_at(order):
    """The step in which each token is drawn."""
    return getattr(order, "step_at", np.arange(order.length))


def codes_of(network, tokens):
    """Tokens as the numbers of their logits."""
    return network.order.codes_of(tokens) if isinstance(network, CodebookGPT) else tokens


@rows
def test_the_order_and_back(name):
    network, _, tokens, _ = made(name)
    order = network.order
    assert tokens.shape == (B, order.length) and len(order.positions) == order.length
    indices = order.unflatten(tokens)
    for level in network.levels:
        ids = np.asarray(indices[level.name])
        assert ids.shape == (B, *level.grid) and ids.min() >= 0 and ids.max() < level.codebook_size
    np.testing.assert_array_equal(order.flatten(indices), tokens)
    assert np.all(order.positions > 0)  # position 0 is the prefix's


@rows
def test_probabilities_are_of_a_places_own_level(name):
    network, _, tokens, _ = made(name)
    p = np.exp(jax.nn.log_softmax(logits_of(name)))
    if isinstance(network, CodebookGPT):  # of those alone
        assert p.shape == (B, network.order.length, network.order.size + network.ends)
        np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)
        may_end = p[..., network.order.size :].max(axis=(0, 2), initial=0.0) > 0
        firsts_of_a_frame = np.arange(network.order.length) % len(network.levels) == 0
        firsts_of_a_frame[0] = False  # a clip has at least one frame
        np.testing.assert_array_equal(may_end, firsts_of_a_frame & network.ends)
        return
    assert p.shape == (B, network.order.length, network.order.vocabulary) and p.dtype == np.float32
    firsts = np.asarray([*network.order.firsts, network.order.vocabulary])
    for place, level in enumerate(network.order.level_at):
        own = p[:, place, firsts[level] : firsts[level + 1]]
        np.testing.assert_allclose(own.sum(-1), 1.0, rtol=1e-5)


@in_order
def test_a_token_changes_nothing_before_itself(name):
    network, params, tokens, cond = made(name)
    run = quick(lambda t: network.apply({"params": params}, t, cond))
    level_at, order, as_is = network.order.level_at, network.order, run(tokens)
    for place in range(order.length):
        first, size = order.firsts[level_at[place]], network.levels[level_at[place]].codebook_size
        other = tokens.at[:, place].set(first + (tokens[:, place] - first + 1) % size)
        changed = np.abs(run(other) - as_is).max(axis=(0, 2)) > 0
        np.testing.assert_array_equal(changed, step_at(order) > step_at(order)[place])


def influence(network, params, tokens, cond):
    """[T, T]: the gradient of every place's logits with respect to every token's vector, its norm.

    Summed over vocabulary with weights that no symmetry makes vanish.
    """
    rng = np.random.default_rng(2)
    shape = (*tokens.shape, network.width)

    def logits(change):
        def perturbed(call, args, kwargs, context):
            vectors = call(*args, **kwargs)
            if (context.module.name, context.method_name) != ("tokens", "__call__"):
                return vectors
            return vectors + change[:, : vectors.shape[1]]

        with nn.intercept_methods(perturbed):
            out = network.apply({"params": params}, tokens, cond)
        weights = jnp.asarray(rng.normal(size=out.shape[-1]), out.dtype)
        return jnp.where(out > -1e30, out, 0.0)[0] @ weights

    return jnp.sqrt(jnp.sum(quick(jax.jacrev(logits))(jnp.zeros(shape)) ** 2, axis=(1, 3)))


@those(*ORDERED, slow=["gpt_of_a_stack", "gpt_of_scales", "pixelcnn", "codebook_gpt_flat"])
def test_no_gradient_comes_from_a_token_or_those_after_it(name):
    network, params, tokens, cond = made(name)
    cond = jax.tree.map(lambda a: a[:1], cond)
    found = np.asarray(influence(network, params, tokens[:1], cond))
    steps = step_at(network.order)
    before = steps[:, None] > steps[None]
    assert (found[~before] == 0.0).all() and (found[before] > 0.0).all()


def test_a_pixelcnn_sees_all_that_its_kernels_reach_and_nothing_else():
    """No blind spot: two rows and one above, two columns to both sides; three places before."""
    grid, rng = (5, 6), np.random.default_rng(3)
    network = PixelCNN(8, 2, first_kernel=3, levels=(Level("tokens", grid, 5),))
    tokens = jnp.zeros((1, 30), jnp.int32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), tokens)["params"]
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(0, 0.4, p.shape), p.dtype), shapes)
    found = np.asarray(influence(network, params, tokens, None)).reshape(*grid, *grid)
    for i, j, row, column in np.ndindex(*grid, *grid):
        above = 1 <= i - row <= 3 and abs(j - column) <= 2
        left = row == i and 1 <= j - column <= 3
        assert (found[i, j, row, column] > 0.0) == (above or left), (i, j, row, column)


def one_by_one(network, params, tokens, cond, steps=None):
    """The logits of every token, by the decoder; of the first `steps` steps alone."""
    order, several = network.order, isinstance(network, CodebookGPT)
    inputs = order.to_steps(codes_of(network, tokens)) if several else tokens
    state, logits, step = network.decoder(params, cond, B)
    out = [logits]
    for number in range((steps or order.steps) - 1):
        state, logits = step(state, inputs[:, number], jnp.int32(number))
        out.append(logits)
    out = jnp.stack(out, axis=1)
    return order.from_steps(out) if several else out


@in_order
def test_step_by_step_is_all_at_once(name):
    network, params, tokens, cond = made(name)
    stepped = quick(lambda p, t: one_by_one(network, p, t, cond))(params, tokens)
    np.testing.assert_allclose(stepped, logits_of(name), atol=1e-5, rtol=1e-5)

    def likelihood(logits):
        log_p, codes = jax.nn.log_softmax(logits), codes_of(network, tokens)
        return jnp.take_along_axis(log_p, codes[..., None], axis=-1).sum((1, 2))

    np.testing.assert_allclose(likelihood(stepped), likelihood(logits_of(name)), rtol=1e-5)


@those("gpt", "codebook_gpt", "pixelcnn", slow=["pixelcnn"])
def test_step_by_step_is_the_same_network_in_bfloat16(name):
    network, params, tokens, cond = made(name)
    low = network.clone(dtype="bfloat16")
    count = None if name == "codebook_gpt" else 3

    @quick
    def both(params, tokens):
        stepped = one_by_one(low, params, tokens, cond, count)
        return stepped, low.apply({"params": params}, tokens, cond)[:, : stepped.shape[1]]

    stepped, whole = both(params, tokens)
    possible = np.asarray(whole) > -1e30
    np.testing.assert_allclose(stepped[possible], whole[possible], atol=0.03)


@rows
def test_samples_are_the_same_on_any_number_of_devices(name):
    network, params, _, cond = made(name)

    guidance = Guidance() if cond is None else Guidance(2.0, "linear")

    def draw(params, keys, *cond):
        return network.sample(
            params, keys, *cond, sampling=TokenSampling(top_p=0.9), guidance=guidance
        )

    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(5), i))(np.arange(B))
    drawn = []
    for devices in (jax.devices()[:1], jax.devices()):
        mesh = make_mesh(devices)
        rows = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
        whole = NamedSharding(mesh, PartitionSpec())
        put = [jax.device_put(x, rows) for x in (keys, *([] if cond is None else [cond]))]
        drawn.append(np.asarray(quick(draw)(jax.device_put(params, whole), *put)))
    np.testing.assert_array_equal(*drawn)
    for level, ids in zip(network.levels, network.order.unflatten(drawn[0]).values(), strict=True):
        assert ids.min() >= 0 and ids.max() < level.codebook_size


@rows
def test_an_example_depends_on_its_own_key_and_what_is_known_stays(name):
    network, params, tokens, cond = made(name)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(3), i))(np.arange(B))
    stays = np.random.default_rng(1).random(tokens.shape) < 0.5

    @quick
    def draw(keys, cond, known):
        return network.sample(params, keys, cond, known=known, **PLAIN)

    drawn = draw(keys, cond, (tokens, stays))
    np.testing.assert_array_equal(np.where(stays, drawn, 0), np.where(stays, tokens, 0))
    assert (np.asarray(drawn) != np.asarray(tokens)).any()
    some = slice(2, 5)
    some_cond = jax.tree.map(lambda a: a[some], cond)
    part = draw(keys[some], some_cond, (tokens[some], stays[some]))
    np.testing.assert_array_equal(part, drawn[some])


@rows
def test_the_objective_is_finite_and_reaches_every_parameter(name):
    network, params, tokens, cond = made(name)

    @quick
    def gradient(params, rngs):
        def mean(params):
            variables = {"params": params}
            nats, counts = network.apply(variables, tokens, cond, rngs=rngs, method="objective")
            return jnp.sum(nats * counts) / jnp.sum(counts)

        return jax.value_and_grad(mean)(params)

    loss, gradients = gradient(params, {n: jax.random.key(i) for i, n in enumerate(RNGS)})
    assert 0.0 < loss < 20.0
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


@those("gpt", "codebook_gpt", "maskgit", "pixelcnn", slow=["pixelcnn"])
def test_dropout_is_where_its_stream_is(name):
    network, params, tokens, cond = made(name)
    run = quick(lambda key: network.apply({"params": params}, tokens, cond, rngs={"dropout": key}))
    one, same, other = (np.asarray(run(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and (one != logits_of(name)).any()


@those("gpt", "codebook_gpt", "maskgit", "pixelcnn", slow=["pixelcnn"])
def test_bfloat16_networks_have_float32_logits(name):
    network, params, tokens, cond = made(name)
    low = network.clone(dtype="bfloat16")
    logits = quick(lambda p: low.apply({"params": p}, tokens, cond))(params)
    assert logits.dtype == jnp.float32
    possible = np.asarray(logits_of(name)) > -1e30
    difference = np.abs(np.asarray(logits) - np.asarray(logits_of(name)))[possible]
    assert 0 < difference.max() < 0.3


@rows
def test_the_same_after_json(name):
    make, _ = PRIORS[name]
    again = config.decode(config.from_json(config.to_json(config.encode(make()))))
    assert again == make()


def over_orders(network, tokens):
    """Random parameters, and for all orders in which three tokens can be drawn -log p of drawing
    these, tokens [B, 3]: [orders, B].
    """
    params = quick(network.init)(jax.random.key(0), tokens)["params"]
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(jax.random.key(1), p.shape), params)
    run = quick(lambda t: jax.nn.log_softmax(network.apply({"params": params}, t)))
    rows, found = np.arange(len(tokens)), []
    for order in itertools.permutations(range(3)):
        drawn, nats = jnp.full_like(tokens, network.mask_token), 0.0
        for position in order:
            nats -= np.asarray(run(drawn))[rows, position, tokens[:, position]]
            drawn = drawn.at[:, position].set(tokens[:, position])
        found.append(nats)
    return params, np.array(found)


THREE = (Level("tokens", (3,), 4),)


@pytest.mark.parametrize(
    ("prior", "streams"),
    [(MaskGIT, ("mask",)), (AbsorbingDiffusion, ("mask",)), (AbsorbingDiffusion, RNGS)],
)
def test_the_bound_is_the_mean_over_random_orders(prior, streams):
    """In evaluation, and of absorbing diffusion in training."""
    network = prior(16, 1, 2, levels=THREE)
    tokens = jnp.asarray([[2, 0, 3]], jnp.int32)
    params, exact = over_orders(network, tokens)

    @quick
    def draws(keys):
        def one(key):
            rngs = dict.fromkeys(streams, key)
            nats, _ = network.apply({"params": params}, tokens, rngs=rngs, method="objective")
            return nats.sum()

        return jax.vmap(one)(keys)

    estimates = np.asarray(draws(jax.random.split(jax.random.key(2), 4_000)))
    error = estimates.std() / np.sqrt(len(estimates))
    assert exact.mean() == pytest.approx(estimates.mean(), abs=4 * error)
    p = np.exp(-exact).mean()  # of drawing them in any order
    assert -np.log(p) < exact.mean()


def test_absorbing_diffusion_draws_in_a_random_order():
    network = AbsorbingDiffusion(16, 1, 2, levels=THREE, steps=100)
    sequences = jnp.asarray(list(itertools.product(range(4), repeat=3)), jnp.int32)  # [64, 3]
    params, nats = over_orders(network, sequences)
    p = np.exp(-nats).mean(axis=0)  # [64]
    assert p.sum() == pytest.approx(1, abs=1e-4)
    keys = jax.random.split(jax.random.key(3), 2_000)
    drawn = np.asarray(quick(lambda k: network.sample(params, k, **PLAIN))(keys))
    counts = np.bincount(drawn @ [16, 4, 1], minlength=64)
    distance = ((counts - 2_000 * p) ** 2 / (2_000 * p)).sum()
    assert distance < 63 + 4 * np.sqrt(2 * 63)  # chi-square of 63 degrees of freedom


def test_a_label_that_is_no_class_does_not_pass_for_one():
    condition = ClassLabel(3)
    labels = jnp.asarray([-1, 0, 2, 3, 4])
    variables = condition.init(jax.random.key(0), labels, 4)
    out = np.asarray(condition.apply(variables, labels, 4)[0])[:, 0]
    assert np.isfinite(out[:3]).all() and np.isnan(out[3:]).all()
    assert len({tuple(row) for row in out[:3]}) == 3
    condition.check(np.asarray(labels[:3]))
    with pytest.raises(UsageError, match="label 3: wanted 0 to 2"):
        condition.check(np.asarray(labels))


@pytest.mark.parametrize("name", ["gpt_told_a_text", "gpt_looking_at_a_text"])
def test_padding_of_a_text_is_not_looked_at(name):
    network, params, tokens, cond = made(name)
    longer = network.clone(condition=network.condition.clone(tokens=5))
    padded = jnp.pad(cond, ((0, 0), (0, 2)))
    logits = quick(lambda p: longer.apply({"params": p}, tokens, padded))(params)
    np.testing.assert_allclose(logits, logits_of(name), atol=1e-5)
    changed = quick(lambda p, g: network.apply({"params": p}, tokens, g))(
        params, jnp.where(cond > 0, cond % 8 + 1, 0)
    )
    told = np.asarray(cond != 0).any(axis=1)
    differs = np.abs(np.asarray(changed) - np.asarray(logits_of(name))).max(axis=(1, 2)) > 1e-4
    np.testing.assert_array_equal(differs, told)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GPT(16, 1, 3), "heads=3 does not divide"),
        (lambda: GPT(16, 1, 0), "heads=0"),
        (lambda: GPT(16, 1, 4, kv_heads=3), "kv_heads=3"),
        (lambda: GPT(16, 0, 4), "layers=0"),
        (lambda: GPT(16, 1, 4, positions="grids"), "did you mean 'grid'"),
        (lambda: MaskGIT(16, 1, 4, label_smoothing=1.0), "label_smoothing"),
        (lambda: PixelCNN(8, 0), "layers=0"),
        (lambda: PixelCNN(8, 1, kernel=2), "kernel=2: wanted an odd"),
        (lambda: PixelCNN(8, 1, levels=SCALES).check_levels(), "one grid of one or two axes"),
        (lambda: CodebookGPT(16, 1, 4, pattern="delayed"), "did you mean 'delay'"),
        (lambda: CodebookGPT(16, 1, 4, levels=SCALES).check_levels(), "one size and one grid"),
        (lambda: CodebookGPT(16, 1, 4, levels=STACK).check_levels(), "3 codes on .*, 5 codes on"),
        (lambda: ClassLabel(0), "classes=0"),
        (lambda: Text(9, 3, 8, heads=3), "wanted a multiple of 2 heads=6"),
        (lambda: Text(9, 3, 8, heads=2, by="crosses"), "did you mean 'cross'"),
        (lambda: Text(0, 3, 8, heads=2), "vocabulary=0"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_guidance_needs_a_prior_that_can_do_without():
    levels = (Level("tokens", (2,), 3),)
    network = GPT(16, 1, 2, condition=ClassLabel(3, dropout=0.0), levels=levels)
    with pytest.raises(UsageError, match="dropout=0"):
        network.with_guidance(None, 2, Guidance(2.0))


@pytest.mark.parametrize(
    ("size", "published"),
    [
        ((768, 12, 12), 111e6),
        ((1024, 24, 16), 343e6),
        ((1280, 36, 20), 775e6),
    ],
)
def test_sizes_of_llamagen(size, published):
    """arXiv 2406.06525, table 1, over 16 x 16 tokens of 16,384 codes and 1,000 classes."""
    levels = (Level("tokens", (16, 16), 16_384),)
    network = GPT(*size, condition=ClassLabel(1_000), levels=levels)
    tokens = jax.ShapeDtypeStruct((1, 256), jnp.int32)
    cond = jax.ShapeDtypeStruct((1,), jnp.int32)
    params = jax.eval_shape(lambda t, g: network.init(jax.random.key(0), t, g), tokens, cond)
    count = sum(np.prod(p.shape) for p in jax.tree.leaves(params))
    assert count == pytest.approx(published, rel=0.005)
