"""Melodies made by a program: always the same, and no two alike."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from vqjax.data import Loudness, Tones
from vqjax.data.tones import MELODIES, NAMES, tone
from vqjax.types import UsageError


def whole(source, part, num):
    lengths = source.clip_lengths(part)[:num]
    batch = source.clips(part, np.arange(num), int(lengths.max()))
    clips = [clip[:n, 0] for clip, n in zip(batch["audio"], lengths, strict=True)]
    return clips, batch["label"]


def test_they_are_those_of_ever():
    """Also with numpy's functions for other processors, which differ in the last bit: all 2,200
    clips are the same where `exp` takes neither AVX2 nor AVX-512.
    """
    clips = np.concatenate([tone(part, i, 8_000) for part in ("train", "eval") for i in range(10)])
    assert hashlib.sha256(clips.tobytes()).hexdigest()[:16] == "285c7bef3f64e82a"


def test_an_example_depends_on_its_index_alone():
    few, many = Tones(100, 12, 5), Tones(8_000, 30, 5)
    np.testing.assert_array_equal(few.clip_lengths("train"), many.clip_lengths("train")[:12])
    for a, b in zip(whole(few, "train", 12)[0], whole(many, "train", 30)[0][:12], strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_two_are_alike():
    clips = [
        c.tobytes()[:1_000] for part in ("train", "eval") for c in whole(Tones(), part, 100)[0]
    ]
    assert len(set(clips)) == 200


def test_what_is_too_large_to_keep_is_made_at_each_visit(monkeypatch):
    kept = list(Tones(500, 20, 10).eval(8, np.arange(8)))
    monkeypatch.setattr("vqjax.data.tones._MOST_BYTES", 0)
    monkeypatch.setattr("vqjax.data.tones._all_tones", None)
    for a, b in zip(kept, Tones(500, 20, 10).eval(8, np.arange(8)), strict=True):
        np.testing.assert_array_equal(a["audio"], b["audio"])


def test_lengths_levels_and_classes():
    source = Tones()
    clips, labels = whole(source, "train", 500)
    lengths = np.array([len(clip) for clip in clips])
    assert lengths.min() >= 2_000 and lengths.max() <= 8_000 and np.ptp(lengths) > 5_000
    assert all(np.abs(clip.astype(int)).max() < 12_000 for clip in clips)
    rms = np.array([np.sqrt(np.mean(clip.astype(float) ** 2)) for clip in clips])
    low, high = np.percentile(rms, [2, 98])
    assert 8 < high / low < 40
    assert np.bincount(labels).tolist() == [50] * 10
    assert source.class_names("label") == NAMES and len(set(MELODIES.values())) == 10
    assert all(3 <= len(notes) <= 5 for notes in MELODIES.values())
    with pytest.raises(UsageError, match="no classes 'lable': did you mean 'label'"):
        source.class_names("lable")


def test_notes_are_heard_where_the_melody_has_them():
    """The strongest frequencies of the leap's three notes: the middle one is an octave up."""
    heard = 0
    for index in range(2, 102, 10):
        clip = tone("train", index, 8_000).astype(float)
        pitches = []
        for share in (0.1, 0.4, 0.7):  # early in each third, whatever the silence around
            part = clip[int((share + 0.05) * len(clip)) :][: len(clip) // 5] * np.hanning(
                len(clip) // 5
            )
            spectrum = np.abs(np.fft.rfft(part, 1 << 16)) ** 0.5
            grid = np.arange(80, 800)[:, None] * np.arange(1, 5) * (1 << 16) // 8_000
            pitches.append(80 + int(spectrum[grid].sum(axis=1).argmax()))
        low, high, again = pitches
        heard += abs(low / again - 1) < 0.03 and abs(high / low - 2) < 0.06
    assert heard >= 9


def test_another_rate_is_the_same_melody():
    slow, fast = tone("train", 4, 8_000).astype(float), tone("train", 4, 16_000).astype(float)
    assert abs(len(fast) - 2 * len(slow)) <= 1
    n = len(slow) // 2
    a, b = (np.abs(np.fft.rfft(x))[: n // 2] for x in (slow, fast))
    assert np.corrcoef(a, b)[0, 1] > 0.99


def test_levels_can_be_met():
    source = Tones(samples=8_000, loudness=Loudness(-20.0))
    (batch,) = source.eval(200, np.arange(200))
    power = (batch["audio"][..., 0] / 32768.0 * batch["gain"][:, None]) ** 2
    levels = 10 * np.log10(power.sum(1) / batch["length"])
    assert np.abs(levels + 20).max() <= 0.2501


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"train_clips": -1}, "train_clips is 0 or more, got -1"),
        ({"rate": 1}, "rate lies in 4000..96000, got 1"),
        ({"rate": 8_000.0}, "rate"),
    ],
)
def test_wrong_settings_are_one_line(settings, line):
    with pytest.raises(UsageError, match=line):
        Tones(**settings)


def test_they_need_no_tensorflow_and_no_scipy():
    code = """
import sys
for name in ("tensorflow", "tensorflow_datasets", "scipy.signal", "soundfile"):
    sys.modules[name] = None
import numpy as np
from vqjax.data import Tones
source = Tones(64, 20, 10)
source.check()
next(source.train(8, 0, 0, np.arange(8)))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
