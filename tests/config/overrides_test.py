import math

import pytest

from vqjax.config import FrozenRun, apply_override, apply_overrides, check_types, encode
from vqjax.ops.schedules import Constant, Cosine, Ramp
from vqjax.types import UsageError

Q = "task.tokenizer.quantizer"


def at(tree, path):
    for name in path.split("."):
        if isinstance(tree, tuple):
            tree = tree[int(name)]
        else:
            tree = tree[name] if isinstance(tree, dict) else getattr(tree, name)
    return tree


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("batch_size", "32", 32),
        ("batch_size", "1_000", 1000),
        ("rate", "3e-4", 3e-4),
        ("rate", "1", 1.0),
        ("rate", "-2", -2.0),
        ("rate", "inf", math.inf),
        ("ema_decay", "None", None),
        ("ema_decay", "0", 0.0),
        ("name", "x", "x"),
        ("name", "12", "12"),
        ("name", "'12'", "12"),
        ("name", "None", "None"),
        ("name", "a=b (c", "a=b (c"),
        ("name", "", ""),
        (f"{Q}.codebook_size", "1024", 1024),
        (f"{Q}.revive", "true", True),
        (f"{Q}.revive", "False", False),
        (f"{Q}.start", "0.5", 0.5),
        (f"{Q}.start", "Constant(2)", Constant(2.0)),
        (f"{Q}.start.value", "7", 7.0),
        ("task.loss_weights.l1", "0.5", 0.5),
        ("task.loss_weights.l1", "2", 2.0),
        ("task.loss_weights.gan", "Ramp(0.5, steps=3)", Ramp(0.5, steps=3)),
        ("task.loss_weights.gan.start", "99", 99),
        (
            "task.loss_weights",
            "{'l1': 1, 'new': Cosine(1., 9)}",
            {"l1": 1.0, "new": Cosine(1.0, 9)},
        ),
        ("task.losses.1.levels", "4,4", (4, 4)),
        ("task.losses.1.levels", "[4, 4]", (4, 4)),
        ("task.losses.1.levels", "()", ()),
        ("task.losses.1.levels.0", "5", 5),
        ("task.losses.0.pair", "(2, 'b')", (2.0, "b")),
        ("task.losses.0.pair.1", "b", "b"),
        ("task.losses.0.mode", "exact", "exact"),
        ("task.losses.0.untyped", "9", 9),
        ("task.tokenizer.parts.1.width", "77", 77),
        ("extra", "None", None),
        ("extra.z.1", "4", 4.0),
        ("extra.a.class", "odder", "odder"),
        ("data.path", "/tmp/x", "/tmp/x"),
    ],
)
def test_values(job, path, text, value):
    new = apply_override(job, path, text)
    assert at(new, path) == value and type(at(new, path)) is type(value)
    check_types(new)
    assert encode(new) == encode(apply_override(job, path, text))


def test_objects(job, parts):
    new = apply_override(job, Q, "Grid(levels=(4,4,4), pair=(1, 'x'))")
    assert new.task.tokenizer.quantizer == parts.Grid(levels=(4, 4, 4), pair=(1.0, "x"))
    new = apply_override(job, "task.discriminator", "Net(3, quantizer=Codebook(8, start=Ramp(1)))")
    assert new.task.discriminator.quantizer.start == Ramp(1.0)
    new = apply_override(job, "data", "FrozenRun('b')")
    assert new.data == FrozenRun("b")


def test_only_the_path_changes(job):
    new = apply_override(job, f"{Q}.codebook_size", "1024")
    assert new.task.losses is job.task.losses
    assert new.task.tokenizer.parts[0] is job.task.tokenizer.parts[0]
    assert job.task.tokenizer.quantizer.codebook_size == 16
    assert new.task.tokenizer.parent is None and new.task.tokenizer.name is None
    assert apply_override(new, f"{Q}.codebook_size", "16") == job


def test_later_items_see_earlier_ones(job):
    new = apply_overrides(job, [f"{Q}=Grid()", f"{Q}.levels=(3,)", f"{Q}.levels.0=4"])
    assert new.task.tokenizer.quantizer.levels == (4,)
    new = apply_overrides(job, [f"{Q}.codebook_size=3", f"{Q}=Grid()"])
    assert new.task.tokenizer.quantizer.levels == (8, 8)


def test_settings_that_fit_only_together(job):
    new = apply_overrides(job, ["accumulate=5", "batch_size=10"])
    assert (new.accumulate, new.batch_size) == (5, 10)
    with pytest.raises(UsageError, match="accumulate does not divide"):
        apply_overrides(job, ["accumulate=5"])


