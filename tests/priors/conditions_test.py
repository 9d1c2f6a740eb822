"""Several conditions at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.priors import ClassLabel, MaskGIT, Several, Text
from vqjax.priors.conditions import inputs_of, parts_of
from vqjax.types import UsageError

DIGIT, SPEAKER = ClassLabel(10), ClassLabel(3, batch_key="speaker", names=("a", "b", "c"))
BOTH = Several((DIGIT, SPEAKER))
ARRAYS = {"label": jnp.asarray([3, -1, 7]), "speaker": jnp.asarray([2, 0, -1])}


def applied(condition, arrays=None, rngs=None):
    arrays = ARRAYS if arrays is None else arrays
    variables = condition.init(jax.random.key(0), arrays, 4)
    return variables["params"], condition.apply(variables, arrays, 4, rngs=rngs or {})


def test_the_vectors_of_each_come_in_order():
    params, (vectors, mask) = applied(BOTH)
    assert mask is None and vectors.shape == (3, BOTH.length, 4) and BOTH.length == 2
    tables = [np.asarray(params[f"parts_{i}"]["table"]) for i in range(2)]
    np.testing.assert_array_equal(vectors[:, 0], tables[0][[3, 10, 7]])
    np.testing.assert_array_equal(vectors[:, 1], tables[1][[2, 0, 3]])


def test_padding_of_a_text_among_them_is_masked():
    captions = jnp.asarray([[1, 2], [3, 0], [0, 0]])
    _, (vectors, mask) = applied(
        Several((DIGIT, Text(5, 2, 8, 1, 2))), {"label": ARRAYS["label"], "caption": captions}
    )
    assert vectors.shape == (3, 4, 4)
    expected = [[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 1]]
    np.testing.assert_array_equal(mask, np.array(expected, bool))


def test_all_are_dropped_at_once_and_each_alone():
    count = 4_000
    arrays = {"label": jnp.zeros(count, jnp.int32), "speaker": jnp.zeros(count, jnp.int32)}
    condition = Several((DIGIT.clone(dropout=0.2), SPEAKER.clone(dropout=0.0)), dropout=0.5)
    params, (vectors, _) = applied(condition, arrays, {"dropout": jax.random.key(1)})
    kept = [
        np.all(np.asarray(vectors[:, i]) == np.asarray(params[f"parts_{i}"]["table"][0]), axis=-1)
        for i in range(2)
    ]
    assert not (kept[0] & ~kept[1]).any()  # the speaker goes with the digit alone
    assert kept[1].mean() == pytest.approx(0.5, abs=0.03)
    assert kept[0].mean() == pytest.approx(0.5 * 0.8, abs=0.03)


def test_what_means_none_is_that_of_each():
    _, (vectors, _) = applied(BOTH, BOTH.null(2))
    params, _ = applied(BOTH)
    tables = [np.asarray(params[f"parts_{i}"]["table"]) for i in range(2)]
    np.testing.assert_array_equal(vectors, np.repeat([[tables[0][10], tables[1][3]]], 2, axis=0))


def test_what_is_taken_of_a_batch():
    batch = {**ARRAYS, "image": 1}
    assert inputs_of(None, batch) is None and parts_of(None) == ()
    assert inputs_of(SPEAKER, batch) is ARRAYS["speaker"] and parts_of(SPEAKER) == (SPEAKER,)
    assert inputs_of(BOTH, batch) == ARRAYS and parts_of(BOTH) == BOTH.parts


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Several((DIGIT,)), "1 parts, .* wanted two or more"),
        (lambda: Several((DIGIT, SPEAKER), dropout=1.5), "dropout=1.5"),
        (lambda: Several((DIGIT, ClassLabel(3))), "two read 'label'"),
        (lambda: Several((DIGIT, Text(5, 2, 8, 1, 2, by="cross"))), "by='cross': wanted 'prefix'"),
        (lambda: Several((DIGIT, MaskGIT(8, 1, 2))), "MaskGIT does not fit here"),
        (lambda: ClassLabel(3, names=("a", "b")), "2 different names, classes=3"),
        (lambda: ClassLabel(2, names=("a", "a")), "1 different names"),
        (lambda: SPEAKER.check(np.array([3])), "speaker 3: wanted 0 to 2"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()
