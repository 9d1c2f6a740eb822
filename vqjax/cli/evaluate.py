"""`vqjax evaluate RUN`: how well a run does on its eval split."""

import argparse
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from vqjax.cli.arguments import add_run_arguments, add_verb, load_run, path_argument
from vqjax.cli.drawing import SAMPLING, add_sampling_arguments, asked, named, sampling
from vqjax.format import printable
from vqjax.numbers import IN_WORDS, JUDGED, NUMBERS, Number

DESCRIPTION = """\
Goes through the whole eval split and prints what a run of this kind is measured by: the list is
below. --importance-samples K adds nll_bound_K, the tighter bound that K samples per example give;
of MaskGIT, nats_per_token is an upper bound, one draw per example.

With --judge JUDGE, the run of a classifier of the same data, also what its samples are worth. The
last line says how to get the numbers again. With --captions N, of a prior conditioned on captions
of data that can tell whether a picture is what its caption says, the share of captions that come
true, by kind: of pictures drawn from them, of pictures drawn without any, of real pictures and of
their reconstructions.

  vqjax evaluate runs/mnist_vqvae
  vqjax evaluate runs/mnist_vqvae --params raw --json
  vqjax evaluate runs/mnist_vae --importance-samples 100
  vqjax evaluate runs/mnist_gpt --judge runs/mnist_classifier -n 1000 --guidance 2
  vqjax evaluate runs/shapes_text_to_image --captions 1000 --guidance 2

Numbers of the eval split, as far as a run has them; a share is one of 1:
"""
SAMPLES = 1_000  # to be judged


def _numbers(numbers: Mapping[str, Number]) -> str:
    """A line or more for each number."""
    lines = []
    for name, what in numbers.items():
        best = f"; {IN_WORDS[what.best]}" if what.best else ""
        text = f"{name:<22}{what.help}{best}"
        lines.append(textwrap.fill(text, 98, initial_indent="  ", subsequent_indent=" " * 24))
    return "\n".join(lines) + "\n"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(
        subparsers,
        "evaluate",
        "measure a run on its eval split",
        DESCRIPTION + _numbers(NUMBERS) + "\nWith --judge:\n" + _numbers(JUDGED),
    )
    add_run_arguments(parser)
    parser.add_argument("--step", metavar="N", type=int, help="sealed step (default: the newest)")
    parser.add_argument(
        "--importance-samples",
        metavar="K",
        type=int,
        help="also the importance-weighted bound, for runs whose latents have a prior",
    )
    parser.add_argument(
        "--judge",
        metavar="JUDGE",
        type=path_argument,
        help="a classifier's run, to judge samples by",
    )
    parser.add_argument("-n", metavar="N", type=int, help=f"samples to judge (default: {SAMPLES})")
    parser.add_argument(
        "--captions",
        metavar="N",
        type=int,
        help="how many of N captions come true, for data that can tell, such as Shapes",
    )
    parser.add_argument("--seed", metavar="N", type=int, help="of the samples (default: 0)")
    add_sampling_arguments(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object instead of a table; null: no finite number",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.files import json_text
    from vqjax.runs.evaluate import evaluate_run
    from vqjax.training.platform import enable_compilation_cache

    enable_compilation_cache()
    _check_options(args)
    judgement, check = _drawn(args)  # first: it may refuse
    opened, evaluation = evaluate_run(
        args.run_dir,
        params=args.params,
        step=args.step,
        trust=args.trust,
        frozen=args.frozen,
        importance_samples=args.importance_samples,
        # What drew from the run has said already what opening it has to say.
        say=lambda line: None if judgement or check else print(printable(line), file=sys.stderr),
    )
    numbers = evaluation.numbers
    lines = list(evaluation.protocol)
    if judgement is not None:
        numbers, lines = numbers | judgement.numbers, [*lines, judgement.protocol]
    header = {"run": str(args.run_dir), "step": opened.step, "params": opened.params_kind}
    if args.json:
        said = {} if judgement is None else {"protocol": judgement.protocol}
        checked = (
            {} if check is None else {"captions": check.tests, "captions_protocol": check.protocol}
        )
        print(json_text(header | numbers | said | checked))
        return
    print(printable(f"{args.run_dir}, step {opened.step}, {opened.params_kind} parameters"))
    width = max(map(len, numbers), default=0)
    for name, value in numbers.items():
        print(printable(f"  {name:<{width}}  {value:>12.4f}"))
    for line in [*lines, *([] if check is None else check.lines())]:
        print(printable(f"  {line}"))


def _check_options(args: argparse.Namespace) -> None:
    """Refuses options of samples where none are judged, with UsageError."""
    from vqjax.types import UsageError

    drawing = args.judge is not None or args.captions is not None
    if args.n is not None and args.judge is None:
        raise UsageError("-n is for samples to be judged: add --judge JUDGE")
    if (options := named(args, "seed", *SAMPLING)) and not drawing:
        raise UsageError(f"{options[0]} is for samples: add --judge JUDGE or --captions N")
    if args.captions is not None and args.captions < 1:
        raise UsageError(f"--captions {args.captions}: wanted at least 1")


def _drawn(args: argparse.Namespace) -> tuple[Any, Any]:
    """What is found out by drawing: a `Judgement` and a `CaptionCheck`, None where not wanted."""
    from vqjax.runs.base import require
    from vqjax.runs.captions import check_captions
    from vqjax.runs.judge import judge_samples
    from vqjax.runs.load import load

    if args.judge is None and args.captions is None:
        return None, None
    options = {"seed": args.seed or 0, **sampling(args)}  # refuses before anything is opened
    judge = None if args.judge is None else load(args.judge, trust=args.trust)
    run, judgement, check = load_run(args), None, None
    require(run, "sample")
    asked(args, run, run.sample, own=("n",))  # for the refusal, in the words of the command line
    if judge is not None:
        judgement = judge_samples(run, judge, SAMPLES if args.n is None else args.n, **options)
    if args.captions is not None:
        check = check_captions(run, args.captions, **options)
    return judgement, check
