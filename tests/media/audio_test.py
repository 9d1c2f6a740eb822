"""Sound files: exact where they can be, named where they are bad; and sound at another rate."""

import io
import os
import resource
import threading
import time

import numpy as np
import pytest

from tests.media.hostile_sounds import FEW, RATE, encoded, hostile_sounds, tone, wav
from vqjax.files import is_ours
from vqjax.media import sound_file
from vqjax.media.audio import (
    FORMATS,
    OTHER_SUFFIXES,
    BadSound,
    Header,
    read_header,
    read_sound,
    resample,
    sound_bytes,
    suffixes_of,
    to_float,
    to_int16,
    write_sound,
)
from vqjax.media.resampling import resample_part, resampled_length, source_span
from vqjax.types import UsageError

EVERY = np.arange(-32_768, 32_768).astype(np.int16)
WRITTEN = ("wav", "flac", "ogg", "opus", "mp3")


def saved(path, data):
    path.write_bytes(data)
    return path


def test_every_number_goes_there_and_back():
    x = to_float(EVERY)
    assert x.dtype == np.float32 and x.min() == -1 and x.max() == 32_767 / 32_768
    np.testing.assert_array_equal(to_int16(x), EVERY)
    np.testing.assert_array_equal(to_int16(x.astype(np.float64)), EVERY)
    loud = to_int16(np.array([1.0, -1.0, 7.0, -7.0, 1.5 / 32_768, 0.4 / 32_768]))
    assert loud.tolist() == [32_767, -32_768, 32_767, -32_768, 2, 0]


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_exact_formats_keep_every_number(tmp_path, kind):
    path = write_sound(tmp_path / f"a.{kind}", EVERY, RATE)
    assert read_header(path) == Header(RATE, 1, len(EVERY), kind)
    sound = read_sound(path)
    assert sound.rate == RATE and sound.notes == () and sound.samples.dtype == np.int16
    np.testing.assert_array_equal(sound.samples, EVERY)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
     ("FLAC", "PCM_24"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("RF64", "PCM_16")],
)  # fmt: skip
def test_deeper_files_hold_every_number(tmp_path, container, subtype):
    path = saved(tmp_path / "a", encoded(to_float(EVERY), container, subtype))
    np.testing.assert_array_equal(read_sound(path).samples, EVERY)


def test_samples_are_scaled_and_rounded(tmp_path):
    """Not cut off, as libsndfile does with 24 bits, nor left as they are, as with floats."""
    deep = np.array([-1, 255, 127, 128, 129, 384, -129, 2**23 - 1, -(2**23)], np.int32) * 256
    samples = read_sound(saved(tmp_path / "a", encoded(deep, "WAV", "PCM_24"))).samples
    assert samples.tolist() == [0, 1, 0, 0, 1, 2, -1, 32_767, -32_768]
    x = np.array([0.5, -0.25, 0.999, 1.0, -1.0])
    samples = read_sound(saved(tmp_path / "a", encoded(x, "WAV", "FLOAT"))).samples
    assert samples.tolist() == [16_384, -8_192, 32_735, 32_767, -32_768]
    bytes_ = wav(bytes([0, 127, 128, 129, 255]), bits=8)
    samples = read_sound(saved(tmp_path / "a", bytes_)).samples
    assert samples.tolist() == [-32_768, -256, 0, 256, 32_512]


def test_channels_become_their_mean(tmp_path):
    x = np.random.default_rng(0).integers(-32_768, 32_768, (5_000, 3)).astype(np.int16)
    path = saved(tmp_path / "a.wav", encoded(x, "WAV"))
    expected = np.rint(x.astype(np.float64).mean(axis=1))
    np.testing.assert_array_equal(read_sound(path).samples, expected)
    assert read_header(path).channels == 3


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_format_there_and_back(tmp_path, kind):
    x = tone()
    path = write_sound(tmp_path / f"a.{kind}", x, RATE)
    sound = read_sound(path)
    assert (len(sound.samples), sound.rate, sound.notes) == (len(x), RATE, ())
    error = sound.samples - x.astype(np.float64)
    assert np.std(error) < 0.15 * np.std(x)
    assert is_ours(path) and is_ours(write_sound(path, x[:100], RATE))
    assert sound_bytes(x[:100], RATE, kind)[:30] == path.read_bytes()[:30] or kind in (
        "ogg",
        "opus",
    )


