"""What callers say of conditions, as the arrays of n examples."""

import numpy as np
import pytest
from flax import linen as nn

from vqjax.priors import ClassLabel, Several, Text
from vqjax.runs.conditions import condition_arrays, in_words, keywords_for, main_classes
from vqjax.types import UsageError

DIGIT = ClassLabel(3)
SPEAKER = ClassLabel(2, batch_key="speaker", names=("jackson", "theo"))
CAPTION = Text(9, 2, 8, 1, 2)
BOTH, ALL = Several((SPEAKER, DIGIT)), Several((CAPTION, DIGIT, SPEAKER))


class Source:
    """Encodes texts by their lengths."""

    def encode(self, texts):
        return np.asarray([[len(text), 0] for text in texts], np.int32)


class Foreign(nn.Module):
    """A condition of somebody's own."""

    batch_key = "angle"
    dropout = 0.1

    def null(self, count):
        return np.full((count, 2), 9.0, np.float32)


def arrays(condition, n, *named, **options):
    return condition_arrays(condition, Source(), n, *named, **options)


def test_one_condition_takes_one_array():
    np.testing.assert_array_equal(arrays(DIGIT, 5), [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(arrays(DIGIT, 3, [2, -1]), [2, -1, 2])
    np.testing.assert_array_equal(arrays(SPEAKER, 3, [1]), [1, 1, 1])
    by_name = arrays(SPEAKER, 3, conditions={"speaker": ["theo", "0"]})
    np.testing.assert_array_equal(by_name, [1, 0, 1])
    np.testing.assert_array_equal(arrays(CAPTION, 3, prompts=["ab", ""]), [[2, 0], [0, 0], [2, 0]])
    assert arrays(None, 3) is None and arrays(DIGIT, 0).shape == (0,)


def test_what_nobody_names_comes_in_turn_or_is_left_out():
    every = arrays(BOTH, 7)
    np.testing.assert_array_equal(every["label"], [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(every["speaker"], [0, 0, 0, 1, 1, 1, 0])
    for named, label, speaker in (
        ({"classes": [1]}, 1, -1),
        ({"conditions": {"speaker": ["theo"]}}, -1, 1),
        ({}, -1, -1),
    ):
        edited = arrays(ALL, 2, **named, rest_in_turn=False)
        np.testing.assert_array_equal(edited["label"], [label] * 2)
        np.testing.assert_array_equal(edited["speaker"], [speaker] * 2)
        np.testing.assert_array_equal(edited["caption"], np.zeros((2, 2)))
    told = arrays(ALL, 2, prompts=["abc"])
    np.testing.assert_array_equal(told["caption"], [[3, 0]] * 2)
    np.testing.assert_array_equal(told["label"], [0, 1])
    np.testing.assert_array_equal(arrays(Foreign(), 2), np.full((2, 2), 9.0))


def test_what_a_condition_is_called():
    assert keywords_for(None) == () and keywords_for(Foreign()) == ()
    assert keywords_for(DIGIT) == ("classes",) and keywords_for(CAPTION) == ("prompts",)
    assert keywords_for(SPEAKER) == ("classes", "conditions")
    assert keywords_for(ALL) == ("classes", "prompts", "conditions")
    assert main_classes(BOTH) is DIGIT and main_classes(SPEAKER) is SPEAKER
    assert main_classes(CAPTION) is None
    assert in_words(None) == "" and in_words(Foreign()) == ", conditioned on other inputs"
    assert in_words(DIGIT) == ", conditioned on the class"
    assert in_words(ALL) == ", conditioned on a text, the class and the speaker"


@pytest.mark.parametrize(
    ("condition", "named", "words"),
    [
        (None, {"classes": [1]}, "not class-conditional"),
        (DIGIT, {"prompts": ["a"]}, "not text-conditional"),
        (CAPTION, {"classes": [1]}, "not class-conditional"),
        (DIGIT, {"classes": [3]}, r"classes\[0\]=3: wanted .* -1 to 2"),
        (BOTH, {"conditions": {"speaker": ["theo", "tea"]}}, r"\[1\]='tea': did you mean 'theo'"),
        (BOTH, {"conditions": {"label": ["one"]}}, r"\[0\]='one': .valid: 0 to 2."),
        (BOTH, {"conditions": {"speaker": ["2"]}}, r"\['speaker'\]\[0\]=2: wanted .* -1 to 1"),
        (BOTH, {"conditions": {"zzz": [1]}}, "conditions: 'zzz': .valid: label, speaker"),
        (BOTH, {"conditions": [1]}, "conditions=.*: wanted a Mapping"),
        (BOTH, {"conditions": {"label": [1]}, "classes": [1]}, "give one of the two"),
        (BOTH, {"conditions": {"speaker": []}}, "'speaker' is empty: name at least"),
    ],
)
def test_what_cannot_be_is_refused(condition, named, words):
    with pytest.raises(UsageError, match=words):
        arrays(condition, 2, **named)


def test_prompts_need_a_source_that_reads_them():
    with pytest.raises(UsageError, match="object cannot read prompts"):
        condition_arrays(CAPTION, object(), 2, prompts=["a"])
    assert condition_arrays(CAPTION, object(), 2, rest_in_turn=False).shape == (2, 2)
