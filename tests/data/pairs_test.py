"""A folder with a table of pairs; what holds for every source: `sources_test`."""

import itertools
import os

import numpy as np
import pytest
from PIL import Image

from tests.data.sources_test import assert_same
from vqjax import config
from vqjax.data import (
    BPE,
    Bytes,
    Folder,
    ImageColumn,
    Loudness,
    PairsFolder,
    RandomFlip,
    SoundColumn,
    TextColumn,
)
from vqjax.media.audio import write_sound
from vqjax.types import ArraySpec, DataError, UsageError

BATCH = 8
ROWS = np.arange(BATCH)
IMAGE, SOUND, TEXT = ImageColumn(8), SoundColumn(8_000, 400), TextColumn(Bytes(), 24)
COLUMNS = {"image": IMAGE, "audio": SOUND, "text": TEXT}


def picture(path, value):
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 12, 3), value, np.uint8)).save(path)


def tone(path, value, samples=500, rate=8_000):
    """A clip that is constant."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sound(path, np.full(samples, value, np.int16), rate)


def table(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """12 rows: all have words, the even ones a picture, every third a sound."""
    lines = ["image,audio,text"]
    for i in range(12):
        if i % 2 == 0:
            picture(tmp_path / f"p{i}.png", 10 * i)
        if i % 3 == 0:
            tone(tmp_path / "sound" / f"{i}.wav", 100 * i + 1, 100 + i)
        lines.append(
            f"{f'p{i}.png' if i % 2 == 0 else ''},{f'sound/{i}.wav' if i % 3 == 0 else ''},row {i}"
        )
    table(tmp_path, *lines)
    return tmp_path


def source(folder, columns=COLUMNS, **settings):
    return PairsFolder(str(folder), columns, **settings)


def rows(pairs, part="train"):
    """All rows of a part by their words: {text: (picture's value, sound's value, length)}."""
    found = {}
    for batch in pairs.in_order(part, BATCH):
        texts = pairs.texts_of("text").decode(batch["text.caption"])
        for k in np.flatnonzero(batch["mask"]):
            image = int(batch["image.image"][k, 0, 0, 0]) if batch["image.present"][k] else None
            clip, length = batch["audio.audio"][k, :, 0], int(batch["audio.length"][k])
            sound = (int(clip[0]), length) if batch["audio.present"][k] else None
            found[texts[k]] = (image, sound)
    return found


def test_rows_have_what_the_table_says(folder):
    pairs = source(folder, eval_fraction=0.25)
    pairs.check()
    found = rows(pairs) | rows(pairs, "eval")
    assert found == {
        f"row {i}": (
            10 * i if i % 2 == 0 else None,
            (100 * i + 1, 100 + i) if i % 3 == 0 else None,
        )
        for i in range(12)
    }
    assert pairs.num_train() + pairs.num_eval() == 12
    spec = pairs.example_spec()
    assert spec["audio.audio"] == ArraySpec((400, 1), "int16", medium="audio", rate=8_000.0)
    assert spec["image.present"] == ArraySpec((), "bool") and "audio.gain" not in spec
    assert spec["text.caption"] == ArraySpec((24,), "int32")
    with_level = source(folder, {"audio": SoundColumn(8_000, 400, loudness=Loudness())})
    assert "audio.gain" in next(with_level.train(2, 0, 0, np.arange(2)))


def test_it_goes_through_json_and_the_order_of_columns_does_not_count(folder):
    pairs = source(folder)
    again = config.decode(config.from_json(config.to_json(config.encode(pairs))))
    assert again == pairs
    other = source(folder, dict(reversed(COLUMNS.items())))
    take = [list(itertools.islice(p.train(BATCH, 3, 0, ROWS), 4)) for p in (pairs, other)]
    for a, b in zip(*take, strict=True):
        assert a.keys() == b.keys()
        assert all((a[name] == b[name]).all() for name in a)


def test_json_lines_are_the_same(folder, tmp_path_factory):
    lines = (folder / "pairs.csv").read_text().splitlines()[1:]
    cells = [dict(zip(COLUMNS, line.split(","), strict=True)) for line in lines]
    first = list(itertools.islice(source(folder).train(BATCH, 0, 0, ROWS), 3))
    (folder / "pairs.csv").unlink()
    texts = [str({k: v for k, v in row.items() if v}).replace("'", '"') for row in cells]
    (folder / "pairs.jsonl").write_text("\n\n".join(texts))
    assert_same(first, list(itertools.islice(source(folder).train(BATCH, 0, 0, ROWS), 3)))


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_as_spreadsheets_write_them(folder, delimiter):
    """Other delimiters, a byte order mark, capitals, a column more, "\\" in paths."""
    text = (folder / "pairs.csv").read_text().replace("sound/", "sound\\")
    lines = text.replace(",", delimiter).splitlines()
    lines = [line + delimiter + '"a, b"' for line in lines]
    lines[0] = delimiter.join(["Image ", "AUDIO", "Text", "remarks"])
    (folder / "pairs.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    pairs = source(folder)
    found = rows(pairs) | rows(pairs, "eval")
    assert found["row 6"] == (60, (601, 106)) and len(found) == 12


def test_columns_that_are_not_asked_for_are_left_alone(folder):
    pairs = source(folder, {"image": IMAGE, "audio": SOUND}, eval_fraction=0.3)
    assert pairs.num_train() + pairs.num_eval() == 8
    assert "left out, with nothing in them: line 3, line 7, line 9, line 13" in pairs.notes()[-1:]


def test_files_that_cannot_be_read_are_absent_and_named(folder):
    (folder / "p4.png").write_bytes(b"no picture")
    (folder / "sound" / "6.wav").unlink()
    pairs = source(folder)
    pairs.check()
    found = rows(pairs) | rows(pairs, "eval")
    assert found["row 4"] == (None, None) and found["row 6"] == (60, None)
    notes = pairs.notes()
    assert "image: left out 1 of 6 files: line 6: p4.png (not a picture that can be read)" in notes
    assert "audio: left out 1 of 4 files: line 8: sound/6.wav (no such file)" in notes
    with pytest.raises(DataError, match=r"pairs.csv: bad files and on_bad='fail': line 6: p4.png"):
        source(folder, on_bad="fail").check()


def test_rates_are_resampled_and_said(folder):
    tone(folder / "sound" / "0.wav", 5_000, 2_000, 16_000)
    tone(folder / "sound" / "3.wav", 5_000, 1_000, 11_025)
    pairs = source(folder)
    found = rows(pairs) | rows(pairs, "eval")
    assert found["row 0"][1][1] == 400  # the window, of 1,000 samples
    line = "audio: resampled to 8,000 Hz: 2 of 4 files (11,025 to 16,000 Hz)"
    assert line in pairs.notes()


def test_a_row_stays_on_its_side_whatever_is_added(folder):
    before = rows(source(folder, eval_fraction=0.3), "eval")
    lines = (folder / "pairs.csv").read_text().splitlines()
    more = [f",,another {i}" for i in range(20)]
    table(folder, lines[0], *more, *reversed(lines[1:]))
    after = rows(source(folder, eval_fraction=0.3), "eval")
    assert set(before) == {text for text in after if text.startswith("row")}


def test_pictures_are_held_out_where_folder_holds_them_out(tmp_path):
    for i in range(40):
        picture(tmp_path / f"{i}.png", 5 * i)
    lines = ["image,text", *(f"{i}.png,{i}" for i in range(40))]
    table(tmp_path, *lines)
    pairs = source(tmp_path, {"image": IMAGE, "text": TEXT})
    alone = Folder(str(tmp_path), 8)
    values = [
        {int(v) for b in s.in_order("eval", BATCH) for v in b[name][b["mask"]][:, 0, 0, 0]}
        for s, name in ((pairs, "image.image"), (alone, "image"))
    ]
    assert values[0] == values[1] and 0 < len(values[0]) < 20


def test_rows_that_share_a_file_are_on_one_side(tmp_path):
    """Three captions of each picture; and sounds that join pictures in pairs."""
    for i in range(20):
        picture(tmp_path / f"{i}.png", 5 * i)
        tone(tmp_path / f"{i // 2}.wav", i // 2 + 1)
    lines = ["text,image,audio"]
    for i in range(20):
        lines += [f"{i} {k},{i}.png,{f'{i // 2}.wav' if k == 2 else ''}" for k in range(3)]
    table(tmp_path, *lines)
    pairs = source(tmp_path, eval_fraction=0.3)
    sides = [{int(text.split()[0]) // 2 for text in rows(pairs, p)} for p in ("train", "eval")]
    assert sides[0] | sides[1] == {*range(10)} and not sides[0] & sides[1]
    assert "60 rows share files, and are on one side with those" in pairs.notes()


def test_directories_are_splits(tmp_path):
    for name in ("train/0", "train/1", "train/2", "test/3", "test/4", "val/5"):
        picture(tmp_path / f"{name}.png", 10 * int(name[-1]))
    tone(tmp_path / "train" / "a.wav", 7)
    lines = ["image,audio,text", "train/0.png,train/a.wav,a", "train/1.png,,b", ",,words"]
    lines += ["test/3.png,,c", "test/4.png,train/a.wav,d", "train/2.png,test/none.wav,e"]
    table(tmp_path, *lines)
    pairs = source(tmp_path)
    assert set(rows(pairs)) == {"a", "b", "words"} and set(rows(pairs, "eval")) == {"c"}
    notes = "\n".join(pairs.notes())
    assert "taken as splits: test/, train/ (eval_fraction does not count)" in notes
    assert "left out, with files of several splits: 2 rows" in notes
    table(tmp_path, *lines[:-2], "val/5.png,,f")
    pairs = source(tmp_path)
    assert set(rows(pairs, "eval")) == {"f"} and "c" not in rows(pairs)
    assert "for neither training nor evaluation: 1 rows of test/" in pairs.notes()
    picture(tmp_path / "6.png", 60)
    table(tmp_path, *lines, "6.png,,g")
    pairs = source(tmp_path, eval_fraction=0.5)
    assert pairs.num_train() + pairs.num_eval() == 7
    assert "not taken as splits: test/, train/ (there are files beside them)" in pairs.notes()


def test_a_vocabulary_is_fitted_to_training_rows_and_kept(folder):
    pytest.importorskip("tokenizers")
    columns = {**COLUMNS, "text": TextColumn(BPE(280), 24)}
    pairs = source(folder, columns, eval_fraction=0.3)
    fitted = pairs.fitted()
    vocabulary = fitted.texts_of("text").vocabulary
    assert fitted.columns["image"].formats and fitted.columns["audio"].formats
    plain = source(folder, eval_fraction=0.3)
    assert rows(fitted) == rows(plain)
    assert vocabulary == BPE(280).fitted(rows(plain)) != BPE(280).fitted(rows(plain, "eval"))
    assert "_scan" in fitted.__dict__  # nothing is decoded twice
    lines = (folder / "pairs.csv").read_text().replace("row", "other").splitlines()
    table(folder, *lines)
    again = source(folder, columns, eval_fraction=0.3).fitted(fitted)
    assert again.texts_of("text").vocabulary == vocabulary
    assert set(rows(again)) | set(rows(again, "eval")) == {f"other {i}" for i in range(12)}
    assert fitted.fitted() == fitted


def test_words_that_are_too_long_are_cut_and_counted(folder):
    columns = {**COLUMNS, "text": TextColumn(Bytes(), 5)}
    line = "text: 2 of the first 12 captions are cut to length=5 ids"
    assert line in source(folder, columns).notes()


def test_files_are_decoded_again_where_memory_has_no_room(folder):
    small = {
        "image": ImageColumn(8, augment=(RandomFlip(),), cache_bytes=0),
        "audio": SoundColumn(8_000, 400, cache_bytes=0),
        "text": TEXT,
    }
    large = {**small, "image": ImageColumn(8, augment=(RandomFlip(),)), "audio": SOUND}
    take = [
        list(itertools.islice(source(folder, c).train(BATCH, 0, 0, ROWS), 3))
        for c in (small, large)
    ]
    assert_same(*take)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", "pairs.csv is empty$"),
        (b"\n\n", "pairs.csv is empty$"),
        (b",,\n,,a", "line 1: no names of columns$"),
        (b'image,"text\n,a', "line 1: no column 'image'"),
        (b"image,audio,text\n", "pairs.csv holds no examples$"),
        (b"image,audio,texts\n,,a", r"line 1: no column 'text': did you mean 'texts'\?"),
        (b"image,audio,text,Text\n,,a,b", "line 1: two columns 'text'$"),
        (b"image,audio,text\n,,\xff", "line 2: not UTF-8"),
        (b"image,audio,text\n,,a,b", "line 2: not 3 columns"),
        (b'image,audio,text\n,,"a', "line 2: unexpected end of data"),
        (b"image,audio,text\na\0b,,a", "line 2: image: 'a.x00b' is no file .a zero byte."),
        (b"image,audio,text\n,,a\n,,b", "'image' is empty in every row: leave it out of columns"),
        (b"image,audio,text\nx.png,,a", r"no file of 'image' can be read: line 2: x.png .no such"),
    ],
)
def test_a_table_that_is_not_as_it_should_be_is_one_line(tmp_path, text, line):
    (tmp_path / "pairs.csv").write_bytes(text)
    with pytest.raises(DataError, match=line) as error:
        source(tmp_path).check()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", r"pairs.jsonl, line 1: not JSON"),
        ("[1]", "line 1: not an object such as"),
        ('{"text": "a"}\n\n{"text": 3}', "line 3: 'text' is not text, nor null"),
        ('{"texts": "a"}', r"no line has 'text': did you mean 'texts'\?"),
        ("\n", "holds no examples"),
    ],
)
def test_json_lines_that_are_not_as_they_should_be(tmp_path, text, line):
    (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(DataError, match=line):
        source(tmp_path, {"text": TEXT}).check()


def test_a_folder_without_a_table_or_with_two(tmp_path):
    for path, line in (
        (tmp_path / "none", "none does not exist"),
        (tmp_path, "holds no pairs.csv and no pairs.jsonl"),
    ):
        with pytest.raises(DataError, match=line):
            source(path).check()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"is a file, not a folder with pairs.csv"):
        source(tmp_path / "file").check()
    for name in ("pairs.csv", "pairs.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match="holds pairs.csv and pairs.jsonl: only one"):
        source(tmp_path).check()
    (tmp_path / "pairs.jsonl").unlink()
    (tmp_path / "pairs.csv").unlink()
    os.mkfifo(tmp_path / "pairs.csv")
    with pytest.raises(DataError, match="is no plain file"):
        source(tmp_path).check()


def test_rows_with_nothing_and_sides_without_rows(folder):
    with (folder / "pairs.csv").open("a") as file:
        file.write("\n,,\n")
    assert "left out, with nothing in them: line 14" in source(folder).notes()
    with pytest.raises(DataError, match="nothing in a row and on_bad='fail': line 14"):
        source(folder, on_bad="fail").check()
    with pytest.raises(DataError, match="no row is for evaluation, at least one is needed"):
        source(folder, eval_fraction=0.0).check()
    with pytest.raises(DataError, match="no row is for training"):
        source(folder, eval_fraction=1.0).check()


def test_a_stream_that_training_lacks(tmp_path):
    picture(tmp_path / "train" / "a.png", 1)
    picture(tmp_path / "test" / "b.png", 1)
    tone(tmp_path / "test" / "b.wav", 1)
    table(tmp_path, "image,audio", "train/a.png,", "test/b.png,test/b.wav")
    with pytest.raises(DataError, match="no row for training has 'audio'"):
        source(tmp_path, {"image": IMAGE, "audio": SOUND}).check()


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: PairsFolder("x", {}), "columns is empty"),
        (lambda: PairsFolder("x", {"a b": TEXT}), "columns has 'a b': wanted an identifier"),
        (lambda: PairsFolder("x", {"text": Bytes()}), "columns"),
        (lambda: PairsFolder("x", COLUMNS, on_bad="no"), "on_bad is 'skip' or 'fail'"),
        (lambda: PairsFolder("x", COLUMNS, eval_fraction=2.0), r"eval_fraction lies in \[0, 1\]"),
        (lambda: ImageColumn(8, channels=2), "ImageColumn: channels is 1 or 3"),
        (lambda: ImageColumn(8, resize=4), "ImageColumn: resize must be at least image_size"),
        (lambda: ImageColumn(8, formats=("pg",)), "ImageColumn: formats has 'pg'"),
        (lambda: SoundColumn(8_000, 0), "SoundColumn: samples is at least 1"),
        (lambda: SoundColumn(3, 8), "SoundColumn: "),
        (lambda: SoundColumn(8_000, 8, "random", shift=2), "SoundColumn: shift"),
        (lambda: SoundColumn(8_000, 8, max_seconds=0.0), "max_seconds is more than 0"),
        (lambda: TextColumn(Bytes(), 0), "TextColumn: length=0"),
    ],
)
def test_settings_that_cannot_work(make, line):
    with pytest.raises(UsageError, match=line):
        make()
