"""Sounds of a run on a page: each clip's spectrograms with players beneath them."""

import base64
import pathlib

from vqjax.files import read_bytes
from vqjax.format import printable
from vqjax.media.clips import clip_kind, clip_path
from vqjax.media.gallery import AUDIO, Sheet
from vqjax.reports.history import Record
from vqjax.reports.page import Clip, Figure, Image, Sound, Take
from vqjax.types import DataError

SOUND_BYTES = 2 << 20  # of all sounds on a page, encoded: it can still be mailed, and opens at once
CLIPS = 8  # drawn on a page, of all runs on it
OPEN = 4  # of a run that need no click
SCALE = (
    "Colour is level, from 80 dB beneath the loudest of the originals up to it; the waveforms have "
    "one scale, too. A clip ends where its colours end."
)


def has_clips(sheet: Sheet) -> bool:
    """Whether a sheet is one of sounds whose examples are known."""
    return sheet.medium == AUDIO and bool(sheet.captions) and bool(sheet.rows)


def clips_figure(record: Record, step: int, sheet: Sheet, share: float) -> Figure:
    """The sounds of a sheet that `has_clips`.

    Args:
        record: the run.
        step: of the sheet.
        sheet: the newest.
        share: of `SOUND_BYTES` and `CLIPS` that the run may use.
    """
    folder, room = record.path / "samples", int(SOUND_BYTES * share)
    shown = min(len(sheet.captions), max(1, int(CLIPS * share)))
    clips, playable, kept = [], 0, 0
    for number in range(shown):
        paths = [clip_path(folder, step, number, row, sheet.rows) for row in sheet.rows]
        kept += None not in paths
        sounds = [sound_of(path, room) for path in paths]
        size = sum(len(sound.base64) for sound in sounds if sound is not None)
        if None in sounds or size > room:  # a clip is heard with what came of it, or not at all
            sounds = [None] * len(sounds)
        else:
            room, playable = room - size, playable + 1
        clips.append(_clip(sheet, number, sounds))
    return Figure(
        f"Step {step:,}",
        _row_names(sheet),
        smooth=True,
        clips=clips[:OPEN],
        more=clips[OPEN:],
        note=f"{SCALE} {_unplayable(record, shown, kept, playable)}".strip(),
    )


def sound_of(path: pathlib.Path | None, room: int) -> Sound | None:
    """A clip's file; None where there is none that fits into `room`, or it is something else."""
    try:
        if path is None or path.stat().st_size * 4 > room * 3:
            return None
        content = read_bytes(path)
    except (DataError, OSError):
        return None
    kind = clip_kind(content)
    return None if kind is None else Sound(base64.b64encode(content).decode(), kind)


def _clip(sheet: Sheet, number: int, sounds: list[Sound | None]) -> Clip:
    caption = printable(sheet.captions[number])
    takes = []
    for row, sound in zip(sheet.rows, sounds, strict=True):
        name = _one_of(printable(row))
        label = ", ".join(filter(None, [f"clip {number + 1}", caption, name]))
        image = Image.of(sheet.example(row, number), f"spectrogram of {label}")
        takes.append(Take(name, image, sound, f"play {label}"))
    return Clip(f"Clip {number + 1}", caption, takes)


def _one_of(row: str) -> str:
    """ "originals" -> "original"."""
    return row.removesuffix("s") if not row.endswith("ss") else row


def _row_names(sheet: Sheet) -> str:
    first, *others = map(printable, sheet.rows)
    return f"held-out {first} with their {', '.join(others)}" if others else first


def _unplayable(record: Record, shown: int, kept: int, playable: int) -> str:
    """Why some cannot be played; "": all can."""
    if playable == shown:
        return ""
    folder = record.path / "samples"
    if not kept:
        return "The sounds are not kept: those of the newest evaluation alone are."
    count = f"{playable} of {shown}" if playable else "None"
    most = f"{SOUND_BYTES >> 20} MB"
    return (
        f"{count} can be played here, as a page holds at most {most} of sound: the files are in "
        f"{folder}."
    )
