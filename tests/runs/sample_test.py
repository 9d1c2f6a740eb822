"""Runs without tokens: sampling, interpolating, and every verb, from Python and as typed."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import vqjax
from tests import tiny
from vqjax.cli import reconstruct, sample
from vqjax.cli.main import main
from vqjax.data import Binarize, Digits
from vqjax.evaluation.diversity import mean_distance, sample_diversity
from vqjax.evaluation.reconstruction import ReconstructionEvaluator
from vqjax.files import is_ours
from vqjax.training.loop import train
from vqjax.types import UsageError


@pytest.fixture(scope="module")
def paths(make_run, tmp_path_factory):
    """{name: a run on digits of 8 x 8 pixels}; the VAE's was trained, for two steps."""
    settings = {"total_steps": 2, "eval_batch_size": 99}
    made = {"vae": tmp_path_factory.mktemp("vae") / "run"}
    train(
        tiny.vae(data=Digits((Binarize(),)), **settings),
        made["vae"],
        make_evaluator=ReconstructionEvaluator,
        devices=jax.devices()[:1],
    )
    for name in ("ae", "vqvae"):
        made[name] = make_run(getattr(tiny, name)(data=Digits(), **settings), step=2, name=name)
    return made


@pytest.fixture(scope="module")
def runs(paths):
    return {name: vqjax.load(path) for name, path in paths.items()}


@pytest.fixture
def cli(capsys):
    """cli("verb", ...) -> (exit code, stdout, stderr)."""

    def call(*words):
        code = main([*map(str, words)])
        return (code, *capsys.readouterr())

    return call


def test_samples_depend_on_seed_and_place_alone(runs):
    samples = runs["vae"].sample(40)
    assert samples.shape == (40, 8, 8, 1) and samples.dtype == np.uint8
    np.testing.assert_array_equal(runs["vae"].sample(3), samples[:3])
    assert (runs["vae"].sample(3, seed=1) != samples[:3]).any()
    assert len(np.unique(samples.reshape(40, -1), axis=0)) > 30
    assert runs["vae"].sample(0).shape == (0, 8, 8, 1)


def test_interpolations_run_from_one_reconstruction_to_the_other(runs):
    for name in ("vae", "ae"):
        x = runs[name].held_out(6)
        rows = runs[name].interpolate(x[:3], x[3:], steps=5)
        assert rows.shape == (3, 5, 8, 8, 1) and rows.dtype == np.uint8
        np.testing.assert_array_equal(rows[:, 0], runs[name].reconstruct(x[:3]))
        np.testing.assert_array_equal(rows[:, -1], runs[name].reconstruct(x[3:]))


