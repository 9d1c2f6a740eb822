"""`vqjax reconstruct RUN [image or folder ...] --out OUT`: pictures through the tokens and back."""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vqjax.cli.arguments import (
    add_overwrite_argument,
    add_run_arguments,
    add_verb,
    load_run,
    path_argument,
)
from vqjax.cli.drawing import MAX_PIXELS, Names, asked, files_and_settings, write_png
from vqjax.format import printable, reason

DESCRIPTION = """\
Reconstructs pictures of any size, or the first ones of the eval split where none are given.
Writes one PNG per picture, reconstruct_<step>_<RUN>_<its name>.png, and one sheet of originals with
their reconstructions beneath, reconstruct_<step>_<RUN>.png (with --params, names hold that, too).
Files of the same names are replaced.

  vqjax reconstruct runs/mnist_vqvae --out out
  vqjax reconstruct runs/folder_vqgan photos holiday.jpg --out out
"""
BATCH = 32  # pictures of one size that go through together
SHOWN = 16  # pictures on the sheet
WAITING_PIXELS = 16 << 20  # of pictures that wait for others of their size
SHOWN_SIZE = 256  # pixels; larger pictures are made smaller on the sheet
LONGEST = 120  # bytes of a picture's name that its result's name keeps


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(
        subparsers, "reconstruct", "send pictures through a run's tokens and back", DESCRIPTION
    )
    add_run_arguments(parser)
    parser.add_argument(
        "inputs",
        metavar="image or folder",
        type=path_argument,
        nargs="*",
        help="what to reconstruct",
    )
    parser.add_argument(
        "--out", metavar="OUT", type=path_argument, required=True, help="folder for the results"
    )
    parser.add_argument("--step", metavar="N", type=int, help="sealed step (default: the newest)")
    parser.add_argument(
        "--max-pixels",
        metavar="N",
        type=int,
        default=MAX_PIXELS,
        help=f"skip pictures with more (default: {MAX_PIXELS})",
    )
    add_overwrite_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from vqjax.media.image import readable_formats
    from vqjax.types import UsageError

    args.inputs, args.settings = files_and_settings(args.inputs)
    for path in args.inputs:
        if not os.path.exists(path):
            raise UsageError(f"{path}: no such file or folder")
        if not os.path.isdir(path) and not os.path.isfile(path):
            raise UsageError(f"{path} is a pipe or a device: wanted is a file or folder")
    out = pathlib.Path(args.out)
    files = list(_files(args.inputs, out))
    if args.inputs and not files:
        formats = ", ".join(readable_formats())
        raise UsageError(f"no pictures in {', '.join(args.inputs)} ({formats})")

    from vqjax.media.image import MODES
    from vqjax.runs.base import require

    trained = load_run(args)
    require(trained, "reconstruct")
    if files and (len(trained.shape) != 3 or trained.shape[-1] not in MODES):
        raise UsageError(f"{args.run_dir} was trained on {list(trained.shape)}, not on pictures")
    options = asked(args, trained, trained.reconstruct)
    reconstruct = functools.partial(trained.reconstruct, **options)
    names = Names(args, trained, "reconstruct")
    sheet = _Sheet(names.path(), args.overwrite)
    if files:
        targets = _targets(names.path(), files)
        names.check([names.path(), *targets], [path for path, _ in files])
        pairs = list(zip(files, targets, strict=True))
        _reconstruct_files(trained, reconstruct, pairs, sheet, args.max_pixels)
    else:
        _reconstruct_split(trained, reconstruct, names, sheet)
    sheet.close()
    said = f"step {trained.step}: {_pictures(sheet.written)} and {names.path().name} in {out}"
    print(printable(said))


def _files(inputs: list[str], out: pathlib.Path) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """(file, relative path) for every picture; folders are searched to the bottom, but for OUT."""
    from vqjax.media.image import readable_formats, suffixes_of
    from vqjax.types import UsageError

    suffixes = suffixes_of(readable_formats())
    results = pathlib.Path(os.path.realpath(out))  # `resolve` fails where a link leads to itself
    for given in map(pathlib.Path, inputs):
        if not given.is_dir():
            yield given, pathlib.Path(given.name)
            continue
        if given.resolve() == results:
            raise UsageError(f"--out {out} is the folder of the pictures: name another")
        earlier = given.resolve() in results.parents
        for path in sorted(given.rglob("*")):
            if path.suffix.lower() not in suffixes or not path.is_file():
                continue
            if not (earlier and results in path.resolve().parents):
                yield path, path.relative_to(given)


def _targets(
    sheet: pathlib.Path, files: Iterable[tuple[pathlib.Path, pathlib.Path]]
) -> list[pathlib.Path]:
    """Where the result of each of (file, relative path) goes: beside the sheet, by the same way and
    with the whole name, as a.jpg is not a.png. Files of one name in several folders are numbered.
    """
    from vqjax.runs.drawn import slug

    taken, targets = set(), []
    for _, relative in files:
        name = relative.stem if relative.suffix == ".png" else relative.name
        if name == "." or len(name.encode(errors="replace")) > LONGEST:
            name = slug(name)
        chosen, number = relative.with_name(name), 2
        while str(chosen).casefold() in taken:
            chosen, number = relative.with_name(f"{name}-{number}"), number + 1
        taken.add(str(chosen).casefold())
        targets.append(sheet.parent / chosen.parent / f"{sheet.stem}_{chosen.name}.png")
    return targets


