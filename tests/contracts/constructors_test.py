"""Law of every class that an experiment may hold: a value of no sense is refused by its constructor
in one line, or waits for the check of the experiment; it never fails raw.
"""

import dataclasses

import numpy as np
import pytest

from tests import tiny
from vqjax import config
from vqjax.config.names import table
from vqjax.config.tree import fields_of, is_required
from vqjax.priors import ClassLabel
from vqjax.quantizers import FSQ
from vqjax.tokenizers import MLPEncoder
from vqjax.training.loop import train
from vqjax.types import UsageError, VqjaxError


class NoPath:
    """Says that it is a path, and is none."""

    def __fspath__(self):
        raise RuntimeError("no")


NAN, INF = float("nan"), float("inf")
WRONG = (None, "x", "", b"x", True, 2.5, -2.5, NAN, INF, -1, 0, 10**30, 10**5000, [], [1, [2]],
         {}, (), (1,), ("a",), (None,), ((),), {"l2": "x"}, np.zeros((2, 3)), np.array(3),
         object(), NoPath(), [NoPath()], lambda: 0)  # fmt: skip
GIVEN = {  # what required fields are given, by name
    "template": FSQ((3, 3)),
    "encoder": MLPEncoder((8, 8)),
    "tokenizer": tiny.tokenizer(),
    "prior": tiny.token_prior().task.prior,
    "data": tiny.arrays(),
    "source": tiny.arrays(),
    "task": tiny.vqvae().task,
    "loss_weights": {"l1": 1.0, "commitment": 0.25},
    "train_arrays": {"image": np.zeros((2, 8, 8, 1), np.uint8)},
    "eval_arrays": {"image": np.zeros((2, 8, 8, 1), np.uint8)},
    "optimizers": {},
    "transforms": (),
    "vocabulary": 300,
    "captions": ("a", "b"),
    "weights": config.WeightFile("nowhere"),
    "levels": (5, 5),
    "scales": (1, 4),
    "shape": (8, 8),
    "path": "nowhere",
    "name": "mnist",
    "sha256": "0",
    "dtype": "uint8",
    "size": 300,
    "width": 16,
}
WORDS = config.decode({"class": "BPE", "size": 300})
OWN = {
    "Captions": {"vocabulary": WORDS},
    "TextColumn": {"vocabulary": WORDS},
    "PairsFolder": {"columns": {"text": table()["TextColumn"](WORDS, 8)}},
    "SoundColumn": {"rate": 16_000},
    "PriorTask": {"tokenizer": config.FrozenRun("nowhere")},
    "DiffusionTask": {"denoiser": tiny.denoiser().task.denoiser},
    "GANTask": {
        "generator": tiny.gan().task.generator,
        "discriminator": tiny.gan().task.discriminator,
    },
    "TokenGANTask": {
        "generator": tiny.gan().task.generator,
        "discriminator": tiny.gan().task.discriminator,
        "tokenizer": config.FrozenRun("nowhere"),
    },
    "JointTask": {"streams": tiny.joint().task.streams, "prior": tiny.joint().task.prior},
    "SharedCodesTask": {
        "tokenizer": tiny.shared_codes().task.tokenizer,
        "modalities": tiny.shared_codes().task.modalities,
    },
    "SharedTokenizer": {
        "encoders": tiny.shared_codes().task.tokenizer.encoders,
        "quantizer": FSQ((3, 3)),
        "decoders": tiny.shared_codes().task.tokenizer.decoders,
    },
    "LabelledTexts": {"texts": (("a",), ("b", "c"))},
    "Paired": {"sources": tiny.joint().data.sources},
    "TokenStream": {"tokenizer": config.FrozenRun("nowhere")},
    "Several": {"parts": (ClassLabel(2), ClassLabel(3, batch_key="speaker"))},
    "Transform": {"name": "scale_by_lion"},
    "ClassifierTask": {"encoder": MLPEncoder((8, 8)), "classes": 10},
    "TFDSAudio": {"eval_split": "test"},
    "SoundFolder": {"rate": 16_000},
}


@pytest.mark.parametrize("name", sorted(table()))
def test_no_constructor_fails_raw(name):
    cls = table()[name]
    fields = fields_of(cls)
    required = {k: GIVEN.get(k, 2) for k, f in fields.items() if is_required(f)} | OWN.get(name, {})
    cls(**required)
    for field in fields:
        for value in WRONG:
            try:
                cls(**{**required, field: value})
            except VqjaxError as error:
                assert len(str(error)) < 500 and "\n" not in str(error), error
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                pytest.fail(f"{name}({field}={config.show(value, 50)}): {said}")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"batch_size": 8.0}, "batch_size: 8.0 is not an int"),
        ({"batch_size": "8"}, "batch_size: '8' is not an int"),
        ({"total_steps": True}, "total_steps: True is not an int"),
        ({"seed": None}, "seed: None is not an int"),
        ({"ema_decay": "0.99"}, "ema_decay: '0.99' is not a float or None"),
        ({"optimizers": None}, "optimizers: None is not a mapping"),
        ({"data": None}, "data: NoneType does not fit here"),
    ],
)
def test_an_experiment_made_in_python_is_checked_as_one_from_a_file(changes, line):
    with pytest.raises(UsageError, match=line):
        dataclasses.replace(tiny.vqvae(), **changes).check()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"experiment": None}, "experiment=None: wanted an Experiment"),
        ({"workdir": None}, "workdir=None: wanted the path"),
        ({"workdir": ""}, "workdir='': wanted the path"),
        ({"trust": "mine.py"}, "trust='mine.py': wanted a sequence"),
    ],
)
def test_training_is_told_what_and_where(tmp_path, changes, line):
    given = {"experiment": tiny.vqvae(), "workdir": tmp_path / "run"} | changes
    with pytest.raises(UsageError, match=line):
        train(**given)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_lists_and_paths_do_where_no_record_keeps_them(tmp_path):
    assert table()["VectorQuantizer"](np.int64(8), np.int32(4)).codebook_size == 8
    assert table()["FSQ"]([5, 5]).codebook_size == 25
    assert table()["Folder"](tmp_path, 8).image_size == 8
