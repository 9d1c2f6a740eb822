"""Options of how samples are drawn: token by token, or out of noise step by step."""

import argparse
import dataclasses
from typing import Any

SAMPLING = ("temperature", "top_k", "top_p", "guidance")
SOLVING = ("sampler", "steps", "guidance_interval")  # of denoisers
DRAWING = (*SAMPLING, *SOLVING)
SAMPLERS = {  # the class of `vqjax.sampling`, and what it is made with
    "euler": ("Euler", {}),
    "heun": ("Heun", {}),
    "ancestral": ("Ancestral", {}),
    "ddim": ("Ancestral", {"eta": 0.0}),
    "dpm": ("DPMSolver", {}),
}


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --temperature, --top-k, --top-p and --guidance."""
    parser.add_argument("--temperature", metavar="T", type=float, help="of sampling (default: 1)")
    parser.add_argument("--top-k", metavar="K", type=int, help="only the K likeliest tokens")
    parser.add_argument(
        "--top-p", metavar="P", type=float, help="only the likeliest tokens of total probability P"
    )
    parser.add_argument(
        "--guidance",
        metavar="S",
        type=_guidance,
        help="scale of classifier-free guidance (default: 1, off); of a joint prior, which is "
        "guided by what it has drawn before, too, also one of each stream, as image=2,audio=1.5",
    )


def add_solver_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --sampler, --steps and --guidance-interval."""
    parser.add_argument(
        "--sampler",
        choices=tuple(SAMPLERS),
        help="of a denoiser: how noise is taken away (default: as its experiment says)",
    )
    parser.add_argument(
        "--steps", metavar="N", type=int, help="of a denoiser: of its sampler, at least 1"
    )
    parser.add_argument(
        "--guidance-interval",
        metavar="LOW,HIGH",
        help="of a denoiser: times between which it is guided, 0 being data and 1 noise (default: "
        "0,1)",
    )


def _guidance(text: str) -> float | dict[str, float]:
    """The value of --guidance."""
    try:
        return _numbers(text) if "=" in text else float(text)
    except ValueError as error:
        message = f"{text!r}: give a number, or one for each condition, as image=2,audio=1.5"
        raise argparse.ArgumentTypeError(message) from error


def levels_argument(text: str) -> dict[str, float]:
    """The value of --noise."""
    try:
        return _numbers(text)
    except ValueError as error:
        message = f"{text!r}: give a level for each of two streams, as image=0.9,audio=0.1"
        raise argparse.ArgumentTypeError(message) from error


def _numbers(text: str) -> dict[str, float]:
    """ "a=2,b=1.5" -> {"a": 2.0, "b": 1.5}; ValueError for anything else."""
    pairs = [item.partition("=") for item in text.split(",")]
    return {name: float(value) for name, _, value in pairs}


def sampling_options(args: argparse.Namespace) -> dict[str, Any]:
    """`sampling` and `guidance` for a run's methods, where set; UsageError for invalid numbers."""
    from vqjax.sampling import Guidance, StreamGuidance, TokenSampling

    numbers = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    numbers = {k: v for k, v in numbers.items() if v is not None}
    options: dict[str, Any] = {"sampling": TokenSampling(**numbers)} if numbers else {}
    if args.guidance is None:
        return options
    if isinstance(args.guidance, dict):
        return {**options, "guidance": StreamGuidance(tuple(args.guidance.items()))}
    return {**options, "guidance": Guidance(args.guidance)}


def solver_options(args: argparse.Namespace, run: Any) -> dict[str, Any]:
    """`solver` and `guidance_interval` for a denoiser's methods, where set.

    Raises:
        UsageError: wrong numbers.
    """
    from vqjax import sampling
    from vqjax.types import UsageError

    options: dict[str, Any] = {}
    if args.sampler is not None:
        name, settings = SAMPLERS[args.sampler]
        options["solver"] = getattr(sampling, name)(**settings)
    if args.steps is not None:
        options["solver"] = dataclasses.replace(
            options.get("solver", run.task.solver), steps=args.steps
        )
    if args.guidance_interval is not None:
        try:
            options["guidance_interval"] = [float(w) for w in args.guidance_interval.split(",")]
        except ValueError as error:
            message = f"--guidance-interval {args.guidance_interval}: give two times, as 0.1,0.8"
            raise UsageError(message) from error
    return options
