"""Settings of JAX itself that differ between versions and machines, in one place."""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
from collections.abc import Iterator

import jax

from vqjax.extras import pip_install
from vqjax.format import printable
from vqjax.ops.numerics import KEYS
from vqjax.types import UsageError

# For programs that run once: a fifth of the compile time on CPU (2.5 s against 12.4 for the
# initial state of a small VQGAN).
COMPILE_QUICKLY = {"xla_backend_optimization_level": 0}

# M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of glibc's mallopt(3): they keep memory on the heap, and
# keep the heap.
_MALLOC = {-3: 2**31 - 1, -1: 2**31 - 1}

if hasattr(jax, "enable_x64"):
    _enable_x64 = jax.enable_x64
else:  # before JAX 0.8
    from jax.experimental import enable_x64 as _enable_x64


def devices_at_hand() -> list[jax.Device]:
    """All of JAX's devices.

    Raises:
        UsageError: it finds none, as where JAX_PLATFORMS names a plugin that is not installed.
    """
    try:
        return jax.devices()
    except Exception as error:  # of a plugin, of any class, sometimes without a message
        reason = printable(" ".join(str(error).split()) or type(error).__name__, 200)
        value = os.environ.get("JAX_PLATFORMS")
        if not value:
            raise UsageError(f"JAX finds no device: {reason}") from error
        raise UsageError(
            f"JAX_PLATFORMS={printable(value, 60)}: JAX does not find such a device ({reason}): "
            f"install its plugin ({pip_install('cuda12')}, or [cuda13] or [tpu]), or unset it"
        ) from error


def keep_freed_memory() -> None:
    """Makes the C library keep what a program frees, where JAX can only compute on CPUs.

    XLA asks for its buffers anew at every step. By glibc's defaults each large one is a mapping of
    its own, whose pages the kernel fills with zeros again: 86,000 page faults in a step of a VQGAN
    of width 64, a fifth of its time. The memory of other threads than the main one is given back
    whatever the settings say, so programs run in the thread that calls them.
    Call it before JAX's first computation, which starts threads. Elsewhere it does nothing.
    """
    if sys.platform != "linux" or not _only_cpus():
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    for setting, value in _MALLOC.items():
        mallopt(setting, value)
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def _only_cpus() -> bool:
    """Whether no other platform can be meant; asks for no device."""
    named = os.environ.get("JAX_PLATFORMS", "")
    others = importlib.metadata.entry_points(group="jax_plugins")
    return named == "cpu" or not (named or others or importlib.util.find_spec("libtpu"))


def enable_compilation_cache() -> None:
    """Keeps compiled programs between starts, under `JAX_COMPILATION_CACHE_DIR` where that is set
    and ~/.cache/vqjax/jax (XDG_CACHE_HOME) where it is not.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(cache) / "vqjax" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@contextlib.contextmanager
def jax_defaults(compute_dtype: str = "float32") -> Iterator[None]:
    """Within `with`, JAX's defaults are fixed, whatever the environment: 32 bits (JAX_ENABLE_X64),
    threefry keys (JAX_DEFAULT_PRNG_IMPL, JAX_THREEFRY_PARTITIONABLE) and the standard promotion of
    dtypes. So a run is the same everywhere, and its checkpoints fit.

    Args:
        compute_dtype: of the experiment; with "float64" JAX_ENABLE_X64 keeps its value.
    """
    with contextlib.ExitStack() as stack:
        if compute_dtype != "float64":
            stack.enter_context(_enable_x64(False))
        stack.enter_context(jax.default_prng_impl(KEYS))
        stack.enter_context(jax.threefry_partitionable(True))
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        yield
