"""The laws of a discrete quantizer. To add one is to add a row to `DISCRETE`."""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.quickly import quick
from vqjax import config
from vqjax import quantizers as q
from vqjax.ops.schedules import Cosine
from vqjax.types import BATCH_AXES, MESH_AXES, TENSOR_AXIS

K, D = 16, 4


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantizer: how a small one is made, and one with a codebook of 2^bits, by `large`.

    `bits` are 18, or fewer where probabilities are N x K by definition; 0: it is made of others.
    `exact` says whether z_q is the codes in training, too; `networks`, whether it has some of its
    own, which its losses train.
    """

    make: Callable[[], Any]
    large: Callable[[int], Any] | None = None
    bits: int = 18
    exact: bool = True
    networks: bool = False


def _ema():
    return q.EMAVectorQuantizer(K, D)


DISCRETE = {
    "vq": Row(
        lambda: q.VectorQuantizer(K, D, start=q.KMeans(), revival=q.Revival()),
        lambda size: q.VectorQuantizer(size, 8),
    ),
    "rotation": Row(lambda: q.VectorQuantizer(K, D, estimator=q.RotationTrick())),
    "ema": Row(_ema, lambda size: q.EMAVectorQuantizer(size, 8)),
    "cosine": Row(
        lambda: q.CosineVectorQuantizer(K, D, revival=q.Revival()),
        lambda size: q.CosineVectorQuantizer(size, 8),
    ),
    "simvq": Row(lambda: q.SimVQ(K, D, start=q.KMeans()), lambda size: q.SimVQ(size, 8)),
    "fsq": Row(
        lambda: q.FSQ((4, 5, 3)), lambda size: q.FSQ((8,) * 6 if size > 2 else (3,))
    ),
    "lfq": Row(lambda: q.LFQ(D, temperature=1.0), lambda size: q.LFQ(size.bit_length() - 1)),
    "bsq": Row(lambda: q.BSQ(D, temperature=1.0), lambda size: q.BSQ(size.bit_length() - 1)),
    "gumbel": Row(
        lambda: q.GumbelQuantizer(K, D, temperature=Cosine(1.0, steps=9, final=0.1)),
        lambda size: q.GumbelQuantizer(size, 8),
        bits=14,
    ),
    "ibq": Row(lambda: q.IBQ(K, D, temperature=1.0), lambda size: q.IBQ(size, 8), bits=16),
    "product": Row(lambda: q.Product(_ema(), groups=2)),
    "multihead": Row(lambda: q.MultiHead(q.VectorQuantizer(K, D, start=q.KMeans()), heads=2)),
    "residual": Row(lambda: q.Residual(_ema(), stages=3)),
    "residual_shared": Row(lambda: q.Residual(q.CosineVectorQuantizer(K, D), 2, shared=True)),
    "residual_dropout": Row(lambda: q.Residual(_ema(), stages=3, dropout=0.9), exact=False),
    "residual_fsq": Row(lambda: q.Residual(q.FSQ((7, 5, 3), bound="clip"), stages=2)),
    "residual_lfq": Row(lambda: q.Residual(q.LFQ(D), stages=2)),
    "multiscale": Row(
        lambda: q.MultiScaleResidual(
            q.VectorQuantizer(K, D, start=q.KMeans()), scales=(1, 2, 4), blend=0.1
        )
    ),
    "hierarchical": Row(
        lambda: q.Hierarchical(q.VectorQuantizer(K, D, start=q.KMeans()), width=8), networks=True
    ),
}  # fmt: skip
rows = pytest.mark.parametrize("name", DISCRETE)
LARGE = [name for name, row in DISCRETE.items() if row.large is not None]
STORED = ["vq", "ema", "cosine"]  # codes that can be moved


def make(name):
    return DISCRETE[name].make()


def input_dim(quantizer):
    return getattr(quantizer, "input_dim", quantizer.codebook_dim)


def latents(quantizer, shape=(8, 4, 8), dtype=jnp.float32):
    shape = (*shape, input_dim(quantizer))
    return jax.random.normal(jax.random.key(7), shape, jnp.float32).astype(dtype)


def variables_of(quantizer, rank=2):
    """Initial variables, with stored codes spread like the data: each is somebody's nearest.

    `rank` is the number of spatial axes.
    """
    return jax.tree.map(lambda x: x, _variables_of(quantizer, rank))  # nobody's dicts but theirs


@functools.cache
def _variables_of(quantizer, rank):
    rngs = {"params": jax.random.key(0), "quantizer": jax.random.key(4)}
    z = latents(quantizer, (1,) * (rank + 1))
    tree = quick(lambda z: quantizer.init(rngs, z, train=False, step=0))(z)

    def spread(path, x):
        if path[-1].key != "codes":
            return x
        key = jax.random.fold_in(jax.random.key(1), zlib.crc32(str(path).encode()))
        return jax.random.normal(key, x.shape)

    return jax.tree_util.tree_map_with_path(spread, tree)


def call(quantizer, variables, z, train=True, seed=5):
    """The result and the statistics that the call collected; to be used inside `jit`."""
    out, mutated = quantizer.apply(
        variables,
        z,
        train=train,
        step=jnp.int32(0),
        rngs={"quantizer": jax.random.key(seed)} if train else {},
        mutable=["statistics"] if train else [],
    )
    return out, dict(mutated).get("statistics", {})


_compiled_call = quick(call, static_argnums=(0, 3))


def quantize(quantizer, variables, z, train=True, seed=5):
    """`call`, compiled once per quantizer and shape: laws share most by taking `latents` as is."""
    return _compiled_call(quantizer, variables, z, train, seed)


def step(quantizer, variables, z, n=0):
    """One step of the quantizer alone: what it returned, and the variables after it."""
    out, statistics = call(quantizer, variables, z, seed=n)
    params, book = quantizer.update(
        variables.get("params", {}),
        variables["codebook"],
        statistics,
        jax.random.fold_in(jax.random.key(2), n),
        jnp.int32(n),
    )
    return out, {**({"params": params} if params else {}), "codebook": book}


def ledgers(book):
    """All ledgers in a collection `codebook`."""
    return [book] if "alive" in book else [b for child in book.values() for b in ledgers(child)]


def counts_in(statistics):
    """Picks of every codebook in a collection `statistics`."""
    leaves = jax.tree_util.tree_leaves_with_path(statistics)
    return [np.asarray(v) for path, v in leaves if path[-1].key == "counts"]


def check_indices_and_lookup(name, batch, axes):
    quantizer = make(name)
    variables = variables_of(quantizer, len(axes))
    z = latents(quantizer, (batch, *axes))
    grids = (tuple(axes),) * quantizer.num_codebooks
    if hasattr(quantizer, "grids"):
        grids = quantizer.grids(tuple(axes))
    # A blend is a product and a sum, which `quick` does not round alike in two programs.
    as_users = name in ("multiscale", "hierarchical")
    run = jax.jit(call, static_argnums=(0, 3)) if as_users else quantize
    look_up = (jax.jit if as_users else quick)(functools.partial(quantizer.apply, method="lookup"))
    for train in (False, True):
        out, _ = run(quantizer, variables, z, train)
        again = look_up(variables, out.indices)
        assert len(out.indices) == quantizer.num_codebooks
        for indices, grid in zip(out.indices, grids, strict=True):
            assert indices.shape == (batch, *grid) and indices.dtype == jnp.int32
            assert indices.min() >= 0 and indices.max() < quantizer.codebook_size
        assert out.z_q.shape == (batch, *axes, quantizer.codebook_dim)
        if DISCRETE[name].exact or not train:
            np.testing.assert_array_equal(out.z_q, again)


@rows
def test_indices_are_in_range_and_look_up_to_z_q_exactly(name):
    check_indices_and_lookup(name, 8, [4, 8])


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(DISCRETE)),
    batch=st.integers(1, 5),
    axes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
)
def test_indices_and_lookup_for_any_shape(name, batch, axes):
    check_indices_and_lookup(name, batch, axes)


@rows
def test_the_encoder_gets_a_finite_gradient_other_than_zero(name):
    quantizer = make(name)
    variables = variables_of(quantizer)

    @quick
    def gradients(z):
        def through_codes(z):
            return jnp.sum(call(quantizer, variables, z)[0].z_q ** 3)

        def through(term):
            return lambda z: call(quantizer, variables, z)[0].losses[term]

        # The codebook's own term pulls nothing but the codes.
        terms = [term for term in quantizer.loss_weights if term != "codebook"]
        return [jax.grad(f)(z) for f in (through_codes, *map(through, terms))]

    for gradient in gradients(latents(quantizer)):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@rows
def test_losses_are_the_named_ones_and_finite(name):
    quantizer = make(name)
    assert all(weight > 0 for weight in quantizer.loss_weights.values())
    out, _ = quantize(quantizer, variables_of(quantizer), latents(quantizer))
    assert set(out.losses) == set(quantizer.loss_weights)
    assert all(np.isfinite(v) and v.shape == () for v in out.losses.values())


@rows
def test_the_commitment_does_not_move_the_codes(name):
    quantizer = make(name)
    if "commitment" not in quantizer.loss_weights:
        assert (
            "commitment"
            not in quantize(quantizer, variables_of(quantizer), latents(quantizer))[0].losses
        )
        return
    variables = variables_of(quantizer)

    def commitment(params):
        mine = {**variables, **({"params": params} if params else {})}
        return call(quantizer, mine, latents(quantizer), train=False)[0].losses["commitment"]

    gradients = quick(jax.grad(commitment))(variables.get("params", {}))
    if DISCRETE[name].networks:
        gradients = {part: tree for part, tree in gradients.items() if part.startswith("parts_")}
    for leaf in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(leaf, 0)


@rows
def test_every_level_reports_how_its_codes_live(name):
    quantizer = make(name)
    out, _ = quantize(quantizer, variables_of(quantizer), latents(quantizer))
    names = {metric.partition("/")[0] for metric in out.metrics}
    assert {"codebook_usage", "perplexity"} <= names
    assert {"codebook_alive", "codebook_age", "codebook_revived"} <= names
    assert 0 < quantizer.watch.alarm < 1 and quantizer.remedies
    evaluated, _ = quantize(quantizer, variables_of(quantizer), latents(quantizer), train=False)
    for key, value in evaluated.metrics.items():
        top = {"codebook_usage": 1, "perplexity": quantizer.codebook_size}.get(
            key.partition("/")[0]
        )
        assert np.isfinite(value) and (top is None or 0 < value <= top * (1 + 1e-6))


@rows
def test_evaluation_collects_nothing_and_draws_nothing(name):
    quantizer = make(name)
    variables = variables_of(quantizer)
    apply = functools.partial(quantizer.apply, train=False, step=0, mutable=True)  # without a key
    out, mutated = quick(apply)(variables, latents(quantizer))
    assert not mutated.get("statistics")
    for key in mutated:
        jax.tree.map(np.testing.assert_array_equal, mutated[key], variables[key])
    again, _ = quantize(quantizer, variables, latents(quantizer), train=False)
    np.testing.assert_array_equal(out.z_q, again.z_q)


@rows
def test_the_same_after_json(name):
    quantizer = make(name)
    again = config.decode(config.from_json(config.to_json(config.encode(quantizer))))
    assert again == quantizer
    variables = variables_of(quantizer)
    out, _ = quantize(quantizer, variables, latents(quantizer))
    other, _ = quantize(again, variables, latents(quantizer))
    jax.tree.map(np.testing.assert_array_equal, out.indices, other.indices)
    np.testing.assert_array_equal(out.z_q, other.z_q)


def _mesh(shape):
    axes = (AxisType.Auto,) * len(MESH_AXES)
    return jax.make_mesh(shape, MESH_AXES, axis_types=axes, devices=jax.devices()[: np.prod(shape)])


@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param((2, 1, 4), id="2x4"),
        pytest.param((8, 1, 1), id="8", marks=pytest.mark.slow),
    ],
)
@rows
def test_a_step_is_the_same_on_any_mesh(name, mesh):
    """Rows split over "data", stored codes over "tensor": indices, losses, codes, ledger."""
    quantizer = make(name)
    variables = variables_of(quantizer)
    z = latents(quantizer)

    @quick
    def run(variables, z):
        def total(z):
            out, _ = call(quantizer, variables, z)
            return jnp.sum(out.z_q**2) + sum(out.losses.values())

        return step(quantizer, variables, z), jax.grad(total)(z)

    results = []
    for shape in ((1, 1, 1), mesh):

        def place(path, x, shape=shape):
            split = path[-1].key in ("codes", "counts", "age") and not len(x) % shape[2]
            spec = PartitionSpec(TENSOR_AXIS) if split else PartitionSpec()
            return jax.device_put(x, NamedSharding(_mesh(shape), spec))

        with jax.set_mesh(_mesh(shape)):
            placed = jax.tree_util.tree_map_with_path(place, variables)
            rows_sharding = NamedSharding(_mesh(shape), PartitionSpec(BATCH_AXES))
            results.append(jax.device_get(run(placed, jax.device_put(z, rows_sharding))))
    ((one, _), _), ((other, _), _) = results
    jax.tree.map(np.testing.assert_array_equal, other.indices, one.indices)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5, rtol=1e-5), *results)


@rows
def test_bfloat16_picks_the_codes_of_its_float32_cast(name):
    quantizer = make(name)
    variables = variables_of(quantizer)
    z = latents(quantizer, dtype=jnp.bfloat16)
    low, _ = quantize(quantizer, variables, z)
    high, _ = quantize(quantizer, variables, z.astype(jnp.float32))
    jax.tree.map(np.testing.assert_array_equal, low.indices, high.indices)
    assert low.z_q.dtype == jnp.float32
    assert all(v.dtype == jnp.float32 for v in low.losses.values())


@rows
def test_an_empty_batch(name):
    quantizer = make(name)
    out, statistics = quantize(quantizer, variables_of(quantizer), latents(quantizer, (0, 4, 4)))
    assert out.z_q.shape == (0, 4, 4, quantizer.codebook_dim)
    assert all(np.isfinite(v) for v in out.losses.values())
    assert counts_in(statistics) and not np.any(counts_in(statistics))


@rows
def test_statistics_add_over_calls(name):
    quantizer = make(name)
    noisy = not DISCRETE[name].exact or name == "gumbel"  # other picks in another call
    variables = variables_of(quantizer)
    z = latents(quantizer, (16, 4, 8))
    _, whole = quantize(quantizer, variables, z)
    _, half = quantize(quantizer, variables, z[:8])
    _, both = quantize(quantizer, {**variables, "statistics": half}, z[8:])

    def compare(path, a, b):
        if path[-1].key == "candidates":
            assert a.shape == b.shape
        elif path[-1].key == "counts" and noisy:
            assert a.sum() == b.sum() == 16 * 4 * 8
        elif path[-1].key == "seen" or not noisy:
            np.testing.assert_allclose(a, b, atol=1e-5)

    jax.tree_util.tree_map_with_path(compare, whole, both)


@pytest.mark.parametrize("name", STORED)
def test_candidates_are_vectors_that_were_seen(name):
    quantizer = make(name)
    z = latents(quantizer, (16, 4, 8))
    variables = variables_of(quantizer)
    _, half = quantize(quantizer, variables, z[:8])
    _, both = quantize(quantizer, {**variables, "statistics": half}, z[8:])
    seen = np.asarray(quantizer.prepare(z)).reshape(-1, D)
    for candidate in np.asarray(both["candidates"]):
        assert (np.abs(seen - candidate).max(-1) < 1e-6).any()


@rows
def test_the_ledger_keeps_ages_and_the_share_alive(name):
    """A code that was picked has age 0; in the long run those that nobody picks are dead."""
    quantizer = make(name)
    variables = variables_of(quantizer)
    z = latents(quantizer, (2, 4, 4))[:, :1, :1] * jnp.ones((1, 4, 4, 1))  # few distinct vectors
    run = quick(lambda v, n: step(quantizer, v, z, n)[1])
    for n in range(3):
        variables = run(variables, n)
    for book in ledgers(variables["codebook"]):
        assert set(np.unique(book["age"])) <= {0, 1, 2, 3} and (np.asarray(book["age"]) == 0).any()
        assert book["alive"] == 1 and np.all(book["counts"] >= 0)


@pytest.mark.parametrize("name", STORED)
def test_no_code_revives_before_it_had_a_chance_to_be_picked(name):
    """One vector a step, K codes: K steps pass before an equally used code is due once."""
    quantizer = make(name)
    variables = variables_of(quantizer)
    run = quick(lambda v, z, n: step(quantizer, v, z, n)[1])
    revived = []
    for n in range(8 * K):
        variables = run(variables, latents(quantizer, (1, 1, 1)), n)
        revived.append(int(variables["codebook"]["revived"]))
    assert revived[7 * K - 2] == 0 and revived[-1] > 0


@pytest.mark.parametrize("name", STORED)
def test_dead_codes_revive(name):
    quantizer = make(name)
    variables = variables_of(quantizer)
    far = jnp.full((K, D), 1e3).at[0].set(-1.0)  # all but one code point elsewhere
    variables = jax.tree.map(lambda x: far if x.shape == (K, D) else x, variables)
    z = latents(quantizer)
    run = quick(lambda v, n: step(quantizer, v, z, n)[1])
    for n in range(300):
        variables = run(variables, n)
    assert int(variables["codebook"]["revived"]) >= K - 2
    out, _ = quantize(quantizer, variables, z)
    assert out.metrics["codebook_usage"] > 0.8 and out.metrics["codebook_alive"] == 1


def test_revival_may_wait_until_usage_has_fallen():
    quantizer = q.EMAVectorQuantizer(K, D, start=None, revival=q.Revival(when=0.5))
    z = latents(quantizer, (64, 4, 4))
    few = jnp.full((K, D), 1e3).at[:12].set(jax.random.normal(jax.random.key(3), (12, D)))
    run = quick(lambda v, n: step(quantizer, v, z, n)[1])
    for codes, moves in ((few, False), (few.at[2:].set(1e3), True)):
        variables = variables_of(quantizer)
        variables["codebook"]["codes"] = codes
        for n in range(300):
            variables = run(variables, n)
        assert (int(variables["codebook"]["revived"]) > 0) == moves
        assert variables["codebook"]["alive"] > 0.5


@pytest.mark.parametrize(
    "name", [name for name, row in DISCRETE.items() if row.make().start is not None]
)
def test_begin_puts_the_codes_among_the_encodings(name):
    quantizer = make(name)
    variables = variables_of(quantizer)
    away = jnp.arange(1, input_dim(quantizer) + 1) * 10.0
    z = latents(quantizer, (64, 8, 8)) + away[None, None, None]
    before, _ = quantize(quantizer, variables, z, train=False)
    params, book = quantizer.init_codebook(
        variables.get("params", {}), variables["codebook"], z, jax.random.key(0)
    )
    began = {**({"params": params} if params else {}), "codebook": book}
    assert jax.tree.structure(began) == jax.tree.structure(variables)
    out, _ = quantize(quantizer, began, z, train=False)
    assert out.losses["commitment"] < 0.3 * before.losses["commitment"]
    _, statistics = quantize(quantizer, began, z)
    # Scales that share codes start from what exact codes would leave, and see what these leave.
    wanted = 0.4 if hasattr(quantizer, "grids") else 0.8
    for counts in counts_in(statistics):
        assert np.mean(counts > 0) > wanted


@pytest.mark.parametrize("name", LARGE)
def test_a_large_codebook_costs_no_n_by_k_array(name):
    """At most 1 GiB more temporaries than the same step with few codes, at 4,096 vectors."""
    row = DISCRETE[name]

    def temporaries(size):
        quantizer = row.large(size)
        z = jax.ShapeDtypeStruct((16, 16, 16, input_dim(quantizer)), jnp.float32)
        rngs = {"params": jax.random.key(0), "quantizer": jax.random.key(1)}
        variables = jax.eval_shape(lambda z: quantizer.init(rngs, z, train=False, step=0), z)

        def run(variables, z):
            def total(params, z):
                mine = {**variables, **({"params": params} if params else {})}
                out, statistics = call(quantizer, mine, z)
                return jnp.sum(out.z_q**2) + sum(out.losses.values()), statistics

            params = variables.get("params", {})
            grads, statistics = jax.grad(total, argnums=(0, 1), has_aux=True)(params, z)
            return grads, quantizer.update(
                params, variables["codebook"], statistics, jax.random.key(0), jnp.int32(0)
            )

        return jax.jit(run).lower(variables, z).compile().memory_analysis().temp_size_in_bytes

    few, many = temporaries(2), temporaries(2**row.bits)
    print(f"{name}, 2^{row.bits} codes: {(many - few) / 2**20:.0f} MiB more")
    assert many - few <= 2**30
    assert row.bits == 18 or "N x K" in type(row.make()).__doc__
