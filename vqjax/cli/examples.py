"""Shapes and dtypes of one example, whether the data is at hand or not."""

import argparse
import dataclasses
from typing import Any


def add_shape_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--shape`."""
    parser.add_argument(
        "--shape",
        metavar="H,W,C",
        help="of one example, where the data is not at hand; of sound T,C",
    )


def inputs_of(experiment: Any, shape: str | None) -> dict:
    """`ArraySpec` of one example's arrays.

    Args:
        shape: of the array that the task reads, as typed; None: that of the data.

    Raises:
        DataError: the data cannot be read, and there is no `shape`.
        UsageError: `shape` is invalid.
    """
    from vqjax.types import DataError

    try:
        inputs = experiment.data.example_spec()
    except DataError as error:
        if shape is None:
            raise DataError(f"{error}; or give an example's shape: --shape H,W,C") from error
        inputs = None
    return inputs if shape is None else with_shape(experiment, inputs, shape)


def with_shape(experiment: Any, inputs: dict | None, text: str) -> dict:
    """The inputs with another shape of the array that the task reads. Where the data is not at
    hand: this array, of uint8 or, of sound, int16, a label, and other conditions.

    Raises:
        UsageError: `text` is no shape.
    """
    from vqjax.types import ArraySpec, UsageError

    try:
        shape = tuple(int(word) for word in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) < 2 or min(shape) < 1:
        raise UsageError(f"--shape {text}: give positive numbers such as 28,28,1")
    name = experiment.task.inputs
    if inputs is None:
        conditions = getattr(experiment.task, "conditions", {})
        inputs = {"label": ArraySpec((), "int32"), **conditions}
    # Only sound has a hop.
    dtype = "int16" if hasattr(experiment.task, "hop") else "uint8"
    spec = inputs[name] if name in inputs else ArraySpec(shape, dtype)
    return {**inputs, name: dataclasses.replace(spec, shape=shape)}
