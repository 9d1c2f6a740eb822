"""Pairs: partners of the same label, drawn anew in training and never in evaluation."""

import dataclasses
import itertools

import numpy as np
import pytest

from vqjax.data import Arrays, Bytes, Captions, LabelledTexts, Loudness, Paired, Tones
from vqjax.types import DataError, UsageError

ALL = np.arange(8)


def numbered(labels, first=0):
    """Examples whose "image" says which one they are."""
    labels = np.asarray(labels, np.int32)
    number = np.broadcast_to(
        (first + np.arange(len(labels)))[:, None, None, None], (len(labels), 2, 2, 1)
    )
    return {"image": number.astype(np.float32) / 500 - 1, "label": labels}


def source(train, held_out):
    return Arrays(numbered(train), numbered(held_out, 500))


def pairs(**settings):
    main = source([0, 1, 2, 1, 0, 1], [0, 1, 2])
    other = source([0, 0, 0, 1, 1, 3], [1, 1, 0, 0])
    return Paired({"a": main, "b": other}, **settings)


def numbers(batch, stream):
    return np.rint((batch[f"{stream}.image"][:, 0, 0, 0] + 1) * 500).astype(int)


def batches(data, count, seed=0, start=0, rows=ALL):
    return list(itertools.islice(data.train(8, seed, start, rows), count))


def test_partners_have_the_same_label_and_are_drawn_evenly():
    drawn = batches(pairs(), 600)
    labels = np.concatenate([batch["label"] for batch in drawn])
    own = np.concatenate([numbers(batch, "a") for batch in drawn])
    partner = np.concatenate([numbers(batch, "b") for batch in drawn])
    there = np.concatenate([batch["b.present"] for batch in drawn])
    np.testing.assert_array_equal(labels, np.array([0, 1, 2, 1, 0, 1])[own])
    np.testing.assert_array_equal(there, labels != 2)
    other = np.array([0, 0, 0, 1, 1, 3])
    np.testing.assert_array_equal(other[partner[there]], labels[there])
    assert all(batch["a.present"].all() for batch in drawn)
    for label, members in ((0, 3), (1, 2)):
        counts = np.bincount(partner[labels == label], minlength=6)
        counts, expected = counts[counts > 0], (labels == label).sum() / members
        assert len(counts) == members
        assert np.sum((counts - expected) ** 2 / expected) < 20
    first_epoch = [numbers(batch, "a") for batch in batches(source_alone(), 3)]
    np.testing.assert_array_equal(np.concatenate(first_epoch), own[:24])
    assert any((drawn[0][k] != drawn[3][k]).any() for k in ("b.image",))


def source_alone():
    """The main source, under its stream's name."""
    alone = source([0, 1, 2, 1, 0, 1], [0, 1, 2])
    return type("Alone", (), {"train": lambda self, *args: named(alone.train(*args))})()


def named(found):
    return ({f"a.{name}": array for name, array in batch.items()} for batch in found)


def test_a_batch_is_a_function_of_seed_and_step_on_any_host():
    tones = Tones(samples=400, train_clips=30, eval_clips=10, crop="random", loudness=Loudness())
    texts = Captions(LabelledTexts(tuple((f"t{i}", f"u{i}") for i in range(10))), Bytes(), 3)
    data = Paired({"sound": tones, "text": texts})
    whole = batches(data, 5, seed=3)
    later = batches(data, 1, seed=3, start=4)[0]
    part = batches(data, 1, seed=3, start=4, rows=np.array([5, 2]))[0]
    for name, array in whole[4].items():
        np.testing.assert_array_equal(array, later[name])
        np.testing.assert_array_equal(array[[5, 2]], part[name])
    assert (batches(data, 1, seed=4)[0]["text.caption"] != whole[0]["text.caption"]).any()
    alone = next(tones.train(8, 3, 4, ALL))
    np.testing.assert_array_equal(whole[4]["sound.audio"], alone["audio"])
    np.testing.assert_array_equal(whole[4]["label"], alone["label"])


def test_evaluation_has_partners_of_its_own_split_and_always_the_same():
    data = pairs(eval_partners=5)
    first, again = (list(data.eval(8, ALL)) for _ in range(2))
    assert data.num_eval() == 15 and len(first) == 2
    for one, other in zip(first, again, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    mask = np.concatenate([batch["mask"] for batch in first])
    ids = np.concatenate([batch["example_id"] for batch in first])[mask]
    np.testing.assert_array_equal(ids, np.arange(15))
    own = np.concatenate([numbers(batch, "a") for batch in first])[mask]
    np.testing.assert_array_equal(own, np.tile([500, 501, 502], 5))
    there = np.concatenate([batch["b.present"] for batch in first])[mask]
    partner = np.concatenate([numbers(batch, "b") for batch in first])[mask]
    np.testing.assert_array_equal(there, np.tile([True, True, False], 5))
    assert set(partner[0::3]) <= {502, 503} and set(partner[1::3]) == {500, 501}


def test_its_spec_says_what_batches_hold():
    data = pairs()
    data.check()
    batch, spec = batches(data, 1)[0], data.example_spec()
    assert set(batch) == set(spec)
    for name, array in batch.items():
        assert (array.shape[1:], array.dtype.name) == (spec[name].shape, spec[name].dtype), name
    assert data.notes()[-1] == "1 of 6 examples of a have no b"
    assert data.num_train() == 6
    ordered = next(data.in_order("train", 6))
    np.testing.assert_array_equal(numbers(ordered, "a"), np.arange(6))


def test_what_cannot_be_paired_is_refused():
    main = source([0, 1], [0, 1])
    with pytest.raises(UsageError, match="1 sources"):
        Paired({"a": main})
    with pytest.raises(UsageError, match="stream 'a b'"):
        Paired({"a b": main, "b": main})
    with pytest.raises(UsageError, match="b: int cannot be paired"):
        Paired({"a": main, "b": 3})
    with pytest.raises(UsageError, match="eval_partners=0"):
        Paired({"a": main, "b": main}, eval_partners=0)
    with pytest.raises(UsageError, match="by='speaker': a has none: it has"):
        Paired({"a": main, "b": main}, by="speaker").example_spec()
    with pytest.raises(DataError, match="no label of a occurs in b, split train"):
        Paired({"a": main, "b": source([5], [0])}).check()
    with pytest.raises(UsageError, match="label 1 has no text"):
        LabelledTexts((("a",), ("",)))


def test_bytes_are_ids_without_a_library():
    texts = ["three", "三"]
    ids = Bytes().encode(texts)
    assert [Bytes().decode(row) for row in ids] == texts and ids[0][0] == ord("t") + 1
    captions = Captions(LabelledTexts((("three", "三"),)), Bytes(), 6)
    rows = captions.encode(texts)
    assert captions.decode(rows) == texts and rows.shape == (2, 6)
    assert captions.decode(np.array([[230, 5, 0]])) == ["\ufffd\x04"]
    assert captions.fitted() == captions
    assert dataclasses.replace(captions).notes() == []
