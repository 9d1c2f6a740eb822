"""Runs from Python, from the first step to use.

Floor 8, imports floor 0, `data`, `evaluation`, `metrics`, `nn`, `ops`, `priors`, `sampling`,
`tasks` and `training`. Most important file: `load.py`.
"""

from vqjax.runs.base import Run as Run
from vqjax.runs.load import load as load
from vqjax.runs.load import run_class as run_class
from vqjax.runs.train import train as train

__all__ = ["Run", "load", "run_class", "train"]