def test_without_tokens_latents_are_what_encode_gives_and_decode_takes(runs):
    for name, shape in (("vae", (1, 1, 3)), ("ae", (4, 4, 3))):
        x = runs[name].held_out(5)
        latents = runs[name].encode(x)
        assert latents.shape == (5, *shape) and latents.dtype == np.float32
        assert runs[name].token_layout() == ()
        np.testing.assert_array_equal(runs[name].decode(latents), runs[name].reconstruct(x))
        np.testing.assert_array_equal(runs[name].encode(x[:2]), latents[:2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda runs: runs["ae"].sample(), "the bottleneck Identity has no prior"),
        (lambda runs: runs["vqvae"].sample(), "EMAVectorQuantizer has no prior"),
        (lambda runs: runs["vae"].sample(-1), "n=-1"),
        (lambda runs: runs["vae"].sample(1, seed=-1), "seed=-1"),
        (lambda runs: runs["vqvae"].interpolate(*[IMAGES] * 2), "are discrete"),
        (lambda runs: runs["vae"].interpolate(IMAGES, IMAGES[:1]), "equal shapes"),
        (lambda runs: runs["vae"].interpolate(IMAGES, IMAGES, 1), "steps=1: .* at least 2"),
        (lambda runs: runs["vae"].encode(np.zeros((1, 8, 16, 1), np.uint8)), r"\(8, 8\)"),
        (lambda runs: runs["vae"].decode(np.zeros((1, 1, 1, 3), np.int32)), "no indices"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(runs, call, message):
    with pytest.raises(UsageError, match=message):
        call(runs)


IMAGES = np.zeros((2, 8, 8, 1), np.uint8)


def test_sample_writes_one_picture_and_prints_its_path(cli, paths, runs, tmp_path):
    code, out, err = cli("sample", paths["vae"], "-n", 6, "--seed", 3)
    path, number = out.splitlines()
    assert code == 0 and path == str(paths["vae"] / "samples" / "sample_00000002_seed3.png"), err
    assert Image.open(path).size == (2 * 66 + 2, 3 * 66 + 2)  # three rows of two
    samples = runs["vae"].sample(6, 3)
    corner = np.asarray(Image.open(path).convert("RGB"))[2:66:8, 2:66:8, 0]
    np.testing.assert_array_equal(corner, samples[0, ..., 0])
    diversity = sample_diversity(samples, runs["vae"].held_out(64))
    assert number == f"sample_diversity {diversity:.4f}"
    code, out, _ = cli(
        "sample", paths["vae"], "-n", 1, "--step", 2, "--out", tmp_path / "deep" / "o"
    )
    assert code == 0 and out.strip() == str(
        tmp_path / "deep" / "o" / "sample_00000002_seed0_run.png"
    )
    assert (tmp_path / "deep" / "o" / "sample_00000002_seed0-0000_run.png").exists()


def test_sample_draws_ways_between_held_out_examples(cli, paths, tmp_path):
    for name in ("vae", "ae"):
        code, out, _ = cli("sample", paths[name], "--interpolate", 3, "--out", tmp_path / name)
        assert code == 0 and out.strip() == str(
            tmp_path / name / f"sample-interpolation_00000002_{paths[name].name}.png"
        )
        assert Image.open(out.strip()).size == (10 * 66 + 2, 3 * 66 + 2)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("sample", "ae"),
            "a tokenizer: it cannot sample, the bottleneck Identity has no prior (it can: encode",
        ),
        (("sample", "vqvae", "-n", "4"), "EMAVectorQuantizer has no prior"),
        (("sample", "vae", "--interpolate", "2", "-n", "4"), "-n is for samples"),
        (
            ("sample", "vqvae", "--interpolate", "2"),
            "it cannot interpolate, its latents are discrete",
        ),
        (("sample", "vae", "-n", "0"), "-n 0: wanted 1 to"),
        (("sample", "vae", "--interpolate", "-1"), "--interpolate -1"),
        (("sample", "vae", "--interpolate", "200"), "has 297 examples, two per row"),
        (("evaluate", "ae", "--importance-samples", "5"), "Identity has no prior"),
        (("evaluate", "vqvae", "--importance-samples", "5"), "EMAVectorQuantizer has no prior"),
        (("evaluate", "vae", "--importance-samples", "0"), "0 importance samples"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(cli, paths, tmp_path, words, line):
    verb, name, *rest = words
    out = ("--out", tmp_path / "o") if verb == "sample" else ()
    code, text, err = cli(verb, paths[name], *rest, *out)
    assert (code, text) == (2, "") and line in err and err.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_evaluate_prints_the_bounds_and_what_they_are_of(cli, paths):
    code, out, err = cli("evaluate", paths["vae"], "--importance-samples", 5)
    assert code == 0, err
    names = [line.split()[0] for line in out.splitlines()[1:]]
    assert names[:3] == ["nll_bound", "nll_bound_5", "psnr"] and "perplexity" not in names
    assert "one draw of the latents per example" in out and "probability v / 255" in out
    code, text, _ = cli("evaluate", paths["vae"], "--importance-samples", 5, "--json")
    numbers = json.loads(text)
    assert numbers["nll_bound_5"] < numbers["nll_bound"]
    assert f"{numbers['nll_bound_5']:.4f}" in out
    lines = [json.loads(line) for line in (paths["vae"] / "metrics.jsonl").open()]
    logged = next(line for line in lines if line["kind"] == "eval" and line["step"] == 2)
    assert logged["nll_bound"] == pytest.approx(numbers["nll_bound"], rel=1e-5)
    assert logged["sample_diversity"] == pytest.approx(numbers["sample_diversity"], rel=1e-5)
    code, text, _ = cli("sample", paths["vae"])
    shown = float(text.split("sample_diversity ")[1])
    assert shown == pytest.approx(numbers["sample_diversity"], abs=0.01)
    code, out, _ = cli("evaluate", paths["ae"])
    assert code == 0 and "nll_bound" not in out and "diversity" not in out and "psnr" in out


def test_verbs_and_calls_share_a_folder_and_no_name(cli, runs, monkeypatch, tmp_path):
    for verb in (reconstruct, sample):
        monkeypatch.setattr(verb, "load_run", lambda args: runs[args.run_dir])
    out, before = tmp_path / "out", {}
    for words in ("reconstruct vae", "sample vae -n 2", "sample vae -n 2 --seed 1",
                  "sample vae --interpolate 1"):  # fmt: skip
        code, _, err = cli(*words.split(), "--out", out)
        assert code == 0, err
        assert {path: path.stat().st_mtime_ns for path in before} == before
        before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(before) == 17 + 3 + 3 + 1 and all(map(is_ours, before))
    # What is the user's stays.
    (mine := out / "sample_00000002_seed0-0001_run.png").write_text("mine")
    words = ["sample", "vae", "-n", 2, "--out", out]
    code, text, err = cli(*words)
    assert (code, text) == (2, "") and f"{mine} is there and carries no mark of vqjax" in err
    assert cli(*words, "--overwrite")[0] == 0 and is_ours(mine)


@pytest.mark.parametrize("name", ["vae", "ae"])
def test_the_other_verbs_work_without_tokens(cli, paths, run_dir, trust, tmp_path, name):
    code, out, err = cli("inspect", paths[name])
    shape, count = {"vae": ("1 x 1 x 3", 3), "ae": ("4 x 4 x 3", 48)}[name]
    assert code == 0 and f"{shape}, {count} real numbers: nothing is discrete" in out, err
    assert cli("reconstruct", paths[name], "--out", tmp_path / "o")[0] == 0
    assert (tmp_path / "o" / f"reconstruct_00000002_{paths[name].name}.png").exists()
    words = ("--trust", *trust, "--out", tmp_path / "page.html")
    code, out, err = cli("report", paths[name], run_dir, *words)
    page = (tmp_path / "page.html").read_text()
    assert code == 0 and f"{shape.replace('x', '×')} real numbers" in page, err
    assert ("NLL bound" in page) is (name == "vae")
    assert page.count("<dt>Perplexity</dt>") == 1  # of the run that has tokens


def test_reconstruct_takes_only_the_size_of_fully_connected_layers(cli, paths, tmp_path):
    Image.new("L", (7, 8)).save(tmp_path / "small.png")  # padded to 8 x 8
    assert cli("reconstruct", paths["vae"], tmp_path / "small.png", "--out", tmp_path / "o")[0] == 0
    Image.new("L", (9, 8)).save(tmp_path / "large.png")
    code, _, err = cli("reconstruct", paths["vae"], tmp_path / "large.png", "--out", tmp_path / "o")
    assert code == 3 and "take only the size that they were made for, (8, 8)" in err


def test_mean_distance_and_diversity_by_hand():
    grey = np.zeros((3, 2, 2, 1), np.uint8)
    grey[1], grey[2] = 255, 51  # distances 1, 0.2 and 0.8
    assert mean_distance(grey) == pytest.approx(2 / 3)
    floats = (grey / 127.5 - 1).astype(np.float32)
    assert mean_distance(floats) == pytest.approx(2 / 3, rel=1e-6)
    half = np.zeros((2, 2, 2, 1), np.uint8)
    half[1, 0] = 255  # half of the pixels differ: sqrt(1 / 2)
    assert sample_diversity(half, grey) == pytest.approx(np.sqrt(0.5) * 1.5)
    assert np.isnan(sample_diversity(half, grey[:1].repeat(2, 0)))
    with pytest.raises(ValueError, match="1 examples"):
        mean_distance(grey[:1])
