"""What every discrete quantizer shares: how its codes are counted, their init and revival.

Counting happens in the collection `statistics`, which is carried from microbatch to microbatch
within one step; the collection `codebook` changes once per step, in the quantizer's `update`. It
holds the ledger of every discrete quantizer, whether its codes are stored or implied:

    counts   float32[K]  average picks per step
    age      int32[K]    steps since the code was last picked
    alive    float32[]   share of codes that are alive, by the policy `Watch`
    revived  int32[]     codes moved by `Revival` so far
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.ops import codes as ops
from vqjax.quantizers.base import Quantizer
from vqjax.types import Tree, UsageError

MIN_CANDIDATES = 64  # codes revived per step at the most, and for large codebooks
CANDIDATE_SHARE = 32  # one in so many
MAX_SIZE = 2**30
DECAY = 0.99  # of average picks, per step
# Picks that a code would have had, were all used equally: none is dead that was picked more lately.
# One that is used equally stays unpicked for so long once in exp(7), a thousand, times.
PATIENCE = 7.0


@dataclasses.dataclass(frozen=True)
class KMeans:
    """Codebook init: the centres of real encodings (arXiv 2107.03312, section III-C).

    Attributes:
        samples: encodings per code to cluster, at the least.
        iterations: Lloyd steps.
    """

    samples: int = 32
    iterations: int = 10

    def __post_init__(self) -> None:
        check_fields(self)
        if self.samples < 1 or self.iterations < 0:
            raise UsageError(
                f"samples={self.samples}, iterations={self.iterations}: wanted at least 1 and 0"
            )


@dataclasses.dataclass(frozen=True)
class Revival:
    """Moves dead codes onto encodings of the batch (arXiv 2005.00341, random restarts).

    A code is dead when its average count has fallen below `below` times an equal share of the
    vectors, and it was not picked for so long that chance alone does not explain it (`PATIENCE`).
    A revived code gets `share` of an equal share, so, once averages are over 1 / (1 - decay) steps,
    it has about log(share / below) / (1 - decay) of them to find users before it is dead again.

    Attributes:
        below: part of an equal share, > 0.
        share: part of an equal share that a revived code starts with, > below.
        when: acts only while the share of codes alive (`Watch`) is at most this. 1: always;
            0.5, say: as a remedy that waits until usage has fallen.
    """

    below: float = 0.05
    share: float = 0.3
    when: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 < self.below < self.share:
            raise UsageError(f"below={self.below}, share={self.share}: wanted 0 < below < share")


@dataclasses.dataclass(frozen=True)
class Watch:
    """When a code counts as alive, and when the run sounds the alarm.

    A code is alive that was picked within as many steps as would give every code `picks` picks,
    were all used equally.

    Attributes:
        picks: > 0.
        alarm: share of codes alive below which the run warns; 0: never.
    """

    picks: float = 32.0
    alarm: float = 0.3

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.picks > 0.0 or not 0.0 <= self.alarm <= 1.0:
            raise UsageError(
                f"picks={self.picks}, alarm={self.alarm}: wanted picks > 0 and 0 <= alarm <= 1"
            )


class Discrete(Quantizer):
    """Base of the quantizers with one codebook, stored or implied; it keeps their ledger.

    Attributes of subclasses: `codebook_size`, `codebook_dim`, `loss_weights` (the published weight
    of every loss term), and `watch`.
    """

    num_codebooks = 1

    def update(
        self, params: Tree, codebook: Tree, statistics: Tree, rng: jax.Array, step: jax.Array
    ) -> tuple[Tree, Tree]:
        """Keeps the ledger, once per step after the optimizer. Called unbound."""
        return params, count_picks(codebook, statistics, self.watch, decay_at(DECAY, step))


def check_sizes(**sizes: int) -> None:
    """Refuses, with UsageError, a size below 1, or one that no device has memory for."""
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"quantizer.{name}={size}: at least 1 is needed")
        if size > MAX_SIZE:
            raise UsageError(f"quantizer.{name}={size}: at most 2^30 can be")


def declare_ledger(module: Discrete) -> None:
    """Makes the ledger's variables; called in `setup`."""
    size = (module.codebook_size,)
    module.variable("codebook", "counts", jnp.zeros, size, jnp.float32)
    module.variable("codebook", "age", jnp.zeros, size, jnp.int32)
    module.variable("codebook", "alive", jnp.ones, (), jnp.float32)
    module.variable("codebook", "revived", jnp.zeros, (), jnp.int32)


