"""`vqjax pack RUN`: a run as a folder to give away."""

import argparse
import sys

from vqjax.cli.arguments import add_run_arguments, add_step_argument, add_verb, path_argument
from vqjax.format import printable

DTYPES = ("float32", "bfloat16")
DESCRIPTION = """Writes the networks of RUN, and of the runs that it builds on, into a folder that
every verb and vqjax.load open like the run:

  experiment.json      the experiment
  model.safetensors    the parameters (averaged ones where the run keeps them) and codebooks
  seal.json            the checksums of both
  frozen/              the same of a prior's tokenizers
  README.md            a card: what it is, numbers, commands, a picture

It can be sampled from, evaluated, fine-tuned (init_from=DIR) and built upon, not resumed. Whoever
gets it needs to trust nobody: nothing in it is code. To publish it: `hf upload ORG/NAME DIR`;
others then name it hf://ORG/NAME, or hf://ORG/NAME@REVISION.

  vqjax pack runs/mnist_gpt --out mnist_gpt --dtype bfloat16
  vqjax sample mnist_gpt
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Registers the verb."""
    parser = add_verb(subparsers, "pack", "write a run as a folder to give away", DESCRIPTION)
    add_run_arguments(parser)
    add_step_argument(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=path_argument, required=True, help="new folder, or empty"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="of the numbers (default: %(default)s)"
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="evaluate the pack for its card, which has the run's numbers else",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the pack and prints its size."""
    from vqjax.cli.arguments import load_run
    from vqjax.paths import as_path
    from vqjax.reports.card import write_card
    from vqjax.reports.history import read_record
    from vqjax.runs.packing import pack

    folder = as_path(args.out, "--out")
    pack(load_run(args), folder, args.dtype, evaluate=args.evaluate)
    record = read_record(folder, args.trust)
    write_card(folder, record, args.dtype)
    if args.dtype != "float32" and record.evals and not args.evaluate:
        print(
            "note: the card's numbers are those of the run; --evaluate: of the pack",
            file=sys.stderr,
        )
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(printable(f"{folder}: {size / 1e6:.1f} MB; publish it by `hf upload ORG/NAME {folder}`"))
    return 0
