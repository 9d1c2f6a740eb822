"""`vqjax sample` of a joint prior: any of its streams given any others."""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from vqjax.cli.drawing import MAX_PIXELS, Names, sampling_options, write_example, write_png
from vqjax.cli.sounds import Output
from vqjax.format import printable, reason, times

SHOWN = 64  # examples on a sheet


def sample_streams(trained: Any, args: argparse.Namespace, count: int) -> None:
    """Draws `count` rows, and writes a sheet of each stream that is drawn, of texts a file of
    lines, which it prints, too; with --out also every picture and every sound.

    Raises:
        UsageError: an option that such a run has not; no such stream, or nothing to draw; a result
            would be written over something else.
        DataError: a file cannot be read.
    """
    from vqjax.types import UsageError

    if args.classes is not None:
        raise UsageError(f"--classes is not for this run: it has {', '.join(trained.streams)}")
    if args.settings:
        raise UsageError(f"{args.settings[0]}: a joint prior takes options alone")
    seed = 0 if args.seed is None else args.seed
    options = sampling_options(args)
    conditions = _conditions(trained, args)
    targets = None
    if args.target:
        targets = [name for word in args.target for name in word.split(",")]
    drawn_streams = targets or [name for name in trained.streams if name not in conditions]
    prompts = args.prompt or []
    names = {name: Names(args, trained, "sample", seed, of=(name,)) for name in drawn_streams}
    sheets = {name: own.path(prompts) for name, own in names.items()}
    media = trained.media
    for name in drawn_streams:
        if media.get(name) == "text":
            sheets[name] = sheets[name].with_suffix(".txt")
    rate = trained.rate_of(next((n for n in drawn_streams if media.get(n) == "audio"), None))
    if args.rate is not None and (not rate or not args.out):
        raise UsageError("--rate is that of files of sound: draw sound, and add --out DIR")
    output = Output(args, rate) if rate and args.out else None
    first = next(iter(names.values()), None)
    if first is not None:
        first.check(sheets.values())
    drawn = trained.sample(count, seed, conditions=conditions, targets=targets, **options)
    for name, examples in drawn.items():
        shown = _gallery(name, media[name], examples, rate)
        _write(name, shown, examples, sheets[name], names[name], output, args)


def _gallery(name: str, medium: str, examples: Any, rate: int) -> Any:
    """What the sheet of a stream shows; None: it is of texts."""
    from vqjax.media.gallery import Gallery

    if medium == "text":
        return None
    if medium != "audio":
        return Gallery({name: examples[:SHOWN]}, medium)
    return Gallery({name: [clip[:, None] for clip in examples[:SHOWN]]}, medium, rate)


def _write(
    name: str,
    gallery: Any,
    examples: Any,
    sheet: pathlib.Path,
    names: Names,
    output: Output | None,
    args: argparse.Namespace,
) -> None:
    """The results of one stream."""
    from vqjax.files import write_output

    prompts = args.prompt or []
    if gallery is None:
        text = "".join(f"{printable(line)}\n" for line in examples)
        write_output(sheet, text.encode(), overwrite=args.overwrite)
        for line in examples[:SHOWN]:
            print(f"{name}: {printable(line)}")
        print(printable(str(sheet)))
        return
    singles = names.singles(prompts, len(examples))
    if gallery.is_sound and output is not None:
        singles = [path.with_suffix(output.suffix()) for path in singles]
    names.check(singles)
    for path, example in zip(singles, examples, strict=False):
        if gallery.is_sound:
            output.write_whole(path, example)
        else:
            write_example(example, path, overwrite=args.overwrite)
    write_png(sheet, gallery.sheet(), ", ".join(prompts), overwrite=args.overwrite)
    print(printable(str(sheet)))


def _conditions(trained: Any, args: argparse.Namespace) -> dict[str, Any]:
    """{stream: examples} of --condition and --prompt, in the order of the command line."""
    from vqjax.types import UsageError, did_you_mean

    values: dict[str, list[str]] = {}
    for item in args.condition or ():
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(f"--condition {printable(item, 60)}: give STREAM=FILE, or STREAM=TEXT")
        if name not in trained.streams:
            hint = did_you_mean(name, trained.streams)
            raise UsageError(f"--condition {printable(name, 60)}: no such stream: {hint}")
        values.setdefault(name, []).append(value)
    for prompt in args.prompt or ():
        texts = [name for name, medium in trained.media.items() if medium == "text"]
        if len(texts) != 1:
            raise UsageError(f"--prompt: this run has {len(texts)} streams of text: --condition")
        values.setdefault(texts[0], []).append(prompt)
    return {name: _read(trained, name, items) for name, items in values.items()}


def _read(trained: Any, name: str, values: Sequence[str]) -> Any:
    """The examples of one stream."""
    import numpy as np

    from vqjax.types import UsageError

    medium = trained.media[name]
    if medium == "text":
        return list(values)
    for path in values:
        if not os.path.isfile(path):
            raise UsageError(f"--condition {name}={printable(path, 200)}: no such file")
    if medium == "audio":
        return [_sound(path, trained.rate_of(name)) for path in values]
    return np.stack([_picture(path, trained.shape_of(name)) for path in values])


def _sound(path: str, rate: int) -> Any:
    """A file of sound, int16[n] at `rate`."""
    from vqjax.media.audio import read_header, read_sound
    from vqjax.types import DataError, VqjaxError

    try:
        header, sound = read_header(path), read_sound(path, rate)
    except VqjaxError:
        raise
    except Exception as error:  # decoders raise what they like
        raise DataError(f"{path}: {reason(error)}") from error
    if header.rate != rate:
        print(f"note: {path}: resampled from {header.rate:,} to {rate:,} Hz", file=sys.stderr)
    if not len(sound.samples):
        raise DataError(f"{path}: no samples")
    return sound.samples


def _picture(path: str, shape: tuple[int, ...]) -> Any:
    """A picture of `shape`, resized to cover it and cropped in the middle."""
    import numpy as np
    from PIL import Image, ImageOps

    from vqjax.media.image import read_whole
    from vqjax.types import DataError

    try:
        image = read_whole(path, shape[-1], MAX_PIXELS)
    except Exception as error:  # decoders raise what they like
        raise DataError(f"{path}: {reason(error)}") from error
    if image.shape == tuple(shape):
        return image
    sizes = f"{times(image.shape[:2])} to {times(shape[:2])}"
    print(f"note: {path}: resized from {sizes}", file=sys.stderr)
    original = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    fitted = ImageOps.fit(original, (shape[1], shape[0]), Image.Resampling.LANCZOS)
    return np.asarray(fitted).reshape(shape)
