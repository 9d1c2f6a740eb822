"""What every quantizer with a codebook shares: how it starts, what it counts, how codes revive.

Counting happens in the collection `statistics`, which is carried from microbatch to microbatch
within one step; the collection `codebook` changes once per step, in the quantizer's `update`.
"""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.ops import codes as ops
from vqjax.types import UsageError

MAX_CANDIDATES = 64  # codes revived per step at the most
STATISTICS = ("counts", "sums", "seen", "candidates")


@dataclasses.dataclass(frozen=True)
class KMeans:
    """Starts the codebook at the centres of real encodings (arXiv 2107.03312, section III-B).

    Attributes:
        samples: encodings per code to cluster, at the least.
        iterations: Lloyd steps.
    """

    samples: int = 32
    iterations: int = 10


@dataclasses.dataclass(frozen=True)
class Revival:
    """Moves dead codes onto encodings of the batch (arXiv 2005.00341, random restarts).

    A code is dead when its average count has fallen below `below` times an equal share of the
    vectors. A revived code gets `share` of an equal share, so it has about
    log(share / below) / (1 - decay) steps to find users before it is dead again.

    Attributes:
        below: part of an equal share, > 0.
        share: part of an equal share that a revived code starts with, > below.
    """

    below: float = 0.05
    share: float = 0.3


def check_codebook(module: nn.Module) -> None:
    """Refuses, with UsageError, a size or a decay that no codebook can have."""
    if module.codebook_size < 1:
        raise UsageError(f"quantizer.codebook_size={module.codebook_size}: at least 1 is needed")
    if not 0.0 <= module.decay < 1.0:
        raise UsageError(f"quantizer.decay={module.decay}: wanted 0 <= decay < 1")


def record(module: nn.Module, z: jax.Array, indices: jax.Array, size: int) -> None:
    """Adds a call's vectors to the collection `statistics`, where that is being collected.

    `counts` float32[K], `sums` [K, D], `seen` the vectors so far, and `candidates` [M, D]: every
    slot holds a vector drawn uniformly from all that were seen, by reservoir sampling, so any
    number of microbatches and calls gives a fair draw.

    Args:
        module: the quantizer, bound; draws from its rng stream "quantizer".
        z: [N, D] in at least float32, without gradient.
        indices: int32[N].
        size: K.
    """
    if module.is_initializing() or not module.is_mutable_collection("statistics"):
        return
    chex.assert_rank([z, indices], [2, 1])
    n, dim = z.shape
    slots = min(size, MAX_CANDIDATES)
    old = {name: module.get_variable("statistics", name) for name in STATISTICS}
    if old["seen"] is None:
        old = {
            "counts": jnp.zeros((size,), jnp.float32),
            "sums": jnp.zeros((size, dim), z.dtype),
            "seen": jnp.zeros((), jnp.float32),
            "candidates": jnp.zeros((slots, dim), z.dtype),
        }
    new = {
        "counts": old["counts"] + ops.count(indices, size),
        "sums": old["sums"] + ops.sum_by_code(z, indices, size),
        "seen": old["seen"] + n,
        "candidates": old["candidates"],
    }
    if n:
        place, chance = jax.random.split(module.make_rng("quantizer"))
        drawn = z[jax.random.randint(place, (slots,), 0, n)]  # [M, D]
        taken = jax.random.uniform(chance, (slots, 1)) * new["seen"] < n
        new["candidates"] = jnp.where(taken, drawn, old["candidates"])
    for name, value in new.items():
        module.put_variable("statistics", name, value)


def usage_metrics(indices: jax.Array, size: int) -> dict[str, jax.Array]:
    """Share of the codes that this batch used, and the perplexity of its choice."""
    counts = ops.count(indices, size)
    return {
        "codebook_usage": jnp.mean((counts > 0).astype(jnp.float32)),
        "perplexity": ops.perplexity(counts),
    }


def decay_at(decay: float, step: jax.Array) -> jax.Array:
    """The decay of step `step`: at most (1 + step) / (10 + step).

    Early encodings move fast; averages over many steps would hold codes where nobody is any more.
    """
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def find_dead(counts: jax.Array, revival: Revival, seen: jax.Array) -> tuple[Any, Any]:
    """Which codes to revive now, at most as many as there are candidates.

    Args:
        counts: [K] average counts per step.
        revival: the policy.
        seen: vectors in this step.

    Returns:
        int32[M] codes, the least used first, and bool[M]: whether each is dead.
    """
    slots = min(counts.shape[0], MAX_CANDIDATES)
    least, index = jax.lax.top_k(-counts, slots)
    share = seen / counts.shape[0]
    return index, -least < revival.below * share
