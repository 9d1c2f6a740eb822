"""`vqjax experiments`: those that come with vqjax, by name."""

import argparse

from vqjax.cli.arguments import add_verb

DESCRIPTION = """\
Lists the experiments that come with vqjax, and how long each takes on two CPU cores ("busy":
other work ran beside).

  vqjax train digits_vqgan            # run one by its name
  vqjax train digits_vqgan --help     # its description and its arguments
  vqjax copy digits_vqgan mine.py     # a copy to change
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Registers the verb."""
    parser = add_verb(
        subparsers, "experiments", "list the experiments that come with vqjax", DESCRIPTION
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints a line per experiment: name, cost, the first line of its docstring."""
    from vqjax.shipped import cost, described, experiments
    from vqjax.types import DataError

    del args
    docs = {name: described(file).docstring for name, file in experiments().items()}
    if not docs:
        raise DataError("this installation of vqjax has no experiments")
    rows = [(name, cost(text), text.partition("\n")[0]) for name, text in docs.items()]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for name, minutes, line in rows:
        print(f"{name:{widths[0]}}  {minutes:>{widths[1]}}  {line}")
    return 0
