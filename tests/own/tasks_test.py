"""Tasks that are not vqjax's: nothing of vqjax is edited for them, and every verb works or says, in
one line that is true, that such a run cannot do that.

One is the README's, literally; the other learns pairs, a source and what it was.
"""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import vqjax
from tests import tiny
from vqjax import config
from vqjax.cli.main import main
from vqjax.media.gallery import read_sheet
from vqjax.runs import Run, run_class
from vqjax.types import UsageError

HERE = pathlib.Path(__file__).parent
README = (HERE.parent.parent / "README.md").read_text()
QUICK = ("total_steps=4", "save_every=2", "log_every=1", "batch_size=16", "eval_batch_size=99")


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """The README's file, and a run of it that was stopped half-way and went on."""
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if "class FlowTask" in block]
    assert len(code.splitlines()) <= 80
    file = tmp_path_factory.mktemp("flow") / "flow.py"
    file.write_text(code)
    return file, _trained(file)


@pytest.fixture(scope="module")
def restore():
    return HERE / "restore.py"


@pytest.fixture(scope="module")
def restored(restore, tmp_path_factory):
    return _trained(restore, tmp_path_factory.mktemp("restore") / "run")


def _trained(file, run=None):
    run = run or file.parent / "run"
    for steps in ("total_steps=2", "total_steps=4"):
        words = ("--workdir", str(run), *QUICK, steps, "--allow-change")
        assert main(["train", str(file), *words]) == 0
    return run


def verb(capsys, *words):
    capsys.readouterr()
    code = main([*map(str, words)])
    return (code, *capsys.readouterr())


