"""`vqjax evaluate RUN`: how well a run does on its eval split."""

import argparse
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from vqjax.cli import drawing, sampling
from vqjax.cli.arguments import (
    add_run_arguments,
    add_step_argument,
    add_verb,
    load_run,
    run_argument,
)
from vqjax.cli.number_tables import number_lines
from vqjax.cli.rejection import add_keep_argument, rejection_of
from vqjax.format import printable
from vqjax.numbers import IN_WORDS, JUDGED, NUMBERS, Number

DESCRIPTION = """\
Evaluates a run on its whole eval split and prints the numbers of its kind: the list is below.
--importance-samples K adds nll_bound_K, the tighter bound by K samples per example; of MaskGIT,
nats_per_token is an upper bound, from one draw per example.

--flow-nats N, of a denoiser, adds flow_nats: how likely its flow finds the first N of them, in nats
of their numbers, which are other nats than those of tokens.

--judge JUDGE, the run of a classifier of the same data, adds the quality of the evaluated run's
samples, or of a codec of sound what is still found in its reconstructions, from any number of its
codebooks; the last line says how to reproduce the numbers. With --keep SHARE the samples are those
that `vqjax sample` keeps of more, chosen by the judge or by that of --keep-by.

--captions N, for a prior conditioned on captions of data that can tell whether a picture satisfies
its caption, adds the share of satisfied captions of each kind: by pictures drawn from them, by
pictures drawn without any, by real ones and by their reconstructions.

Of sound there is a row for each number of codebooks that are decoded; --by NAME adds one for each
class of an array of the data, from all codebooks, and --codecs one for each codec of libsndfile, on
the same clips at the same level. data.FIELD=VALUE evaluates on other data: the same source with
other fields, such as speakers of whom training heard nothing.

Of a joint prior whose streams share a value that a few texts name, such as a digit, there is also
what each stream says of it, and a grid of noise on every two of them, or with --noise the levels of
two.

  vqjax evaluate runs/mnist_vqvae
  vqjax evaluate runs/mnist_vqvae --params raw --json
  vqjax evaluate runs/mnist_vae --importance-samples 100
  vqjax evaluate runs/mnist_gpt --judge runs/mnist_classifier -n 1000 --guidance 2
  vqjax evaluate runs/spoken_digit_codec --judge runs/spoken_digit_classifier
  vqjax evaluate runs/spoken_digit_codec --by speaker --codecs
  vqjax evaluate runs/spoken_digit_codec data.hold_out=theo data.leave_out=None
  vqjax evaluate runs/shapes_text_to_image --captions 1000 --guidance 2
  vqjax evaluate runs/digits_any_to_any --noise image=0.9,audio=0.1

Numbers of the eval split, where a run has them; shares are fractions of 1, % in tables:
"""
SAMPLES = 1_000  # by default


def _numbers_help(numbers: Mapping[str, Number]) -> str:
    """A line or more for each number."""
    lines = []
    for name, number in numbers.items():
        best = f"; {IN_WORDS[number.best]}" if number.best else ""
        text = f"{name:<22}{number.help}{best}"
        lines.append(textwrap.fill(text, 98, initial_indent="  ", subsequent_indent=" " * 24))
    return "\n".join(lines) + "\n"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(
        subparsers,
        "evaluate",
        "measure a run on its eval split",
        DESCRIPTION + _numbers_help(NUMBERS) + "\nWith --judge:\n" + _numbers_help(JUDGED),
    )
    add_run_arguments(parser)
    _add_data_arguments(parser)
    add_step_argument(parser)
    parser.add_argument(
        "--importance-samples",
        metavar="K",
        type=int,
        help="also the importance-weighted bound, for runs whose latents have a prior",
    )
    parser.add_argument(
        "--flow-nats",
        metavar="N",
        type=int,
        help="also how likely the flow of a denoiser finds N held-out examples",
    )
    _add_judging_arguments(parser)
    sampling.add_sampling_arguments(parser)
    sampling.add_solver_arguments(parser)
    parser.add_argument(
        "--by",
        metavar="NAME",
        help="of sound: the main numbers of each class, too, as --by label",
    )
    parser.add_argument(
        "--codecs",
        action="store_true",
        help="of sound: also what Opus, GSM 6.10 and mu-law make of the same clips",
    )
    parser.add_argument(
        "--noise",
        metavar="X=L,Y=L",
        type=sampling.levels_argument,
        help="of a joint prior: levels of noise on two streams, as image=0.9,audio=0.1",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object instead of a table; null: no finite number",
    )
    parser.set_defaults(run=run)


def _add_judging_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--judge",
        metavar="JUDGE",
        type=run_argument,
        help="a classifier's run that judges samples, or reconstructions of sound",
    )
    parser.add_argument("-n", metavar="N", type=int, help=f"samples to judge (default: {SAMPLES})")
    add_keep_argument(parser)
    parser.add_argument(
        "--keep-by",
        metavar="JUDGE",
        type=run_argument,
        help="of --keep: another classifier's run that chooses (default: the judge)",
    )
    parser.add_argument(
        "--captions",
        metavar="N",
        type=int,
        help="the share of N captions that samples satisfy, for data such as Shapes",
    )
    parser.add_argument("--seed", metavar="N", type=int, help="seed of the samples (default: 0)")


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        metavar="data.FIELD=VALUE",
        nargs="*",
        help="evaluate on other data: set a field of the run's source",
    )
    parser.add_argument(
        "--data", metavar="SOURCE", help="evaluate on another source, as 'Folder(\"photos\", 256)'"
    )


