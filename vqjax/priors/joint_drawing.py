"""Drawing the tokens of streams given those of others, and how likely candidates are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.priors.joint import Ids, JointPrior
from vqjax.sampling import Guidance, StreamGuidance, TokenSampling, branches_of, sample_codebooks
from vqjax.types import Tree


def draw_streams(
    network: JointPrior,
    params: Tree,
    keys: jax.Array,
    targets: tuple[str, ...],
    conditions: Ids,
    *,
    sampling: TokenSampling,
    guidance: Guidance | StreamGuidance,
) -> dict[str, jax.Array]:
    """Draws the tokens of `targets`, one stream after the other, given all before it.

    Args:
        network: unbound.
        params: of it.
        keys: key[B]; an example depends on its own key and conditions alone.
        targets: streams, in the order in which they are drawn.
        conditions: {stream: ids int32[B, T]}, read in their order; {}: none.
        sampling: how one token is drawn.
        guidance: classifier-free, towards conditions and the streams drawn before one.

    Returns:
        {stream: ids int32[B, T]}; after the end of a clip they are `CodebookOrder.ended`.

    Raises:
        UsageError: there is nothing to guide towards, or no such condition.
    """
    branches_of(guidance, (*conditions, *targets[:-1]))  # refuses what is towards none of these
    drawn: dict[str, jax.Array] = {}
    for name in targets:
        before = {**conditions, **drawn}
        branches, combine = branches_of(_of_those(guidance, tuple(before)), tuple(before))
        reading = network.empty_reading(len(branches) * len(keys), (*before, name))
        for block, ids in before.items():
            attended = jnp.asarray([block in branch for branch in branches])
            rows = jnp.tile(ids, (len(branches), 1))  # [branches B, T]
            attended = jnp.repeat(attended, len(keys))
            reading, _ = network.read(params, reading, block, rows, attended)
        drawn[name] = _draw(network, params, reading, name, keys, sampling, combine)
    return drawn


def draw_others(
    network: JointPrior,
    params: Tree,
    keys: jax.Array,
    targets: tuple[str, ...],
    conditions: Ids,
    *,
    sampling: TokenSampling,
    guidance: Guidance,
) -> dict[str, jax.Array]:
    """Draws, for each condition alone, the tokens of all targets but itself, one given those before
    it, as `draw_streams` would. There is one loop for each target.

    Args:
        network: unbound.
        params: of it.
        keys: key[n B].
        targets: streams, in the order in which they are drawn.
        conditions: {stream: ids int32[B, T]}, n of them.
        sampling: how one token is drawn.
        guidance: see `draw_streams`.

    Returns:
        {target: ids int32[n B, T]}, those for the first condition first; they mean nothing where
        the target itself is the condition.
    """
    count, batch = len(conditions), len(keys)
    branches, combine = branches_of(guidance, ("all",))
    copies = len(branches)
    reading = network.empty_reading(copies * batch, (*conditions, *targets))

    def read(name: str, ids: jax.Array, attended: jax.Array) -> tuple:
        """`reading` and a block ids [n B, T], which rows bool[n B] attend to."""
        attended = jnp.concatenate([attended & bool(branch) for branch in branches])
        return network.read(params, reading, name, jnp.tile(ids, (copies, 1)), attended)[0]

    own = {name: jnp.zeros(batch, bool) for name in targets}  # [n B], rows whose condition it is
    for number, (name, ids) in enumerate(conditions.items()):
        own[name] = jnp.repeat(jnp.arange(count) == number, batch // count)
        reading = read(name, jnp.tile(ids, (count, 1)), own[name])
    drawn: dict[str, jax.Array] = {}
    for name in targets:
        if drawn:  # the block before this one
            last = targets[len(drawn) - 1]
            reading = read(last, drawn[last], ~own[last])
        drawn[name] = _draw(network, params, reading, name, keys, sampling, combine)
    return drawn


def _of_those(
    guidance: Guidance | StreamGuidance, names: tuple[str, ...]
) -> Guidance | StreamGuidance:
    """What of it is towards these streams."""
    if isinstance(guidance, StreamGuidance):
        return StreamGuidance(tuple((n, scale) for n, scale in guidance.scales if n in names))
    return guidance if names else Guidance()


def _draw(
    network: JointPrior,
    params: Tree,
    reading: tuple,
    name: str,
    keys: jax.Array,
    sampling: TokenSampling,
    combine: Callable,
) -> jax.Array:
    """The ids int32[B, T] of one stream."""
    order = network.order(name)
    own_keys = jax.vmap(lambda key: jax.random.fold_in(key, network.names.index(name)))(keys)
    codes = sample_codebooks(
        *network.decoder(params, reading, name),
        frame_at=order.frame_at,
        keys=own_keys,
        choose=sampling,
        combine=combine,
        ended=order.size if order.ends else None,
    )  # [B, S, Q]
    return order.ids_of_steps(codes)  # [B, T]


def log_likelihoods(
    network: JointPrior, params: Tree, targets: Ids, conditions: Ids
) -> dict[str, jax.Array]:
    """log p of each stream of `targets`, in their order, given those before it and `conditions`,
    in nats: {stream: [B]}. Their sum is log p(targets | conditions). Network unbound.

    Args:
        targets: {stream: ids int32[B, T]}.
        conditions: the same.
    """
    batch = len(next(iter(targets.values())))
    ids = all_ids(network, {**conditions, **targets}, batch)
    ranks = network.ranks((*conditions, *targets), batch)
    found = block_log_likelihoods(network, params, ids, ranks)
    return {name: found[name] for name in targets}


def block_log_likelihoods(
    network: JointPrior, params: Tree, ids: Ids, ranks: jax.Array
) -> dict[str, jax.Array]:
    """log p of each block given those before it in its row, in nats: {stream: [B]}; see
    `JointPrior.__call__` for `ids` and `ranks`. Network unbound.
    """
    losses = network.apply({"params": params}, ids, ranks, method="objective")
    return {name: -loss.nats.sum(axis=1) for name, loss in losses.items()}


def all_ids(network: JointPrior, ids: Ids, batch: int) -> dict[str, Any]:
    """`ids` of `batch` rows, and zeros for the streams that they do not have. Network unbound."""
    absent = {n: np.zeros((batch, network.order(n).length), np.int32) for n in network.names}
    return {**absent, **ids}


def candidate_log_likelihoods(
    network: JointPrior, params: Tree, name: str, candidates: jax.Array, conditions: Ids
) -> jax.Array:
    """log p(candidate | conditions) in nats, [B, N], each example's conditions read once. Network
    unbound.

    Args:
        name: the stream of the candidates.
        candidates: ids int32[N, T], the same for all examples.
        conditions: {stream: ids int32[B, T]}, read in their order; {}: none, and B is 1.
    """
    batch = len(next(iter(conditions.values()))) if conditions else 1
    count, order = len(candidates), network.order(name)
    reading = network.empty_reading(batch, (*conditions, name))
    for stream, ids in conditions.items():
        reading, _ = network.read(params, reading, stream, ids)
    repeated = jax.tree.map(lambda a: jnp.repeat(a, count, axis=0), reading[:2])  # [B N, ..]
    ids = jnp.tile(candidates, (batch, 1))  # [B N, T]
    now = reading._replace(caches=repeated[0], mask=repeated[1])
    _, logits = network.read(params, now, name, ids)  # [B N, T, K]
    return -order.nats_of(ids, logits)[0].sum(axis=1).reshape(batch, count)
