"""`vqjax edit RUN IMAGE`: parts of a picture drawn anew by a trained prior."""

import argparse
import os
import pathlib
import sys
from typing import Any

from vqjax.cli.arguments import add_run_arguments, add_verb, load_run, path_argument
from vqjax.cli.drawing import (
    CONDITION_KEYWORDS,
    CONDITIONS,
    MAX_PIXELS,
    OTHERS,
    Names,
    add_drawing_arguments,
    files_and_settings,
    method_options,
    used_flags,
    write_example,
    write_sheet,
)
from vqjax.cli.masks import HALVES, WHITE, check_some_white, half, read_mask
from vqjax.cli.pictures import cover, read_picture
from vqjax.cli.sampling import add_solver_arguments
from vqjax.format import printable

DESCRIPTION = """\
Turns a picture into tokens, keeps some of them and draws the others from a prior. Writes one PNG:
the original, the mask where there is one, and the results. Its name holds the edit, step, seed,
options, the names of IMAGE and MASK, and the condition; a file of the same name is replaced.

  vqjax edit runs/mnist_maskgit digit.png --mask mask.png --classes 3 -n 8
  vqjax edit runs/mnist_maskgit --mask bottom
  vqjax edit runs/mnist_maskgit digit.png --outpaint 0,8,0,8
  vqjax edit runs/mnist_maskgit small.png --upscale 2
  vqjax edit runs/mnist_maskgit digit.png --variations 8 --strength 0.3 --out out

IMAGE: the default is the first held-out example of the run's data.
--mask: white pixels are drawn anew, by drawing every token whose cell has one; all other pixels
  stay exactly as they are. A file is black and white (or 0 and 1), without transparency; top,
  bottom, left and right mask that half.
--outpaint: pixels are added, by windows that slide outward from the picture half their size at a
  time; the picture itself stays exactly as it is.
--upscale: the picture is made twice as large (bicubic), then the share --strength of its tokens,
  at random positions, is drawn anew. Details are invented, not recovered: more strength gives
  sharper pictures, further from the truth. Things should then have the size that they had in
  training: best is a picture of half the size of training; larger ones are edited in windows.
--variations: the share --strength of the tokens, at random positions, is drawn anew.

Denoisers inpaint, outpaint and make variations, in which --strength is how far towards noise IMAGE
is taken; --sampler, --steps and --guidance-interval are as of vqjax sample.

An edit needs a prior that attends to all tokens that stay. Autoregressive ones attend to earlier
tokens only, row by row, so all they can do is outpaint below. The priors of vqjax:

  AbsorbingDiffusion: inpaint, outpaint, upscale, variations
  CodebookGPT: none
  GPT: outpaint below
  MaskGIT: inpaint, outpaint, upscale, variations
  NextScale: none
  PixelCNN: outpaint below
"""  # the table is `edits_table()`, which a test compares: help must not wait for JAX
RESULTS = 4  # by default
MAX_RESULTS = 1_000  # on one sheet
COLUMNS = 10  # of that sheet
EDITS = ("inpaint", "outpaint", "upscale", "variations")  # methods of runs
OF_STRENGTH = ("--variations", "--upscale")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(subparsers, "edit", "draw parts of a picture anew", DESCRIPTION)
    add_run_arguments(parser)
    parser.add_argument(
        "words",
        metavar="IMAGE|key=value",
        type=path_argument,
        nargs="*",
        help="a picture file; other keywords of the run's method",
    )
    edits = parser.add_mutually_exclusive_group(required=True)
    edits.add_argument(
        "--mask",
        metavar="MASK",
        type=path_argument,
        help="a picture file of IMAGE's size; or top, bottom, left, right",
    )
    edits.add_argument("--outpaint", metavar="LEFT,TOP,RIGHT,BOTTOM", help="pixels to add")
    edits.add_argument("--upscale", type=int, choices=(2,), help="twice the size")
    edits.add_argument("--variations", metavar="N", type=int, help="N pictures like IMAGE")
    parser.add_argument(
        "--strength",
        metavar="S",
        type=float,
        help="share of tokens to draw anew, 0 to 1 (default: 0.5; --upscale: 0.25)",
    )
    parser.add_argument(
        "--fit", action="store_true", help="resize and crop IMAGE to the size of training"
    )
    add_drawing_arguments(
        parser,
        count=f"number of results (default: {RESULTS})",
        conditions="unconditional",
        out="folder for the sheet and for single results (default: RUN/samples, the sheet only)",
    )
    add_solver_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.runs.base import keywords_of, require

    args.settings = files_and_settings(args.words)[1]
    edit, count = _edit_and_count(args)
    trained = load_run(args)
    require(trained, "edit", *EDITS)
    require(trained, edit)
    method = getattr(trained, edit)
    options = {"seed": 0} if "seed" in keywords_of(method) else {}
    options |= method_options(args, trained, method, reserved=("n",))
    conditions = next((options[name] for name in CONDITION_KEYWORDS if options.get(name)), [])
    if trained.conditions and not conditions and not options.get(OTHERS):
        print("no --classes and no --prompt: unconditional", file=sys.stderr)
    names = Names(args, trained, f"edit-{edit}", options.get("seed"), _input_names(args))
    sheet, singles = names.path(conditions), names.singles(conditions, count)
    names.check([sheet, *singles], _input_files(args))
    inputs, results = _run_edit(trained, args, edit, count, options)
    images = [*inputs, *results]
    rows = [images[first : first + COLUMNS] for first in range(0, len(images), COLUMNS)]
    mask = ["the mask"] if len(inputs) > 1 else []
    caption = ", ".join(["the original", *mask, "results", *map(str, conditions)])
    for path, example in zip(singles, results, strict=False):
        write_example(example, path, overwrite=args.overwrite)
    write_sheet(rows, sheet, caption, overwrite=args.overwrite)
    print(printable(str(sheet)))


