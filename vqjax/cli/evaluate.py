"""`vqjax evaluate RUN`: how well a run does on its eval split."""

import argparse
import json
import math
import sys

from vqjax.cli.arguments import add_run_arguments

DESCRIPTION = """\
Reconstructs the whole eval split and prints PSNR (dB), SSIM, L1, MSE (both of values in [0, 1]),
the high-frequency ratio (1.0: as sharp as the originals), codebook usage and perplexity. Where the
latents have a prior also nll_bound, an upper bound on -log p(x) in nats per example (the negative
ELBO); --importance-samples K adds nll_bound_K, the tighter bound that K samples per example give.

Of a prior over tokens it prints nats_per_token, the mean of -log p over all tokens of the eval
split (of MaskGIT an upper bound, one draw per example), and bits_per_dim, the same per value.

  vqjax evaluate runs/mnist_vqvae
  vqjax evaluate runs/mnist_vqvae --params raw --json
  vqjax evaluate runs/mnist_vae --importance-samples 100
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a run on its eval split",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_arguments(parser)
    parser.add_argument("--step", metavar="N", type=int, help="sealed step (default: the newest)")
    parser.add_argument(
        "--importance-samples",
        metavar="K",
        type=int,
        help="also the importance-weighted bound, for runs whose latents have a prior",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.evaluation.likelihood import protocol
    from vqjax.evaluation.reconstruction import evaluate_run
    from vqjax.training.platform import enable_compilation_cache

    enable_compilation_cache()
    opened, evaluation = evaluate_run(
        args.run_dir,
        params=args.params,
        step=args.step,
        trust=args.trust,
        frozen=args.frozen,
        importance_samples=args.importance_samples,
        say=lambda line: print(line, file=sys.stderr),
    )
    numbers = evaluation.numbers
    header = {"run": str(args.run_dir), "step": opened.step, "params": opened.params_kind}
    if args.json:
        # JSON has no NaN; null says that the number is not defined.
        clean = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        print(json.dumps(header | clean))
        return
    print(f"{args.run_dir}, step {opened.step}, {opened.params_kind} parameters")
    width = max(map(len, numbers))
    for name, value in numbers.items():
        print(f"  {name:<{width}}  {value:>12.4f}")
    for line in protocol(opened.experiment) if "nll_bound" in numbers else ():
        print(f"  {line}")
