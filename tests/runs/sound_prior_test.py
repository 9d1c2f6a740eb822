"""A prior over the tokens of a sound codec: clips that end, their level, their numbers, from Python
and as typed.
"""

import dataclasses
import json

import jax
import numpy as np
import pytest

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.config import FrozenRun
from vqjax.data import Loudness, TokenSet, Tones
from vqjax.evaluation.prior import PriorEvaluator
from vqjax.files import is_ours
from vqjax.media import sound_writing
from vqjax.media.audio import read_sound
from vqjax.media.gallery import read_sheet
from vqjax.ops.numerics import make_key
from vqjax.priors import ClassLabel, CodebookGPT
from vqjax.runs.load import make_evaluator
from vqjax.runs.tokenize import tokenize_run
from vqjax.tasks import PriorTask, SoundTokenizerTask
from vqjax.training.experiment import Experiment
from vqjax.training.loop import train
from vqjax.training.mesh import make_mesh
from vqjax.training.optim import AdamW
from vqjax.types import UsageError

HOP, SAMPLES = 400, 6_000
FRAMES = SAMPLES // HOP + 1
# Clips of 2,000 to 8,000 samples: some are longer than the window.
DATA = Tones(samples=SAMPLES, train_clips=40, eval_clips=20, crop="start", loudness=Loudness())
LENGTHS = DATA.clip_lengths("eval")


def codec(padding):
    tokenizer = tiny.sound_tokenizer(padding=padding)
    tokenizer = tokenizer.clone(
        encoder=tokenizer.encoder.clone(hop=HOP, window=None),
        decoder=tokenizer.decoder.clone(hop=HOP),
    )
    task = SoundTokenizerTask(tokenizer, loss_weights={"l1": 1.0, "commitment": 0.25})
    data = dataclasses.replace(DATA, samples=2 * HOP)
    return tiny.vqvae(task=task, data=data, total_steps=2)


def experiment(path, padding="causal", ends=True):
    prior = CodebookGPT(16, 1, 2, ends=ends, condition=ClassLabel(10))
    frozen = FrozenRun(str(path), experiment=codec(padding))
    return Experiment(
        task=PriorTask(prior=prior, tokenizer=frozen, codebooks=2),
        data=DATA,
        optimizers={"prior": AdamW(1e-2)},
        batch_size=8,
        total_steps=2,
        eval_batch_size=20,
    )


