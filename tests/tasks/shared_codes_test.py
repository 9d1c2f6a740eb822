"""SharedCodesTask: what is absent changes nothing, what is there is learned from, and a run of it
scores captions as its evaluation does.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.quickly import quick
from vqjax.quantizers import FSQ
from vqjax.training.state import create_state, is_host_only
from vqjax.types import Context, UsageError

ROWS = 4_000
FINE = FSQ((1_001, 1_001))  # of which small differences make other codes


@pytest.fixture(scope="module")
def made():
    """(task, params, collections, a batch of 8 rows), parameters away from their initial values."""
    experiment = tiny.shared_codes(FINE)
    state = quick(lambda: create_state(experiment, experiment.data.example_spec()))()
    batch = next(iter(experiment.data.train(8, 0, 0, np.arange(8))))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + rng.normal(0, 0.2, p.shape).astype(p.dtype), state.params)
    arrays = {k: v for k, v in batch.items() if not is_host_only(k)}
    return experiment.network_task(), params, state.collections, arrays


@pytest.fixture(scope="module")
def call(made):
    """call(batch) -> (gradients, losses) in training."""
    task, _, collections, _ = made
    active = tuple(sorted({*task.players, *task.terms}))
    context = Context(jax.random.key(3), np.int32(0), active, train=True)

    def total(params, batch):
        losses = task(params, collections, {}, batch, context).losses
        return sum(losses.values()), losses

    program = quick(jax.grad(total, has_aux=True))
    return lambda batch: program(made[1], batch)


def test_codes_and_all_that_is_made_of_them_ignore_what_is_absent(made):
    task, params, collections, batch = made
    fuse = quick(task.fuse)
    inputs = {name: np.asarray(x) for name, x in task.read(batch).items()}
    for number, name in enumerate(task.names):
        other = {**inputs, name: inputs[name][::-1]}
        present = np.ones((8, 3), bool)
        there = [fuse(params, collections, x, present).decoded["image"] for x in (inputs, other)]
        assert np.abs(there[0] - there[1]).max() > 1e-3, name
        present[:, number] = False
        absent = [fuse(params, collections, x, present) for x in (inputs, other)]
        jax.tree.map(np.testing.assert_array_equal, *absent)


def test_what_rows_do_not_have_has_no_part_in_the_losses(made, call):
    task, params, collections, batch = made
    missing = np.arange(8) % 2 == 0
    other = np.where(missing[:, None, None], batch["audio.audio"][::-1], batch["audio.audio"])
    batch = {**batch, "audio.present": ~missing}
    found = call(batch), call({**batch, "audio.audio": other})
    jax.tree.map(np.testing.assert_array_equal, *found)
    assert (other != batch["audio.audio"]).any()
    none = call({**batch, "audio.present": np.zeros(8, bool)})
    assert none[1]["audio"] == 0.0 and none[1]["image"] > 0.0


def test_every_encoder_and_decoder_learns(made, call):
    grads, losses = call(made[3])
    assert set(losses) == {"audio", "image", "text"}
    for part, tree in grads["tokenizer"].items():
        largest = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(tree))
        assert 0.0 < largest < np.inf, part


def test_the_error_of_a_text_is_that_of_all_its_ids(made):
    text = made[0].modalities["text"]
    ids = jnp.asarray([[3, 2, 0, 0, 0, 0]])
    logits = jnp.log(jnp.full((1, 6, 257), 0.25 / 256)).at[0, np.arange(6), ids[0]].set(np.log(0.5))
    p = 0.5 / (0.5 + 0.25)
    np.testing.assert_allclose(text.errors(ids, logits), [-6 * np.log(p)], rtol=1e-5)


def test_rows_lose_as_many_as_the_chances_say_and_keep_one(made):
    task = dataclasses.replace(made[0], dropped=(0.2, 0.5, 0.3), noisy=0.25)
    draw = quick(task.draw_rows)
    kept, level = map(np.asarray, draw(jax.random.key(0), jnp.ones((ROWS, 3), bool)))
    shares = np.bincount(kept.sum(axis=1), minlength=4) / ROWS
    np.testing.assert_allclose(shares, [0.0, 0.3, 0.5, 0.2], atol=0.03)
    np.testing.assert_allclose(kept.mean(axis=0), kept.mean(), atol=0.03)
    np.testing.assert_allclose((level > 0).mean(axis=0), 0.25, atol=0.03)
    np.testing.assert_allclose(level.max(axis=0), [0.1, 0.5, 0.5], rtol=0.02)
    there = np.random.default_rng(0).random((ROWS, 3)) < 0.5
    kept = np.asarray(draw(jax.random.key(1), jnp.asarray(there))[0])
    assert not (kept & ~there).any()
    np.testing.assert_array_equal(kept.any(axis=1), there.any(axis=1))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"modalities": {}}, "wanted those of tokenizer.encoders, audio, image, text"),
        ({"dropped": (0.0, 0.0, 0.0, 1.0)}, "0 to at most 2 dropped"),
        ({"dropped": (-1.0,)}, "task.dropped"),
        ({"noisy": 2.0}, "task.noisy=2.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(made, changes, line):
    with pytest.raises(UsageError, match=line):
        dataclasses.replace(made[0], **changes)


def test_decoders_of_another_shape_are_refused(made):
    task, specs = made[0], tiny.shared_codes().data.example_spec()
    wrong = task.tokenizer.decoders["image"].clone(shape=(4, 8))
    tokenizer = task.tokenizer.clone(decoders={**task.tokenizer.decoders, "image": wrong})
    with pytest.raises(UsageError, match="decoders.image gives .*4, 8, 1.*wanted .*8, 8, 1"):
        dataclasses.replace(task, tokenizer=tokenizer).check(specs)
    with pytest.raises(UsageError, match="wanted one of each"):
        task.tokenizer.clone(decoders={})


def test_a_run_scores_captions_as_its_evaluation_does(make_run):
    run = vqjax.load(make_run(tiny.shared_codes(FINE)))
    numbers = run.evaluate().numbers
    batch = next(iter(run.experiment.data.eval(20, np.arange(20))))
    captions = run.experiment.data.sources["text"].decode(batch["text.caption"])
    clips = zip(batch["audio.audio"][..., 0], batch["audio.length"], strict=True)
    examples = {"image": batch["image.image"], "audio": [c[:n] for c, n in clips]}
    for names in (("image",), ("audio",), ("audio", "image")):
        given = {name: examples[name] for name in names}
        scores = run.caption_scores(given, captions)
        assert scores.shape == (20, 20) and scores.dtype == np.float64
        number = numbers[f"nats_per_example/text|{'+'.join(names)}"]
        np.testing.assert_allclose(-np.diag(scores).mean(), number, rtol=1e-3)
    assert numbers["nats_per_example"] == numbers["nats_per_example/text|audio+image"]
    assert {"error/image|text", "error/audio|image+text"} <= set(numbers)

    clean = run.caption_scores(examples, ["one", "t"])
    noisy = [run.caption_scores(examples, ["one", "t"], noise={"image": 1.0}, seed=s)
             for s in (0, 0, 1)]  # fmt: skip
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert (noisy[0] != clean).any() and (noisy[0] != noisy[2]).any()
    codes = run.codes({"image": examples["image"], "text": "one"})
    assert codes.shape == (20, 3, 1) and codes.dtype == np.int32 and codes.min() >= 0
    for conditions, how, line in (
        ({}, {}, "at least one modality"),
        ({"imagee": 0}, {}, "'image'"),
        ({"image": examples["image"], "audio": examples["audio"][:3]}, {}, r"\[3, 20\]"),
        ({"image": examples["image"]}, {"noise": {"audio": 1.0}}, "noise"),
        ({"text": "one"}, {"noise": {"text": 1.0}}, "text is a text"),
    ):
        with pytest.raises(UsageError, match=line):
            run.caption_scores(conditions, ["one"], **how)