@pytest.mark.parametrize("kind", [*WRITTEN, "aiff"])
@pytest.mark.parametrize("rate", [None, 22_050])
def test_a_part_is_that_of_the_whole(tmp_path, kind, rate):
    data = encoded(tone(3.0), "AIFF") if kind == "aiff" else sound_bytes(tone(3.0), RATE, kind)
    path = saved(tmp_path / f"a.{kind}", data)
    whole = read_sound(path, rate).samples
    for start in (0, 1, 17_000, len(whole) - 100, len(whole), len(whole) + 5):
        for count in (0, 1, 4_096, None):
            part = read_sound(path, rate, start=start, count=count).samples
            expected = whole[start:] if count is None else whole[start : start + count]
            np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize(
    ("kind", "rate", "line"),
    [
        ("opus", 44_100, "opus has 8,000, .* 48,000 Hz, not 44,100: the nearest is 48,000"),
        ("opus", 11_025, "the nearest is 12,000"),
        ("mp3", 96_000, "the nearest is 48,000"),
        ("flac", 65_537, "flac cannot be written at 65,537 Hz"),
        ("ogg", 400_000, "ogg is written at 1,000 to 200,000 Hz"),
        ("wav", 1, "wav is written at 1,000 to 768,000 Hz, not at 1"),
        ("wave", RATE, "no sound is written as 'wave': did you mean 'wav'"),
    ],
)
def test_what_cannot_be_written(kind, rate, line):
    with pytest.raises(UsageError, match=line):
        sound_bytes(tone(), rate, kind)


def test_what_is_no_sound_or_has_no_format(tmp_path):
    for samples, line in ((tone()[:0], "0 samples"), (to_float(tone()), "got float32")):
        with pytest.raises(UsageError, match=line):
            sound_bytes(samples, RATE, "wav")
    with pytest.raises(UsageError, match=r"the suffix says the format: did you mean '.flac'"):
        write_sound(tmp_path / "a.flak", tone(), RATE)
    (tmp_path / "a.wav").write_bytes(encoded(tone(), "WAV"))
    with pytest.raises(UsageError, match="carries no mark of vqjax"):
        write_sound(tmp_path / "a.wav", tone(), RATE)
    write_sound(tmp_path / "a.wav", tone(), RATE, overwrite=True)
    with pytest.raises(UsageError, match="1,000 to 768,000 Hz, got 8"):
        read_sound(tmp_path / "a.wav", 8)


