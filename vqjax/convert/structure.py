"""The tokenizer that a published file holds, worked out from names and shapes of its arrays."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from vqjax.convert.layouts import LAYOUTS, Layout
from vqjax.format import times
from vqjax.nn.norm import group_count
from vqjax.ops.numerics import make_key
from vqjax.quantizers import CosineVectorQuantizer, Gaussian, GumbelQuantizer, VectorQuantizer
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.types import DataError, UsageError, did_you_mean

Shapes = Mapping[str, tuple[int, ...]]
GROUPS = 32  # of every normalisation, where a file says nothing
SHOWN = 4  # names in a line
PROJECTION, PROJECTED = "quantize.proj", "quantize.embed.weight"  # of a Gumbel quantizer


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a file holds.

    Attributes:
        layout: of its names.
        root: what they begin with.
        tokenizer: the network.
        shapes: of its parameters, by path ("encoder/conv_in/kernel").
        names: of the arrays for them in the file, in whole; without those of `composed` and
            `missing`.
        composed: paths of parameters that are made of several arrays.
        missing: paths of linear layers that the file goes without, which pass everything on.
    """

    layout: Layout
    root: str
    tokenizer: Tokenizer
    shapes: Shapes
    names: Mapping[str, str]
    composed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class _File:
    """The shapes of one file, by our paths."""

    def __init__(self, layout: Layout, root: str, shapes: Shapes) -> None:
        self.layout, self.root = layout, root
        names = (name for name in shapes if name.startswith(root))
        # {name after the root, as of today: (name, shape)}
        self.arrays = {
            layout.now(name.removeprefix(root)): (name, tuple(shapes[name])) for name in names
        }

    def at(self, path: str, levels: int = 0) -> tuple[int, ...] | None:
        """The shape of the array at our path; None: there is none."""
        found = self.arrays.get(self.layout.name_of(path, levels))
        return None if found is None else found[1]

    def count(self, pattern: str, levels: int = 0) -> int:
        """How many there are of what has a number, {n}, in its path."""
        number = 0
        while self.at(pattern.format(n=number), levels) is not None:
            number += 1
        return number


def plan_of(shapes: Shapes, wanted: str | None = None, groups: int = GROUPS) -> Plan:
    """What the arrays of a file are.

    Args:
        shapes: {name: shape} of all.
        wanted: the format; None: whichever fits.
        groups: channels of each normalisation are in so many.

    Raises:
        UsageError: there is no such format.
        DataError: no format fits, or it is another network than those that are known here.
    """
    if wanted is not None and wanted not in LAYOUTS:
        raise UsageError(f"format {wanted!r}: {did_you_mean(wanted, LAYOUTS)}")
    layouts = LAYOUTS.values() if wanted is None else (LAYOUTS[wanted],)
    for layout in layouts:
        for root in layout.roots:
            file = _File(layout, root, shapes)
            if file.at("encoder/conv_in/kernel") and file.at(
                "encoder/level_0/block_0/conv_1/kernel"
            ):
                return _plan(file, groups)
    formats = " nor ".join(layout.name for layout in layouts)
    raise DataError(
        f"its names are those of neither {formats}: it has {_listed(shapes)}"
        if wanted is None
        else f"its names are not those of {formats}: it has {_listed(shapes)}"
    )


def _plan(file: _File, groups: int) -> Plan:
    tokenizer = _tokenizer(file)
    shapes = parameter_shapes(tokenizer)
    levels = len(tokenizer.encoder.multipliers)
    composed, missing = _without_names(file, tokenizer)
    theirs = {p: file.layout.name_of(p, levels) for p in shapes if p not in (*composed, *missing)}
    _check_groups(shapes, groups)
    used = {*theirs.values(), *(() if not composed else _composed_names())}
    unused = [
        name
        for name in file.arrays
        if name not in used and not name.startswith(file.layout.ignored or ("\0",))
    ]
    absent = [name for name in used if name not in file.arrays]
    if unused or absent:
        raise DataError(
            f"names of {file.layout.name} do not match: in the file alone {_listed(unused)}; "
            f"needed and not there {_listed(absent)}"
        )
    names = {path: file.arrays[name][0] for path, name in theirs.items()}
    return Plan(file.layout, file.root, tokenizer, shapes, names, composed, missing)


