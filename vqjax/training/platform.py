"""Settings of JAX itself that differ between versions and machines, in one place."""

import os
import pathlib

import jax

from vqjax.format import printable
from vqjax.types import UsageError

# For programs that run once: a fifth of the compile time on CPU (2.5 s against 12.4 for the
# initial state of a small VQGAN).
COMPILE_QUICKLY = {"xla_backend_optimization_level": 0}


def devices_at_hand() -> list[jax.Device]:
    """All devices that JAX works with.

    Raises:
        UsageError: it finds none, as where JAX_PLATFORMS names what is not installed.
    """
    try:
        return jax.devices()
    except Exception as error:  # a plugin fails as it likes, some without a word
        reason = printable(" ".join(str(error).split()) or type(error).__name__, 200)
        asked = os.environ.get("JAX_PLATFORMS")
        if not asked:
            raise UsageError(f"JAX finds no device: {reason}") from error
        raise UsageError(
            f"JAX_PLATFORMS={printable(asked, 60)}: JAX does not find such a device ({reason}): "
            "install its plugin (pip install 'vqjax[cuda12]', [cuda13] or [tpu]), or unset it"
        ) from error


def enable_compilation_cache() -> None:
    """Keeps compiled programs between starts, under `JAX_COMPILATION_CACHE_DIR` where that is set
    and ~/.cache/vqjax/jax (XDG_CACHE_HOME) where it is not.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(cache) / "vqjax" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
