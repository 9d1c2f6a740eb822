"""A joint run of digits' pictures, melodies and words, from Python and as typed: what it draws and
how likely it holds what it is given.
"""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest

import vqjax
from tests import tiny
from vqjax.cli.drawing import write_example
from vqjax.cli.main import main
from vqjax.config import FrozenRun, load_file
from vqjax.data import Bytes, Captions, Digits, LabelledTexts, Loudness, Paired, Tones
from vqjax.evaluation.stream_samples import StreamSamples
from vqjax.files import is_ours
from vqjax.format import printable
from vqjax.media.audio import read_sound
from vqjax.media.gallery import read_sheet
from vqjax.media.sound_writing import write_sound
from vqjax.priors import JointPrior
from vqjax.reports.report import write_report
from vqjax.runs.load import make_evaluator
from vqjax.sampling import Guidance, TokenSampling
from vqjax.tasks import JointTask, SoundTokenizerTask, TextStream, TokenizerTask, TokenStream
from vqjax.training.experiment import Experiment
from vqjax.training.loop import train
from vqjax.training.optim import Adam
from vqjax.types import UsageError

PICTURE = pathlib.Path(__file__).parent.parent.parent / "docs" / "pictures" / "mnist_gpt.png"
NOISE = {"image": 0.25, "audio": 0.05}
SMALL_JOINT = pathlib.Path(__file__).parent.parent / "training" / "files" / "small_joint.py"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HOP, SAMPLES = 400, 4_000
TONES = Tones(samples=SAMPLES, train_clips=40, eval_clips=20, crop="start", loudness=Loudness())


def codec():
    tokenizer = tiny.sound_tokenizer()
    tokenizer = tokenizer.clone(
        encoder=tokenizer.encoder.clone(hop=HOP, window=None),
        decoder=tokenizer.decoder.clone(hop=HOP),
    )
    task = SoundTokenizerTask(tokenizer, loss_weights={"l1": 1.0, "commitment": 0.25})
    return tiny.vqvae(task=task, data=TONES)


def pictures():
    task = TokenizerTask(tiny.dense(), loss_weights={"l1": 1.0, "commitment": 0.25})
    return tiny.vqvae(task=task, data=Digits())


def experiment(image, audio):
    streams = {
        "text": TextStream(257, 6, noise=0.5),
        "audio": TokenStream(FrozenRun(str(audio)), codebooks=2, ends=True, noise=0.1),
        "image": TokenStream(FrozenRun(str(image)), noise=0.5),
    }
    sources = {
        "audio": TONES,
        "image": Digits(),
        "text": Captions(LabelledTexts(tuple((word,) for word in WORDS)), Bytes(), 6),
    }
    return Experiment(
        task=JointTask(streams, JointPrior(16, 1, 2)),
        data=Paired(sources),
        optimizers={"prior": Adam(1e-2)},
        batch_size=8,
        total_steps=3,
        eval_batch_size=20,
    )


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("joint") / "run"
    made = experiment(make_run(pictures(), name="image"), make_run(codec(), name="audio"))
    train(made, path, make_evaluator=make_evaluator)
    return vqjax.load(path)


@pytest.fixture(scope="module")
def evaluation(run):
    return run.evaluate(noise=NOISE)


@pytest.fixture(scope="module")
def numbers(evaluation):
    return evaluation.numbers


def test_training_and_evaluation_give_the_same_numbers(run, numbers):
    nats = {k.split("/")[1]: v for k, v in numbers.items() if k.startswith("nats_per_example/")}
    whole = nats["audio"] + nats["image|audio"] + nats["text|audio+image"]
    assert numbers["nats_per_example"] == pytest.approx(whole)
    assert len(nats) == 12 and {"text", "text|audio", "text|audio+image"} <= set(nats)
    gaps = {k.split("/")[1]: v for k, v in numbers.items() if k.startswith("order_gap")}
    assert set(gaps) == {"audio+image", "audio+text", "image+text"}
    one, other = nats["audio"] + nats["text|audio"], nats["text"] + nats["audio|text"]
    assert gaps["audio+text"] == pytest.approx(abs(one - other))
    assert all(np.isfinite(value) and value > 0 for value in nats.values())
    batch = next(iter(run.experiment.data.eval(20, np.arange(20))))
    texts = run.experiment.data.sources["text"].decode(batch["text.caption"])
    alone = -run.log_likelihood({"text": texts})["text"]
    np.testing.assert_allclose(alone.mean(), numbers["nats_per_example/text"], rtol=1e-5)
    images = batch["image.image"]
    told = -run.log_likelihood({"image": images})["image"]
    np.testing.assert_allclose(told.mean(), numbers["nats_per_example/image"], rtol=1e-5)


