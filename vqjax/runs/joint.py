"""A trained joint prior from Python."""

from vqjax.evaluation.joint import JointEvaluator
from vqjax.runs.base import Run


class JointRun(Run):
    """A trained joint prior; made by `vqjax.load`."""

    kind = "joint prior"
    headline = ("nats_per_example",)
    next_commands = ("vqjax report RUN",)
    evaluator = JointEvaluator
