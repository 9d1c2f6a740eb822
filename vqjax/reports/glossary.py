"""What the numbers of a page mean: names with a line each, for every page that has numbers."""

from collections.abc import Mapping, Sequence

from vqjax.format import printable
from vqjax.numbers import BITS, FIRST_N, IN_WORDS, LOSSES, NUMBERS, PARAMETERS
from vqjax.reports.history import REACHED, Record, is_number
from vqjax.training.logbook import METRICS

Entry = tuple[str, str]  # a name and what it means


def glossary(records: Sequence[Record], heads: Mapping[str, str] | None = None) -> list[Entry]:
    """Explains the numbers that `records` have, and no others.

    Args:
        records: the runs on the page.
        heads: {name of a number: its column's head} of a table of the runs on the page.
    """
    heads = heads or {}
    return [*_metrics(records, heads), *_terms(records), *_sizes(records, heads)]


def _metrics(records: Sequence[Record], heads: Mapping[str, str]) -> list[Entry]:
    found = {
        name.partition("/")[0] for r in records for name in r.final if is_number(r.final, name)
    }
    entries = []
    own = {name: number for r in records for name, number in r.numbers.items()}
    for name, what in {**NUMBERS, **own}.items():
        if name not in found or not what.help:
            continue
        other = heads.get(name, "")
        label = what.titled if other in what.titled else f"{what.titled} ({other})"
        best = "" if what.best is None else f"; {IN_WORDS[what.best]}"
        entries.append((label, what.help + best))
    if any("/first_" in name for r in records for name in r.final):
        entries.append(("…/first_n", f"in the log and {METRICS}: {FIRST_N}"))
    return entries


def _terms(records: Sequence[Record]) -> list[Entry]:
    """Of the loss curves, under the names in their legends."""
    drawn = {name for r in records for name in r.loss_names if r.curve("train", name)}
    return [(f"Loss {printable(name)}", text) for name, text in LOSSES.items() if name in drawn]


def _sizes(records: Sequence[Record], heads: Mapping[str, str]) -> list[Entry]:
    """Of sizes and times, in the facts and in the table of the runs."""
    sizes = [record.footprint for record in records if record.footprint is not None]
    entries = []
    if "perplexity_share" in heads:
        entries.append((heads["perplexity_share"], "perplexity as a share of the codebook size"))
    if any(size.levels for size in sizes):
        entries.append(("Bits", BITS))
    if "minutes" in heads:
        entries.append((heads["minutes"], "of training, over all starts"))
    if any(record.reached() is not None for record in records):
        first = f"training until the first evaluation with {REACHED:.0%} of the final PSNR"
        entries.append((f"{REACHED:.0%} after", first))
    if sizes:
        entries.append(("Parameters", PARAMETERS))
    return entries
