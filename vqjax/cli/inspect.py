"""`vqjax inspect RUN|FILE`: what an experiment is, how large, and how much it compresses."""

import argparse
import math
import os
import pathlib
import sys
from typing import Any

from vqjax.cli.arguments import add_experiment_arguments, read_experiment

DESCRIPTION = """\
Prints the resolved experiment, parameter counts, the layout of its tokens, bits per pixel and
compression, and of a run its sealed steps. Reads shapes only: nothing is computed.

  vqjax inspect runs/mnist_vqvae
  vqjax inspect experiments/mnist_vqvae.py task.tokenizer.quantizer.codebook_size=1024
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "inspect",
        help="show an experiment or a run: tree, sizes, tokens, steps",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_experiment_arguments(parser, metavar="RUN|FILE")
    parser.add_argument(
        "--shape", metavar="H,W,C", help="of one example, where the data is not at hand"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.config import describe

    # A directory is a run, wherever it stands among the words; anything else is for FILE.
    runs = [word for word in (args.file, *args.overrides) if os.path.isdir(word)]
    if runs:
        experiment, inputs = _of_run(runs[0], args)
    else:
        experiment = read_experiment(args)
        experiment.check()
        inputs = _of_data(experiment, told=args.shape is not None)
    if args.shape:
        inputs = _with_shape(experiment, inputs, args.shape)
    if inputs is not None and not runs:
        experiment.task.check(inputs)
    print(describe(experiment))
    if inputs is not None:
        _print_sizes(experiment, inputs)
    if runs:
        _print_steps(pathlib.Path(runs[0]))


def _of_run(path: str, args: argparse.Namespace) -> tuple[Any, dict]:
    from vqjax.training.record import read_record
    from vqjax.types import UsageError

    if args.overrides or args.arg or args.frozen:
        raise UsageError(f"{path} is a run: overrides, --arg and --frozen belong to a FILE")
    record = read_record(path, args.trust)
    return record.experiment, record.inputs


def _of_data(experiment: Any, told: bool) -> dict | None:
    """What the data is like, or None where it cannot be looked at: with a line, unless `told`."""
    from vqjax.types import DataError

    try:
        return experiment.data.example_spec()
    except DataError as error:
        if not told:
            print(
                f"note: {error}; sizes and tokens are not known without an example's shape "
                "(give it: --shape H,W,C)",
                file=sys.stderr,
            )
        return None


def _with_shape(experiment: Any, inputs: dict | None, text: str) -> dict:
    from vqjax.types import ArraySpec, UsageError

    try:
        shape = tuple(int(word) for word in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) < 2 or min(shape) < 1:
        raise UsageError(f"--shape {text}: give positive numbers such as 28,28,1")
    name = experiment.task.inputs
    known = inputs if inputs is not None and name in inputs else {name: ArraySpec(shape, "uint8")}
    condition = getattr(getattr(experiment.task, "prior", None), "condition", None)
    given = {} if condition is None else {condition.given: condition.spec}
    return {**given, **known, name: ArraySpec(shape, known[name].dtype)}


def _print_sizes(experiment: Any, inputs: dict) -> None:
    from vqjax.evaluation.footprint import footprint_of
    from vqjax.evaluation.kinds import is_classifier

    sizes = footprint_of(experiment, inputs)
    print("\nparameters")
    for part, number in sizes.parameters.items():
        if number:
            print(f"  {part:<16}{number:>14,}")
    print(f"  {'total':<16}{sizes.total:>14,}")
    if sizes.kept:
        print(f"  {'kept beside':<16}{sizes.kept:>14,}  (not trained by gradient)")
    spec = inputs.get(experiment.task.inputs)  # absent where tokens are learned from a token set
    example = f"of one example, {_times(sizes.shape)}" + (f" {spec.dtype}" if spec else "")
    if not sizes.levels:
        count = math.prod(sizes.latents)
        print(f"\n{'features' if is_classifier(experiment) else 'latents'} {example}")
        print(f"  {_times(sizes.latents)}, {count:,} real numbers: nothing is discrete")
        return
    print(f"\ntokens {example}")
    for level in sizes.levels:
        print(f"  {level.name:<16}{_times(level.grid)} of {level.codebook_size:,} codes")
    place = "pixel" if len(sizes.shape) == 3 else "position"
    rows = (
        ("per example", f"{sizes.tokens:,} tokens, {sizes.bits:,.6g} bits"),
        ("per token", f"{sizes.bits / sizes.tokens:.4g} bits"),
        (f"per {place}", f"{sizes.bits_per_position:.4g} bits"),
        ("compression", f"{sizes.compression:.4g} times, against uint8 values"),
    )
    for name, value in rows:
        print(f"  {name:<16}{value}")


def _print_steps(path: pathlib.Path) -> None:
    from vqjax.training.checkpoint import sealed_steps

    folder = path / "checkpoints"
    steps = sealed_steps(folder)
    print("\nsealed steps" if steps else "\nno sealed step yet")
    for step in steps:
        size = sum(f.stat().st_size for f in (folder / str(step)).rglob("*") if f.is_file())
        print(f"  {step:<16,}{size / 1e6:>14,.1f} MB")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
