"""Restoration: blurred digits and what they were. A task of pairs, as somebody writes it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.data import Digits, RandomShift
from vqjax.data.arrays import ArraySource
from vqjax.nn.conv import Conv
from vqjax.runs import Run
from vqjax.runs.examples import as_trained, checked_examples
from vqjax.tasks import Task, normalize
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam
from vqjax.types import TaskOutput


@dataclasses.dataclass(frozen=True)
class Blurred(ArraySource):
    """Scanned digits as "image", and as "source" the mean of each and its neighbour."""

    augment: tuple[Any, ...] = (RandomShift(1, of=("source", "image")),)

    def load(self, part):
        digits = Digits()
        count = digits.num_train() if part == "train" else digits.num_eval()
        image = next(digits.in_order(part, count))["image"]
        near = (image.astype(int) + np.roll(image, 1, axis=2)) // 2
        return {"source": near.astype(np.uint8), "image": image}


class Sharpen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + Conv(x.shape[-1])(x)


class RestoreRun(Run):
    kind = "restorer"
    shows = "Restored"

    def network(self):
        return self.task.network

    def reconstruct(self, images: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
        """What images [B, H, W, C] may have been."""
        x = normalize(jnp.asarray(checked_examples(images, self.shape, self.dtype)))
        made = self.apply(self.params, x)
        return np.asarray(as_trained(x + strength * (made - x), self.dtype))


@dataclasses.dataclass(frozen=True)
class RestoreTask(Task):
    network: nn.Module
    loss_weights: Mapping[str, float]
    inputs: str = "source"
    targets: str = "image"

    players, terms, run_class = ("restorer",), {"distance": "restorer"}, RestoreRun

    def init(self, rng, batch):
        variables = self.network.init(rng, normalize(batch[self.inputs]))
        return {"restorer": variables["params"]}, {"restorer": {}}

    def restore(self, params, x):
        return self.network.apply({"params": params["restorer"]}, x)

    def __call__(self, params, collections, frozen, batch, context):
        x, wanted = normalize(batch[self.inputs]), normalize(batch[self.targets])
        return TaskOutput({"distance": jnp.mean((self.restore(params, x) - wanted) ** 2)})

    def show(self, params, collections, frozen, batch, rng):
        x = normalize(batch[self.inputs])
        rows = {"sources": x, "targets": normalize(batch[self.targets])}
        return {**rows, "restored": self.restore(params, x)}


def experiment() -> Experiment:
    task = RestoreTask(Sharpen(), {"distance": 1.0})
    return Experiment(task, Blurred(), {"restorer": Adam(1e-2)}, batch_size=16, total_steps=4)
