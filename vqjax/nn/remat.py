"""What the backward pass recomputes instead of storing it (`jax.checkpoint`)."""

from typing import Any

from flax import linen as nn

from vqjax.types import UsageError

PRODUCTS = ("dot_general", "conv_general_dilated")


def rematerialised(
    block: type[nn.Module], remat: bool | str, scanned: bool = False
) -> type[nn.Module]:
    """The class of a block with the activations stored that `remat` selects.

    Args:
        remat: False: all are stored; True: only a block's input, for a third more computation;
            "products": the results of matrix products and convolutions, so that only what is cheap
            (norms, activations) is computed twice.
        scanned: whether the block is the body of a loop: outside of one, the compiler must be kept
            from merging the recomputation with the first computation.

    Raises:
        UsageError: another word.
    """
    if remat not in (False, True, "products"):
        raise UsageError(f"remat={remat!r}: wanted false, true or products")
    if not remat:
        return block
    policy = _is_product if remat == "products" else None
    return nn.remat(block, prevent_cse=not scanned, policy=policy)


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in PRODUCTS
