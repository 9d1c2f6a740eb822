"""`vqjax rank RUN --condition STREAM=FILE --candidates DIR|FILE`: what goes with what."""

import argparse
import os
import pathlib
from typing import Any

from vqjax.cli.arguments import (
    add_run_arguments,
    add_step_argument,
    add_verb,
    load_run,
    path_argument,
)
from vqjax.cli.inputs import PICTURES, SOUND, find_inputs
from vqjax.cli.stream_inputs import conditions_of, read_examples
from vqjax.format import printable

DESCRIPTION = """\
Ranks candidates of one stream of a joint prior by how well they go with the conditions, the best
first, with their scores in nats: pictures or sounds in a folder, or the lines of a file of texts.

  vqjax rank runs/digits_any_to_any --condition audio=seven.wav --candidates words.txt
  vqjax rank runs/digits_any_to_any --prompt seven --candidates pictures/ -n 5

A candidate's score is log p(candidate | conditions) - log p(candidate), so that what is likely
anyway comes no further; with --score likelihood it is the first of these alone, which compares what
a model would write.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(subparsers, "rank", "rank candidates of one stream given others", DESCRIPTION)
    add_run_arguments(parser)
    parser.add_argument(
        "--condition",
        metavar="STREAM=VALUE",
        action="append",
        help="a file, or a text (repeatable, one for each stream)",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", action="append", help="short for --condition of the text"
    )
    parser.add_argument(
        "--candidates",
        metavar="DIR|FILE",
        type=path_argument,
        required=True,
        help="a folder of pictures or sounds, or a file with a text in each line",
    )
    parser.add_argument(
        "--stream", metavar="NAME", help="of the candidates (default: by the files)"
    )
    parser.add_argument(
        "--score", choices=("gain", "likelihood"), default="gain", help="default: gain"
    )
    parser.add_argument("-n", metavar="N", type=int, help="only the first N (default: all)")
    add_step_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.runs.base import require
    from vqjax.types import UsageError

    if args.n is not None and args.n < 1:
        raise UsageError(f"-n {args.n}: wanted at least 1")
    trained = load_run(args)
    require(trained, "rank")
    conditions = conditions_of(trained, args)
    if not conditions:
        raise UsageError("--condition or --prompt: wanted what the candidates are to go with")
    stream = _stream_of(trained, args, tuple(conditions))
    names, examples = _candidates(trained, args, stream)
    scores = trained.rank(stream, examples, conditions, score=args.score)
    for i in sorted(range(len(names)), key=lambda i: -scores[i])[: args.n]:
        print(f"{scores[i]:10.3f}  {printable(names[i], 200)}")


def _stream_of(trained: Any, args: argparse.Namespace, conditions: tuple[str, ...]) -> str:
    """The stream of the candidates."""
    from vqjax.types import UsageError, did_you_mean

    valid = [name for name in trained.streams if name not in conditions]
    if args.stream is not None:
        if args.stream not in valid:
            raise UsageError(f"--stream {args.stream}: {did_you_mean(args.stream, valid)}")
        return args.stream
    if not os.path.exists(args.candidates):
        raise UsageError(f"--candidates {args.candidates}: no such file or folder")
    is_folder = os.path.isdir(args.candidates)
    media = ("image", "audio") if is_folder else ("text",)
    found = [name for name in valid if trained.media[name] in media]
    if len(found) > 1:
        raise UsageError(f"--stream: the candidates may be {' or '.join(found)}: name one")
    if not found:
        kind = "folder" if is_folder else "file of texts"
        raise UsageError(f"--candidates {args.candidates}: a {kind} fits none of {valid}")
    return found[0]


def _candidates(trained: Any, args: argparse.Namespace, stream: str) -> tuple[list[str], Any]:
    """Their names, and the examples."""
    from vqjax.files import read_text
    from vqjax.types import DataError, UsageError

    path, medium = args.candidates, trained.media[stream]
    if not os.path.exists(path):
        raise UsageError(f"--candidates {path}: no such file or folder")
    if medium == "text":
        if os.path.isdir(path):
            raise UsageError(f"--candidates {path} is a folder: wanted a file of texts")
        lines = [line.strip() for line in read_text(pathlib.Path(path)).splitlines()]
        texts = [line for line in lines if line]
        if not texts:
            raise DataError(f"--candidates {path}: no texts")
        return texts, texts
    reads = PICTURES if medium == "image" else SOUND
    files = find_inputs([path], os.devnull, reads, args.run_dir)
    examples = read_examples(trained, stream, [str(file) for file, _ in files])
    return [str(relative) for _, relative in files], examples
