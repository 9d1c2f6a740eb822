"""`vqjax sample RUN`: new examples from a run's prior, or ways between held-out ones."""

import argparse
import pathlib
import sys
from typing import Any

from vqjax.cli.arguments import add_run_arguments

DESCRIPTION = """\
Draws from the prior over a run's latents, decodes, and writes one picture, prior_<step>.png. Prints
its path and sample_diversity: the mean distance between two of the first 64 samples over that
between two held-out originals (root mean square of pixels; 1: they differ as much as real ones do).

  vqjax sample runs/mnist_vae
  vqjax sample runs/mnist_vae -n 100 --seed 1 --out out
  vqjax sample runs/mnist_vae --interpolate 8

With --interpolate N it writes interpolation_<step>.png instead: N rows, each from one held-out
example to another along the straight line between their latents. That needs no prior, only latents
that are not discrete.
"""
SAMPLES = 64
STEPS = 10  # pictures per row of an interpolation
MAX_SAMPLES = 10_000  # in one picture


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "sample",
        help="draw new examples from a run's prior",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_arguments(parser)
    parser.add_argument("-n", metavar="N", type=int, help=f"how many (default: {SAMPLES})")
    parser.add_argument("--seed", metavar="N", type=int, help="(default: 0)")
    parser.add_argument("--step", metavar="N", type=int, help="sealed step (default: the newest)")
    parser.add_argument(
        "--interpolate", metavar="N", type=int, help="N rows between held-out examples instead"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder for the picture (default: RUN/samples)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.types import UsageError

    ways = args.interpolate is not None
    for option, value in (("-n", args.n), ("--seed", args.seed)):
        if ways and value is not None:
            raise UsageError(f"{option} is for samples: --interpolate draws none")
    samples = SAMPLES if args.n is None else args.n
    option, count = ("--interpolate", args.interpolate) if ways else ("-n", samples)
    if not 1 <= count <= MAX_SAMPLES:
        raise UsageError(f"{option} {count}: wanted 1 to {MAX_SAMPLES:,}")

    from vqjax.evaluation.run import load
    from vqjax.training.platform import enable_compilation_cache

    enable_compilation_cache()
    trained = load(args.run_dir, params=args.params, step=args.step, trust=args.trust)
    for line in trained.lines:
        print(line, file=sys.stderr)
    out = pathlib.Path(args.out) if args.out else pathlib.Path(trained.path) / "samples"
    if ways:
        rows = _interpolated(trained, args.interpolate)
        print(_write(rows, out / f"interpolation_{trained.step:08d}.png"))
        return
    samples = trained.sample(count, args.seed or 0)
    print(_write(_in_square(samples), out / f"prior_{trained.step:08d}.png"))
    _print_diversity(trained, samples)


def _interpolated(trained: Any, rows: int) -> list:
    """`rows` ways between pairs of held-out examples, all different."""
    from vqjax.types import UsageError

    x = trained.held_out(2 * rows)
    if len(x) < 2 * rows:
        raise UsageError(f"--interpolate {rows}: the eval split has {len(x)} examples, two per row")
    return list(trained.interpolate(x[::2], x[1::2], STEPS))


def _in_square(samples: Any) -> list:
    columns = max(1, round(len(samples) ** 0.5))
    return [samples[first : first + columns] for first in range(0, len(samples), columns)]


def _write(rows: list, path: pathlib.Path) -> pathlib.Path:
    from PIL import Image

    from vqjax.evaluation.pictures import picture_of, tile
    from vqjax.types import UsageError

    sheet = tile([[picture_of(example) for example in row] for row in rows])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _print_diversity(trained: Any, samples: Any) -> None:
    from vqjax.evaluation.diversity import COMPARED, sample_diversity
    from vqjax.types import DataError

    samples = samples[:COMPARED]
    try:
        originals = trained.held_out(COMPARED)
    except DataError as error:
        print(f"note: {error}; no sample_diversity without originals", file=sys.stderr)
        return
    if min(len(samples), len(originals)) > 1:
        print(f"sample_diversity {sample_diversity(samples, originals):.4f}")
