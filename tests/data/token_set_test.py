"""Token sets written by hand: what lies beside the tokens stays what it was."""

import json

import numpy as np
import pytest

from vqjax.data import BPE, Captions, TokenSet
from vqjax.data.texts import to_bytes
from vqjax.data.token_set import DESCRIPTION, read_description, write_shard
from vqjax.types import DataError


def test_tokens_are_int32_and_captions_stay_bytes(tmp_path):
    arrays = {
        "tokens": {"shape": [2], "dtype": "uint8"},
        "caption": {"shape": [4], "dtype": "uint8"},
        "label": {"shape": [], "dtype": "int32"},
    }
    description = {
        "tokenizer": {"run": "RUN", "seal": "abc"},
        "levels": [{"name": "tokens", "grid": [2], "codebook_size": 5}],
        "arrays": arrays,
        "examples": {"train": 2, "eval": 1},
        "shard": 4,
    }
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    rows = {
        "tokens": np.array([[1, 2], [3, 4]], np.uint8),
        "caption": np.stack([to_bytes("one", 4), to_bytes("two", 4)]),
        "label": np.array([7, 8], np.int32),
    }
    write_shard(tmp_path, "train", 0, rows)
    write_shard(tmp_path, "eval", 0, {name: array[:1] for name, array in rows.items()})

    source = TokenSet(str(tmp_path))
    (batch,) = source.eval(1, np.arange(1))
    assert {name: batch[name].dtype.name for name in rows} == {
        "tokens": "int32",
        "caption": "uint8",
        "label": "int32",
    }
    captions = Captions(source, BPE(257), 6)
    captions.check()
    (batch,) = captions.eval(1, np.arange(1))
    assert captions.vocabulary.decode(batch["caption"][0]) == "one"
    np.testing.assert_array_equal(batch["tokens"], [[1, 2]])
    assert captions.seals == source.seals == ("abc",)
    makers = [{"run": "RUN", "seal": "abc"}, {"run": "OTHER", "seal": "def"}]
    (tmp_path / DESCRIPTION).write_text(json.dumps(description | {"tokenizers": makers}))
    assert Captions(TokenSet(str(tmp_path)), BPE(257), 6).seals == ("abc", "def")


@pytest.mark.parametrize(
    "spoilt",
    [
        {"examples": {"train": 2}},
        {"shard": 0},
        {"examples": {"train": 2, "eval": -1}},
        {"tokenizers": []},
    ],
)
def test_a_description_that_cannot_be_is_one_line(tmp_path, spoilt):
    description = {
        "tokenizer": {"run": "RUN", "seal": "abc"},
        "levels": [],
        "arrays": {},
        "examples": {"train": 2, "eval": 1},
        "shard": 4,
    }
    path = tmp_path / DESCRIPTION
    path.write_text(json.dumps(description))
    assert read_description(tmp_path)["shard"] == 4
    path.write_text(json.dumps(description | spoilt))
    with pytest.raises(DataError, match=f"{path} cannot be read"):
        read_description(tmp_path)