def observe(
    module: Discrete,
    indices: jax.Array,
    *,
    train: bool,
    candidates: jax.Array | None = None,
    summed: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """Counts a call's picks where statistics are being collected; metrics for the log.

    A quantizer whose codes move by what was collected (`candidates` or `summed`) refuses to train
    where nobody collects: its codes would stay as they are for ever.

    `codebook_usage` and `perplexity` are of this batch. In training come `codebook_alive`,
    `codebook_age` (steps since the code that waits longest was picked) and `codebook_revived`,
    as they are before this step.

    Args:
        module: the quantizer, bound; draws from its rng stream "quantizer".
        indices: int32[N].
        train: whether to collect.
        candidates: [N, D], to draw from for revival; None: no code of this quantizer revives.
        summed: [N, D], to sum by code; None: nobody needs the sums.

    Raises:
        UsageError: in training, `statistics` is not collected although codes move by it.
    """
    counts = ops.count(indices, module.codebook_size)
    metrics = {
        "codebook_usage": jnp.mean((counts > 0).astype(jnp.float32)),
        "perplexity": ops.perplexity(counts),
    }
    if not train:
        return metrics
    collects = module.is_mutable_collection("statistics") and not module.is_initializing()
    if not module.is_initializing() and (candidates is not None or summed is not None):
        _check_collecting(module, collects, draws=candidates is not None)
    if collects:
        _add(module, "counts", counts)
        if summed is not None:
            _add(module, "sums", ops.sum_by_code(summed, indices, module.codebook_size))
        total = _add(module, "seen", jnp.float32(float(indices.size)))  # vectors so far
        if candidates is not None:
            _sample_candidates(module, candidates, total)
    ledger = {name: module.get_variable("codebook", name) for name in ("alive", "age", "revived")}
    return metrics | {
        "codebook_alive": ledger["alive"],
        "codebook_age": jnp.max(ledger["age"]),
        "codebook_revived": ledger["revived"],
    }


def _check_collecting(module: Discrete, collects: bool, draws: bool) -> None:
    """Refuses, with UsageError, a training call of which the codes would learn nothing."""
    kind = type(module).__name__
    if not collects or module.is_mutable_collection("codebook"):
        raise UsageError(
            f"a training call of {kind} collects 'statistics' and writes no 'codebook': wanted "
            "apply(..., mutable=['statistics']), and once per step quantizer.update(...) with what "
            "was collected, else the codes never move; or train=False, to use them as they are. "
            "help(vqjax.quantizers.EMAVectorQuantizer) shows how"
        )
    if draws and not (module.has_rng("quantizer") or module.has_rng("params")):
        raise UsageError(f"a training call of {kind} draws: wanted rngs={{'quantizer': key}}")


def _add(module: nn.Module, name: str, value: jax.Array) -> jax.Array:
    old = module.get_variable("statistics", name)
    new = value if old is None else old + value
    module.put_variable("statistics", name, new)
    return new


def _sample_candidates(module: Discrete, z: jax.Array, total: jax.Array) -> None:
    """Reservoir sampling: every slot of `candidates` [M, D] holds a vector drawn uniformly from
    all `total` so far, z [N, D] being the last, so any number of microbatches and calls is fair.
    """
    chex.assert_rank(z, 2)
    n, dim = z.shape
    old = module.get_variable("statistics", "candidates")
    if old is None:
        old = jnp.zeros((slots(module.codebook_size), dim), z.dtype)
    if n:
        index_key, accept_key = jax.random.split(module.make_rng("quantizer"))
        new = z[jax.random.randint(index_key, (len(old),), 0, n, jnp.int32)]  # [M, D]
        accepted = jax.random.uniform(accept_key, (len(old), 1), jnp.float32) * total < n  # [M, 1]
        old = jnp.where(accepted, new, old)
    module.put_variable("statistics", "candidates", old)


def slots(size: int) -> int:
    """Codes of a codebook of `size` that can revive in one step."""
    return min(size, max(MIN_CANDIDATES, size // CANDIDATE_SHARE))


def decay_at(decay: float, step: jax.Array) -> jax.Array:
    """The decay of step `step`: at most (1 + step) / (10 + step).

    Early encodings move fast; averages over many steps would hold codes where nobody is any more.
    """
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def count_picks(codebook: Tree, statistics: Tree, watch: Watch, decay: jax.Array) -> Tree:
    """`codebook` with its ledger one step on."""
    picks, total = statistics["counts"], statistics["seen"]  # [K], []
    size = len(picks)
    old = codebook["counts"]
    # Before the first update every code has an equal share.
    old = jnp.where(jnp.sum(old) == 0, total / size, old)
    age = jnp.where(picks > 0, 0, codebook["age"] + 1)
    window = watch.picks * size / jnp.maximum(total, 1.0)
    return {
        **codebook,
        "counts": decay * old + (1 - decay) * picks,
        "age": age,
        "alive": jnp.mean((age <= window).astype(jnp.float32)),
    }


def revive(
    codes: jax.Array, codebook: Tree, statistics: Tree, policy: Revival
) -> tuple[jax.Array, Tree]:
    """Moves the codes that are dead, the least used first, at most as many as there are slots.

    Args:
        codes: [K, D].
        codebook: with its ledger up to date (`count_picks`).
        statistics: with `candidates` [M, D].
        policy: what dead means.
    """
    counts, candidates = codebook["counts"], statistics["candidates"]
    share = statistics["seen"] / len(counts)
    # Early averages are over few steps, and a large codebook has few picks in any step.
    overdue = codebook["age"] * share >= PATIENCE
    least, index = jax.lax.top_k(-jnp.where(overdue, counts, jnp.inf), len(candidates))
    dead = (-least < policy.below * share) & (codebook["alive"] <= policy.when)  # [M]
    moved = jnp.where(dead[:, None], candidates.astype(codes.dtype), codes[index])
    return codes.at[index].set(moved), {
        **codebook,
        "counts": counts.at[index].set(jnp.where(dead, policy.share * share, counts[index])),
        "revived": codebook["revived"] + jnp.sum(dead, dtype=jnp.int32),
    }


def mean_square(x: jax.Array) -> jax.Array:
    """Mean of x^2; zero, not NaN, for an empty batch."""
    return jnp.sum(x**2) / float(max(x.size, 1))  # of a pod's batch no int32
