"""Examples of several sources side by side; what holds for every source: `sources_test`."""

import collections
import dataclasses
import itertools

import numpy as np
import pytest

from tests.data.makers import pictures
from tests.data.sources_test import assert_same
from tests.small_source import SmallSource
from vqjax import config
from vqjax.data import (
    BPE,
    Arrays,
    Bytes,
    Captions,
    CaptionsByLabel,
    Digits,
    Folder,
    LabelledTexts,
    Paired,
    RandomShift,
    Shapes,
    TokenSet,
    Tones,
)
from vqjax.data.paired import values_of
from vqjax.data.shapes import splits
from vqjax.data.source import Visits
from vqjax.data.texts import to_text
from vqjax.data.token_set import DESCRIPTION, write_shard
from vqjax.types import ArraySpec, DataError, UsageError

BATCH = 6
ROWS = np.arange(BATCH)
TEXTS = tuple((f"digit {i}", f"数字 {i}") for i in range(9))  # none of label 9


def arrays(train, evaluation, first=0, **settings):
    """Pictures with these labels; the numbers of examples count from `first`."""
    parts = [
        {
            "image": pictures(len(labels), 4, 1, seed),
            "label": np.asarray(labels),
            "number": first + np.arange(len(labels)) + 1_000 * seed,
        }
        for seed, labels in enumerate((train, evaluation))
    ]
    return Arrays(*parts, **settings)


@pytest.fixture(scope="module")
def streams():
    """40 pictures, 10 to be tested, melodies, texts."""
    return Paired(
        {
            "image": arrays(np.arange(40) % 10, np.arange(10), augment=(RandomShift(1),)),
            "sound": Tones(64, 50, 30),
            "text": Captions(LabelledTexts(TEXTS), Bytes(), 9),
        },
        eval_partners=3,
    )


def train(source, steps, start=0, seed=0):
    return list(itertools.islice(source.train(BATCH, seed, start, ROWS), steps))


def joined(batches, name):
    """All that are no padding."""
    return np.concatenate([b[name][b["mask"]] if "mask" in b else b[name] for b in batches])


@pytest.mark.parametrize("part", ["train", "eval"])
def test_partners_have_the_label_and_are_of_the_split(streams, part):
    streams.check()
    batches = train(streams, 60) if part == "train" else list(streams.eval(BATCH, ROWS))
    label = joined(batches, "label")
    assert joined(batches, "image.present").all()
    for stream in ("sound", "text"):
        present = joined(batches, f"{stream}.present")
        np.testing.assert_array_equal(present, (stream == "sound") | (label < 9))
        np.testing.assert_array_equal(joined(batches, f"{stream}.label") == label, present)
    clips = joined(batches, "sound.example_id")
    order = next(streams.sources["sound"].in_order(part, 50))
    np.testing.assert_array_equal(order["label"][clips], label)
    if part == "train":  # all of them come up
        assert {*clips} == {*range(50)} and {*joined(batches, "text.example_id")} == {*range(18)}
    else:  # windows begin at the start: those of these clips of the eval split
        np.testing.assert_array_equal(order["audio"][clips], joined(batches, "sound.audio"))


def test_the_main_source_is_as_it_is_alone(streams):
    alone = streams.sources["image"]
    for batch, other in zip(train(streams, 20), train(alone, 20), strict=True):
        for name, array in other.items():
            np.testing.assert_array_equal(batch[f"image.{name}"], array)
        np.testing.assert_array_equal(batch["example_id"], other["example_id"])


def test_partners_change_with_epoch_and_seed(streams):
    (first, second), (other, _) = (
        np.split(joined(train(streams, 14, seed=seed), "sound.example_id")[:80], 2)
        for seed in (0, 1)
    )
    order = [np.argsort(joined(train(streams, 14), "example_id")[k : k + 40]) for k in (0, 40)]
    assert (first[order[0]] != second[order[1]]).sum() > 20
    assert (first != other).any()


def test_partners_are_uniform_and_independent_of_each_other():
    """Of 5 and 7 with the label: chi-squared of all 35 pairs, 34 degrees of freedom."""
    a, b = arrays([3, 1] * 5, [3, 1]), arrays([1, 3] * 7, [3, 1])
    threes = {"label": np.full(35_000, 3)}
    paired = Paired({"main": Arrays(threes, threes), "a": a, "b": b})
    batch = next(paired.train(35_000, 5, 0, np.arange(35_000)))
    counts = collections.Counter(zip(batch["a.number"], batch["b.number"], strict=True))
    assert {i for i, _ in counts} == {*range(0, 10, 2)}
    assert {i for _, i in counts} == {*range(1, 14, 2)}
    assert sum((n - 1_000) ** 2 / 1_000 for n in counts.values()) < 65.2  # p = 0.001


