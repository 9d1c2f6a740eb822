"""Tests run in a stricter world than users do: eight CPU devices, no silent broadcasting.

Most of their time goes into compiling programs that run once, so in the suite the compiler is told
to hurry. The heavier proofs, and programs started as processes of their own, are compiled as users'
are.
"""

import gc
import os
import pathlib
import signal

ROOT = pathlib.Path(__file__).parent.parent

# A shell starts background jobs deaf to Ctrl-C, nohup to SIGHUP, and so would be every process that
# they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


# What JAX traces lives long and in cycles: looked through as often as Python does by itself, that
# costs more and more, and frees little.
gc.set_threshold(100_000, 20, 20)


# Begun first, so that no process works on one of them at the end while the other one waits.
LONGEST = (
    "tests/runs/joint_test.py",
    "tests/experiments_test.py",
    "tests/runs/editing_test.py",
    "tests/training/step_test.py",
    "tests/contracts/priors_test.py",
    "tests/tasks/prior_test.py",
    "tests/runs/pack_test.py",
    "tests/runs/train_test.py",
    "tests/readme_test.py",
    "tests/training/partition_test.py",
    "tests/runs/diffusion_test.py",
    "tests/runs/sound_test.py",
    "tests/evaluation/sound_test.py",
    "tests/training/trackers_test.py",
)


def pytest_collection_modifyitems(items):
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


def pytest_runtest_setup(item):
    in_full = any(item.get_closest_marker(name) for name in ("slow", "timing"))
    jax.config.update("jax_disable_most_optimizations", not in_full)


@pytest.fixture(scope="module", autouse=True)
def _one_modules_programs():
    """A process that keeps every program of the suite grows by gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """float64 for one test."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def stand_in(monkeypatch):
    """This machine's devices, and compiler, for those of any topology."""
    from vqjax.hardware import devices

    monkeypatch.setattr(devices, "check_compiler", lambda topology: None)
    monkeypatch.setattr(devices, "devices_of", lambda topology: jax.devices()[: topology.devices])


@pytest.fixture
def one_device():
    """The list of one device, for `make_mesh` and `train`."""
    return jax.devices()[:1]


from tests.made_runs import make_run, run_dir, trained_records, trust  # noqa: E402, F401
