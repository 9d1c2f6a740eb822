"""vqjax: networks that turn pictures into tokens and back, in JAX and Flax Linen.

`vqjax.load(RUN)` opens a trained run; `vqjax.train(experiment, RUN)` trains one, and
`vqjax.Experiment` is what an experiment file returns. They are imported when they are first used:
importing vqjax itself touches neither JAX nor TensorFlow.
"""

import importlib
from typing import Any

from vqjax._version import __version__

__all__ = ["Experiment", "__version__", "load", "train"]

_EXPORTS = {
    "Experiment": "vqjax.training.experiment",
    "load": "vqjax.runs.load",
    "train": "vqjax.runs.train",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'vqjax' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