def _input_names(args: argparse.Namespace) -> tuple[str, ...]:
    """Parts of the results' names: the picture and the mask, a file or a half."""
    image, mask = (name and pathlib.PurePath(name).stem for name in (_image_path(args), args.mask))
    if mask in HALVES and args.mask not in HALVES:
        mask = f"./{mask}"  # a file with the name of a half
    return tuple(filter(None, (image, mask)))


def _edit_and_count(args: argparse.Namespace) -> tuple[str, int]:
    """The edit and the number of results; UsageError for options that do not go together."""
    from vqjax.types import UsageError

    edit = next(name for name in ("outpaint", "upscale", "variations", "mask") if _has(args, name))
    if edit == "outpaint":
        args.outpaint = ",".join(map(str, _parse_sides(args.outpaint)))  # for names of files
    if args.strength is not None and f"--{edit}" not in OF_STRENGTH:
        raise UsageError(f"--strength is for {' and '.join(OF_STRENGTH)}")
    if args.fit and edit == "upscale":
        raise UsageError("--fit makes a picture as large as the prior's: nothing to --upscale")
    if args.n is not None and edit == "variations":
        raise UsageError("-n: --variations N says how many")
    named = tuple(f"{keyword}=" for keyword in (*CONDITION_KEYWORDS, OTHERS))
    conditional = any(item.startswith(named) for item in args.settings)
    if args.guidance is not None and not (conditional or used_flags(args, *CONDITIONS)):
        raise UsageError(
            "--guidance needs --classes or --prompt: without a condition it has nothing to follow"
        )
    option, count = ("--variations", args.variations) if edit == "variations" else ("-n", args.n)
    count = RESULTS if count is None else count
    if not 1 <= count <= MAX_RESULTS:
        raise UsageError(f"{option} {count}: wanted 1 to {MAX_RESULTS:,}")
    for path in _input_files(args):
        if not os.path.isfile(path):
            raise UsageError(f"{path}: no such file")
    return "inpaint" if edit == "mask" else edit, count


