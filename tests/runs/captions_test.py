"""Captions that come true, counted by hand on pictures that are one number."""

import types

import numpy as np
import pytest

from vqjax.data.texts import to_bytes
from vqjax.runs.captions import check_captions
from vqjax.runs.editing import PLAIN, UNGUIDED
from vqjax.runs.joint import JointRun
from vqjax.runs.prior import PriorRun
from vqjax.types import UsageError

CAPTIONS = ["1 small", "2 small", "3 large", "4 large"]


class Numbers:
    """A picture satisfies a caption where its number is the caption's."""

    def caption_tests(self):
        return {"one test": self}

    def num_eval(self):
        return len(CAPTIONS)

    def kinds(self, captions):
        return [caption.split()[1] for caption in captions]

    def satisfied(self, images, captions):
        return images[:, 0, 0, 0] == [int(caption.split()[0]) for caption in captions]

    def described(self, images, captions):
        return self.satisfied(images, captions)

    def named(self, captions, truths):
        return [float(a == b) for a, b in zip(captions, truths, strict=True)]

    def eval(self, batch_size, rows):
        captions = np.stack([to_bytes(caption, 8) for caption in CAPTIONS])
        yield {"caption": captions[rows], "image": pictures(1, 2, 3, 4)[rows]}


def pictures(*numbers):
    return np.asarray(numbers, np.uint8)[:, None, None, None]


class Drawing(PriorRun):
    """A run that draws wrongly what is to be 2."""

    path, step, params_kind = "RUN", 7, "ema"
    tokenizer = types.SimpleNamespace(reconstruct=lambda images: np.where(images == 4, 0, images))

    def __init__(self):
        self.experiment = types.SimpleNamespace(data=types.SimpleNamespace(source=Numbers()))
        self.calls = []

    @classmethod
    def abilities(cls, experiment):
        return {"sample": None}

    def sample(self, n, seed=0, *, prompts=None, sampling=PLAIN, guidance=None):
        self.calls.append((seed, prompts, sampling, guidance))
        return pictures(1, 9, 3, 4)[:n] if prompts else pictures(1, 1, 1, 1)[:n]


class Joint(JointRun):
    """A run that draws wrongly what is to be 2, and writes of 1 what is true of 2."""

    path, step, params_kind = "RUN", 7, "ema"
    media = {"picture": "image", "words": "text"}

    def __init__(self):
        self.experiment = types.SimpleNamespace(data=types.SimpleNamespace(source=Numbers()))

    @classmethod
    def abilities(cls, experiment):
        return {"sample": None}

    def sample(self, n, seed=0, *, conditions=None, targets=(), sampling=PLAIN, guidance=UNGUIDED):
        if targets == ["words"]:
            assert sampling.temperature == 0.0 and guidance == UNGUIDED
            assert conditions["picture"][:, 0, 0, 0].tolist() == [1, 2, 3, 4]
            return {"words": ["2 small", *CAPTIONS[1:]]}
        assert conditions is None or conditions["words"] == CAPTIONS[:n]
        return {"picture": pictures(1, 9, 3, 4)[:n] if conditions else pictures(1, 1, 1, 1)[:n]}

    def coded(self, name, examples):
        return np.where(examples == 4, 0, examples)


@pytest.fixture
def run():
    return Drawing()


def test_shares_by_kind(run):
    check = check_captions(run, 10, seed=5)
    assert check.tests == {
        "one test": {
            "drawn": {"small": 0.5, "large": 1.0, "all": 0.75},
            "drawn without": {"small": 0.5, "large": 0.0, "all": 0.25},
            "real": {"small": 1.0, "large": 1.0, "all": 1.0},
            "reconstructed": {"small": 1.0, "large": 0.5, "all": 0.75},
        }
    }
    assert run.calls == [(5, CAPTIONS, PLAIN, UNGUIDED), (5, None, PLAIN, None)]
    text = "\n".join(check.lines())
    assert "one test: drawn " in text and "75.0" in text and "seed 5" in text


def test_a_joint_prior_writes_captions_too(run):
    one, joint = check_captions(run, 10).tests["one test"], check_captions(Joint(), 10)
    written = {"small": 0.5, "large": 1.0, "all": 0.75}
    assert joint.tests == {
        "one test": {**one, "written": written, "written: things named": written}
    }


def test_the_first_captions_alone(run):
    assert set(check_captions(run, 2).tests["one test"]["real"]) == {"small", "all"}


def test_other_data_cannot_tell(run):
    run.experiment.data = types.SimpleNamespace()
    with pytest.raises(UsageError, match="RUN: its data cannot tell"):
        check_captions(run, 2)
