"""`vqjax benchmark`: what it says is what was run."""

import copy
import dataclasses
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests import tiny
from tests.quickly import quick
from vqjax.benchmark import breakdown, steps
from vqjax.benchmark import measure as speed
from vqjax.benchmark.steps import Workload, compile_steps, last_turn, noise, noise_batches
from vqjax.benchmark.stopwatch import take_turns
from vqjax.benchmark.table import against, table
from vqjax.cli.main import main
from vqjax.config import WeightFile
from vqjax.features import lpips
from vqjax.hardware.flops import total_flops
from vqjax.losses import L2, LPIPS
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.runs.sound import SoundRun
from vqjax.runs.stream import HOPS, LANES
from vqjax.tokenizers import MLPDecoder, MLPEncoder, Tokenizer
from vqjax.training.mesh import make_mesh
from vqjax.training.optim import Adam
from vqjax.training.restore import initial_state
from vqjax.training.step import active_at, make_gradients
from vqjax.types import ArraySpec, UsageError

ROOT = pathlib.Path(__file__).parents[2]
SMALL = ROOT / "tests" / "training" / "files" / "small_vqvae.py"
SMALL_VAE = (
    "task.tokenizer.encoder=MLPEncoder(shape=(8, 8), widths=(8,))",
    "task.tokenizer.decoder=MLPDecoder(shape=(8, 8), widths=(8,), channels=1)",
)
STEP = {
    "examples_per_second": 100.0,
    "examples_per_second_per_device": 50.0,
    "tokens_per_second": 1600.0,
    "steps": 7,
    "seconds": {"mean": 0.32, "p5": 0.3, "p50": 0.31, "p95": 0.4, "p99": 0.5},
}
FOUND = {
    "schema": 1,
    "experiment": {"file": "small.py", "overrides": [], "arguments": []},
    "device": {"platform": "gpu", "kind": "H", "count": 2, "cores": 4},
    "data": "real",
    "batch_size": 32,
    "compute_dtype": "float32",
    "parameters": 1234,
    "active": [["l2", "tokenizer"]],
    "compile": {"trace_seconds": 1.0, "seconds": 10.0, "cached": False},
    "step": STEP,
    "flops": {
        "formula": 2e9,
        "xla": None,
        "per_second": 6.25e9,
        "peak": 1e12,
        "peak_is": "data sheet",
        "share": 0.00625,
    },
    "memory": {"bytes": 5_000_000, "of": "device"},
    "input": {
        "wait": 0.25,
        "first_batch_seconds": 2.0,
        "pipeline_examples_per_second": 9000.0,
    },
    "shares": {"gradient": 0.8, "optimizer": 0.1},
    "latency": {"encode": {"p50": 0.002, "p99": 0.004}},
    "precisions": {"float32": STEP, "bfloat16": STEP},
    "sweep": [
        {"batch_size": 32, "examples_per_second": 100.0, "seconds": 0.31},
        {"batch_size": 64, "examples_per_second": None, "seconds": None},
    ],
    "knee": 32,
}


def workload(experiment, devices=None):
    mesh, inputs = make_mesh(devices), experiment.data.example_spec()
    return Workload(experiment, inputs, mesh, {}, initial_state(experiment, inputs, mesh))


def test_noise_is_like_the_data():
    inputs = {
        "image": ArraySpec((4, 4, 3), "uint8"),
        "label": ArraySpec((), "int32"),
        "sound": ArraySpec((5, 1), "float32"),
    }
    made = noise(inputs, 3)
    for name, spec in inputs.items():
        assert made[name].shape == (3, *spec.shape) and made[name].dtype == spec.dtype
    assert made["image"].max() > 200 and set(made["label"]) <= {0, 1}
    assert -1 <= made["sound"].min() < 0 < made["sound"].max() <= 1
    batches = noise_batches(inputs, 8, make_mesh())
    first = [next(batches)["image"] for _ in range(5)]
    assert first[4] is first[0] and not np.array_equal(first[0], first[1])


def test_noise_of_sound_is_as_long_as_the_example_at_its_own_level():
    batch = noise(tiny.sound().data.example_spec(), 3)
    assert batch["length"].tolist() == [160] * 3 and batch["gain"].tolist() == [1.0] * 3
    sound = batch["audio"]
    assert sound.dtype == np.int16 and sound.shape == (3, 160, 1) and sound.std() > 2_000


@pytest.fixture(scope="module")
def codec():
    """The workload of a codec on one device."""
    experiment, mesh = tiny.sound(), make_mesh(jax.devices()[:1])
    inputs = experiment.data.example_spec()
    return Workload(experiment, inputs, mesh, {}, initial_state(experiment, inputs, mesh))


