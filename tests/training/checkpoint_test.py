"""A checkpoint is either whole or not used."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from vqjax.training import checkpoint
from vqjax.training.checkpoint import Checkpoints, restore, seal_of, sealed_steps
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
        assert checkpoint.verify(newest) is not None, path
        path.write_bytes(content)
    assert checkpoint.verify(newest) is None


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
    (folder / "state" / "more").write_text("x")
    return "state/more is not in its seal"


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
    with pytest.raises(DataError, match=r"\['params'\]\['bias'\] is not wanted"):
        restore(directory, {**TARGET, "params": {"kernel": TARGET["params"]["kernel"]}})
    with pytest.raises(DataError, match=r"\['more'\] is not there"):
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
    def full(folder, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_seal", full)
    with (
        pytest.raises(DataError, match="saving in .* failed: .*No space left"),
        Checkpoints(tmp_path, keep=1) as checkpoints,
    ):
        checkpoints.save(0, state_of(0))
    assert sealed_steps(tmp_path) == []
    with pytest.raises(KeyError), Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(0, state_of(0))
        raise KeyError("what went wrong first")
