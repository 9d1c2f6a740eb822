"""Settings of JAX and of the machine below it that differ between places, in one place."""

import ctypes
import os
import pathlib
import sys

import jax

# For programs that run once: a fifth of the compile time on CPU (2.5 s against 12.4 for the
# initial state of a small VQGAN).
COMPILE_QUICKLY = {"xla_backend_optimization_level": 0}

# mallopt(3): one arena for all threads, which grows in place and is never given back.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
KEEP = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))
FEW_CORES = 8  # threads of more would wait for each other at the one arena; not measured


def enable_compilation_cache() -> None:
    """Keeps compiled programs between starts, under `JAX_COMPILATION_CACHE_DIR` where that is set
    and ~/.cache/vqjax/jax (XDG_CACHE_HOME) where it is not.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(cache) / "vqjax" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees, for what it asks for next.

    On a CPU every step asks for its temporary memory anew, and the kernel hands it out page by
    page, zeroed: 86,000 page faults for 350 MB in the step of tests/speed/step.py, which takes 1.15
    times less without them. The price is memory: at the most 2.1 GB in place of 1.6.

    Call it before JAX has made its threads: they stay with the arena that they began with.

    Returns:
        whether it was done: with glibc, on few cores, and where the environment does not say how
        to allocate (MALLOC_..., GLIBC_TUNABLES).
    """
    told = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if told or sys.platform != "linux" or (os.cpu_count() or 1) > FEW_CORES:
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return all(libc.mallopt(parameter, value) for parameter, value in KEEP)