def test_windows_and_shifts_of_partners_are_those_of_the_position(streams):
    sound = streams.sources["sound"]
    windows = collections.defaultdict(set)
    for step, batch in enumerate(train(streams, 60)):
        starts = sound._train._window.starts(
            sound.clip_lengths("train")[batch["sound.example_id"]], 0, step * BATCH + ROWS
        )
        for row, start in enumerate(starts):
            clip = sound.clips("train", batch["sound.example_id"][row : row + 1], 8_000)["audio"]
            np.testing.assert_array_equal(batch["sound.audio"][row], clip[0, start : start + 64])
            windows[int(batch["sound.example_id"][row])].add(int(start))
    assert max(map(len, windows.values())) > 3


def test_evaluation_is_fixed_and_each_pass_has_other_partners(streams):
    batches = list(streams.eval(BATCH, ROWS))
    assert_same(batches, list(streams.eval(BATCH, ROWS)))
    assert streams.num_eval() == 30 and streams.num_train() == 40
    np.testing.assert_array_equal(joined(batches, "example_id"), np.arange(30))
    passes = np.split(joined(batches, "sound.example_id"), 3)
    for ids in np.split(joined(batches, "image.example_id"), 3):
        np.testing.assert_array_equal(ids, np.arange(10))
    assert all((a != b).any() for a, b in itertools.combinations(passes, 2))
    whole = list(streams.eval(32, np.arange(32)))  # another batch size, the same pass
    for name in ("sound.audio", "text.caption", "image.image"):
        np.testing.assert_array_equal(joined(batches, name), joined(whole, name))
    once = dataclasses.replace(streams, eval_partners=1).eval(BATCH, ROWS)
    np.testing.assert_array_equal(joined(once, "sound.example_id"), passes[0])


def test_in_order_is_as_evaluation(streams):
    assert_same(list(streams.in_order("eval", BATCH)), list(streams.eval(BATCH, ROWS)))
    batches = list(streams.in_order("train", BATCH))
    assert_same(batches[4:], list(streams.in_order("train", BATCH, 4)))
    np.testing.assert_array_equal(joined(batches, "example_id"), np.arange(40))
    alone = list(streams.sources["image"].in_order("train", BATCH))
    np.testing.assert_array_equal(joined(batches, "image.image"), joined(alone, "image"))


def test_what_is_at_hand_is_of_the_main_source(streams):
    for name in ("label", "image.label"):
        np.testing.assert_array_equal(streams.at_hand("eval", name), np.tile(np.arange(10), 3))
        np.testing.assert_array_equal(streams.at_hand("train", name), np.arange(40) % 10)
    for name in ("sound.label", "image", "other", "image.other"):
        assert streams.at_hand("train", name) is None


def test_what_has_no_partner_is_said(streams):
    assert streams.notes() == [
        "text: train: no example of 1 of the values of 'label', which 4 examples of image have: 9",
        "text: eval: no example of 1 of the values of 'label', which 1 examples of image have: 9",
    ]
    noted = Paired({"image": Digits(), "text": LabelledTexts(TEXTS[:2])}).notes()
    assert noted[0].startswith("image: data: Optical") and ": 2, 3, 4, 5, 6, ..." in noted[1]


def test_names_of_classes_are_those_that_a_source_knows(streams):
    names = streams.sources["sound"].class_names("label")
    assert streams.class_names("label") == streams.class_names("sound.label") == names
    for name in ("image.label", "text.label", "nobody.label", "image"):
        with pytest.raises(UsageError, match="no names of classes"):
            streams.class_names(name)


def test_a_record_has_all_of_it():
    paired = Paired(
        {"image": Digits(), "text": Captions(LabelledTexts(TEXTS), Bytes(), 9)}, main="text"
    )
    again = config.decode(config.from_json(config.to_json(config.encode(paired))))
    assert again == paired and [*again.sources] == ["image", "text"]