def lines_of(run, kind):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def test_the_flow_of_the_readme_does_what_it_can(flow, tmp_path, capsys):
    file, run = flow
    trust = ("--trust", file)
    assert [line["step"] for line in lines_of(run, "train")] == [1, 2, 3, 4]
    opened = vqjax.load(run, trust=[str(file)])
    samples = opened.sample(3, 1)
    assert samples.shape == (3, 8, 8, 1) and samples.dtype == np.uint8
    code, out, _ = verb(capsys, "sample", run, *trust, "-n", 4, "steps=3", "--out", tmp_path)
    assert code == 0 and out.strip() == str(tmp_path / "sample_00000004_seed0_steps=3_run.png")
    sheet = read_sheet(out.strip())
    assert (sheet.lines, sheet.columns) == (2, 2)
    one = np.asarray(Image.open(tmp_path / "sample_00000004_seed0-0002_steps=3_run.png"))
    np.testing.assert_array_equal(one, opened.sample(4, steps=3)[2, ..., 0])

    code, out, _ = verb(capsys, "evaluate", run, *trust, "--json")
    measured = json.loads(out)
    assert measured["velocity"] == pytest.approx(lines_of(run, "eval")[-1]["velocity"], rel=1e-5)
    assert opened.evaluate().numbers["velocity"] == pytest.approx(measured["velocity"], rel=1e-5)
    code, out, _ = verb(capsys, "inspect", run, *trust)
    assert code == 0 and "one example, 8 x 8 x 1 uint8" in out
    assert not re.search(r"latents|real numbers|tokens", out[out.index("\nparameters") :])
    assert verb(capsys, "report", run, *trust)[0] == 0
    page = (run / "report.html").read_text()
    assert "a flow trained on Digits" in page and "<h2>Samples</h2>" in page
    assert f"<dt>Velocity</dt><dd>{measured['velocity']:.4f}</dd>" in page
    assert "Squared error of the direction; lower is better." in page
    shown = re.sub("<pre>.*?</pre>|<style>.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search("PSNR|Perplexity|Reconstruct|tokens", shown)
    page = tmp_path / "two.html"
    code, out, _ = verb(capsys, "compare", run, run, *trust, "--out", page)
    assert code == 0 and "velocity" in out and "PSNR" not in out


def test_the_flow_is_timed_and_compiled_ahead(flow, stand_in, capsys):
    file, _ = flow
    code, out, err = verb(capsys, "benchmark", file, *QUICK, "--seconds", "0.01")
    assert code == 0 and "share: gradient" in out, err
    code, out, err = verb(capsys, "train", file, *QUICK, "batch_size=64", "--dry-run")
    assert code == 0 and "work per step" in out, err
    code, out, err = verb(capsys, "compile", file, *QUICK, "batch_size=64", "--topology", "h100x8")
    assert code == 0 and "8 chip(s), 8 device(s)" in out, err


def test_names_hold_no_path(flow, tmp_path, capsys):
    file, run = flow
    own = tmp_path / "own.py"
    own.write_text(file.read_text().replace("steps: int", "style: str = 'x', steps: int"))
    again = _trained(own, tmp_path / "run")
    code, out, err = verb(capsys, "sample", again, "--trust", own, "-n", 1, "style=../../x/y")
    assert code == 0, err
    assert pathlib.Path(out.strip()).parent == again / "samples" and "style=x-y-" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("edit", "RUN", "--mask", "top"), "is a flow: it cannot edit (it can: sample, evaluate)"),
        (
            ("reconstruct", "RUN", "--out", "OUT"),
            "it cannot reconstruct (it can: sample, evaluate)",
        ),
        (("tokenize", "RUN", "--out", "OUT"), "it cannot tokenize (it can: sample, evaluate)"),
        (("sample", "RUN", "--interpolate", "2"), "it cannot interpolate"),
        (
            ("sample", "RUN", "--top-k", "3"),
            "--top-k is not for this run: it takes -n, --seed, steps=",
        ),
        (("sample", "RUN", "step=3"), "step=3: no 'step' here: did you mean 'steps'"),
        (("sample", "RUN", "steps=few"), "steps: 'few' is not an int"),
        (("sample", "RUN", "--interpolate", "2", "-n", "3"), "-n is for samples"),
        (("sample", "RUN", "-n", "3", "n=4"), "n is set twice: -n and n="),
        (("evaluate", "RUN", "--judge", "RUN"), "it cannot classify (it can: sample, evaluate)"),
        (("evaluate", "RUN", "--captions", "3"), "its data cannot tell"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_the_flow_cannot_do_is_one_true_line(flow, tmp_path, capsys, words, line):
    file, run = flow
    named = {"RUN": run, "OUT": tmp_path / "out"}
    words = [named.get(word, word) for word in words]
    code, _, err = verb(capsys, *words, "--trust", file)
    said = err.splitlines()[-1]
    assert code == 2 and said.startswith("vqjax: error: ") and line in said


def test_pairs_are_restored_from_their_sources(restore, restored, tmp_path, capsys):
    trust = ("--trust", restore)
    opened = vqjax.load(restored, trust=[str(restore)])
    x = opened.held_out(5)
    np.testing.assert_array_equal(opened.reconstruct(x, strength=0.0), x)
    code, _, err = verb(capsys, "reconstruct", restored, *trust, "strength=0.0", "--out", tmp_path)
    assert code == 0, err
    sheet = read_sheet(tmp_path / "reconstruct_00000004_strength=0.0_run.png")
    assert sheet.rows == ("originals", "reconstructions")
    for original, copy in zip(*map(sheet.bands, sheet.rows), strict=True):
        np.testing.assert_array_equal(original, copy)
    sheet = read_sheet(restored / "samples" / "00000004.png")
    assert sheet.rows == ("sources", "targets", "restored") and sheet.lines == 6
    for name in ("inspect", "evaluate", "report", "compare"):
        code, out, err = verb(capsys, name, restored, *trust)
        assert code == 0, err
    page = (restored / "report.html").read_text()
    assert "a restorer trained on Blurred" in page and "<h2>Restored</h2>" in page
    assert "held-out sources, each row with its targets, restored" in page
    assert "Over training time" in page
    code, _, err = verb(capsys, "sample", restored, *trust)
    assert code == 2 and "it cannot sample (it can: reconstruct, evaluate)" in err


def test_numbers_do_not_depend_on_the_batch(restore):
    from vqjax.evaluation.losses import LossEvaluator
    from vqjax.training.mesh import make_mesh
    from vqjax.training.restore import initial_state

    found = []
    for size in (7, 99):
        words = (f"eval_batch_size={size}", *QUICK[:-1])
        experiment = config.load_file(str(restore), {}, words)
        mesh = make_mesh()
        state = initial_state(experiment, experiment.data.example_spec(), mesh)
        result = LossEvaluator(experiment, mesh, {})(state.params, state.collections)
        found.append(result.numbers["distance"])
    images = np.asarray(experiment.data.load("eval")["image"], np.float32) / 127.5 - 1
    made = experiment.task.restore(
        state.params, np.asarray(experiment.data.load("eval")["source"], np.float32) / 127.5 - 1
    )
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] == pytest.approx(float(np.mean((np.asarray(made) - images) ** 2)), rel=1e-5)


class Nobodys:
    """What `run_class` looks at: a class of its own, and its base's."""


class Own(Run):
    pass


def test_a_run_class_is_found_along_the_bases():
    task = type(tiny.vqvae().task)
    assert run_class(tiny.vqvae().task).kind == "tokenizer"
    below = type("Below", (task,), {})
    assert run_class(object.__new__(below)).kind == "tokenizer"
    assert run_class(object.__new__(type("Nearer", (below,), {"run_class": Own}))) is Own
    with pytest.raises(UsageError, match="Nobodys has no run class: give it a class attribute"):
        run_class(Nobodys())
    with pytest.raises(UsageError, match=r"Wrong.run_class='x': wanted a subclass of vqjax"):
        run_class(type("Wrong", (), {"run_class": "x"})())


def test_a_task_without_a_run_class_is_refused_before_anything_is_written(tmp_path, capsys, flow):
    code = flow[0].read_text().replace("run_class = (", "nothing = (")
    file = tmp_path / "lone.py"
    file.write_text(code)
    words = ("--workdir", str(tmp_path / "run"), *QUICK)
    code, _, err = verb(capsys, "train", file, *words)
    (line,) = err.splitlines()
    assert code == 2 and "FlowTask has no run class" in line
    experiment = config.load_file(str(file), {}, QUICK)
    with pytest.raises(UsageError, match="FlowTask has no run class"):
        vqjax.train(dataclasses.replace(experiment), tmp_path / "run")
    assert not (tmp_path / "run").exists()
