"""`vqjax copy NAME [FILE]`: an experiment that comes with vqjax, as a file of one's own."""

import argparse

from vqjax.cli.arguments import add_overwrite_argument, path_argument
from vqjax.format import printable


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Registers the verb."""
    parser = subparsers.add_parser(
        "copy",
        help="copy an experiment that comes with vqjax, to change it",
        description="Copies the experiment NAME (`vqjax experiments` lists them) to FILE, which "
        "`vqjax train FILE` runs.",
    )
    parser.add_argument("name", metavar="NAME", help="one of `vqjax experiments`")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=path_argument, help="default: NAME.py, here"
    )
    add_overwrite_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Copies the file and prints where it is."""
    from vqjax.files import write_output
    from vqjax.paths import as_path
    from vqjax.shipped import experiments
    from vqjax.types import UsageError, did_you_mean

    files, name = experiments(), args.name.removesuffix(".py")
    if name not in files:
        raise UsageError(
            f"no experiment {args.name!r} comes with vqjax: {did_you_mean(name, files)}"
        )
    file = as_path(args.file or f"{name}.py", "FILE")
    if file.suffix != ".py":
        raise UsageError(f"{file} is not a Python file (.py)")
    write_output(file, files[name].read_bytes(), overwrite=args.overwrite)
    print(printable(f"{file}: train it by `vqjax train {file}`"))
    return 0
