"""Settings of JAX itself that differ between versions and machines, in one place."""

import os
import pathlib

import jax

# For programs that run once: a fifth of the compile time on CPU (2.5 s against 12.4 for the
# initial state of a small VQGAN).
COMPILE_QUICKLY = {"xla_backend_optimization_level": 0}


def enable_compilation_cache() -> None:
    """Keeps compiled programs between starts, under `JAX_COMPILATION_CACHE_DIR` where that is set
    and ~/.cache/vqjax/jax (XDG_CACHE_HOME) where it is not.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(cache) / "vqjax" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
