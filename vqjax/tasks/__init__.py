"""What one batch means: which networks see it, which losses it gives, what is learnt from it."""

from vqjax.tasks.tokenizer import AdaptiveWeight, TokenizerTask

__all__ = ["AdaptiveWeight", "TokenizerTask"]
