"""Small classes in the table of names, under `vqjax.parts`, in place of most of vqjax's own."""

import importlib.util
import pathlib
import sys

import pytest

from vqjax.config import names

NAME = "vqjax.parts"


def _load():
    path = pathlib.Path(__file__).parent / "parts.py"
    spec = importlib.util.spec_from_file_location(NAME, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


PARTS = _load()


@pytest.fixture(autouse=True)
def parts(monkeypatch, request):
    """The module of the small classes; tests marked `real_table` see vqjax's own table."""
    names.table.cache_clear()
    if "real_table" not in request.fixturenames:
        monkeypatch.setattr(names, "PACKAGES", ("vqjax.ops.schedules", "vqjax.config", NAME))
    yield PARTS
    names.table.cache_clear()


@pytest.fixture
def real_table():
    """Asks `parts` to leave the table alone."""


@pytest.fixture
def job(parts):
    """An experiment with everything in it that can be."""
    from vqjax.config import FrozenRun
    from vqjax.ops.schedules import Ramp

    codebook = parts.Codebook(codebook_size=16, start=Ramp(1.0, start=5))
    return parts.Job(
        task=parts.Task(
            tokenizer=parts.Net(quantizer=codebook, parts=(parts.Net(width=2), parts.Net(width=3))),
            losses=(parts.Grid(), parts.Grid(levels=(4,))),
            loss_weights={"l1": 1.0, "gan": Ramp(0.1, start=10)},
        ),
        data=FrozenRun("runs/a", command="vqjax train a.py"),
        ema_decay=0.5,
        extra={"z": (1, 2.5, (None, True)), "a": {"class": "odd", "inf": float("-inf")}},
    )
