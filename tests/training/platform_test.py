"""What is set before JAX's first computation."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import jax, jax.numpy as jnp
from vqjax.training.platform import keep_freed_memory
kept, computes = (word == "True" for word in sys.argv[1:])
if kept:
    keep_freed_memory()
if computes:
    add, x = jax.jit(lambda x: x + 1), jnp.zeros(10 << 20)
for i in range(14):
    if i == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    if computes:
        add(x).block_until_ready()
    else:
        b"x" * (40 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_not_filled_with_zeros_again(monkeypatch):
    def faults(kept, computes=False):
        command = [sys.executable, "-c", FAULTS, str(kept), str(computes)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert faults(kept=True) < 100 < 10_000 < faults(kept=False)
    # The heap may grow once more: 10,240 faults.
    assert faults(kept=True, computes=True) < 30_000 < 90_000 < faults(kept=False, computes=True)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert faults(kept=True) > 10_000
