"""What kind of run an experiment makes, and what judges it."""

from typing import Any

from jax.sharding import Mesh

from vqjax.training.experiment import Experiment
from vqjax.types import Tree, UsageError

PRIOR = "prior"  # the player of tasks that learn tokens


def is_prior(experiment: Experiment) -> bool:
    """Whether it learns the tokens of another run."""
    return PRIOR in experiment.task.players


def check_tokenizer(trained: Any, what: str) -> None:
    """Refuses, with UsageError, a prior where a tokenizer or an autoencoder is needed."""
    if is_prior(trained.experiment):
        raise UsageError(f"{trained.path} is a prior: {what} takes the run of a tokenizer")


def make_evaluator(experiment: Experiment, mesh: Mesh, frozen: Tree) -> Any:
    """What judges this experiment's parameters: (params, collections) -> numbers and pictures."""
    from vqjax.evaluation.generation import PriorEvaluator
    from vqjax.evaluation.reconstruction import ReconstructionEvaluator

    kind = PriorEvaluator if is_prior(experiment) else ReconstructionEvaluator
    return kind(experiment, mesh, frozen)