def _pictures(count: int) -> str:
    return f"{count} picture" + ("s" if count != 1 else "")


class _Sheet:
    """Writes results, and at the end what shows some beneath their originals."""

    def __init__(self, path: pathlib.Path, overwrite: bool) -> None:
        self.written = 0
        self._path, self._overwrite = path, overwrite
        self._shown: list[tuple[Any, Any]] = []

    def add(self, path: pathlib.Path, original: Any, reconstruction: Any) -> None:
        """Both uint8 [H, W, C] with 1 to 4 channels."""
        from PIL import Image

        write_png(path, reconstruction, overwrite=self._overwrite)
        self.written += 1
        if len(self._shown) < SHOWN:
            import numpy as np

            small = []
            for picture in (original, reconstruction):
                image = _to_image(picture).convert("RGB")
                image.thumbnail((SHOWN_SIZE, SHOWN_SIZE), Image.Resampling.LANCZOS)
                small.append(np.asarray(image))
            self._shown.append((small[0], small[1]))

    def close(self) -> None:
        """Writes the sheet."""
        from vqjax.media.gallery import Gallery

        originals, reconstructions = zip(*self._shown, strict=True)
        rows = {"originals": originals, "reconstructions": reconstructions}
        write_png(self._path, Gallery(rows).sheet(), overwrite=self._overwrite)


def _to_image(picture: Any) -> Any:
    from PIL import Image

    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def _reconstruct_files(
    trained: Any, reconstruct: Callable, files: list, sheet: _Sheet, max_pixels: int
) -> None:
    """Pictures of one padded size go through together; those that cannot be read are named."""
    import tqdm

    from vqjax.media.image import read_whole
    from vqjax.types import DataError

    waiting: dict[tuple[int, ...], list] = {}
    held = bad = 0
    for (path, _), target in tqdm.tqdm(files, unit="picture", disable=not sys.stderr.isatty()):
        try:
            picture = read_whole(path, trained.shape[-1], max_pixels)
            padded = _pad(picture, trained.fitting(picture.shape))
        except Exception as error:  # decoders raise what they like
            bad += 1
            tqdm.tqdm.write(printable(f"skipped {path}: {reason(error)}"), file=sys.stderr)
            continue
        same = waiting.setdefault(padded.shape, [])
        same.append((target, picture, padded))
        held += padded[..., 0].size
        if len(same) == BATCH:
            held -= len(same) * padded[..., 0].size
            _flush(trained.dtype, reconstruct, waiting.pop(padded.shape), sheet)
        if held > WAITING_PIXELS:
            for group in waiting.values():
                _flush(trained.dtype, reconstruct, group, sheet)
            waiting, held = {}, 0
    if bad == len(files):
        raise DataError(f"none of {_pictures(bad)} can be reconstructed")
    for same in waiting.values():
        _flush(trained.dtype, reconstruct, same, sheet)
    if bad:
        print(f"{bad} of {_pictures(len(files))} skipped", file=sys.stderr)


def _flush(dtype: str, reconstruct: Callable, same: list, sheet: _Sheet) -> None:
    import numpy as np

    from vqjax.media.gallery import to_uint8

    x = np.stack([padded for _, _, padded in same])
    if dtype != "uint8":
        x = x.astype(np.float32) / 127.5 - 1.0
    x_hat = to_uint8(reconstruct(x))
    for (target, picture, _), result in zip(same, x_hat, strict=True):
        height, width = picture.shape[:2] if x_hat.shape == x.shape else x_hat.shape[1:3]
        sheet.add(target, picture, result[:height, :width])


def _reconstruct_split(trained: Any, reconstruct: Callable, names: Names, sheet: _Sheet) -> None:
    from vqjax.media.gallery import image_of, to_uint8
    from vqjax.media.image import MODES

    each = (dataclasses.replace(names, of=(f"eval {i:04d}",)) for i in range(SHOWN))
    targets = [one.path() for one in each]
    names.check([names.path(), *targets])
    x = trained.held_out(SHOWN)
    x_hat = reconstruct(x)
    as_picture = to_uint8 if len(trained.shape) == 3 and x.shape[-1] in MODES else image_of
    for target, original, reconstruction in zip(targets, x, x_hat, strict=False):
        sheet.add(target, as_picture(original), as_picture(reconstruction))


def _pad(picture: Any, shape: tuple[int, ...]) -> Any:
    """Repeats the last row and column until the picture has `shape`."""
    import numpy as np

    missing = [(0, to - size) for size, to in zip(picture.shape, shape, strict=True)]
    return np.pad(picture, missing, mode="edge")
