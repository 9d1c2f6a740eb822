"""How well a prior predicts the texts of the eval split, and texts that it draws."""

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.evaluation.prior import PriorEvaluator, Totals
from vqjax.evaluation.stream_samples import as_texts
from vqjax.media.stream_gallery import StreamGallery, Texts
from vqjax.tasks.streams import CAPTION
from vqjax.tasks.text import text_lengths
from vqjax.types import Batch, Level

SAMPLES = "samples"


class TextEvaluator(PriorEvaluator):
    """`nats_per_caption`: mean over the captions of the eval split of -log p of all ids of a
    sequence, those after the end included, or of a bound on it (`Prior.is_bound`).
    `nats_per_token`: the same nats over how many tokens the captions have: the ids of a text, and
    one for its end where it is shorter than the sequence. What follows the end is no token: how
    many such ids there are is a setting. The gallery has samples: see `PriorEvaluator`.
    """

    def sizes(self, batch: Batch, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `PriorEvaluator.sizes`; there are no values."""
        del weights
        ids = batch[CAPTION]  # [B, T]
        tokens = jnp.minimum(text_lengths(ids) + 1, ids.shape[1])  # [B]
        return tokens, jnp.zeros_like(tokens)

    def numbers(
        self, totals: Totals, levels: tuple[Level, ...], shape: tuple[int, ...]
    ) -> dict[str, float]:
        """See `PriorEvaluator.numbers`."""
        del levels, shape
        return {
            "nats_per_caption": totals.nats / totals.examples,
            "nats_per_token": totals.nats / totals.tokens,
        }

    def gallery(self, samples: np.ndarray, lengths: np.ndarray) -> StreamGallery:
        """Drawn ids int32[n, T], 0 after their end, as texts."""
        del lengths
        texts = as_texts(self._experiment.data, samples)
        return StreamGallery({SAMPLES: Texts({SAMPLES: texts})})
