"""`vqjax reconstruct RUN [FILE or folder ...] --out OUT`: through the tokens and back."""

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from vqjax.cli.arguments import (
    add_overwrite_argument,
    add_run_arguments,
    add_step_argument,
    add_verb,
    load_run,
    path_argument,
)
from vqjax.cli.drawing import (
    MAX_PIXELS,
    Names,
    files_and_settings,
    method_options,
    used_flags,
    write_png,
)
from vqjax.cli.inputs import PICTURES, SOUND, Found, check_inputs, find_inputs, targets_of
from vqjax.cli.sounds import OPTIONS, add_sound_arguments, reconstruct_sounds
from vqjax.format import printable, reason

DESCRIPTION = """\
Reconstructs pictures of any size, or sound of any length, rate and number of channels; the first
examples of the eval split where none are named. Writes one file for each,
reconstruct_<step>_<RUN>_<its name>.<format>, and one sheet of originals with their reconstructions
beneath, reconstruct_<step>_<RUN>.png; names hold --params, --codebooks and --rate, too, where they
are set. Files of the same names are replaced, those that cannot be read are skipped and named.

  vqjax reconstruct runs/mnist_vqvae --out out
  vqjax reconstruct runs/folder_vqgan photos holiday.jpg --out out
  vqjax reconstruct runs/spoken_digit_codec talk.mp3 recordings --out out
  vqjax reconstruct runs/spoken_digit_codec talk.wav --codebooks 3 --rate 44100 --out out

Pictures are written as PNG. Sound becomes one channel at the run's rate, is brought to the level of
training and back, and has as many samples as went in, at that rate. It is written in the format of
its file: wav, flac, ogg, opus or mp3, of which the first two lose nothing; else as flac.
"""
GROUP_SIZE = 32  # pictures of one size that are reconstructed together
SHEET_PICTURES = 16  # originals on the sheet
WAITING_PIXELS = 16 << 20  # of pictures that wait for others of their size
SHEET_SIDE = 256  # pixels; larger pictures are made smaller on the sheet


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(
        subparsers,
        "reconstruct",
        "send pictures or sound through a run's tokens and back",
        DESCRIPTION,
    )
    add_run_arguments(parser)
    parser.add_argument(
        "inputs",
        metavar="FILE or folder",
        type=path_argument,
        nargs="*",
        help="pictures or sound to reconstruct",
    )
    parser.add_argument(
        "--out", metavar="OUT", type=path_argument, required=True, help="folder for the results"
    )
    add_step_argument(parser)
    parser.add_argument(
        "--max-pixels",
        metavar="N",
        type=int,
        help=f"skip pictures with more (default: {MAX_PIXELS})",
    )
    add_sound_arguments(parser)
    add_overwrite_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.runs.base import require
    from vqjax.types import UsageError

    args.inputs, args.settings = files_and_settings(args.inputs)
    check_inputs(args.inputs, args.out)
    trained = load_run(args)
    require(trained, "reconstruct")
    files = find_inputs(args.inputs, args.out, trained.reads, args.run_dir)
    of_sound = trained.reads == SOUND
    if flags := used_flags(args, *(["max_pixels"] if of_sound else OPTIONS)):
        other = PICTURES if of_sound else SOUND
        raise UsageError(f"{flags[0]} is for {other}: {args.run_dir} takes {trained.reads}")
    reconstruct = reconstruct_sounds if of_sound else _reconstruct_pictures
    result = reconstruct(trained, args, files)
    print(printable(f"step {trained.step}: {result} in {pathlib.Path(args.out)}"))


def _reconstruct_pictures(trained: Any, args: argparse.Namespace, files: list[Found]) -> str:
    from vqjax.media.image import MODES
    from vqjax.types import UsageError

    if files and (len(trained.shape) != 3 or trained.shape[-1] not in MODES):
        raise UsageError(f"{args.run_dir} was trained on {list(trained.shape)}, not on pictures")
    options = method_options(args, trained, trained.reconstruct)
    reconstruct = functools.partial(trained.reconstruct, **options)
    names = Names(args, trained, "reconstruct")
    sheet = _Sheet(names.path(), args.overwrite)
    if files:
        targets = targets_of(names.path(), files, lambda file: ".png")
        names.check([names.path(), *targets], [path for path, _ in files])
        pairs = list(zip(files, targets, strict=True))
        most = MAX_PIXELS if args.max_pixels is None else args.max_pixels
        _reconstruct_files(trained, reconstruct, pairs, sheet, most)
    else:
        _reconstruct_split(trained, reconstruct, names, sheet)
    sheet.close()
    return f"{_pictures(sheet.written)} and {names.path().name}"