def test_evaluations_draw_each_stream_given_each_other_one(run, evaluation):
    gallery = evaluation.gallery
    rows = ("audio", "image|audio", "text|audio", "image", "audio|image", "text|image")
    rows += ("text", "audio|text", "image|text")
    assert gallery.rows == rows and list(gallery.streams) == ["audio", "image", "text"]
    batch = next(iter(run.experiment.data.eval(20, np.arange(20))))
    images, texts = gallery.streams["image"].rows, gallery.streams["text"].rows
    assert list(texts["text"]) == run.experiment.data.sources["text"].decode(
        batch["text.caption"][:8]
    )
    np.testing.assert_allclose(images["image"], batch["image.image"][:8] / 127.5 - 1, atol=1e-6)
    sounds, rate = gallery.clips()["audio"]
    gains, lengths = batch["audio.gain"], batch["audio.length"]
    assert rate == 8_000 and [len(sound) for sound in sounds] == lengths[:8].tolist()
    expected = batch["audio.audio"][3, : lengths[3], 0] / 32_768 * gains[3]
    np.testing.assert_allclose(sounds[3], expected, atol=1e-6)
    for row in ("audio|image", "audio|text"):
        assert all(len(sound) % HOP == 0 for sound in gallery.clips()[row][0])
    assert np.shape(images["image|text"]) == (8, 8, 8, 1)
    written = read_sheet(next(pathlib.Path(run.path).glob("samples/*.png")))
    assert written.rows == rows and [row.count for row in written.streams] == [8] * len(rows)
    assert written.streams[rows.index("text|audio")].texts == tuple(
        map(printable, texts["text|audio"])
    )


def test_streams_that_rows_lack_are_conditions_where_there_are_some(run):
    batch = next(iter(run.experiment.data.eval(20, np.arange(20))))
    frozen, network = run._opening.frozen, run.task.network_of(batch)
    ids = run.task.ids(network, frozen, batch)
    samples = StreamSamples(run.experiment, run._mesh, frozen)
    for texts, rows in (([3, 5], 9), ([], 6)):
        present = np.ones((20, 3), bool)
        present[:, 2] = np.isin(np.arange(20), texts)
        samples.restart()
        samples.add(batch, ids, present)
        gallery = samples.gallery(run.params)
        count = len(texts) or 8
        assert len(gallery.rows) == rows
        assert all(
            len(row) == count for own in gallery.streams.values() for row in own.rows.values()
        )
        assert "text|image" in gallery.streams["text"].rows
        assert ("image|text" in gallery.rows) == bool(texts)
        if texts:
            assert gallery.streams["text"].rows["text"] == ["three", "five"]
    samples.restart()
    assert samples.gallery(run.params) is None


def test_its_page_shows_them(run):
    text = write_report([run.path]).read_text()
    assert text.count("<audio") == 24 and all(f">{word}</td>" in text for word in WORDS[:8])
    for condition in ("audio", "image", "text"):
        assert f"<figcaption>Given {condition} " in text


