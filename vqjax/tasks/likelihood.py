"""A tokenizer with a prior over its latents is a model of the data: its log-likelihood, bounded.

    elbo = log p(x | z) - KL(q(z | x) || p(z)),  z ~ q(z | x)       (arXiv 1312.6114, eq. 10)
    log w = log p(x | z) + log p(z) - log q(z | x)                  (arXiv 1509.00519, eq. 8)

The expectation of each is below log p(x), and so is that of the logarithm of the mean of K weights,
which comes closer the larger K is. Everything is a pure function of the noise passed in, in nats.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.tasks.base import normalize
from vqjax.tasks.tokenizer import TOKENIZER, TokenizerTask
from vqjax.types import Tree, UsageError


def check_bound(task: Any) -> None:
    """Refuses, with UsageError, a task whose log-likelihood has no bound here."""
    if not isinstance(task, TokenizerTask):
        raise UsageError("no bound by importance samples: the run has no latents with a prior")
    quantizer = task.tokenizer.quantizer
    if not quantizer.has_prior:
        raise UsageError(
            f"no bound on the likelihood: the bottleneck {type(quantizer).__name__} has no prior "
            "over its latents (Gaussian has one)"
        )
    count = len(_likelihoods(task))
    if count != 1:
        raise UsageError(
            f"no bound on the likelihood: task.losses has {count} likelihoods: wanted one "
            "(vqjax.losses: BernoulliLikelihood, GaussianLikelihood, LogisticLikelihood)"
        )


def has_bound(task: Any) -> bool:
    """Whether `elbo` and `log_weights` are defined for `task`."""
    if not isinstance(task, TokenizerTask):
        return False
    return task.tokenizer.quantizer.has_prior and len(_likelihoods(task)) == 1


def _likelihoods(task: TokenizerTask) -> list[Any]:
    return [loss for loss in task.losses if hasattr(loss, "log_prob")]


def log_likelihood(
    task: TokenizerTask, params: Tree, collections: Tree, x: jax.Array, z: jax.Array
) -> jax.Array:
    """log p(x | z), float[B].

    Args:
        x: [B, *S, C], uint8 or float in [-1, 1].
        z: [B, *s, D].
    """
    (likelihood,) = _likelihoods(task)
    variables = {"params": params[TOKENIZER], **collections[TOKENIZER]}
    logits = task.tokenizer.apply(variables, z, method=_logits)  # [B, *S, C]
    return likelihood.log_prob(normalize(x), task.tokenizer.link(logits), logits)


def _logits(tokenizer: nn.Module, z: jax.Array) -> jax.Array:
    return tokenizer.decoder(tokenizer.post_quant(z))


def elbo(
    task: TokenizerTask,
    params: Tree,
    collections: Tree,
    x: jax.Array,
    latents: jax.Array,
    noise: jax.Array,
) -> jax.Array:
    """The evidence lower bound with one draw of z and the exact divergence, float[B].

    Args:
        x: [B, *S, C], uint8 or float in [-1, 1].
        latents: [B, *s, 2 D], the quantizer's input for x (`Tokens.z`).
        noise: [B, *s, D], standard normal.
    """
    drawn = task.tokenizer.quantizer.draw(latents, noise)  # z [B, *s, D], kl [B]
    return log_likelihood(task, params, collections, x, drawn.z) - drawn.kl


def log_weights(
    task: TokenizerTask,
    params: Tree,
    collections: Tree,
    x: jax.Array,
    latents: jax.Array,
    noise: jax.Array,
) -> jax.Array:
    """The logarithms of K importance weights of each example, float[B, K].

    Args:
        x: [B, *S, C], uint8 or float in [-1, 1].
        latents: [B, *s, 2 D], the quantizer's input for x (`Tokens.z`).
        noise: [B, K, *s, D], standard normal.
    """
    count = noise.shape[1]

    def repeated(a: jax.Array) -> jax.Array:  # the batch axis stays outermost, as it is split
        return jnp.repeat(a, count, axis=0)

    noise = noise.reshape(-1, *noise.shape[2:])  # [B * K, *s, D]
    drawn = task.tokenizer.quantizer.draw(repeated(latents), noise)  # z [B * K, *s, D]
    log_prob = log_likelihood(task, params, collections, repeated(x), drawn.z)  # [B * K]
    return (log_prob + drawn.log_ratio).reshape(-1, count)  # [B, K]
