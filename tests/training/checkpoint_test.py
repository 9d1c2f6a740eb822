"""A checkpoint is either whole or not used."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from vqjax.training import checkpoint
from vqjax.training.checkpoint import Checkpoints, restore
from vqjax.training.lock import LockLostError
from vqjax.training.seal import Owner, as_stored, read_back, seal_of, sealed_steps, verify
from vqjax.types import DataError


def state_of(step, dtype=jnp.float32, size=64):
    return {
        "params": {"kernel": jnp.full((size,), step, dtype), "bias": jnp.full((2,), -step, dtype)},
        "rng": jax.random.key(step),
        "step": jnp.int32(step),
    }


def target_of(state):
    device = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), state)


FILL = """
import sys, time
import jax.numpy as jnp
from vqjax.training.checkpoint import Checkpoints
from vqjax.types import DataError
started = time.monotonic()
try:
    with Checkpoints(sys.argv[1], keep=3) as checkpoints:
        for step in range(3):
            checkpoints.save(step, {f"a{n}": jnp.full((1000,), 1.0) for n in range(40)})
except DataError as error:
    print(time.monotonic() - started, error, sep="\\n")
"""
TARGET = target_of(state_of(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Sealed steps 5, 10 and 15."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(directory, keep=3) as checkpoints:
        for step in (0, 5, 10, 15):
            checkpoints.save(step, state_of(step))
    return directory


@pytest.fixture
def directory(saved, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(saved, tmp_path / "checkpoints")


def files_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def check(restored, step):
    assert restored.step == step
    expected = state_of(step)
    key = jax.random.key_data(restored.state.pop("rng"))
    np.testing.assert_array_equal(key, jax.random.key_data(expected.pop("rng")))
    jax.tree.map(np.testing.assert_array_equal, restored.state, expected)


def test_the_newest_ones_are_kept_and_come_back(directory):
    assert sealed_steps(directory) == [5, 10, 15]
    assert sorted(p.name for p in directory.iterdir()) == ["10", "15", "5"]
    restored = restore(directory, TARGET)
    assert restored.lines == ()
    check(restored, 15)
    check(restore(directory, TARGET, step=5), 5)
    with pytest.raises(DataError, match=r"no sealed step 7 in .* \(sealed: 5, 10, 15\)"):
        restore(directory, TARGET, step=7)


def test_nothing_saved_is_no_error(tmp_path):
    assert restore(tmp_path / "nowhere", TARGET) is None
    (tmp_path / "0").mkdir()
    assert restore(tmp_path, TARGET) is None and sealed_steps(tmp_path) == []


def test_what_is_saved_is_the_state_before_the_next_step_reused_its_memory(tmp_path):
    step = jax.jit(lambda a: a + 1, donate_argnums=0)
    array = jnp.zeros((1 << 20,))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(0, {"a": array})
        for _ in range(20):
            array = step(array)
    assert not np.any(restore(tmp_path, target_of({"a": array})).state["a"])


def test_every_single_flipped_byte_is_noticed(directory):
    newest = directory / "15"
    for path in files_of(newest):
        content = path.read_bytes()
        place = len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert verify(newest) is not None, path
        path.write_bytes(content)
    assert verify(newest) is None


def flipped(folder):
    path = max(files_of(folder / "state"), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    return f"{path.relative_to(folder)} differs from its seal"


def cut(folder):
    path = files_of(folder / "state")[0]
    path.write_bytes(path.read_bytes()[:-1])
    return f"{path.relative_to(folder)} differs from its seal"


def missing(folder):
    path = files_of(folder / "state")[-1]
    path.unlink()
    return f"{path.relative_to(folder)} is missing"


def unreadable(folder):
    path = files_of(folder / "state")[-1]
    path.unlink()
    path.mkdir()
    return f"{path.relative_to(folder)} cannot be read (Is a directory)"


def added(folder):
    (folder / "state" / "array_metadatas" / "process_1").write_text("{}")
    return "state/array_metadatas/process_1 is not in its seal"


def a_pipe(folder):
    path = files_of(folder / "state")[0]
    path.unlink()
    os.mkfifo(path)
    return f"{path.relative_to(folder)} cannot be read (not a plain file)"


def torn_seal(folder):
    seal = folder / "seal.json"
    seal.write_text(seal.read_text()[:100])
    return "seal.json cannot be read"


def other_seal(folder):
    seal = json.loads((folder / "seal.json").read_text())
    seal["arrays"]["['step']"] = [[], "int16"]
    (folder / "seal.json").write_text(json.dumps(seal))
    return "seal.json is damaged"


def foreign_seal(folder):
    (folder / "seal.json").write_text("[" * 100_000)
    return "seal.json cannot be read"


def another_step(folder):
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("5"), folder)
    return "seal.json is that of step 5"


DAMAGES = [
    flipped,
    cut,
    missing,
    unreadable,
    added,
    a_pipe,
    torn_seal,
    other_seal,
    foreign_seal,
    another_step,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_damaged_step_is_named_and_the_one_before_is_used(directory, damage):
    wrong = damage(directory / "15")
    restored = restore(directory, TARGET)
    assert restored.lines == (f"checkpoint 15 is damaged ({wrong}): passed over",)
    check(restored, 10)
    with pytest.raises(DataError, match="checkpoint 15 is damaged"):
        restore(directory, TARGET, step=15)


def test_a_damaged_step_is_set_aside_and_saved_anew(directory):
    with Checkpoints(directory, keep=3) as checkpoints:
        for _ in range(2):
            flipped(directory / "15")
            checkpoints.set_aside(after=restore(directory, TARGET).step)
            assert sealed_steps(directory) == [5, 10]
            checkpoints.save(15, state_of(15))
            checkpoints.wait()
            check(restore(directory, TARGET), 15)
    assert sorted(p.name for p in directory.iterdir()) == ["10", "15", "15.damaged", "5"]


def test_things_that_are_no_checkpoints_are_passed_over(directory):
    (directory / "999").mkdir()
    (directory / "20").write_text("a note")
    (directory / "notes").mkdir()
    (directory / "010").mkdir()
    (directory / "010" / "seal.json").write_text("{}")
    left = directory / "25" / "state.orbax-checkpoint-tmp-1"
    left.mkdir(parents=True)
    (left / "d").write_text("half")
    check(restore(directory, TARGET), 15)
    assert sealed_steps(directory) == [5, 10, 15]
    with Checkpoints(directory, keep=3) as checkpoints:
        assert not left.exists()
        for step in (20, 25, 999):
            checkpoints.save(step, state_of(step))
    assert sealed_steps(directory) == [20, 25, 999]
    assert (directory / "20.damaged").read_text() == "a note"


def test_a_save_that_was_killed_does_not_count(directory):
    (directory / "15" / "seal.json").unlink()
    restored = restore(directory, TARGET)
    assert restored.lines == ("checkpoint 15 has no seal.json: passed over",)
    check(restored, 10)
    with Checkpoints(directory, keep=3) as checkpoints:
        checkpoints.save(15, state_of(15))
    check(restore(directory, TARGET), 15)


def test_what_kills_have_left_of_old_steps_goes_at_the_next_start(directory):
    (directory / "5" / "seal.json").unlink()
    (directory / "20").mkdir()
    with Checkpoints(directory, keep=3) as checkpoints:
        checkpoints.set_aside(after=15)
    assert sorted(p.name for p in directory.iterdir()) == ["10", "15", "20"]


def test_an_old_step_that_cannot_be_deleted_fails_no_save(directory, monkeypatch):
    def busy(path, ignore_errors=False):
        if not ignore_errors:
            raise OSError(39, "Directory not empty")

    with Checkpoints(directory, keep=1) as checkpoints:
        monkeypatch.setattr(checkpoint.shutil, "rmtree", busy)
        checkpoints.save(20, state_of(20))
        checkpoints.wait()
        monkeypatch.undo()
    assert sealed_steps(directory) == [20]


def test_all_steps_damaged_is_an_error_that_names_each(directory):
    for step in (5, 10, 15):
        cut(directory / str(step))
    with pytest.raises(DataError, match="no sound checkpoint in .*15 is.*10 is.*5 is damaged"):
        restore(directory, TARGET)


def test_all_seals_lost_is_no_fresh_start(directory):
    for step in (5, 10, 15):
        (directory / str(step) / "seal.json").unlink()
    with pytest.raises(DataError, match="no sealed checkpoint in .*: 5, 10, 15 lost seal.json"):
        restore(directory, TARGET)


def test_another_model_is_refused_by_the_names_of_its_arrays(directory):
    wider = target_of(state_of(0, size=128))
    line = (
        r"15 holds another model: \['params'\]\['kernel'\] is \[\[64\], 'float32'\], wanted \[\[128"
    )
    with pytest.raises(DataError, match=line):
        restore(directory, wider)
    with pytest.raises(DataError, match=r"\['params'\]\['bias'\] is not expected"):
        restore(directory, {**TARGET, "params": {"kernel": TARGET["params"]["kernel"]}})
    with pytest.raises(DataError, match=r"\['more'\] is missing"):
        restore(directory, {**TARGET, "more": TARGET["step"]})


def test_another_dtype_is_refused(directory):
    half = target_of(state_of(0, jnp.bfloat16))
    with pytest.raises(DataError, match=r"'float32'\], wanted \[\[2\], 'bfloat16'\]"):
        restore(directory, half)


def test_a_sealed_step_is_never_written_again(directory):
    seal = seal_of(directory, 15)
    with Checkpoints(directory, keep=3) as checkpoints:
        checkpoints.save(15, state_of(99))
    assert seal_of(directory, 15) == seal
    check(restore(directory, TARGET), 15)


def test_a_save_that_fails_is_said_at_the_next_call(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.seal, "write_seal", full)
    with (
        pytest.raises(DataError, match="saving in .* failed: .*No space left"),
        Checkpoints(tmp_path, keep=1) as checkpoints,
    ):
        checkpoints.save(0, state_of(0))
    assert sealed_steps(tmp_path) == []
    with pytest.raises(KeyError), Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(0, state_of(0))
        while not checkpoints.failed:
            time.sleep(0.01)
        raise KeyError("what went wrong first")


def test_files_that_nobody_asked_for_do_no_harm(directory):
    for name in (".DS_Store", "Thumbs.db", "d/.nfs0000", "array_metadatas/.DS_Store", "more"):
        (directory / "15" / "state" / name).touch()
    os.mkfifo(directory / "15" / "state" / "pipe")
    assert restore(directory, TARGET).lines == ()
    check(restore(directory, TARGET), 15)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_seal_that_is_no_file_seals_nothing(directory, make):
    (directory / "15" / "seal.json").unlink()
    make(directory / "15" / "seal.json")
    assert sealed_steps(directory) == [5, 10]
    check(restore(directory, TARGET), 10)


def test_a_file_where_the_checkpoints_belong(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(DataError, match="checkpoints cannot be read: Not a directory"):
        restore(tmp_path / "checkpoints", TARGET)


def test_only_what_reads_back_is_sealed(directory):
    state, stored = directory / "15" / "state", as_stored(state_of(15))
    read_back(state, stored)
    with pytest.raises(DataError, match=r"does not read back: 1 of 2 arrays float32\[64\]"):
        read_back(state, {**stored, "float32[64]": 2})
    for data in [*(state / "d").iterdir()]:
        data.unlink()
    with pytest.raises(DataError, match="does not read back"):
        read_back(state, stored)
    for path in files_of(state):
        path.unlink()
    with pytest.raises(DataError, match="does not read back"):
        read_back(state, stored)


OURS = Owner("a" * 32, "now", {"once": ("seed: 0 -> 1",)})


def owned(directory, *owners):
    for step, owner in enumerate(owners, 1):
        with Checkpoints(directory, keep=9, owner=owner) as checkpoints:
            checkpoints.save(step, state_of(step))


def test_steps_of_another_run_are_passed_over(tmp_path):
    owned(tmp_path, OURS, Owner("b" * 32, "now"))
    restored = restore(tmp_path, TARGET, owner=OURS)
    check(restored, 1)
    line = "checkpoint 2 is not this run's (it belongs to run bbbbbbbb; this one is aaaaaaaa)"
    assert restored.lines == (f"{line}: passed over",)
    with pytest.raises(DataError, match="no sound checkpoint in .*belongs to run bbbbbbbb"):
        restore(tmp_path, TARGET, step=2, owner=OURS)
    with Checkpoints(tmp_path, keep=9, owner=OURS) as checkpoints:
        checkpoints.set_aside(after=None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.damaged", "2.damaged"]


def test_settings_that_a_run_once_had_are_said_and_those_it_never_had_refused(tmp_path):
    owned(tmp_path, None, Owner("a" * 32, "once"), Owner("a" * 32, "never"))
    assert restore(tmp_path, TARGET).step == 3
    with pytest.raises(DataError, match="3 was sealed under another experiment than exp"):
        restore(tmp_path, TARGET, owner=OURS)
    said = "checkpoint 2 was made before these changes: seed: 0 -> 1"
    assert restore(tmp_path, TARGET, step=2, owner=OURS).lines == (said,)
    (older,) = restore(tmp_path, TARGET, step=1, owner=OURS).lines
    assert "checkpoint 1 was sealed by an earlier vqjax" in older


def test_a_changed_owner_damages_a_seal(tmp_path):
    owned(tmp_path, OURS)
    path = tmp_path / "1" / "seal.json"
    path.write_text(path.read_text().replace("a" * 32, "c" * 32))
    assert verify(tmp_path / "1") == "seal.json is damaged"


def test_a_folder_that_cannot_be_made_is_said_at_once(directory):
    before = threading.active_count()

    def fails(where, line):
        with pytest.raises(DataError, match=line), Checkpoints(where, keep=3) as checkpoints:
            checkpoints.save(20, state_of(20))

    (directory / "20").mkdir()
    (directory / "20" / "state.trial").write_text("a file")
    fails(directory, "failed: File exists; step 15 is the newest sealed")
    shutil.rmtree(directory)
    directory.write_text("a file")
    fails(directory, "checkpoints cannot be read: Not a directory")
    fails(directory.parent / "moved" / "checkpoints", "failed: No such file or directory")
    assert threading.active_count() <= before  # none that the program would wait for


def test_a_run_that_is_another_process_now_gets_no_seal(directory):
    lost = []

    def check():
        if lost:
            raise LockLostError("taken")

    with pytest.raises(LockLostError), Checkpoints(directory, 1, check=check) as checkpoints:
        checkpoints.save(20, state_of(20))
        checkpoints.wait()
        checkpoints._writer.wait_until_finished = lambda: lost.append(1)
        checkpoints.save(25, state_of(25))
    assert sealed_steps(directory) == [20]
    with pytest.raises(LockLostError), Checkpoints(directory, 1, check=check) as checkpoints:
        checkpoints.save(30, state_of(30))
    assert not (directory / "30").exists()


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["size=140k", "nr_inodes=20", "nr_inodes=40"])
def test_a_full_disk_is_one_line_in_seconds(tmp_path, limit):
    """Bytes and inodes; in a process of its own, because threads of Orbax complain at its end."""
    (tmp_path / "disk").mkdir()
    mount = "mount", "-t", "tmpfs", "-o", limit, "tmpfs", str(tmp_path / "disk")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no permission to mount")
    try:
        done = subprocess.run(
            [sys.executable, "-c", FILL, str(tmp_path / "disk" / "checkpoints")],
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)
    seconds, line = done.stdout.splitlines()
    assert "failed: No space left on device; " in line and float(seconds) < 10.0
    assert done.stderr == ""