def test_what_streams_say_of_the_digit_is_by_the_likelihood_of_its_words(run, numbers):
    batch = next(iter(run.experiment.data.eval(20, np.arange(20))))
    labels, images = batch["label"], batch["image.image"]
    likely = [run.log_likelihood({"text": [w]}, {"image": images})["text"] for w in WORDS]
    log_p = np.stack(likely, axis=1)  # [20, 10]
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    surprise = -log_p[np.arange(20), labels].mean()
    entropy = np.log(10)  # two of each digit
    assert numbers["information/text|image"] == pytest.approx(entropy - surprise, abs=1e-4)
    right = np.mean(log_p.argmax(axis=1) == labels)
    assert numbers["label_accuracy/text|image"] == pytest.approx(right)
    drawn = [run.log_likelihood({"image": images}, {"text": w})["image"] for w in WORDS]
    log_p = np.stack(drawn, axis=1)
    log_p -= np.log(np.exp(log_p - log_p.max()).sum(axis=1, keepdims=True)) + log_p.max()
    surprise = -log_p[np.arange(20), labels].mean()
    assert numbers["information/image|text"] == pytest.approx(entropy - surprise, abs=1e-3)
    nats = {k.split("/")[1]: v for k, v in numbers.items() if k.startswith("nats_per_example/")}
    gain = nats["audio"] - nats["audio|image"]
    assert numbers["gain/audio|image"] == pytest.approx(gain, abs=1e-3)
    assert 0.0 < numbers["leak_p/image|audio"] <= 1.0 and "leak_p/image|text" not in numbers
    rows = ("text|image=0.25", "text|audio=0.05", "text|audio=0.05+image=0.25")
    assert all(f"noisy_information/{row}" in numbers for row in rows)
    assert f"noisy_product_label_accuracy/{rows[2]}" in numbers
    quiet = run.evaluate(noise={"image": 0.0, "audio": 0.0}).numbers
    for kind in ("information", "label_accuracy"):
        noisy = quiet[f"noisy_{kind}/text|audio=0+image=0"]
        assert noisy == pytest.approx(quiet[f"{kind}/text|audio+image"], abs=1e-6)


def test_rows_whose_digit_no_text_names_say_nothing_of_it(run):
    texts = Captions(LabelledTexts(tuple((word,) for word in WORDS[:9])), Bytes(), 6)
    data = run.experiment.data
    data = dataclasses.replace(data, sources={**data.sources, "text": texts})
    numbers = vqjax.load(run.path, data=data).evaluate(noise=NOISE).numbers
    found = [v for k, v in numbers.items() if k.partition("/")[0].endswith("information")]
    assert len(found) == 9 and max(found) <= np.log(9) and np.isfinite(found).all()


def test_noise_that_was_not_trained_is_refused(run):
    for noise, line in (
        ({"image": 0.9, "audio": 0.05}, "trained up to 0.5"),
        ({"image": 0.1}, "wanted two"),
        ({"image": 0.1, "sound": 0.05}, "valid: audio, image"),
    ):
        with pytest.raises(UsageError, match=line):
            run.evaluate(noise=noise)


def test_any_stream_is_drawn_given_any_others(run):
    image = run.experiment.data.sources["image"]
    picture = next(iter(image.eval(1, np.arange(1))))["image"][0]
    drawn = run.sample(3, seed=1, conditions={"image": picture, "text": ["seven", "one"]})
    assert list(drawn) == ["audio"] and len(drawn["audio"]) == 3
    for clip in drawn["audio"]:
        assert clip.dtype == np.int16 and clip.ndim == 1 and HOP <= len(clip) <= SAMPLES
    clip = drawn["audio"][0]
    drawn = run.sample(2, conditions={"audio": clip}, targets=["text", "image"])
    assert list(drawn) == ["text", "image"] and drawn["image"].shape == (2, *picture.shape)
    assert drawn["image"].dtype == np.uint8 and all(isinstance(t, str) for t in drawn["text"])
    again = run.sample(2, conditions={"audio": clip}, targets=["text", "image"])
    assert again["text"] == drawn["text"]
    whole = run.sample(5)
    assert list(whole) == ["audio", "image", "text"]
    part = run.sample(2)
    np.testing.assert_array_equal(whole["image"][:2], part["image"])
    assert whole["text"][:2] == part["text"]


def test_likelihoods_add_up_in_the_order_of_the_targets(run):
    texts = ["two", "three"]
    image = next(iter(run.experiment.data.sources["image"].eval(2, np.arange(2))))["image"]
    both = run.log_likelihood({"image": image, "text": texts})
    one = run.log_likelihood({"image": image})["image"]
    other = run.log_likelihood({"text": texts}, {"image": image})["text"]
    np.testing.assert_allclose(both["image"], one, rtol=1e-6)
    np.testing.assert_allclose(both["text"], other, rtol=1e-6)
    single = run.log_likelihood({"text": texts}, {"image": image[0]})["text"]
    np.testing.assert_allclose(single[0], other[0], rtol=1e-6)


