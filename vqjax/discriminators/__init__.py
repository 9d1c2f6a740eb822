"""Networks that tell real data from made ones: x [B, *S, C] -> logits, of any shape.

Instead of logits there may be a `vqjax.types.Verdict` of logits and the features of layers, or a
tuple of verdicts, as of several scales; a class whose verdicts have features says so by
`gives_features = True`, and then the task has the term "feature_matching". They keep no running
statistics: whatever a normalisation needs, it takes from the call itself.

Floor 4, imports floor 0 and `nn`. Most important file: `patchgan.py`.
"""

from vqjax.discriminators.multi_period import MultiPeriod as MultiPeriod
from vqjax.discriminators.patchgan import PatchGAN as PatchGAN
from vqjax.discriminators.residual import ResidualDiscriminator as ResidualDiscriminator

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
