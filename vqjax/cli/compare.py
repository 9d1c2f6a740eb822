"""`vqjax compare RUN ...`: runs side by side, in one table and one page."""

import argparse
import os
import pathlib
import sys
import textwrap

from vqjax.cli.arguments import add_overwrite_argument, add_run_arguments, add_verb, path_argument
from vqjax.format import printable, printable_lines
from vqjax.reports.legend import READING

DESCRIPTION = """\
Prints one table of the runs and writes one HTML page with the table, PSNR against bits per pixel,
and the same held-out pictures through each run; of sound, quality against bitrate.

  vqjax compare runs/mnist_vqvae runs/mnist_vqgan
  vqjax compare runs/* --markdown > table.md

Numbers are those of the newest evaluation that training wrote down. A run is evaluated anew, on
its own eval split, with --evaluate, or where that evaluation is older than the newest checkpoint,
lacks a number, or is one of other parameters than --params asks for. Nothing is written to a run.
Among several RUNs, what is no run directory is skipped with a note.

--judge JUDGE compares what the runs draw instead, as Markdown: -n samples of each, in all classes,
without guidance and with that scale of --guidance whose samples are nearest to training examples;
numbers are those of `vqjax evaluate --judge`, distances are to the eval split. --out SHEET.png then
has a line of the first samples of each row beneath held-out examples of the same classes.

  vqjax compare runs/mnist_gpt runs/mnist_dit --judge runs/mnist_classifier --guidance 1.5,2,3

"""
SAMPLES = 1_000


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(
        subparsers,
        "compare",
        "put runs side by side: a table and a page",
        DESCRIPTION + "\n".join(map(_reading, READING)),
    )
    add_run_arguments(parser, several=True)
    parser.add_argument(
        "--out",
        metavar="PAGE",
        type=path_argument,
        help="(default: compare.html beside the first RUN; with --judge a PNG, and none)",
    )
    add_overwrite_argument(parser)
    parser.add_argument("--evaluate", action="store_true", help="evaluate every run anew")
    parser.add_argument(
        "--judge", metavar="JUDGE", type=path_argument, help="the run of a classifier: see above"
    )
    parser.add_argument("-n", metavar="N", type=int, help=f"samples to judge (default: {SAMPLES})")
    parser.add_argument(
        "--guidance", metavar="S,...", help="with --judge: scales of guidance to choose from"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--markdown",
        action="store_true",
        help="print the table as Markdown and nothing else; a page only with --out",
    )
    form.add_argument(
        "--json",
        action="store_true",
        help="print one JSON array of the runs and nothing else; a page only with --out",
    )
    parser.set_defaults(run=run)


def _reading(entry: tuple[str, str]) -> str:
    name, text = entry
    return textwrap.fill(f"{name:<12}{text}", 98, initial_indent="  ", subsequent_indent=" " * 14)


def run(args: argparse.Namespace) -> None:
    from vqjax.files import check_output, json_text
    from vqjax.reports.compare import compare_runs
    from vqjax.reports.compare_table import columns_of, json_row, markdown_table, text_table
    from vqjax.training.platform import enable_compilation_cache

    if args.judge is not None:
        _print_judged(args)
        return
    _check_unjudged(args)
    bare = args.markdown or args.json
    runs = _runs_among(args.run_dirs)
    out = args.out or pathlib.Path(runs[0]).absolute().parent / "compare.html"
    if not bare or args.out:
        check_output(out, overwrite=args.overwrite)  # before anything that takes time
    enable_compilation_cache()
    compared = compare_runs(
        runs, params=args.params, trust=args.trust, evaluate=args.evaluate, say=_say
    )
    columns = columns_of(compared.rows)
    if args.json:
        print(json_text([json_row(row) for row in compared.rows], indent=2))
    elif args.markdown:
        print(printable_lines(markdown_table(compared.rows, columns)))
    else:
        print(printable_lines(text_table(compared.rows, columns)))
    for note in compared.notes:
        print(printable(f"note: {note}"), file=sys.stderr if bare else sys.stdout)
    if not bare or args.out:
        from vqjax.reports.compare_page import write_comparison

        path = write_comparison(
            compared, out, params=args.params, trust=args.trust, say=_say, overwrite=args.overwrite
        )
        print(printable(str(path)), file=sys.stderr if bare else sys.stdout)


def _check_unjudged(args: argparse.Namespace) -> None:
    """Refuses, with UsageError, options of judging without a judge."""
    from vqjax.types import UsageError

    for flag, value in (("-n", args.n), ("--guidance", args.guidance)):
        if value is not None:
            raise UsageError(f"{flag} is for samples to be judged: add --judge JUDGE")


def _print_judged(args: argparse.Namespace) -> None:
    """Judges what the runs draw, and prints a table."""
    from vqjax.files import check_output, write_output
    from vqjax.media.gallery import png_file
    from vqjax.reports.compare_table import names_of
    from vqjax.reports.generators import generators_sheet, generators_table, judge_runs
    from vqjax.reports.history import read_record
    from vqjax.runs.load import load
    from vqjax.training.platform import enable_compilation_cache
    from vqjax.types import UsageError

    try:
        scales = [float(word) for word in args.guidance.split(",")] if args.guidance else []
    except ValueError as error:
        raise UsageError(f"--guidance {args.guidance}: give numbers, as 1.5,2,3") from error
    if args.json or args.evaluate:
        raise UsageError("--judge prints Markdown: no --json, no --evaluate")
    if args.out:
        check_output(args.out, overwrite=args.overwrite)  # before anything that takes time
    enable_compilation_cache()
    paths = _runs_among(args.run_dirs)
    names = names_of([read_record(path, args.trust) for path in paths])
    judge = load(args.judge, trust=args.trust)
    runs = [
        (n, load(p, params=args.params, trust=args.trust))
        for n, p in zip(names, paths, strict=True)
    ]
    count = SAMPLES if args.n is None else args.n
    rows = judge_runs(runs, judge, count, scales, say=_say)
    print(generators_table(rows))
    if args.out:
        sheet = png_file(generators_sheet(rows, judge))
        write_output(pathlib.Path(args.out), sheet, overwrite=args.overwrite)
        _say(str(args.out))


def _runs_among(paths: list[str]) -> list[str]:
    """`paths` without those that are there but no runs, as `runs/*` may name; a typo stays."""
    from vqjax.reports.history import is_run

    kept = [path for path in paths if is_run(path) or not os.path.lexists(path)]
    for path in paths if kept else ():
        if path not in kept:
            _say(f"note: {path} is not a run directory: skipped")
    return kept or paths


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr)
