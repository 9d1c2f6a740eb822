"""Levels, windows, and what file names say: what all sources of sound have in common."""

import dataclasses
import json

import numpy as np
import pytest

from tests.data.makers import recordings
from vqjax import config
from vqjax.data import CaptionsByLabel, Digits, Loudness, TFDSAudio, Tones
from vqjax.data.name_patterns import (
    check_class_patterns,
    check_pattern,
    classes_of,
    held_out,
    left_in,
)
from vqjax.data.sound import (
    RESERVED,
    FlatClips,
    SoundSource,
    SoundSplit,
    Window,
    gain_index,
    gain_of_index,
)
from vqjax.data.source import Visits, hash64
from vqjax.types import DataError, UsageError

NAMES = [f"{digit}_{who}_{n}.wav" for digit in (0, 1) for who in ("eve", "bob") for n in range(3)]


def level(samples, gain):
    """In dB of full scale."""
    return 10 * np.log10(np.mean((samples / 32768 * np.float64(gain)) ** 2))


def test_gains_by_hand():
    """A square wave of a tenth of full scale is at -20 dB (-20.0011, as int16)."""
    square = np.array([3277, -3277] * 50, np.int16)
    assert Loudness(-24.0).gain(square) == np.float32(10 ** (-4 / 20))
    assert Loudness(-20.2).gain(square) == 1.0  # the nearest step of half a dB
    assert Loudness(-20.3).gain(square) == np.float32(10 ** (-0.5 / 20))
    assert Loudness(0).gain(square) == np.float32(10.0)
    assert Loudness().gain(np.array([32767, -32768], np.int16)) == np.float32(10 ** (-24 / 20))


@pytest.mark.parametrize("samples", [np.zeros(9, np.int16), np.zeros(0, np.int16)])
def test_silence_stays_silent_at_a_gain_of_one(samples):
    assert Loudness().gain(samples) == 1.0


