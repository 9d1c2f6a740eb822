"""Sound in blocks, in and out: the same samples as at once, whatever the file."""

import errno
import os
import resource

import numpy as np
import pytest

from tests.media.hostile_sounds import FEW, RATE, encoded, hostile_sounds, tone
from vqjax.files import is_ours
from vqjax.media import long_sound as module
from vqjax.media import sound_writing
from vqjax.media.audio import BadSound, read_sound, resample, sound_bytes
from vqjax.media.long_sound import long_sound
from vqjax.media.resampling import Resampler
from vqjax.media.sound_writing import check_written, format_of_suffix, sound_writer
from vqjax.types import DataError, UsageError

FILES = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"),
         ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]  # fmt: skip


@pytest.mark.parametrize("rates", [(16_000, 8_000), (8_000, 44_100), (44_100, 8_000), (7, 7)])
@pytest.mark.parametrize("size", [1, 97, 3_000])
def test_a_resampler_gives_what_resampling_at_once_does(rates, size):
    x = tone(0.3)[: 400 if size == 1 else 4_800]
    for signal in (x, x.astype(np.float32) / 32_768):
        resampler = Resampler(*rates)
        parts = [resampler.push(signal[i : i + size]) for i in range(0, len(signal), size)]
        whole = resample(signal.astype(np.float64), *rates)
        np.testing.assert_array_equal(np.concatenate([*parts, resampler.end()]), whole)


def test_a_resampler_keeps_no_more_than_it_needs():
    resampler, out = Resampler(44_100, 8_000), 0
    for _ in range(50):
        out += len(resampler.push(np.zeros(4_410)))
        assert len(resampler._waiting) < 4_410
    assert out > 39_000


@pytest.mark.parametrize(("container", "subtype"), FILES)
@pytest.mark.parametrize("rate", [None, 11_025])
def test_the_samples_are_those_of_reading_at_once(tmp_path, container, subtype, rate, monkeypatch):
    monkeypatch.setattr("vqjax.media.sound_samples.VALUES", 2_048)
    stereo = np.stack([tone(0.5), tone(0.5) // 3], -1)
    (tmp_path / "a").write_bytes(encoded(stereo, container, subtype))
    expected = read_sound(tmp_path / "a", rate)
    with long_sound(tmp_path / "a", rate) as sound:
        assert (sound.rate, sound.samples) == (expected.rate, len(expected.samples))
        assert (sound.file_rate, sound.file_samples) == (RATE, 8_000)
        for _ in range(2):
            blocks = list(sound.blocks(1_000))
            assert max(map(len, blocks)) == 1_000
            np.testing.assert_array_equal(np.concatenate(blocks), expected.samples)


@pytest.mark.parametrize("name", [name for name in hostile_sounds() if name not in FEW])
def test_bad_files_are_named_as_they_are_when_read_at_once(tmp_path, name):
    path = tmp_path / f"a{os.path.splitext(name)[1]}"
    hostile_sounds()[name].make(path)
    try:
        expected = read_sound(path)
    except BadSound as error:
        with pytest.raises(BadSound) as found, long_sound(path):
            pass
        assert str(found.value) == str(error)
        return
    with long_sound(path) as sound:
        assert sound.notes == expected.notes
        np.testing.assert_array_equal(np.concatenate(list(sound.blocks())), expected.samples)


def test_what_is_too_long_is_bad(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded(tone(1.0), "WAV"))
    path = tmp_path / "a.wav"
    with (
        pytest.raises(BadSound, match="1 s, more than max_seconds"),
        long_sound(path, max_seconds=0.5),
    ):
        pass
    with pytest.raises(BadSound, match="their ratio is"), long_sound(path, 767_999):
        pass


def test_long_sounds_take_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IN_MEMORY", 1 << 16)
    rate, minutes = 8_000, 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with sound_writer(tmp_path / "a.wav", rate) as write:
        for _ in range(minutes):
            write(np.ones(60 * rate, np.int16))
    with long_sound(tmp_path / "a.wav", 4_000) as sound:
        count = sum(len(block) for block in sound.blocks())
    assert count == minutes * 60 * 4_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # kB
    assert grown < 90_000  # the whole of it as floats: 77 MB and 38 MB


@pytest.mark.parametrize("kind", sound_writing.WRITTEN)
def test_a_file_in_blocks_is_the_file_at_once(tmp_path, kind):
    path, x = tmp_path / f"a.{kind}", tone(0.7)
    with sound_writer(path, RATE) as write:
        for start in range(0, len(x), 5_000):
            write(x[start : start + 5_000])
        assert not path.exists()
    assert is_ours(path)
    at_once = tmp_path / "b"
    at_once.write_bytes(sound_bytes(x, RATE, kind))
    pair = read_sound(path).samples, read_sound(at_once).samples
    assert len(pair[0]) == len(pair[1]) == len(x)
    if kind in ("wav", "flac"):
        np.testing.assert_array_equal(pair[0], x)
    errors = [np.std(samples - x.astype(float)) for samples in pair]  # Vorbis begins otherwise
    assert errors[0] < 1.1 * errors[1] + 1
    assert format_of_suffix(path) == kind


def test_a_file_that_fails_in_the_middle_is_not_there(tmp_path):
    with pytest.raises(KeyError), sound_writer(tmp_path / "a.flac", RATE) as write:
        write(tone(0.1))
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", sound_writing.WRITTEN)
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, capfd, kind):
    def full(self, data):
        self.error = self.error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return 0

    monkeypatch.setattr(sound_writing._Sink, "write", full)
    written = sound_writer(tmp_path / f"a.{kind}", RATE)
    with pytest.raises(DataError, match="cannot write .*: No space left"), written as write:
        for _ in range(20):
            write(tone(1.0))
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr().err == ""


def test_formats_and_rates_are_refused_before_anything_is_written(tmp_path):
    assert format_of_suffix("a.AIFF") is None and format_of_suffix("b.OGA") == "ogg"
    for format, rate, line in (
        ("aiff", 8_000, "no sound is written as 'aiff'"),
        ("opus", 11_025, "the nearest is 12,000"),
        ("flac", 700_000, "1,000 to 655,350 Hz"),
    ):
        with pytest.raises(UsageError, match=line):
            check_written(format, rate)
    written = sound_writer(tmp_path / "a.opus", 11_025)
    with pytest.raises(UsageError, match="the nearest is 12,000"), written:
        pass
    assert list(tmp_path.iterdir()) == []
