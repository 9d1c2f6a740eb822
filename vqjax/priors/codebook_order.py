"""In which steps the tokens of several codebooks per frame are drawn, and where a clip ends."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.priors.order import TokenOrder
from vqjax.types import UsageError

PATTERNS = ("delay", "flat")


@dataclasses.dataclass(frozen=True)
class CodebookOrder(TokenOrder):
    """Q levels of one grid of F frames as S steps of up to Q tokens (arXiv 2306.05284, sec. 2.2).

    By "delay" step s has the token of codebook q of frame s - q, so that F frames take F + Q - 1
    steps; by "flat" step s has that of codebook s % Q of frame s // Q, alone: F Q steps. The
    sequence of ids, T = F Q, is that of `TokenOrder` in both: all codebooks of a frame, then the
    next. A grid of several axes has its positions as frames, row by row.

    A clip may have fewer frames than F, at least `shortest`: then every token after them is
    `ended`, one more id. Only that of codebook 0 in the frame after the last one is ever predicted.

    Attributes:
        levels: Q, of one grid and one codebook size K.
        pattern: one of `PATTERNS`.
        ends: whether clips may have fewer frames than F.
        shortest: frames that every clip has, at least 1.
    """

    pattern: str = "delay"
    ends: bool = False
    shortest: int = 1

    def check(self) -> None:
        """Refuses levels that have no frames in common, with UsageError."""
        kinds = {(level.grid, level.codebook_size) for level in self.levels}
        if len(kinds) != 1:
            raise UsageError(
                "prior: a CodebookGPT is over codebooks of one size and one grid, got "
                + (", ".join(f"{size} codes on {grid}" for grid, size in sorted(kinds)) or "none")
                + ": GPT takes any"
            )

    @property
    def codebooks(self) -> int:
        """Q."""
        return len(self.levels)

    @property
    def size(self) -> int:
        """K."""
        return self.levels[0].codebook_size

    @property
    def frames(self) -> int:
        """F."""
        return self.length // self.codebooks

    @property
    def steps(self) -> int:
        """S."""
        return self.length if self.pattern == "flat" else self.frames + self.codebooks - 1

    @property
    def ended(self) -> int:
        """The id of tokens after a clip's last frame: Q K."""
        return self.codebooks * self.size

    @property
    def vocabulary(self) -> int:
        """V: Q K, and one more where clips may end."""
        return self.ended + self.ends

    @functools.cached_property
    def step_at(self) -> np.ndarray:
        """int[T]: the step of every token."""
        if self.pattern == "flat":
            return np.arange(self.length)
        frame, codebook = np.divmod(np.arange(self.length), self.codebooks)
        return frame + codebook

    @functools.cached_property
    def frame_at(self) -> np.ndarray:
        """int[S, Q]: the frame of every step's token of every codebook; -1: it has none."""
        frames = np.full((self.steps, self.codebooks), -1)
        frame, codebook = np.divmod(np.arange(self.length), self.codebooks)
        frames[self.step_at, codebook] = frame
        return frames

    @property
    def step_positions(self) -> np.ndarray:
        """float[S, axes]: by "flat" that of the step's token; by "delay" that of codebook 0, and
        further along the first axis once it is through.
        """
        if self.pattern == "flat":
            return self.positions
        inner = self.levels[0].grid[1:]
        longer = (-(-self.steps // math.prod(inner)), *inner)
        return 1.0 + np.stack(np.unravel_index(np.arange(self.steps), longer), -1)  # [S, axes]

    def steps_of(self, frames: jax.Array) -> jax.Array:
        """How many steps have a token of the first `frames` int32[B]: int32[B]."""
        if self.pattern == "flat":
            return frames * self.codebooks
        return jnp.where(frames > 0, frames + self.codebooks - 1, 0)

    def step_logits(self, logits: jax.Array, frame_at: jax.Array) -> jax.Array:
        """The logits of all V ids at t steps as those of each codebook: of its K codes and, where
        clips may end, of the end, which is the lowest number wherever no clip can end.

        Args:
            logits: [B, t, V], float32 at least.
            frame_at: int[t, Q], the frames of these steps' tokens.

        Returns:
            [B, t, Q, K], or [B, t, Q, K + 1].
        """
        own = logits[..., : self.ended]
        own = own.reshape(*logits.shape[:2], self.codebooks, self.size)  # [B, t, Q, K]
        if not self.ends:
            return own
        can_end = (frame_at >= self.shortest) & (jnp.arange(self.codebooks) == 0)[None]  # [t, Q]
        end = logits[..., self.ended :, None]  # [B, t, 1, 1]
        end = jnp.where(can_end[None, ..., None], end, jnp.finfo(end.dtype).min)  # [B, t, Q, 1]
        return jnp.concatenate([own, end], axis=-1)

    def nats_of(self, ids: jax.Array, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        """-log p of every token that is predicted, in nats [B, T], and which these are, bool
        [B, T].

        Args:
            ids: int32[B, T].
            logits: [B, T, K], of each token's own codebook, or [B, T, K + 1].
        """
        counts = self.counted(ids)  # [B, T]
        codes = jnp.where(counts, self.codes_of(ids), 0)  # [B, T]
        log_p = jax.nn.log_softmax(logits)  # [B, T, K]
        nats = -jnp.take_along_axis(log_p, codes[..., None], axis=-1)[..., 0]  # [B, T]
        return jnp.where(counts, nats, 0.0), counts

    def to_steps(self, tokens: jax.Array) -> jax.Array:
        """Anything that tokens have, [B, T, ...] -> [B, S, Q, ...], zero where there is none."""
        count, shape = self.codebooks, tokens.shape[2:]
        x = tokens.reshape(len(tokens), self.frames, count, *shape)  # [B, F, Q, ...]
        if self.pattern == "flat":
            own = np.eye(count, dtype=bool).reshape(1, 1, count, count, *(1,) * len(shape))
            x = jnp.where(own, x[:, :, None], jnp.zeros((), x.dtype))  # [B, F, Q, Q, ...]
            return x.reshape(len(x), self.steps, count, *shape)
        delayed = [_delayed(x[:, :, q], q, count - 1 - q) for q in range(count)]  # [B, S, ...] each
        return jnp.stack(delayed, axis=2)

    def sum_steps(self, vectors: jax.Array) -> jax.Array:
        """The sum over the tokens of every step: [B, T, C] -> [B, S, C]."""
        if self.pattern == "flat":
            return vectors
        count = self.codebooks
        x = vectors.reshape(len(vectors), self.frames, count, -1)  # [B, F, Q, C]
        return sum(_delayed(x[:, :, q], q, count - 1 - q) for q in range(count))

    def from_steps(self, steps: jax.Array) -> jax.Array:
        """`to_steps` backwards: [B, S, Q, ...] -> [B, T, ...]."""
        count, shape = self.codebooks, steps.shape[3:]
        if self.pattern == "flat":
            x = steps.reshape(len(steps), self.frames, count, count, *shape)
            parts = [x[:, :, q, q] for q in range(count)]  # [B, F, ...] each
        else:
            parts = [steps[:, q : q + self.frames, q] for q in range(count)]
        return jnp.stack(parts, axis=2).reshape(len(steps), self.length, *shape)

    def codes_of(self, ids: jax.Array) -> jax.Array:
        """Ids int32[B, T] -> each within its codebook, 0 to K - 1; K where it is `ended`."""
        first = jnp.asarray(self.size * self.level_at, ids.dtype)[None]  # [1, T]
        return jnp.where(ids == self.ended, self.size, ids - first)

    def ids_of(self, codes: jax.Array) -> jax.Array:
        """`codes_of` backwards, of int32[..., Q]."""
        first = jnp.arange(self.codebooks, dtype=codes.dtype) * self.size  # [Q]
        first = first.reshape(*(1,) * (codes.ndim - 1), -1)
        return jnp.where(codes == self.size, self.ended, codes + first)

    def ids_of_steps(self, codes: jax.Array) -> jax.Array:
        """Codes of every step, int32[B, S, Q] -> ids int32[B, T]."""
        codes = self.from_steps(codes).reshape(len(codes), self.frames, self.codebooks)
        return self.ids_of(codes).reshape(len(codes), self.length)

    def cut(self, ids: jax.Array, frames: jax.Array) -> jax.Array:
        """Ids int32[B, T] of clips that have `frames` int32[B] frames: `ended` after them."""
        frame = jnp.asarray(np.arange(self.length) // self.codebooks)[None]  # [1, T]
        return jnp.where(frame < frames[:, None], ids, self.ended)

    def frames_of(self, ids: jax.Array) -> jax.Array:
        """How many frames the clips of ids int32[B, T] have: int32[B]."""
        over = ids[:, :: self.codebooks] == self.ended  # [B, F], of codebook 0
        first = jnp.argmax(over, axis=1).astype(jnp.int32)  # [B]
        return jnp.where(over.any(axis=1), first, self.frames)

    def counted(self, ids: jax.Array) -> jax.Array:
        """Which tokens of ids int32[B, T] are predicted: bool[B, T]. Those of the clip, and the
        first `ended`.
        """
        frame, codebook = np.divmod(np.arange(self.length), self.codebooks)  # [T] each
        frames = self.frames_of(ids)[:, None]  # [B, 1]
        last = jnp.asarray(codebook == 0)[None] & (frame[None] == frames)  # [B, T]
        return (frame[None] < frames) | last

    def unflatten(self, ids: jax.Array) -> dict[str, jax.Array]:
        """`flatten` backwards; 0 where a clip has ended."""
        first = jnp.asarray(self.size * self.level_at, ids.dtype)[None]  # [1, T]
        return super().unflatten(jnp.where(ids == self.ended, first, ids))


def _delayed(x: jax.Array, before: int, after: int) -> jax.Array:
    """[B, F, ...] with zeros before and after it: [B, before + F + after, ...]."""
    return jnp.pad(x, ((0, 0), (before, after), *((0, 0),) * (x.ndim - 2)))
