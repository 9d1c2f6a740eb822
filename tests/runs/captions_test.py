"""Captions that come true, counted by hand on pictures that are one number."""

import types

import numpy as np
import pytest

from vqjax.data.texts import to_bytes
from vqjax.runs.captions import check_captions
from vqjax.runs.editing import PLAIN, UNGUIDED
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


def test_the_first_captions_alone(run):
    assert set(check_captions(run, 2).tests["one test"]["real"]) == {"small", "all"}


def test_other_data_cannot_tell(run):
    run.experiment.data = types.SimpleNamespace()
    with pytest.raises(UsageError, match="RUN: its data cannot tell"):
        check_captions(run, 2)
