"""Examples of a joint prior's streams as they are typed: texts, and files of pictures or sound."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from vqjax.cli.pictures import cover, read_picture
from vqjax.format import printable, reason, times


def conditions_of(trained: Any, args: argparse.Namespace) -> dict[str, Any]:
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
    return {name: read_examples(trained, name, items) for name, items in values.items()}


def source_of(trained: Any, args: argparse.Namespace) -> Any:
    """The examples that a denoiser is conditioned on, of --condition NAME=FILE; None: there are
    none.

    Raises:
        UsageError: another condition.
        DataError: a file cannot be read.
    """
    from vqjax.types import UsageError

    (name,) = trained.media
    items = [item.partition("=") for item in args.condition or ()]
    for named, equals, _ in items:
        if named != name or not equals:
            raise UsageError(f"--condition {printable(named, 60)}: give {name}=FILE")
    return read_examples(trained, name, [path for _, _, path in items]) if items else None


def read_examples(trained: Any, name: str, values: Sequence[str]) -> Any:
    """The examples of one stream: of texts `values` themselves, else files.

    Raises:
        UsageError: there is no such file.
        DataError: one cannot be read.
    """
    import numpy as np

    from vqjax.types import UsageError

    medium = trained.media[name]
    if medium == "text":
        return list(values)
    for path in values:
        if not os.path.isfile(path):
            raise UsageError(f"{name}: {printable(path, 200)}: no such file")
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
    image = read_picture(path, shape[-1])
    if image.shape == tuple(shape):
        return image
    sizes = f"{times(image.shape[:2])} to {times(shape[:2])}"
    print(f"note: {path}: resized from {sizes}", file=sys.stderr)
    return cover(image, shape)