def test_suffixes_belong_to_one_format():
    suffixes = [*suffixes_of(FORMATS), *OTHER_SUFFIXES]
    assert len(set(suffixes)) == len(suffixes) and all(s[0] == "." for s in suffixes)
    assert {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif"} <= set(suffixes_of(FORMATS))
    assert {".m4a", ".aac", ".wma", ".mp4"} <= set(OTHER_SUFFIXES)


def test_only_formats_that_are_asked_for(tmp_path):
    path = saved(tmp_path / "a.ogg", encoded(tone(), "OGG", "OPUS"))
    assert read_header(path).format == "opus" and read_sound(path).notes == ()
    with pytest.raises(BadSound, match="opus, which is not among the formats"):
        read_sound(path, formats=("ogg", "wav"))


def test_limits(tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(2.0), RATE)
    assert len(read_sound(path, max_seconds=2.0).samples) == 2 * RATE
    with pytest.raises(BadSound, match="2 s, more than max_seconds=1.5"):
        read_sound(path, max_seconds=1.5)
    read_sound(path, 8_000, max_samples=2 * RATE)
    with pytest.raises(BadSound, match="32,000 samples, more than max_samples=31999"):
        read_sound(path, 8_000, max_samples=2 * RATE - 1)
    with pytest.raises(BadSound, match="96,000 samples, more than max_samples=32000"):
        read_sound(path, 48_000, max_samples=2 * RATE)
    assert len(read_sound(path, 48_000, max_samples=2 * RATE, count=5).samples) == 5


def test_a_length_that_is_not_known_is_limited_in_decoding(tmp_path):
    path = tmp_path / "a.flac"
    hostile_sounds()["no_length.flac"].make(path)
    assert read_header(path).frames is None
    assert len(read_sound(path, max_samples=RATE).samples) == RATE
    for limit in ({"max_seconds": 0.9}, {"max_samples": RATE - 1}):
        with pytest.raises(BadSound, match="more than .* samples: see max_seconds and max_samples"):
            read_sound(path, **limit)
    with pytest.raises(BadSound, match="more than"):
        read_sound(path, 48_000, max_samples=2 * RATE)


def outcome(path):
    """(whether a file is used, its notes or the reason why not)."""
    try:
        sound = read_sound(path, 8_000)
    except BadSound as error:
        return False, str(error)
    assert sound.samples.dtype == np.int16 and len(sound.samples) and sound.rate == 8_000
    return True, "; ".join(sound.notes)


def check_hostile(root, names):
    for name, hostile in hostile_sounds().items():
        if name in names:
            hostile.make(root / name)
            is_used, words = outcome(os.fsencode(root / name))
            assert is_used == hostile.is_used and hostile.words in words, (name, words)
            assert words.isprintable() and (hostile.words or not is_used or not words), name


def test_some_hostile_files(tmp_path, capfd):
    check_hostile(tmp_path, FEW)
    assert capfd.readouterr().err == ""


@pytest.mark.slow  # the same for all of them
def test_all_hostile_files(tmp_path, capfd):
    names = hostile_sounds()
    assert len(names) >= 40 and set(FEW) < set(names)
    check_hostile(tmp_path, names)
    assert capfd.readouterr().err == ""


def test_bombs_take_neither_time_nor_memory(tmp_path):
    """One second at 1 Hz would become 8,000 s; ten hours of silence are 60 kB of FLAC."""
    silence = np.zeros(60 * 48_000, np.int16)
    long = encoded(np.tile(silence, 15), "FLAC", rate=48_000)
    assert len(long) < 1 << 18
    path, files = tmp_path / "a.flac", hostile_sounds()
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    for name in ("one_hertz.wav", "gigahertz.wav", "ten_hours.flac", "data_lies.wav"):
        files[name].make(tmp_path / name)
        outcome(tmp_path / name)
    with pytest.raises(BadSound, match="900 s, more than max_seconds=600"):
        read_sound(saved(path, long))
    assert len(read_sound(path, max_seconds=1e9, start=48_000 * 899, count=9).samples) == 9
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 << 10 and time.monotonic() - started < 5  # kB, s


def test_what_others_write_to_stderr_goes_on(tmp_path, capfd):
    """While an MP3 is decoded, file descriptor 2 is that of its decoder."""
    path = tmp_path / "flipped.mp3"
    hostile_sounds()["flipped.mp3"].make(path)
    with sound_file.quiet() as remarks:
        os.write(2, b"[src/libmpg123/layer3.c:f():9] error: too large!\n")
        os.write(2, b"somebody else\nNote: Illegal Audio-MPEG-Header\n")
        assert remarks.said() == ["too large!", "Illegal Audio-MPEG-Header"]
        os.write(2, b"error: and again\n")
    assert capfd.readouterr().err == "somebody else\nerror: and again\n"
    threads = [threading.Thread(target=outcome, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"as before\n")
    assert capfd.readouterr().err == "as before\n"


def test_a_closed_stderr_is_no_failure(tmp_path):
    path = saved(tmp_path / "a.mp3", sound_bytes(tone(), RATE, "mp3"))
    stderr = os.dup(2)
    os.close(2)
    try:
        assert len(read_sound(path).samples) == RATE
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def test_without_soundfile(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    sound_file.library.cache_clear()
    try:
        for action in (read_header, read_sound):
            with pytest.raises(
                UsageError, match=r"soundfile, which cannot be .*pip install.*audio"
            ):
                action(tmp_path / "a.wav")
    finally:
        sound_file.library.cache_clear()


# Resampling.


def sine(rate, frequency, length):
    return np.sin(2 * np.pi * frequency * np.arange(length) / rate + 0.3)


def decibels(signal, other):
    """The ratio of their powers in the middle half, where no edge is near."""
    middle = slice(len(signal) // 4, 3 * len(signal) // 4)
    return 10 * np.log10(np.square(signal[middle]).sum() / np.square(other[middle]).sum())


@pytest.mark.parametrize(
    ("rates", "bars"),
    [
        ((44_100, 16_000), (138, 123)),
        ((48_000, 16_000), (138, 123)),
        ((16_000, 44_100), (135, 119)),
        ((8_000, 16_000), (138, 119)),
    ],
)
def test_what_can_be_heard_stays(rates, bars):
    """Measured at .5 and .9 of the lower Nyquist: 141 and 126 dB from 44.1 to 16 kHz, 139 and 122
    dB back.
    """
    for share, bar in zip((0.5, 0.9), bars, strict=True):
        frequency = share * min(rates) / 2
        y = resample(sine(rates[0], frequency, rates[0]), *rates)
        expected = sine(rates[1], frequency, len(y))
        assert decibels(expected, y - expected) > bar


@pytest.mark.parametrize("rates", [(44_100, 16_000), (48_000, 16_000), (44_100, 8_000)])
def test_what_cannot_be_heard_goes(rates):
    """Measured at 1.05 and 1.2 of the new Nyquist: -124 and -129 dB or less."""
    for share, bar in ((1.05, -121), (1.2, -125)):
        y = resample(sine(rates[0], share * rates[1] / 2, rates[0]), *rates)
        assert decibels(y, sine(rates[1], rates[1] / 5, len(y))) < bar


@pytest.mark.parametrize("rates", [(44_100, 16_000), (16_000, 44_100), (11_127, 16_000), (9, 4)])
def test_parts_of_any_place_are_those_of_the_whole(rates):
    x = np.random.default_rng(0).normal(size=30_000)
    whole = resample(x, *rates)
    assert len(whole) == resampled_length(len(x), *rates) == -(-len(x) * rates[1] // rates[0])
    for start, count in ((0, 9), (1, 1), (4_321, 2_000), (len(whole) - 3, 3)):
        first, last = source_span(start, start + count, len(x), *rates)
        part = resample_part(x[first:last], start, start + count, first, *rates)
        np.testing.assert_array_equal(part, whole[start : start + count])


def test_resampling_of_integers_is_rounded_and_clipped():
    square = np.where(np.arange(4_000) // 50 % 2, 32_767, -32_768).astype(np.int16)
    y = resample(square, 16_000, 24_000)
    assert y.dtype == np.int16 and y.max() == 32_767 and y.min() == -32_768
    np.testing.assert_array_equal(
        y, np.clip(np.rint(resample(square.astype(float), 16_000, 24_000)), -32_768, 32_767)
    )
    np.testing.assert_array_equal(resample(EVERY, 8_000, 8_000), EVERY)
    assert len(resample(EVERY[:0], 8_000, 16_000)) == 0


def test_ratios_that_would_need_too_large_a_filter():
    with pytest.raises(UsageError, match="from 96,001 to 16,000 Hz: .* 16,000 to 96,001, at most"):
        resample(EVERY, 96_001, 16_000)
    with pytest.raises(UsageError, match="a sample rate is a positive integer, got 0"):
        resample(EVERY, 0, 16_000)


def test_a_file_of_such_a_rate_is_bad(tmp_path):
    path = saved(tmp_path / "a.wav", wav(tone().tobytes(), rate=96_001))
    assert len(read_sound(path).samples) == RATE
    with pytest.raises(BadSound, match="cannot resample from 96,001 to 16,000 Hz"):
        read_sound(path, 16_000)


def test_bytes_are_a_file():
    import soundfile

    with soundfile.SoundFile(io.BytesIO(sound_bytes(tone(), RATE, "flac"))) as file:
        assert file.read(dtype="int16").tolist() == tone().tolist()
