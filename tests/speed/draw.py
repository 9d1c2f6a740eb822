"""How fast runs draw samples, one at a time and 64 at a time, as `run.sample` does.

    python tests/speed/draw.py runs/mnist_gpt runs/mnist_var --guidance 1.5

Programs are compiled before anything is timed; then runs take turns in one process, so what else
the machine does hits all of them. A ratio is the median over the rounds of a run's rate to that of
the first one.
"""

import argparse
import statistics
import time

import vqjax
from vqjax.runs.base import Run
from vqjax.runs.judge import sample_options
from vqjax.sampling import Guidance

COUNTS = (1, 64)


def measure(runs: dict[str, Run], count: int, guidance: float, rounds: int) -> None:
    """Prints a line per run."""
    options = {
        name: sample_options(run, seed=0, guidance=Guidance(guidance)) for name, run in runs.items()
    }
    for name, run in runs.items():
        run.sample(count, **options[name])  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run.sample(count, **options[name])
            seconds[name].append(time.perf_counter() - started)
    first = next(iter(seconds.values()))
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(first, times, strict=True))
        rate = count / statistics.median(times)
        calls = runs[name].network_evaluations(options[name])
        print(f"{count:>4} {name:<32} {rate:>10.1f} {ratio:>8.2f} {calls:>6}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--guidance", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="each (default: %(default)s)")
    args = parser.parse_args()
    runs = {path: vqjax.load(path) for path in args.runs}
    print(f"{'n':>4} {'run':<32} {'samples/s':>10} {'ratio':>8} {'calls':>6}")
    for count in COUNTS:
        measure(runs, count, args.guidance, args.rounds)


if __name__ == "__main__":
    main()