def test_sound_is_counted_in_seconds(codec, monkeypatch):
    monkeypatch.setattr(speed, "LATENCY_CALLS", (2, 2))
    latency = speed._latencies(codec, 0.0)
    assert list(latency) == ["encode", "decode", "stream"]
    found = {"step": {"examples_per_second": 300.0}, "latency": latency}
    example, piece = 160 / 8_000, HOPS * 20 / 8_000
    sound = speed._sound(codec, found)
    assert sound == pytest.approx(
        {
            "step": 300 * example,
            "encode": example / latency["encode"]["p50"],
            "decode": example / latency["decode"]["p50"],
            "stream": piece / latency["stream"]["p50"],
        }
    )
    text = "\n".join(table({**FOUND, "latency": latency, "sound": sound}))
    assert "6  seconds of sound in a second\n" in text and "one piece, host to host" in text
    assert "seconds of sound in a second, single calls" in text
    pictures = dataclasses.replace(codec, experiment=tiny.vqvae(), inputs={})
    assert speed._sound(pictures, found) == {}


def test_a_call_of_a_stream_is_a_stream(codec):
    task, state = codec.experiment.task, codec.state
    x = jax.random.normal(jax.random.key(0), (1, HOPS * task.hop, 1)) * 0.1
    calls = SoundRun.single_calls(task, (160, 1))
    sound, tokens = (
        quick(calls[name])(state.params, state.collections, x) for name in ("stream", "encode")
    )
    whole = quick(calls["decode"])(state.params, state.collections, tokens)
    assert sound.shape == (LANES, HOPS * task.hop, 1)
    # A stream is one hop late.
    np.testing.assert_allclose(sound[0, task.hop :], whole[0, : -task.hop], atol=1e-4)
    both_ways = dataclasses.replace(task, tokenizer=tiny.sound_tokenizer(padding=None))
    assert list(SoundRun.single_calls(both_ways, (160, 1))) == ["encode", "decode"]


def test_frozen_networks_are_of_noise_and_it_says_so(one_device, monkeypatch):
    shapes = {"heads": [jax.ShapeDtypeStruct((3,), "float32")]}
    monkeypatch.setattr(lpips, "shapes", lambda: shapes)
    base, said = tiny.vqvae(), []
    task = dataclasses.replace(base.task, losses=(L2(), LPIPS(WeightFile("a"), WeightFile("b"))))
    experiment, mesh = dataclasses.replace(base, task=task), make_mesh(one_device)
    made = speed._frozen_arrays(experiment, {}, mesh, said.append)
    assert list(made) == ["task.losses.1"] and made["task.losses.1"]["heads"][0].shape == (3,)
    assert said == [
        "frozen networks have random weights here: task.losses.1 (only speed is measured)"
    ]
    assert speed._frozen_arrays(base, {}, mesh, said.append) == {} and len(said) == 1


def test_turns_are_taken_and_short_calls_repeated():
    calls = []
    times = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 0.0, 2)
    assert {name: len(found) for name, found in times.items()} == {"a": 2, "b": 2}
    runs = [name for i, name in enumerate(calls) if i == 0 or calls[i - 1] != name]
    assert runs == ["a", "b"] * 3  # once for how long they take, then two rounds
    assert len(calls) > 100 and max(times["a"]) < 0.001


@pytest.mark.parametrize("adversary", [True, False])
def test_the_parts_do_what_the_step_does(adversary, one_device):
    """By their FLOPs: what a part left out or did twice would be missing or too much."""
    experiment = tiny.vqgan()
    networks = Tokenizer(
        encoder=MLPEncoder(shape=(8, 8), widths=(16,)),
        quantizer=EMAVectorQuantizer(codebook_size=16, codebook_dim=4),
        decoder=MLPDecoder(shape=(8, 8), widths=(16,), channels=1),
    )
    task = dataclasses.replace(experiment.task, tokenizer=networks)
    here = workload(dataclasses.replace(experiment, task=task), one_device)
    active = active_at(experiment, 5)
    if not adversary:
        active = tuple(a for a in active if a not in ("discriminator", "generator"))
    batch = here.batch(8)
    parts = breakdown._gradient_parts(here.experiment, here.state, {}, batch, active)
    names = ["encoder", "quantizer", "decoder", "losses"]
    assert list(parts) == names + ["discriminator"] * adversary
    counts = {name: total_flops(jax.make_jaxpr(call)()) for name, call in parts.items()}
    gradients = make_gradients(here.experiment)
    whole = jax.make_jaxpr(lambda s, b: gradients(s, {}, b, active=active))(here.state, batch)
    assert min(counts[name] for name in counts if name != "losses") > 0
    assert sum(counts.values()) == total_flops(whole)


