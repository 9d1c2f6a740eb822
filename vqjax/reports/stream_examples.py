"""What a joint prior draws, on a page: for each held-out example of a stream one of every other."""

import dataclasses
from collections.abc import Sequence

from vqjax.format import printable
from vqjax.media.clips import clip_path
from vqjax.media.gallery import Sheet
from vqjax.media.stream_gallery import streams_of
from vqjax.reports.history import Record
from vqjax.reports.page import Example, Examples, Figure, Image, Sound
from vqjax.reports.players import SOUND_BYTES, sound_of

LINES = 16  # of a table, at most, shared by all runs on a page
OPEN = 4  # of them that need no click
ROWS = "the first column is held out, all else in its line is drawn for it"
SCALE = (
    "Colour is level, from 80 dB beneath the loudest of the held-out sounds up to it. A sound ends "
    "where its colours end."
)


def stream_figures(record: Record, step: int, sheet: Sheet, share: float) -> list[Figure]:
    """A table for each stream that is a condition, of a sheet that has `streams`; one table of
    what is drawn for no condition, where the sheet has but one row.

    Args:
        record: the run.
        step: of the sheet.
        sheet: the newest.
        share: of `SOUND_BYTES` and `LINES` that the run may use.
    """
    room, figures, heard = int(SOUND_BYTES * share), [], []
    for condition in dict.fromkeys(streams_of(row)[1] for row in sheet.rows):
        rows = [row for row in sheet.rows if streams_of(row)[1] == condition]
        count = min(sheet.streams[sheet.rows.index(row)].count for row in rows)
        lines = []
        for number in range(min(count, max(1, int(LINES * share)))):
            line = [_example(record, step, sheet, row, number, room) for row in rows]
            sounds = [one.sound for one in line if one.is_sound]
            size = sum(len(sound.base64) for sound in sounds if sound is not None)
            if size > room:
                line = [dataclasses.replace(one, sound=None) for one in line]
                sounds, size = [None] * len(sounds), 0
            room -= size
            heard += sounds
            lines.append(line)
        heads = [printable(streams_of(row)[0]) for row in rows]
        shown = Examples(heads, lines[:OPEN], lines[OPEN:])
        detail = f"step {step:,}: {ROWS}" + (f" ({sheet.note})" if sheet.note else "")
        title = f"Given {heads[0]}"
        if len(sheet.rows) == 1:
            title, detail = f"Step {step:,}", ""
        figures.append(Figure(title, detail, examples=shown))
    if heard:
        note = f"{SCALE} {_unplayable(record, heard)}".strip()
        figures[-1] = dataclasses.replace(figures[-1], note=note)
    return figures


def _example(record: Record, step: int, sheet: Sheet, row: str, number: int, room: int) -> Example:
    """One example of a row; with its sound where that takes no more than `room`."""
    what = sheet.streams[sheet.rows.index(row)]
    stream, condition = map(printable, streams_of(row))
    label = f"{stream} {number + 1}" + (f" given {condition}" if stream != condition else "")
    if what.texts:
        return Example(text=what.texts[number])
    height, width = what.size
    cell = sheet.example(row, number)[:height, :width]
    if not what.is_sound:
        return Example(Image.of(cell, label))
    sound = sound_of(clip_path(record.path / "samples", step, number, row, sheet.rows), room)
    image = Image.of(cell, f"spectrogram of {label}")
    return Example(image, sound, is_sound=True, label=f"play {label}")


def _unplayable(record: Record, heard: Sequence[Sound | None]) -> str:
    """Why some cannot be played; "": all can."""
    missing = heard.count(None)
    if not missing:
        return ""
    return (
        f"{missing} of {len(heard)} sounds cannot be played here: a page holds at most "
        f"{SOUND_BYTES >> 20} MB, and a run keeps those of its newest evaluation alone, in "
        f"{record.path / 'samples'}."
    )
