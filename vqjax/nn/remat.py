"""What the backward pass works out again instead of keeping it (`jax.checkpoint`)."""

from typing import Any

from flax import linen as nn

from vqjax.types import UsageError

PRODUCTS = ("dot_general", "conv_general_dilated")


def rematerialised(
    block: type[nn.Module], remat: bool | str, scanned: bool = False
) -> type[nn.Module]:
    """The class of a block, whose activations are kept as `remat` says.

    Args:
        remat: False: all are kept; True: only a block's input, for a third more computation;
            "products": what matrix products and convolutions give, so that only what is cheap
            (norms, activations) is worked out twice.
        scanned: whether the block is the body of a loop: outside of one, the compiler has to be
            kept from finding that the second computation is the first.

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
