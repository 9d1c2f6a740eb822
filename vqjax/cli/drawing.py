"""What verbs that draw share: options of priors over tokens, and how pictures are written."""

import argparse
import pathlib
from typing import Any

TELLING = ("classes", "prompt", "given")  # options that say what a prior is told
CHOOSING = ("temperature", "top_k", "top_p", "guidance")


def add_telling_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --classes, --prompt and --given; `default` is what happens without --classes."""
    parser.add_argument(
        "--classes", metavar="A,B,...", help=f"taken in turn; --classes=-1: none ({default})"
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", action="append", help="taken in turn (repeatable)"
    )
    parser.add_argument(
        "--given",
        metavar="NAME=VALUE",
        action="append",
        help='what the prior is told: text="..." is --prompt "..." (repeatable)',
    )


def add_choosing_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --temperature, --top-k, --top-p and --guidance."""
    parser.add_argument("--temperature", metavar="T", type=float, help="(default: 1)")
    parser.add_argument("--top-k", metavar="K", type=int, help="only the K likeliest tokens")
    parser.add_argument(
        "--top-p", metavar="P", type=float, help="only the likeliest tokens that make up P"
    )
    parser.add_argument(
        "--guidance", metavar="S", type=float, help="away from what needs no condition (default: 1)"
    )


def named(args: argparse.Namespace, *names: str) -> list[str]:
    """Those of the options `names` that were given, as they are typed."""
    given = (name for name in names if getattr(args, name) is not None)
    return [f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}" for name in given]


def choosing(args: argparse.Namespace) -> dict[str, Any]:
    """`choice` and `guidance` for `PriorRun`'s methods; UsageError for numbers that cannot be."""
    from vqjax.sampling import Choice, Guidance

    numbers = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    wishes = {"choice": Choice(**{k: v for k, v in numbers.items() if v is not None})}
    return wishes if args.guidance is None else {**wishes, "guidance": Guidance(args.guidance)}


def telling(args: argparse.Namespace) -> dict[str, list]:
    """`classes` or `prompts` for `PriorRun`'s methods; UsageError for what cannot be read."""
    from vqjax.types import UsageError

    wishes: dict[str, list] = {}
    if args.classes is not None:
        try:
            wishes["classes"] = [int(word) for word in args.classes.split(",")]
        except ValueError as error:
            raise UsageError(f"--classes {args.classes}: give numbers, as 3,7") from error
    prompts = list(args.prompt or ())
    for item in args.given or ():
        name, equals, value = item.partition("=")
        if not equals or name != "text":
            raise UsageError(f'--given {item}: give text="..."')
        prompts.append(value)
    return {**wishes, "prompts": prompts} if prompts else wishes


def write_sheet(rows: list, path: pathlib.Path, caption: str = "") -> pathlib.Path:
    """A picture of rows of examples; `caption` goes into the file, for the run's report."""
    from vqjax.evaluation.pictures import picture_of, tile

    sheet = tile([[picture_of(example) for example in row] for row in rows])
    return write_example(sheet, path, caption)


def write_example(example: Any, path: pathlib.Path, caption: str = "") -> pathlib.Path:
    """An example as it is, without enlargement."""
    from PIL import Image, PngImagePlugin

    from vqjax.evaluation.pictures import picture_of, to_uint8
    from vqjax.types import UsageError

    plain = example.ndim == 3 and example.shape[-1] in (1, 3, 4)
    picture = to_uint8(example) if plain else picture_of(example)  # clips and signals: drawn
    picture = picture[..., 0] if picture.shape[-1] == 1 else picture
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngImagePlugin.PngInfo()
        if caption:
            info.add_itxt("Description", caption)
        Image.fromarray(picture).save(path, pnginfo=info)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path