def test_another_order_of_the_sources_is_another_record(streams):
    turned = Paired(dict(reversed(streams.sources.items())), eval_partners=3)
    assert turned != streams and turned.main == "text"
    same = dataclasses.replace(turned, main="image")
    assert same == streams
    assert_same(
        [dict(sorted(b.items())) for b in train(same, 3)],
        [dict(sorted(b.items())) for b in train(streams, 3)],
    )


def test_sources_are_fitted_as_at_the_earlier_start():
    def paired(texts):
        images = Arrays({"label": np.arange(2)}, {"label": np.arange(2)})
        return Paired({"image": images, "text": Captions(LabelledTexts(texts), BPE(270), 9)})

    first = paired((("a red circle",), ("a red square",))).fitted()
    later = paired((("other words",), ("and other",)))
    words = first.sources["text"].vocabulary
    assert words.merges and later.fitted(first).sources["text"].vocabulary == words
    assert later.fitted().sources["text"].vocabulary != words


def test_pairs_of_pairs(streams):
    outer = Paired({"both": streams, "image": Digits()})
    outer.check()
    batch = train(outer, 2)[1]
    assert (batch["both.sound.label"] == batch["label"]).all()
    assert (batch["image.label"] == batch["label"]).all()
    inner = Paired({"image": Digits(), "both": streams})
    for batches, part in ((train(inner, 9), "train"), (inner.eval(BATCH, ROWS), "eval")):
        for batch in batches:
            np.testing.assert_array_equal(batch["both.image.label"], batch["label"])
            np.testing.assert_array_equal(batch["both.sound.label"], batch["label"])
            numbers = batch["both.image.number"]
            assert (numbers >= 1_000).all() == (numbers >= 1_000).any() == (part == "eval")


def _folder(home, **settings):
    from tests.data.makers import write_folder

    write_folder(home / "pictures", pictures(9, 8))
    return Folder(str(home / "pictures"), image_size=8, eval_fraction=0.4, **settings)


def _token_set(home):
    num = {"train": 7, "eval": 5}
    specs = {"tokens": ArraySpec((2, 2), "uint8"), "label": ArraySpec((), "int32")}
    levels = [{"name": "tokens", "grid": [2, 2], "codebook_size": 9}]
    description = {
        "tokenizers": [{"run": "runs/x", "seal": "0"}],
        "levels": levels,
        "arrays": {name: spec.as_json() for name, spec in specs.items()},
        "examples": num,
        "shard": 8,
    }
    home.mkdir(exist_ok=True)
    (home / DESCRIPTION).write_text(config.to_json(description))
    for part, n in num.items():
        tokens = pictures(n, 2, 1)[..., 0] % 9
        write_shard(home, part, 0, {"tokens": tokens, "label": np.arange(n, dtype=np.int32) % 3})
    return TokenSet(str(home))


