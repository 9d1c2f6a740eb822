"""Captions: whole characters as bytes; and those of a folder, beside the pictures or in a table."""

import json
import os

import numpy as np
import pytest

from tests.data.makers import pictures, write_folder
from vqjax.data import Folder
from vqjax.data.texts import tensor_to_bytes, to_bytes, to_text
from vqjax.types import ArraySpec, DataError, UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """Six pictures: c0/000.png, c1/001.png, c0/002.png, ..."""
    write_folder(tmp_path / "pictures", pictures(6), classes=2)
    return tmp_path / "pictures"


@pytest.mark.parametrize("text", ["", "red", "é€😀x", "三个绿色三角形"])
def test_cut_at_whole_characters(text):
    for length in range(1, 26):
        data = to_bytes(text, length)
        assert data.shape == (length,) and data.dtype == np.uint8
        head = to_text(data)
        assert text.startswith(head)
        assert len(text.encode()) <= length or len(text[: len(head) + 1].encode()) > length
        np.testing.assert_array_equal(tensor_to_bytes(text, length).numpy(), data)


def test_what_is_no_text():
    assert to_text(to_bytes(b"a\xffb", 9)) == "a\ufffdb"
    assert to_text(to_bytes("a\0b", 9)) == "ab"


def shown(root, **settings):
    """{row of the picture: caption} and notes of a folder."""
    source = Folder(str(root), image_size=8, caption_bytes=12, eval_fraction=1.0, **settings)
    (batch,) = source.eval(6, np.arange(6))
    rows = [
        int(np.flatnonzero((pictures(6) == image).all((1, 2, 3)))[0]) for image in batch["image"]
    ]
    captions = [to_text(caption) for caption in batch["caption"]]
    return dict(zip(rows, captions, strict=True)), source.notes()


def write_csv(root, rows, header="file,caption"):
    (root / "captions.csv").write_text("\n".join([header, *rows]), encoding="utf-8")


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_texts_beside_pictures_come_first(root, cache_bytes):
    write_csv(root, ["c0/000.png,table", "c1/001.png,from table"])
    (root / "c0" / "000.txt").write_text("\ufeff a  red\ncross \n", encoding="utf-8")
    (root / "c0" / "002.txt").write_text("绿色三角形", encoding="utf-8")
    (root / "c0" / "bad.png").write_bytes(b"")
    captions, notes = shown(root, cache_bytes=cache_bytes)
    assert captions == {0: "a red cross", 1: "from table", 2: "绿色三角", 3: "", 4: "", 5: ""}
    assert notes[1:] == [
        "1 pictures that a table names have a text beside them, which counts",
        "3 of 6 pictures have no caption",
        "1 captions are longer than caption_bytes=12 and were cut",
    ]


