import pytest

from vqjax.config import FrozenRun, apply_frozen, find_frozen, with_frozen
from vqjax.types import UsageError


@pytest.fixture
def two(parts):
    inner = parts.Job(task=FrozenRun("hidden"), data=None)
    first = FrozenRun("a", experiment=inner, command="make a", step=3, seal="s")
    net = parts.Net(quantizer=FrozenRun("b"))
    return parts.Job(task=parts.Task(net, losses=(first,)), data={"quantizer": FrozenRun("c")})


def test_find(two):
    runs = find_frozen(two)
    assert [(path, run.path) for path, run in runs.items()] == [
        ("task.tokenizer.quantizer", "b"),
        ("task.losses.0", "a"),
        ("data.quantizer", "c"),
    ]


def test_with_frozen(two):
    new = with_frozen(two, "task.losses.0", FrozenRun("z"))
    assert new.task.losses == (FrozenRun("z"),)
    assert two.task.losses[0].path == "a"
    assert with_frozen(new, "0", two.task.losses[0]) == two


def test_apply_moves_the_path_alone(two):
    new = apply_frozen(two, "task.losses.0=/moved=here")
    run = new.task.losses[0]
    assert (run.path, run.step, run.seal, run.command) == ("/moved=here", 3, "s", "make a")
    assert run.experiment is two.task.losses[0].experiment


def test_refusals(two):
    with pytest.raises(UsageError, match="task.tokenizer.quantizer and data.quantizer"):
        apply_frozen(two, "quantizer=x")
    with pytest.raises(UsageError, match="nothing frozen 'quantiser' in "):
        apply_frozen(two, "quantiser=x")
    with pytest.raises(UsageError, match="give NAME=PATH"):
        apply_frozen(two, "0=")