KINDS = {
    "arrays": lambda home: arrays([0, 1, 2, 1], [2, 1, 0]),
    "digits": lambda home: Digits(),
    "shapes": lambda home: Shapes(),
    "tones": lambda home: Tones(64, 20, 10),
    "folder": lambda home: _folder(home, cache_bytes=0),
    "token-set": _token_set,
    "captions-by-label": lambda home: CaptionsByLabel(Digits(), tuple("0123456789")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_examples_can_be_read(kind, tmp_path, monkeypatch):
    """Those that a visit names, in its order, whatever the pass would visit."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split, num in (("train", 21), ("test", 11)):
        monkeypatch.setitem(splits.NUM_EXAMPLES, split, num)
    source = KINDS[kind](tmp_path / "source")
    chosen = np.array([2, 0, 0, 2, 1, 2])

    class Visited(Visits):
        def at(self, step):
            return super().at(step)._replace(indices=np.roll(chosen, step))

    for part in ("train", "eval"):
        order = next(source.in_order(part, 3))
        for seed in (None, 0):
            visits = Visited(9, BATCH, ROWS, seed, 1)
            batch = next(source.visited(part, visits))
            assert ("mask" in batch) == (seed is None)
            for name in set(batch) & {"example_id", "label", "number", "tokens", "caption"}:
                np.testing.assert_array_equal(batch[name], order[name][np.roll(chosen, 1)])
        assert values_of(source, part, "label").tolist()[:3] == order["label"].tolist()


class Unread(Arrays):
    """A source that keeps nothing in memory."""

    def at_hand(self, part, name):
        return None


def test_values_that_are_not_at_hand_are_read():
    labels = np.arange(600) % 7
    parts = {"label": labels}, {"label": labels[:300]}
    np.testing.assert_array_equal(values_of(Unread(*parts), "train", "label"), labels)
    np.testing.assert_array_equal(values_of(Unread(*parts), "eval", "label"), labels[:300])
    assert values_of(Unread({"label": labels[:0]}, parts[1]), "train", "label").shape == (0,)


@pytest.mark.parametrize(
    ("sources", "settings", "line"),
    [
        (("a",), {}, "Paired: sources has 1: wanted at least two"),
        (("a", ""), {}, "sources has '': wanted a name of letters"),
        (("a", "b.c"), {}, "sources has 'b.c': wanted a name of letters"),
        (("a", "b\n"), {}, r"sources has 'b\\n': wanted a name of letters"),
        (("a", "b"), {"by": "mask"}, "by='mask': wanted an array such as 'label'"),
        (("a", "b"), {"by": "a.label"}, "by='a.label': wanted"),
        (("a", "b"), {"eval_partners": 0}, "eval_partners is at least 1, got 0"),
        (("a", "b"), {"main": "bb"}, "main='bb' is none of the sources: did you mean 'b'"),
    ],
)
def test_wrong_settings_are_one_line(sources, settings, line):
    with pytest.raises(UsageError, match=line):
        Paired({name: arrays([0], [0]) for name in sources}, **settings)


@pytest.mark.parametrize("other", [SmallSource(), Captions(SmallSource(), Bytes(), 3), 3])
def test_what_cannot_be_read_by_index_is_refused(other):
    with pytest.raises(UsageError, match=r"sources\['b'\]: \w+ cannot be read by index"):
        Paired({"a": arrays([0], [0]), "b": other})


@pytest.mark.parametrize(
    ("other", "error", "line"),
    [
        (arrays([3], [3]), DataError, "train: 'b' has none of the values of 'label' .* has: 0, 1"),
        (arrays([1], [3]), DataError, "eval: 'b' has none of the values of 'label' .* has: 0, 1"),
        (arrays([0], []), DataError, "no eval examples"),
        (Arrays({"lable": np.arange(2)}, {"lable": np.arange(2)}), UsageError,
         "'b' has no array 'label': did you mean 'lable'"),
        (Arrays({"label": np.zeros(2)}, {"label": np.zeros(2)}), UsageError,
         r"'label' of 'b' is float64\[\]: wanted one whole number"),
        (Arrays(*[{"label": np.arange(2), "present": np.arange(2)}] * 2), UsageError,
         "'b' has an array 'present': name it otherwise"),
    ],
)  # fmt: skip
def test_sources_that_do_not_go_together(other, error, line):
    paired = Paired({"a": arrays([0, 1], [0, 1]), "b": other}, eval_partners=2)
    with pytest.raises(error, match=line) as raised:
        paired.check()
    assert "\n" not in str(raised.value)


def test_no_examples_to_draw_from():
    paired = Paired({"a": arrays([0], [0]), "b": arrays([], [0])})
    with pytest.raises(DataError, match="Paired: 'b' has no train examples"):
        paired.train(2, 0, 0, np.arange(2))


def test_a_text_is_drawn_anew_at_each_visit(streams):
    shown = collections.defaultdict(set)
    for batch in train(streams, 40):
        texts = streams.sources["text"].decode(batch["text.caption"])
        for row in np.flatnonzero(batch["text.present"]):
            shown[int(batch["label"][row])].add(texts[row])
    assert shown == {label: {*texts} for label, texts in enumerate(TEXTS)}


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ((), "texts is empty"),
        ((("a",), ()), r"texts\[1\] is empty"),
        ((("a", " "),), r"texts\[0\]\[1\]=' ' is no text"),
        ((("\0",),), r"texts\[0\]\[0\]='.x00' is no text"),
    ],
)
def test_empty_texts_are_refused(texts, line):
    with pytest.raises(UsageError, match=line):
        LabelledTexts(texts)


def test_texts_are_examples():
    source = LabelledTexts((("zero", "零"), ("one",)))
    source.check()
    for part in ("train", "eval"):
        (batch,) = source.in_order(part, 3)
        assert batch["label"].tolist() == [0, 0, 1] and batch["label"].dtype == np.int32
        assert [to_text(row) for row in batch["caption"]] == ["zero", "零", "one"]
    assert source.example_spec()["caption"] == ArraySpec((4,), "uint8")
    assert config.decode(config.from_json(config.to_json(config.encode(source)))) == source
