"""Types that all of vqjax shares: batches, outputs, mesh axes, errors.

Codes are vectors of a codebook, indices the integers that pick them. Axis letters, in docstrings
and end-of-line comments:
    B batch, H height, W width, T time or sequence, C channels, D codebook dimension,
    N vectors to be quantized (B times all positions), K codebook size, Q number of codebooks.
    ``*S`` stands for any number of spatial axes: T, (H, W) or (T, H, W); ``*s`` for as many
    axes of another size, as those of latents. A space is a product: [B T, 2 C].
    In transformers: h heads, kv heads of keys and values, g = h / kv, d channels of a head,
    S positions that are attended to, F channels inside an MLP or before a last layer, V vocabulary
    size, P vectors before the first token, M vectors of a context.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax

DATA_AXIS = "data"
FSDP_AXIS = "fsdp"
TENSOR_AXIS = "tensor"
MESH_AXES = (DATA_AXIS, FSDP_AXIS, TENSOR_AXIS)
BATCH_AXES = (DATA_AXIS, FSDP_AXIS)  # the mesh axes over which the batch axis is split

Batch = Mapping[str, Any]  # {"image": uint8[B, H, W, C], "label": int32[B], "example_id": int64[B]}
Tree = Any  # nested mappings of arrays
MEDIA = {2: "audio", 3: "image", 4: "video"}  # by the rank of an example, with channels


@dataclasses.dataclass(frozen=True)
class Level:
    """One grid of tokens: `name`, its `grid` (tokens along each axis) and the `codebook_size`."""

    name: str
    grid: tuple[int, ...]
    codebook_size: int


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """One example's array.

    Attributes:
        shape: without the batch axis.
        dtype: a numpy name.
        medium: "image", "audio" or "video"; None: as the rank says.
        rate: samples or frames per second, of what has a rate.
    """

    shape: tuple[int, ...]
    dtype: str
    medium: str | None = None
    rate: float | None = None

    def is_like(self, other: "ArraySpec | None") -> bool:
        """Whether arrays of `other` can be taken for those of this one."""
        return other is not None and (other.shape, other.dtype) == (self.shape, self.dtype)

    @property
    def shown_as(self) -> str | None:
        """The medium that it is shown as; None: it has none."""
        return self.medium or MEDIA.get(len(self.shape))

    def as_json(self) -> dict[str, Any]:
        """What a record keeps of it."""
        optional = {"medium": self.medium, "rate": self.rate}
        optional = {name: value for name, value in optional.items() if value is not None}
        return {"shape": list(self.shape), "dtype": str(self.dtype), **optional}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "ArraySpec":
        """The spec that `as_json` returned; ValueError, KeyError, TypeError or AttributeError for
        anything else.
        """
        medium, rate = content.get("medium"), content.get("rate")
        return cls(
            tuple(map(int, content["shape"])),
            str(content["dtype"]),
            None if medium is None else str(medium),
            None if rate is None else float(rate),
        )


@dataclasses.dataclass(frozen=True)
class Bound:
    """Which whole numbers a task takes from an array of the batch.

    Attributes:
        low: the least.
        high: one more than the largest.
        setting: that the bound comes from, as an error line names it.
        none: a number outside the bound that means no value; None: there is no such number.
    """

    low: int
    high: int
    setting: str
    none: int | None = None


class Verdict(NamedTuple):
    """What a discriminator says of examples: `logits` of any shape, `features` of its layers."""

    logits: jax.Array
    features: tuple[jax.Array, ...] = ()


@flax.struct.dataclass
class Quantized:
    """What a quantizer makes of `z`.

    Attributes:
        z_q: [B, *S, D], the codes; in training with the estimator's gradient to `z`.
        indices: one int32[B, *S] per level; `()` where nothing is discrete.
        losses: unweighted scalars by name.
        metrics: scalars by name, for the log alone.
    """

    z_q: jax.Array
    indices: tuple[jax.Array, ...]
    losses: dict[str, jax.Array]
    metrics: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Context:
    """In which step a task is called.

    Attributes:
        rng: of this microbatch.
        step: updates so far.
        active: the players that move and the terms that count, sorted.
        train: whether noise is on.
        statistics: of the step's microbatches before this one; {} at first.
    """

    rng: jax.Array
    step: jax.Array | int
    active: tuple[str, ...]
    train: bool
    statistics: Tree = dataclasses.field(default_factory=dict)


@flax.struct.dataclass
class TaskOutput:
    """The result of one batch.

    Attributes:
        losses: unweighted scalars by name, exactly the terms that `active` asks for.
        metrics: scalars by name, for the log alone.
        multipliers: factors of some losses that the task worked out (VQGAN's adaptive weight).
        statistics: what `Task.update` needs, added up over the step's microbatches.
        collections: {player: {collection: tree}}, as they are after the forward pass; None: as they
            were.
    """

    losses: dict[str, jax.Array]
    metrics: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    multipliers: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    statistics: Tree = dataclasses.field(default_factory=dict)
    collections: Tree | None = None


@dataclasses.dataclass(frozen=True)
class Alarm:
    """Something that a run should warn of: `short` on the progress line, `line` in the log."""

    short: str
    line: str


class VqjaxError(Exception):
    """A failure that is explained in one line; `exit_code` is what the program ends with."""

    exit_code = 1


class UsageError(VqjaxError):
    """A wrong command, option, experiment or setting."""

    exit_code = 2


class DataError(VqjaxError):
    """Data or a checkpoint that is missing, damaged or not prepared."""

    exit_code = 3


class NonFiniteError(VqjaxError):
    """Losses or gradients stayed infinite or NaN; the last good state was saved."""

    exit_code = 4


class Stopped(VqjaxError):
    """A signal asked for the end and the state was saved: run the same command to go on."""

    exit_code = 75


def check_offers(where: str, value: Any, names: Iterable[str]) -> None:
    """Refuses, with UsageError, a `value` that lacks one of the attributes `names`.

    What the class has is not read: a property may be unable to answer yet.
    """
    for name in names:
        if not hasattr(type(value), name) and not hasattr(value, name):
            kind = type(value).__name__
            raise UsageError(f"{where}: {kind} does not fit here: it has no {name!r}")


def fit_method(data: Any) -> Callable[..., Any] | None:
    """A source's `fitted(before)`, such as of a vocabulary, or `learned`, its name until version
    0.3; None: nothing of it is fitted.
    """
    return getattr(data, "fitted", None) or getattr(data, "learned", None)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Returns the end of an error line: the name nearest to `name`, then all that are valid."""
    names = sorted(str(v) for v in valid)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}(valid: {', '.join(names) or 'none'})"
