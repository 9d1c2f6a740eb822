"""Sound in and out of verbs: files of any length through a run, and their results as files."""

import argparse
import contextlib
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vqjax.cli.drawing import OTHERS, RETURN_LENGTH, Names, in_turn, method_options, write_png
from vqjax.cli.inputs import Found, targets_of
from vqjax.format import printable, reason

BLOCK = 1 << 16  # samples that are worked on before progress is shown
MAX_SECONDS = 600.0  # of a clip that a run takes whole
SHEET_SOUNDS = 16  # on the sheet, and of the eval split
SHEET_SECONDS = 2.0  # of each
MOST_SHOWN = 64  # samples on a sheet
# What a test compares with `WRITTEN` of `vqjax.media`: help must not wait for JAX.
FORMATS = ("wav", "flac", "ogg", "opus", "mp3")
OPTIONS = ("codebooks", "rate", "format", "max_seconds")


def add_rate_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--rate`."""
    parser.add_argument(
        "--rate",
        metavar="HZ",
        type=int,
        help="of sound that is written (default: the run's); more adds no higher frequencies",
    )


def add_sound_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the `OPTIONS` of verbs that reconstruct sound."""
    parser.add_argument(
        "--codebooks", metavar="N", type=int, help="of sound: decode the first N codebooks alone"
    )
    add_rate_argument(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="of sound that is written (default: that of the input where it is one of these and "
        "has the rate, else flac)",
    )
    parser.add_argument(
        "--max-seconds",
        metavar="S",
        type=float,
        help="skip longer sound (default: none where the networks are causal, else "
        f"{MAX_SECONDS:g})",
    )


class Output:
    """How sound of a run at `rate` is written, by --rate and --format.

    Attributes:
        rate: of the files, in Hz.

    Raises:
        UsageError: no such rate, or the format has none such; or the run has no rate.
    """

    def __init__(self, args: argparse.Namespace, rate: int) -> None:
        from vqjax.media.audio import check_rate
        from vqjax.media.sound_writing import check_written
        from vqjax.types import UsageError

        if not rate:
            raise UsageError(f"{args.run_dir}: its data has no rate, so no file of sound fits it")
        self._from, self.rate = rate, rate if args.rate is None else args.rate
        self._format, self._overwrite = getattr(args, "format", None), args.overwrite
        check_rate(self.rate)
        if self._format is not None:
            check_written(self._format, self.rate)
        if self.rate > rate:
            print(
                f"--rate {self.rate}: resampled from {rate:,} Hz, so there is nothing above "
                f"{rate / 2:,.0f} Hz",
                file=sys.stderr,
            )

    def suffix(self, source: pathlib.Path | None = None) -> str:
        """Of the file that a result goes to, which was read from `source`."""
        from vqjax.media.sound_writing import can_encode, check_written, format_of_suffix
        from vqjax.types import UsageError

        if self._format is not None:
            return f".{self._format}"
        if source is None and not can_encode():
            return ".wav"
        name = None if source is None else format_of_suffix(source)
        if name is None:
            return ".flac"
        try:
            check_written(name, self.rate)
        except UsageError:
            return ".flac"
        return source.suffix

    def write(self, path: pathlib.Path, pieces: Iterable[Any], length: int | None = None) -> None:
        """Writes int16[n] pieces at the run's rate; `length`: samples of the file, None: all."""
        from vqjax.media.sound_writing import sound_writer

        with sound_writer(path, self.rate, overwrite=self._overwrite) as write:
            for piece in self._resampled(pieces):
                piece = piece if length is None else piece[:length]
                length = None if length is None else length - len(piece)
                write(piece)

    def write_whole(self, path: pathlib.Path, samples: Any) -> None:
        """Writes int16[n] at the run's rate, as WAV also where soundfile is not installed."""
        import numpy as np

        from vqjax.media.sound_writing import write_sound

        samples = np.concatenate([*self._resampled((samples,))])
        write_sound(path, samples, self.rate, overwrite=self._overwrite)

    def _resampled(self, pieces: Iterable[Any]) -> Iterator[Any]:
        import numpy as np

        from vqjax.media.resampling import Resampler

        if self.rate == self._from:
            yield from pieces
            return
        resampler = Resampler(self._from, self.rate)
        for x in itertools.chain(map(resampler.push, pieces), _later(resampler.end)):
            yield np.clip(np.rint(x), -32768, 32767).astype(np.int16)


def _later(call: Callable[[], Any]) -> Iterator[Any]:
    yield call()


class SoundReconstructions:
    """Sounds through a run, one after the other, to files, and to the sheet of the first ones.

    Args:
        trained: a run that reconstructs sound in pieces.
        output: how files are written.
        options: keywords of its method.
        names: of the results.
    """

    def __init__(self, trained: Any, output: Output, options: dict[str, Any], names: Names) -> None:
        self._trained, self._output, self._options = trained, output, options
        self._names, self._shown = names, ([], [])
        self.written = 0

    def files(self, files: Sequence[Found], max_seconds: float | None) -> None:
        """Reconstructs files; prints what is odd about them, and those that cannot be read.

        Raises:
            UsageError: a result would be written over something else.
            DataError: there is none that can be read.
        """
        import tqdm

        from vqjax.media.long_sound import long_sound
        from vqjax.types import DataError, VqjaxError

        sheet = self._names.path()
        targets = targets_of(sheet, files, self._output.suffix)
        self._names.check([sheet, *targets], [path for path, _ in files])
        skipped = 0
        pairs = zip(files, targets, strict=True)
        for (path, _), target in tqdm.tqdm(
            pairs, total=len(files), unit="sound", disable=not sys.stderr.isatty()
        ):
            with contextlib.ExitStack() as stack:
                try:
                    read = long_sound(path, self._trained.rate, max_seconds=max_seconds)
                    sound = stack.enter_context(read)
                except VqjaxError:
                    raise
                except Exception as error:  # decoders raise what they like
                    skipped += 1
                    say(f"skipped {path}: {reason(error)}")
                    continue
                for note in sound.notes:
                    say(f"note: {path}: {note}")
                is_as_read = self._output.rate == sound.file_rate
                self._reconstruct(sound, path.name, target, is_as_read)
        if skipped == len(files):
            raise DataError(f"none of {sounds(skipped)} can be reconstructed")
        if skipped:
            print(f"{skipped} of {sounds(len(files))} skipped", file=sys.stderr)

    def _reconstruct(self, sound: Any, name: str, target: pathlib.Path, is_as_read: bool) -> None:
        """One `LongSound`; `is_as_read`: whether it is written at the rate that its file has."""
        import tqdm

        gain = self._trained.gain_of_pieces(sound.blocks())
        with tqdm.tqdm(
            total=round(sound.samples / sound.rate),
            desc=printable(name, 40),
            unit="s",
            delay=2.0,
            leave=False,
            disable=not sys.stderr.isatty(),
        ) as bar:

            def blocks() -> Iterator[Any]:
                done = 0
                for block in sound.blocks(BLOCK):
                    yield block
                    done += len(block)
                    bar.update(round(done / sound.rate) - bar.n)

            length = sound.file_samples if is_as_read else None
            self._write(blocks(), gain, target, length)

    def _write(
        self, pieces: Iterable[Any], gain: float, target: pathlib.Path, length: int | None = None
    ) -> None:
        originals, results = [], []
        pieces = self._kept(pieces, originals)
        made = self._trained.reconstruct_pieces(pieces, gain, **self._options)
        self._output.write(target, self._kept(made, results), length)
        self.written += 1
        if len(self._shown[0]) < SHEET_SOUNDS:
            for row, parts in zip(self._shown, (originals, results), strict=True):
                row.append(_as_shown(parts))

    def _kept(self, pieces: Iterable[Any], parts: list[Any]) -> Iterator[Any]:
        """The same pieces; the first seconds go into `parts`, too."""
        missing = round(SHEET_SECONDS * self._trained.rate)
        for piece in pieces:
            if missing > 0 and len(self._shown[0]) < SHEET_SOUNDS:
                parts.append(piece[:missing])
                missing -= len(piece)
            yield piece

    def held_out(self) -> None:
        """Reconstructs the first clips of the eval split, and writes the originals beside them.

        Raises:
            UsageError: a result would be written over something else.
            DataError: the data is not at hand.
        """
        suffix = self._output.suffix()
        clips = self._trained.held_out_clips(SHEET_SOUNDS)

        def path(number: int, *more: str) -> pathlib.Path:
            of = (f"eval {number:04d}", *more)
            return dataclasses.replace(self._names, of=of).path().with_suffix(suffix)

        targets = [path(i) for i in range(len(clips))]
        sources = [path(i, "original") for i in range(len(clips))]
        self._names.check([self._names.path(), *targets, *sources])
        for clip, target, source in zip(clips, targets, sources, strict=True):
            self._output.write(source, (clip,))
            self._write((clip,), self._trained.gain_of_pieces((clip,)), target)

    def close(self) -> None:
        """Writes the sheet."""
        from vqjax.media.gallery import Gallery

        rows = dict(zip(("originals", "reconstructions"), self._shown, strict=True))
        gallery = Gallery(rows, medium="audio", rate=self._trained.rate)
        write_png(self._names.path(), gallery.sheet(), overwrite=self._names.args.overwrite)


def _as_shown(parts: Sequence[Any]) -> Any:
    """float32[T, 1] of int16 pieces."""
    import numpy as np

    from vqjax.media.audio import to_float

    return to_float(np.concatenate([np.zeros(0, np.int16), *parts]))[:, None]


def say(line: str) -> None:
    """Prints a line to standard error, above a progress bar where there is one."""
    import tqdm

    tqdm.tqdm.write(printable(line), file=sys.stderr)


def sounds(count: int) -> str:
    return f"{count} sound" + ("s" if count != 1 else "")


def reconstruct_sounds(trained: Any, args: argparse.Namespace, files: Sequence[Found]) -> str:
    """`vqjax reconstruct` of sound: `files`, or the first clips of the eval split. Returns what was
    written, for people.
    """
    from vqjax.types import UsageError

    if any(word.startswith("rate=") for word in args.settings):
        raise UsageError("rate= is what files say themselves: --rate HZ is that of the results")
    if args.max_seconds is not None and not args.max_seconds > 0:
        raise UsageError(f"--max-seconds {args.max_seconds:g}: wanted a number above 0")
    options = method_options(args, trained, trained.reconstruct)
    output, names = Output(args, trained.rate), Names(args, trained, "reconstruct")
    work = SoundReconstructions(trained, output, options, names)
    if files:
        longest = (
            None if trained.abilities(trained.experiment).get("stream") is None else MAX_SECONDS
        )
        work.files(files, longest if args.max_seconds is None else args.max_seconds)
    else:
        work.held_out()
    work.close()
    what = sounds(work.written) + ("" if files else ", their originals")
    return f"{what} and {names.path().name}"


def write_samples(
    trained: Any,
    args: argparse.Namespace,
    options: dict[str, Any],
    conditions: Sequence[int | str],
    names: Names,
) -> None:
    """`vqjax sample` of sound: draws by `options` of the run's method, and writes a sheet, and with
    --out every sample as a file of its own.

    Raises:
        UsageError: a result would be written over something else, or --rate without files.
    """
    from vqjax.media.gallery import Gallery
    from vqjax.types import UsageError

    if args.rate is not None and not args.out:
        raise UsageError("--rate is that of files of sound: add --out DIR")
    output, sheet = Output(args, trained.rate) if args.out else None, names.path(conditions)
    others = options.get(OTHERS) or {}
    singles = names.singles(conditions, options["n"], others)
    singles = [path.with_suffix(output.suffix()) for path in singles]
    names.check([sheet, *singles])
    clips = _drawn(trained, options)
    for path, clip in zip(singles, clips, strict=False):
        output.write_whole(path, clip[:, 0])
    captions = [
        ", ".join([*map(str, in_turn(conditions, i)), *_words_of(others, i)])
        for i in range(len(clips))
    ]
    gallery = Gallery(
        {"samples": clips[:MOST_SHOWN]}, "audio", trained.rate, captions=captions[:MOST_SHOWN]
    )
    caption = ", ".join(map(str, conditions))
    write_png(sheet, gallery.sheet(), caption, overwrite=args.overwrite)


def _words_of(others: Mapping[str, Sequence[Any]], number: int) -> list[str]:
    """The conditions of sample `number` beside its class, as "speaker jackson"."""
    return [f"{name} {value}" for name, v in others.items() for value in in_turn(v, number)]


def _drawn(trained: Any, options: dict[str, Any]) -> list[Any]:
    """Clips int16[n, C], each as long as it is, but one sample at least."""
    from vqjax.runs.base import keywords_of

    if RETURN_LENGTH not in keywords_of(trained.sample):
        return list(trained.sample(**options))
    clips, length = trained.sample(**options, return_length=True)
    return [clip[: max(1, n)] for clip, n in zip(clips, length.tolist(), strict=True)]
