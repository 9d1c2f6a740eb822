"""Files that a verb reads, named one by one or found in folders, and where their results go."""

import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

PICTURES, SOUND = "pictures", "sound"  # `Run.reads`
MAX_STEM = 120  # bytes of an input's name that its result's name keeps
Found = tuple[pathlib.Path, pathlib.Path]  # a file, and its path in the folder that was named


def check_inputs(inputs: Sequence[str], out: str) -> None:
    """Refuses, with UsageError, what is neither file nor folder, and results among their sources.

    Args:
        inputs: as typed.
        out: the folder for results.
    """
    from vqjax.types import UsageError

    results = os.path.realpath(out)  # `resolve` fails where a link leads to itself
    for path in inputs:
        if not os.path.exists(path):
            raise UsageError(f"{path}: no such file or folder")
        if not os.path.isdir(path) and not os.path.isfile(path):
            raise UsageError(f"{path} is a pipe or a device: wanted is a file or folder")
        if os.path.isdir(path) and os.path.realpath(path) == results:
            raise UsageError(f"--out {out} is the folder of the inputs: name another")


def formats_of(reads: str) -> tuple[str, ...]:
    """The formats, of pictures or sound, that are read here."""
    from vqjax.media import audio, image

    return image.readable_formats() if reads == PICTURES else tuple(audio.FORMATS)


def _suffixes_of(reads: str) -> tuple[str, ...]:
    """Of files that a folder is searched for."""
    from vqjax.media import audio, image

    if reads == PICTURES:
        return image.suffixes_of(image.readable_formats())
    return (*audio.suffixes_of(audio.FORMATS), *audio.OTHER_SUFFIXES)


def find_inputs(inputs: Sequence[str], out: str, reads: str, run: str) -> list[Found]:
    """All files of `inputs` that a run may read; folders are searched recursively, except `out`.

    Args:
        inputs: files and folders.
        out: the folder for results.
        reads: `PICTURES` or `SOUND`.
        run: its path, for messages.

    Raises:
        UsageError: a file is of the other kind, or there are none.
    """
    from vqjax.types import UsageError

    other, one = (SOUND, "is sound") if reads == PICTURES else (PICTURES, "is a picture")
    formats = ", ".join(formats_of(reads))
    for path in inputs:
        suffix = os.path.splitext(path)[1].lower()
        if os.path.isfile(path) and suffix in _suffixes_of(other):
            raise UsageError(f"{path} {one}: {run} takes {reads} ({formats})")
    files = list(_found(inputs, pathlib.Path(out), _suffixes_of(reads)))
    if inputs and not files:
        raise UsageError(f"no {reads} in {', '.join(inputs)}: {run} takes {formats}")
    return files


def _found(inputs: Sequence[str], out: pathlib.Path, suffixes: Sequence[str]) -> Iterator[Found]:
    results = pathlib.Path(os.path.realpath(out))
    for source in map(pathlib.Path, inputs):
        if not source.is_dir():
            yield source, pathlib.Path(source.name)
            continue
        holds_results = source.resolve() in results.parents
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() not in suffixes or not path.is_file():
                continue
            if not (holds_results and results in path.resolve().parents):
                yield path, path.relative_to(source)


def targets_of(
    sheet: pathlib.Path, files: Iterable[Found], suffix_of: Callable[[pathlib.Path], str]
) -> list[pathlib.Path]:
    """The result's path for each file: beside the sheet, in the same subfolders and with the whole
    name, as a.jpg is not a.png. What is still equal is numbered.

    Args:
        sheet: whose name begins the others.
        files: from `find_inputs`.
        suffix_of: file -> the suffix of its result, with a dot.
    """
    from vqjax.runs.drawn import slug

    used, targets = set(), []
    for file, relative in files:
        suffix = suffix_of(file)
        name = relative.stem if relative.suffix == suffix else relative.name
        if name == "." or len(name.encode(errors="replace")) > MAX_STEM:
            name = slug(name)
        chosen, number = relative.with_name(name), 2
        while str(chosen).casefold() + suffix in used:
            chosen, number = relative.with_name(f"{name}-{number}"), number + 1
        used.add(str(chosen).casefold() + suffix)
        targets.append(sheet.parent / chosen.parent / f"{sheet.stem}_{chosen.name}{suffix}")
    return targets
