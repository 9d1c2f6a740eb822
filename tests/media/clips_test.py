"""Sounds of a gallery as files."""

import io
import sys
import wave

import numpy as np
import pytest

from vqjax.media import clips, sound_file
from vqjax.media.audio import read_sound
from vqjax.media.gallery import Gallery

RATE = 8_000
SOUNDS = [np.sin(np.arange(n) / 5)[:, None] / 2 for n in (900, 400)]
ROWS = {"originals": SOUNDS, "reconstructions": [x / 2 for x in SOUNDS]}
GALLERY = Gallery(ROWS, "audio", RATE)


def test_each_sound_is_a_file_named_by_step_number_and_row():
    files = clips.clip_files(1_200, GALLERY)
    assert sorted(files) == [
        "00001200_0_originals.flac",
        "00001200_0_reconstructions.flac",
        "00001200_1_originals.flac",
        "00001200_1_reconstructions.flac",
    ]


def test_a_file_holds_the_sound(tmp_path):
    for name, content in clips.clip_files(7, GALLERY).items():
        (tmp_path / name).write_bytes(content)
    path = clips.clip_path(tmp_path, 7, 1, "reconstructions", tuple(ROWS))
    sound = read_sound(path)
    assert sound.rate == RATE and sound.notes == ()
    np.testing.assert_array_equal(sound.samples, np.rint(SOUNDS[1][:, 0] / 2 * 32_768))
    assert clips.clip_kind(path.read_bytes()) == "audio/flac"
    assert clips.clip_path(tmp_path, 7, 2, "originals", tuple(ROWS)) is None
    assert clips.clip_path(tmp_path, 8, 1, "originals", tuple(ROWS)) is None


@pytest.fixture
def no_soundfile(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    sound_file.library.cache_clear()
    yield
    sound_file.library.cache_clear()


def test_without_soundfile_they_are_wav(no_soundfile):
    files = clips.clip_files(7, GALLERY)
    assert len(files) == 4 and all(name.endswith(".wav") for name in files)
    with wave.open(io.BytesIO(files["00000007_0_originals.wav"])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE, 1, 900)
        samples = np.frombuffer(file.readframes(900), "<i2")
    np.testing.assert_array_equal(samples, np.rint(SOUNDS[0][:, 0] * 32_768))
    assert clips.clip_kind(files["00000007_0_originals.wav"]) == "audio/wav"


@pytest.mark.parametrize(
    "gallery",
    [
        Gallery(ROWS, "audio"),
        Gallery(ROWS, "audio", 250.0),
        Gallery(ROWS, rate=RATE),
        Gallery({"a": np.zeros((2, 8, 8, 1))}, "image"),
    ],
    ids=["no rate", "no browser plays it", "no medium", "pictures"],
)
def test_what_is_not_to_be_played_has_no_files(gallery):
    assert clips.clip_files(7, gallery) == {}


def test_names_of_rows_never_lead_elsewhere(tmp_path):
    rows = {"../../x": SOUNDS, "a b": SOUNDS, "": SOUNDS}
    files = clips.clip_files(7, Gallery(rows, "audio", RATE))
    assert sorted(files) == [f"00000007_{n}_{row}.flac" for n in (0, 1) for row in (0, 1, 2)]
    (tmp_path / "00000007_1_0.flac").write_bytes(b"fLaC")
    assert clips.clip_path(tmp_path, 7, 1, "../../x", tuple(rows)).name == "00000007_1_0.flac"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("00000006_0_originals.flac", True),
        ("123456789_12_1.wav", True),
        ("00000007_0_originals.flac", False),
        ("00000006.png", False),
        ("6_0_originals.flac", False),
        ("00000006_0_my voice.flac", False),
        ("sample_00000006_0_originals.flac", False),
        ("00000006_0_originals.mp3", False),
    ],
)
def test_clips_are_known_by_their_names_and_nothing_else_is(name, other):
    assert clips.is_clip_of_other_step(name, 7) is other
