"""Every file in experiments/: it builds, goes through JSON, takes shape, and a shrunk one runs."""

import contextlib
import functools
import json
import math
import pathlib
import runpy
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import vqjax
from tests.unchanged.record import digest, lines_of
from vqjax import config
from vqjax.cli.main import main
from vqjax.data import TFDS, Paired, TFDSAudio
from vqjax.data.paired import paired_spec
from vqjax.data.sound import sound_spec
from vqjax.media.audio import write_sound
from vqjax.runs.load import footprint_of
from vqjax.training.state import create_state
from vqjax.types import ArraySpec, DataError, UsageError

FOLDER = pathlib.Path(__file__).parent.parent / "experiments"
FILES = sorted(FOLDER.glob("*.py"))
NEEDS_FOLDER = (
    "folder_vqgan.py",
    "folder_text_to_image.py",
    "sound_folder_codec.py",
    "pairs_any_to_any.py",
)  # experiment() has an argument `folder` without a default
# What the data is like where it is not prepared.
SPECS = {
    "mnist": {"image": ArraySpec((28, 28, 1), "uint8"), "label": ArraySpec((), "int32")},
    "cifar10": {"image": ArraySpec((32, 32, 3), "uint8"), "label": ArraySpec((), "int32")},
    "imagenet2012": {"image": ArraySpec((256, 256, 3), "uint8"), "label": ArraySpec((), "int32")},
}
PRIORS = [p for p in FILES if "PriorTask" in p.read_text()]
JOINTS = [p for p in FILES if "JointTask" in p.read_text()]
CLASSIFIERS = [p for p in FILES if "ClassifierTask" in p.read_text()]
DENOISERS = [p for p in FILES if "DiffusionTask" in p.read_text()]
TEXTS = [p for p in FILES if "TextTask" in p.read_text()]
SHARED = [p for p in FILES if "SharedCodesTask" in p.read_text()]
# One per task: run by default. The other files' runs are marked slow.
FIRST = "digits_vqgan.py"
# Digests of the paths, dtypes and shapes of all parameters and collections. A new experiment, or
# one with other networks, gets new ones by `python -m tests.unchanged.record DIR --states`.
STATES = json.loads((FOLDER.parent / "tests" / "unchanged" / "states.json").read_text())
RENAMED = "checkpoints of older runs have other names or shapes: see tests/unchanged/record.py"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 40 pictures in two classes, with captions."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(40):
        path = folder / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(path)
        path.with_suffix(".txt").write_text(f"picture {i} of class {'ab'[i % 2]}")
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder of 20 recordings in two classes."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for i in range(20):
        path = folder / "ab"[i % 2] / f"{i:02d}.wav"
        path.parent.mkdir(exist_ok=True)
        wave = np.sin(np.arange(3_000 + 100 * i) * rng.uniform(0.05, 0.5))
        write_sound(path, np.rint(9_000 * wave).astype(np.int16), 16_000)
    return folder