def test_steps_are_run_and_counted(one_device):
    here = workload(tiny.vae(batch_size=4), one_device)
    compiled = compile_steps(here.experiment, here.inputs, {}, here.mesh)
    assert 0 < compiled.flops < compiled.xla_flops and compiled.bytes > 0
    steps = here.time_steps(compiled, here.batches(4), 0.0)
    # Three before the first that counts, one more end than there are steps between ends.
    assert len(steps) >= 10 and int(here.state.step) in (len(steps) + 3, len(steps) + 4)
    steps, given = here.time_real_steps(compiled, 0.0)
    assert len(steps) >= 10 and 0 <= given["wait"] <= 1
    given = here.time_source(0.0)
    assert given["pipeline_examples_per_second"] > 0 and given["first_batch_seconds"] > 0


def test_xla_counts_all_devices_together(monkeypatch):
    mesh = make_mesh()
    rows = NamedSharding(mesh, PartitionSpec("data"))
    x, w = jax.ShapeDtypeStruct((64, 16), "float32", sharding=rows), np.ones((16, 4), "float32")
    traced = jax.jit(lambda x: x @ w).trace(x)
    monkeypatch.setattr(steps, "trace_programs", lambda *_: {active_at(experiment, 5): traced})
    experiment = tiny.vqvae()
    compiled = compile_steps(experiment, {}, {}, mesh)
    assert mesh.size == 8 and compiled.xla_flops == compiled.flops == 2 * 64 * 16 * 4


def test_players_that_alternate_make_a_turn_of_two(one_device):
    optimizers = {"tokenizer": Adam(1e-3, every=2), "discriminator": Adam(1e-3, every=2, offset=1)}
    experiment = tiny.vqgan(optimizers=optimizers)
    turn = last_turn(experiment)
    assert [("tokenizer" in active, "discriminator" in active) for active in turn] == [
        (True, False),
        (False, True),
    ]
    assert last_turn(tiny.vqgan()) == (active_at(experiment=tiny.vqgan(), step=5),)


def test_the_sweep_ends_where_it_gains_little_or_memory_ends(one_device, monkeypatch):
    here = workload(tiny.vae(batch_size=4), one_device)
    rates = {8: 200.0, 16: 300.0, 32: 310.0}
    monkeypatch.setattr(speed, "compile_steps", lambda e, *_: e.batch_size)
    monkeypatch.setattr(
        Workload, "time_steps", lambda self, size, *_: np.array([size / rates[size]])
    )
    step = {"examples_per_second": 100.0, "seconds": {"p50": 0.04}}
    found = speed._sweep(here, step, 1.0, lambda line: None)
    assert [row["batch_size"] for row in found["sweep"]] == [4, 8, 16, 32] and found["knee"] == 16

    def full(e, *_):
        if e.batch_size > 8:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return e.batch_size

    monkeypatch.setattr(speed, "compile_steps", full)
    found = speed._sweep(here, step, 1.0, lambda line: None)
    assert found["knee"] == 8 and found["sweep"][-1]["examples_per_second"] is None


def test_the_sweep_beside_real_data_begins_on_noise(one_device, monkeypatch):
    here, step = workload(tiny.vae(batch_size=4), one_device), {"examples_per_second": 100.0}
    monkeypatch.setattr(Workload, "time_steps", lambda *_: np.array([0.5]))
    for real, rate in ((False, 100.0), (True, 8.0)):
        options = speed.BenchmarkOptions(real=real)
        found = speed._on_noise(here, None, step, options, lambda line: None)
        assert found["examples_per_second"] == rate


def test_the_table_says_why_the_sweep_ended():
    text = "\n".join(table(FOUND))
    assert "<- larger ones do not fit" in text and " noise  in place of the data" in text
    more = {"batch_size": 64, "examples_per_second": 101.0, "seconds": 0.6}
    found = {**FOUND, "data": "synthetic", "sweep": [FOUND["sweep"][0], more]}
    text = "\n".join(table(found))
    assert "<- larger ones gain 5 % or less" in text and "noise" not in text


def test_the_table_says_it_all():
    text = "\n".join(table(FOUND))
    for words in (
        "1,234 parameters, batches of 32 (real), float32, on 2 x H",
        "50 per device",
        "MFU",
        "0.6%  6.25 GFLOP/s of 1,000 GFLOP/s (data sheet)",
        "XLA does not count",
        "as the device reports",
        "9,000/s  first batch after 2.0 s",
        "parts together",
        "90.0%  of the step",
        "out of memory",
    ):
        assert words in text, words