def test_guidance_of_one_is_the_model_itself(run):
    how = {"conditions": {"text": "two"}, "targets": ["image"]}
    plain = run.sample(4, **how)["image"]
    np.testing.assert_array_equal(run.sample(4, **how, guidance={"text": 1.0})["image"], plain)
    by_scale = run.sample(4, **how, guidance=Guidance(3.0), sampling=TokenSampling(top_k=4))
    by_name = run.sample(4, **how, guidance={"text": 3.0}, sampling=TokenSampling(top_k=4))
    np.testing.assert_array_equal(by_scale["image"], by_name["image"])


def test_candidates_are_ranked_by_what_the_conditions_add(run):
    image = next(iter(run.experiment.data.sources["image"].eval(1, np.arange(1))))["image"][0]
    likely = run.rank("text", WORDS, {"image": image}, score="likelihood")
    with_image = run.log_likelihood({"text": list(WORDS)}, {"image": image})["text"]
    np.testing.assert_allclose(likely, with_image, rtol=1e-5)
    alone = run.log_likelihood({"text": list(WORDS)})["text"]
    gains = run.rank("text", WORDS, {"image": image})
    np.testing.assert_allclose(gains, with_image - alone, atol=1e-4)
    for call, line in (
        (lambda: run.rank("text", WORDS, {}), "at least one stream"),
        (lambda: run.rank("text", WORDS, {"text": "one"}), "text is a condition"),
        (lambda: run.rank("text", WORDS, {"image": np.stack([image] * 2)}), "2 examples of image"),
        (lambda: run.rank("text", WORDS, {"image": image}, score="best"), "score"),
    ):
        with pytest.raises(UsageError, match=line):
            call()


