"""CodebookGPT against probabilities worked out one by one, of all clips that there are."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.priors import GPT, ClassLabel, CodebookGPT
from vqjax.priors.codebook_order import PATTERNS
from vqjax.sampling import Guidance, TokenSampling
from vqjax.types import Level

F, Q, K = 3, 2, 2
LEVELS = tuple(Level(f"tokens_{q}", (F,), K) for q in range(Q))
PLAIN = {"sampling": TokenSampling(), "guidance": Guidance()}
patterns = pytest.mark.parametrize("pattern", PATTERNS)
both = pytest.mark.parametrize(
    ("pattern", "ends"),
    [("delay", True), ("flat", True), pytest.param("delay", False, marks=pytest.mark.slow)],
)


def clips_of(network):
    """Ids of every clip that there is [N, T], and the frames of each [N]."""
    found, frames = [], []
    for count in range(1, F + 1) if network.ends else (F,):
        for tokens in itertools.product(range(K), repeat=count * Q):
            clip = np.zeros((F, Q), np.int32)
            clip[:count] = np.reshape(tokens, (count, Q))
            found.append(clip)
            frames.append(count)
    clips, frames = jnp.asarray(found), jnp.asarray(frames, jnp.int32)
    ids = network.order.flatten({f"tokens_{q}": clips[..., q] for q in range(Q)})
    return network.order.cut(ids, frames) if network.ends else ids, frames


@functools.cache
def made(pattern, ends):
    """(network, parameters far from those at the start, all clips, their frames, -log p of each)"""
    network = CodebookGPT(8, 1, 2, pattern=pattern, ends=ends, levels=LEVELS)
    ids, frames = clips_of(network)
    params = quick(network.init)(jax.random.key(0), ids)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda p: p + jnp.asarray(rng.normal(0, 0.5, p.shape), p.dtype), params)
    run = quick(lambda p, t: network.apply({"params": p}, t, method="objective"))
    nats, counts = run(params, ids)
    expected = frames * Q + (frames < F)  # the end counts once, and not at the full length
    np.testing.assert_array_equal(counts.sum(1), expected)
    assert (np.asarray(nats)[np.asarray(counts) == 0] == 0.0).all()
    return network, params, ids, frames, np.asarray(nats.sum(1))


@both
def test_the_probabilities_of_all_clips_make_one(pattern, ends):
    _, _, ids, _, nats = made(pattern, ends)
    assert len(ids) == (4 + 16 + 64 if ends else 64)
    np.testing.assert_allclose(np.exp(-nats).sum(), 1.0, rtol=1e-5)
    assert np.exp(-nats).std() > 1e-3


def by_hand(network, params, ids, frames):
    """-log p of one clip: the network runs anew for every step, on sums made token by token."""
    table, head = (
        np.asarray(params[n][k]) for n, k in (("tokens", "embedding"), ("head", "kernel"))
    )
    angles, start = network.angles(), np.asarray(params["start"])[0]
    transformer = network.make_transformer(parent=None)
    run = quick(lambda p, x, a: transformer.apply({"params": p}, x[None], a)[0, -1])
    nats, x = 0.0, start
    for step in range(network.order.steps):
        h = np.asarray(run(params["transformer"], jnp.asarray(x), jnp.asarray(angles[: len(x)])))
        logits, total = h @ head, np.zeros_like(start[0])
        for q in range(Q):
            if network.pattern == "flat" and step % Q != q:
                continue
            frame = step // Q if network.pattern == "flat" else step - q
            if not 0 <= frame < F:
                continue
            token = int(ids[frame * Q + q])
            total = total + table[token]
            possible = list(range(q * K, (q + 1) * K))
            possible += [Q * K] if network.ends and q == 0 and frame > 0 else []
            if frame < frames or (frame == frames and q == 0):
                nats -= logits[token] - np.log(np.exp(logits[possible]).sum())
        x = np.concatenate([x, total[None]])
    return nats


@both
def test_the_likelihood_is_the_product_over_steps_and_their_codebooks(pattern, ends):
    network, params, ids, frames, nats = made(pattern, ends)
    for i in (0, 3, len(ids) // 4, len(ids) - 2):  # of one, two and three frames, where they end
        expected = by_hand(network, params, np.asarray(ids[i]), int(frames[i]))
        assert nats[i] == pytest.approx(expected, rel=1e-4)


@both
def test_clips_are_drawn_as_often_as_their_likelihood_says(pattern, ends):
    network, params, ids, _, nats = made(pattern, ends)
    count = 8_000
    keys = jax.random.split(jax.random.key(3), count)
    drawn = np.asarray(quick(lambda p, k: network.sample(p, k, **PLAIN))(params, keys))
    number = {tuple(row): i for i, row in enumerate(np.asarray(ids))}  # no other clip is drawn
    found = np.bincount([number[tuple(row)] for row in drawn], minlength=len(ids))
    expected = count * np.exp(-nats)
    chi = np.sum((found - expected) ** 2 / expected)
    assert chi < len(ids) + 4 * np.sqrt(2 * len(ids))  # four standard deviations


@patterns
def test_step_by_step_with_clips_that_end(pattern):
    """The product of the probabilities that the sampler draws by, of clips of every length."""
    network, params, ids, _, nats = made(pattern, True)
    order = network.order

    @quick
    def one_by_one(params, ids):
        codes = order.to_steps(order.codes_of(ids))
        state, logits, step = network.decoder(params, None, len(ids))
        out = [logits]
        for number in range(order.steps - 1):
            state, logits = step(state, codes[:, number], jnp.int32(number))
            out.append(logits)
        log_p = order.from_steps(jax.nn.log_softmax(jnp.stack(out, axis=1)))
        own = jnp.take_along_axis(log_p, order.codes_of(ids)[..., None], axis=-1)[..., 0]
        return -jnp.sum(jnp.where(order.counted(ids), own, 0.0), axis=1)

    np.testing.assert_allclose(one_by_one(params, ids), nats, rtol=1e-4)


def test_flat_is_the_gpt_of_the_same_parameters():
    network, params, ids, _, nats = made("flat", False)
    gpt = GPT(8, 1, 2, levels=LEVELS)
    expected, _ = quick(lambda p: gpt.apply({"params": p}, ids, method="objective"))(params)
    np.testing.assert_allclose(nats, expected.sum(1), rtol=1e-5)
    delayed = network.clone(pattern="delay")
    other, _ = quick(lambda p: delayed.apply({"params": p}, ids, method="objective"))(params)
    assert np.abs(other.sum(1) - nats).max() > 0.01


@patterns
def test_a_clip_that_ended_stays_so(pattern):
    network, params, *_ = made(pattern, True)
    order = network.order
    keys = jax.random.split(jax.random.key(5), 200)
    drawn = quick(lambda p, k: network.sample(p, k, **PLAIN))(params, keys)
    frames = np.asarray(order.frames_of(drawn))
    assert set(frames) == {1, 2, 3}
    np.testing.assert_array_equal(drawn, order.cut(drawn, frames))
    longer = network.clone(shortest=2)
    drawn_longer = quick(lambda p, k: longer.sample(p, k, **PLAIN))(params, keys)
    assert set(np.asarray(order.frames_of(drawn_longer))) == {2, 3}
    part = quick(lambda p, k: network.sample(p, k, **PLAIN))(params, keys[7:9])
    np.testing.assert_array_equal(part, drawn[7:9])


@patterns
def test_what_is_known_is_never_cut_off(pattern):
    network, params, *_ = made(pattern, True)
    order = network.order
    keys = jax.random.split(jax.random.key(6), 100)
    ids = jnp.zeros((100, order.length), jnp.int32).at[:, 1::Q].set(K)
    draw = quick(lambda p, k, *known: network.sample(p, k, known=known, **PLAIN))
    second = np.zeros(ids.shape, bool)
    second[:, Q + 1] = True  # one token of the second frame
    drawn = np.asarray(draw(params, keys, ids, second))
    assert (drawn[:, Q + 1] == K).all() and set(np.asarray(order.frames_of(drawn))) == {2, 3}
    over = np.asarray(order.cut(ids, jnp.full(100, 2)))  # an end may be known, too
    stays = np.zeros(ids.shape, bool)
    stays[:, 2 * Q] = True
    drawn = np.asarray(draw(params, keys, over, stays))
    assert set(np.asarray(order.frames_of(drawn))) <= {1, 2}
    assert (drawn[:, 2 * Q :] == order.ended).all()


@pytest.mark.slow
def test_temperature_top_k_and_top_p_are_of_each_codebook():
    network, params, *_ = made("delay", True)
    keys = jax.random.split(jax.random.key(7), 50)

    def draw(**how):
        options = {"sampling": TokenSampling(**how), "guidance": Guidance()}
        return np.asarray(quick(lambda p: network.sample(p, keys, **options))(params))

    cold = draw(temperature=0.0)
    assert (cold == cold[0]).all()
    np.testing.assert_array_equal(draw(top_k=1), cold)
    np.testing.assert_array_equal(draw(top_p=1e-6), cold)
    assert len(np.unique(draw(), axis=0)) > 5


@pytest.mark.slow
def test_guidance_follows_the_condition():
    """The more of it, the likelier the clips become of their class rather than of any."""
    condition = ClassLabel(2)
    network = CodebookGPT(8, 1, 2, ends=True, condition=condition, levels=LEVELS)
    ids, _ = clips_of(network)
    labels = jnp.zeros(len(ids), jnp.int32)
    params = quick(network.init)(jax.random.key(0), ids, labels)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda p: p + jnp.asarray(rng.normal(0, 0.7, p.shape), p.dtype), params)
    keys = jax.random.split(jax.random.key(8), 500)

    @functools.partial(quick, static_argnames="scale")
    def advantage(params, scale):
        labels = jnp.zeros(len(keys), jnp.int32)
        options = {"sampling": TokenSampling(), "guidance": Guidance(scale)}
        drawn = network.sample(params, keys, labels, **options)
        nats = [
            network.apply({"params": params}, drawn, label, method="objective")[0].sum(1)
            for label in (labels, condition.null(len(keys)))
        ]
        return jnp.mean(nats[1] - nats[0])

    plain, guided = (float(advantage(params, scale)) for scale in (1.0, 3.0))
    assert guided > plain + 0.1