def test_levels_are_met_to_a_quarter_of_a_decibel():
    for db in (-40.0, -24.0, -7.3):
        for i, noise in enumerate(recordings(30)):
            samples = (noise // 2**i if i < 9 else noise).astype(np.int16)
            if samples.any():
                assert abs(level(samples, Loudness(db).gain(samples)) - db) <= 0.2501
    one = np.zeros(200_000, np.int16)
    one[7] = 1  # -143 dB: more than the grid has
    assert Loudness().gain(one) == gain_of_index(255) == np.float32(10 ** (87.5 / 20))


def test_gains_cost_eight_bits():
    indices = np.arange(256).reshape(16, 16)
    gains = gain_of_index(indices)
    assert gains.dtype == np.float32 and gains.shape == (16, 16)
    assert gains[0, 0] == np.float32(0.01) and gain_of_index(80) == 1.0
    np.testing.assert_array_equal(gain_index(gains), indices)
    assert gain_index(gains).dtype == np.uint8
    assert gain_index(1.02) == 80 and gain_index(1e-9) == 0 and gain_index(1e9) == 255


@pytest.mark.parametrize("db", [0.1, -40.5, float("nan"), float("-inf"), "loud"])
def test_levels_that_there_are_none_of(db):
    with pytest.raises(UsageError, match="db"):
        Loudness(db)


@dataclasses.dataclass(frozen=True)
class Noise(SoundSource):
    """A source as somebody may write it."""

    samples: int = 300
    crop: str = "random"
    loudness: Loudness | None = None

    def _open(self, part):
        clips = FlatClips.joined(recordings(12, seed=part == "eval"))
        return self._split(clips, 8_000, {"speaker": np.arange(12) % 2})

    def class_names(self, name):
        return ("a", "b")


def test_windows_are_drawn_by_seed_and_position():
    """Pinned: a change here would give every run other windows when it is resumed."""
    lengths = np.array([1000, 1000, 1000, 300, 299, 301, 0])
    positions = np.array([0, 1, 2**40, 3, 4, 5, 6])
    window = Window(300, "random")
    drawn = window.starts(lengths, 7, positions)
    assert drawn.tolist() == [*(hash64(4, 7, positions[:3]) % np.uint64(701)), 0, 0, drawn[5], 0]
    assert drawn[:3].tolist() == [291, 678, 332]
    assert window.starts(lengths, None, positions).tolist() == [0] * 7
    assert Window(300, "start").starts(lengths, 7, positions).tolist() == [0] * 7
    late = Window(300, "start", shift=9).starts(
        np.array([1, 5, 9_000]).repeat(500), 7, np.arange(1500)
    )
    assert [{*part.tolist()} for part in np.split(late, 3)] == [{0}, {*range(5)}, {*range(10)}]
    assert not Window(300, "start", shift=9).starts(lengths, None, positions).any()
    many = Window(300, "random").starts(np.full(9_000, 302), 0, np.arange(9_000))
    counts = np.bincount(many, minlength=3)
    assert len(counts) == 3 and ((counts - 3_000) ** 2 / 3_000).sum() < 13.8  # p = 0.001


def test_windows_are_parts_of_their_clips_with_zeros_behind():
    source, clips = Noise(), recordings(12)
    windows = Window(300, "random")
    for step, batch in zip(range(20), source.train(5, 3, 0, np.arange(5)), strict=False):
        visit = Visits(12, 5, np.arange(5), 3).at(step)
        starts = windows.starts(
            np.array([len(clips[i]) for i in visit.indices]), 3, visit.positions
        )
        for row, (index, start) in enumerate(zip(visit.indices, starts, strict=True)):
            part = clips[index][start : start + 300]
            assert batch["length"][row] == len(part)
            np.testing.assert_array_equal(batch["audio"][row, : len(part), 0], part)
            assert not batch["audio"][row, len(part) :].any()
            assert batch["speaker"][row] == index % 2 and batch["example_id"][row] == index


def test_the_level_is_that_of_the_whole_clip():
    (batch,) = Noise(samples=1, loudness=Loudness()).eval(12, np.arange(12))
    gains = [Loudness().gain(clip) for clip in recordings(12, seed=1)]
    np.testing.assert_array_equal(batch["gain"], gains)


def test_gains_that_are_known_cost_no_reading():
    class Unread:
        lengths = np.array([5, 5])

        def read(self, index, start, stop):
            assert (start, stop) != (0, 5)
            return np.ones(stop - start, np.int16)

    window, gains = Window(2, "start"), np.array([0.5, 2.0])
    split = SoundSplit(Unread(), window, 8_000, Loudness(), {}, gains)
    (batch,) = split.batches(Visits(2, 2, np.arange(2), None))
    assert batch["gain"].tolist() == [0.5, 2.0] and batch["gain"].dtype == np.float32


def test_whole_clips_must_fit():
    source = Noise()
    longest = int(source.clip_lengths("train").max())
    assert source.clips("train", [0], longest)["length"].tolist() == [longest]
    assert source.clips("train", [], 3)["audio"].shape == (0, 3, 1)
    with pytest.raises(ValueError, match=f"a clip of {longest} samples does not fit into 5"):
        source.clips("train", [1, 0], 5)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"samples": 0}, "samples is at least 1, got 0"),
        ({"crop": "middle"}, "crop is 'random' or 'start', got 'middle'"),
        ({"loudness": -24.0}, "loudness"),
    ],
)
def test_windows_that_there_are_none_of(settings, line):
    with pytest.raises(UsageError, match=line):
        Tones(**settings)


def test_sources_go_through_json():
    classes = {"speaker": r"^\d+_([a-z]+)_"}
    for source in (
        Tones(64, loudness=Loudness(-20.0)),
        TFDSAudio("spoken_digit", 64, hold_out=r"_[0-4]\.wav$", classes=classes),
    ):
        assert config.decode(json.loads(json.dumps(config.encode(source)))) == source


