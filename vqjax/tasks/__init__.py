"""What one batch means: which networks see it, which losses it gives, what is learnt from it."""

from vqjax.tasks.adaptive import AdaptiveWeight
from vqjax.tasks.base import Task, normalize
from vqjax.tasks.classifier import ClassifierTask
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.tokenizer import TokenizerTask

__all__ = ["AdaptiveWeight", "ClassifierTask", "PriorTask", "Task", "TokenizerTask", "normalize"]
