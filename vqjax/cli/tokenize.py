"""`vqjax tokenize RUN --out DIR`: a data set as tokens, to train priors on."""

import argparse
import sys

from vqjax.cli.arguments import add_step_argument, add_trust_argument, add_verb, path_argument
from vqjax.format import printable

DESCRIPTION = """\
Writes the tokens of the data set that RUN was trained on, both splits, with labels and all other
arrays of its examples but the inputs. Sound is tokenized in whole clips, at the level of training,
with each clip's length and gain. A prior trains on it without the tokenizer in its step:

  vqjax tokenize runs/mnist_vqvae --out tokens/mnist
  vqjax train mnist_gpt data='TokenSet("tokens/mnist")'
  vqjax tokenize runs/spoken_digit_codec --out tokens/digits --samples 8320

The same command resumes where it was stopped. Random augmentation is left out.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(subparsers, "tokenize", "write a data set as tokens", DESCRIPTION)
    parser.add_argument("run_dir", metavar="RUN", type=path_argument, help="run directory")
    add_trust_argument(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=path_argument, required=True, help="folder of the token set"
    )
    add_step_argument(parser)
    parser.add_argument(
        "--samples",
        metavar="N",
        type=int,
        help="of sound: the first N of each clip alone (default: all that the longest one has)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.runs.tokenize import tokenize_run
    from vqjax.training.platform import enable_compilation_cache

    enable_compilation_cache()
    path = tokenize_run(
        args.run_dir,
        args.out,
        step=args.step,
        samples=args.samples,
        trust=args.trust,
        say=lambda line: print(printable(line), file=sys.stderr),
    )
    print(printable(str(path)))
