"""What the quantizers share that are made of several copies of a template."""

from collections.abc import Sequence

import jax
from flax import linen as nn

from vqjax.quantizers.base import Quantizer
from vqjax.types import Quantized, Tree, UsageError, check_offers

TEMPLATE_NEEDS = ("codebook_size", "codebook_dim", "num_codebooks", "loss_weights", "lookup")


def _of_template(name: str) -> property:
    return property(lambda self: getattr(self.template, name))


class Combined(Quantizer):
    """Base: asks its `template` for all that it does not change.

    Every copy is a module `parts_0`, `parts_1`, ... with collections of its own; a combination that
    uses one copy several times has only `parts_0`. A template has one codebook.
    """

    def __post_init__(self) -> None:
        check_offers("template", self.template, TEMPLATE_NEEDS)
        if self.template.num_codebooks != 1:
            kind = type(self.template).__name__
            raise UsageError(f"quantizer.template: {kind} does not have just one codebook")
        super().__post_init__()

    codebook_size, codebook_dim, loss_weights, start, watch = map(
        _of_template, ("codebook_size", "codebook_dim", "loss_weights", "start", "watch")
    )

    @property
    def remedies(self) -> tuple[str, ...]:
        remedies = self.template.remedies
        return tuple(text.replace("quantizer.", "quantizer.template.") for text in remedies)

    def _copies(self, count: int) -> list[nn.Module]:
        return [self.template.clone() for _ in range(count)]

    def _init_part(
        self, name: str, params: Tree, codebook: Tree, z: jax.Array, rng: jax.Array
    ) -> tuple[Tree, Tree]:
        """`params` and `codebook` with the codes of copy `name` set from z."""
        part_params, part_codebook = self.template.init_codebook(
            params.get(name, {}), codebook[name], z, rng
        )
        params = {**params, name: part_params} if part_params else params
        return params, {**codebook, name: part_codebook}

    def update(
        self, params: Tree, codebook: Tree, statistics: Tree, rng: jax.Array, step: jax.Array
    ) -> tuple[Tree, Tree]:
        """Updates every copy, once per step. Called unbound."""
        params, codebook = dict(params), dict(codebook)
        for i, name in enumerate(sorted(codebook)):
            key = jax.random.fold_in(rng, i)
            part_params, codebook[name] = self.template.update(
                params.get(name, {}), codebook[name], statistics[name], key, step
            )
            if part_params:
                params[name] = part_params
        return params, codebook


def level_metrics(outputs: Sequence[Quantized]) -> dict[str, jax.Array]:
    """The metrics of every level, named as the tokenizer names levels: "perplexity/tokens_0"."""
    return {
        f"{name}/tokens_{level}": value
        for level, out in enumerate(outputs)
        for name, value in out.metrics.items()
    }
