"""A player's codebook: where it is, encodings for its init, its dying codes."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vqjax.ops import progress
from vqjax.tasks.parts import TOKENIZER
from vqjax.types import Alarm, Batch, Tree

MOST_VALUES = 2**27  # numbers in all encodings: 512 MB in float32
# Distances per iteration of k-means, up to which one program does all of it: seconds on a CPU.
# Longer work is done in parts, see `vqjax.ops.codes.kmeans`.
QUICK = 2**32


def encodings(
    encode: Callable[[Batch], jax.Array],
    batches: Iterable[Batch],
    samples: int,
    codebook_size: int,
    vectors: Callable[[tuple[int, ...]], int] = math.prod,
) -> list[jax.Array]:
    """At least `samples` vectors per code, but not more than `batches` come to, and at most
    `MOST_VALUES` numbers where that is one per code: a list of arrays [B, *s, D].

    Args:
        encode: batch -> [B, *s, D].
        batches: `mask: bool[B]`, where there is one, is False on examples at the end of the batch
            that came before.
        samples: per code.
        codebook_size: K.
        vectors: see `Quantizer.vectors_for_start`.
    """
    encoded: list[jax.Array] = []
    count, target = 0, samples * codebook_size
    for batch in batches:
        z = encode(batch)
        if "mask" in batch:
            z = z[: int(jnp.sum(batch["mask"]))]
        encoded.append(z)
        new = vectors(z.shape[:-1])
        count += new
        if new:
            target = min(target, max(codebook_size, MOST_VALUES * new // z.size))
        progress.tell("encodings for k-means", min(count, target), target)
        if count >= target:
            break
    return encoded


def is_quick(z: list[jax.Array], codebook_size: int) -> bool:
    """Whether k-means of these encodings takes so little that it need not be interrupted."""
    return sum(math.prod(part.shape[:-1]) for part in z) * codebook_size <= QUICK


def start(
    quantizer: Any,
    encode: Callable[[Batch], jax.Array],
    params: Tree,
    collections: Tree,
    batches: Iterable[Batch],
    rng: jax.Array,
    player: str = TOKENIZER,
) -> tuple[Tree, Tree]:
    """Initialises the codebook of a player's quantizer from real encodings, where that has a
    `start` policy; see `encodings`. It reports its progress to `vqjax.ops.progress`.
    """
    policy = quantizer.start
    if policy is None:
        return params, collections
    size, vectors = quantizer.codebook_size, quantizer.vectors_for_start
    z = encodings(encode, batches, policy.samples, size, vectors)

    def init_codebook(params: Tree, collections: Tree, z: list[jax.Array], rng: jax.Array) -> Any:
        quantizer_params, codebook = of_quantizer(params, collections, player)
        new = quantizer.init_codebook(quantizer_params, codebook, jnp.concatenate(z), rng)
        return with_quantizer(params, collections, *new, player)

    # A longer k-means stays outside of jit, where it reports its progress.
    if is_quick(z, quantizer.codebook_size):
        init_codebook = jax.jit(init_codebook)
    return init_codebook(params, collections, z, rng)


def update(
    quantizer: Any,
    params: Tree,
    collections: Tree,
    statistics: Tree,
    rng: jax.Array,
    step: Any,
    player: str = TOKENIZER,
) -> tuple[Tree, Tree]:
    """Updates the codebook of a player's quantizer, once per step in which that is updated."""
    if not statistics:  # not updated in this step, or its quantizer collects nothing
        return params, collections
    old = of_quantizer(params, collections, player)
    new = quantizer.update(*old, statistics["quantizer"], rng, step)
    return with_quantizer(params, collections, *new, player)


def dying_codes(
    quantizer: Any, numbers: Mapping[str, float], player: str = TOKENIZER
) -> Alarm | None:
    """Whether fewer codes are alive than the quantizer's policy `watch` puts up with."""
    watch = quantizer.watch
    alive = [v for name, v in numbers.items() if name.partition("/")[0] == "codebook_alive"]
    if watch is None or not alive or min(alive) >= watch.alarm:
        return None
    share = f"{min(alive):.1%}"
    remedies = [
        f"task.{player}.{text}" if text.startswith("quantizer.") else text
        for text in quantizer.remedies
    ]
    return Alarm(
        short=f"{share} of codes",
        line=f"only {share} of {quantizer.codebook_size:,} codes are in use (alarm below "
        f"{watch.alarm:.0%}); what may help: {', or '.join(remedies)}",
    )


def of_quantizer(params: Tree, collections: Tree, player: str) -> tuple[Tree, Tree]:
    """The parameters of a player's quantizer, {} where it has none, and its `codebook`."""
    codebook = collections[player]["codebook"]["quantizer"]
    return params[player].get("quantizer", {}), codebook


def with_quantizer(
    params: Tree, collections: Tree, quantizer_params: Tree, codebook: Tree, player: str
) -> tuple[Tree, Tree]:
    """Both with the quantizer's replaced."""
    network, variables = params[player], collections[player]
    if quantizer_params:
        network = {**network, "quantizer": quantizer_params}
    codebook = {**variables["codebook"], "quantizer": codebook}
    variables = {**variables, "codebook": codebook}
    return {**params, player: network}, {**collections, player: variables}
