"""What kind of run an experiment makes, and what judges it."""

from typing import Any

from jax.sharding import Mesh

from vqjax.arguments import got
from vqjax.training.experiment import Experiment
from vqjax.types import Tree, UsageError

PRIOR = "prior"  # the player of tasks that learn tokens
CLASSIFIER = "classifier"  # of tasks that learn labels


def is_prior(experiment: Experiment) -> bool:
    """Whether it learns the tokens of another run."""
    return PRIOR in experiment.task.players


def is_classifier(experiment: Experiment) -> bool:
    """Whether it learns the labels of examples."""
    return CLASSIFIER in experiment.task.players


def is_tokenizer(experiment: Experiment) -> bool:
    """Whether it learns to reconstruct examples."""
    return kind_of(experiment) == "a tokenizer"


def kind_of(experiment: Experiment) -> str:
    """What to call its run: "a prior", "a classifier" or "a tokenizer"."""
    if is_prior(experiment):
        return "a prior"
    return "a classifier" if is_classifier(experiment) else "a tokenizer"


def check_tokenizer(trained: Any, what: str) -> None:
    """Refuses, with UsageError, another run where a tokenizer or an autoencoder is needed."""
    _check(trained, what, "a tokenizer")


def check_not_classifier(trained: Any, what: str) -> None:
    """Refuses, with UsageError, a classifier where examples are drawn."""
    if is_classifier(trained.experiment):
        raise UsageError(f"{trained.path} is a classifier: {what} takes a prior or a VAE")


def check_prior(trained: Any, what: str) -> None:
    """Refuses, with UsageError, another run where a prior over tokens is needed."""
    _check(trained, what, "a prior")


def check_classifier(trained: Any, what: str) -> None:
    """Refuses, with UsageError, another run where a classifier is needed."""
    _check(trained, what, "a classifier")


def _check(trained: Any, what: str, wanted: str) -> None:
    if not hasattr(_experiment_of(trained), "task"):
        raise UsageError(f"{what}: got {got(trained)}, wanted the run of {wanted}, from vqjax.load")
    kind = kind_of(trained.experiment)
    if kind != wanted:
        raise UsageError(f"{trained.path} is {kind}: {what} takes the run of {wanted}")


def _experiment_of(trained: Any) -> Any:
    try:
        return getattr(trained, "experiment", None)
    except Exception:  # the object's own
        return None


def make_evaluator(experiment: Experiment, mesh: Mesh, frozen: Tree) -> Any:
    """What judges this experiment's parameters: (params, collections) -> numbers and pictures."""
    from vqjax.evaluation.classification import ClassifierEvaluator
    from vqjax.evaluation.prior import PriorEvaluator
    from vqjax.evaluation.reconstruction import ReconstructionEvaluator

    kinds = {"a prior": PriorEvaluator, "a classifier": ClassifierEvaluator}
    return kinds.get(kind_of(experiment), ReconstructionEvaluator)(experiment, mesh, frozen)
