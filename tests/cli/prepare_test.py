"""`vqjax prepare` as a user types it; nothing here reaches a network."""

import os
import subprocess
import sys

import pytest

from vqjax.cli.main import main
from vqjax.extras import pip_install


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "home"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # a network that is down, quickly


def failure(capsys, *argv) -> tuple[int, str]:
    """Exit code and the last line on stderr of a command that fails."""
    code = main(["prepare", *argv])
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("vqjax: error: ")
    return code, lines[-1]


@pytest.mark.parametrize(
    ("name", "source"), [("digits", "Digits()"), ("shapes", "Shapes()"), ("tones", "Tones()")]
)
def test_what_comes_with_vqjax_needs_no_preparation(tmp_path, capsys, name, source):
    assert main(["prepare", name]) == 0
    message = f"{name} come with vqjax: {source} needs no preparation\n"
    assert capsys.readouterr().out == message
    code, line = failure(capsys, name, "--data-dir", str(tmp_path / "mine"))  # not set aside
    assert code == 2 and f"{source} reads no files" in line
    assert not list(tmp_path.iterdir())


def test_what_is_prepared_needs_no_tensorflow(tmp_path):
    directory = tmp_path / "home" / "mnist" / "3.0.1"
    directory.mkdir(parents=True)
    (directory / "dataset_info.json").write_text("{}")
    code = """
import sys
from vqjax.cli.main import main
from vqjax.extras import pip_install
assert main(["prepare", "mnist"]) == 0
assert "tensorflow" not in sys.modules
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == f"mnist is prepared in {directory}\n"


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("mnits", 2, "did you mean 'mnist'?"),
        ("digit", 2, "did you mean 'digits'?"),
        ("digits:2.0.0", 2, "Digits() reads no files"),
        ("shapes/23px", 2, "Shapes() reads no files"),
        ("mnist:9.9.9", 2, "only: 3.0.1"),
        ("mnist/nothing", 2, "BuilderConfig nothing not found"),
        ("../../etc", 2, "is no data set's name"),
        ("imagenet2012", 3, "ILSVRC2012_img_train.tar"),  # the user must fetch it
    ],
)
def test_mistakes_are_one_line(capsys, name, code, words):
    got, line = failure(capsys, name)
    assert got == code and words in line


def test_without_a_network_it_gives_up_soon(capsys, monkeypatch):
    monkeypatch.setattr("vqjax.cli.prepare.RETRIES", 1)
    code, line = failure(capsys, "mnist")
    assert code == 3 and "there is no network" in line


def test_sound_needs_pydub_to_be_prepared(tmp_path, capsys, monkeypatch):
    """TFDS decodes sound by it, after the download."""
    from vqjax.data.tf_data import tensorflow_datasets

    tfds = tensorflow_datasets()
    (tmp_path / "a.wav").write_bytes(b"RIFF")

    class VqjaxTinySound(tfds.core.GeneratorBasedBuilder):
        """A data set that TFDS knows from here on, without a download."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"audio": tfds.features.Audio()})
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield 0, {"audio": tmp_path / "a.wav"}

    monkeypatch.setitem(sys.modules, "pydub", None)
    code, line = failure(capsys, "vqjax_tiny_sound")
    assert code == 2
    assert line.endswith(f"needs the package pydub, which is missing: {pip_install('audio')}")


def test_an_unwritable_place(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, line = failure(capsys, "mnist", "--data-dir", os.fspath(tmp_path / "file"))
    assert code == 3 and "file" in line
