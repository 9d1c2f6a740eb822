"""The packs that come with the repository: they open, are small, and do what is said of them."""

import json
import pathlib

import numpy as np
import pytest

import vqjax
from tests import pretrained
from vqjax.data.shapes import satisfied
from vqjax.sampling import Guidance, TokenSampling

PACKS = sorted(path for path in pretrained.COMMITTED.iterdir() if path.is_dir())
MOST, MOST_OF_ALL = 13.5e6, 35e6  # bytes
ELSEWHERE = ("/tmp", "/home", "/root", "/work")


def size(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_they_are_those_that_can_be_made_anew():
    assert {path.name for path in PACKS} == set(pretrained.NEEDED)
    assert sum(map(size, PACKS)) <= MOST_OF_ALL


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.name)
def test_a_pack_opens_and_its_card_has_its_numbers(path):
    assert size(path) <= MOST
    run = vqjax.load(path)  # compares what it reads with its seal
    card, numbers = (path / "README.md").read_text(), pretrained.numbers(path)
    assert {name for name in numbers if "/" not in name} >= set(run.headline)
    record = json.loads((path / "experiment.json").read_text())
    assert " ".join(record["command"]) in card
    for file in (*path.rglob("*.json"), *path.rglob("*.md")):
        assert not any(f"{root}/" in file.read_text() for root in ELSEWHERE), file


def test_shapes_are_drawn_as_their_captions_say():
    run = vqjax.load(pretrained.COMMITTED / "shapes_text_to_image")
    captions = ["a red circle left of a blue square", "two green triangles"] * 8
    how = {"sampling": TokenSampling(temperature=0.5), "guidance": Guidance(2.0)}
    pictures = run.sample(len(captions), prompts=captions, **how)
    assert np.mean(satisfied(pictures, captions)) > 0.75
    other = [*captions[1:], captions[0]]
    assert np.mean(satisfied(pictures, other)) < 0.1
