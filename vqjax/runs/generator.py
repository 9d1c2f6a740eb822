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
from vqjax.runs.conditions import (
    Others,
    condition_arrays,
    in_words,
    keywords_for,
    main_classes,
    tokenizer_name,
)
from vqjax.runs.examples import arc, as_trained, checked_count, in_parts
from vqjax.tasks.adversary import GENERATOR
from vqjax.tasks.token_gan import TokenGANTask
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
        self._variables = (opening.opened.params, opening.opened.collections, opening.frozen)
        self._make = jax.jit(self._make_batch)
        self._draw = jax.jit(self._draw_noise)

    def network(self) -> nn.Module:
        """The generator of examples of this shape."""
        return self.task.network(self._opening.opened.inputs[self.task.inputs].shape)

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        examples = "examples" if sizes is None else sizes.examples
        task = experiment.task
        condition, through = in_words(task.generator.condition), ""
        if not short and isinstance(task, TokenGANTask):
            through = f", through the tokenizer {tokenizer_name(task.tokenizer.path)}"
        return (
            f" that learns to make new {examples} like those in {data}{condition}, out of noise in "
            f"one step{through}, against a discriminator"
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
        cond = self._cond(n, classes, prompts, conditions)
        return self._made(self._noise(seed, n), cond, truncation)

    def interpolate(
        self,
        n: int = 8,
        steps: int = 10,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        truncation: float = 1.0,
    ) -> np.ndarray:
        """Makes the arcs between the noises of samples 2 i and 2 i + 1 of a seed.

        Args:
            n: how many, at least 0.
            steps: points on each arc, at least 2.
            seed: see `sample`; so are the others, the conditions being one for each arc.

        Returns:
            [n, steps, *S, C] of the run's `dtype`.

        Raises:
            UsageError: see `sample`.
        """
        self._check_process()
        steps = arguments.whole("steps", steps, 2, arguments.MOST_COUNT)
        n, seed = arguments.whole("n", n, most=arguments.MOST_COUNT), arguments.seed_of(seed)
        checked_count(2 * n * steps, self.shape, self.dtype)
        cond = self._cond(n, classes, prompts, conditions)
        noise = self._noise(seed, 2 * n)
        shares = np.linspace(0.0, 1.0, steps)
        z = np.stack([arc(noise[::2], noise[1::2], share) for share in shares], axis=1)
        cond = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), steps, axis=0), cond)
        made = self._made(z.reshape(n * steps, -1), cond, truncation)
        return made.reshape(n, steps, *made.shape[1:])

    def _cond(
        self,
        n: int,
        classes: Sequence[int] | None,
        prompts: Sequence[str] | None,
        conditions: Others | None,
    ) -> Tree | None:
        """What the condition takes, of `n` examples."""
        condition, data = self.task.generator.condition, self.experiment.data
        how = {"network": GENERATOR}
        cond = condition_arrays(condition, data, n, classes, prompts, conditions, **how)
        if any(leaf.ndim == 1 and (leaf == NULL).any() for leaf in jax.tree.leaves(cond)):
            raise UsageError(f"classes: {NULL}: wanted a class, without which this run never was")
        return cond

    def _noise(self, seed: int, n: int) -> np.ndarray:
        """z float32[n, Z]; each a pure function of the seed and its number."""
        with self._context():
            return np.asarray(self._draw(make_key(seed), np.arange(n, dtype=np.int32)))

    def _draw_noise(self, key: jax.Array, ids: jax.Array) -> jax.Array:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
        size = (self.task.generator.latents,)
        return jax.vmap(lambda k: jax.random.normal(k, size, jnp.float32))(keys)

    def _made(self, z: np.ndarray, cond: Tree | None, truncation: float) -> np.ndarray:
        """Examples of noise [n, Z]."""
        truncation = arguments.real("truncation", truncation, least=0, most=1)
        leaves, structure = jax.tree.flatten(cond)

        def make(z: np.ndarray, *leaves: np.ndarray) -> jax.Array:
            return self._make(self._variables, z, jax.tree.unflatten(structure, leaves))

        with self._context():
            return in_parts(make, (np.float32(truncation) * z, *leaves), CALL_BATCH, "samples")

    def _make_batch(
        self, variables: tuple[Tree, Tree, Tree], z: jax.Array, cond: Tree | None
    ) -> jax.Array:
        return as_trained(self.task.make(*variables, z, cond, self.shape), self.dtype)
