"""Next-scale prediction: an exact likelihood, drawn in as many passes as scales."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.quickly import quick
from vqjax.config import FrozenRun
from vqjax.priors import ClassLabel, NextScale
from vqjax.quantizers import EMAVectorQuantizer, Hierarchical, MultiScaleResidual
from vqjax.sampling import Guidance, TokenSampling
from vqjax.tasks import PriorTask
from vqjax.types import Level, UsageError

LEVELS = (Level("tokens_0", (1, 1), 2), Level("tokens_1", (2, 2), 2))
FINER = (*LEVELS, Level("tokens_2", (3, 3), 2))
UNGUIDED = Guidance()
BEST = TokenSampling(temperature=0.0)


@functools.cache
def made(levels, condition=False):
    """(prior, parameters, what asks the tokenizer's quantizer, its features)."""
    scales = tuple(level.grid[0] for level in levels)
    quantizer = MultiScaleResidual(EMAVectorQuantizer(2, 3), scales)
    z = jnp.zeros((1, *levels[-1].grid, 3))
    rngs = {"params": jax.random.key(0), "quantizer": jax.random.key(1)}
    start = functools.partial(quantizer.init, train=False, step=0)
    variables = moved(quick(start)(rngs, z), 1.0)
    ask = functools.partial(quantizer.apply, variables)
    network = NextScale(16, 2, 2, condition=ClassLabel(3) if condition else None, levels=levels)
    tokens = jnp.zeros((1, network.order.length), jnp.int32)
    cond = jnp.zeros(1, jnp.int32) if condition else None
    sums = sums_of(network, ask, tokens)
    params = moved(quick(network.init)(jax.random.key(2), tokens, cond, sums)["params"], 0.2)
    return network, params, ask


def moved(tree, size):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: a + size * rng.normal(size=a.shape).astype(a.dtype), tree)


def sums_of(network, ask, tokens):
    indices = network.order.unflatten(tokens)
    return ask(tuple(indices[level.name] for level in network.levels), method="sums")


def logits_of(network, params, ask, tokens, cond=None):
    sums = sums_of(network, ask, tokens)
    return network.apply({"params": params}, tokens, cond, sums)


def drawn(network, params, ask, keys, cond=None, sampling=BEST, guidance=UNGUIDED):
    grow = functools.partial(ask, method="grow")
    how = {"sampling": sampling, "guidance": guidance, "grow": grow, "features": 3}
    return network.sample(params, keys, cond, **how)


def test_its_probabilities_sum_to_one():
    network, params, ask = made(LEVELS)
    codes = np.array(list(itertools.product((0, 1), repeat=5)), np.int32)
    tokens = jnp.asarray(codes + np.array([0, 2, 2, 2, 2]))  # ids of the second level come after
    sums = sums_of(network, ask, tokens)
    score = quick(lambda p: network.apply({"params": p}, tokens, sums=sums, method="objective"))
    nats, weights = score(params)
    p = np.exp(-np.asarray(nats, np.float64).sum(axis=1))
    assert p.sum() == pytest.approx(1.0, abs=1e-6) and p.std() > 0.005 and (weights == 1).all()


def test_a_scale_reads_coarser_ones_alone():
    network, params, ask = made(FINER)
    rng = np.random.default_rng(0)
    first = np.asarray(network.order.firsts)[network.order.level_at]
    codes = rng.integers(0, 2, (1, network.order.length))
    run = quick(lambda tokens: logits_of(network, params, ask, tokens))
    logits = run(jnp.asarray(codes + first, jnp.int32))
    ends = np.cumsum(network.sizes)
    for level, end in enumerate(ends):
        start = end - network.sizes[level]
        other = codes.copy()
        other[:, start:end] = 1 - other[:, start:end]
        changed = np.abs(run(jnp.asarray(other + first, jnp.int32)) - logits).max(axis=(0, 2))
        assert changed[:end].max() == 0.0
        assert level == 2 or changed[end:].max() > 1e-4


@pytest.mark.parametrize("guidance", [UNGUIDED, Guidance(2.5, "linear")])
def test_drawing_is_the_network_scale_by_scale(guidance):
    network, params, ask = made(FINER, condition=True)
    keys, cond = jax.random.split(jax.random.key(3), 4), jnp.array([0, 1, 2, -1])
    draw = quick(lambda p, k, c: drawn(network, p, ask, k, c, guidance=guidance))
    tokens = draw(params, keys, cond)
    first = np.asarray(network.order.firsts)[network.order.level_at]
    score = quick(lambda p, t, c: logits_of(network, p, ask, t, c))
    both = [score(params, tokens, c) for c in (cond, jnp.full(4, -1))]
    done = np.asarray(network.order.level_at)[None, :, None] / 2
    logits = guidance(jnp.concatenate(both), done) if guidance != UNGUIDED else both[0]
    np.testing.assert_array_equal(np.asarray(logits.argmax(axis=-1)) + first, tokens)
    assert len(np.unique(np.asarray(tokens), axis=0)) > 1


def test_an_example_depends_on_its_key_alone():
    network, params, ask = made(FINER)
    keys = jax.random.split(jax.random.key(3), 6)
    draw = quick(lambda k: drawn(network, params, ask, k, sampling=TokenSampling()))
    whole = draw(keys)
    np.testing.assert_array_equal(draw(keys[2:4]), whole[2:4])
    assert len(np.unique(np.asarray(whole), axis=0)) > 3


def test_another_hierarchy_is_refused():
    over = {}
    for name, quantizer in (
        ("scales", MultiScaleResidual(EMAVectorQuantizer(16, 4), (1, 2, 4))),
        ("flat", EMAVectorQuantizer(16, 4)),
        ("two grids", Hierarchical(EMAVectorQuantizer(16, 4), width=8)),
    ):
        base = tiny.vqvae()
        below = dataclasses.replace(
            base.task, tokenizer=tiny.tokenizer(quantizer), loss_weights={"l2": 1.0}
        )
        run = FrozenRun("runs/below", experiment=dataclasses.replace(base, task=below))
        over[name] = PriorTask(NextScale(16, 1, 2), run)
    specs = tiny.vqvae().data.example_spec()
    over["scales"].check(specs)
    with pytest.raises(UsageError, match="runs/below has EMAVectorQuantizer"):
        over["flat"].check(specs)
    with pytest.raises(UsageError, match="runs/below has Hierarchical"):
        over["two grids"].check(specs)
    with pytest.raises(UsageError, match="growing scales of one codebook, got grids 2x2, 1x1"):
        NextScale(16, 1, 2, levels=LEVELS[::-1]).check_levels()
