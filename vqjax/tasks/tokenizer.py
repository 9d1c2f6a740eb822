"""`TokenizerTask`: learn to take pictures, sound or clips apart into tokens and put them back."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient

from vqjax.config.annotations import check_fields
from vqjax.losses import L1, Hinge
from vqjax.ops.numerics import make_key
from vqjax.ops.schedules import Schedule, as_schedule
from vqjax.quantizers import Quantizer
from vqjax.tasks import codebooks
from vqjax.tasks.adaptive import AdaptiveWeight
from vqjax.tasks.adversary import DISCRIMINATOR, GENERATOR, MATCHING, Adversary
from vqjax.tasks.base import Batches, Part, Task, inputs_of, normalize
from vqjax.tasks.parts import TOKENIZER, TokenizerParts
from vqjax.tasks.reconstruction_terms import check_losses, check_metrics, compare
from vqjax.types import (
    Alarm,
    Batch,
    Context,
    Level,
    TaskOutput,
    Tree,
    UsageError,
    VqjaxError,
    check_offers,
)

PARTS = {
    "encoder": ("latent_dim", "grid"),
    "quantizer": ("codebook_dim", "codebook_size"),
    "decoder": ("latent_dim", "channels", "to_features"),
}


@flax.struct.dataclass
class Tokens:
    """What `encode` returns: `z` [B, *s, input_dim], `z_q` [B, *s, D], and `indices`, int32[B, *s]
    by level name, empty where nothing is discrete.
    """

    z: jax.Array
    z_q: jax.Array
    indices: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class TokenizerTask(Task):
    """Reconstruction through a bottleneck, with or without an adversary.

    Players: "tokenizer" and, where there is a `discriminator`, "discriminator". Loss terms: those
    of `losses` and of the quantizer, and with a discriminator "generator" and "discriminator".

    Attributes:
        tokenizer: the network.
        loss_weights: one number or schedule per loss term, by name. A term of the quantizer that
            is not named here has the weight that the quantizer brings along.
        losses: of x_hat against x; `adaptive` compares the gradient of their weighted sum; see
            `vqjax.tasks.reconstruction_terms`.
        discriminator: one, a tuple of several, or None (`vqjax.discriminators`). With one that
            returns features there is also the term "feature_matching".
        adversarial: the two players' losses.
        adaptive: factor on the generator's term; None: only its weight counts.
        inputs: the batch's array to reconstruct: uint8 (normalised to [-1, 1]) or float in [-1, 1].
        metrics: further metrics of evaluations: each maps (x, x_hat), [B, *S, C] in [-1, 1], to
            float[B], and its mean is shown by its `name`.
    """

    tokenizer: nn.Module
    loss_weights: Mapping[str, float | Schedule]
    losses: tuple[Any, ...] = (L1(),)
    discriminator: nn.Module | tuple[nn.Module, ...] | None = None
    adversarial: Any = Hinge()
    adaptive: AdaptiveWeight | None = AdaptiveWeight()
    inputs: str = "image"
    metrics: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        """Refuses, with UsageError, parts that are not what their places need."""
        check_offers("tokenizer", self.tokenizer, ("encoder", "quantizer", "decoder", "output"))
        for part, names in PARTS.items():
            check_offers(f"tokenizer.{part}", getattr(self.tokenizer, part), names)
        quantizer = self.tokenizer.quantizer
        if not isinstance(quantizer, Quantizer):
            kind = type(quantizer).__name__
            raise UsageError(f"tokenizer.quantizer: make {kind} from vqjax.quantizers.Quantizer")
        check_fields(self)
        for i, loss in enumerate(self.losses):
            check_offers(f"losses.{i}", loss, ("name", "needs_logits"))
        check_metrics(self.metrics)
        adversary = Adversary.of(self.discriminator, self.adversarial)
        names = [loss.name for loss in self.losses] + list(self.tokenizer.quantizer.loss_weights)
        names += [  # reserved, also without a discriminator
            GENERATOR,
            DISCRIMINATOR,
            *([MATCHING] if adversary and adversary.has_feature_matching else []),
        ]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"losses: two terms have the name {twice[0]!r}")

    @property
    def adversary(self) -> Adversary | None:
        """The discriminators with their losses; None: there is none."""
        return Adversary.of(self.discriminator, self.adversarial)

    @property
    def players(self) -> tuple[str, ...]:
        """The tokenizer and, where there is one, the discriminator."""
        return (TOKENIZER,) if self.adversary is None else (DISCRIMINATOR, TOKENIZER)

    @property
    def weights(self) -> dict[str, float | Schedule]:
        """{loss term: its weight}."""
        return {**self.tokenizer.quantizer.loss_weights, **self.loss_weights}

    @property
    def averaged(self) -> tuple[str, ...]:
        """The players of whose parameters an EMA is kept: what is used after training."""
        return (TOKENIZER,)

    @property
    def terms(self) -> dict[str, str]:
        """{loss term: the player that it trains}."""
        names = [loss.name for loss in self.losses] + list(self.tokenizer.quantizer.loss_weights)
        terms = dict.fromkeys(names, TOKENIZER)
        if self.adversary is not None:
            sides = {GENERATOR: TOKENIZER, DISCRIMINATOR: DISCRIMINATOR}
            terms |= {name: sides[side] for name, side in self.adversary.terms.items()}
        return terms

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Refuses settings that cannot work on examples of these `ArraySpec`s, with UsageError."""
        super().check(inputs)
        shape = tuple(inputs[self.inputs].shape)
        if shape[-1] != self.tokenizer.decoder.channels:
            raise UsageError(
                f"task.tokenizer.decoder.channels={self.tokenizer.decoder.channels}: "
                f"the data's {self.inputs!r} has {shape[-1]} channels"
            )
        check_losses(self.losses, shape, self.tokenizer.output)
        check_metrics(self.metrics, shape)
        example = jax.ShapeDtypeStruct((1, *shape), inputs[self.inputs].dtype)
        try:
            self.token_layout(shape)
            x_hat = jax.eval_shape(self._reconstruct_untrained, example)
        except VqjaxError:
            raise
        except Exception as error:  # whatever networks raise whose shapes do not fit
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(f"the networks do not fit together: {line}") from error
        if x_hat.shape[1:] != shape:
            raise UsageError(
                f"decoder gives {x_hat.shape[1:]} for {shape}: give encoder and decoder the same "
                "multipliers and strides"
            )

    def _reconstruct_untrained(self, x: jax.Array) -> jax.Array:
        x, key = normalize(x), make_key(0)
        if self.adversary is not None:
            self.adversary.init(key, x)  # only to see that they take x
        rngs = {"params": key, "quantizer": key}
        return self.tokenizer.init_with_output(rngs, x, train=False, step=0)[0]

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        x = inputs_of(batch, self.inputs)
        one, two, noise = jax.random.split(rng, 3)
        rngs = {"params": one, "quantizer": noise}
        variables = self.tokenizer.init(rngs, x, train=False, step=0)
        params = {TOKENIZER: variables["params"]}
        collections = {TOKENIZER: {k: v for k, v in variables.items() if k != "params"}}
        if self.adversary is not None:
            params[DISCRIMINATOR], collections[DISCRIMINATOR] = self.adversary.init(two, x)
        return params, collections

    def start(self, params: Tree, collections: Tree, frozen: Tree, batches: Batches, rng: Any):
        """Initialises the codebook from real encodings, where its quantizer has a `start` policy.
        It reports its progress to `vqjax.ops.progress`.
        """
        latents = jax.jit(self.raw_latents)

        def encode(batch: Batch) -> jax.Array:
            return latents(params, collections, inputs_of(batch, self.inputs))

        quantizer = self.tokenizer.quantizer
        return codebooks.start(quantizer, encode, params, collections, batches, rng)

    def raw_latents(self, params: Tree, collections: Tree, x: jax.Array) -> jax.Array:
        """x [B, *S, C], uint8 or float in [-1, 1] -> the quantizer's input [B, *s, input_dim]."""
        variables = {"params": params[TOKENIZER], **collections[TOKENIZER]}
        return self.tokenizer.apply(variables, normalize(x), method="latents")  # [B, *s, input_dim]

    def __call__(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> TaskOutput:
        """The losses of one (micro)batch; see `TaskOutput`.

        Args:
            params: {player: tree}.
            collections: {player: {collection: tree}}.
            frozen: weights of losses such as LPIPS, by their paths in the experiment.
            batch: global arrays.
            context: rng, step and active players and terms; statistics of earlier microbatches.
        """
        x = inputs_of(batch, self.inputs)  # [B, *S, C]
        active, step = context.active, context.step
        trains = TOKENIZER in active
        tokenizer = params[TOKENIZER] if trains else stop_gradient(params[TOKENIZER])
        variables = {"params": tokenizer, **collections[TOKENIZER]}
        collected = context.statistics if trains and context.train else None
        encoding, h, statistics = self._features(  # h [B, *S, F]
            variables, x, context.rng, step, context.train, collected
        )
        to_output = functools.partial(_to_output, self.tokenizer.decoder)
        last = tokenizer["decoder"]["to_output"]
        logits = to_output(last, h)  # [B, *S, C]
        reconstruction = functools.partial(self.reconstruction, batch)  # of logits
        x_hat = reconstruction(logits)  # [B, *S, C]

        losses, multipliers, metrics = {}, {}, dict(encoding.quantized.metrics)
        if trains:
            losses |= compare(self.losses, frozen, x, x_hat, logits, active)
            losses |= {k: v for k, v in encoding.quantized.losses.items() if k in active}
            found = encoding.z, encoding.quantized.indices
            losses |= self.encoding_losses(variables, *found, batch, active)
        adversary = self.adversary
        discriminators = None if adversary is None else params[DISCRIMINATOR]
        generator_losses = None  # x_hat -> {active term of the generator's side: its loss}
        if adversary is not None and trains:
            generator_losses = adversary.generator_side(discriminators, x, active)
        if generator_losses is not None:
            losses |= generator_losses(x_hat)
            if self.adaptive is not None and GENERATOR in active:
                nll = functools.partial(self._nll, batch, stop_gradient(x), frozen, active, step)
                multipliers[GENERATOR] = self.adaptive(
                    to_output,
                    last,
                    h,
                    nll=nll,
                    generator=lambda logits: generator_losses(reconstruction(logits))[GENERATOR],
                )
                metrics["adaptive_weight"] = multipliers[GENERATOR]
        if DISCRIMINATOR in active:
            real_and_fake = x, stop_gradient(x_hat)
            verdicts = (adversary.verdicts(discriminators, v) for v in real_and_fake)
            losses[DISCRIMINATOR], means = adversary.discriminator(*verdicts)
            metrics |= means
        return TaskOutput(losses, metrics, multipliers, statistics)

    def parts(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> dict[str, Part]:
        """Encoder, quantizer, decoder, losses and discriminator; see `Task.parts`."""
        return TokenizerParts(self, params, collections, frozen, batch, context).calls()

    def _features(
        self, variables: Tree, x: jax.Array, rng: jax.Array, step: Any, train: bool, collected: Tree
    ) -> tuple[Any, jax.Array, Tree]:
        """Encoding, the last layer's input [B, *S, F], and `collected` with the batch's added."""
        (encoding, h), mutated = self.tokenizer.apply(
            variables if collected is None else {**variables, "statistics": collected},
            x,
            train=train,
            step=step,
            rngs={"quantizer": rng},
            # Quantizers refuse to train uncollected; dropped where the tokenizer is not updated.
            mutable=["statistics"] if train else [],
            method=_encode_to_features,
        )
        return encoding, h, {} if collected is None else dict(mutated).get("statistics", {})

    def reconstruction(self, batch: Batch, logits: jax.Array) -> jax.Array:
        """x_hat [B, *S, C] of the decoder's logits, as losses compare it with the batch."""
        del batch
        return self.tokenizer.link(logits)

    def _nll(
        self,
        batch: Batch,
        x: jax.Array,
        frozen: Tree,
        active: tuple[str, ...],
        step: Any,
        logits: jax.Array,
    ) -> jax.Array:
        """The weighted sum of the active reconstruction losses."""
        x_hat = self.reconstruction(batch, logits)
        values = compare(self.losses, frozen, x, x_hat, logits, active)
        terms = (as_schedule(self.weights[name])(step) * value for name, value in values.items())
        return sum(terms, start=jnp.zeros((), x_hat.dtype))

    def encoding_losses(
        self, variables: Tree, z: Any, indices: tuple, batch: Batch, active: tuple[str, ...]
    ) -> dict[str, jax.Array]:
        """Further `active` terms, of latents z [B, *s, input_dim] and their indices; here none."""
        del variables, z, indices, batch, active
        return {}

    def update(self, params: Tree, collections: Tree, statistics: Tree, rng: jax.Array, step: Any):
        """Updates the quantizer's codebook, once per step in which the tokenizer is updated."""
        quantizer = self.tokenizer.quantizer
        return codebooks.update(quantizer, params, collections, statistics, rng, step)

    def alarm(self, numbers: Mapping[str, float]) -> Alarm | None:
        """Whether codes die: from the metrics of a step, by the quantizer's policy `watch`."""
        return codebooks.dying_codes(self.tokenizer.quantizer, numbers)

    def encode(self, params: Tree, collections: Tree, x: jax.Array) -> Tokens:
        """x [B, *S, C], uint8 or float in [-1, 1] -> tokens, as in evaluation."""
        encoding = self.tokenizer.apply(
            {"params": params[TOKENIZER], **collections[TOKENIZER]},
            normalize(x),
            train=False,
            step=0,
            method="encode",
        )
        levels = self.token_layout(x.shape[1:])
        quantized = encoding.quantized
        indices = {v.name: i for v, i in zip(levels, quantized.indices, strict=False)}
        return Tokens(z=encoding.z, z_q=quantized.z_q, indices=indices)

    def decode_indices(self, params: Tree, collections: Tree, indices: Mapping) -> jax.Array:
        """{level name: int32[B, *s]}, in any order, all or the first few where the quantizer
        `decodes_first_levels` -> x_hat [B, *S, C] in [-1, 1].
        """
        return self.tokenizer.apply(
            {"params": params[TOKENIZER], **collections[TOKENIZER]},
            tuple(indices[name] for name in self.tokenizer.level_names[: len(indices)]),
            method="decode_indices",
        )

    def ask_quantizer(self, params: Tree, collections: Tree, method: str, *args: Any) -> Any:
        """What a method of the quantizer says, such as `sums` of `MultiScaleResidual`."""

        def ask(tokenizer: nn.Module) -> Any:
            return getattr(tokenizer.quantizer, method)(*args)

        return self.tokenizer.apply(
            {"params": params[TOKENIZER], **collections[TOKENIZER]}, method=ask
        )

    def decode_latents(self, params: Tree, collections: Tree, z_q: jax.Array) -> jax.Array:
        """z_q [B, *s, D] -> x_hat [B, *S, C] in [-1, 1]."""
        return self.tokenizer.apply(
            {"params": params[TOKENIZER], **collections[TOKENIZER]}, z_q, method="decode"
        )

    def decode_raw(self, params: Tree, collections: Tree, z: jax.Array) -> jax.Array:
        """Latents [B, *s, D], of a discrete quantizer before it, -> x_hat [B, *S, C] in [-1, 1]."""

        def decode(tokenizer: nn.Module, z: jax.Array) -> jax.Array:
            if not tokenizer.quantizer.has_prior:
                z = tokenizer.quantizer(z, train=False, step=0).z_q
            return tokenizer.decode(z)

        variables = {"params": params[TOKENIZER], **collections[TOKENIZER]}
        return self.tokenizer.apply(variables, z, method=decode)

    @property
    def has_prior(self) -> bool:
        """Whether the bottleneck itself has a prior over its latents, as a VAE has N(0, I)."""
        return self.tokenizer.quantizer.has_prior

    def sample_prior(
        self, params: Tree, collections: Tree, keys: jax.Array, shape: tuple[int, ...]
    ) -> jax.Array:
        """Draws an example of `shape` (*S, C) per key, key[B] -> x_hat [B, *S, C] in [-1, 1].

        Raises:
            UsageError: the bottleneck has no prior over its latents.
        """
        quantizer = self.tokenizer.quantizer
        if not self.has_prior:
            kind = type(quantizer).__name__
            raise UsageError(f"nothing to sample from: the bottleneck {kind} has no prior")
        grid = self.tokenizer.encoder.grid(tuple(shape[:-1]))
        z = jax.vmap(lambda key: quantizer.prior(key, grid))(keys)  # [B, *s, D]
        return self.decode_latents(params, collections, z)

    def token_layout(self, shape: tuple[int, ...]) -> tuple[Level, ...]:
        """Levels of tokens of one example of `shape` (*S, C)."""
        return self.tokenizer.token_layout(shape)


def _encode_to_features(tokenizer: nn.Module, x: jax.Array, *, train: bool, step: jax.Array):
    """The encoding of x [B, *S, C], and the input of the decoder's last layer, [B, *S, F]."""
    encoding = tokenizer.encode(x, train=train, step=step)
    return encoding, tokenizer.to_features(encoding.quantized.z_q)


def _to_output(decoder: nn.Module, last: Tree, h: jax.Array) -> jax.Array:
    return decoder.apply({"params": {"to_output": last}}, h, method=lambda m, h: m.to_output(h))