@functools.lru_cache(maxsize=8)
def parameter_shapes(tokenizer: Tokenizer) -> dict[str, tuple[int, ...]]:
    """Of a network of images, by path."""
    size = 2 ** (len(tokenizer.encoder.multipliers) - 1)
    x = jax.ShapeDtypeStruct((1, size, size, tokenizer.decoder.channels), jnp.float32)

    def init(x: jax.Array) -> dict:
        keys = {"params": make_key(0), "quantizer": make_key(0)}
        return tokenizer.init(keys, x, train=False, step=0)["params"]

    return {p: leaf.shape for p, leaf in flatten_dict(jax.eval_shape(init, x), sep="/").items()}


def _tokenizer(file: _File) -> Tokenizer:
    levels = file.count("encoder/level_{n}/block_0/conv_1/kernel")
    width, channels = file.at("encoder/conv_in/kernel")[:2]
    sizes = [file.at(f"encoder/level_{n}/block_0/conv_1/kernel")[0] for n in range(levels)]
    if any(size % width for size in sizes):
        raise DataError(f"levels of {times(sizes)} channels: wanted multiples of the first {width}")
    out = file.at("decoder/to_output/kernel", levels)
    latents = {side: _latent_dim(file, side) for side in ("encoder", "decoder")}
    if out is None or None in latents.values():
        raise DataError("it has no encoder and decoder of images")
    if out[0] != channels:
        raise DataError(f"pictures of {channels} channels become {out[0]}: wanted as many")
    common = {"width": width, "multipliers": tuple(size // width for size in sizes)}
    return Tokenizer(
        encoder=ConvEncoder(
            **common, **_side(file, "encoder", levels), latent_dim=latents["encoder"]
        ),
        quantizer=_quantizer(file, latents),
        decoder=ConvDecoder(
            **common,
            **_side(file, "decoder", levels),
            latent_dim=latents["decoder"],
            channels=channels,
        ),
    )


def _latent_dim(file: _File, side: str) -> int | None:
    """Channels of the latents: of what leaves the encoder, or enters the decoder."""
    layer, axis = ("conv_out", 0) if side == "encoder" else ("conv_in", 1)
    shape = file.at(f"{side}/{layer}/kernel")
    return None if shape is None else shape[axis]


def _side(file: _File, side: str, levels: int) -> dict:
    """What an encoder and a decoder may have each of its own."""
    attends = [
        2**n
        for n in range(levels)
        if file.at(f"{side}/level_{n}/attention_0/query/kernel", levels) is not None
    ]
    return {
        "blocks": file.count(f"{side}/level_0/block_{{n}}/conv_1/kernel", levels),
        "attention_factors": tuple(attends),
        "mid_attention": file.at(f"{side}/mid/attention/query/kernel", levels) is not None,
    }


def _quantizer(file: _File, latents: Mapping[str, int]) -> object:
    codes = file.at("quantizer/codes")
    if codes is not None:
        kind = CosineVectorQuantizer if file.layout.name == "llamagen" else VectorQuantizer
        return kind(codebook_size=codes[0], codebook_dim=codes[1])
    if PROJECTED in file.arrays:
        size, dim = file.arrays[PROJECTED][1]
        return GumbelQuantizer(codebook_size=size, codebook_dim=dim)
    if any(name.startswith("quantize") for name in file.arrays):
        found = [name for name in file.arrays if name.startswith("quantize")]
        raise DataError(f"a quantizer that is not known here: {_listed(found)}")
    after = file.at("post_quant/kernel")
    return Gaussian(codebook_dim=latents["decoder"] if after is None else after[1])


def _without_names(file: _File, tokenizer: Tokenizer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths of what is made of several arrays, and of the linear layers that are not there."""
    composed, missing = (), []
    if isinstance(tokenizer.quantizer, GumbelQuantizer):
        composed = ("pre_quant/kernel", "pre_quant/bias", "quantizer/codes")
    if isinstance(tokenizer.quantizer, Gaussian):
        for layer in ("pre_quant", "post_quant"):
            if file.at(f"{layer}/kernel") is None:
                missing += [f"{layer}/kernel", f"{layer}/bias"]
    return composed, tuple(missing)


def _composed_names() -> tuple[str, ...]:
    """Of the arrays that a Gumbel quantizer's are made of."""
    layers = ("quant_conv", PROJECTION)
    return (*(f"{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")), PROJECTED)


def _check_groups(shapes: Shapes, groups: int) -> None:
    for path, shape in shapes.items():
        if path.endswith("/scale") and (ours := group_count(shape[0], GROUPS)) != groups:
            raise DataError(
                f"normalisations of {shape[0]} channels in {groups} groups: here they have {ours}"
            )


def _listed(names: object) -> str:
    names = sorted(names)
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) + more) or "nothing"
