"""Models of noise levels: what a mixture of data and noise says of either.

Floor 5, imports floor 0, `nn` and `ops`. Most important file: `rotary_dit.py`, on
`base.py`.
"""

from vqjax.denoisers.dit import DiT as DiT
from vqjax.denoisers.rotary_dit import RotaryDiT as RotaryDiT

__all__ = ["DiT", "RotaryDiT"]