@pytest.fixture(scope="module")
def pairs(pictures, sounds, tmp_path_factory):
    """A folder of 40 pictures with captions, half of them with a recording."""
    folder = tmp_path_factory.mktemp("pairs")
    shutil.copytree(pictures, folder / "pictures", ignore=shutil.ignore_patterns("*.txt"))
    shutil.copytree(sounds, folder / "sounds")
    lines = ["image,audio,text"]
    for i in range(40):
        name = f"{'ab'[i % 2]}/{i:02d}"
        sound = f"sounds/{name}.wav" if i < 20 else ""
        lines.append(f"pictures/{name}.png,{sound},picture {i} of class {name[0]}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def arguments(pictures, sounds, pairs):
    """arguments(path) -> {name: text} for `experiment()`."""

    def of(path):
        folder = {"sound": sounds, "pairs": pairs}.get(path.name.split("_")[0], pictures)
        return {"folder": str(folder)} if path.name in NEEDS_FOLDER else {}

    return of


def inputs_of(experiment):
    """What the data is like, also where it is not prepared on this machine."""
    return spec_of(experiment.data)


def spec_of(data):
    try:
        return data.example_spec()
    except DataError:
        if isinstance(data, Paired):
            specs = {
                stream: SimpleNamespace(example_spec=functools.partial(spec_of, source))
                for stream, source in data.sources.items()
            }
            return paired_spec(specs, data.main, data.by)
        assert isinstance(data, TFDS | TFDSAudio)
        if data.name == "spoken_digit":
            return sound_spec(data.samples, 8_000, data.loudness, ("label", *data.classes))
        return SPECS[data.name]


def tiny_overrides(path):
    """TINY, two levels of one width, and both players move in both steps."""
    more = []
    if "ConvDecoder" in path.read_text():
        more += [f"task.tokenizer.{part}.multipliers=(1,1)" for part in ("encoder", "decoder")]
    if "PatchGAN" in path.read_text():
        more += ["task.loss_weights.generator.start=0", "optimizers.discriminator.start=0"]
    return (*runpy.run_path(str(path))["TINY"], *more)


def test_there_are_experiments():
    assert FOLDER / FIRST in FILES and len(FILES) >= 2


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_file_says_how_it_is_run_and_has_tiny_overrides(path):
    names = runpy.run_path(str(path))
    lines = [line.strip() for line in names["__doc__"].splitlines()]
    assert any(line.startswith(f"vqjax train {path.stem}") for line in lines)
    assert isinstance(names["TINY"], tuple) and all("=" in item for item in names["TINY"])


@pytest.mark.parametrize("shrunk", [False, True], ids=["full", "tiny"])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_builds_goes_through_json_and_takes_shape(path, shrunk, arguments):
    overrides = tiny_overrides(path) if shrunk else ()
    experiment = config.load_file(str(path), arguments(path), overrides)
    experiment.check()
    encoded = config.encode(experiment)
    again = config.decode(config.from_json(config.to_json(encoded)))
    assert config.encode(again) == encoded and again == experiment
    inputs = inputs_of(again)
    again.task.check(inputs)
    state = jax.eval_shape(lambda: create_state(again, inputs))
    assert digest(lines_of(state)) == STATES[f"{path.stem} {'tiny' if shrunk else 'full'}"], RENAMED
    assert set(state.params) == set(again.task.players) == set(state.optimizers)
    sizes = {
        p: sum(math.prod(a.shape) for a in jax.tree.leaves(t)) for p, t in state.params.items()
    }
    large = path.stem.startswith("imagenet") and not shrunk  # for accelerators
    assert all(0 < size < (400e6 if large else 50e6) for size in sizes.values())
    if shrunk:
        assert again.total_steps == 2


@pytest.mark.parametrize("name", NEEDS_FOLDER)
@pytest.mark.parametrize("folder", ["", "~nobody1"])
def test_a_folder_that_is_no_path_is_one_line(name, folder):
    with pytest.raises(UsageError, match=f"folder: {folder or 'an empty path'}"):
        config.load_file(str(FOLDER / name), {"folder": folder}, ())


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("size", "millions"), [("B", 111), pytest.param("L", 343, marks=SLOW), ("XL", 775)]
)
def test_gpt_on_imagenet_has_the_published_sizes(size, millions):
    """arXiv 2406.06525, table 1, over 16,384 codes."""
    codes = "task.tokenizer.experiment.task.tokenizer.quantizer.codebook_size=16384"
    experiment = config.load_file(str(FOLDER / "imagenet_gpt.py"), {"size": size}, (codes,))
    assert round(footprint_of(experiment, SPECS["imagenet2012"]).total / 1e6) == millions


def test_a_size_that_is_not_there_gets_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'XL'"):
        config.load_file(str(FOLDER / "imagenet_maskgit.py"), {"size": "XXL"}, ())


