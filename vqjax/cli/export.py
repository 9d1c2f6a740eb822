"""`vqjax export RUN`: a run's networks as files that other libraries read."""

import argparse

from vqjax.cli.arguments import (
    add_overwrite_argument,
    add_run_arguments,
    add_step_argument,
    add_verb,
    path_argument,
)
from vqjax.format import printable

FORMATS = ("diffusers", "safetensors")
DESCRIPTION = """Writes the networks of RUN for other libraries.

  diffusers     a folder that diffusers.VQModel or AutoencoderKL .from_pretrained reads: of a
                tokenizer of images with convolutional networks and a VectorQuantizer,
                EMAVectorQuantizer or Gaussian bottleneck, whose normalisations all have as many
                groups: 128 channels or more at every level, or equally many
  safetensors   one file of all arrays by vqjax's own names, "params/decoder/conv_in/kernel"

  vqjax export runs/imagenet_vqgan_f16 --format diffusers --out f16
  vqjax export runs/mnist_gpt --format safetensors --out mnist_gpt.safetensors
"""
FILE = "diffusion_pytorch_model.safetensors"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Registers the verb."""
    parser = add_verb(subparsers, "export", "write a run for other libraries", DESCRIPTION)
    add_run_arguments(parser)
    add_step_argument(parser)
    parser.add_argument("--format", choices=FORMATS, required=True, help="of what is written")
    parser.add_argument(
        "--out", metavar="PATH", type=path_argument, required=True, help="the folder, or the file"
    )
    add_overwrite_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the files and prints where they are."""
    from vqjax.cli.arguments import load_run
    from vqjax.paths import as_path

    out, opened = as_path(args.out, "--out"), load_run(args)
    if args.format == "safetensors":
        opened.save_weights(out, overwrite=args.overwrite)
        print(printable(str(out)))
        return 0
    _write_diffusers(opened, out, args.overwrite)
    kind = "AutoencoderKL" if opened.task.tokenizer.quantizer.codebook_size == 0 else "VQModel"
    print(printable(f"{out}: read it by diffusers.{kind}.from_pretrained({str(out)!r})"))
    return 0


def _write_diffusers(opened: object, out: object, overwrite: bool) -> None:
    import safetensors.numpy

    from vqjax.convert.exporting import as_diffusers
    from vqjax.files import GENERATOR, check_output, json_text, write_output

    settings, arrays = as_diffusers(opened)
    config = json_text({"_generator": GENERATOR, **settings}, indent=2) + "\n"
    # diffusers reads a file only if its metadata say that torch wrote it, or could have.
    content = safetensors.numpy.save(arrays, {"format": "pt", "generator": GENERATOR})
    for name in (FILE, "config.json"):
        check_output(out / name, overwrite=overwrite)
    write_output(out / FILE, content, overwrite=overwrite)
    write_output(out / "config.json", config, overwrite=overwrite)