def _pictures(count: int) -> str:
    return f"{count} picture" + ("s" if count != 1 else "")


class _Sheet:
    """Writes results, and at the end the sheet of some beneath their originals."""

    def __init__(self, path: pathlib.Path, overwrite: bool) -> None:
        self.written = 0
        self._path, self._overwrite = path, overwrite
        self._pairs: list[tuple[Any, Any]] = []

    def add(self, path: pathlib.Path, original: Any, reconstruction: Any) -> None:
        """Both uint8 [H, W, C] with 1 to 4 channels."""
        from PIL import Image

        write_png(path, reconstruction, overwrite=self._overwrite)
        self.written += 1
        if len(self._pairs) < SHEET_PICTURES:
            import numpy as np

            small = []
            for image in (original, reconstruction):
                thumbnail = _pil_image(image).convert("RGB")
                thumbnail.thumbnail((SHEET_SIDE, SHEET_SIDE), Image.Resampling.LANCZOS)
                small.append(np.asarray(thumbnail))
            self._pairs.append((small[0], small[1]))

    def close(self) -> None:
        """Writes the sheet."""
        from vqjax.media.gallery import Gallery

        originals, reconstructions = zip(*self._pairs, strict=True)
        rows = {"originals": originals, "reconstructions": reconstructions}
        write_png(self._path, Gallery(rows).sheet(), overwrite=self._overwrite)


def _pil_image(image: Any) -> Any:
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _reconstruct_files(
    trained: Any, reconstruct: Callable, files: list, sheet: _Sheet, max_pixels: int
) -> None:
    """Reconstructs pictures of one padded size together; prints those that cannot be read."""
    import tqdm

    from vqjax.media.image import read_whole
    from vqjax.types import DataError

    waiting: dict[tuple[int, ...], list] = {}
    pixels = skipped = 0  # pixels: of those that wait
    for (path, _), target in tqdm.tqdm(files, unit="picture", disable=not sys.stderr.isatty()):
        try:
            image = read_whole(path, trained.shape[-1], max_pixels)
            padded = _pad(image, trained.fitting(image.shape))
        except Exception as error:  # decoders raise what they like
            skipped += 1
            tqdm.tqdm.write(printable(f"skipped {path}: {reason(error)}"), file=sys.stderr)
            continue
        group = waiting.setdefault(padded.shape, [])
        group.append((target, image, padded))
        pixels += padded[..., 0].size
        if len(group) == GROUP_SIZE:
            pixels -= len(group) * padded[..., 0].size
            _flush(trained.dtype, reconstruct, waiting.pop(padded.shape), sheet)
        if pixels > WAITING_PIXELS:
            for group in waiting.values():
                _flush(trained.dtype, reconstruct, group, sheet)
            waiting, pixels = {}, 0
    if skipped == len(files):
        raise DataError(f"none of {_pictures(skipped)} can be reconstructed")
    for group in waiting.values():
        _flush(trained.dtype, reconstruct, group, sheet)
    if skipped:
        print(f"{skipped} of {_pictures(len(files))} skipped", file=sys.stderr)


def _flush(dtype: str, reconstruct: Callable, group: list, sheet: _Sheet) -> None:
    import numpy as np

    from vqjax.media.gallery import to_uint8

    x = np.stack([padded for _, _, padded in group])
    if dtype != "uint8":
        x = x.astype(np.float32) / 127.5 - 1.0
    x_hat = to_uint8(reconstruct(x))
    for (target, image, _), result in zip(group, x_hat, strict=True):
        height, width = image.shape[:2] if x_hat.shape == x.shape else x_hat.shape[1:3]
        sheet.add(target, image, result[:height, :width])


def _reconstruct_split(trained: Any, reconstruct: Callable, names: Names, sheet: _Sheet) -> None:
    from vqjax.media.gallery import image_of, to_uint8
    from vqjax.media.image import MODES

    each = (dataclasses.replace(names, of=(f"eval {i:04d}",)) for i in range(SHEET_PICTURES))
    targets = [one.path() for one in each]
    names.check([names.path(), *targets])
    x = trained.held_out(SHEET_PICTURES)
    x_hat = reconstruct(x)
    to_image = to_uint8 if len(trained.shape) == 3 and x.shape[-1] in MODES else image_of
    for target, original, reconstruction in zip(targets, x, x_hat, strict=False):
        sheet.add(target, to_image(original), to_image(reconstruction))


def _pad(image: Any, shape: tuple[int, ...]) -> Any:
    """Repeats the last row and column until the image has `shape`."""
    import numpy as np

    missing = [(0, to - size) for size, to in zip(image.shape, shape, strict=True)]
    return np.pad(image, missing, mode="edge")
