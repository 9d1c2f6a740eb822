"""What `vqjax compile` and `vqjax train --dry-run` share: inputs of the step, and its tables."""

import argparse
import sys
from typing import Any

from vqjax.cli.examples import inputs_of
from vqjax.format import printable, printable_lines


def prepare(experiment: Any, args: argparse.Namespace) -> tuple[Any, dict]:
    """The experiment, checked and with its frozen runs, and `ArraySpec` of its example's arrays.

    Raises:
        DataError: its examples' shapes are unknown, or what --frozen names is missing.
    """
    from vqjax.training.frozen import resolve_for_shapes

    experiment = resolve_for_shapes(experiment, args.frozen, tuple(args.trust), say)
    experiment.check()
    inputs = inputs_of(experiment, args.shape)
    experiment.task.check(inputs)
    return experiment, inputs


def say(line: str) -> None:
    """A line of progress."""
    print(printable(line), file=sys.stderr, flush=True)


def report(step: Any) -> dict[str, Any]:
    """Prints a compiled step, and returns its numbers."""
    from vqjax.hardware.compiled import step_json
    from vqjax.hardware.tables import table

    print(printable_lines(table(step)))
    return step_json(step)