@pytest.mark.parametrize("keys", [("file", "caption"), ("file_name", "text"), ("image", "caption")])
@pytest.mark.parametrize("table", ["csv", "jsonl"])
def test_tables(root, keys, table):
    rows = [("./c0/000.png", 'a "b", c'), ("c1/001.png", "1"), ("c0/002.png", "2"), ("x.png", "3")]
    rows += [("c1/003.png", "3"), ("c0/004.png", "4"), ("c1/005.png", "5"), ("c1/005.png", "later")]
    if table == "csv":
        quoted = [f'{name},7,"{text.replace(chr(34), chr(34) * 2)}"' for name, text in rows]
        write_csv(root, quoted, f"{keys[0]},other,{keys[1]}")
    else:
        lines = [json.dumps({keys[0]: name, keys[1]: text}) for name, text in rows]
        (root / "captions.jsonl").write_text("\n".join(lines) + "\n\n")
    captions, notes = shown(root)
    assert captions == {0: 'a "b", c', 1: "1", 2: "2", 3: "3", 4: "4", 5: "5"}
    assert notes == [
        f"{root / 'captions'}.{table} names 1 files that are no pictures: x.png",
        "1 of 6 pictures have several captions, 2 in all: training draws one of them at each "
        "visit, evaluation and `vqjax tokenize` take the first",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions.csv", b"", "line 1: needs file or .* or filename, and caption or text"),
        ("captions.csv", b"file,title\na,b\n", "line 1: needs .*the columns are file, title"),
        ("captions.csv", b"file,caption\na,b\na\n", "line 3: not 2 columns"),
        ("captions.csv", b"file,caption\na,b,c\n", "line 2: not 2 columns"),
        ("captions.csv", b'file,caption\na,"b\n', "line 2: unexpected end of data"),
        ("captions.csv", b"file,caption\n" + 9_000 * b"a,b\n" + b"\xff", "line 9002: not UTF-8"),
        ("captions.csv", "file,caption\na,grün\n".encode("cp1252"), "line 2: .*save it as UTF-8"),
        ("captions.jsonl", b'{"file": "a", "caption": "b"}\n{', "line 2: not JSON"),
        ("captions.jsonl", b'\n{"file": "a"}\n', "line 2: needs file"),
        ("captions.jsonl", b'["a", "b"]\n', "line 1: needs file"),
        ("captions.jsonl", b'{"file": "a", "caption": 3}\n', "line 1: needs .*both text"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(root, name, content, message):
    (root / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}, {message}") as raised:
        shown(root)
    assert "\n" not in str(raised.value)


def test_two_tables_and_a_text_that_is_none(root):
    (root / "c0" / "000.txt").write_bytes(b"gr\xfcn")
    os.mkfifo(root / "c0" / "002.txt")
    _, notes = shown(root)
    assert notes == [
        "1 caption files cannot be read, those of c0/002.png",
        "1 caption files are not UTF-8, those of c0/000.png: save them as UTF-8",
        "6 of 6 pictures have no caption",
    ]
    write_csv(root, [])
    (root / "captions.jsonl").write_text("")
    with pytest.raises(DataError, match="only one of them"):
        shown(root)


def written(name, text, coding="utf-8"):
    """The act of writing a file of a folder."""
    return lambda root: (root / name).write_bytes(text.encode(coding))


WAYS = {
    "semicolons": written("captions.csv", 'file;caption\nc0/000.png;"a; b"\n'),
    "quoted": written("captions.csv", '"file";"caption"\n"c0/000.png";"a; b"\n'),
    "tabs": written("captions.csv", "file\tcaption\nc0/000.png\ta; b\n"),
    "capitals": written("Captions.csv", " File ,Caption\nc0/000.png,a; b\n"),
    "filename": written("caption.csv", "filename,text\nc0/000.png,a; b\n"),
    "backslashes": written("captions.csv", "file,caption\nc0\\000.png,a; b\n"),
    "utf-16": written("captions.csv", "file,caption\nc0/000.png,a; b\n", "utf-16"),
    "metadata": written("metadata.csv", "file_name,size,text\nc0/000.png,3,a; b\n"),
    "below": written("c0/metadata.csv", "file_name,text\n000.png,a; b\n"),
    "lines": written("metadata.jsonl", '{"file_name": "c0/000.png", "text": "a; b"}\n{"x": 1}\n'),
    "a list": written("captions.jsonl", '{"File": "c0/000.png", "Caption": ["a; b", "a;  b"]}'),
    "name.png.txt": written("c0/000.png.txt", "a; b\n"),
    "name.caption": written("c0/000.caption", "a; b"),
    "text in utf-16": written("c0/000.txt", "a; b", "utf-16"),
}


@pytest.mark.parametrize("write", WAYS)
def test_ways_to_write_a_caption(root, write):
    WAYS[write](root)
    captions, notes = shown(root)
    assert captions == {0: "a; b", 1: "", 2: "", 3: "", 4: "", 5: ""}
    assert notes == ["5 of 6 pictures have no caption"]


def test_what_is_not_read_is_said(root):
    (root / "metadata.csv").write_text("file_name,size\nc0/000.png,3\n")
    for name in ("000.png.txt", "000.txt", "000.caption"):
        (root / "c0" / name).write_text(name)
    captions, notes = shown(root)
    assert captions[0] == "000.png.txt"
    assert notes[:2] == [
        f"{root}/metadata.csv names no files with their captions: it is not read",
        "1 pictures have several texts beside them, of which one counts: the first of "
        "name.png.txt, name.png.caption, name.txt, name.caption",
    ]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("metadata.csv", "file_name,text\na,gr\xfcn\n".encode("latin-1"), "line 2: not UTF-8"),
        ("metadata.jsonl", b'{\n "made": "2024"\n}\n', "line 1: not JSON"),
    ],
)
def test_metadata_of_another_kind_stop_nothing(root, name, content, why):
    (root / name).write_bytes(content)
    (root / "captions.csv").write_text("file,caption\nc0/000.png,a\n")
    captions, notes = shown(root)
    assert captions[0] == "a"
    assert notes[0].startswith(f"{root / name}, {why}") and notes[0].endswith(": it is not read")


def test_metadata_that_end_in_mid_line_are_damaged(root):
    (root / "metadata.jsonl").write_text('{"file_name": "c0/000.png", "text": "a"}\n{"fil')
    with pytest.raises(DataError, match="metadata.jsonl, line 2: not JSON"):
        shown(root)


def test_a_name_that_is_no_text_in_a_table(root):
    (root / "captions.jsonl").write_text('{"file": "\\ud800.png", "caption": "x"}\n')
    _, notes = shown(root)
    assert notes[0] == f"{root / 'captions.jsonl'} names 1 files that are no pictures: \\ud800.png"


def test_an_old_run_reads_the_first_caption_of_the_old_files(root):
    for act in WAYS.values():
        if act is not WAYS["text in utf-16"]:
            act(root)
    (root / "c0" / "002.txt").write_bytes("a".encode("utf-16"))
    for name in ("Captions.csv", "captions.jsonl"):
        (root / name).unlink()
    write_csv(root, ["c1/001.png,", "c1/001.png,later", "c1/003.png,one", "c1/003.png,two"])
    captions, notes = shown(root, reading=1)
    assert captions == {0: "", 1: "", 2: "", 3: "one", 4: "", 5: ""}
    assert notes == [
        "1 caption files are not UTF-8, those of c0/002.png: save them as UTF-8",
        "1 of 6 pictures have several captions, 2 in all: the first counts",
        "5 of 6 pictures have no caption",
    ]


@pytest.mark.parametrize("reading", [1, 2])
def test_a_column_that_always_counted_comes_before_a_newer_one(root, reading):
    write_csv(root, ["nothing.png,c0/000.png,a"], "filename,image,caption")
    assert shown(root, reading=reading)[0][0] == "a"


def test_captions_move_no_picture_to_the_other_side(root):
    plain = Folder(str(root), image_size=8, eval_fraction=0.5)
    (root / "c0" / "000.txt").write_text("a")
    captioned = Folder(str(root), image_size=8, eval_fraction=0.5, caption_bytes=4)
    assert captioned.example_spec()["caption"] == ArraySpec((4,), "uint8")
    assert "caption" not in plain.example_spec()
    images = [next(s.eval(6, np.arange(6)))["image"] for s in (plain, captioned)]
    np.testing.assert_array_equal(*images)
    with pytest.raises(UsageError, match="caption_bytes"):
        Folder(str(root), image_size=8, caption_bytes=-1)
