"""`vqjax reconstruct` of sound, as a user types it."""

import dataclasses
import os
import re

import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.media.hostile_sounds import encoded
from vqjax.cli import sounds
from vqjax.cli.main import main
from vqjax.data.tones import tone
from vqjax.files import is_ours
from vqjax.media.audio import read_header, read_sound, resample, write_sound
from vqjax.media.sound_writing import WRITTEN

RATE = 8_000


@pytest.fixture(scope="module")
def path(make_run):
    return make_run(tiny.sound(), name="codec")


@pytest.fixture(scope="module")
def run(path):
    return vqjax.load(path)


@pytest.fixture
def cli(capsys):
    """cli("verb", ...) -> (exit code, stdout, stderr)."""

    def call(*words):
        code = main([*map(str, words)])
        return (code, *capsys.readouterr())

    return call


def melody(rate=RATE, index=0):
    return tone("eval", index, rate)


def results(out):
    """{name without its beginning, which ends with the run's: path} of all sounds there."""
    found = [p for p in out.rglob("*") if p.is_file() and p.suffix != ".png"]
    return {re.split(r"codec\d+_", p.name)[1]: p for p in found}


def test_help_names_the_formats_that_are_written():
    assert sounds.FORMATS == WRITTEN


def test_any_format_rate_and_number_of_channels(cli, path, run, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    stereo = np.stack([melody(22_050), melody(22_050) // 2], -1)
    for name, container, subtype in (
        ("a.wav", "WAV", "PCM_24"), ("a.flac", "FLAC", "PCM_16"), ("a.OGG", "OGG", "VORBIS"),
        ("a.mp3", "MP3", "MPEG_LAYER_III"), ("a.aif", "AIFF", "PCM_16"),
    ):  # fmt: skip
        (folder / name).write_bytes(encoded(stereo, container, subtype, 22_050))
    (folder / "deep" / "b.opus").write_bytes(encoded(melody(), "OGG", "OPUS", RATE))
    (folder / "notes.txt").write_text("no sound")
    code, text, err = cli("reconstruct", path, folder, "--out", out)
    assert code == 0 and err == "", err
    sheet = f"reconstruct_00000004_{path.name}.png"
    assert text == f"step 4: 6 sounds and {sheet} in {out}\n" and is_ours(out / sheet)
    found = {name: read_header(p) for name, p in results(out).items()}
    assert {name: header.format for name, header in found.items()} == {
        "a.wav": "wav", "a.flac": "flac", "a.OGG": "ogg", "a.mp3": "mp3", "a.aif.flac": "flac",
        "b.opus": "opus",
    }  # fmt: skip
    assert results(out)["b.opus"].parent.name == "deep"
    for name, result in results(out).items():
        source = name.removesuffix(".flac") if name == "a.aif.flac" else name
        (source,) = folder.rglob(source)
        original = read_sound(source, RATE)
        assert found[name][:2] == (RATE, 1) and is_ours(result)
        made, expected = read_sound(result).samples, run.reconstruct(original.samples)
        assert len(made) == len(expected) == len(original.samples)
        if found[name].format in ("wav", "flac"):
            np.testing.assert_array_equal(made, expected)


def test_first_codebooks_another_rate_and_format(cli, path, run, tmp_path):
    x = melody(11_025)
    write_sound(tmp_path / "a.mp3", x, 11_025)
    words = ("reconstruct", path, tmp_path / "a.mp3", "--out", tmp_path / "out")
    code, _, err = cli(*words, "--codebooks", 2, "--rate", 11_025, "--format", "wav")
    assert code == 0
    assert err == "--rate 11025: resampled from 8,000 Hz, so there is nothing above 4,000 Hz\n"
    name = f"reconstruct_00000004_codebooks=2_rate=11025_{path.name}_a.mp3.wav"
    made = read_sound(tmp_path / "out" / name)
    expected = run.reconstruct(read_sound(tmp_path / "a.mp3", RATE).samples, codebooks=2)
    assert made.rate == 11_025 and len(made.samples) == len(x)
    expected = resample(expected, RATE, 11_025)
    np.testing.assert_array_equal(made.samples, expected[: len(x)])
    assert not np.array_equal(made.samples, resample(expected, RATE, 11_025)[: len(x)])


def test_long_sound_goes_through_in_pieces(cli, path, run, tmp_path, monkeypatch):
    monkeypatch.setattr(sounds, "BLOCK", 700)
    monkeypatch.setattr(run.__class__, "encode", None)  # of the whole
    x = np.concatenate([melody(index=i) for i in range(6)])
    write_sound(tmp_path / "a.wav", x, RATE)
    assert cli("reconstruct", path, tmp_path / "a.wav", "--out", tmp_path / "o")[0] == 0
    monkeypatch.undo()
    (made,) = results(tmp_path / "o").values()
    np.testing.assert_array_equal(read_sound(made).samples, run.reconstruct(x))


@pytest.mark.slow
def test_networks_that_look_ahead_take_it_whole(cli, make_run, tmp_path):
    task = tiny.sound().task
    both = dataclasses.replace(task, tokenizer=tiny.sound_tokenizer(padding=None))
    path = make_run(tiny.sound(task=both), name="both_ways")
    write_sound(tmp_path / "a.wav", melody(), RATE)
    words = ("reconstruct", path, tmp_path / "a.wav", "--out", tmp_path / "o")
    assert cli(*words)[0] == 0
    name = f"reconstruct_00000004_{path.name}_a.wav"
    made = read_sound(tmp_path / "o" / name).samples
    np.testing.assert_array_equal(made, vqjax.load(path).reconstruct(melody()))
    code, _, err = cli(*words, "--max-seconds", 0.1, "--rate", 4_000)
    assert code == 3 and "a.wav: " in err and "more than max_seconds=0.1" in err
    assert "resampled" not in err  # a lower rate loses no band that it could have


def test_bad_files_are_named_and_the_others_go_on(cli, path, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write_sound(folder / "a.wav", melody(), RATE)
    (folder / "bad.wav").write_bytes(b"RIFF")
    (folder / "c.m4a").write_bytes(b"something else")
    cut = encoded(melody(), "WAV", "PCM_16", RATE)
    (folder / "d.wav").write_bytes(cut[: len(cut) // 2])
    code, text, err = cli("reconstruct", path, folder, "--out", out)
    assert code == 0 and "2 sounds" in text
    assert f"skipped {folder / 'bad.wav'}: " in err
    assert f"skipped {folder / 'c.m4a'}: not read here: wav, flac" in err
    assert f"note: {folder / 'd.wav'}: ends early" in err
    assert "2 of 4 sounds skipped" in err
    code, _, err = cli("reconstruct", path, folder / "bad.wav", "--out", out)
    assert code == 3 and "none of 1 sound can be reconstructed" in err


@pytest.mark.slow
def test_without_files_it_takes_whole_clips_of_the_eval_split(cli, path, run, tmp_path):
    code, text, err = cli("reconstruct", path, "--out", tmp_path)
    assert code == 0, err
    assert "10 sounds, their originals" in text
    clips = run.held_out_clips(16)
    assert len(clips) == 10 and len({len(clip) for clip in clips}) > 5
    for number, clip in enumerate(clips):
        result = results(tmp_path)[f"eval-{number:04d}.flac"]
        np.testing.assert_array_equal(read_sound(result).samples, run.reconstruct(clip))
        original = results(tmp_path)[f"eval-{number:04d}_original.flac"]
        np.testing.assert_array_equal(read_sound(original).samples, clip)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["p.png"], "p.png is a picture: RUN takes sound (wav, flac, ogg, opus, mp3, aiff)"),
        (["none"], "no sound in none: RUN takes wav, flac"),
        (["a.wav", "--max-pixels", "9"], "--max-pixels is for pictures: RUN takes sound"),
        (["a.wav", "--codebooks", "4"], "codebooks=4: wanted a whole number from 1 to 3"),
        (["a.wav", "--rate", "100"], "a sample rate is 1,000 to 768,000 Hz, got 100"),
        (["a.wav", "--rate", "11025", "--format", "opus"], "the nearest is 12,000"),
        (["a.wav", "rate=8000"], "--rate HZ is that of the results"),
        (["a.wav", "--max-seconds", "0"], "--max-seconds 0: wanted a number above 0"),
        (["a.wav", "seed=1"], "no 'seed' here"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(cli, path, tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    write_sound("a.wav", melody(), RATE)
    (tmp_path / "p.png").write_bytes(b"no matter")
    (tmp_path / "none").mkdir()
    before = sorted(os.listdir())
    code, out, err = cli("reconstruct", path, *words, "--out", "o")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert line.replace("RUN", str(path)) in err
    assert sorted(os.listdir()) == before


def test_a_run_of_pictures_says_that_it_takes_no_sound(cli, run_dir, trust, tmp_path):
    write_sound(tmp_path / "a.wav", melody(), RATE)
    words = ("--out", tmp_path / "o", "--trust", trust[0])
    code, _, err = cli("reconstruct", run_dir, tmp_path / "a.wav", *words)
    assert code == 2 and f"a.wav is sound: {run_dir} takes pictures (jpeg, png" in err
    code, _, err = cli("reconstruct", run_dir, *words, "--codebooks", 2)
    assert code == 2 and f"--codebooks is for sound: {run_dir} takes pictures" in err


def test_inspect_shows_rates_and_delay_and_nothing_of_pictures(cli, path):
    code, out, _ = cli("inspect", path)
    squeezed = " ".join(out.partition("parameters")[2].split())
    for words in (
        "head 112 total",
        "tokens of one example, 160 x 1 int16, 0.02 s",
        "tokens_0 9 of 16 codes",
        "per sample 0.6 bits",
        "compression 26.67 times, against int16 values",
        "sample rate 8,000 Hz hop 20 samples, 2.5 ms frames 400 per second",
        "bitrate 4.8 kbit/s first 1 1.6 kbit/s first 2 3.2 kbit/s",
        "look-ahead none: causal",
        "delay 40 samples, 5 ms at most",
    ):
        assert words in squeezed, words
    assert code == 0 and "pixel" not in out and "picture" not in out and "uint8" not in out
