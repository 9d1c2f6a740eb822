"""Memory that a step frees is there for the next one."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys

import jax
import jax.numpy as jnp

from vqjax.training.platform import keep_freed_memory

print(keep_freed_memory())


@jax.jit
def step(x):  # 64 MB between two products
    return jnp.sin(x @ x.T).sum()


x = jnp.ones((4096, 2))
for i in range(15):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
@pytest.mark.parametrize("told", [False, True])
def test_a_step_asks_the_kernel_for_no_page_that_it_had(told):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    if told:
        environment["MALLOC_ARENA_MAX"] = "8"
    command = [sys.executable, "-c", FAULTS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    done, *faults = result.stdout.split()
    if not told and done == "False":
        pytest.skip("not glibc, or too many cores")
    assert done == str(not told)
    fresh = sum(int(count) > 4096 for count in faults)  # the heap may still grow now and then
    assert fresh == len(faults) if told else fresh < len(faults) // 2
