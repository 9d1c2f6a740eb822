"""CodebookGPT: the tokens of several codebooks per frame, a few at every step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.attention import INIT
from vqjax.ops.numerics import at_least_float32
from vqjax.priors.base import TransformerPrior, count_of
from vqjax.priors.codebook_order import PATTERNS, CodebookOrder
from vqjax.sampling import Guidance, TokenSampling, sample_codebooks
from vqjax.types import Level, Tree, UsageError, did_you_mean


class CodebookGPT(TransformerPrior):
    """p(tokens | condition) as a product over steps, and within a step over its codebooks, given
    the steps before it (arXiv 2306.05284, section 2.2).

    The input after a step is the sum of its tokens' embeddings, from a table for each codebook;
    each codebook has a head of its own. By "delay" that is several times as fast as one token
    after the other, but a step's tokens are independent of each other given those before; by
    "flat" the product is exact, and the tokens come in the order of `GPT`.

    Where clips may end, codebook 0 has one more code, which says that the clip has no such frame:
    the likelihood counts it once, and nothing after it. Clips of the full length end without it.

    Attributes:
        width: channels; `layers`, `heads`, `kv_heads`, `qk_norm`, `remat`: see `Transformer`.
        condition: see `vqjax.priors.conditions`; None: unconditional.
        pattern: "delay" or "flat"; see `CodebookOrder`.
        ends: whether clips may end early, as the batch's "length" says.
        shortest: frames that every clip has, at least 1; filled in by the task.
        dropout: of embeddings, and of each residual branch.
        positions: "grid", rotary over the axes of the tokens' grid; or "sequence", over steps.
        levels: of the tokenizer, all of one grid and one size; filled in by the task.
        dtype: to compute in; None: the experiment's `compute_dtype`. Logits are float32 at least.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int | None = None
    condition: nn.Module | None = None
    pattern: str = "delay"
    ends: bool = False
    qk_norm: bool = False
    dropout: float = 0.1
    positions: str = "grid"
    remat: bool | str = False
    levels: tuple[Level, ...] = ()
    shortest: int = 1
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.pattern not in PATTERNS:
            raise UsageError(
                f"prior.pattern={self.pattern!r}: {did_you_mean(self.pattern, PATTERNS)}"
            )
        super().__post_init__()

    @property
    def order(self) -> CodebookOrder:
        return CodebookOrder(self.levels, self.pattern, self.ends, self.shortest)

    def check_levels(self) -> None:
        self.order.check()
        super().check_levels()

    def setup(self) -> None:
        size = self.order.vocabulary  # the tables and the heads of all codebooks, in one piece
        self.tokens = nn.Embed(size, self.width, embedding_init=INIT, dtype=self.dtype)
        self.transformer = self.make_transformer(dropout=self.dropout, remat=self.remat)
        zeros = nn.initializers.zeros
        self.head = nn.Dense(size, use_bias=False, kernel_init=zeros, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        self.declare_start_vector()

    def step_logits(self, h: jax.Array, frame_at: jax.Array) -> jax.Array:
        """Logits [B, t, Q, K or K + 1] of each codebook at t steps, from h [B, t, C]: see
        `CodebookOrder.step_logits`.
        """
        return self.order.step_logits(at_least_float32(self.head(h)), frame_at)

    def __call__(self, tokens: jax.Array, cond: Tree | None = None) -> jax.Array:
        """Logits of every token from the steps before its own; with dropout if there is its rng
        stream.

        Args:
            tokens: ids int32[B, T].
            cond: the input of `condition`, such as labels int32[B].

        Returns:
            [B, T, K], of the codes of each token's own codebook; or [B, T, K + 1]: see
            `step_logits`.
        """
        order = self.order
        prefix, mask, context = self.conditioning(cond, len(tokens))  # [B, P, C], [B, P + S]
        vectors = self.tokens(tokens).astype(prefix.dtype)  # [B, T, C]
        x = order.sum_steps(vectors)[:, :-1]  # [B, S - 1, C]
        x = jnp.concatenate([prefix, x], axis=1)  # [B, P + S - 1, C]
        x = self.drop(x, deterministic=not self.has_rng("dropout"))
        mask = None if mask is None else mask[:, : x.shape[1]]  # [B, P + S - 1]
        angles = jnp.asarray(self.angles()[: x.shape[1]])  # [P + S - 1, d / 2]
        h = self.transformer(x, angles, mask, context)  # [B, P + S - 1, C]
        logits = self.step_logits(h[:, prefix.shape[1] - 1 :], jnp.asarray(order.frame_at))
        return order.from_steps(logits)  # [B, S, Q, K] -> [B, T, K]

    def objective(
        self, tokens: jax.Array, cond: Tree | None = None, example_ids: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """-log p of every token that is predicted, in nats [B, T], and 1 for these, 0 for those
        after the end of a clip.

        Draws nothing, so `example_ids` do not matter.
        """
        del example_ids
        nats, counts = self.order.nats_of(tokens, self(tokens, cond))  # [B, T] each
        return nats, counts.astype(nats.dtype)

    def decoder(
        self, params: Tree, cond: Tree | None, batch: int
    ) -> tuple[Any, jax.Array, Callable]:
        """The same network, step by step. Called unbound.

        Args:
            params: of this module.
            cond: what `condition` takes, of `batch` examples.
            batch: B.

        Returns:
            The state before the first step, that step's logits [B, Q, K] (see `step_logits`), and
            `step(state, codes int32[B, Q], number) -> (state, logits [B, Q, K])`: those of the step
            after `number`, from the codes there.
        """
        variables, order = {"params": params}, self.order
        frame_at = jnp.asarray(order.frame_at)  # [S, Q]

        def frames_of(number: jax.Array) -> jax.Array:
            return frame_at[jnp.minimum(number, order.steps - 1)][None]  # [1, Q]

        def logits_at(h: jax.Array, number: jax.Array) -> jax.Array:
            logits = self.apply(variables, h, frames_of(number), method="step_logits")
            return logits[:, 0]  # [B, t=1, Q, K] -> [B, Q, K]

        def step(caches: Any, codes: jax.Array, number: jax.Array):
            ids = order.ids_of(codes)  # [B, Q]
            vectors = self.apply(variables, ids, method=lambda m, t: m.tokens(t))  # [B, Q, C]
            here = (frames_of(number) >= 0)[..., None]  # [1, Q, 1]
            vectors = jnp.where(here, at_least_float32(vectors), 0.0)
            caches, h = run(caches, jnp.sum(vectors, axis=1, keepdims=True), number)
            return caches, logits_at(h, number + 1)

        caches, h, run = self.cached(params, cond, batch)
        return caches, logits_at(h, jnp.int32(0)), step

    def sample(
        self,
        params: Tree,
        keys: jax.Array,
        cond: Tree | None = None,
        *,
        sampling: TokenSampling,
        guidance: Guidance,
        known: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Draws tokens, ids int32[B, T]; where clips may end, those after the end are `ended`.
        Called unbound.

        Args:
            params: of this module.
            keys: key[B]; an example depends on its own key alone.
            cond: what `condition` takes, of B examples; None: unconditional.
            sampling: how one token of one codebook is drawn.
            guidance: classifier-free.
            known: ids int32[B, T] and bool[B, T], True where they stay. A token sees those of
                earlier steps alone: by "delay" a first new frame's codebook 0 sees one codebook of
                the last frame that stays, two of the frame before that, and so on.
        """
        order = self.order
        cond, combine = self.with_guidance(cond, len(keys), guidance)
        count = count_of(cond, len(keys))  # B', with guidance 2 B
        if known is not None:
            known = order.to_steps(order.codes_of(known[0])), order.to_steps(jnp.asarray(known[1]))
        state, logits, step = self.decoder(params, cond, count)  # logits [B', Q, K]
        codes = sample_codebooks(
            state,
            logits,
            step,
            frame_at=order.frame_at,
            keys=keys,
            choose=sampling,
            combine=combine,
            known=known,
            ended=order.size if self.ends else None,
        )  # [B, S, Q]
        return order.ids_of_steps(codes)  # [B, T]
