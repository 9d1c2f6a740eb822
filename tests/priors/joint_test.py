"""JointPrior over three tiny streams, of an image, a sound and a text, against the chain rule."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.priors import JointPrior
from vqjax.priors.codebook_order import CodebookOrder
from vqjax.types import Level, UsageError

IMAGE = CodebookOrder((Level("tokens", (1, 2), 3),), "flat")
SOUND = CodebookOrder((Level("tokens_0", (2,), 2), Level("tokens_1", (2,), 2)), ends=True)
TEXT = CodebookOrder((Level("caption", (2,), 2),), "flat", ends=True)
STREAMS = (("image", IMAGE), ("sound", SOUND), ("text", TEXT))
NAMES = tuple(name for name, _ in STREAMS)


def rows_of(order):
    """Ids of every example that there is: int32[N, T]."""
    found = []
    for count in range(1, order.frames + 1) if order.ends else (order.frames,):
        for codes in itertools.product(range(order.size), repeat=count * order.codebooks):
            frames = np.full((order.frames, order.codebooks), order.size)
            frames[:count] = np.reshape(codes, (count, order.codebooks))
            found.append(frames)
    ids = order.ids_of(jnp.asarray(np.array(found, np.int32)))
    return np.asarray(ids).reshape(len(found), order.length)


@functools.cache
def made():
    """(network, parameters far from those at the start, ids of all rows of image and text)"""
    network = JointPrior(8, 1, 2, streams=STREAMS)
    images, texts = rows_of(IMAGE), rows_of(TEXT)
    pairs = list(itertools.product(range(len(images)), range(len(texts))))
    rng = np.random.default_rng(0)
    sounds = rows_of(SOUND)[rng.integers(0, 20, len(pairs))]
    ids = {
        "image": jnp.asarray(images[[i for i, _ in pairs]]),
        "sound": jnp.asarray(sounds),
        "text": jnp.asarray(texts[[j for _, j in pairs]]),
    }
    params = quick(network.init)(jax.random.key(0), ids, network.ranks(NAMES, len(pairs)))
    params = jax.tree.map(
        lambda p: p + jnp.asarray(rng.normal(0, 0.5, p.shape), p.dtype), params["params"]
    )
    return network, params, ids


@functools.cache
def program():
    network, *_ = made()

    def nats(params, ids, ranks):
        losses = network.apply({"params": params}, ids, ranks, method="objective")
        return {name: loss.nats.sum(axis=1) for name, loss in losses.items()}  # [B] each

    return quick(nats)


def nats_of(blocks, **changed):
    """{stream: -log p [B] of its tokens} where rows have these blocks."""
    network, params, ids = made()
    batch = len(ids["image"])
    return program()(params, {**ids, **changed}, network.ranks(blocks, batch))


def other(name):
    """Ids of `name` that differ from those of `made` in most rows."""
    return jnp.roll(made()[2][name], 7, axis=0)


@pytest.mark.parametrize("blocks", [("image", "text"), ("text", "image")])
def test_the_probabilities_of_all_rows_make_one(blocks):
    nats = nats_of(blocks)
    total = np.asarray(nats["image"] + nats["text"], np.float64)
    np.testing.assert_allclose(np.exp(-total).sum(), 1.0, rtol=1e-5)
    first = np.asarray(nats[blocks[0]], np.float64)  # a marginal, once for each of the other's
    repeats = {"image": 9, "text": 6}[blocks[0]]
    assert len(first) == 54
    np.testing.assert_allclose(np.exp(-first).sum(), 54 / repeats, rtol=1e-5)


def test_what_a_row_does_not_have_and_what_comes_later_change_nothing():
    before = nats_of(("text", "image"))
    after = nats_of(("text", "image"), sound=other("sound"))
    for name in ("text", "image"):
        np.testing.assert_array_equal(before[name], after[name])
    changed = nats_of(("text", "image"), image=other("image"))
    np.testing.assert_array_equal(before["text"], changed["text"])
    longer = nats_of(("text", "image", "sound"))
    for name in ("text", "image"):
        np.testing.assert_allclose(before[name], longer[name], rtol=1e-6)
    seen = nats_of(("text", "image"), text=other("text"))
    assert np.abs(np.asarray(seen["image"] - before["image"])).max() > 0.1


def test_what_follows_the_end_of_a_text_changes_nothing():
    network, params, ids = made()
    mask = network.visible(ids, network.ranks(("text", "image"), len(ids["image"])))
    starts = np.cumsum([0, *(order.steps + 1 for _, order in STREAMS)])
    image, text = slice(*starts[:2]), slice(*starts[2:])
    short = np.asarray(ids["text"])[:, 1] == TEXT.ended
    assert short.any() and not short.all()
    of_image = np.asarray(mask[:, image, text])
    np.testing.assert_array_equal(
        of_image[short], np.tile([True, True, False], (short.sum(), 3, 1))
    )
    assert of_image[~short].all()


@pytest.mark.parametrize("blocks", list(itertools.permutations(NAMES))[1::2])
def test_blocks_read_one_after_the_other_are_the_whole(blocks):
    network, params, ids = made()
    expected = nats_of(blocks)

    def read(params, ids):
        reading, nats = network.empty_reading(len(ids["image"]), blocks), {}
        for name in blocks:
            reading, logits = network.read(params, reading, name, ids[name])
            nats[name] = network.order(name).nats_of(ids[name], logits)[0].sum(axis=1)
        return nats

    for name, nats in quick(read)(params, ids).items():
        np.testing.assert_allclose(nats, expected[name], rtol=1e-5)


def test_nothing_is_learned_from_later_tokens():
    network, params, ids = made()
    row = {name: array[:1] for name, array in ids.items()}
    ranks = network.ranks(("text", "sound", "image"), 1)

    def logits(params, moved):
        """Logits as a function of what every token's embedding is moved by."""
        tables = {n: params[f"parts_{n}"]["tokens"]["embedding"] for n in NAMES}
        moved = {
            f"parts_{n}": {**params[f"parts_{n}"], "tokens": {"embedding": tables[n] + moved[n]}}
            for n in NAMES
        }
        return network.apply({"params": {**params, **moved}}, row, ranks)

    moved = jax.tree.map(
        jnp.zeros_like, {n: params[f"parts_{n}"]["tokens"]["embedding"] for n in NAMES}
    )
    slopes = quick(jax.jacrev(logits, argnums=1))(params, moved)
    reaches = {a: {b: float(jnp.abs(slopes[a][b]).max()) for b in NAMES} for a in NAMES}
    for earlier, later in itertools.combinations(("text", "sound", "image"), 2):
        assert reaches[earlier][later] == 0.0 < reaches[later][earlier]
    first, last = slopes["image"]["image"][0]  # of the first and the second token's logits
    assert jnp.abs(first).max() == 0.0 < jnp.abs(last).max()


def test_streams_that_do_not_exist_are_refused():
    network, *_ = made()
    with pytest.raises(UsageError, match="no stream 'imag'.*'image'"):
        network.ranks(("imag",), 1)
    with pytest.raises(UsageError, match="named twice"):
        network.ranks(("text", "text"), 1)
    odd = network.clone(width=6, heads=3)  # 2 channels per head for the 2 axes of the image
    with pytest.raises(UsageError, match="stream 'image': 2 channels per head"):
        odd.check_streams()
