import dataclasses
import json
import math
import sys

import numpy as np
import pytest
from flax import linen as nn

from vqjax.config import (
    FrozenRun,
    MissingArray,
    check_single_use,
    decode,
    encode,
    foreign_classes,
    foreign_sources,
    from_json,
    load_file,
    names,
    read_json,
    to_json,
)
from vqjax.ops.schedules import Constant, Ramp
from vqjax.types import DataError, UsageError


def through_json(value, trust=()):
    return decode(from_json(to_json(encode(value))), trust)


def test_round_trip_keeps_everything(job):
    back = through_json(job)
    assert back == job
    assert list(back.extra) == ["z", "a"] and list(back.task.loss_weights) == ["l1", "gan"]
    assert isinstance(back.task.tokenizer.quantizer.start, Ramp)
    assert encode(back) == encode(job)


def test_encoded_form():
    assert encode(Ramp(1.0, start=3)) == {"class": "Ramp", "value": 1.0, "start": 3, "steps": 0}


def test_linen_own_fields_stay_out(parts):
    assert set(encode(parts.Net())) == {"class", "width", "quantizer", "parts", "activation"}


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**70), 0.1, 5e-324, 1e22, math.inf, -math.inf, "ä\n\u2028", (), ((1,), ())],
)
def test_leaves(value):
    back = through_json(value)
    assert back == value and type(back) is type(value)


def test_nan_and_number_types_survive():
    assert math.isnan(through_json(math.nan))
    assert [type(v) for v in through_json((1, 1.0, True))] == [int, float, bool]


def test_mappings_with_reserved_keys():
    value = {"class": "Ramp", "items": {"class sha256": "x", "class": {}}}
    assert through_json(value) == value


def test_array_becomes_its_fingerprint(parts):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    back = through_json(parts.Blob(array))
    assert isinstance(back.weights, MissingArray)
    assert (back.weights.shape, back.weights.dtype) == ((2, 3), "float32")
    assert encode(back) == encode(parts.Blob(array.copy(order="F")))
    assert encode(back) != encode(parts.Blob(array + 1))


class Odd:
    pass


@dataclasses.dataclass
class Mutable:
    x: int = 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1], "use a tuple"),
        (np.int64(3), "use a Python number"),
        (len, "the function len"),
        (nn.Dense, "the class Dense"),
        (Odd(), "Odd cannot be recorded"),
        (Mutable(), "not a frozen dataclass"),
        ({1: 2}, "the key 1 is not a str"),
        (b"x", "bytes cannot be recorded"),
        (np.array([None]), "an array of Python objects"),
    ],
)
def test_refused_values_name_their_path(value, words):
    with pytest.raises(UsageError, match=f"^a.0: .*{words}") as caught:
        encode({"a": (value,)})
    assert "\n" not in str(caught.value)


def test_endless_tree_is_refused():
    endless = {}
    endless["x"] = endless
    with pytest.raises(UsageError, match="more than 100 levels"):
        encode(endless)


NET = {"class": "Net"}
HOSTILE = [
    ({"class": "vqjax.config.subprocess.Popen", "args": "true"}, "is not a class of vqjax"),
    ({"class": "vqjax_evil.X"}, "is not a class of vqjax"),
    ({"class": "a_function"}, "is not a class of vqjax"),
    ({"class": "load_file"}, "is not a class of vqjax"),
    ({"class": "Net.__init__"}, "is not a class of vqjax"),
    ({"class": "Net.__class__"}, "is not a class of vqjax"),
    ({"class": "Schedule"}, "is not a class of vqjax"),
    ({"class": ""}, "is not a class of vqjax"),
    ({"class": "os:system", "command": "true"}, "--trust os "),
    ({"class": "vqjax.config:decode"}, "--trust vqjax.config "),
    ({"class": "os:path.join"}, "does not name a class"),
    ({"class": "evil.py:Net", "class sha256": "0"}, "--trust PATH/evil.py "),
    ({"class": ["Net"]}, "named by a string, not by list"),
    ({"class": None}, "named by a string"),
    ({**NET, "widht": 1}, "Net has no field 'widht': did you mean 'width'"),
    ({**NET, "parent": None}, "no field 'parent'"),
    ({**NET, "name": "x"}, "no field 'name'"),
    ({**NET, "width": "8"}, "^width: '8' is not an int"),
    ({**NET, "width": True}, "^width: True is not an int"),
    ({**NET, "parts": [NET, 1]}, r"^parts.1: 1 is not a Module"),
    ({"class": "Codebook"}, "Codebook needs a field 'codebook_size'"),
    ({"class": "Grid", "levels": [1] * 10}, "at most nine levels"),
    ({"class": "Grid", "levels": {"a": 1}}, "is not a tuple of int"),
    ({"class": "float", "value": "1e3"}, "inf, -inf or nan"),
    ({"class": "float", "value": []}, "inf, -inf or nan"),
    ({"class": "mapping", "items": 3}, "needs 'items'"),
    ({"class": "FrozenRun", "path": 3}, "^path: 3 is not a str"),
]


@pytest.mark.parametrize(("tree", "words"), HOSTILE, ids=[str(t)[:40] for t, _ in HOSTILE])
def test_hostile_trees(tree, words):
    with pytest.raises(DataError, match=words) as caught:
        decode(tree)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"x\.0"):
        decode({"x": [tree]})


def test_deep_nesting():
    with pytest.raises(DataError, match="nested too deep"):
        from_json("[" * 100_000 + "]" * 100_000)
    tree = 1
    for _ in range(10_000):
        tree = [tree]
    with pytest.raises(DataError, match="more than 100 levels"):
        decode(tree)


