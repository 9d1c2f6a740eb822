"""Networks that make examples of noise: (z [B, Z], cond) -> x [B, *S, C].

Floor 5, imports floor 0 and `nn`. Most important file: `residual.py`.
"""

from vqjax.generators.residual import ResidualGenerator as ResidualGenerator

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
