"""Networks that tell real data from made ones: x [B, *S, C] -> logits.

They keep no running statistics: whatever a normalisation needs, it takes from the call itself.
"""

from vqjax.discriminators.patchgan import PatchGAN as PatchGAN

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
