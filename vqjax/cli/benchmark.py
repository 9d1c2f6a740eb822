"""`vqjax benchmark FILE`: how fast an experiment trains here, and where the time goes."""

import argparse
import json
import math
import pathlib
import sys
from typing import Any

from vqjax.cli.arguments import (
    add_experiment_arguments,
    add_overwrite_argument,
    add_verb,
    path_argument,
    read_experiment,
)
from vqjax.cli.examples import add_shape_argument, inputs_of
from vqjax.format import printable, printable_lines

DESCRIPTION = """\
Runs the step that training ends with, all players and terms active, and prints examples and tokens
per second, step times, compile time, FLOPs by formula and by XLA, the share of the device's peak
(of a matrix product's rate where no peak is known), memory, the shares of the step's parts, and how
long one example takes to encode and to decode; of sound also how many seconds of it the step and
single calls work on in a second. Batches are noise without --data real.

  vqjax benchmark mnist_vqgan
  vqjax benchmark cifar10_vqvae --data real --json speed.json
  vqjax benchmark cifar10_vqvae --data real --against speed.json
  vqjax benchmark spoken_digit_codec --shape 2400,1
  vqjax benchmark mnist_vqgan --precisions --sweep --trace trace

With --against, exit code 1 says that something is worse by more than --tolerance.
"""
TOLERANCE = 0.1


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(
        subparsers, "benchmark", "measure how fast an experiment trains here", DESCRIPTION
    )
    add_experiment_arguments(parser)
    parser.add_argument(
        "--data", choices=("synthetic", "real"), default="synthetic", help="noise (default) or real"
    )
    add_shape_argument(parser)
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=10.0, help="to time the step (default: 10)"
    )
    parser.add_argument(
        "--json", metavar="OUT", type=path_argument, help="write everything there, for machines"
    )
    add_overwrite_argument(parser)
    parser.add_argument(
        "--trace",
        metavar="DIR",
        type=path_argument,
        help="write a profile of some steps, for xprof",
    )
    parser.add_argument("--precisions", action="store_true", help="also float32 against bfloat16")
    parser.add_argument(
        "--sweep", action="store_true", help="also batches of twice the size, until it gains little"
    )
    parser.add_argument(
        "--against",
        metavar="OLD.json",
        type=path_argument,
        help="print ratios to an earlier --json",
    )
    parser.add_argument(
        "--tolerance", metavar="T", type=float, help=f"of --against (default: {TOLERANCE})"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    experiment = read_experiment(args)
    old = _checked(args)
    from vqjax.benchmark.measure import SCHEMA, BenchmarkOptions, devices_here, measure
    from vqjax.benchmark.table import against, check_comparable, table
    from vqjax.files import write_json
    from vqjax.training.frozen import resolve_for_shapes
    from vqjax.training.platform import enable_compilation_cache, keep_freed_memory

    keep_freed_memory()
    enable_compilation_cache()
    named = _named(args)
    if old is not None:
        new = {"schema": SCHEMA, "experiment": named, "data": args.data, "device": devices_here()}
        check_comparable(new, old)
    options = BenchmarkOptions(
        real=args.data == "real",
        seconds=args.seconds,
        trace=args.trace,
        precisions=args.precisions,
        sweep=args.sweep,
    )
    experiment = resolve_for_shapes(
        experiment,
        args.frozen,
        tuple(args.trust),
        lambda line: print(printable(line), file=sys.stderr),
    )
    progress = _Progress()
    document = measure(experiment, inputs_of(experiment, args.shape), options, progress.say)
    progress.clear()
    head = {"command": ["vqjax", *sys.argv[1:]], "experiment": named}
    document = {"schema": document["schema"], **head, **document}
    print(printable("  ".join([args.file, *args.overrides])))
    print(printable_lines("\n".join(table(document))))
    if args.json:
        write_json(args.json, document, overwrite=args.overwrite)
    if old is None:
        return 0
    tolerance = TOLERANCE if args.tolerance is None else args.tolerance
    lines, worse = against(document, old, tolerance)
    print(printable_lines("\n".join([f"against {args.against}", *lines])))
    if worse:
        print(f"worse by more than {tolerance:.0%}: {', '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


def _named(args: argparse.Namespace) -> dict[str, Any]:
    """Which experiment and input it is, wherever FILE lies."""
    return {
        "file": pathlib.Path(args.file).name,
        "overrides": list(args.overrides),
        "arguments": list(args.arg),
        "frozen": list(args.frozen),
        "shape": args.shape,
    }


def _checked(args: argparse.Namespace) -> dict | None:
    """What --against names, or None; refuses options that cannot be, before anything is timed."""
    from vqjax.files import check_output, read_text
    from vqjax.types import DataError, UsageError

    if not 0 < args.seconds < math.inf:
        raise UsageError(f"--seconds {args.seconds}: wanted a number above 0")
    if args.data == "real" and args.shape:
        raise UsageError("--shape is for synthetic data: real data has its own")
    if args.tolerance is not None and args.against is None:
        raise UsageError("--tolerance is for --against OLD.json")
    if args.tolerance is not None and not 0 <= args.tolerance < math.inf:
        raise UsageError(f"--tolerance {args.tolerance}: wanted a number, at least 0")
    if args.json:
        check_output(args.json, overwrite=args.overwrite)
    if args.against is None:
        return None
    try:
        old = json.loads(read_text(args.against))
    except (ValueError, RecursionError) as error:
        raise DataError(f"--against {args.against}: cannot be read ({error})") from error
    if not isinstance(old, dict) or "step" not in old:
        raise DataError(f"--against {args.against}: vqjax benchmark --json did not write this")
    return old


class _Progress:
    """What is being done, on one line of a terminal; a line each where there is none."""

    def __init__(self) -> None:
        self._terminal, self._width = sys.stderr.isatty(), 0

    def say(self, line: str) -> None:
        if not self._terminal:
            print(line, file=sys.stderr, flush=True)
            return
        print(f"\r{line:<{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(line)

    def clear(self) -> None:
        if self._terminal:
            self.say("")
            print("\r", end="", file=sys.stderr, flush=True)
