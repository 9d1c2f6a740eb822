"""JointTask: which blocks rows have, which are noisy, and what the loss is the mean of."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.quickly import quick
from vqjax.priors.joint import ABSENT
from vqjax.tasks import TextStream
from vqjax.types import ArraySpec, Context, UsageError

ROWS = 4_000


@pytest.fixture(scope="module")
def task():
    return tiny.joint().task


def batch_of(task, count=8):
    return next(iter(tiny.joint().data.train(count, 0, 0, np.arange(count))))


def three(task, **fields):
    """The task with three streams, that only draw rows."""
    text = TextStream(257, 2, noise=0.5)
    streams = {"image": task.streams["image"], "text": text, "more": text}
    return dataclasses.replace(task, streams=streams, **fields)


def test_rows_have_the_blocks_that_the_chances_say(task):
    drawing = three(task, blocks=(0.1, 0.6, 0.3), noisy=0.25)
    present = jnp.ones((ROWS, 3), bool)
    ranks, noise = map(np.asarray, quick(drawing.draw_rows)(jax.random.key(0), present))
    counts = (ranks != ABSENT).sum(axis=1)
    shares = np.bincount(counts, minlength=4)[1:] / ROWS
    np.testing.assert_allclose(shares, [0.1, 0.6, 0.3], atol=0.03)
    for row, count in zip(ranks[:200], counts[:200], strict=True):
        assert sorted(row[row >= 0]) == list(range(count))
    orders = {tuple(row) for row in ranks[counts == 2]}
    assert orders == {r for r in itertools.permutations((0, 1, ABSENT)) if sorted(r)[0] == ABSENT}
    last = ranks == counts[:, None] - 1
    assert (noise[last] == 0).all() and (noise[:, 0] == 0).all()  # the image has none
    earlier = (ranks >= 0) & ~last
    share = (noise[:, 1:][earlier[:, 1:]] > 0).mean()
    assert abs(share - 0.25) < 0.03 and noise.max() <= 0.5


def test_rows_have_the_orders_that_the_weights_say(task):
    drawing = three(task, blocks=(), orders={"text image": 3.0, "more text image": 1.0}, noisy=0.0)
    present = np.ones((ROWS, 3), bool)
    present[:100, 2] = False  # no "text"
    present[100:200, [0, 2]] = False  # "more" alone
    ranks, _ = map(np.asarray, quick(drawing.draw_rows)(jax.random.key(0), present))
    assert drawing.names == ("image", "more", "text")
    whole = [tuple(row) for row in ranks[200:].tolist()]
    assert set(whole) == {(1, ABSENT, 0), (2, 0, 1)}
    assert abs(whole.count((1, ABSENT, 0)) / len(whole) - 0.75) < 0.03
    assert set(map(tuple, ranks[:100].tolist())) == {(0, ABSENT, ABSENT), (1, 0, ABSENT)}
    assert (ranks[100:200] == [ABSENT, 0, ABSENT]).all()


def test_rows_have_no_block_that_is_not_there(task):
    drawing = three(task, blocks=())
    present = jnp.asarray(np.random.default_rng(0).random((ROWS, 3)) < 0.6)
    ranks, noise = map(np.asarray, quick(drawing.draw_rows)(jax.random.key(1), present))
    np.testing.assert_array_equal(ranks >= 0, present)
    assert (noise[~np.asarray(present)] == 0).all()


def test_the_loss_is_the_mean_over_tokens_then_targets_then_rows(task):
    batch = {k: v for k, v in batch_of(task).items() if not k.endswith("example_id")}
    batch["text.present"] = np.arange(8) != 3
    context = Context(jax.random.key(5), np.int32(0), ("nll", "prior", "z"), train=False)
    params, collections = quick(task.init)(jax.random.key(0), batch)
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda p: p + jnp.asarray(rng.normal(0, 0.3, p.shape), p.dtype), params)
    out = quick(lambda p, b: task(p, collections, {}, b, context))(params, batch)
    rows_key, noise_key, _ = jax.random.split(context.rng, 3)
    network = task.network_of(batch)
    ranks, noise = task.draw_rows(rows_key, task.present(batch))
    ids = task.ids(network, {}, batch, noise, noise_key)
    found = task.objective(params, ids, ranks, network)
    rows, zs = [], []
    for b in range(8):
        targets = [n for i, n in enumerate(task.names) if ranks[b, i] >= 0 and noise[b, i] == 0]
        assert targets and not (b == 3 and "text" in targets)
        means = [found[n].nats[b].sum() / found[n].counts[b].sum() for n in targets]
        rows.append(np.mean(means))
        zs.append(np.mean([found[n].z[b].sum() / found[n].counts[b].sum() for n in targets]))
    np.testing.assert_allclose(out.losses["nll"], np.mean(rows), rtol=1e-5)
    np.testing.assert_allclose(out.losses["z"], np.mean(zs), rtol=1e-5)


def test_noise_replaces_letters_and_never_the_length(task):
    stream, batch = TextStream(257, 4, noise=1.0), {"caption": jnp.asarray([[9, 9, 9, 0]] * 500)}
    order = stream.order({})
    levels = jnp.asarray(np.repeat([0.0, 0.4], 250))
    ids = np.asarray(stream.ids(order, None, batch, levels, jax.random.key(0)))
    assert (ids[:, 3] == order.ended).all() and (ids[:250, :3] == 9).all()
    assert abs((ids[250:, :3] != 9).mean() - 0.4) < 0.06 and (ids[:, :3] != 0).all()


def test_settings_that_cannot_work_are_refused(task):
    replace = dataclasses.replace
    for changes, line in (
        ({"streams": {}}, "at least one"),
        ({"streams": {"a-b": task.streams["text"]}}, "'a-b'"),
        ({"blocks": (1.0,)}, "a chance for each of 1 to 2"),
        ({"noisy": 1.5}, "task.noisy=1.5"),
        ({"orders": {"text": 1.0}}, "wanted one of them"),
        ({"blocks": (), "orders": {"text imag": 1.0}}, "did you mean 'image'"),
        ({"blocks": (), "orders": {"text text": 1.0}}, "each once"),
        ({"blocks": (), "orders": {"text": 0.0}}, "above 0"),
    ):
        with pytest.raises(UsageError, match=line):
            replace(task, **changes)
    specs = dict(tiny.joint().data.example_spec())
    task.check(specs)
    with pytest.raises(UsageError, match=r"task.streams.text: stream.length=2: .*int32\[3\]"):
        task.check({**specs, "text.caption": ArraySpec((3,), "int32")})
    image = replace(task.streams["image"], noise=0.5)
    noisy = replace(task, streams={**task.streams, "image": image})
    with pytest.raises(UsageError, match="task.streams.image: stream.noise=0.5: the data has tok"):
        noisy.check(specs)