@pytest.mark.parametrize(
    ("item", "line"),
    [
        ("batch_size=many", "batch_size: 'many' is not an int"),
        ("batch_size=1.5", "batch_size: '1.5' is not an int"),
        ("batch_size=1e3", "batch_size: '1e3' is not an int"),
        ("batch_size=true", "batch_size: 'true' is not an int"),
        ("batch_size=", "batch_size: '' is not an int"),
        ("batch_size=None", "batch_size: 'None' is not an int"),
        ("rate=fast", "rate: 'fast' is not a float"),
        ("ema_decay=x", "ema_decay: 'x' is not a float or None"),
        ("rate=" + "9" * 400, "rate: '999"),
        (
            "task.loss_weights={'l1': 0x" + "f" * 5000 + "}",
            "loss_weights: a number beyond every float",
        ),
        (f"{Q}.revive=1", f"{Q}.revive: '1' is not a bool (true or false)"),
        (f"{Q}.revive=yes", f"{Q}.revive: 'yes' is not a bool (true or false)"),
        (f"{Q}.start=soon", f"{Q}.start: 'soon' is not a Schedule or a float or None"),
        (f"{Q}.start=Grid()", f"{Q}.start: Grid() is not a Schedule or a float or None"),
        ("task.losses.0.mode=slow", "task.losses.0.mode: 'slow' is not one of 'fast', 'exact'"),
        ("task.losses.1.levels=4", "task.losses.1.levels: '4' is not a tuple of int"),
        ("task.losses.1.levels=(4, 0.5)", "task.losses.1.levels.1: 0.5 is not an int"),
        ("task.losses.0.pair=(1,)", "task.losses.0.pair: (1.0,) is not a tuple of 2 (float, str)"),
        ("task.loss_weights.l1=x", "task.loss_weights.l1: 'x' is not a float or a Schedule"),
        ("task.loss_weights={'l1': 'x'}", "task.loss_weights.l1: 'x' is not a float or a Schedule"),
        ("task.discriminator=Grid()", "task.discriminator: Grid() is not a Module or None"),
        ("task=3", "task: '3' is not an object such as Task(...)"),
        ("extra.z.0=x", "extra.z.0: 'x' is not an int"),
        ("batch_size.x=1", "batch_size is an int and has nothing below it"),
        ("task.discriminator.width=1", "task.discriminator is None and has nothing below it"),
        ("task.losses.2.x=1", "task.losses has no item '2': it has 2, counted from 0"),
        ("task.losses.-1=1", "task.losses has no item '-1': it has 2, counted from 0"),
        (
            f"{Q}.codebok_size=64",
            f"{Q} has no field 'codebok_size': did you mean 'codebook_size'? "
            "(valid: codebook_dim, codebook_size, decay, revive, start)",
        ),
        (
            "task.tokenizer.parent=1",
            "task.tokenizer has no field 'parent': did you mean 'parts'? (valid: activation",
        ),
        ("task.loss_weights.l2=1", "task.loss_weights has no key 'l2': did you mean 'l1'?"),
        ("bach_size=1", "the experiment has no field 'bach_size': did you mean 'batch_size'?"),
        ("batch_size", "'batch_size' is not an override: give path=value"),
        ("=1", "'=1' is not an override"),
        (f"{Q}=Gird()", f"{Q}: 'Gird' is not a class of vqjax: did you mean 'Grid'?"),
        (f"{Q}=Grid(level=1)", f"{Q}: Grid has no field 'level': did you mean 'levels'?"),
        (f"{Q}=Grid(levels=(4,'a'))", f"{Q}: Grid.levels.1: 'a' is not an int"),
        (f"{Q}=Grid(levels=(4,4", f"{Q}: cannot read 'Grid(levels=(4,4': '(' was never closed"),
        (f"{Q}=Grid((1,), levels=(2,))", f"{Q}: Grid got 'levels' twice"),
        (f"{Q}=Grid(1,2,3,4,5)", f"{Q}: Grid takes 4 arguments in order, got 5"),
        (f"{Q}=Grid(**{{'levels': 1}})", f"{Q}: Grid has no field '**'"),
        (f"{Q}=Codebook()", f"{Q}: Codebook needs 'codebook_size'"),
        (f"{Q}=Net(activation=silu)", f"{Q}: cannot read 'silu': only literals"),
        (f"{Q}=Grid(levels=(1,)*10)", f"{Q}: cannot read '(1,) * 10'"),
        (f"{Q}=Grid(levels=(1,1,1,1,1,1,1,1,1,1))", "at most nine levels"),
        (f"{Q}=__import__('os').system('true')", "only literals"),
        (f"{Q}=eval('1')", f"{Q}: 'eval' is not a class of vqjax"),
        (f"{Q}=a_function()", f"{Q}: 'a_function' is not a class of vqjax"),
        (f"{Q}=Net.__init__()", "only literals"),
        (f"{Q}=[x for x in ()]", "only literals"),
        (f"{Q}=f'{{1}}'", "only literals"),
        (f"{Q}=b'x'", "only literals"),
        (f"{Q}=1j", "only literals"),
        (f"{Q}={'(' * 5000}", f"{Q}: cannot read"),
        (f"{Q}={'-' * 5000}1", f"{Q}: "),
    ],
)
def test_refusals(job, item, line):
    with pytest.raises(UsageError) as caught:
        apply_overrides(job, [item])
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_text_for_anything(parts):
    job = parts.Job(task=None, data=None)
    assert apply_override(job, "data", "some/folder").data == "some/folder"
    assert apply_override(job, "data", "3").data == 3
    with pytest.raises(UsageError, match="'Gird' is not a class"):
        apply_override(job, "data", "Gird()")


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda p: p.Job(None, None, batch_size="8"), "batch_size: '8' is not an int"),
        (lambda p: p.Job(p.Net(width=2.5), None), "task.width: 2.5 is not an int"),
        (lambda p: p.Job(p.Net(parts=[p.Net()]), None), "task.parts: "),
        (lambda p: p.Job(p.Grid(levels=("a",)), None), "task.levels.0: 'a' is not an int"),
        (lambda p: p.Job((p.Task(p.Grid()),), None), "task.0.tokenizer: Grid() is not a Module"),
        (lambda p: p.Job(None, {"x": p.Blob(3)}), "data.x.weights: 3 is not a ndarray"),
    ],
)
def test_check_types(parts, wrong, line):
    with pytest.raises(UsageError) as caught:
        check_types(wrong(parts))
    assert str(caught.value).startswith(line)


def test_check_types_accepts(job):
    check_types(job)
