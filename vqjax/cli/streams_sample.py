"""`vqjax sample` of a joint prior: any of its streams given any others."""

import argparse
import pathlib
from typing import Any

from vqjax.cli.drawing import (
    Names,
    used_flags,
    write_example,
    write_png,
)
from vqjax.cli.sampling import SOLVING, sampling_options
from vqjax.cli.sounds import Output
from vqjax.cli.stream_inputs import conditions_of
from vqjax.cli.texts import texts_path, write_texts
from vqjax.format import printable

SHOWN = 64  # examples on a sheet


def sample_streams(trained: Any, args: argparse.Namespace, count: int) -> None:
    """Draws `count` rows, and writes a sheet of each stream that is drawn, of texts a JSON file,
    which it prints, too; with --out also every picture and every sound.

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
    if flags := used_flags(args, *SOLVING):
        raise UsageError(f"{flags[0]} is for denoisers: a joint prior draws token after token")
    seed = 0 if args.seed is None else args.seed
    options = sampling_options(args)
    conditions = conditions_of(trained, args)
    targets = None
    if args.target:
        targets = [name for word in args.target for name in word.split(",")]
    drawn_streams = targets or [name for name in trained.streams if name not in conditions]
    prompts = args.prompt or []
    names = {name: Names(args, trained, "sample", seed, of=(name,)) for name in drawn_streams}
    media = trained.media
    sheets = {
        name: texts_path(own, prompts) if media.get(name) == "text" else own.path(prompts)
        for name, own in names.items()
    }
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
    prompts = args.prompt or []
    if gallery is None:
        write_texts(name, examples, sheet, overwrite=args.overwrite)
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
