"""`vqjax inspect RUN|FILE`: an experiment's settings, sizes and compression."""

import argparse
import contextlib
import math
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from vqjax.cli.arguments import add_experiment_arguments, add_verb, read_experiment
from vqjax.cli.examples import add_shape_argument, inputs_of, with_shape
from vqjax.format import printable, printable_lines, times

DESCRIPTION = """\
Prints the resolved experiment, parameter counts, the layout of its tokens, bits per pixel and
compression, of sound its rates, hop, look-ahead and delay, and a run's sealed steps. Reads shapes
only: nothing is computed.

  vqjax inspect runs/mnist_vqvae
  vqjax inspect spoken_digit_codec --arg hop=64
  vqjax inspect mnist_vqvae task.tokenizer.quantizer.codebook_size=1024
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(
        subparsers,
        "inspect",
        "show an experiment or a run: tree, sizes, tokens, steps",
        DESCRIPTION,
    )
    add_experiment_arguments(parser, metavar="RUN|FILE")
    add_shape_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.config import describe

    # A directory is a run, wherever it stands among the words; anything else is for FILE.
    words = map(os.path.expanduser, (args.file, *args.overrides))
    runs = [word for word in words if os.path.isdir(word)]
    if runs:
        experiment, inputs = _read_run(runs[0], args)
    else:
        experiment = read_experiment(args)
        experiment.check()
        inputs = _inputs_or_none(experiment, args.shape)
    if runs and args.shape:
        inputs = with_shape(experiment, inputs, args.shape)
    if inputs is not None and not runs:
        experiment.task.check(inputs)
    print(printable_lines(describe(experiment)))
    if inputs is not None:
        with _as_data_errors(runs, args.shape):
            _print_sizes(experiment, inputs)
    if runs:
        _print_steps(pathlib.Path(runs[0]))


@contextlib.contextmanager
def _as_data_errors(runs: list[str], shape: str | None) -> Iterator[None]:
    """Within `with`, a UsageError of a run's settings, not the user's, is a DataError."""
    from vqjax.types import DataError, UsageError

    try:
        yield
    except UsageError as error:
        if not runs or shape:
            raise
        raise DataError(f"{runs[0]}: {error}") from error


def _read_run(path: str, args: argparse.Namespace) -> tuple[Any, dict]:
    from vqjax.training.record import load_record
    from vqjax.types import UsageError

    if args.overrides or args.arg or args.frozen:
        raise UsageError(f"{path} is a run: overrides, --arg and --frozen belong to a FILE")
    record = load_record(path, args.trust)
    return record.experiment, record.inputs


def _inputs_or_none(experiment: Any, shape: str | None) -> dict | None:
    """`inputs_of`; None, with a line, where they are unknown."""
    from vqjax.types import DataError

    try:
        return inputs_of(experiment, shape)
    except DataError as error:
        print(printable(f"note: {error}; sizes and tokens are unknown"), file=sys.stderr)
        return None


def _print_sizes(experiment: Any, inputs: dict) -> None:
    from vqjax.runs.load import footprint_of

    sizes = footprint_of(experiment, inputs)
    print("\nparameters")
    for part, number in sizes.parameters.items():
        if number:
            print(printable(f"  {part:<16}{number:>14,}"))
    print(f"  {'total':<16}{sizes.total:>14,}")
    if sizes.kept:
        print(f"  {'other variables':<16}{sizes.kept:>14,}  (not trained by gradient)")
    # Absent where the run is trained on a token set.
    spec = inputs.get(experiment.task.inputs)
    example = f"of one example, {times(sizes.shape)}" + (f" {spec.dtype}" if spec else "")
    if spec is not None and sizes.is_sound and spec.rate:
        example += f", {sizes.shape[0] / spec.rate:.4g} s"
    if not sizes.levels and not sizes.latents:
        print(f"\none example{example.removeprefix('of one example')}" if sizes.shape else "")
        return
    if not sizes.levels:
        count = math.prod(sizes.latents)
        print(f"\n{sizes.latents_are} {example}")
        print(f"  {times(sizes.latents)}, {count:,} real numbers: nothing is discrete")
    else:
        _print_tokens(sizes, example)
    if sizes.codec is not None:
        _print_codec(sizes.codec)


def _print_tokens(sizes: Any, example: str) -> None:
    print(f"\ntokens {example}")
    for level in sizes.levels:
        print(printable(f"  {level.name:<16}{times(level.grid)} of {level.codebook_size:,} codes"))
    position = "pixel" if len(sizes.shape) == 3 else "position"
    position = "sample" if sizes.is_sound or sizes.codec else position
    rows = [
        ("per example", f"{sizes.tokens:,} tokens, {sizes.bits:,.6g} bits"),
        ("per token", f"{sizes.bits / sizes.tokens:.4g} bits"),
        (f"per {position}", f"{sizes.bits_per_position:.4g} bits"),
        ("compression", f"{sizes.compression:.4g} times, against {sizes.values_are} values"),
    ]
    _print_rows(rows)


def _print_rows(rows: Sequence[tuple[str, str]]) -> None:
    for name, value in rows:
        print(f"  {name:<16}{value}")


def _print_codec(codec: Any) -> None:
    """Sizes of a tokenizer of sound in time."""

    def span(samples: int) -> str:
        return f"{samples:,} samples" + (f", {samples / codec.rate * 1e3:,.4g} ms" if rate else "")

    rate = codec.rate
    rows = [("sample rate", f"{rate:,.6g} Hz")] if rate else []
    rows.append(("hop", span(codec.hop)))
    if rate:
        rows.append(("frames", f"{codec.frames_per_second:,.4g} per second"))
    if rates := codec.kbits_per_second:
        rows.append(("bitrate", f"{rates[-1]:,.4g} kbit/s"))
        for count, kbits in enumerate(rates[:-1], 1):
            rows.append((f"  first {count}", f"{kbits:,.4g} kbit/s"))
    if codec.look_ahead is not None:
        encoder, decoder = codec.look_ahead
        frames = f"encoder {encoder}, decoder {decoder} frames"
        rows.append(("look-ahead", frames if encoder or decoder else "none: causal"))
        rows.append(("delay", f"{span(codec.delay)} at most, until a sample can be decoded"))
    print("\nsound")
    _print_rows(rows)


def _print_steps(path: pathlib.Path) -> None:
    from vqjax.training.packed import sealed_steps
    from vqjax.training.record import is_pack

    steps = sealed_steps(path)
    print("\nsealed steps" if steps else "\nno sealed step yet")
    for step in steps:
        folder = path if is_pack(path) else path / "checkpoints" / str(step)
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        print(f"  {step:<16,}{size / 1e6:>14,.1f} MB")
