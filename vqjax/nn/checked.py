"""Modules that refuse wrong fields when they are made."""

from flax import linen as nn

from vqjax.config.annotations import check_fields


class Checked(nn.Module):
    """Base: a field of another type than its annotation's is a UsageError."""

    def __post_init__(self) -> None:
        check_fields(self)
        super().__post_init__()
