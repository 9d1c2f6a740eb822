"""A data source of made-up examples, and small experiments on it."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from tests.quickly import quick
from vqjax.losses import L1
from vqjax.quantizers import VectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.mesh import make_mesh
from vqjax.training.optim import Adam
from vqjax.training.sharding import replicated
from vqjax.training.state import TrainState, create_state
from vqjax.types import ArraySpec


@dataclasses.dataclass(frozen=True)
class SmallSource:
    """`count` examples of `shape`, a pure function of their place."""

    shape: tuple[int, ...] = (8, 8, 1)
    dtype: str = "uint8"
    count: int = 11

    def example(self, place: int) -> np.ndarray:
        rng = np.random.default_rng(place)
        if self.dtype == "uint8":
            return rng.integers(0, 256, self.shape).astype(np.uint8)
        return rng.uniform(-1, 1, self.shape).astype(np.float32)

    def _batch(self, places: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "image": np.stack([self.example(int(p) % self.count) for p in places]),
            "example_id": places.astype(np.int64),
        }

    def train(
        self, batch_size: int, seed: int, start_step: int, rows: np.ndarray
    ) -> Iterator[dict[str, np.ndarray]]:
        step = start_step
        while True:
            yield self._batch(step * batch_size + rows)
            step += 1

    def eval(self, batch_size: int, rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, self.count, batch_size):
            places = first + rows
            yield self._batch(places) | {"mask": places < self.count}

    def example_spec(self) -> dict[str, ArraySpec]:
        return {
            "image": ArraySpec(self.shape, self.dtype),
            "example_id": ArraySpec((), "int64"),
        }

    def num_train(self) -> int:
        return self.count

    def num_eval(self) -> int:
        return self.count

    def check(self) -> None:
        pass

    def notes(self) -> list[str]:
        return []


def small_experiment(source: SmallSource, codebook_size: int = 8, **settings) -> Experiment:
    """One level of downsampling, so factor 2; about a thousand parameters."""
    sizes = {"width": 4, "multipliers": (1, 2), "mid_attention": False, "latent_dim": 4}
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(blocks=0, **sizes),
                quantizer=VectorQuantizer(codebook_size=codebook_size, codebook_dim=3),
                decoder=ConvDecoder(blocks=0, channels=source.shape[-1], **sizes),
            ),
            loss_weights={"l1": 1.0, "commitment": 0.25, "codebook": 1.0},
            losses=(L1(),),
        ),
        data=source,
        optimizers={"tokenizer": Adam(1e-3)},
        **({"batch_size": 8, "total_steps": 4} | settings),
    )


def started(experiment: Experiment) -> TrainState:
    """Step 0 on one device, with weights spread out so that tokens differ from each other."""

    def create():
        state = create_state(experiment, experiment.data.example_spec())
        return state.replace(params=jax.tree.map(lambda p: p * 3 + 0.05, state.params))

    return quick(create, out_shardings=replicated(make_mesh(jax.devices()[:1])))()
