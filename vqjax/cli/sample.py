"""`vqjax sample RUN`: new examples, or interpolations between held-out ones."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from vqjax.cli.arguments import add_run_arguments, add_verb, load_run
from vqjax.cli.drawing import (
    CONDITION_KEYWORDS,
    CONDITIONS,
    OTHERS,
    Names,
    add_drawing_arguments,
    add_setting_argument,
    method_options,
    used_flags,
    write_example,
    write_sheet,
)
from vqjax.cli.rejection import add_rejection_arguments, rejection_of
from vqjax.cli.sampling import DRAWING, add_solver_arguments
from vqjax.cli.sounds import add_rate_argument, write_samples
from vqjax.cli.stream_inputs import source_of
from vqjax.cli.streams_sample import sample_streams
from vqjax.cli.texts import sample_texts
from vqjax.format import printable

DESCRIPTION = """\
Draws examples from a prior over tokens or over a VAE's latents, or out of noise by a denoiser, and
writes a sheet, sample_<step>_seed<seed>.png, named by the options and the condition, too. Of
a VAE it also prints sample_diversity: the mean distance between two of the first 64 samples over
that between two held-out originals (root mean square of pixels; 1: they differ as much as real
ones).

  vqjax sample runs/mnist_gpt --classes 3,7 -n 16 --out out
  vqjax sample runs/mnist_gpt --guidance 2 --top-p 0.95
  vqjax sample runs/spoken_digit_gpt --classes 3,7 --condition speaker=jackson --out out
  vqjax sample runs/shapes --prompt "a red circle" --prompt "two blue squares" -n 16
  vqjax sample runs/digits_any_to_any --condition image=seven.png --target text,audio -n 8
  vqjax sample runs/mnist_dit --classes 3,7 --guidance 2 --sampler dpm --steps 15
  vqjax sample runs/mnist_vae -n 100 --seed 1 --out out
  vqjax sample runs/mnist_vae --interpolate 8

With --out the samples are also written one by one, with their number after the seed and the name of
RUN in all names. Files of the same names are replaced. With --interpolate N it writes
sample-interpolation_<step>.png instead: N rows, each from one held-out example to another along the
straight line between their latents. That needs no prior, only continuous latents; of a denoiser it
is the arc between the noises that they come from, of a GAN that between noises. key=value sets any
other keyword of the run's `sample`. Of sound the sheet shows spectrograms, and with --out each
sample is a FLAC file as long as it was drawn, at the level of training (a WAV file where soundfile
is not installed). Of a joint prior any streams are drawn given any others: --condition takes a file
or a text for a stream, --target names what to draw; each stream has a sheet of its own, texts a
JSON file, and they are printed, as those of a text prior are. A denoiser that attends to something
else, such as a recording, takes a file of that: --condition audio=seven.wav. With --judge JUDGE
--keep SHARE there are more candidates, and of each class those are kept whose class is the
likeliest to the judge; it prints how likely before and after.
"""
SAMPLES = 64  # by default
INTERPOLATION_STEPS = 10  # pictures per row
MAX_COLUMNS = 20  # where each has its condition
MAX_SAMPLES = 10_000  # on one sheet


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(subparsers, "sample", "draw new examples from a run's prior", DESCRIPTION)
    add_run_arguments(parser)
    add_setting_argument(parser)
    parser.add_argument(
        "--target",
        metavar="STREAM,...",
        action="append",
        help="of a joint prior: what to draw, one given those before it (default: all streams that "
        "are no condition; repeatable)",
    )
    parser.add_argument(
        "--interpolate", metavar="N", type=int, help="N interpolations instead: see above"
    )
    add_drawing_arguments(
        parser,
        count=f"number of samples (default: {SAMPLES})",
        conditions="all in turn",
        out="folder for the sheet and for single samples (default: RUN/samples, the sheet only)",
    )
    add_solver_arguments(parser)
    add_rejection_arguments(parser)
    add_rate_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.runs.base import require
    from vqjax.types import UsageError

    if args.interpolate is not None:
        _write_interpolations(args)
        return
    if args.n is not None:
        _check_count("-n", args.n)
    trained = load_run(args)
    require(trained, "sample")
    rejection = rejection_of(args)
    if rejection is not None and (what := _no_picture(trained)):
        raise UsageError(f"--keep is for pictures: {args.run_dir} draws {what}")
    if hasattr(trained, "streams"):
        sample_streams(trained, args, SAMPLES if args.n is None else args.n)
        return
    if args.target:
        raise UsageError(f"--target is for joint priors: {args.run_dir} draws one thing alone")
    if isinstance(args.guidance, dict):
        raise UsageError("--guidance with names is for joint priors: give a number")
    if not (options := _accepted(trained.sample, n=SAMPLES, seed=0)) or "n" not in options:
        raise UsageError(f"{type(trained).__name__}.sample has no n: how many to draw")
    options |= _conditioned_options(args, trained)
    count = options["n"]
    _check_count("n", count)
    conditions = next((options[name] for name in CONDITION_KEYWORDS if options.get(name)), [])
    names = Names(args, trained, "sample", options.get("seed"))
    sheet = names.path(conditions)
    if getattr(trained, "dtype", None) == "int16":
        write_samples(trained, args, options, conditions, names)
        print(printable(str(sheet)))
        return
    if args.rate is not None:
        raise UsageError(f"--rate is for sound: {args.run_dir} draws none")
    if getattr(trained, "dtype", None) == "str":
        sample_texts(trained, options, conditions, names)
        return
    singles = names.singles(conditions, count, options.get(OTHERS) or {})
    names.check([sheet, *singles])
    samples = _drawn(trained, options, rejection)
    caption = ", ".join(map(str, conditions))
    for path, example in zip(singles, samples, strict=False):
        write_example(example, path, overwrite=args.overwrite)
    write_sheet(_sheet_rows(samples, conditions), sheet, caption, overwrite=args.overwrite)
    print(printable(str(sheet)))
    _print_numbers(trained, samples)


def _no_picture(trained: Any) -> str | None:
    """What a run draws that is no picture."""
    if hasattr(trained, "streams"):
        return "streams"
    return {"int16": "sound", "str": "texts"}.get(getattr(trained, "dtype", None))


def _drawn(trained: Any, options: dict[str, Any], rejection: Any) -> Any:
    """Samples; with a `rejection`, those that it keeps, and it prints what it did."""
    if rejection is None:
        return trained.sample(**options)
    from vqjax.runs.rejection import sample_kept

    rest = {name: value for name, value in options.items() if name not in ("n", "classes")}
    classes = options.get("classes")
    kept = sample_kept(trained, rejection, options["n"], classes=classes, options=rest)
    print(printable(kept.summary()))
    return kept.samples


def _conditioned_options(args: argparse.Namespace, trained: Any) -> dict[str, Any]:
    """Keywords of the run's `sample`, of a denoiser that has a source also that."""
    if not getattr(trained, "media", None):
        return method_options(args, trained, trained.sample)
    source = source_of(trained, args)
    rest = argparse.Namespace(**{**vars(args), "condition": None})
    return {"source": source, **method_options(rest, trained, trained.sample)}


