"""A trained generator from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_gan")
images = run.sample(64, classes=[3, 7], truncation=0.7)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax import arguments
from vqjax.ops.numerics import make_key
from vqjax.priors.conditions import NULL
from vqjax.runs.base import Opening, Run, Sizes
from vqjax.runs.conditions import Others, condition_arrays, in_words, keywords_for, main_classes
from vqjax.runs.examples import as_trained, checked_count, in_parts
from vqjax.tasks.adversary import GENERATOR
from vqjax.training.experiment import Experiment
from vqjax.types import Tree, UsageError

CALL_BATCH = 64  # examples per call of the program


class GeneratorRun(Run):
    """A generator of examples out of noise; made by `vqjax.load`.

    Attributes: see `Run`.
    """

    kind = "generator"
    shows = "Samples"
    next_commands = ("vqjax sample RUN --out out", "vqjax report RUN")

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self._params = opening.opened.params
        self._sample = jax.jit(self._sample_batch)

    def network(self) -> nn.Module:
        """The generator of examples of this shape."""
        return self.task.network(self._opening.opened.inputs[self.task.inputs].shape)

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        del short
        examples = "examples" if sizes is None else sizes.examples
        condition = in_words(experiment.task.generator.condition)
        return (
            f" that learns to make new {examples} like those in {data}{condition}, out of noise in "
            "one step, against a discriminator"
        )

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `Run.conditions`."""
        return keywords_for(self.task.generator.condition)

    @property
    def classes(self) -> int | None:
        """How many classes it is conditioned on; None: it is not class-conditional."""
        main = main_classes(self.task.generator.condition)
        return None if main is None else main.classes

    def network_evaluations(self, options: Mapping[str, Any]) -> int:
        """See `Run.network_evaluations`: one."""
        del options
        return 1

    def sample(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        truncation: float = 1.0,
    ) -> np.ndarray:
        """Draws examples.

        Args:
            n: how many, at least 0 and no more than memory has room for.
            seed: from 0 to 2**32 - 1; example i is a pure function of (seed, i) and its condition.
            classes: see `PriorRun.sample`; so are prompts and conditions. A generator always has
                its condition: there is no class -1.
            truncation: factor on the noise, from 0 to 1 (arXiv 1809.11096, section 3.1): less is
                less varied and more typical.

        Returns:
            [n, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the generator takes no classes or has no such class, or an argument is of
                the wrong kind.
        """
        self._check_process()
        n, seed = checked_count(n, self.shape, self.dtype), arguments.seed_of(seed)
        truncation = arguments.real("truncation", truncation, least=0, most=1)
        condition, data = self.task.generator.condition, self.experiment.data
        how = {"network": GENERATOR}
        cond = condition_arrays(condition, data, n, classes, prompts, conditions, **how)
        if any(leaf.ndim == 1 and (leaf == NULL).any() for leaf in jax.tree.leaves(cond)):
            raise UsageError(f"classes: {NULL}: wanted a class, without which this run never was")
        ids, key = np.arange(n, dtype=np.int32), make_key(seed)
        leaves, structure = jax.tree.flatten(cond)

        def draw(ids: np.ndarray, *leaves: np.ndarray) -> jax.Array:
            cond = jax.tree.unflatten(structure, leaves)
            return self._sample(self._params, key, ids, cond, np.float32(truncation))

        with self._context():
            return in_parts(draw, (ids, *leaves), CALL_BATCH, "samples")

    def _sample_batch(
        self, params: Tree, key: jax.Array, ids: jax.Array, cond: Tree | None, truncation: jax.Array
    ) -> jax.Array:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
        size = (self.task.generator.latents,)
        z = jax.vmap(lambda k: jax.random.normal(k, size, jnp.float32))(keys)
        return as_trained(self.task.make(params, truncation * z, cond, self.shape), self.dtype)
