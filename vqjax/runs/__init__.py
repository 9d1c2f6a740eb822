"""Runs from Python, from the first step to use."""

from vqjax.runs.train import train as train