def _accepted(method: Any, **options: Any) -> dict[str, Any]:
    """Those that a run's method takes."""
    from vqjax.runs.base import keywords_of

    takes = keywords_of(method)
    return {name: value for name, value in options.items() if name in takes}


def _check_count(option: str, count: int) -> None:
    from vqjax.types import UsageError

    if not 1 <= count <= MAX_SAMPLES:
        raise UsageError(f"{option} {count}: wanted 1 to {MAX_SAMPLES:,}")


def _write_interpolations(args: argparse.Namespace) -> None:
    """`vqjax sample --interpolate`: between pairs of held-out examples, all different; of a run
    that draws noises itself, between these.
    """
    from vqjax.runs.base import require
    from vqjax.types import UsageError

    if flags := used_flags(args, "n", "rate", "judge", "keep", *DRAWING):
        raise UsageError(f"{flags[0]} is for samples: --interpolate draws none")
    _check_count("--interpolate", rows := args.interpolate)
    trained = load_run(args)
    require(trained, "interpolate")
    draws = "seed" in _accepted(trained.interpolate, seed=0)
    if not draws and (flags := used_flags(args, "seed", *CONDITIONS)):
        raise UsageError(f"{flags[0]} is for samples: --interpolate draws none")
    options = _accepted(trained.interpolate, steps=INTERPOLATION_STEPS, seed=0)
    options |= method_options(args, trained, trained.interpolate, reserved=("n",))
    if "n" in options:
        raise UsageError("n=: the number of rows is that of --interpolate")
    conditions = next((options[name] for name in CONDITION_KEYWORDS if options.get(name)), [])
    names = Names(args, trained, "sample-interpolation", options.get("seed"))
    path = names.path(conditions if draws else ())
    names.check([path])
    if draws:
        made = trained.interpolate(rows, **options)
    else:
        x = trained.held_out(2 * rows)
        if len(x) < 2 * rows:
            raise UsageError(
                f"--interpolate {rows}: the eval split has {len(x)} examples, two per row"
            )
        made = trained.interpolate(x[::2], x[1::2], **options)
    write_sheet(list(made), path, overwrite=args.overwrite)
    print(printable(str(path)))


def _sheet_rows(samples: Any, conditions: Sequence) -> list:
    """Rows of a square; where there are several conditions in turn, a column of each."""
    columns = max(1, round(len(samples) ** 0.5))
    columns = len(conditions) if 1 < len(conditions) <= MAX_COLUMNS else columns
    return [samples[first : first + columns] for first in range(0, len(samples), columns)]


def _print_numbers(trained: Any, samples: Any) -> None:
    from vqjax.types import DataError

    try:
        numbers = trained.numbers_of(samples)
    except DataError as error:
        print(printable(f"note: {error}; without it no numbers of the samples"), file=sys.stderr)
        return
    for name, value in numbers.items():
        print(printable(f"{name} {value:.4f}"))
