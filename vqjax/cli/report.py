"""`vqjax report RUN ...`: one self-contained page of one or several runs."""

import argparse

from vqjax.cli.arguments import add_overwrite_argument, add_trust_argument, add_verb, path_argument
from vqjax.format import printable

DESCRIPTION = """\
Writes one HTML page that needs nothing else: numbers, loss curves, originals beside their
reconstructions over training time, codebook usage, wall time, and the experiment itself. Several
runs are compared. Works at any time, also while a run is going on. RUN/report.html is replaced by
every call, any other file only if vqjax wrote it.

  vqjax report runs/mnist_vqvae
  vqjax report runs/mnist_vqvae runs/mnist_vqgan --out compared.html
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(subparsers, "report", "write the page of one or several runs", DESCRIPTION)
    parser.add_argument(
        "run_dirs", metavar="RUN", type=path_argument, nargs="+", help="run directory"
    )
    parser.add_argument(
        "--out", metavar="PAGE", type=path_argument, help="(default: report.html in the first RUN)"
    )
    add_overwrite_argument(parser)
    add_trust_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.reports.report import write_report

    path = write_report(args.run_dirs, args.out, args.trust, overwrite=args.overwrite)
    print(printable(str(path)))
