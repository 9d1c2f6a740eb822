"""Options that keep only the samples that a judge finds most like their class."""

import argparse
from typing import Any

from vqjax.cli.arguments import run_argument


def add_rejection_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --judge and --keep."""
    parser.add_argument(
        "--judge", metavar="JUDGE", type=run_argument, help="of --keep: a classifier's run"
    )
    add_keep_argument(parser)


def add_keep_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --keep."""
    parser.add_argument(
        "--keep",
        metavar="SHARE",
        type=float,
        help="keep of each class only this share of candidates, the likeliest to the judge",
    )


def rejection_of(args: argparse.Namespace, judge: Any | None = None) -> Any | None:
    """The `Rejection` of --keep by `judge`, None: that of --judge; None without --keep.

    Raises:
        UsageError: one of the two options is missing, or the share is none.
    """
    from vqjax.runs.load import load
    from vqjax.runs.rejection import Rejection, check_share
    from vqjax.types import UsageError

    if args.keep is None:
        if judge is None and args.judge is not None:
            raise UsageError("--judge is for --keep: add --keep SHARE, such as --keep .3")
        return None
    check_share(args.keep)
    if judge is None and args.judge is None:
        raise UsageError("--keep needs somebody who chooses: add --judge JUDGE")
    return Rejection(load(args.judge, trust=args.trust) if judge is None else judge, args.keep)
