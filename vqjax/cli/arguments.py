"""Arguments that several verbs share: FILE with its overrides, RUN with its trust."""

import argparse
import re
import sys
from typing import Any

from vqjax.format import printable
from vqjax.hub import is_hub
from vqjax.paths import home_path

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


def add_verb(
    subparsers: argparse._SubParsersAction, name: str, help: str, description: str
) -> argparse.ArgumentParser:
    """The parser of a verb, whose description is printed as it is written."""
    shape = argparse.RawDescriptionHelpFormatter
    return subparsers.add_parser(name, help=help, description=description, formatter_class=shape)


def path_argument(text: str) -> str:
    """The type of arguments that are paths of this machine: `~` is the home directory."""
    try:
        return home_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_argument(text: str) -> str:
    """The type of arguments that are runs: a path, or a pack on the Hub, hf://ORG/NAME."""
    return text if is_hub(text) else path_argument(text)


def add_experiment_arguments(parser: argparse.ArgumentParser, metavar: str = "FILE") -> None:
    """Adds FILE, `key=value` items and the options that shape an experiment (`read_experiment`)."""
    parser.add_argument("file", metavar=metavar, help="experiment file")
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="set a field: batch_size=32, task.tokenizer.quantizer='VectorQuantizer(512, 64)'",
    )
    parser.add_argument(
        "--arg",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="argument of the file's experiment() (repeatable)",
    )
    _add_frozen(parser)
    add_trust_argument(parser)


def add_run_arguments(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Adds RUN (`args.run_dir`, and --frozen; or, with `several`, the list `args.run_dirs`), and
    --params and --trust.
    """
    if several:
        parser.add_argument(
            "run_dirs", metavar="RUN", type=run_argument, nargs="+", help="run directory"
        )
    else:
        parser.add_argument(
            "run_dir",
            metavar="RUN",
            type=run_argument,
            help="run directory, pack, or hf://ORG/NAME@REVISION",
        )
    parser.add_argument(
        "--params",
        choices=("auto", "ema", "raw"),
        default="auto",
        help="averaged or raw parameters (default: averaged where the run keeps them)",
    )
    if not several:
        _add_frozen(parser)
    add_trust_argument(parser)


def _add_frozen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frozen",
        metavar="NAME=PATH",
        action="append",
        default=[],
        help="new path of a run or a file of weights that this experiment builds on (repeatable)",
    )


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--trust`."""
    parser.add_argument(
        "--trust",
        metavar="MODULE|FILE.py",
        action="append",
        default=[],
        help="run this code where the experiment names its classes (repeatable)",
    )


def add_step_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--step`, of a RUN."""
    parser.add_argument("--step", metavar="N", type=int, help="sealed step (default: the newest)")


def add_overwrite_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--overwrite`."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="also replace files without the mark of vqjax (those with it are replaced anyway)",
    )


def load_run(args: argparse.Namespace, data: Any = None) -> Any:
    """RUN, opened by the arguments of `add_run_arguments` and --step, on its own data or `data`;
    prints its lines.
    """
    from vqjax.runs.load import load
    from vqjax.training.platform import enable_compilation_cache

    enable_compilation_cache()
    run = load(
        args.run_dir,
        params=args.params,
        step=args.step,
        trust=args.trust,
        frozen=args.frozen,
        data=data,
    )
    for line in run.lines:
        print(printable(line), file=sys.stderr)
    return run


def read_experiment(args: argparse.Namespace) -> Any:
    """The experiment that FILE, `--arg`, `--frozen` and the overrides describe.

    Afterwards `args.file` and `args.overrides` are separate, in whatever order they were typed, and
    `args.trust` also holds the sources of FILE's classes: that code has run already.

    Raises:
        UsageError: one line for whatever is wrong with them.
    """
    from vqjax.config import foreign_sources, load_file
    from vqjax.config.names import parse_trust
    from vqjax.types import UsageError

    args.file, args.overrides = _split_words([args.file, *args.overrides])
    parse_trust(args.trust)
    arguments = {}
    for item in args.arg:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(f"--arg {item}: give NAME=VALUE")
        arguments[name] = value
    experiment = load_file(args.file, arguments, args.overrides, args.frozen)
    args.trust = [*args.trust, *foreign_sources(experiment)]
    return experiment


def _split_words(words: list[str]) -> tuple[str, list[str]]:
    from vqjax.paths import as_path
    from vqjax.types import UsageError

    files = [word for word in words if not _OVERRIDE.match(word)]
    if len(files) > 1:
        raise UsageError(f"{files[1]!r} is not an override: give key=value")
    if not files:
        raise UsageError(f"no experiment file given, only {' '.join(words)}")
    return str(as_path(files[0], "FILE")), [word for word in words if _OVERRIDE.match(word)]
