import dataclasses
import math

from vqjax.config import apply_overrides, describe, difference, encode
from vqjax.ops.schedules import Ramp

Q = "task.tokenizer.quantizer"


def test_no_difference(job):
    assert difference(job, job) == []
    assert difference(encode(job), job) == []
    assert difference({"x": 1}, {"x": 1.0}) == []


def test_differences(job):
    new = apply_overrides(
        job,
        [
            "batch_size=32",
            f"{Q}=Grid()",
            "task.loss_weights.gan.start=7",
            "task.losses.1.levels=(1,2)",
        ],
    )
    assert difference(job, new) == [
        "task.tokenizer.quantizer: Codebook(codebook_size=16, codebook_dim=4, decay=0.99, "
        "revive=False, start=Ramp(value=1.0, start=5, steps=0)) -> Grid(levels=(8, 8), "
        "pair=(1.0, 'a'), mode='fast', untyped=3)",
        "task.losses.1.levels: (4,) -> (1, 2)",
        "task.loss_weights.gan.start: 10 -> 7",
        "batch_size: 64 -> 32",
    ]


def test_keys_fields_and_kinds(job, parts):
    assert difference({"a": 1, "b": True}, {"b": 1, "c": "x"}) == [
        "a: 1 -> (gone)",
        "b: True -> 1",
        "c: (none) -> 'x'",
    ]
    inf = dataclasses.replace(job, rate=math.inf)
    assert difference(job, inf) == ["rate: 0.001 -> inf"]
    assert difference(inf, dataclasses.replace(job, rate=-math.inf)) == ["rate: inf -> -inf"]
    same = dataclasses.replace(job, extra=math.nan)
    assert difference(same, same) == []


def test_changed_code():
    old = {"class": "n.py:Net", "class sha256": "a", "x": 1}
    assert difference({"t": old}, {"t": old | {"class sha256": "b"}}) == [
        "t: the code of n.py:Net changed"
    ]


def test_describe(job):
    text = describe(dataclasses.replace(job, extra=None))
    assert text == EXPECTED, text


def test_describe_small():
    assert describe(Ramp(1.0)) == "Ramp(value=1.0)\n  [start=0, steps=0]"
    assert describe(()) == "()"


def test_many_plain_values_are_told_by_the_first_ones():
    merges = tuple(f"pair number {i}" for i in range(1_447))
    first = "'pair number 0', 'pair number 1', 'pair number 2', 'pair number 3'"
    assert describe(merges) == f"({first}, ...), 1,447 in all"
    assert describe((1,) * 20) == f"({', '.join(['1'] * 20)})"  # a line has room for it


EXPECTED = """\
Job
  task: Task
    tokenizer: Net
      quantizer: Codebook
        codebook_size: 16
        start: Ramp(value=1.0, start=5)
          [steps=0]
        [codebook_dim=4, decay=0.99, revive=False]
      parts: (Net(width=2), Net(width=3))
      [width=8, activation='silu']
    losses: (Grid(), Grid(levels=(4,)))
    loss_weights: {l1: 1.0, gan: Ramp(value=0.1, start=10)}
    [discriminator=None]
  data: FrozenRun(path='runs/a', command='vqjax train a.py')
    [experiment=None, step=None, seal=None, inputs=None]
  ema_decay: 0.5
  [batch_size=64, accumulate=1, rate=0.001, name='job', extra=None]"""