def test_the_verb_ranks_texts_and_pictures(run, tmp_path, capsys):
    words = tmp_path / "words.txt"
    words.write_text("one\n\nseven\nthree\n")
    images = next(iter(run.experiment.data.sources["image"].eval(3, np.arange(3))))["image"]
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(images):
        write_example(image, tmp_path / "pictures" / f"{i}.png")
    some = f"image={tmp_path / 'pictures' / '0.png'}"
    command = ["rank", run.path, "--condition", some, "--candidates", str(words)]
    assert main(command) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    scores = run.rank("text", ["one", "seven", "three"], {"image": images[0]})
    best = np.argsort(-scores)
    assert [line[1] for line in lines] == [("one", "seven", "three")[i] for i in best]
    np.testing.assert_allclose([float(line[0]) for line in lines], scores[best], atol=1e-3)
    command = ["rank", run.path, "--prompt", "one", "--candidates", str(tmp_path / "pictures")]
    assert main(command) == 2
    assert "name one" in capsys.readouterr().err
    assert main([*command, "--stream", "image", "-n", "2", "--score", "likelihood"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    for words_typed, code in (
        (["--candidates", str(tmp_path / "no")], 2),
        (["--candidates", str(words), "-n", "0"], 2),
        (["--candidates", str(words), "--stream", "smell"], 2),
    ):
        assert main(["rank", run.path, "--condition", some, *words_typed]) == code
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert main(["rank", run.path, "--candidates", str(words)]) == 2


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda run: run.sample(2, conditions={"texd": "a"}), "conditions.*texd.*'text'"),
        (lambda run: run.sample(2, targets=["imagee"]), "targets.*imagee.*'image'"),
        (lambda run: run.sample(2, targets=[]), "wanted at least one stream"),
        (lambda run: run.sample(2, targets=["text", "text"]), "text is named twice"),
        (
            lambda run: run.sample(2, conditions={"text": "a"}, targets=["text"]),
            "text is a condition",
        ),
        (lambda run: run.sample(2, conditions={"text": ""}), "text.*wanted a text"),
        (lambda run: run.sample(2, conditions={"text": "x" * 100_000}), "100000 tokens long"),
        (
            lambda run: run.sample(2, conditions={"image": np.zeros((9, 9, 1), np.uint8)}),
            "image: .*wanted examples of 8 . 8 . 1",
        ),
        (lambda run: run.sample(2, conditions={"audio": np.zeros(0, np.int16)}), "wanted int16"),
        (
            lambda run: run.sample(2, targets=["text"], guidance=Guidance(2.0)),
            "no condition to guide towards",
        ),
        (lambda run: run.log_likelihood({}), "at least one stream"),
        (
            lambda run: run.log_likelihood({"text": ["a", "b"]}, {"text": "a"}),
            "text is a condition",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(run, call, line):
    with pytest.raises(UsageError, match=line) as refused:
        call(run)
    assert "\n" not in str(refused.value)


def test_the_verb_writes_what_is_drawn_given_files_and_texts(run, tmp_path, capsys):
    clip = run.sample(1, targets=["audio"])["audio"][0]
    write_sound(tmp_path / "tone.wav", np.repeat(clip, 2), 2 * run.rate_of("audio"))
    out = tmp_path / "out"
    command = ["sample", run.path, "--prompt", "two", "--condition", f"audio={tmp_path}/tone.wav"]
    assert main([*command, "-n", "3", "--guidance", "text=1.5", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "tone.wav: resampled from 16,000 to 8,000 Hz" in said.err
    sheet = out / said.out.strip().split("/")[-1]
    assert is_ours(sheet) and read_sheet(sheet) is not None and "image" in sheet.name
    assert len(list(out.glob("*.png"))) == 4
    command = ["sample", run.path, "--target", "text,audio", "-n", "2", "--out", str(out)]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    drawn = run.sample(2, targets=["text", "audio"])
    assert sum(line.startswith("text: ") for line in lines) == 2
    (text,) = out.glob("*text.json")
    assert json.loads(text.read_text())["text"] == drawn["text"]
    sounds = sorted(out.glob("*.flac")) or sorted(out.glob("*-????_*audio.wav"))
    for path, expected in zip(sounds, drawn["audio"], strict=True):
        np.testing.assert_array_equal(read_sound(path).samples, expected)
    assert main(command) == 0  # its own files are replaced


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--condition", "imag=x.png"], 2, "no such stream: did you mean 'image'"),
        (["--condition", "image=none.png"], 2, "image: none.png: no such file"),
        (["--condition", "text"], 2, "give STREAM=FILE"),
        (["--target", "smell"], 2, "targets.*smell"),
        (["--condition", "text=a", "--target", "text"], 2, "text is a condition"),
        (["--target", "text", "--guidance", "2"], 2, "no condition to guide towards"),
        (["--guidance", "a=b"], 2, "give a number, or one for each condition"),
        (["--classes", "3"], 2, "it has audio, image, text"),
        (["--condition", "text=" + "x" * 100_000], 2, "100000 tokens long"),
        (["--prompt", ""], 2, "wanted a text"),
        (["--prompt", "a\udcff"], 2, "not UTF-8"),
        (["--condition", f"audio={PICTURE}"], 3, "not read here: wav"),
        (["--condition", f"image={SMALL_JOINT}"], 3, "cannot identify image file"),
        (["--rate", "16000"], 2, "add --out"),
    ],
)
def test_typing_errors_are_one_line_and_write_nothing(run, words, code, line, tmp_path, capsys):
    out = tmp_path / "out"
    more = [] if "--rate" in words else ["--out", str(out)]
    assert main(["sample", run.path, *words, *more]) == code
    error = capsys.readouterr().err.strip()
    assert re.search(line, error) and len(error.splitlines()) == 1
    assert not out.exists()


def test_a_file_that_is_no_picture_is_named(run, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    assert main(["sample", run.path, "--condition", f"image={bad}", "--out", str(tmp_path)]) == 3
    assert "bad.png: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


@pytest.mark.parametrize("streams", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4))])
def test_any_number_of_streams(streams, tmp_path):
    made = load_file(str(SMALL_JOINT), {"streams": streams}, ["total_steps=2", "save_every=2"])
    train(made, tmp_path / "run")
    run = vqjax.load(tmp_path / "run")
    names = [f"text{number}" for number in range(streams)]
    assert list(run.streams) == names
    drawn = run.sample(3)
    assert list(drawn) == names and all(len(texts) == 3 for texts in drawn.values())
    whole = run.log_likelihood({name: ["07", "333"] for name in names})
    before: dict = {}
    for name in names:  # in order, each given those before it
        own = run.log_likelihood({name: ["07", "333"]}, before)[name]
        np.testing.assert_allclose(own, whole[name], rtol=1e-5)
        before[name] = ["07", "333"]
    subsets = run.evaluate().numbers
    assert len([k for k in subsets if k.startswith("nats_per_example/")]) == (
        streams * 2 ** (streams - 1)
    )
