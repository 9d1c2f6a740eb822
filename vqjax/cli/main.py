"""The entry of the program: finds the verb, runs it, and turns failures into one line.

Parsing imports neither JAX nor TensorFlow: verbs import what they need when they run. (`--help`
beside an experiment's FILE does import JAX.)
"""

import argparse
import contextlib
import difflib
import importlib
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from vqjax._version import __version__
from vqjax.cli import completion, interrupt, streams
from vqjax.cli.failures import explain, fail
from vqjax.format import printable, printable_lines

VERBS = (
    "experiments", "copy", "prepare", "train", "reconstruct", "tokenize", "sample", "edit",
    "rank", "evaluate", "inspect", "report", "compare", "import", "export", "pack",
    "compile", "benchmark",
)  # fmt: skip
MODULES = {"import": "importing"}  # of verbs that cannot be the name of one
DEBUG_HELP = "show the traceback of an error"


class ArgumentError(Exception):
    """A wrong command line, in one line."""


class Parser(argparse.ArgumentParser):
    """Raises `ArgumentError` where argparse prints its usage and exits."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{_with_hint(message, self)} (see {self.prog} --help)")


def _with_hint(message: str, parser: argparse.ArgumentParser) -> str:
    """argparse's message, with the valid name that is nearest to an unknown one."""
    message = message.replace(", key=value", "")  # none is required
    choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
    if choice:
        return message + _nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
    unknown = re.search(r"unrecognized arguments: (--[\w.-]+)(?:[= ](\S+))?", message)
    if not unknown:
        return message
    fields = any(action.metavar == "key=value" for action in parser._actions)
    hint = _nearest(unknown[1], _option_names(parser), cutoff=0.75 if fields else 0.5)
    if fields and not hint:
        item = f"{unknown[1][2:].replace('-', '_')}={unknown[2] or 'VALUE'}"
        hint = f": a field is set by {item}, an argument of FILE's experiment() by --arg {item}"
    return message + hint


def _nearest(name: str, valid: Sequence[str], cutoff: float = 0.5) -> str:
    near = difflib.get_close_matches(name, valid, n=1, cutoff=cutoff)
    return f": did you mean {near[0]!r}?" if near else ""


def _option_names(parser: argparse.ArgumentParser) -> list[str]:
    return re.findall(r"--[\w-]+", parser.format_usage())


def build_parser(verbs: Sequence[str] = VERBS) -> tuple[Parser, dict[str, argparse.ArgumentParser]]:
    """The program's parser and those of `verbs`, whose modules are imported."""
    parser = Parser(
        prog="vqjax",
        description="Train, watch, resume and use networks that turn pictures and sound into "
        "tokens and back. Each verb has its own --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vqjax {__version__}")
    parser.add_argument("--debug", action="store_true", help=DEBUG_HELP)
    subparsers = parser.add_subparsers(metavar="VERB", title="verbs")
    for verb in verbs:
        importlib.import_module(f"vqjax.cli.{MODULES.get(verb, verb)}").add_parser(subparsers)
        subparsers.choices[verb].add_argument("--debug", action="store_true", help=DEBUG_HELP)
        subparsers.choices[verb].allow_abbrev = False
    return parser, dict(subparsers.choices)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses a command line; `args.run` is the verb's function, `args.debug` is always set.

    The verb's own words are parsed apart from those before it, because argparse allows options
    between positional arguments only without sub-commands.

    Raises:
        ArgumentError: a wrong command line.
        SystemExit: `--help` or `--version` was printed.
    """
    index = next((i for i, word in enumerate(argv) if not word.startswith("-")), len(argv))
    if index == len(argv):
        wants_help = not {"-h", "--help"}.isdisjoint(argv)
        build_parser(VERBS if wants_help else ())[0].parse_args(argv)
        raise ArgumentError(f"no verb given: {', '.join(VERBS)} (see vqjax --help)")
    verb = argv[index]
    if verb == "help":  # help [VERB [FILE]]
        return parse([*argv[:index], *argv[index + 1 :], "--help"])
    if verb not in VERBS:
        option = f"--{verb}"
        is_option = option == "--version"
        hint = f": did you mean {option!r}?" if is_option else _nearest(verb, VERBS)
        raise ArgumentError(f"{verb!r} is not a verb{hint} (valid: {', '.join(VERBS)})")
    parser, verbs = build_parser((verb,))
    if not {"-h", "--help"}.isdisjoint(argv[index + 1 :]):
        _print_file_help(argv[index + 1 :], verbs[verb])
    general = parser.parse_args(argv[:index])
    args = verbs[verb].parse_intermixed_args(argv[index + 1 :])
    args.debug = args.debug or general.debug
    return args


def _print_file_help(words: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Prints the description and arguments of an experiment file, where one is named beside
    `--help`, and ends the program.

    Raises:
        SystemExit: it was printed.
    """
    files = [word for word in words if not word.startswith("-") and "=" not in word]
    takes_file = any(action.dest == "file" and action.nargs is None for action in parser._actions)
    if not files or not takes_file:
        return
    from vqjax.config.files import find_file
    from vqjax.shipped import described
    from vqjax.types import UsageError

    for word in files:
        try:
            description = described(find_file(word))
        except (UsageError, OSError):  # an option's value, or no file of Python
            continue
        print(printable_lines(description.docstring) + "\n")
        for argument, default in description.arguments.items():
            note = "needed" if default is None else f"default {default}"
            print(printable(f"  --arg {argument}   {note}"))
        print(f"\nOptions: {parser.prog} --help")
        raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; every failure is one line on stderr."""
    argv = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in argv
    try:
        code = _run(argv)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a failure still counts
        return code
    except ArgumentError as error:
        return fail(str(error), 2, error if debug else None)
    except KeyboardInterrupt as error:
        return fail("interrupted", interrupt.INTERRUPTED, error if debug else None)
    except streams.OutputLost as error:
        return 1 if error.reader_left else fail(str(error), 1, error if debug else None)
    except Exception as error:
        from vqjax.types import Stopped

        message, code = explain(error)
        word = "" if isinstance(error, Stopped) else "error: "  # as requested
        return fail(message, code, error if debug else None, word=word)


def _run(argv: Sequence[str]) -> int:
    try:
        args = parse(argv)
        _fetch_runs(args)
        code = args.run(args)
    except SystemExit as end:  # --help and --version
        return _exit_code(end)
    return 0 if code is None else code


def _fetch_runs(args: argparse.Namespace) -> None:
    """Puts folders of this machine in place of packs on the Hub."""
    from vqjax.hub import is_hub, run_path

    def fetched(run: str) -> str:
        if not is_hub(run):
            return run
        path = run_path(run)
        print(printable(f"{run}: commit {path.name}, {path}"), file=sys.stderr)
        return str(path)

    for name in ("run_dir", "file", "judge"):
        if isinstance(run := getattr(args, name, None), str):
            setattr(args, name, fetched(run))
    if hasattr(args, "run_dirs"):
        args.run_dirs = [fetched(run) for run in args.run_dirs]


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    return end.code if isinstance(end.code, int) else fail(str(end.code), 1, None)


def run() -> NoReturn:
    """The console script."""
    if completion.is_requested():
        completion.complete(*build_parser())
    interrupt.install()
    streams.install()
    code = main()
    with contextlib.suppress(streams.OutputLost):  # the verb has failed before, which counts
        sys.stdout.flush()
    sys.exit(code)
