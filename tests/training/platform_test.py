"""What is set before JAX's first computation."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from vqjax.training.platform import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for i in range(12):
    if i == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (40 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_not_filled_with_zeros_again(monkeypatch):
    def faults(how):
        command = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert faults("kept") < 100 < 10_000 < faults("freed")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert faults("kept") > 10_000
