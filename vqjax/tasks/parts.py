"""The parts of a tokenizer's training step, each a program of its own: `TokenizerTask.parts`.

For the gradient of what comes after a part stands what the part itself gives: it has the right
shape, and no compiler can foresee it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vqjax.ops.schedules import as_schedule
from vqjax.tasks.adversary import ADVERSARIAL, DISCRIMINATOR, GENERATOR
from vqjax.tasks.base import Part, normalize
from vqjax.tasks.compared import compare
from vqjax.types import Batch, Context, Tree

TOKENIZER = "tokenizer"
_NO_LOSS = 0.0


class TokenizerParts:
    """Takes a `TokenizerTask` apart as its step composes it; each method is one program.

    Args:
        task: a `TokenizerTask`.
        params: by player.
        collections: likewise.
        frozen: arrays of losses.
        batch: the arrays of one step.
        context: of the step. A tokenizer that rests has no gradients, here either.
    """

    def __init__(
        self,
        task: Any,
        params: Tree,
        collections: Tree,
        frozen: Tree,
        batch: Batch,
        context: Context,
    ) -> None:
        self._task, self._network = task, task.tokenizer
        self._params, self._collections, self._frozen = params, collections, frozen
        self._active, self._context = context.active, context
        self._moves = TOKENIZER in context.active
        self._x = batch[task.inputs]

    def calls(self) -> dict[str, Part]:
        """The programs, with their inputs, which come from one another."""
        frozen, x, rng, step = self._frozen, self._x, self._context.rng, self._context.step
        mine, kept = self._params[TOKENIZER], self._collections[TOKENIZER]
        encoder, quantizer, decoder = map(jax.jit, (self._encode, self._quantize, self._decode))
        losses, discriminator = jax.jit(self._lose), jax.jit(self._judge)
        z = encoder(mine, kept, x)[1]
        z_q = quantizer(mine, kept, z, rng, step)[1][0]
        logits, h = decoder(mine, kept, z_q)[1][:2]
        parts: dict[str, Part] = {
            "encoder": lambda: encoder(mine, kept, x),
            "quantizer": lambda: quantizer(mine, kept, z, rng, step),
            "decoder": lambda: decoder(mine, kept, z_q),
            "losses": lambda: losses(frozen, x, logits, step),
        }
        if not set(ADVERSARIAL).isdisjoint(self._active):
            last, other = mine["decoder"]["to_output"], self._params[DISCRIMINATOR]
            parts["discriminator"] = lambda: discriminator(other, last, frozen, x, h, logits, step)
        return parts

    def _encode(self, mine: Tree, kept: Tree, x: jax.Array) -> tuple:
        own, rest = _divide(mine, ("encoder", "pre_quant"))

        def latents(own: Tree) -> jax.Array:
            variables = {"params": {**rest, **own}, **kept}
            return self._network.apply(variables, normalize(x), method="latents")

        if not self._moves:
            return _NO_LOSS, latents(own), ()
        z, pull = jax.vjp(latents, own)
        return _NO_LOSS, z, pull(z)

    def _quantize(self, mine: Tree, kept: Tree, z: jax.Array, key: jax.Array, step: Any) -> tuple:
        own, rest = _divide(mine, ("quantizer",))
        train = self._context.train

        def codes(own: Tree, z: jax.Array) -> tuple:
            quantized, mutated = self._network.apply(
                {"params": {**rest, **own}, **kept, "statistics": {}},
                z,
                rngs={"quantizer": key},
                mutable=["statistics"],
                method=lambda network, z: network.quantizer(z, train=train, step=step),
            )
            losses = {k: v for k, v in quantized.losses.items() if k in self._active}
            return (quantized.z_q, self._weighted(losses, step)), mutated

        if not self._moves:
            (z_q, _), statistics = codes(own, z)
            return _NO_LOSS, (z_q,), statistics
        (z_q, loss), pull, statistics = jax.vjp(codes, own, z, has_aux=True)
        return loss, (z_q, pull((z_q, jnp.ones_like(loss)))), statistics

    def _decode(self, mine: Tree, kept: Tree, z_q: jax.Array) -> tuple:
        own, rest = _divide(mine, ("decoder", "post_quant"))

        def decoded(own: Tree, z_q: jax.Array) -> tuple:
            variables = {"params": {**rest, **own}, **kept}
            h = self._network.apply(variables, z_q, method="to_features")
            return self._last(own["decoder"]["to_output"], h), h

        if not self._moves:
            return _NO_LOSS, decoded(own, z_q)
        logits, pull, h = jax.vjp(decoded, own, z_q, has_aux=True)
        return _NO_LOSS, (logits, h, pull(logits))

    def _last(self, last: Tree, h: jax.Array) -> jax.Array:
        variables = {"params": {"to_output": last}}
        return self._network.decoder.apply(variables, h, method=lambda m, h: m.to_output(h))

    def _lose(self, frozen: Tree, x: jax.Array, logits: jax.Array, step: Any) -> tuple:
        def loss(logits: jax.Array) -> jax.Array:
            return self._reconstruction(frozen, normalize(x), logits, step)

        if not self._moves:
            return _NO_LOSS, self._network.link(logits)
        return jax.value_and_grad(loss)(logits)

    def _reconstruction(self, frozen: Tree, x: jax.Array, logits: jax.Array, step: Any):
        x_hat = self._network.link(logits)
        terms = compare(self._task.losses, frozen, x, x_hat, logits, self._active)
        return self._weighted(terms, step)

    def _weighted(self, losses: Mapping[str, jax.Array], step: Any) -> jax.Array:
        weights = self._task.weights
        terms = (as_schedule(weights[name])(step) * value for name, value in losses.items())
        return sum(terms, start=jnp.zeros((), jnp.float32))

    def _judge(
        self, other: Tree, last: Tree, frozen: Tree, x: Any, h: Any, logits: jax.Array, step: Any
    ) -> tuple:
        """Both players' adversarial terms, with the adaptive weight, and their gradients."""
        task, x = self._task, normalize(x)
        adversary, link = task.adversary, self._network.link
        lost = self._moves and adversary.fooling(other, x, self._active)

        def fooled(logits: jax.Array) -> jax.Array:
            return lost(link(logits))[GENERATOR]

        def terms(other: Tree, logits: jax.Array) -> jax.Array:
            losses = {}
            if lost:
                losses |= lost(link(logits))
                if task.adaptive is not None and GENERATOR in losses:
                    nll = lambda v: self._reconstruction(frozen, x, v, step)  # noqa: E731
                    losses[GENERATOR] *= task.adaptive(self._last, last, h, nll, fooled)
            if DISCRIMINATOR in self._active:
                sides = x, stop_gradient(link(logits))
                verdicts = (adversary.verdicts(other, side) for side in sides)
                losses[DISCRIMINATOR], _ = adversary.discriminator(*verdicts)
            return self._weighted(losses, step)

        moving = [i for i, p in enumerate((DISCRIMINATOR, TOKENIZER)) if p in self._active]
        return jax.value_and_grad(terms, tuple(moving))(other, logits)


def _divide(tree: Mapping[str, Tree], names: tuple[str, ...]) -> tuple[dict, dict]:
    """The named branches, and the rest."""
    own = {name: tree[name] for name in names if name in tree}
    return own, {name: branch for name, branch in tree.items() if name not in own}
