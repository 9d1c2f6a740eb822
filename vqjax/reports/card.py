"""The card of a pack: what it is, in Markdown, for people who have nothing but it."""

import pathlib

from vqjax.files import write_output
from vqjax.format import printable
from vqjax.numbers import described
from vqjax.reports.compare_table import markdown_lines, plain
from vqjax.reports.history import Record, is_number
from vqjax.reports.opening import summary
from vqjax.reports.tables import label, shown_value
from vqjax.runs.base import can
from vqjax.runs.conditions import keywords_for
from vqjax.tasks import JointTask, TextStream

CARD = "README.md"
MOST_NUMBERS = 20  # in the table
HEAD = """---
library_name: vqjax
tags: [vqjax, jax, flax]
---
"""
USES = {
    "sample": "vqjax sample {name}{condition}",
    "reconstruct": "vqjax reconstruct {name} PICTURES",
}
CONDITIONS = {"prompts": ' --prompt "A CAPTION"', "classes": " --classes 0,1"}


def write_card(folder: pathlib.Path, record: Record, dtype: str) -> None:
    """Writes README.md of the pack at `folder`, whose record is `record`."""
    write_output(folder / CARD, card(folder.name, record, dtype), overwrite=True)


def card(name: str, record: Record, dtype: str) -> str:
    """The text.

    Args:
        name: of the folder.
        record: of the pack.
        dtype: of its numbers.
    """
    sentence = printable(summary(record))
    parts = [HEAD, f"# {printable(name)}\n", f"{sentence[0].upper()}{sentence[1:]}.\n"]
    uses = [text for ability, text in USES.items() if _can(record, ability)]
    condition = _condition(record)
    uses.append("vqjax evaluate {name}")
    lines = [text.format(name=name, condition=condition) for text in uses]
    parts.append("```sh\npip install vqjax\n" + "\n".join(lines) + "\n```\n")
    parts.append(f'```python\nimport vqjax\n\nrun = vqjax.load("{name}")\n```\n')
    if table := _numbers(record):
        parts.append(table)
    parts += [f"![examples](samples/{p.name})\n" for _, p in record.samples[-1:]]
    size = f"{record.footprint.total:,} parameters, " if record.footprint else ""
    made = f"{size}{dtype}, step {record.step:,}, made by vqjax {record.version}"
    command = f":\n\n```sh\n{record.command}\n```\n" if record.command else ".\n"
    parts.append(f"{made}{command}")
    parts.append(
        "`experiment.json` is the whole experiment, `model.safetensors` the arrays; both are "
        "checked against `seal.json` when it is opened, and neither can run code. No licence is "
        "stated: whoever publishes this adds one.\n"
    )
    return "\n".join(parts)


def _can(record: Record, ability: str) -> bool:
    return record.kind is not None and can(record.kind, record.experiment, ability)


def _condition(record: Record) -> str:
    """The option of `sample` by which a prior takes its condition; "": there is none."""
    task = record.experiment.task if record.experiment else None
    if isinstance(task, JointTask):
        texts = [n for n, stream in task.streams.items() if isinstance(stream, TextStream)]
        first, *others = [*(n for n in task.streams if n not in texts), *texts]
        return f" --condition {first}=FILE --target {','.join(others)}" if others else ""
    network = getattr(task, "prior", None) or getattr(task, "denoiser", None)
    taken = keywords_for(getattr(network, "condition", None))
    return next((option for name, option in CONDITIONS.items() if name in taken), "")


def _numbers(record: Record) -> str:
    """The table of its evaluation; "": there is none."""
    names = [name for name in record.names("eval") if is_number(record.final, name)]
    if not names:
        return ""
    headline = [name for name in names if name in record.headline]
    chosen = [*headline, *(name for name in names if name not in headline)][:MOST_NUMBERS]
    rows, said = [], set()
    for name in chosen:
        help_ = "" if name.partition("/")[0] in said else described(name, record.numbers).help
        said.add(name.partition("/")[0])
        value = shown_value(record, name, record.final[name])
        rows.append([plain(label(record, name)), value, plain(help_)])
    head = [f"Eval split, step {record.final['step']:,}", "", "what it is"]
    return markdown_lines([head, ["---", "---:", "---"], *rows]) + "\n"