@pytest.fixture(scope="module")
def path(make_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("prior") / "run"
    plan = experiment(make_run(codec("causal"), name="frames"))
    train(plan, path, make_evaluator=make_evaluator, devices=jax.devices()[:1])
    return path


@pytest.fixture(scope="module")
def run(path):
    return vqjax.load(path)


def untrained(make_run, **settings):
    tokenizer = make_run(codec(settings.get("padding", "causal")), name="frames")
    return vqjax.load(make_run(experiment(tokenizer, **settings), name="prior"))


@pytest.mark.parametrize("padding", ["causal", pytest.param(None, marks=pytest.mark.slow)])
def test_clips_are_what_the_codec_makes_of_their_frames(run, make_run, padding):
    run = run if padding == "causal" else untrained(make_run, padding=padding)
    assert run.dtype == "int16" and run.rate == 8_000 and run.shape == (SAMPLES, 1)
    sampled = run.sample(24, seed=3, return_length=True)
    clips, length = sampled.examples, sampled.length
    assert clips.dtype == np.int16 and clips.shape == (24, SAMPLES, 1)
    np.testing.assert_array_equal(run.sample(5, seed=3), clips[:5])
    ids, cond = np.arange(24), (np.arange(24) % 10).astype(np.int32)
    how = {"sampling": vqjax.sampling.TokenSampling(), "guidance": vqjax.sampling.Guidance()}

    def drawn(params, frozen):
        keys = jax.vmap(lambda i: jax.random.fold_in(make_key(3), i))(ids)
        drawn = run.task.draw(params, keys, cond, run.token_layout(), {}, **how)
        return drawn, run.task.decode_drawn(frozen, drawn)[0]

    with run._context():
        tokens, x_hat = jax.device_get(jax.jit(drawn)(*run._variables))
    np.testing.assert_array_equal(length, (tokens.frames - 1) * HOP)
    assert len(set(length.tolist())) > 2
    loud = np.rint(np.clip(x_hat * 32768.0, -32768, 32767))
    assert np.abs(clips - loud).max() <= 1
    own_frames = np.flatnonzero((tokens.frames > 1) & (tokens.frames < FRAMES - 4))[:8]
    assert len(own_frames)
    for i in own_frames:
        arrays = (v[i : i + 1, : tokens.frames[i]] for v in tokens.indices.values())
        with run._context():
            own = run.tokenizer._decoded(tuple(arrays))[0]  # of its frames alone
        assert own.shape == (length[i], 1)
        np.testing.assert_allclose(x_hat[i, : length[i]], own, atol=1e-4 * np.abs(own).max())
        assert not clips[i, length[i] :].any()


def test_samples_and_frames_are_worked_out_from_each_other():
    task = codec("causal").task
    assert [task.samples_of(n) for n in (1, 2, 3)] == [0, HOP, 2 * HOP]
    lengths = np.arange(1, 5 * HOP)
    samples = task.samples_of(task.frames_of(lengths))
    assert ((samples >= lengths) & (samples < lengths + HOP)).all()


def test_clips_longer_than_the_window_have_no_end(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    (numbers,) = [line for line in lines if line["kind"] == "eval"]
    assert (LENGTHS > SAMPLES).any() and (LENGTHS < SAMPLES - HOP).any()
    frames = np.minimum(-(-LENGTHS // HOP) + 1, FRAMES)
    tokens = np.mean(2 * frames + (frames < FRAMES))
    assert numbers["nats_per_clip"] == pytest.approx(numbers["nats_per_token"] * tokens, rel=1e-5)
    bits = numbers["nats_per_clip"] / np.log(2) / np.minimum(LENGTHS, SAMPLES).mean()
    assert numbers["bits_per_dim"] == pytest.approx(bits, rel=1e-5)


def test_the_gallery_has_clips_that_end(run):
    opened = run._opening.opened
    evaluator = PriorEvaluator(run.experiment, make_mesh(jax.devices()[:1]), run._opening.frozen)
    gallery = evaluator(opened.params, opened.collections).gallery
    assert gallery.is_sound and gallery.rate == 8_000
    lengths = {len(clip) for clip in gallery.rows["samples"]}
    assert len(lengths) > 2 and not any(n % HOP for n in lengths - {1})


@pytest.mark.slow
def test_a_set_of_tokens_is_as_good_as_the_sound(cli, path, run, make_run, tmp_path):
    """It holds no sound, and the prior learns, draws and shows the same."""
    tokenizer = make_run(codec("causal"), name="frames")
    tokens = TokenSet(str(tokenize_run(tokenizer, tmp_path / "tokens", samples=SAMPLES)))
    assert "audio" not in tokens.example_spec()
    plan = dataclasses.replace(experiment(tokenizer), data=tokens)
    other, one = tmp_path / "run", jax.devices()[:1]
    train(plan, other, make_evaluator=make_evaluator, devices=one)
    ours, theirs = (
        [line for line in map(json.loads, text.splitlines()) if line["kind"] != "time"]
        for text in ((p / "metrics.jsonl").read_text() for p in (other, path))
    )
    for mine, line in zip(ours, theirs, strict=True):
        assert mine.pop("kind") == line.pop("kind")
        assert mine == pytest.approx(line, rel=1e-3)
    opened = vqjax.load(other)
    assert (opened.dtype, opened.rate, opened.shape) == (run.dtype, run.rate, run.shape)
    clips, length = opened.sample(4, return_length=True)
    assert clips.dtype == np.int16 and clips.shape == (4, SAMPLES, 1) and len(length) == 4
    gallery = opened.evaluate().gallery
    assert gallery.is_sound and gallery.rate == 8_000
    code, text, err = cli("inspect", other)
    assert code == 0, err
    assert "per sample" in text and "against int16 values" in text


def test_what_is_no_sound_has_no_length(run, monkeypatch):
    monkeypatch.setattr(run, "dtype", "uint8")
    with pytest.raises(UsageError, match="return_length=True is for sound"):
        run.sample(2, return_length=True)


def test_edits_are_of_pictures(run):
    reasons = type(run).abilities(run.experiment)
    assert reasons["inpaint"] == reasons["outpaint"] == "edits are of pictures"
    assert reasons["sample"] is None


@pytest.mark.slow
def test_without_ends_clips_fill_the_window(make_run):
    clips, length = untrained(make_run, ends=False).sample(3, return_length=True)
    np.testing.assert_array_equal(length, [SAMPLES] * 3)
    assert clips[:, -1].any()


@pytest.fixture
def cli(capsys):
    """cli("verb", ...) -> (exit code, stdout, stderr)."""

    def call(*words):
        code = main([*map(str, words)])
        return (code, *capsys.readouterr())

    return call


def test_sample_writes_files_of_sound_and_a_sheet_of_spectrograms(cli, path, run, tmp_path):
    code, text, err = cli("sample", path, "-n", 3, "--classes", "4,7", "--out", tmp_path)
    sheet = tmp_path / "sample_00000002_seed0_run_class-4-7.png"
    assert code == 0 and text == f"{sheet}\n" and err == ""
    assert read_sheet(sheet).medium == "audio" and read_sheet(sheet).captions == ("4", "7", "4")
    files = sorted(tmp_path.glob("*.flac"))
    names = [f"sample_00000002_seed0-000{i}_run_class-{c}.flac" for i, c in enumerate((4, 7, 4))]
    assert [file.name for file in files] == names
    clips, length = run.sample(3, classes=[4, 7], return_length=True)
    for file, clip, end in zip(files, clips, length, strict=True):
        sound = read_sound(file)
        assert sound.rate == 8_000 and is_ours(file)
        np.testing.assert_array_equal(sound.samples, clip[:end, 0])


@pytest.mark.slow
def test_sample_at_another_rate_says_what_it_does_not_add(cli, path, run, tmp_path):
    code, _, err = cli("sample", path, "-n", 1, "--rate", 16_000, "--out", tmp_path)
    assert code == 0 and "there is nothing above 4,000 Hz" in err and err.count("\n") == 1
    (file,) = tmp_path.glob("*.flac")
    assert file.name == "sample_00000002_seed0-0000_rate=16000_run.flac"
    sound = read_sound(file)
    assert sound.rate == 16_000
    assert len(sound.samples) == 2 * run.sample(1, return_length=True)[1][0]


@pytest.mark.slow
def test_without_soundfile_samples_are_wav(cli, path, run, tmp_path, monkeypatch):
    def missing():
        raise UsageError("not here")

    monkeypatch.setattr(sound_writing, "library", missing)
    assert cli("sample", path, "-n", 2, "--out", tmp_path)[0] == 0
    monkeypatch.undo()
    files = sorted(tmp_path.glob("*.wav"))
    clips, length = run.sample(2, return_length=True)
    assert len(files) == 2 and all(map(is_ours, files))
    for file, clip, end in zip(files, clips, length, strict=True):
        sound = read_sound(file)
        assert sound.notes == () and sound.rate == 8_000
        np.testing.assert_array_equal(sound.samples, clip[:end, 0])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["sample", "--rate", "16000"], "--rate is that of files of sound: add --out DIR"),
        (["sample", "--interpolate", "2"], "it cannot interpolate"),
        (["sample", "-n", "1", "return_length=true"], "no 'return_length' here"),
        (["edit", "--mask", "top"], "it cannot edit, edits are of pictures"),
        (["reconstruct", "--out", "out"], "it cannot reconstruct"),
        (["tokenize", "--out", "out"], "it cannot tokenize"),
    ],
)
def test_what_a_prior_of_sound_cannot_is_one_line(cli, path, words, line):
    verb, *options = words
    code, _, err = cli(verb, path, *options)
    (said,) = [s for s in err.splitlines() if s.startswith("vqjax: error")]
    assert code == 2 and line in said


def test_pictures_have_no_rate(cli, make_run):
    vae = make_run(tiny.vae(), name="vae")
    code, _, err = cli("sample", vae, "--rate", 8_000)
    assert code == 2 and f"--rate is for sound: {vae} draws none" in err