CIFAR10 = FOLDER / "cifar10_quantizer.py"
READY = sorted(runpy.run_path(str(CIFAR10))["QUANTIZERS"])


@pytest.mark.parametrize("name", READY)
def test_every_ready_quantizer_has_ten_bits_a_token(name):
    experiment = config.load_file(str(CIFAR10), {"quantizer": name}, ())
    experiment.check()
    inputs = SPECS["cifar10"]
    experiment.task.check(inputs)
    assert config.decode(config.from_json(config.to_json(config.encode(experiment)))) == experiment
    sizes = footprint_of(experiment, inputs)
    positions = 85 if name == "multiscale" else 64
    assert sizes.bits == 10 * positions
    assert sizes.bits / math.log2(sizes.levels[0].codebook_size) == sizes.tokens


def test_a_quantizer_that_is_not_there_gets_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        config.load_file(str(CIFAR10), {"quantizer": "cosin"}, ())


@pytest.mark.parametrize(
    "path",
    [
        p if p.name == FIRST else pytest.param(p, marks=pytest.mark.slow)
        for p in FILES
        if p not in PRIORS + JOINTS + DENOISERS + CLASSIFIERS + SHARED + TEXTS
    ],
    ids=lambda p: p.stem,
)
def test_two_tiny_steps_then_every_verb(path, arguments, tmp_path, capsys):
    given = [word for k, v in arguments(path).items() for word in ("--arg", f"{k}={v}")]
    overrides = tiny_overrides(path)
    experiment = config.load_file(str(path), arguments(path), overrides)
    with _or_skip_unprepared(experiment):
        experiment.data.check()
    run = tmp_path / "run"
    command = ["train", str(path), "--workdir", str(run), "log_every=1", *given, *overrides]
    assert main(command) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = next(x for x in reversed(lines) if x["kind"] == "train")
    assert last["step"] == 2 and set(experiment.task.terms) <= set(last)
    assert all(math.isfinite(v) for v in last.values() if isinstance(v, float))
    capsys.readouterr()
    assert main(command) == 0  # again: there is nothing left to do
    assert "is done: 2 of 2 steps" in capsys.readouterr().err

    opened = vqjax.load(run)
    x, level = _eval_examples(experiment, 3), {}
    tokens = opened.encode(x)
    if opened.reads == "sound":
        tokens, level["gain"] = opened.encode(x, return_gain=True)
    assert opened.step == 2
    _check_tokens(opened, tokens)
    assert np.array_equal(opened.decode(tokens, **level), opened.reconstruct(x))

    if hasattr(experiment.task.tokenizer.quantizer, "prior"):
        assert main(["sample", str(run), "-n", "4", "--out", str(tmp_path / "drawn")]) == 0
        assert (tmp_path / "drawn" / "sample_00000002_seed0_run.png").exists()
        capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    logged = next(x for x in reversed(lines) if x["kind"] == "eval")
    name = opened.headline[0]
    assert measured[name] == pytest.approx(logged[name], abs=0.01)
    assert main(["reconstruct", str(run), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "reconstruct_00000002_run.png").exists()
    capsys.readouterr()
    assert main(["inspect", str(run)]) == 0
    assert "sealed steps" in capsys.readouterr().out
    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert f"{measured[name]:.2f}" in (tmp_path / "page.html").read_text()
    assert main(["compare", str(run), "--out", str(tmp_path / "compared.html")]) == 0
    assert f"{logged[name]:.2f}" in (tmp_path / "compared.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", DENOISERS, ids=lambda p: p.stem)
def test_two_tiny_steps_of_a_denoiser_then_every_verb(path, arguments, tmp_path, capsys):
    experiment = config.load_file(str(path), arguments(path), tiny_overrides(path))
    given = [word for k, v in arguments(path).items() for word in ("--arg", f"{k}={v}")]
    with _or_skip_unprepared(experiment):
        experiment.data.check()
    run = tmp_path / "run"
    task = experiment.task
    below = {"tokenizer": task.tokenizer, "audio": task.source and task.source.tokenizer}
    for argument, frozen in below.items():
        if frozen is not None:
            file, first = FOLDER / f"{frozen.command.split()[2]}.py", tmp_path / argument
            words = ["--workdir", str(first), *given, *tiny_overrides(file)]
            assert main(["train", str(file), *words]) == 0
            given += ["--arg", f"{argument}={first}"]
    command = ["train", str(path), "--workdir", str(run), *given, "log_every=1"]
    assert main([*command, *tiny_overrides(path)]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = next(x for x in reversed(lines) if x["kind"] == "eval")
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["denoising"] == pytest.approx(logged["denoising"], rel=1e-3)
    for verb in ("inspect", "report", "compare"):
        assert main([verb, str(run)]) == 0
    words = ["-n", "4", "--steps", "3", "--out", str(tmp_path / "drawn")]
    assert main(["sample", str(run), *words]) == 0
    assert (tmp_path / "drawn" / "sample_00000002_seed0_steps=3_run.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", PRIORS, ids=lambda p: p.stem)
def test_two_tiny_steps_of_a_prior_then_every_verb(path, arguments, tmp_path, capsys):
    experiment = config.load_file(str(path), arguments(path), tiny_overrides(path))
    given = [word for k, v in arguments(path).items() for word in ("--arg", f"{k}={v}")]
    with _or_skip_unprepared(experiment):
        experiment.data.check()
    _, _, name, *_ = experiment.task.tokenizer.command.split()
    below, first, run = FOLDER / f"{name}.py", tmp_path / "tokenizer", tmp_path / "run"
    words = [*given, *tiny_overrides(below)]
    assert main(["train", str(below), "--workdir", str(first), *words]) == 0
    command = ["train", str(path), "--workdir", str(run), "--arg", f"tokenizer={first}", *given]
    assert main([*command, "log_every=1", *tiny_overrides(path)]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = next(x for x in reversed(lines) if x["kind"] == "eval")
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["nats_per_token"] == pytest.approx(logged["nats_per_token"], rel=1e-3)
    for verb in ("inspect", "report", "compare"):
        assert main([verb, str(run)]) == 0
    assert main(["sample", str(run), "-n", "4", "--out", str(tmp_path / "drawn")]) == 0
    assert (tmp_path / "drawn" / "sample_00000002_seed0_run.png").exists()
    if hasattr(getattr(experiment.data, "source", None), "caption_tests"):
        capsys.readouterr()
        assert main(["evaluate", str(run), "--captions", "6", "--json"]) == 0
        tests = json.loads(capsys.readouterr().out)["captions"]
        assert all(pictures["real"]["all"] == 1.0 for pictures in tests.values())


@pytest.mark.slow
@pytest.mark.parametrize("path", JOINTS, ids=lambda p: p.stem)
def test_two_tiny_steps_of_a_joint_prior_and_its_tokenizers_then_every_verb(
    path, arguments, tmp_path, capsys
):
    given = [word for k, v in arguments(path).items() for word in ("--arg", f"{k}={v}")]
    experiment = config.load_file(str(path), arguments(path), tiny_overrides(path))
    with _or_skip_unprepared(experiment):
        experiment.data.check()
    frozen, run = [], tmp_path / "run"
    for number, (place, below) in enumerate(config.find_frozen(experiment).items()):
        _, _, name, *words = below.command.split()
        file, first = FOLDER / f"{name}.py", tmp_path / f"tokenizer{number}"
        command = ["train", str(file), "--workdir", str(first), *words]
        assert main([*command, *tiny_overrides(file)]) == 0
        frozen += ["--frozen", f"{place}={first}"]
    command = ["train", str(path), "--workdir", str(run), *given, *frozen, *tiny_overrides(path)]
    assert main([*command, "eval_batch_size=50"]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = next(x for x in reversed(lines) if x["kind"] == "eval")
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["nats_per_example"] == pytest.approx(logged["nats_per_example"], rel=1e-3)
    for verb in ("inspect", "report", "compare"):
        assert main([verb, str(run)]) == 0
    assert main(["sample", str(run), "-n", "2", "--out", str(tmp_path / "drawn")]) == 0
    drawn = [p.name for p in (tmp_path / "drawn").glob("sample_00000002_seed0_run_*")]
    assert len(drawn) == len(experiment.task.streams)
    words = tmp_path / "words.txt"
    words.write_text("one\ntwo\n")
    image = next((tmp_path / "drawn").glob("*0000*image.png"))
    command = ["rank", str(run), "--condition", f"image={image}", "--candidates", str(words)]
    assert main(command) == 0


@pytest.mark.slow
@pytest.mark.parametrize("order", ["absorbing", "causal"])
@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.stem)
def test_two_tiny_steps_of_a_text_prior_then_every_verb(path, order, tmp_path, capsys):
    run = tmp_path / "run"
    command = ["train", str(path), "--workdir", str(run), "--arg", f"order={order}"]
    assert main([*command, *tiny_overrides(path)]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = next(x for x in reversed(lines) if x["kind"] == "eval")
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["nats_per_caption"] == pytest.approx(logged["nats_per_caption"], rel=1e-3)
    for verb in ("inspect", "report", "compare"):
        assert main([verb, str(run)]) == 0
    assert main(["sample", str(run), "-n", "4", "--out", str(tmp_path / "drawn")]) == 0
    drawn = json.loads((tmp_path / "drawn" / "sample_00000002_seed0_run.json").read_text())
    assert len(drawn["caption"]) == 4


def test_an_order_that_is_not_there_gets_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'causal'"):
        config.load_file(str(FOLDER / "shapes_captions_absorbing.py"), {"order": "casual"}, ())


@pytest.mark.slow
@pytest.mark.parametrize("path", CLASSIFIERS + SHARED, ids=lambda p: p.stem)
def test_two_tiny_steps_of_what_is_only_evaluated_then_every_verb(path, tmp_path, capsys):
    experiment = config.load_file(str(path), {}, tiny_overrides(path))
    with _or_skip_unprepared(experiment):
        experiment.data.check()
    run = tmp_path / "run"
    assert main(["train", str(path), "--workdir", str(run), *tiny_overrides(path)]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = next(x for x in reversed(lines) if x["kind"] == "eval")
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    name = "nats_per_example" if path in SHARED else "cross_entropy"
    assert measured[name] == pytest.approx(logged[name], rel=1e-3)
    for verb in ("inspect", "report", "compare"):
        assert main([verb, str(run)]) == 0


def _check_tokens(opened, tokens):
    """Integers on the grid of every level, or real numbers where nothing is discrete."""
    levels = opened.token_layout()
    if not levels:
        assert tokens.dtype == np.float32
        return
    tokens = tokens if isinstance(tokens, dict) else {levels[0].name: tokens}
    for level in levels:
        assert tokens[level.name].dtype == np.int32
        assert tokens[level.name].shape[1:] == level.grid


@contextlib.contextmanager
def _or_skip_unprepared(experiment):
    below = [run.experiment for run in config.find_frozen(experiment).values()]
    for one in (experiment, *below):
        for file in config.find_files(one).values():
            if not pathlib.Path(file.path).is_file():
                pytest.skip(f"this machine has no {file.path}")
    try:
        yield
    except DataError as error:
        if not isinstance(experiment.data, TFDS):
            raise
        pytest.skip(f"this machine has no prepared data for it: {error}")


def _eval_examples(experiment, count):
    batch = next(iter(experiment.data.eval(count, np.arange(count))))
    return batch[experiment.task.inputs][batch["mask"]]
