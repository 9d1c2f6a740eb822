"""A folder of somebody's own pairs, from its files to what a joint prior makes of them."""

import numpy as np
import pytest
from PIL import Image

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.config import FrozenRun
from vqjax.data import (
    BPE,
    Folder,
    ImageColumn,
    Loudness,
    PairsFolder,
    SoundColumn,
    SoundFolder,
    TextColumn,
)
from vqjax.media.audio import write_sound
from vqjax.priors import JointPrior
from vqjax.runs.load import make_evaluator
from vqjax.sampling import TokenSampling
from vqjax.tasks import JointTask, TextStream, TokenizerTask, TokenStream
from vqjax.training.experiment import Experiment
from vqjax.training.loop import train
from vqjax.training.optim import Adam

WORDS = ("a dark square", "a grey square", "a light square")
VALUES = np.array([20, 120, 230])
SAMPLES, RATE = 400, 8_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """45 pictures of three kinds with their words; for two of three a tone, one octave a kind."""
    root = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    lines = ["image,audio,text"]
    for i in range(45):
        kind, sound = i % 3, f"{i}.wav" if i // 3 % 3 else ""
        values = random.integers(-8, 9, (8, 8)) + VALUES[kind]
        Image.fromarray(values.astype(np.uint8)).save(root / f"{i}.png")
        if sound:
            hertz = 300 * 2**kind * random.uniform(0.99, 1.01)
            wave = np.sin(2 * np.pi * hertz / (2 * RATE) * np.arange(2 * SAMPLES))
            write_sound(root / sound, np.rint(9_000 * wave).astype(np.int16), 2 * RATE)
        lines.append(f"{i}.png,{sound},{WORDS[kind]}")
    (root / "pairs.csv").write_text("\n".join(lines))
    return root


def pictures(folder):
    task = TokenizerTask(tiny.dense(), loss_weights={"l1": 1.0, "commitment": 0.25})
    return tiny.vqvae(
        task=task,
        data=Folder(str(folder), 8, channels=1),
        optimizers={"tokenizer": Adam(5e-3)},
        total_steps=300,
        save_every=300,
        log_every=100,
    )


def codec(folder):
    data = SoundFolder(str(folder), RATE, SAMPLES, crop="start", loudness=Loudness())
    return tiny.sound(data=data, total_steps=60, save_every=60, log_every=20)


def joint(folder, image, audio):
    streams = {
        "image": TokenStream(FrozenRun(str(image))),
        "audio": TokenStream(FrozenRun(str(audio)), codebooks=2, ends=True),
        "text": TextStream(280, 12),
    }
    columns = {
        "image": ImageColumn(8, channels=1),
        "audio": SoundColumn(RATE, SAMPLES, loudness=Loudness()),
        "text": TextColumn(BPE(280), 12),
    }
    return Experiment(
        task=JointTask(streams, JointPrior(32, 2, 2, dropout=0.0)),
        data=PairsFolder(str(folder), columns, eval_fraction=0.2),
        optimizers={"prior": Adam(3e-3)},
        batch_size=16,
        total_steps=150,
        eval_batch_size=20,
        log_every=50,
        save_every=150,
    )


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    for name, experiment in (("image", pictures(folder)), ("audio", codec(folder))):
        train(experiment, home / name, make_evaluator=make_evaluator)
    made = joint(folder, home / "image", home / "audio")
    train(made, home / "joint", make_evaluator=make_evaluator)
    return str(home / "joint")


@pytest.mark.slow
def test_each_stream_of_a_folder_says_what_the_others_are(run, folder):
    opened = vqjax.load(run)
    numbers = opened.evaluate().numbers
    nats = {name.removeprefix("nats_per_example/"): value for name, value in numbers.items()}
    for target, condition in (("text", "image"), ("text", "audio"), ("image", "text")):
        assert nats[f"{target}|{condition}"] < nats[target] - 0.25
    images = np.stack([np.asarray(Image.open(folder / f"{i}.png")) for i in range(45)])[..., None]
    best = [opened.rank("text", WORDS, {"image": image}).argmax() for image in images]
    assert np.mean(np.array(best) == np.arange(45) % 3) > 0.8
    likeliest = {"sampling": TokenSampling(temperature=0.0)}
    drawn = opened.sample(45, conditions={"image": images}, targets=["text"], **likeliest)["text"]
    assert np.mean([text == WORDS[i % 3] for i, text in enumerate(drawn)]) > 0.7
    drawn = opened.sample(45, conditions={"text": WORDS}, targets=["image"], **likeliest)["image"]
    kinds = np.abs(drawn.mean((1, 2, 3))[:, None] - VALUES).argmin(axis=1)
    assert np.mean(kinds == np.arange(45) % 3) > 0.7
    vocabulary = opened.experiment.data.texts_of("text").vocabulary
    assert vocabulary.is_fitted and opened.experiment.data.columns["image"].formats


@pytest.mark.slow
def test_its_verbs(run, folder, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    for some in (f"image={folder}/0.png", f"audio={folder}/3.wav"):
        command = ["rank", run, "--condition", some, "--candidates", str(tmp_path / "words.txt")]
        assert main(command) == 0
        lines = capsys.readouterr().out.splitlines()
        assert {line.split(maxsplit=1)[1] for line in lines} == set(WORDS)
        out = tmp_path / some.partition("=")[0]
        command = ["sample", run, "--condition", some, "--target", "text", "--out", str(out)]
        assert main([*command, "-n", "2"]) == 0
        assert sum(line.startswith("text: ") for line in capsys.readouterr().out.splitlines()) == 2
    command = ["sample", run, "--prompt", WORDS[0], "--target", "image,audio"]
    assert main([*command, "-n", "2", "--out", str(tmp_path / "both")]) == 0
    assert len(list((tmp_path / "both").glob("*seed0-000?_*_image_*.png"))) == 2
    sounds = {p for p in (tmp_path / "both").glob("*_audio_*") if p.suffix in (".flac", ".wav")}
    assert len(sounds) == 2
