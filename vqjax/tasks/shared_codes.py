"""`SharedCodesTask`: make all modalities from the codes of those that are there."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.ops.schedules import Schedule
from vqjax.tasks import codebooks
from vqjax.tasks.base import Batches, Task
from vqjax.tasks.parts import TOKENIZER
from vqjax.tasks.streams import arrays_of
from vqjax.types import (
    Alarm,
    ArraySpec,
    Batch,
    Bound,
    Context,
    TaskOutput,
    Tree,
    UsageError,
    VqjaxError,
    check_offers,
)

TOKENIZER_NEEDS = ("encoders", "decoders", "quantizer", "names", "latents", "encode", "decode")
MODALITY_NEEDS = (
    "inputs", "noise", "measure", "check", "bounds", "present", "read", "noisy", "target", "errors",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SharedCodesTask(Task):
    """Reconstruction of every modality of a row, also of those that were dropped from it, from the
    codes of the others.

    Player: "tokenizer". Loss terms: one for each modality, by its name, the mean error over the
    rows that have it (`vqjax.tasks.modalities`), and those of the quantizer.

    Attributes:
        tokenizer: the network, a `SharedTokenizer`.
        modalities: by the names of its encoders, such as `ImageModality`.
        loss_weights: one number or schedule per loss term. A term of the quantizer that is not
            named here has the weight that the quantizer brings along.
        dropped: the chances that 0, 1, 2, ... modalities are dropped from a row; one always stays.
            (): none is.
        noisy: the chance that a modality of a row is noisy, at a level drawn uniformly up to its
            `noise`; what is to be made stays without noise.
    """

    tokenizer: nn.Module
    modalities: Mapping[str, Any]
    loss_weights: Mapping[str, float | Schedule]
    dropped: tuple[float, ...] = ()
    noisy: float = 0.3

    players = (TOKENIZER,)

    def __post_init__(self) -> None:
        check_fields(self)
        check_offers("tokenizer", self.tokenizer, TOKENIZER_NEEDS)
        if set(self.modalities) != set(self.tokenizer.names):
            raise UsageError(
                f"task.modalities: {', '.join(self.modalities) or 'none'}: wanted those of "
                f"tokenizer.encoders, {', '.join(self.tokenizer.names)}"
            )
        for name, modality in self.modalities.items():
            if not name.isidentifier():
                raise UsageError(f"task.modalities: {name!r}: wanted letters, digits and _")
            check_offers(f"task.modalities.{name}", modality, MODALITY_NEEDS)
            if name in self.tokenizer.quantizer.loss_weights:
                raise UsageError(f"task.modalities: a loss of the quantizer has the name {name!r}")
        chances, most = self.dropped, len(self.modalities)
        if chances and (len(chances) > most or not min(chances) >= 0.0 or not sum(chances) > 0.0):
            raise UsageError(
                f"task.dropped={chances}: wanted chances for 0 to at most {most - 1} dropped "
                "modalities, or () for none"
            )
        if not 0.0 <= self.noisy <= 1.0:
            raise UsageError(f"task.noisy={self.noisy}: wanted a chance from 0 to 1")

    @property
    def inputs(self) -> str:
        """The first modality's array."""
        return self.modalities[self.names[0]].inputs

    @property
    def names(self) -> tuple[str, ...]:
        """Of the modalities, n, sorted."""
        return self.tokenizer.names

    @property
    def terms(self) -> dict[str, str]:
        """{loss term: the player that it trains}."""
        return dict.fromkeys((*self.names, *self.tokenizer.quantizer.loss_weights), TOKENIZER)

    @property
    def weights(self) -> dict[str, float | Schedule]:
        """{loss term: its weight}."""
        return {**self.tokenizer.quantizer.loss_weights, **self.loss_weights}

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array."""
        found = {}
        for name, modality in self.modalities.items():
            for array, bound in modality.bounds.items():
                setting = bound.setting.replace("stream.", f"task.modalities.{name}.")
                own = dataclasses.replace(bound, setting=setting)
                found |= {f"{name}.{array}": own, array: own}
        return found

    def check(self, inputs: Mapping[str, ArraySpec]) -> None:
        """Refuses settings that cannot work on examples of these `ArraySpec`s, with UsageError."""
        for name, modality in self.modalities.items():
            try:
                modality.check(arrays_of(inputs, name))
            except UsageError as error:
                raise UsageError(f"task.modalities.{name}: {error}") from error
        batch = {k: jax.ShapeDtypeStruct((1, *s.shape), s.dtype) for k, s in inputs.items()}
        try:
            wanted, decoded = jax.eval_shape(self._decoded_untrained, batch)
        except VqjaxError:
            raise
        except Exception as error:  # whatever networks raise whose shapes do not fit
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(f"the networks do not fit together: {line}") from error
        for name in self.names:
            made = decoded[name].shape[1:]
            # Of ids there are logits, with one axis more.
            if wanted[name].shape[1:] != made[: wanted[name].ndim - 1]:
                raise UsageError(
                    f"task.tokenizer.decoders.{name} gives {made}: wanted {wanted[name].shape[1:]}"
                )

    def _decoded_untrained(self, batch: Batch) -> tuple[Tree, Tree]:
        clean, key = self.read(batch), jax.random.key(0)
        rngs = {"params": key, "quantizer": key}
        there = self.present(batch)
        fusion, _ = self.tokenizer.init_with_output(rngs, clean, there, train=False, step=0)
        return self.targets(clean), fusion.decoded

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        one, noise = jax.random.split(rng)
        rngs = {"params": one, "quantizer": noise}
        there = self.present(batch)
        variables = self.tokenizer.init(rngs, self.read(batch), there, train=False, step=0)
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        return {TOKENIZER: variables["params"]}, {TOKENIZER: rest}

    def read(self, batch: Batch) -> dict[str, jax.Array]:
        """What the encoders take of a batch: {modality: [B, ...]}."""
        return {n: self.modalities[n].read(arrays_of(batch, n)) for n in self.names}

    def present(self, batch: Batch) -> jax.Array:
        """Which modalities the rows of a batch have, bool[B, n]."""
        columns = [self.modalities[n].present(arrays_of(batch, n)) for n in self.names]
        return jnp.stack(columns, axis=1)

    def targets(self, clean: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What the decoders are to make of these inputs."""
        encoders = self.tokenizer.encoders
        return {n: self.modalities[n].target(encoders[n], clean[n]) for n in self.names}

    def errors(
        self, clean: Mapping[str, jax.Array], decoded: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """{modality: float[B]} of what was decoded, against the inputs without noise."""
        targets = self.targets(clean)
        return {n: self.modalities[n].errors(targets[n], decoded[n]) for n in self.names}

    def start(self, params: Tree, collections: Tree, frozen: Tree, batches: Batches, rng: Any):
        """Initialises the codebook from rows of which nothing is dropped, where its quantizer has a
        `start` policy.
        """

        @jax.jit
        def encode(batch: Batch) -> jax.Array:
            variables = {"params": params[TOKENIZER], **collections[TOKENIZER]}
            there = self.present(batch)
            return self.tokenizer.apply(variables, self.read(batch), there, method="latents")

        return codebooks.start(self.tokenizer.quantizer, encode, params, collections, batches, rng)

    def draw_rows(self, key: jax.Array, present: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Which modalities stay in each row, bool[B, n], and the noise level of each,
        float32[B, n]; `present`: those that it has.
        """
        order_key, count_key, noisy_key, level_key = jax.random.split(key, 4)
        shape = present.shape
        kept = present
        if self.dropped:
            chances = jnp.log(jnp.asarray(self.dropped, jnp.float32))
            count = jax.random.categorical(count_key, chances, shape=shape[:1])  # [B]
            count = jnp.minimum(count, present.sum(axis=1) - 1)
            scores = jnp.where(present, jax.random.uniform(order_key, shape), jnp.inf)
            ranks = jnp.argsort(jnp.argsort(scores, axis=1), axis=1)  # [B, n]
            kept = present & (ranks >= count[:, None])
        most = np.asarray([self.modalities[name].noise for name in self.names], np.float32)
        noisy = jax.random.uniform(noisy_key, shape) < self.noisy
        level = jax.random.uniform(level_key, shape) * most[None]
        return kept, jnp.where(noisy, level, 0.0)

    def _noisy(
        self, batch: Batch, clean: Mapping[str, jax.Array], level: jax.Array, key: jax.Array
    ) -> dict[str, jax.Array]:
        noisy = {}
        for i, name in enumerate(self.names):
            modality, own = self.modalities[name], arrays_of(batch, name)
            noisy[name] = clean[name]
            if modality.noise:
                own_key = jax.random.fold_in(key, i)
                noisy[name] = modality.noisy(own, clean[name], level[:, i], own_key)
        return noisy

    def __call__(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> TaskOutput:
        """The losses of one (micro)batch; see `TaskOutput`."""
        rows_key, noise_key, *keys = jax.random.split(context.rng, 4)
        clean, there = self.read(batch), self.present(batch)
        kept, level = self.draw_rows(rows_key, there)  # [B, n] each
        noisy = self._noisy(batch, clean, level, noise_key)
        collects = context.train and TOKENIZER in context.active
        rngs = dict(zip(("quantizer", "dropout")[: 1 + context.train], keys, strict=False))
        variables = {"params": params[TOKENIZER], **collections[TOKENIZER]}
        fusion, mutated = self.tokenizer.apply(
            {**variables, "statistics": context.statistics} if collects else variables,
            noisy,
            kept,
            train=context.train,
            step=context.step,
            rngs=rngs,
            # Quantizers refuse to train uncollected; dropped where the tokenizer is not updated.
            mutable=["statistics"] if context.train else [],
        )
        found, errors = fusion.quantized, self.errors(clean, fusion.decoded)
        count = jnp.maximum(there.sum(axis=0), 1)  # [n]
        losses = {
            name: jnp.sum(jnp.where(there[:, i], errors[name], 0.0)) / count[i]
            for i, name in enumerate(self.names)
        } | found.losses
        return TaskOutput(
            losses={name: value for name, value in losses.items() if name in context.active},
            metrics=dict(found.metrics),
            statistics=dict(mutated).get("statistics", {}) if collects else {},
        )

    def update(self, params: Tree, collections: Tree, statistics: Tree, rng: jax.Array, step: Any):
        """Updates the quantizer's codebook, once per step in which the tokenizer is updated."""
        quantizer = self.tokenizer.quantizer
        return codebooks.update(quantizer, params, collections, statistics, rng, step)

    def alarm(self, numbers: Mapping[str, float]) -> Alarm | None:
        """Whether codes die: from the metrics of a step, by the quantizer's policy `watch`."""
        return codebooks.dying_codes(self.tokenizer.quantizer, numbers)

    def fuse(
        self, params: Tree, collections: Tree, inputs: Mapping[str, jax.Array], present: jax.Array
    ) -> Any:
        """Codes of the modalities that are present, bool[B, n], and what is decoded from them: a
        `Fusion`, as in evaluation.
        """
        variables = {"params": params[TOKENIZER], **collections[TOKENIZER]}
        return self.tokenizer.apply(variables, inputs, present, train=False, step=0)
