"""Pages of joint priors: what each stream gives of the others, of any media and any number."""

import base64
import re

import numpy as np
import pytest

from tests import tiny
from tests.reports.page_test import HOSTILE, SHOWN
from tests.reports.parts import page
from tests.reports.report_test import _check
from tests.reports.sound_test import AUDIO, write_samples
from vqjax.media.gallery import CAPTION, Gallery
from vqjax.media.stream_gallery import StreamGallery, Texts, row_name
from vqjax.reports import players
from vqjax.reports.history import read_record
from vqjax.training.record import ExperimentRecord, write_record
from vqjax.types import ArraySpec

COUNT = 6
WORDS = [f"word {i} & <b>" for i in range(COUNT - 1)] + [HOSTILE]


def stream(kind, name, names):
    """A stream's gallery: its own examples, and those for each other stream."""
    rows = [row_name(name, condition) for condition in (name, *(n for n in names if n != name))]
    if kind == "text":
        return Texts(dict.fromkeys(rows, WORDS))
    if kind == "image":
        return Gallery(dict.fromkeys(rows, np.zeros((COUNT, 4, 4, 1), np.uint8)), "image")
    sounds = [np.sin(np.arange(100 * (n + 3)) / 4)[:, None] / 2 for n in range(COUNT)]
    return Gallery(dict.fromkeys(rows, sounds), "audio", 8_000)


def shown(kinds):
    names = [f"{kind}_{i}" for i, kind in enumerate(kinds)]
    return StreamGallery(
        {name: stream(k, name, names) for k, name in zip(kinds, names, strict=True)}, "<i>hot"
    )


@pytest.fixture
def run(tmp_path):
    """A run directory as training leaves it, without checkpoints, numbers and samples."""
    plan = tiny.joint()
    inputs = {**plan.data.example_spec(), "a.audio": ArraySpec((900, 1), "int16", "audio", 8e3)}
    path = tmp_path / "run"
    (path / "samples").mkdir(parents=True)
    write_record(path, ExperimentRecord(plan, inputs, "joint", ("vqjax", "train")))
    return path


@pytest.mark.parametrize(
    "kinds",
    [
        ("image", "text"),
        ("audio", "image", "text"),
        ("audio", "audio"),
        ("text", "text", "text"),
        ("image", "audio", "text", "image", "audio"),
    ],
    ids=" ".join,
)
def test_each_stream_is_a_table_of_what_it_gives(run, kinds):
    write_samples(run, 20, shown(kinds))
    text = page([read_record(run)])
    parsed = _check(text)
    assert "<h2>Given one stream, all the others</h2>" in text
    titles = re.findall(r"<figcaption>Given (\w+)", text)
    assert titles == [f"{kind}_{i}" for i, kind in enumerate(kinds)]
    assert text.count("drawn for it (&lt;i&gt;hot)") == len(kinds)
    tables = re.findall(r'<div class="wide examples">.*?</table>', text)
    assert len(tables) == 2 * len(kinds) and text.count("2 more") == len(kinds)
    for table, title in zip(tables[::2], titles, strict=True):
        heads = re.findall(r"<th>([^<]*)", table)
        assert heads == [title, *(n for n in titles if n != title)]
        assert [len(re.findall("<td", row)) for row in table.split("<tr>")[2:]] == [len(kinds)] * 4
    each = len(kinds) * COUNT
    assert text.count("<audio") == each * kinds.count("audio")
    assert text.count("data:image/png") == each * (len(kinds) - kinds.count("text"))
    assert text.count("word 1 &amp; &lt;b&gt;") == each // COUNT * kinds.count("text")
    assert ("Colour is level" in text) == ("audio" in kinds) and "cannot be played" not in text
    if "text" in kinds:
        assert "<script" not in text and "\x1b" not in text and "\u202e" not in text
        assert sum(SHOWN[:60] in part for part in parsed.text) == len(kinds) * kinds.count("text")
        assert max(map(len, parsed.text[: parsed.text.index("Training")])) <= CAPTION + 40


def test_a_player_says_what_it_plays(run):
    write_samples(run, 20, shown(("audio", "image")))
    text = page([read_record(run)])
    labels = re.findall(r'aria-label="([^"]*)"', text)
    assert labels[0] == "play audio_0 1" and labels[-1] == "play audio_0 6 given image_1"
    folder = run / "samples"
    sound = base64.b64decode(AUDIO.search(text)[3])
    assert sound == (folder / "00000020_0_0.flac").read_bytes()


def test_a_page_has_room_for_so_many_sounds(run, monkeypatch):
    write_samples(run, 20, shown(("audio", "text")))
    size = 4 * sum(p.stat().st_size for p in (run / "samples").glob("*.flac")) // 3
    monkeypatch.setattr(players, "SOUND_BYTES", size // 2)
    monkeypatch.setattr("vqjax.reports.stream_examples.SOUND_BYTES", size // 2)
    text = page([read_record(run)])
    _check(text)
    embedded = [match[2] for match in AUDIO.findall(text)]
    assert 0 < sum(map(len, embedded)) <= size // 2
    assert f"{12 - len(embedded)} of 12 sounds cannot be played here" in text
    assert str(run / "samples") in text and text.count("spectrogram of") == 12
    both = page([read_record(run)] * 3)
    assert both.count("spectrogram of") == 3 * 2 * 5  # 16 lines for three runs


def test_texts_that_nothing_was_a_condition_of_are_one_table(run):
    write_samples(run, 20, StreamGallery({"samples": Texts({"samples": WORDS})}))
    text = page([read_record(run)])
    parsed = _check(text)
    assert "<figcaption>Step 20 " in text and "drawn for it" not in text
    assert text.count("<th>samples") == 2 and text.count("word 1 &amp; &lt;b&gt;") == 1
    assert "Given samples" not in text and any(SHOWN[:60] in part for part in parsed.text)


def test_a_joint_run_that_has_only_begun_has_a_page(run):
    parsed = _check(page([read_record(run)]))
    assert any("the first come with the first evaluation" in part for part in parsed.text)
