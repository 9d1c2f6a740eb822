"""The parts of a tokenizer's training step, each a program of its own: `TokenizerTask.parts`.

For the gradient of what comes after a part stands what the part itself gives: it has the right
shape, and no compiler can foresee it.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vqjax.ops.schedules import as_schedule
from vqjax.tasks.adversary import ADVERSARIAL, DISCRIMINATOR, GENERATOR
from vqjax.tasks.base import Part, inputs_of
from vqjax.tasks.reconstruction_terms import compare
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
        self._batch = batch
        self._x = inputs_of(batch, task.inputs)  # [B, *S, C]
        self._link = functools.partial(task.reconstruction, batch)  # logits -> x_hat

    def calls(self) -> dict[str, Part]:
        """The programs, with their inputs, which come from one another."""
        frozen, x, rng, step = self._frozen, self._x, self._context.rng, self._context.step
        params, collections = self._params[TOKENIZER], self._collections[TOKENIZER]
        encoder, quantizer, decoder = map(jax.jit, (self._encode, self._quantize, self._decode))
        losses, discriminator = jax.jit(self._losses), jax.jit(self._adversarial)
        z = encoder(params, collections, x)[1]
        z_q = quantizer(params, collections, z, rng, step)[1][0]
        logits, h = decoder(params, collections, z_q)[1][:2]
        parts: dict[str, Part] = {
            "encoder": lambda: encoder(params, collections, x),
            "quantizer": lambda: quantizer(params, collections, z, rng, step),
            "decoder": lambda: decoder(params, collections, z_q),
            "losses": lambda: losses(frozen, x, logits, step),
        }
        if self._moves and self._encoding_terms():
            encoding_losses = jax.jit(self._encoding_losses)
            parts["encoding losses"] = lambda: encoding_losses(params, collections, z, rng, step)
        if not set(ADVERSARIAL).isdisjoint(self._active):
            last, discriminator_params = params["decoder"]["to_output"], self._params[DISCRIMINATOR]
            parts["discriminator"] = lambda: discriminator(
                discriminator_params, last, frozen, x, h, logits, step
            )
        return parts

    def _encode(self, params: Tree, collections: Tree, x: jax.Array) -> tuple:
        moving, fixed = _divide(params, ("encoder", "pre_quant"))

        def latents(moving: Tree) -> jax.Array:
            variables = {"params": {**fixed, **moving}, **collections}
            return self._network.apply(variables, x, method="latents")

        if not self._moves:
            return _NO_LOSS, latents(moving), ()
        z, vjp = jax.vjp(latents, moving)
        return _NO_LOSS, z, vjp(z)

    def _quantize(
        self, params: Tree, collections: Tree, z: jax.Array, key: jax.Array, step: Any
    ) -> tuple:
        moving, fixed = _divide(params, ("quantizer",))
        train = self._context.train

        def codes(moving: Tree, z: jax.Array) -> tuple:
            quantized, mutated = self._network.apply(
                {"params": {**fixed, **moving}, **collections, "statistics": {}},
                z,
                rngs={"quantizer": key},
                mutable=["statistics"],
                method=lambda network, z: network.quantizer(z, train=train, step=step),
            )
            losses = {k: v for k, v in quantized.losses.items() if k in self._active}
            return (quantized.z_q, self._weighted(losses, step)), mutated

        if not self._moves:
            (z_q, _), statistics = codes(moving, z)
            return _NO_LOSS, (z_q,), statistics
        (z_q, loss), vjp, statistics = jax.vjp(codes, moving, z, has_aux=True)
        return loss, (z_q, vjp((z_q, jnp.ones_like(loss)))), statistics

    def _decode(self, params: Tree, collections: Tree, z_q: jax.Array) -> tuple:
        moving, fixed = _divide(params, ("decoder", "post_quant"))

        def decoded(moving: Tree, z_q: jax.Array) -> tuple:
            variables = {"params": {**fixed, **moving}, **collections}
            h = self._network.apply(variables, z_q, method="to_features")
            return self._last(moving["decoder"]["to_output"], h), h

        if not self._moves:
            return _NO_LOSS, decoded(moving, z_q)
        logits, vjp, h = jax.vjp(decoded, moving, z_q, has_aux=True)
        return _NO_LOSS, (logits, h, vjp(logits))

    def _encoding_terms(self) -> set[str]:
        """The task's `encoding_losses`, which neither the quantizer nor a comparison names."""
        task, network = self._task, self._network
        others = {loss.name for loss in task.losses} | {*network.quantizer.loss_weights}
        return set(task.terms) - others - {*ADVERSARIAL}

    def _encoding_losses(
        self, params: Tree, collections: Tree, z: jax.Array, key: jax.Array, step: Any
    ) -> tuple:
        def loss(params: Tree, z: jax.Array) -> jax.Array:
            variables = {"params": params, **collections}
            quantized = self._network.apply(
                variables,
                z,
                rngs={"quantizer": key},
                method=lambda network, z: network.quantizer(z, train=False, step=step),
            )
            encoding = z, quantized.indices
            losses = self._task.encoding_losses(variables, *encoding, self._batch, self._active)
            return self._weighted(losses, step)

        return jax.value_and_grad(loss, (0, 1))(params, z)

    def _last(self, last: Tree, h: jax.Array) -> jax.Array:
        variables = {"params": {"to_output": last}}
        return self._network.decoder.apply(variables, h, method=lambda m, h: m.to_output(h))

    def _losses(self, frozen: Tree, x: jax.Array, logits: jax.Array, step: Any) -> tuple:
        def loss(logits: jax.Array) -> jax.Array:
            return self._reconstruction(frozen, x, logits, step)

        if not self._moves:
            return _NO_LOSS, self._link(logits)
        return jax.value_and_grad(loss)(logits)

    def _reconstruction(self, frozen: Tree, x: jax.Array, logits: jax.Array, step: Any):
        x_hat = self._link(logits)
        terms = compare(self._task.losses, frozen, x, x_hat, logits, self._active)
        return self._weighted(terms, step)

    def _weighted(self, losses: Mapping[str, jax.Array], step: Any) -> jax.Array:
        weights = self._task.weights
        terms = (as_schedule(weights[name])(step) * value for name, value in losses.items())
        return sum(terms, start=jnp.zeros((), jnp.float32))

    def _adversarial(
        self, params: Tree, last: Tree, frozen: Tree, x: Any, h: Any, logits: jax.Array, step: Any
    ) -> tuple:
        """Both players' adversarial terms, with the adaptive weight, and their gradients."""
        task, adversary, link = self._task, self._task.adversary, self._link
        generator = self._moves and adversary.generator_side(params, x, self._active)

        def generator_loss(logits: jax.Array) -> jax.Array:
            return generator(link(logits))[GENERATOR]

        def terms(params: Tree, logits: jax.Array) -> jax.Array:
            losses = {}
            if generator:
                losses |= generator(link(logits))
                if task.adaptive is not None and GENERATOR in losses:
                    nll = lambda v: self._reconstruction(frozen, x, v, step)  # noqa: E731
                    losses[GENERATOR] *= task.adaptive(self._last, last, h, nll, generator_loss)
            if DISCRIMINATOR in self._active:
                sides = x, stop_gradient(link(logits))
                verdicts = (adversary.verdicts(params, side) for side in sides)
                losses[DISCRIMINATOR], _ = adversary.discriminator(*verdicts)
            return self._weighted(losses, step)

        moving = [i for i, p in enumerate((DISCRIMINATOR, TOKENIZER)) if p in self._active]
        return jax.value_and_grad(terms, tuple(moving))(params, logits)


def _divide(tree: Mapping[str, Tree], names: tuple[str, ...]) -> tuple[dict, dict]:
    """The named branches, and the rest."""
    moving = {name: tree[name] for name in names if name in tree}
    return moving, {name: branch for name, branch in tree.items() if name not in moving}
