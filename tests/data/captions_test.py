"""Texts as bytes, as ids, and back."""

import dataclasses
import sys

import numpy as np
import pytest

from vqjax import config
from vqjax.data import BPE, Arrays, Bytes, Captions, CaptionsByLabel
from vqjax.data.texts import to_bytes, to_text
from vqjax.types import DataError, UsageError

TEXTS = ["a red circle", "a blue circle left of a red square", "一个红色的圆", ""]
NAMES = ("a zero", "a one", "a two")


def source(texts=TEXTS, length=40):
    arrays = {
        "image": np.zeros((len(texts), 4, 4, 1), np.uint8),
        "caption": as_rows(texts, length),
    }
    return Arrays(arrays, arrays)


def as_rows(texts, length=40):
    return np.stack([to_bytes(text, length) for text in texts])


def test_bytes_and_back():
    rows = as_rows(TEXTS)
    assert rows.shape == (4, 40) and rows.dtype == np.uint8
    assert [to_text(row) for row in rows] == TEXTS
    assert to_text(to_bytes("红色", 5)) == "红"  # cut between characters


def test_any_text_comes_back_from_its_ids():
    vocabulary = BPE(300).fitted(TEXTS)
    assert 0 < len(vocabulary.merges) <= 300 - 257
    assert vocabulary == BPE(300).fitted(TEXTS)
    for text in (*TEXTS, "never seen: ünïcode 🙂, two  spaces\n"):
        (ids,) = vocabulary.encode([text])
        assert all(0 < i < 300 for i in ids)
        assert vocabulary.decode([*ids, 0, 0]) == text
    assert len(vocabulary.encode(["a red circle"])[0]) < len(BPE(257).encode(["a red circle"])[0])


def test_the_vocabulary_is_in_the_json():
    captions = Captions(CaptionsByLabel(source(), NAMES), BPE(300).fitted(TEXTS), 6)
    captions = dataclasses.replace(captions, source=CaptionsByLabel(None, NAMES))
    assert config.decode(config.from_json(config.to_json(config.encode(captions)))) == captions


def test_captions_are_ids_padded_with_zeros():
    captions = Captions(source(), BPE(300), 6).fitted()
    assert captions.example_spec()["caption"].shape == (6,)
    captions.check()
    (batch,) = captions.eval(4, np.arange(4))
    ids = batch["caption"]
    assert ids.shape == (4, 6) and ids.dtype == np.int32
    assert (ids[3] == 0).all() and (ids[1] > 0).all()  # empty; longer than six
    assert captions.vocabulary.decode(ids[0]) == TEXTS[0]
    np.testing.assert_array_equal(captions.encode([TEXTS[0]])[0], ids[0])
    assert captions.notes() == ["1 of the first 4 captions are cut to length=6 ids"]
    train = next(captions.train(4, 0, 0, np.arange(4)))
    np.testing.assert_array_equal(ids[train["example_id"]], train["caption"])


def test_an_earlier_starts_vocabulary_stays():
    first = Captions(source(), BPE(300), 6).fitted()
    later = Captions(source(["other words now"] * 4), BPE(300), 6)
    assert later.fitted(first).vocabulary == first.vocabulary
    assert later.fitted().vocabulary != first.vocabulary
    larger = dataclasses.replace(later, vocabulary=BPE(301)).fitted(first)
    assert larger.vocabulary.size == 301


def test_bytes_are_a_vocabulary_that_needs_no_fitting(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    captions = Captions(source(), Bytes(), 14)
    assert captions.fitted() is captions and captions.vocabulary.size == 257
    captions.check()
    (batch,) = captions.eval(4, np.arange(4))
    assert batch["caption"][0].tolist() == [1 + byte for byte in b"a red circle"] + [0, 0]
    assert captions.decode(batch["caption"]) == [TEXTS[0], TEXTS[1][:14], "一个红色\ufffd", ""]
    np.testing.assert_array_equal(captions.encode(TEXTS[:1]), batch["caption"][:1])
    assert captions.notes() == ["2 of the first 4 captions are cut to length=14 ids"]
    assert Bytes().encode(["\ud800\0é"]) == [[64, 1, 196, 170]]
    assert Bytes().decode([0, 256, 0, 98]) == "\ufffda"
    with pytest.raises(UsageError, match="Bytes: id 257: wanted 0 to 256"):
        captions.decode(np.array([[257]]))
    assert config.decode(config.from_json(config.to_json(config.encode(captions)))).vocabulary == (
        Bytes()
    )


def test_byte_pairs_become_texts_again():
    captions = Captions(source(), BPE(300), 40).fitted()
    (batch,) = captions.eval(4, np.arange(4))
    assert captions.decode(batch["caption"]) == TEXTS
    (ids,) = captions.vocabulary.encode(["é"])
    assert captions.vocabulary.decode(ids[:-1]) == "\ufffd"


def test_a_vocabulary_of_another_kind_is_no_earlier_one():
    bytes_, pairs = (Captions(source(), v, 6) for v in (Bytes(), BPE(257)))
    assert bytes_.fitted(pairs).vocabulary == Bytes()
    assert pairs.fitted(bytes_).vocabulary == BPE(257)


def test_captions_by_label():
    labels = np.array([2, 0, 1], np.int64)
    arrays = {"image": np.zeros((3, 4, 4, 1), np.uint8), "label": labels}
    named = CaptionsByLabel(Arrays(arrays, arrays), NAMES)
    (batch,) = named.eval(3, np.arange(3))
    assert [to_text(row) for row in batch["caption"]] == ["a two", "a zero", "a one"]
    assert named.example_spec()["caption"].shape == batch["caption"].shape[1:]
    short = dataclasses.replace(named, captions=NAMES[:2])
    for act in (short.check, lambda: next(short.eval(3, np.arange(3)))):
        with pytest.raises(DataError, match="example 0: label 2: CaptionsByLabel has 2 captions"):
            act()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: BPE(200), "size=200"),
        (lambda: Captions(source(), BPE(300), 0), "length=0"),
        (lambda: BPE(300).fitted(["", ""]), "all are empty"),
        (lambda: next(Captions(source(), BPE(300), 6).eval(4, np.arange(4))), "not been fitted"),
        (lambda: Captions(source(), BPE(257), 6).encode(["a red circle"]), "12 tokens|13 tokens"),
        (lambda: BPE(300, ("xx yy",)).encode(["a"]), "do not fit together"),
        (
            lambda: Captions(Arrays({"image": np.zeros((1, 1))}, {"image": np.zeros((1, 1))}),
                             BPE(300), 6).check(),
            "has no texts",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(act, words):
    with pytest.raises((UsageError, DataError), match=words):
        act()