@pytest.mark.parametrize("text", ["", "{", "[NaN]", "[Infinity]", "1" * 5000, "\x00"])
def test_damaged_json(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match="x.json: .*JSON") as caught:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_unreadable_json(tmp_path):
    (tmp_path / "x.json").write_bytes(b'"\xff"')
    with pytest.raises(DataError, match="UTF-8"):
        read_json(tmp_path / "x.json")
    with pytest.raises(DataError, match="No such file"):
        read_json(tmp_path / "y.json")
    with pytest.raises(DataError, match="directory"):
        read_json(tmp_path)


def test_names_are_unique(monkeypatch, parts):
    @dataclasses.dataclass(frozen=True)
    class Ramp:
        x: int = 0

    Ramp.__module__ = "vqjax.other"
    monkeypatch.setattr(parts, "Ramp", Ramp, raising=False)
    monkeypatch.setattr(parts, "__all__", [*parts.__all__, "Ramp"])
    names.table.cache_clear()
    with pytest.raises(AssertionError, match="two classes named Ramp"):
        names.table()


def test_real_table(real_table):
    table = names.table()
    assert {"Experiment", "FrozenRun", "EMAVectorQuantizer", "TokenizerTask", "L1"} <= set(table)
    assert all(cls.__module__.startswith("vqjax.") for cls in table.values())
    assert not {"Popen", "load_file", "Schedule", "Dense", "Module"} & set(table)


NETS = """
import dataclasses
import pathlib
from flax import linen as nn
import sibling

pathlib.Path(__file__).with_name("ran").touch()

class Mine(nn.Module):
    width: int = 4

@dataclasses.dataclass(frozen=True)
class Job:
    task: object
    data: object

def inner():
    class Hidden(nn.Module):
        pass
    return Hidden()

def experiment(hide: bool = False):
    return Job(task=inner() if hide else Mine(width=5), data=sibling.Part())
"""
SIBLING = """
import dataclasses

@dataclasses.dataclass(frozen=True)
class Part:
    x: int = 1
"""


@pytest.fixture
def nets(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "sibling.py").write_text(SIBLING)
    return tmp_path / "nets.py"


def test_foreign_classes_need_trust(nets):
    tree = load_file(str(nets), {}, [])
    assert foreign_classes(tree) == ("nets.py:Job", "nets.py:Mine", "sibling.py:Part")
    sources = foreign_sources(tree)
    assert sources == (str(nets), str(nets.with_name("sibling.py")))
    encoded = encode(tree)
    assert encoded["class"] == "nets.py:Job" and len(encoded["class sha256"]) == 64
    with pytest.raises(DataError, match="nets.py:Job .* --trust PATH/nets.py"):
        decode(encoded)
    with pytest.raises(DataError, match="sibling.py:Part .* --trust PATH/sibling.py"):
        decode(encoded, sources[:1])
    assert decode(encoded, sources) == tree


def test_untrusted_code_does_not_run(nets):
    encoded = encode(load_file(str(nets), {}, []))
    nets.with_name("ran").unlink()
    for name in [n for n in sys.modules if n.startswith("vqjax_file_nets")]:
        del sys.modules[name]
    with pytest.raises(DataError):
        decode(encoded)
    assert not nets.with_name("ran").exists()
    both = (str(nets), str(nets.with_name("sibling.py")))
    assert type(decode(encoded, both).task).__name__ == "Mine"
    assert nets.with_name("ran").exists()


def test_changed_file_is_refused(nets):
    encoded = encode(load_file(str(nets), {}, []))
    nets.with_name("ran").unlink()
    nets.write_text(NETS + "\n# changed\n")
    both = (str(nets), str(nets.with_name("sibling.py")))
    with pytest.raises(DataError, match="not the file that the run was made with: its sha256"):
        decode(encoded, both)
    assert not nets.with_name("ran").exists()


def test_local_class_is_refused(nets):
    with pytest.raises(UsageError, match="^task: .*Hidden is not defined at the top"):
        encode(load_file(str(nets), {"hide": "true"}, []))


def test_foreign_module():
    tree = encode(nn.Dropout(0.5, broadcast_dims=()))
    assert tree["class"] == "flax.linen.stochastic:Dropout"
    with pytest.raises(DataError, match="--trust flax.linen.stochastic "):
        decode(tree, ["flax.linen.stoch", "jax"])
    assert decode(tree, ["flax"]).rate == 0.5
    with pytest.raises(DataError, match="not a Linen module"):
        decode({"class": "flax.linen.stochastic:jax"}, ["flax"])


@pytest.mark.parametrize("item", ["nowhere.py", "a b", "a..b", "", "/tmp"])
def test_wrong_trust(item):
    with pytest.raises(UsageError, match="--trust"):
        decode(1, [item])


def test_one_instance_twice_is_refused(parts):
    net = parts.Net()
    task = parts.Task(parts.Net(parts=(net,)), loss_weights={"x": Constant(1.0)})
    check_single_use(parts.Job(task=task, data=parts.Net()))
    with pytest.raises(
        UsageError, match=r"Net instance stands at task.tokenizer.parts.0 and at data"
    ):
        check_single_use(parts.Job(task=task, data=net))
    schedule = Constant(1.0)
    check_single_use((schedule, schedule))


def test_json_is_strict():
    assert json.loads(to_json(encode(FrozenRun("a")))) == encode(FrozenRun("a"))
    with pytest.raises(ValueError):
        to_json(math.nan)