def test_against_an_earlier_one():
    new = json.loads(json.dumps(FOUND))
    lines, worse = against(new, FOUND, 0.0)
    assert worse == [] and all(" 1.000" in line for line in lines[1:]) and len(lines) == 9
    new["step"]["examples_per_second"] = 85.0
    new["latency"]["encode"]["p50"] = 0.0023
    assert against(new, FOUND, 0.1)[1] == ["examples/s", "latency of encode"]
    assert against(new, FOUND, 0.2)[1] == []
    assert against(FOUND, new, 0.0)[1] == []
    new["compile"] = {"trace_seconds": 1.0, "seconds": 99.0, "cached": True}
    new["memory"] = {"bytes": 9e9, "of": "program"}
    assert len(against(new, FOUND, 0.2)[0]) == 7  # neither compile times nor memory
    with pytest.raises(UsageError, match="another device"):
        against({**new, "device": {"kind": "T"}}, FOUND, 0.1)


NAMED = {"file": SMALL.name, "overrides": [], "arguments": [], "frozen": [], "shape": None}


@pytest.fixture
def canned(monkeypatch, tmp_path):
    """The verb, in an empty folder, with a measurement that takes no time."""
    measured = {k: v for k, v in FOUND.items() if k != "experiment"} | {"data": "synthetic"}
    monkeypatch.setattr(speed, "measure", lambda *_: copy.deepcopy(measured))
    monkeypatch.setattr(speed, "devices_here", lambda: FOUND["device"])
    monkeypatch.chdir(tmp_path)
    return lambda *words: main(["benchmark", str(SMALL), *words])


def test_the_verb_writes_and_compares(canned, capsys):
    assert canned("--json", "old.json") == 0
    assert "examples/s" in capsys.readouterr().out
    old = json.loads(pathlib.Path("old.json").read_text())
    assert old["experiment"] == NAMED
    assert old["command"][0] == "vqjax" and old["step"] == FOUND["step"]
    assert canned("--against", "old.json") == 0
    old["step"]["examples_per_second"] *= 1.2
    pathlib.Path("old.json").write_text(json.dumps(old))
    assert canned("--against", "old.json", "--tolerance", "0.3") == 0
    assert canned("--against", "old.json") == 1
    out, err = capsys.readouterr()
    assert "WORSE" in out and "worse by more than 10%: examples/s" in err


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--against", "none.json"], 3, "none.json: No such file"),
        (["--against", "torn.json"], 3, "did not write this"),
        (["--against", "other.json"], 2, "another experiment"),
        (["--tolerance", "0.1"], 2, "--tolerance is for --against"),
        (["--seconds", "0"], 2, "--seconds 0.0"),
        (["--data", "real", "--shape", "8,8,1"], 2, "real data has its own"),
        (["--against", "old.json", "--shape", "8,8,1"], 2, "another experiment"),
        (["--against", "old.json", "--data", "real"], 2, "another data: synthetic, here real"),
        (["--against", "there.json"], 2, "another device"),
        (["--json", "."], 2, "is a directory: name a file"),
        (["--json", "torn.json/a.json"], 2, "torn.json is not a folder"),
    ],
)
def test_mistakes_cost_one_line_before_anything_is_timed(
    canned, capsys, monkeypatch, words, code, line
):
    monkeypatch.setattr(speed, "measure", lambda *_: pytest.fail("timed"))
    old = {**FOUND, "experiment": NAMED, "data": "synthetic"}
    there = {**old, "device": {"kind": "T"}}
    for name, found in {"torn": {}, "old": old, "other": FOUND, "there": there}.items():
        pathlib.Path(f"{name}.json").write_text(json.dumps(found))
    assert canned(*words) == code
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1


@pytest.mark.slow
def test_noise_needs_no_tensorflow(tmp_path):
    """A data set that is not there, a shape: everything is measured, in a process of its own."""
    out = tmp_path / "speed.json"
    words = ["benchmark", str(ROOT / "experiments" / "mnist_vae.py"), "--shape", "8,8,1"]
    words += ["--seconds", "0.05", "--json", str(out), "batch_size=2", *SMALL_VAE]
    code = f"""
import sys
from vqjax.cli.main import main
code = main({words!r})
sys.exit(code or 50 * ("tensorflow" in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert {"step", "compile", "flops", "memory", "shares", "latency"} <= set(found)
    assert not {"input", "precisions", "sweep"} & set(found)
    assert set(found["shares"]) == {"encoder", "quantizer", "decoder", "losses", "optimizer"}
    assert found["step"]["seconds"]["p5"] <= found["step"]["seconds"]["p99"]
    assert found["flops"]["share"] > 0 and "examples/s" in done.stdout