def run(args: argparse.Namespace) -> None:
    from vqjax.files import json_text
    from vqjax.runs.evaluate import evaluate_run
    from vqjax.training.platform import enable_compilation_cache

    enable_compilation_cache()
    _check_options(args)
    data = _data(args)
    judgement, check = _judge_and_check(args, data)  # first: it may refuse
    opened, evaluation = evaluate_run(
        args.run_dir,
        params=args.params,
        step=args.step,
        trust=args.trust,
        frozen=args.frozen,
        importance_samples=args.importance_samples,
        by=args.by,
        codecs=args.codecs,
        noise=args.noise,
        flow_nats=args.flow_nats,
        data=data,
        # `_judge_and_check` has printed the messages from opening the run.
        say=lambda line: None if judgement or check else print(printable(line), file=sys.stderr),
    )
    numbers = evaluation.numbers
    lines = list(evaluation.protocol)
    if judgement is not None:
        numbers, lines = numbers | judgement.numbers, [*lines, judgement.protocol]
    header = {"run": str(args.run_dir), "step": opened.step, "params": opened.params_kind}
    if args.overrides:
        header["data"] = args.overrides
    if args.json:
        protocol = {} if judgement is None else {"protocol": judgement.protocol}
        captions = (
            {} if check is None else {"captions": check.tests, "captions_protocol": check.protocol}
        )
        print(json_text(header | numbers | protocol | captions))
        return
    head = f"{args.run_dir}, step {opened.step}, {opened.params_kind} parameters"
    print(printable(", ".join([head, *args.overrides])))
    for line in [*number_lines(numbers, evaluation.described), *lines]:
        print(printable(f"  {line}").rstrip())
    for line in [] if check is None else check.lines():
        print(printable(f"  {line}"))


def _data(args: argparse.Namespace) -> Any:
    """The run's source with other fields, by `args.overrides`; None: its own, or it has none."""
    from vqjax.config import apply_overrides
    from vqjax.training.record import load_record
    from vqjax.types import UsageError

    if args.data is not None:
        args.overrides = [f"data={args.data}", *args.overrides]
    for word in args.overrides:
        if not word.startswith(("data.", "data=")):
            raise UsageError(f"{word!r}: of a run only the data may be another: data.FIELD=VALUE")
    if not args.overrides:
        return None
    return apply_overrides(load_record(args.run_dir, args.trust).experiment, args.overrides).data


def _check_options(args: argparse.Namespace) -> None:
    """Refuses, with UsageError, options of samples where none are drawn."""
    from vqjax.types import UsageError

    draws = args.judge is not None or args.captions is not None
    if args.judge is None and (flags := drawing.used_flags(args, "n", "keep", "keep_by")):
        raise UsageError(f"{flags[0]} is for samples to be judged: add --judge JUDGE")
    if args.keep_by is not None and args.keep is None:
        raise UsageError("--keep-by is for --keep: add --keep SHARE, such as --keep .3")
    if (flags := drawing.used_flags(args, "seed", *sampling.DRAWING)) and not draws:
        raise UsageError(f"{flags[0]} is for samples: add --judge JUDGE or --captions N")
    if args.captions is not None and args.captions < 1:
        raise UsageError(f"--captions {args.captions}: wanted at least 1")


def _judge_and_check(args: argparse.Namespace, data: Any) -> tuple[Any, Any]:
    """What samples, or a codec's reconstructions, show: a `Judgement` and a `CaptionCheck`, None
    where not requested.
    """
    from vqjax.runs.base import require
    from vqjax.runs.captions import check_captions
    from vqjax.runs.judge import judge_reconstructions, judge_samples, reconstructs_sound
    from vqjax.runs.load import load
    from vqjax.runs.rejection import check_share
    from vqjax.types import UsageError

    if args.judge is None and args.captions is None:
        return None, None
    options = {"seed": args.seed or 0, **sampling.sampling_options(args)}  # first: it may refuse
    if args.keep is not None:
        check_share(args.keep)
    judge = None if args.judge is None else load(args.judge, trust=args.trust)
    run, judgement, check = load_run(args, data), None, None
    if judge is not None and args.captions is None and reconstructs_sound(run):
        if flags := drawing.used_flags(args, "n", "seed", "keep", *sampling.DRAWING):
            raise UsageError(f"{flags[0]} is for samples: of {run.path} reconstructions are judged")
        return judge_reconstructions(run, judge), None
    require(run, "sample")
    drawing.method_options(args, run, run.sample, reserved=("n",))  # refuses by names of options
    options |= sampling.solver_options(args, run)
    if judge is not None:
        chooser = judge if args.keep_by is None else load(args.keep_by, trust=args.trust)
        how = {**options, "rejection": rejection_of(args, chooser)}
        judgement = judge_samples(run, judge, SAMPLES if args.n is None else args.n, **how)
    if args.captions is not None:
        check = check_captions(run, args.captions, **options)
    return judgement, check
