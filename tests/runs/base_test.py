"""What a run says of itself: its keywords, its conditions, what it can do."""

from typing import Any, ClassVar

import numpy as np
import pytest

from tests import tiny
from vqjax.runs import Run
from vqjax.runs.base import can, check_can, keywords_of
from vqjax.runs.prior import PriorRun
from vqjax.types import UsageError


class Plain(Run):
    kind = "plain one"

    def sample(self, n, seed, *, classes=None, steps=5, later: "NotThere" = 3):  # noqa: F821
        return np.zeros((n, 2), np.float32)


class Narrow(Plain):
    @classmethod
    def abilities(cls, experiment):
        return super().abilities(experiment) | {"sample": "it was trained without"}


def test_keywords_are_how_many_and_whatever_has_a_default():
    assert list(keywords_of(Plain.sample)) == ["n", "seed", "classes", "steps", "later"]
    assert {p.annotation for p in keywords_of(Plain.sample).values()} == {Any}
    outpaint = keywords_of(PriorRun.outpaint)
    assert list(outpaint) == ["seed", "classes", "prompts", "conditions", "sampling", "guidance"]
    assert outpaint["seed"].annotation is int


def test_conditions_are_what_sample_takes():
    assert object.__new__(Plain).conditions == ("classes",)
    assert object.__new__(Run).conditions == ()


def test_a_reason_is_not_an_ability():
    experiment = tiny.vqvae()
    assert can(Plain, experiment, "sample") and not can(Narrow, experiment, "sample")
    assert not can(Plain, experiment, "encode")
    why = "runs/x is a plain one: it cannot sample, it was trained without .it can: evaluate."
    with pytest.raises(UsageError, match=why):
        check_can(Narrow, experiment, "runs/x", "sample")


def test_reconstruct_takes_the_size_of_training_where_a_class_says_nothing_else():
    class Sized(Run):
        shape: ClassVar = (8, 8, 1)

    one = object.__new__(Sized)
    assert one.fitting((8, 8, 1)) == (8, 8, 1)
    with pytest.raises(UsageError, match="4 x 8 x 1: the run takes 8 x 8 x 1"):
        one.fitting((4, 8, 1))
