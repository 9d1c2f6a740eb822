"""How a report begins: one sentence for a reader who does not know the run."""

import pathlib
from collections import Counter
from collections.abc import Sequence

from vqjax.data import NoData
from vqjax.format import number, shorten
from vqjax.reports.history import Record
from vqjax.runs.base import with_article

NAME = 60  # characters of what a stranger may have named
WRAPPED = 8  # sources around a source that are looked into
IN_FULL = 3  # runs that the sentence describes one by one


def opening(records: Sequence[Record], names: Sequence[str]) -> str:
    """What the page is: which runs, what they were trained to do, on what, and how far.

    Args:
        records: the runs, in the page's order.
        names: what the page calls them.
    """
    if len(records) == 1:
        what = names[0] if records[0].is_imported else f"what came of training {names[0]}"
        return f"This page shows {what}: {summary(records[0])}."
    count = f"{len(records)} training runs of vqjax"
    if len(records) <= IN_FULL:
        each = [f"{name}, {_brief(r)}" for name, r in zip(names, records, strict=True)]
        return f"This page shows {count}: {'; and '.join(['; '.join(each[:-1]), each[-1]])}."
    kinds = Counter(_kind(record).partition(" ")[2] for record in records)
    parts = [f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in kinds.items()]
    data = dict.fromkeys(d for record in records if (d := _data(record)))
    on = f", trained on {_listed(list(data))}" if data else ""
    done = sum(_is_done(record) for record in records)
    them = "them is" if done == 1 else "them are"
    return f"This page shows {count}: {_listed(parts)}{on}; {done} of {them} done."


def summary(record: Record) -> str:
    """What one run learns, from what, and how far it is."""
    return f"{_kind(record)}{_learns(record, in_full=True)}; {_how_far(record)}"


def _brief(record: Record) -> str:
    return f"{_kind(record)}{_learns(record, in_full=False)} ({_how_far(record)})"


def _kind(record: Record) -> str:
    return "a run" if record.kind is None else with_article(record.kind.kind)


def _learns(record: Record, in_full: bool) -> str:
    """What follows the kind of run; `in_full`: with the sizes of what goes in and comes out."""
    if record.experiment is None:
        return " whose experiment cannot be read (why is said at its end)"
    data, sizes = _data(record), record.footprint
    if in_full and record.sound is not None:
        data += f" ({number(record.sound.rate, 6)} Hz)"
    elif in_full and sizes is not None and len(sizes.shape) > 1:  # not of texts
        data += f" ({' × '.join(map(str, sizes.shape))} values)"
    if record.kind is None:
        return f" trained on {data}"
    return record.kind.learned(record.experiment, sizes, data, short=not in_full)


def _data(record: Record) -> str:
    """The innermost source by its name: the data set, the folder, or the class."""
    if record.experiment is None:
        return ""
    source = record.experiment.data
    if isinstance(source, NoData):
        return "elsewhere"
    for _ in range(WRAPPED):
        source = getattr(source, "source", source)
    name, path = (str(getattr(source, field, "")) for field in ("name", "path"))
    return shorten(name or pathlib.PurePath(path).name or type(source).__name__, NAME)


def _is_done(record: Record) -> bool:
    return (
        record.is_imported or record.total_steps is not None and record.step >= record.total_steps
    )


def _how_far(record: Record) -> str:
    if record.is_imported:
        return "it was imported"
    total = record.total_steps
    if _is_done(record):
        return f"all {total:,} steps are done"
    return f"{record.step:,} {'' if total is None else f'of {total:,} '}steps are done"


def _listed(words: Sequence[str]) -> str:
    """Words with commas, and the last one with an "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
