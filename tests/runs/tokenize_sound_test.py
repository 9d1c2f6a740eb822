"""A set of sound as tokens: whole clips at the level of training, as a prior takes them."""

import dataclasses

import jax
import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.quickly import quick
from vqjax.cli.main import main
from vqjax.config import FrozenRun
from vqjax.data import TokenSet, Tones
from vqjax.priors import ClassLabel, CodebookGPT
from vqjax.runs.tokenize import tokenize_run
from vqjax.tasks import PriorTask
from vqjax.tasks.prior import FROZEN
from vqjax.types import UsageError

HOP = 20
DATA = dataclasses.replace(tiny.sound().data, train_clips=12, eval_clips=5)


@pytest.fixture(scope="module")
def path(make_run):
    return make_run(tiny.sound(data=DATA), name="codec")


@pytest.fixture(scope="module")
def run(path):
    return vqjax.load(path)


@pytest.fixture(scope="module")
def whole(path, tmp_path_factory):
    return TokenSet(str(tokenize_run(path, tmp_path_factory.mktemp("tokens") / "whole")))


def rows(source, part, count):
    (batch,) = source.in_order(part, count)
    return batch


@pytest.mark.parametrize(("part", "count"), [("train", 12), ("eval", 5)])
def test_every_clip_is_there_whole_and_is_what_encode_makes_of_it(run, whole, part, count):
    batch, lengths = rows(whole, part, count), DATA.clip_lengths(part)
    np.testing.assert_array_equal(batch["length"], lengths)
    longest = max(DATA.clip_lengths(p).max() for p in ("train", "eval"))
    assert batch["tokens_0"].shape == (count, -(-longest // HOP) + 1)
    for i, length in enumerate(lengths.tolist()):
        clip = DATA.clips(part, np.array([i]), length)
        tokens, gain = run.encode(clip["audio"][0, :, 0], return_gain=True)
        assert batch["gain"][i] == gain != 1 and batch["label"][i] == clip["label"][0]
        for name, expected in tokens.items():
            np.testing.assert_array_equal(batch[name][i, : len(expected)], expected)
            assert len(expected) == run.task.frames_of(length)
    # Sound comes back from what is there alone.
    i = 3
    tokens = {name: batch[name][i] for name in run.task.tokenizer.level_names}
    sound = run.decode(tokens, gain=batch["gain"][i], length=int(lengths[i]))
    clip = DATA.clips(part, np.array([i]), lengths[i])["audio"][0, :, 0]
    np.testing.assert_array_equal(sound, run.reconstruct(clip))


def test_classes_keep_their_names(whole):
    assert whole.class_names("label") == Tones().class_names("label")
    with pytest.raises(UsageError, match=r"no names of classes 'speaker': \(valid: label\)"):
        whole.class_names("speaker")


def test_a_prior_takes_them_for_what_it_tokenizes_itself(path, run, tmp_path):
    samples = 6_400  # some clips are longer
    cut = TokenSet(str(tokenize_run(path, tmp_path / "cut", samples=samples)))
    window = dataclasses.replace(DATA, samples=samples, crop="start")
    prior = CodebookGPT(16, 1, 2, ends=True, condition=ClassLabel(10))
    task = PriorTask(prior, FrozenRun(str(path), experiment=run.experiment))
    task.check(cut.example_spec())
    made, sound = rows(cut, "eval", 5), rows(window, "eval", 5)
    np.testing.assert_array_equal(made["length"], sound["length"])
    assert (DATA.clip_lengths("eval") > samples).any() and (made["length"] < samples).any()
    frozen = {FROZEN: dict(zip(("params", "collections"), run._variables, strict=True))}
    params, _ = quick(task.init)(jax.random.key(0), made)
    rngs = {"mask": jax.random.key(1)}
    nats = [quick(task.objective)(params, frozen, batch, rngs) for batch in (made, sound)]
    np.testing.assert_array_equal(nats[0][1], nats[1][1])
    np.testing.assert_allclose(nats[0][0] * nats[0][1], nats[1][0] * nats[1][1], rtol=1e-4)


def test_it_goes_on_where_it_was_stopped(path, whole):
    folder = whole._folder
    before = {p: p.read_bytes() for p in folder.rglob("*.npy")}
    for name in ("tokens_1", "gain"):
        (folder / "train" / f"{name}.00000.npy").unlink()
    assert main(["tokenize", str(path), "--out", str(folder)]) == 0
    assert {p: p.read_bytes() for p in folder.rglob("*.npy")} == before


def test_what_cannot_be_is_refused_in_one_line(path, whole, make_run, tmp_path, capsys):
    for words, line in (
        ([path, "--samples", "81"], "81 samples are not a multiple of hop=20"),
        ([path, "--samples", "0"], "samples=0: wanted a whole number, at least 1"),
        ([path, "--samples", "80", "--out", whole.path], "holds other tokens (levels differ)"),
        ([make_run(tiny.vqvae(), name="pictures"), "--samples", "80"], "has no whole clips"),
    ):
        assert main(["tokenize", "--out", str(tmp_path / "o"), *map(str, words)]) == 2
        assert line in capsys.readouterr().err and not (tmp_path / "o").exists()
