"""Shapes: what is written is read back, what is false is refused, and no split sees another's."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from scipy import ndimage

from vqjax.data import Shapes
from vqjax.data.shapes import (
    HELD_OUT_PAIRS,
    KINDS,
    Meaning,
    Phrase,
    Scene,
    Thing,
    caption,
    draw,
    kind,
    parse,
    satisfied,
    satisfies,
    score,
    splits,
)
from vqjax.data.shapes.grammar import CAPTION_BYTES, LANGUAGES
from vqjax.data.shapes.scene import COLOURS, PLACES, RELATIONS, SHAPES, SIZES
from vqjax.data.shapes.scorer import things
from vqjax.data.texts import to_text
from vqjax.types import UsageError

SPLITS = tuple(splits.NUM_EXAMPLES)


@functools.cache
def examples(side, num=48):
    """Meanings and pictures of the evaluation splits in turn."""
    examples = [splits.example(SPLITS[2 + i % 2], i) for i in range(num)]
    return [meaning for meaning, _ in examples], np.stack([draw(s, side) for _, s in examples])


def english(meanings):
    return [caption(meaning, "en") for meaning in meanings]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_caption_is_read_back(language):
    meanings = [m for k in KINDS for m in splits.all_meanings(k)]
    captions = [caption(m, language) for m in meanings]
    assert len(set(captions)) == len(meanings) == 900 + 270 + 32_400
    assert [parse(text) for text in captions] == meanings
    assert max(len(text.encode()) for text in captions) <= CAPTION_BYTES


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a red circle", Meaning(Phrase("red", "circle"))),
        ("一个红色圆形", Meaning(Phrase("red", "circle"))),
        (
            "a small blue square at the top left",
            Meaning(Phrase("blue", "square", "small"), place="top left"),
        ),
        (
            "左上角有一个小的蓝色正方形",
            Meaning(Phrase("blue", "square", "small"), place="top left"),
        ),
        ("two green crosses", Meaning(Phrase("green", "cross"), 2)),
        ("两个绿色十字", Meaning(Phrase("green", "cross"), 2)),
        (
            "a red circle left of a large yellow cross",
            Meaning(
                Phrase("red", "circle"),
                relation="left of",
                other=Phrase("yellow", "cross", "large"),
            ),
        ),
    ],
)
def test_captions_as_they_are_written(text, meaning):
    assert parse(text) == meaning
    assert text in (caption(meaning, language) for language in LANGUAGES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red circle ",
        "a red circles",
        "two red circle",
        "a red",
        "a pink circle",
        "one red circle",
        "a red circle in the left",
        "two red circles at the top",
        "two red circles left of a red cross",
        "a red circle at the top left of a red cross",
        "两个红色圆形在一个红色十字的左边",
        "五个红色圆形",
    ],
)
def test_what_is_no_caption_is_refused(text):
    with pytest.raises(UsageError, match="no caption of shapes"):
        parse(text)


@pytest.mark.parametrize("side", [32, 64])
def test_pictures_satisfy_their_captions_in_both_languages(side):
    meanings, images = examples(side)
    assert score(images, english(meanings)) == {**dict.fromkeys(KINDS, 1.0), "all": 1.0}
    assert satisfied(images[:12], [caption(m, "zh") for m in meanings[:12]]).all()


DEGRADED = {
    "blurred": lambda x, f: ndimage.gaussian_filter(x, (0, f, f, 0)),
    "halved": lambda x, f: np.kron(
        x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, 3).mean((2, 4)),
        np.ones((1, 2, 2, 1)),
    ),
    "noisy": lambda x, f: x + np.random.default_rng(0).normal(0, 8, x.shape),
    "shifted": lambda x, f: np.roll(x, (1, -1), (1, 2)),
}


@pytest.mark.parametrize("damage", DEGRADED)
def test_pictures_that_lost_a_little_still_satisfy(damage):
    meanings, images = examples(32)
    worse = DEGRADED[damage](images.astype(float), 1.0)
    worse = np.clip(np.rint(worse), 0, 255).astype(np.uint8)
    assert (worse != images).any()
    assert satisfied(worse, english(meanings)).all()


def others(meaning):
    """All meanings that differ from `meaning`, in which nothing is left open, in one word."""

    def phrases(phrase):
        for name, words in (("colour", COLOURS), ("shape", SHAPES), ("size", SIZES)):
            for word in words:
                if word != getattr(phrase, name):
                    yield dataclasses.replace(phrase, **{name: word})

    change = functools.partial(dataclasses.replace, meaning)
    yield from (change(phrase=phrase) for phrase in phrases(meaning.phrase))
    if meaning.place is not None:
        yield from (change(place=place) for place in PLACES if place != meaning.place)
    if meaning.kind == "count":
        yield from (change(count=count) for count in (1, 2, 3, 4) if count != meaning.count)
    if meaning.kind == "relation":
        yield from (change(relation=word) for word in RELATIONS if word != meaning.relation)
        yield from (change(other=phrase) for phrase in phrases(meaning.other))
        yield change(phrase=meaning.other, other=meaning.phrase)


@pytest.mark.parametrize("number", range(5))
def test_one_wrong_word_is_refused(number):
    shape, colour, size = SHAPES[number], tuple(COLOURS)[number], tuple(SIZES)[number % 2]
    first, second = Phrase(colour, shape, size), Phrase("black", "square", "large")
    for meaning in (
        Meaning(first, place=tuple(PLACES)[2 * number]),
        Meaning(first, 2 + number % 3),
        Meaning(first, relation=tuple(RELATIONS)[number % 4], other=second),
    ):
        image = draw(splits.scene_of(meaning, 7, number), 32)
        assert satisfies(image, caption(meaning, "en"))
        wrong = list(others(meaning))
        assert len(set(wrong)) == len(wrong) >= 12
        assert not any(satisfies(image, caption(m, "en")) for m in wrong)


def test_written_captions_may_be_none_of_the_grammar():
    source = Shapes(32)
    batch = next(source.in_order("eval", 20))
    texts, images = [to_text(row) for row in batch["caption"]], batch["image"]
    wrong = ["", "a red", *texts[2:]]
    assert source.described(images, texts).all()
    assert not source.described(images, wrong)[:2].any()
    assert source.described(images, wrong)[2:].all()
    truths = ["a red circle left of a blue square", "two red circles", "a red circle"]
    written = ["a blue square below a small red circle", "three red circles", "a red ring"]
    np.testing.assert_allclose(source.named(written, truths), [1.0, 2 / 3, 0.0])
    assert source.named(["red"], ["a red circle"]) == [0.0]


def test_what_a_caption_leaves_out_is_not_checked():
    image = draw(Scene((Thing("red", "ring", "small", (0.25, 0.5)),), 240), 32)
    for text in ("a red ring", "a small red ring", "a red ring on the left"):
        assert satisfies(image, text)
    assert not satisfies(image, "a large red ring") and kind("two red rings") == "count"


def test_captions_of_other_pictures_are_refused_as_chance_has_it():
    meanings, images = examples(32)
    captions = english(meanings)
    rate = np.mean([satisfied(images, np.roll(captions, shift)) for shift in (3, 6)])
    assert rate < 0.05


def test_things_are_found_where_they_are():
    _, images = examples(64)
    for i in range(0, 48, 4):
        _, scene = splits.example(SPLITS[2 + i % 2], i)
        drawn, recognized = (
            sorted(parts, key=lambda t: t.centre) for parts in (scene.things, things(images[i]))
        )
        for a, b in zip(drawn, recognized, strict=True):
            assert dataclasses.replace(a, centre=b.centre) == b
            np.testing.assert_allclose(a.centre, b.centre, atol=0.01)


def damaged():
    """{what is wrong: a picture of a large red circle in which it is}, and other oddities."""
    circle = Thing("red", "circle", "large", (0.5, 0.5))
    triangle = dataclasses.replace(circle, shape="triangle")
    good, other = (draw(Scene((thing,), 240), 32) for thing in (circle, triangle))
    covered = good[..., 1] < 150
    token = np.zeros_like(covered)
    token[8:16, 8:16] = True  # one token's pixels
    speck = np.zeros_like(covered)
    speck[2:5, 2:5] = True
    wrong = {
        "a quarter gone": (covered & token, 240),
        "a quarter blue": (covered & token, COLOURS["blue"]),
        "a quarter yellow": (covered & token, COLOURS["yellow"]),
        "pink": (covered, (255, 120, 180)),
        "something else": (speck, COLOURS["red"]),
        "nothing": (covered | (good != 240).any(-1), 240),
    }
    pictures = {name: np.where(mask[..., None], v, good) for name, (mask, v) in wrong.items()}
    pictures["dark"] = np.where(covered[..., None], good, 28)
    pictures["half a triangle"] = np.concatenate([other[:16], good[16:]])
    pictures["upside down"] = other[::-1]
    pictures["noise"] = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    return {name: picture.astype(np.uint8) for name, picture in pictures.items()}


@pytest.mark.parametrize("name", damaged())
def test_damaged_pictures_satisfy_nothing(name):
    image = damaged()[name]
    assert None in (parts := things(image)) or len(parts) != 1
    assert not satisfies(image, "a red circle") and not satisfies(image, "a red triangle")


def test_any_pixels_can_be_judged():
    draws = np.random.default_rng(0)
    for low, high in ((0, 256), (180, 256), (0, 60), (255, 256)):
        coarse = draws.integers(low, high, (20, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
        coarse[:10, [0, -1]] = 220  # with a background
        coarse[:10, :, [0, -1]] = 220
        assert not satisfied(coarse.astype(np.uint8), ["a yellow circle"] * 20).any()


def words(meanings):
    return {word for meaning in meanings for word in caption(meaning, "en").split()}


def test_no_split_sees_what_is_kept_from_it():
    meanings = {s: {m for k in KINDS for m in splits.meanings(s, k)} for s in SPLITS}
    for a, b in itertools.combinations(SPLITS, 2):
        assert meanings[a].isdisjoint(meanings[b]) or (a, b) == ("train_held_out", "held_out")
    for split in ("train", "test"):
        assert not any(p.pair in HELD_OUT_PAIRS for m in meanings[split] for p in m.phrases)
    for split in ("train_held_out", "held_out"):
        assert all(any(p.pair in HELD_OUT_PAIRS for p in m.phrases) for m in meanings[split])
    assert words(meanings["train"]) == set.union(*map(words, meanings.values()))
    sizes = {s: tuple(len(splits.meanings(s, k)) for k in KINDS) for s in SPLITS}
    assert sizes["train"] == (573, 173, 18_675) and sizes["test"] == (147, 43, 2_061)


def test_a_fifth_of_the_pairs_is_held_out_and_every_word_is_known_from_others():
    assert len(set(HELD_OUT_PAIRS)) * 5 == len(COLOURS) * len(SHAPES)
    for index, words_ in ((0, COLOURS), (1, SHAPES)):
        for word in words_:
            assert 1 <= sum(pair[index] == word for pair in HELD_OUT_PAIRS) <= 2


@pytest.mark.parametrize("split", SPLITS)
def test_examples_show_what_is_said_in_their_split(split):
    shown = [splits.example(split, i) for i in range(300)]
    for meaning, scene in shown:
        assert meaning in splits.meanings(split, meaning.kind)
        assert sorted(p.pair for p in meaning.phrases) == sorted(
            (t.colour, t.shape) for t in scene.things
        )
        for a, b in itertools.combinations(scene.things, 2):
            apart = max(abs(u - v) for u, v in zip(a.centre, b.centre, strict=True))
            assert apart - a.radius - b.radius > 2 / 32  # pixels between them, at 32
    assert len({m for m, _ in shown}) > 180  # no few captions again and again
    assert {m.kind for m, _ in shown} == set(KINDS)


def test_examples_are_the_same_on_every_machine():
    meaning, scene = splits.example("train", 1)
    assert caption(meaning, "en") == "a green cross right of a small yellow cross"
    assert scene.background == 240 and [t.size for t in scene.things] == ["small", "small"]
    np.testing.assert_allclose(scene.things[0].centre, (0.7396644385797, 0.7691662946685545))


@pytest.fixture
def few(monkeypatch):
    """Few shapes in each split."""
    for split, num in (("train", 21), ("train_held_out", 9), ("test", 9), ("held_out", 9)):
        monkeypatch.setitem(splits.NUM_EXAMPLES, split, num)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("pairs", "eval_pairs", "split"), [("seen", "held_out", "held_out"), ("all", "seen", "test")]
)
def test_the_source_shows_its_splits(few, language, pairs, eval_pairs, split):
    source = Shapes(language=language, pairs=pairs, eval_pairs=eval_pairs)
    source.check()
    assert source.num_train() == (21 if pairs == "seen" else 30) and source.num_eval() == 9
    expected = {"train": [("train", i) for i in range(21)], "eval": [(split, i) for i in range(9)]}
    if pairs == "all":
        expected["train"] += [("train_held_out", i) for i in range(9)]
    for part, examples in expected.items():
        (batch,) = source.in_order(part, len(examples))
        captions = [to_text(c) for c in batch["caption"]]
        assert captions == [caption(splits.example(*example)[0], language) for example in examples]
        assert satisfied(batch["image"], captions).all()
        assert [KINDS[i] for i in batch["label"]] == [kind(c) for c in captions]


@pytest.mark.parametrize(
    "settings", [{"image_size": 48}, {"language": "de"}, {"pairs": "none"}, {"eval_pairs": "all"}]
)
def test_wrong_settings_are_refused_at_once(settings):
    with pytest.raises(UsageError, match=f"Shapes: {next(iter(settings))} is"):
        Shapes(**settings)
