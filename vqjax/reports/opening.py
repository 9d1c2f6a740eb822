"""How a report begins: one sentence for somebody who knows nothing of the run yet."""

import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from vqjax.format import number, shorten
from vqjax.reports.history import Record
from vqjax.runs.footprint import Footprint
from vqjax.runs.kinds import is_classifier, is_prior, kind_of

NAME = 60  # characters of what a stranger may have named
WRAPPED = 8  # sources around a source that are looked into
IN_FULL = 3  # runs that the sentence describes one by one
SHAPES = {2: "signals", 3: "pictures", 4: "clips"}  # by the rank of an example, with channels
TOLD = {"caption": "from a text", "label": "of a class that it is told"}


def opening(records: Sequence[Record], names: Sequence[str]) -> str:
    """What the page is: which runs, what they were trained to do, on what, and how far.

    Args:
        records: the runs, in the page's order.
        names: what the page calls them.
    """
    if len(records) == 1:
        return f"This page shows what came of training {names[0]}: {summary(records[0])}."
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
    return "a run" if record.experiment is None else kind_of(record.experiment)


def _learns(record: Record, in_full: bool) -> str:
    """What follows the kind of run; `in_full`: with the sizes of what goes in and comes out."""
    experiment, sizes = record.experiment, record.footprint
    if experiment is None:
        return " whose experiment cannot be read (why is said at its end)"
    examples = "examples" if sizes is None else SHAPES.get(len(sizes.shape), "examples")
    of = _data(record)
    if in_full and sizes is not None:
        of += f" ({' × '.join(map(str, sizes.shape))} values)"
    if is_classifier(experiment):
        return f" that learns to tell the class of {examples} from {of}"
    if not is_prior(experiment):
        codes = _codes(sizes) if in_full else _kind_of_codes(sizes)
        return f" that learns to turn {examples} from {of} into {codes} and back"
    given = getattr(getattr(experiment.task.prior, "condition", None), "given", None)
    told = "" if given is None else f" {TOLD.get(given, 'as it is told')}"
    by = f", by drawing tokens of {_tokenizer(experiment)}"
    if in_full and sizes is not None and sizes.levels:
        by = f", by drawing {_grids(sizes)} of the tokenizer {_tokenizer(experiment)}"
    return f" that learns to make new {examples} like those in {of}{told}{by}"


def _kind_of_codes(sizes: Footprint | None) -> str:
    return "real numbers" if sizes is not None and not sizes.levels else "tokens"


def _codes(sizes: Footprint | None) -> str:
    """What an example becomes, with a comma behind what is said in between."""
    if sizes is None:
        return _kind_of_codes(sizes)
    if not sizes.levels:
        return f"{' × '.join(map(str, sizes.latents))} real numbers"
    smaller = (
        "" if sizes.compression is None else f", {number(sizes.compression, 3)} times smaller,"
    )
    return _grids(sizes) + smaller


def _grids(sizes: Footprint) -> str:
    return " + ".join(
        f"{' × '.join(map(str, v.grid))} tokens of {v.codebook_size:,} codes" for v in sizes.levels
    )


def _tokenizer(experiment: Any) -> str:
    """The directory's name of the run whose tokens a prior learns."""
    path = str(getattr(getattr(experiment.task, "tokenizer", None), "path", ""))
    return shorten(pathlib.PurePath(path).name, NAME)


def _data(record: Record) -> str:
    """The innermost source by its name: the data set, the folder, or the class."""
    if record.experiment is None:
        return ""
    source = record.experiment.data
    for _ in range(WRAPPED):
        source = getattr(source, "source", source)
    name, path = (str(getattr(source, field, "")) for field in ("name", "path"))
    return shorten(name or pathlib.PurePath(path).name or type(source).__name__, NAME)


def _is_done(record: Record) -> bool:
    return record.total_steps is not None and record.step >= record.total_steps


def _how_far(record: Record) -> str:
    total = record.total_steps
    if _is_done(record):
        return f"all {total:,} steps are done"
    return f"{record.step:,} {'' if total is None else f'of {total:,} '}steps are done"


def _listed(words: Sequence[str]) -> str:
    """Words with commas, and the last one with an "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
