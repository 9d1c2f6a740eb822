"""TextTask: what a text is, and which settings cannot be."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from vqjax.priors import GPT, AbsorbingDiffusion, ClassLabel, CodebookGPT, Text
from vqjax.tasks import TextTask
from vqjax.tasks.frozen_tokens import Drawn
from vqjax.types import ArraySpec, UsageError


def task(prior=None, **fields):
    return TextTask(prior or GPT(16, 1, 2), **{"vocabulary": 9, "length": 4, **fields})


def test_a_drawn_text_ends_at_its_first_zero():
    ids = np.array([[3, 0, 5, 2], [0, 1, 1, 1], [1, 2, 3, 4], [8, 8, 0, 0]], np.int32)
    decoded, lengths = task().decode_drawn({}, Drawn({"caption": jnp.asarray(ids)}))
    assert lengths.tolist() == [1, 0, 4, 2]
    assert decoded.tolist() == [[3, 0, 0, 0], [0] * 4, [1, 2, 3, 4], [8, 8, 0, 0]]


def test_ids_after_the_end_are_tokens_like_others():
    network = task(AbsorbingDiffusion(16, 1, 2)).network(task().levels_of({}))
    batch = {"caption": np.array([[3, 0, 0, 0]], np.int32)}
    assert (network.order.length, network.order.vocabulary, network.mask_token) == (4, 9, 9)
    assert task().ids(network, {}, batch).tolist() == [[3, 0, 0, 0]]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: task(length=0), "vocabulary=9, length=0: wanted at least 2 ids"),
        (lambda: task(vocabulary=1), "vocabulary=1, length=4: wanted"),
        (lambda: task(CodebookGPT(16, 1, 2, ends=True)), "prior.ends=True: a text ends with the"),
        (lambda: task(GPT(16, 1, 2, condition=Text(9, 4, 16))), "reads 'caption', which is what"),
        (lambda: task(tiny.dense()), "has no 'levels'"),
    ],
    ids=["length", "vocabulary", "ends", "condition", "prior"],
)
def test_what_cannot_be_is_one_line(make, line):
    with pytest.raises(UsageError, match=line):
        make()


@pytest.mark.parametrize(
    "spec", [ArraySpec((5,), "int32"), ArraySpec((4,), "uint8"), None], ids=str
)
def test_captions_of_another_length_are_refused(spec):
    inputs = {"label": ArraySpec((), "int32")} | ({} if spec is None else {"caption": spec})
    with pytest.raises(UsageError, match=r"task.length=4: wanted 'caption' of Captions\(length=4"):
        task().check(inputs)


def test_an_id_that_the_vocabulary_lacks_and_a_class_are_bounded():
    bounds = task(GPT(16, 1, 2, condition=ClassLabel(3))).bounds
    assert (bounds["caption"].high, bounds["label"].high) == (9, 3)
    assert bounds["caption"].setting == "task.vocabulary=9"
