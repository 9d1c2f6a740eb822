"""How fast the nearest code is found, beside the plain expressions of JAX and PyTorch.

    python tests/speed/lookup.py
    python tests/speed/lookup.py --rows 16384 --codes 1024 --dims 64 --rounds 3

All take turns in one process, so what else the machine does hits all of them; a ratio is the
median over the rounds of rival / ours. PyTorch takes part where it is installed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops import codes as ops

LARGEST = 2**28  # scores that a rival may hold: 1 GB; it gets its rows in parts where N x K is more

try:
    import torch
except ImportError:
    torch = None


@jax.jit
def plain(z: jax.Array, codes: jax.Array) -> jax.Array:
    """The expression as one writes it: N x K scores, then their argmin."""
    dot = jnp.matmul(z, codes.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmin(0.5 * jnp.sum(codes**2, axis=-1)[None, :] - dot, axis=-1)


def torch_cdist(z: Any, codes: Any) -> Any:
    return torch.cdist(z, codes).argmin(1)


def torch_plain(z: Any, codes: Any) -> Any:
    return (0.5 * (codes**2).sum(1)[None, :] - z @ codes.T).argmin(1)


def in_parts(function: Callable, concatenate: Callable) -> Callable:
    """`function` of so many rows at a time that their scores fit in memory."""

    def of_parts(z, codes):
        rows = max(LARGEST // len(codes), 1)
        parts = [function(z[i : i + rows], codes) for i in range(0, len(z), rows)]
        return parts[0] if len(parts) == 1 else concatenate(parts)

    return of_parts


def contenders(z: np.ndarray, codes: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """{name: finds the indices}, ours first."""
    ours = jnp.asarray(z), jnp.asarray(codes)
    in_jax = in_parts(plain, jnp.concatenate)
    found = {
        "vqjax": lambda: np.asarray(ops.nearest(*ours)),
        "jnp argmin": lambda: np.asarray(in_jax(*ours)),
    }
    if torch is not None:
        theirs = torch.from_numpy(z), torch.from_numpy(codes)
        for name, function in (("torch cdist", torch_cdist), ("torch argmin", torch_plain)):
            parts = in_parts(function, torch.cat)
            found[name] = lambda parts=parts: parts(*theirs).numpy()
    return found


def measure(rows: int, size: int, dim: int, rounds: int) -> None:
    """Prints a line per contender."""
    random = np.random.default_rng(0)
    z = random.normal(size=(rows, dim)).astype(np.float32)
    codes = random.normal(size=(size, dim)).astype(np.float32)
    runs = contenders(z, codes)
    indices = {name: run() for name, run in runs.items()}  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    for name, times in seconds.items():
        ratio = statistics.median(t / ours for t, ours in zip(times, seconds["vqjax"], strict=True))
        same = np.mean(indices[name] == indices["vqjax"])
        shape = f"{rows:,} x {size:,} x {dim}"
        print(
            f"{shape:<24} {name:<14} {1e3 * statistics.median(times):>10.1f} {ratio:>8.2f}"
            f" {100 * same:>9.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=4096, help="N (default: %(default)s)")
    parser.add_argument("--codes", type=int, default=16_384, help="K (default: %(default)s)")
    parser.add_argument(
        "--dims", type=int, nargs="+", default=[8, 32, 256], help="D (default: 8 32 256)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="each (default: %(default)s)")
    parser.add_argument("--skip-large", action="store_true", help="leave 16,384 x 262,144 x 8 out")
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}", end="; ")
    print("no torch" if torch is None else f"torch {torch.__version__} on CPU")
    head = ("N x K x D", "", "median ms", "/ vqjax", "% same")
    print("{:<24} {:<14} {:>10} {:>8} {:>9}".format(*head))
    for dim in args.dims:
        measure(args.rows, args.codes, dim, args.rounds)
    if not args.skip_large:
        measure(16_384, 262_144, 8, min(args.rounds, 3))


if __name__ == "__main__":
    main()
