"""What a prior is told beside the tokens: a class."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.types import UsageError

NULL = -1  # the label of an example that has none, and of guidance's unconditional half


class ClassLabel(nn.Module):
    """A class as one learned vector before the tokens.

    Attributes:
        classes: how many; labels are 0 to classes - 1, or -1 for none.
        dropout: chance that a label is withheld in training, so that the prior learns to do
            without and classifier-free guidance has something to compare with (arXiv 2207.12598).
    """

    classes: int
    dropout: float = 0.1

    given = "label"  # the batch's array

    def __post_init__(self) -> None:
        if self.classes < 1 or not 0.0 <= self.dropout <= 1.0:
            raise UsageError(
                f"condition: classes={self.classes}, dropout={self.dropout}: wanted at least one "
                "class and a chance from 0 to 1"
            )
        super().__post_init__()

    @property
    def length(self) -> int:
        """Places that it takes."""
        return 1

    def check(self, labels: np.ndarray) -> None:
        """Refuses labels that are no classes, with UsageError."""
        for label in np.unique(labels):
            if not NULL <= label < self.classes:
                raise UsageError(
                    f"label {label}: wanted 0 to {self.classes - 1}, or {NULL} for none "
                    f"(prior.condition.classes={self.classes})"
                )

    @nn.compact
    def __call__(self, labels: jax.Array, features: int) -> jax.Array:
        """int32[B] -> [B, 1, features]; withholds where there is an rng stream "dropout".

        What is no class gives NaN: it must not pass for another one.
        """
        if self.has_rng("dropout") and self.dropout > 0.0:
            withheld = jax.random.bernoulli(self.make_rng("dropout"), self.dropout, labels.shape)
            labels = jnp.where(withheld, NULL, labels)
        init = nn.initializers.normal(0.02)
        table = self.param("table", init, (self.classes + 1, features))
        rows = jnp.where(labels == NULL, self.classes, labels)
        rows = jnp.where(labels >= self.classes, self.classes + 1, rows)
        return jnp.take(table, rows, axis=0, mode="fill", fill_value=jnp.nan)[:, None]

    def null(self, count: int) -> jax.Array:
        """What stands for no condition: int32[count]."""
        return jnp.full((count,), NULL, jnp.int32)
