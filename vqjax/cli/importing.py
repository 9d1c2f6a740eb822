"""`vqjax import FILE`: a published tokenizer as a run."""

import argparse
import shlex
import sys

from vqjax.cli.arguments import add_verb, path_argument
from vqjax.format import printable

FORMATS = ("taming", "diffusers", "llamagen")
DESCRIPTION = """Makes a run of a tokenizer that was published by others: FILE is read as data,
without torch and without running what it holds, and the networks are worked out from names and
shapes of its arrays. All names must match; those that do not are listed.

  taming      VQGAN f16 and f8, Gumbel f8 (last.ckpt), and the autoencoder in a CompVis checkpoint
  diffusers   VQModel and AutoencoderKL: the folder, or its .safetensors or .bin
  llamagen    VQ-16 and VQ-8 (vq_ds16_c2i.pt)

Every verb takes the run. It has no data until some is named, here by --data or later by evaluate
--data. Nothing is downloaded; a file's licence is its publisher's.

  vqjax import last.ckpt --workdir runs/f16
  vqjax import vq_ds16_c2i.pt --data 'Folder("photos", 256)'
  vqjax reconstruct runs/f16 photos
  vqjax train imagenet_gpt --arg tokenizer=runs/f16
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Registers the verb."""
    parser = add_verb(subparsers, "import", "make a run of a published tokenizer", DESCRIPTION)
    parser.add_argument(
        "file",
        metavar="FILE",
        type=path_argument,
        help="safetensors, or torch's .ckpt, .pt, .pth or .bin; or a folder of diffusers",
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="whose names it has (default: those that fit)"
    )
    parser.add_argument(
        "--data", metavar="SOURCE", help="its data from now on, as 'Folder(\"photos\", 256)'"
    )
    parser.add_argument(
        "--workdir", metavar="RUN", type=path_argument, help="default: runs/ and the file's name"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reads the file, writes the run, and prints what it is."""
    from vqjax.convert.imported import default_workdir, described, experiment_of, write_run
    from vqjax.convert.reading import read
    from vqjax.paths import as_path

    path = as_path(args.file, "FILE")
    workdir = default_workdir(path)
    if args.workdir is not None:
        workdir = as_path(args.workdir, "--workdir").absolute()
    found = read(path, args.format)
    experiment = experiment_of(found, args.data)
    if args.data is not None:
        experiment.data.check()
        for note in experiment.data.notes():
            print(printable(note), file=sys.stderr)
    command = ("vqjax", "import", *(word for word in _words(args)))
    write_run(found, experiment, workdir, command)
    for line in (described(found), *found.lines):
        print(printable(line))
    shown = shlex.quote(args.workdir or f"runs/{workdir.name}")
    print(printable(f"{shown}: try `vqjax reconstruct {shown} PICTURES`"))
    return 0


def _words(args: argparse.Namespace) -> list[str]:
    """The command's arguments, for the record."""
    options = {"--format": args.format, "--data": args.data, "--workdir": args.workdir}
    named = [word for name, value in options.items() if value for word in (name, value)]
    return [args.file, *named]