def test_wrappers_pass_whole_clips_on():
    sound = Tones(64, 20, 10)
    wrapped = CaptionsByLabel(sound, sound.class_names("label"))
    wrapped.check()
    batch = wrapped.clips("eval", [3], 8_000)
    assert bytes(batch["caption"][0]).rstrip(b"\0") == b"steps"
    np.testing.assert_array_equal(batch["audio"], sound.clips("eval", [3], 8_000)["audio"])
    np.testing.assert_array_equal(wrapped.clip_lengths("eval"), sound.clip_lengths("eval"))
    assert wrapped.sample_rate == 8_000 and wrapped.class_names("label")[3] == "steps"
    pictures = CaptionsByLabel(Digits(), tuple("0123456789"))
    for name in ("clips", "clip_lengths", "class_names", "sample_rate"):
        assert not hasattr(pictures, name)


def test_what_names_say_about_splits():
    train, evaluation = held_out("Source", NAMES, r"_0\.wav$", "eve")
    assert [NAMES[i] for i in evaluation] == ["0_bob_0.wav", "1_bob_0.wav"]
    assert {NAMES[i][2:5] for i in train} == {"bob"} and len(train) == 4
    np.testing.assert_array_equal(left_in("Source", NAMES, "eve"), ["bob" in n for n in NAMES])
    assert left_in("Source", NAMES, None).all()
    train, evaluation = held_out("Source", NAMES, "bob")
    assert sorted([*train, *evaluation]) == list(range(12)) and len(evaluation) == 6


@pytest.mark.parametrize(
    ("hold_out", "leave_out", "line"),
    [
        ("ann", None, "hold_out='ann' is found in none of 12 names, such as '0_eve_0.wav'"),
        ("wav", None, "hold_out='wav' is found in all of 12 names"),
        ("0", "ann", "leave_out='ann' is found in none of 12 names"),
        ("0", "", "leave_out='' is found in all of 12"),
        ("eve", "eve", "hold_out='eve' is found in none of 6 names that are not left out"),
        ("bob", "eve", "hold_out='bob' is found in all of 6 names that are not left out"),
    ],
)
def test_patterns_that_split_nothing(hold_out, leave_out, line):
    with pytest.raises(DataError, match=line) as error:
        held_out("Source", NAMES, hold_out, leave_out)
    assert str(error.value).startswith("Source: ") and "\n" not in str(error.value)


def test_no_names_at_all():
    with pytest.raises(DataError, match="found in none of 0 names"):
        held_out("Source", [], "a")


def test_what_names_say_about_classes():
    numbers, classes = classes_of("speaker", r"_([a-z]+)_", NAMES)
    assert classes == ("bob", "eve") and numbers.dtype == np.int32
    assert [classes[i] for i in numbers] == [name[2:5] for name in NAMES]
    with pytest.raises(DataError, match=r"finds no class in the name '0_eve_0.wav'"):
        classes_of("digit", r"(1)_", NAMES)
    with pytest.raises(DataError, match=r"finds no class in the name '1_eve_0.wav'"):
        classes_of("digit", r"(0)_|1_", NAMES)


@pytest.mark.parametrize("pattern", ["(", "a{4294967296}", "(?P<n>a", r"\1", "(?<=a+)b"])
def test_no_regular_expression(pattern):
    with pytest.raises(UsageError, match="^X: hold_out=.* is no regular expression: ") as error:
        check_pattern("X: hold_out", pattern)
    assert "\n" not in str(error.value)


def test_classes_need_a_group_and_a_name_of_their_own():
    check_class_patterns("X: classes", {"speaker": "(a)"}, RESERVED)
    with pytest.raises(UsageError, match=r"classes\['speaker'\]='a' has no group"):
        check_class_patterns("X: classes", {"speaker": "a"}, RESERVED)
    for name in RESERVED:
        with pytest.raises(UsageError, match=f"a class cannot be named '{name}'"):
            check_class_patterns("X: classes", {name: "(a)"}, RESERVED)
