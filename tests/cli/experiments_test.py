"""Experiments by name: listed, described, run and copied, as they are typed."""

import pathlib
import re
import shutil
import sys

import pytest

from vqjax import shipped
from vqjax.cli.main import main
from vqjax.config.files import find_file, load_file
from vqjax.types import UsageError

FOLDER = pathlib.Path(__file__).parents[2] / "experiments"
NAMES = sorted(file.stem for file in FOLDER.glob("*.py"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty directory to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(capsys, *argv):
    """(exit code, stdout, stderr)."""
    code = main([*argv])
    return (code, *capsys.readouterr())


def test_all_are_listed_with_what_they_cost(capsys):
    code, out, _ = invoke(capsys, "experiments")
    lines = out.splitlines()
    assert code == 0 and [line.split()[0] for line in lines] == NAMES
    by_name = dict(zip(NAMES, lines, strict=True))
    assert "2.3 min  VQGAN on scikit-learn's scanned digits" in by_name["digits_vqgan"]
    assert "accelerators  GPT over" in by_name["imagenet_gpt"]


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is(name):
    text, arguments = shipped.described(FOLDER / f"{name}.py")
    assert text and "experiment" not in arguments
    assert re.fullmatch(r"accelerators|[\d.]+ min(, busy)?", shipped.cost(text)), name


def test_by_name_a_file_of_that_name_comes_first(here):
    assert find_file("digits_vqgan") == FOLDER / "digits_vqgan.py"
    assert find_file("digits_vqgan.py") == FOLDER / "digits_vqgan.py"
    (here / "digits_vqgan").mkdir()  # no file
    assert find_file("digits_vqgan") == FOLDER / "digits_vqgan.py"
    mine = pathlib.Path(shutil.copy(FOLDER / "mnist_ae.py", here / "digits_vqgan.py"))
    assert find_file("digits_vqgan.py") == pathlib.Path(mine.name)
    assert find_file("digits_vqgan") == pathlib.Path(mine.name)  # as after `copy digits_vqgan`
    assert load_file("mnist_vqgan", {"width": "8"}, ()).total_steps == 2400


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("mnist_vqave", "mnist_vqave does not exist: did you mean 'mnist_vqvae'?"),
        ("experiments/mnist_vqvae.py", "does not exist: did you mean 'mnist_vqvae'?"),
        ("mien.py", "mien.py does not exist: did you mean 'mine.py'?"),
        ("zzz", "zzz does not exist: (valid: mine.py)"),
        ("sub", "sub is a directory"),
    ],
)
def test_a_name_that_is_none(here, typed, line):
    (here / "mine.py").touch()
    (here / "sub").mkdir()
    with pytest.raises(UsageError) as refusal:
        find_file(typed)
    assert line in str(refusal.value)


def test_help_beside_a_file_is_about_the_file(here, capsys):
    for words in (["train", "folder_vqgan", "--help"], ["help", "train", "folder_vqgan"],
                  ["compile", "-h", "folder_vqgan", "batch_size=8"]):  # fmt: skip
        code, out, _ = invoke(capsys, *words)
        assert code == 0 and out.startswith("VQGAN on a folder of your own pictures")
        assert "--arg folder: str   needed" in out and "--arg flip: bool   default False" in out
    (here / "broken.py").write_text("def (")
    for words in (["train", "--help"], ["help", "train"], ["train", "broken.py", "--help"]):
        code, out, _ = invoke(capsys, *words)
        assert code == 0 and out.startswith("usage: vqjax train")
    assert invoke(capsys, "help")[1].startswith("usage: vqjax")
    assert invoke(capsys, "copy", "digits_vqgan", "--help")[1].startswith("usage: vqjax copy")
    long = f"task.losses={'x' * 300}"
    assert invoke(capsys, "train", long, "digits_vqgan", "--help")[1].startswith("VQGAN on scikit")
    assert invoke(capsys, "train", "x" * 300, "--help")[1].startswith("usage: vqjax train")


def test_a_copy_is_ones_own(here, capsys):
    code, out, _ = invoke(capsys, "copy", "digits_vqgan")
    assert code == 0 and out == "digits_vqgan.py: train it by `vqjax train digits_vqgan.py`\n"
    assert (here / "digits_vqgan.py").read_bytes() == (FOLDER / "digits_vqgan.py").read_bytes()
    for words, line in (
        (["digits_vqgan"], "is there and carries no mark"),
        (["digit_vqgan", "x.py"], "did you mean 'digits_vqgan'?"),
        (["digits_vqgan", "x.txt"], "x.txt is not a Python file"),
    ):
        code, out, err = invoke(capsys, "copy", *words)
        assert (code, out) == (2, "") and line in err
    (here / "digits_vqgan.py").write_text("mine")
    assert invoke(capsys, "copy", "digits_vqgan", "--overwrite")[0] == 0
    assert invoke(capsys, "copy", "mnist_ae.py", "deep/mine.py")[0] == 0
    assert (here / "deep" / "mine.py").exists()


def test_a_copy_finds_the_experiments_that_it_builds_on(here):
    assert main(["copy", "mnist_gpt", "mine.py"]) == 0
    before = list(sys.path)
    assert load_file("mine.py", {}, ()).task.tokenizer.experiment.total_steps == 2400
    assert sys.path == before
    (here / "mnist_vqvae.py").write_text("def experiment():\n    1 / 0\n")  # one's own comes first
    (here / "mine.py").write_text((here / "mine.py").read_text() + "\n")  # to be run anew
    with pytest.raises(UsageError, match=r"mine.py:\d+: ZeroDivisionError"):
        load_file("mine.py", {}, ())


def test_a_path_of_the_users_own_stays_where_it_was(here, monkeypatch):
    (here / "mine.py").write_text("def experiment():\n    1 / 0\n")
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    before = list(sys.path)
    with pytest.raises(UsageError):
        load_file("mine.py", {}, ())
    assert sys.path == before


def test_an_installation_without_experiments(monkeypatch, capsys):
    monkeypatch.setattr(shipped, "folder", lambda: None)
    code, out, err = invoke(capsys, "experiments")
    assert (code, out) == (3, "") and "has no experiments" in err
    with pytest.raises(UsageError, match="digits_vqgan does not exist$"):
        find_file("digits_vqgan")
