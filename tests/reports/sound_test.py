"""Pages of runs of sound: players in them, within their cap, and nothing said of pictures."""

import base64
import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pytest

from tests import tiny
from tests.reports.page_test import HOSTILE, SHOWN
from tests.reports.parts import comparison_page, page
from tests.reports.report_test import _check
from vqjax.cli.main import main
from vqjax.media.audio import read_sound
from vqjax.media.clips import clip_files
from vqjax.media.gallery import CAPTION, Gallery, png_file
from vqjax.reports import players
from vqjax.reports.compare import Comparison, compare_runs
from vqjax.reports.compare_page import strips_of
from vqjax.reports.compare_table import Row, columns_of, text_table
from vqjax.reports.history import read_record
from vqjax.reports.levels import by_count
from vqjax.training.record import ExperimentRecord, write_record

CODEBOOKS = 3
LENGTHS = (900, 400, 700, 1_200, 300, 800)
AUDIO = re.compile(r'<audio ([^>]*) src="data:(audio/\w+);base64,([^"]*)"></audio>')


def evaluation(step, better=0.0):
    line = {"kind": "eval", "step": step}
    for n in range(1, CODEBOOKS + 1):
        end = "" if n == CODEBOOKS else f"/first_{n}"
        line[f"si_sdr{end}"] = 3.0 * n - 5 + better + step / 400
        line[f"mel_distance{end}"] = 0.5 - 0.05 * n
        line[f"kbits_per_second{end}"] = 2.0 * n
    for n in range(CODEBOOKS):
        line[f"codebook_usage/tokens_{n}"] = 1 - 0.1 * n
        line[f"perplexity/tokens_{n}"] = 12.0 - n
        line[f"code_entropy/tokens_{n}"] = float(np.log2(12 - n))
    return line


def gallery(captions=(), rows=("originals", "reconstructions"), noise=0.1):
    rng = np.random.default_rng(0)
    originals = [np.sin(np.arange(n) / 4)[:, None] / 2 for n in LENGTHS]
    made = [x + noise * rng.standard_normal(x.shape) for x in originals]
    captions = captions or [f"label {i}" for i in range(len(LENGTHS))]
    return Gallery(dict(zip(rows, (originals, made), strict=True)), "audio", 8_000, 8, captions)