def _input_files(args: argparse.Namespace) -> list[str]:
    """The picture files to read."""
    mask = None if args.mask in HALVES else args.mask
    return [path for path in (_image_path(args), mask) if path is not None]


def _image_path(args: argparse.Namespace) -> str | None:
    from vqjax.types import UsageError

    files, _ = files_and_settings(args.words)
    if len(files) > 1:
        raise UsageError(f"{files[1]!r} is no keyword of an edit: give key=value")
    return files[0] if files else None


def _has(args: argparse.Namespace, name: str) -> bool:
    return getattr(args, name) is not None


def _run_edit(
    trained: Any, args: argparse.Namespace, edit: str, count: int, options: dict[str, Any]
) -> tuple[list, Any]:
    """(the images to show before the results, the results [N, H, W, C])."""
    import numpy as np

    from vqjax.media.gallery import to_uint8
    from vqjax.media.image import MODES
    from vqjax.runs.editing import doubled
    from vqjax.types import UsageError

    if len(trained.shape) != 3 or trained.shape[-1] not in MODES:
        raise UsageError(f"{args.run_dir} was trained on {list(trained.shape)}, not on pictures")
    path = _image_path(args)
    if path is None:
        (original,) = to_uint8(trained.held_out(1))
    else:
        original = read_picture(path, trained.shape[-1])
    size = original.shape[:2]
    if edit != "upscale":
        original = _fit_image(original, trained.shape, path, args.fit)
    images = np.repeat(original[None], count, axis=0)
    if trained.dtype != "uint8":
        images = images.astype(np.float32) / 127.5 - 1.0
    if edit == "inpaint":
        is_half = args.mask in HALVES
        mask = half(args.mask, size) if is_half else read_mask(args.mask, MAX_PIXELS)
        if mask.shape[:2] != size:
            name = path or "the example"
            raise UsageError(f"{args.mask}: {_size(mask)} pixels, {name} has {_size(size)}")
        mask = _fit_image(mask, (*trained.shape[:2], 1), args.mask, args.fit)
        check_some_white(mask, args.mask, "too little of it is left at this size")
        mask = mask > WHITE // 2
        masks = np.repeat(mask[None, ..., 0], count, axis=0)
        return [original, mask * np.uint8(WHITE)], trained.inpaint(images, masks, **options)
    if edit == "outpaint":
        left, top, right, bottom = sides = _parse_sides(args.outpaint)
        results = trained.outpaint(images, sides, **options)
        around = [(top, bottom), (left, right), (0, 0)]
        mask = np.pad(np.zeros((*original.shape[:2], 1), np.uint8), around, constant_values=255)
        return [np.pad(original, around, constant_values=128), mask], results
    if edit == "upscale":
        return [doubled(original)], trained.upscale(images, **options)
    return [original], trained.variations(images, **options)


def _fit_image(image: Any, shape: tuple[int, ...], path: str | None, fit: bool) -> Any:
    """An image of `shape`: with `fit` resized to cover it and cropped in the middle."""
    from vqjax.types import UsageError

    if image.shape == shape:
        return image
    if not fit:
        raise UsageError(
            f"{path}: {_size(image)} pixels, the prior was trained on {_size(shape)} "
            "(--fit resizes and crops)"
        )
    return cover(image, shape)


def _size(image: Any) -> str:
    height, width = getattr(image, "shape", image)[:2]
    return f"{width} x {height}"


def _parse_sides(text: str) -> tuple[int, int, int, int]:
    from vqjax.types import UsageError

    words = text.split(",")
    try:
        left, top, right, bottom = map(int, words)
    except ValueError as error:
        raise UsageError(f"--outpaint {text}: give LEFT,TOP,RIGHT,BOTTOM, as 0,8,0,8") from error
    return left, top, right, bottom