def write_samples(run, step, shown):
    """As training does."""
    for path in (run / "samples").glob("*.flac"):
        path.unlink()
    for name, content in clip_files(step, shown).items():
        (run / "samples" / name).write_bytes(content)
    (run / "samples" / f"{step:08d}.png").write_bytes(png_file(shown.sheet()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run directory as training leaves it, without the checkpoints and the numbers."""
    run = tmp_path_factory.mktemp("sound")
    (run / "samples").mkdir()
    plan = tiny.sound(total_steps=400)
    write_record(run, ExperimentRecord(plan, plan.data.example_spec(), "tones", ("vqjax", "train")))
    for step in (200, 400):
        write_samples(run, step, gallery(noise=20 / step))
    return run


@pytest.fixture
def make_records(made, tmp_path):
    """make_records(name, better=0.0) -> a copy of it, with numbers."""

    def make(name, better=0.0):
        run = shutil.copytree(made, tmp_path / name)
        lines = [{"kind": "time", "step": 0, "elapsed": 1.0}]
        for step in (200, 400):
            lines.append({"kind": "train", "step": step, "commitment": 1 / step, "total": 1 / step})
            lines.append({"kind": "time", "step": step, "elapsed": step / 4})
            lines.append(evaluation(step, better))
        (run / "metrics.jsonl").write_text("".join(json.dumps(n) + "\n" for n in lines))
        return run

    return make


@pytest.fixture
def run(make_records):
    return make_records("tones")


def sounds_of(text):
    """(attributes, media type, content) of each player."""
    return [(a, kind, base64.b64decode(data)) for a, kind, data in AUDIO.findall(text)]


def speaks_of_pictures(text):
    """Whether a page does, in its words and labels; not in what a run said itself."""
    words = re.sub(r'(?s)<(pre|style)>.*?</\1>|="data:[^"]*"|<head>.*?</head>', "", text)
    return re.search("picture|pixel|PSNR|image(?!/)", words, re.I)


def test_every_clip_can_be_played_beside_what_came_of_it(run, tmp_path):
    text = page([read_record(run)])
    parsed = _check(text)
    sounds = sounds_of(text)
    assert len(sounds) == 2 * len(LENGTHS) == text.count("<audio")
    for number, length in enumerate(LENGTHS):
        for row, (attributes, kind, content) in zip(
            ("original", "reconstruction"), sounds[2 * number :], strict=False
        ):
            label = f"clip {number + 1}, label {number}, {row}"
            assert f'aria-label="play {label}"' in attributes and kind == "audio/flac"
            assert re.search(r"\bcontrols\b", attributes) and "autoplay" not in attributes
            assert ("alt", f"spectrogram of {label}") in parsed.attributes
            (tmp_path / "a.flac").write_bytes(content)
            sound = read_sound(tmp_path / "a.flac")
            assert (len(sound.samples), sound.rate) == (length, 8_000)
            name = f"00000400_{number}_{row}s.flac"
            assert content == (run / "samples" / name).read_bytes()
    assert "can be played" not in text and "2 more" in parsed.text


def test_the_numbers_of_a_run_of_sound_are_ordered(run):
    text = page([read_record(run)])
    parsed = _check(text)
    facts = re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)", text)
    expected = [("SI-SDR", "5.00 "), ("Mel distance", "0.3500"), ("Bitrate", "6.00 ")]
    assert facts[:3] == expected
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    assert ["Codebooks<br>decoded", "Rate,<br>kbit/s", "SI-SDR,<br>dB", "Mel<br>dist."] in cells
    assert ["2", "4.00", "2.00", "0.4000"] in cells and ["3", "6.00", "5.00", "0.3500"] in cells
    assert ["Codebook", "In use,<br>%", "Perplex-<br>ity", "Entropy,<br>bits"] in cells
    assert ["tokens_2", "80.0", "10.0", "3.32"] in cells
    titles = re.findall(r'<figure class="chart"><figcaption>([^<]*)', text)
    assert titles[:4] == [
        "SI-SDR against bitrate",
        "Mel distance against bitrate",
        "SI-SDR over wall time",
        "Mel distance, on the eval split",
    ]
    assert "codes in use, the least of 3 codebooks " in parsed.text
    assert "first_1" not in re.sub("<pre>.*?</pre>", "", text)
    assert parsed.text.count("tokens_2") == 1
    words = " ".join(parsed.text)
    assert "a sound codec that learns to turn sound from Tones (8,000 Hz) into 3 tokens of" in words
    assert "3 tokens of 16 codes for every 20 samples and back" in words
    assert not speaks_of_pictures(text)


def test_a_page_has_room_for_so_many_sounds(run, make_records, monkeypatch):
    size = 4 * sum(p.stat().st_size for p in (run / "samples").glob("*.flac")) // 3
    for room in (size // 2, 100):
        monkeypatch.setattr(players, "SOUND_BYTES", room)
        text = page([read_record(run)])
        _check(text)
        embedded = [match[2] for match in AUDIO.findall(text)]
        assert sum(map(len, embedded)) <= room and len(embedded) % 2 == 0
        count = f"{len(embedded) // 2} of 6" if embedded else "None"
        assert f"{count} can be played here" in text and f"{run}/samples" in text
        assert (room > 100) == bool(embedded) and text.count("spectrogram of clip") == 12
    monkeypatch.setattr(players, "SOUND_BYTES", size)
    both = page([read_record(run), read_record(make_records("other"))])
    _check(both)
    assert sum(len(match[2]) for match in AUDIO.findall(both)) <= size
    assert both.count("spectrogram of clip") == 2 * players.CLIPS


def test_the_cap_of_a_page_is_what_it_says(run):
    """Noise, which FLAC does not make smaller, as long as galleries have it."""
    rng = np.random.default_rng(0)
    noise = [rng.uniform(-1, 1, (1 << 18, 1)) for _ in range(6)]
    write_samples(
        run, 400, Gallery({"originals": noise, "made": noise}, "audio", 24_000, 8, "abcdef")
    )
    text = page([read_record(run)])
    assert 0 < sum(len(match[2]) for match in AUDIO.findall(text)) <= 2 << 20
    assert "1 of 6 can be played here, as a page holds at most 2 MB of sound" in text


def test_what_a_stranger_named_is_text(run):
    names = (HOSTILE[:60], HOSTILE[1:61])
    write_samples(run, 400, gallery([HOSTILE[: CAPTION - 20]] * len(LENGTHS), names))
    text = page([read_record(run)])
    parsed = _check(text)
    assert "<script" not in text and "\x1b" not in text and len(sounds_of(text)) == 12
    assert {name for name, _ in parsed.attributes} <= {
        "alt", "aria-label", "charset", "class", "content", "controls", "cx", "cy", "height",
        "href", "http-equiv", "id", "lang", "name", "points", "preload", "r", "role", "src",
        "style", "text-anchor", "transform", "viewbox", "width", "x", "x1", "x2", "y", "y1", "y2",
    }  # fmt: skip
    labels = [value for name, value in parsed.attributes if name == "aria-label"]
    assert sum(SHOWN[:40] in label for label in labels) == 12


def test_what_is_no_sound_is_not_embedded(run, tmp_path):
    paths = [run / "samples" / f"00000400_{n}_originals.flac" for n in range(5)]
    (tmp_path / "secret").write_text("secret")
    for path in paths:
        path.unlink()
    paths[0].write_text("secret")
    paths[1].symlink_to(tmp_path / "secret")
    paths[2].mkdir()
    os.mkfifo(paths[3])
    text = page([read_record(run)])
    _check(text)
    assert len(sounds_of(text)) == 2 and "clip 1, label 0, original" in text
    assert base64.b64encode(b"secret").decode() not in text


def test_sounds_that_are_not_kept_are_said_not_to_be(run):
    write_samples(run, 600, gallery())
    for path in (run / "samples").glob("00000600_*"):
        path.unlink()
    text = page([read_record(run)])
    _check(text)
    assert "Step 600" in text and not sounds_of(text)
    assert "those of the newest evaluation alone are" in text


def test_a_run_of_sound_that_has_only_begun_has_a_page(run):
    record = dataclasses.replace(read_record(run), samples=[], evals=[], train=[], times=[])
    parsed = _check(page([record]))
    assert "No spectrograms yet: the first come with the first evaluation." in parsed.text


def test_runs_are_compared_by_quality_against_bitrate(run, make_records, capsys):
    other = make_records("other", better=2.0)
    compared = compare_runs([run, other])
    text = comparison_page(compared, strips_of(compared.rows, "auto", (), lambda line: None))
    parsed = _check(text)
    charts = re.findall(r'<figure class="chart">.*?</figure>', text)
    assert [chart.count("<circle") for chart in charts] == [2 * CODEBOOKS, CODEBOOKS]
    assert "tones = other " in charts[1] and "The same held-out sounds" in text
    assert " SI-SDR 7.00 dB · 6.00 kbit/s" in parsed.text and parsed.tags.count("img") == 3
    assert not speaks_of_pictures(text)
    head = text_table(compared.rows, columns_of(compared.rows)).splitlines()[:2]
    assert "first" not in " ".join(head) and re.findall(r"SI-SDR|Rate", head[0]) == [
        "Rate",
        "SI-SDR",
    ]
    assert "Tokens" not in head[1] and "position" not in head[1]
    assert main(["compare", str(run), str(other), "--json"]) == 0
    (first, second) = json.loads(capsys.readouterr().out)
    assert second["si_sdr"] - first["si_sdr"] == 2.0 and first["psnr"] is None


def test_one_codebook_is_one_point_beside_others(run):
    row = Row.of(read_record(run), "a")
    single = dataclasses.replace(
        row, name="b", numbers={"si_sdr": 1.0, "mel_distance": 0.4, "kbits_per_second": 3.0}
    )
    text = comparison_page(Comparison((row, single), (), True), [])
    charts = re.findall(r'<figure class="chart">.*?</figure>', text)
    assert [chart.count("<circle") for chart in charts] == [CODEBOOKS + 1] * 2
    alone = dataclasses.replace(row.record, evals=[{"kind": "eval", "step": 4, **single.numbers}])
    assert "against bitrate" not in page([alone])


@pytest.mark.parametrize(
    "numbers",
    [
        {"si_sdr": 1.0},
        {
            "si_sdr/first_": 1.0,
            "si_sdr/first_x": 1.0,
            "si_sdr/first_²": 1.0,
            "si_sdr/tokens_1": 1.0,
        },
        {"si_sdr/first_99999": 1.0, "si_sdr/first_1": None, "si_sdr/first_2": "x"},
        {f"si_sdr/first_{'9' * 9_999}": 1.0},
    ],
    ids=["none", "no numbers", "no values", "huge"],
)
def test_what_is_no_number_of_codebooks_is_none(numbers):
    assert by_count(numbers) == {}
