"""How published files name the arrays of a convolutional tokenizer (arXiv 2012.09841).

The networks are the same functions as `ConvEncoder` and `ConvDecoder`: convolutions stand in files
as [C_out, C_in, *kernel], linear layers as such with kernels of size 1, or as [C_out, C_in]. What
differs are names, and whether a decoder's levels are counted from the coarsest one.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

LEAVES = {"kernel": "weight", "scale": "weight", "codes": "weight", "bias": "bias"}
BLOCK = {"norm_1": "norm1", "conv_1": "conv1", "norm_2": "norm2", "conv_2": "conv2"}
SAME = {name: name for name in ("conv_in", "conv_out", "norm_out")}


@dataclasses.dataclass(frozen=True)
class Layout:
    """The names of one family of files.

    Attributes:
        name: of the format.
        roots: what names in a file may begin with, the most telling one first.
        down, up: one level of the encoder and of the decoder, {n} being its number.
        block, attention: one of a level, {n} being its number.
        downsample, upsample: what ends a level.
        middle: of "block_0", "attention" and "block_1".
        block_layers, attention_layers: names of their layers, by ours.
        ends: names of the first and last layers, by ours.
        coarsest_first: whether the decoder's levels are counted from the coarsest one.
        matrices: layers whose weights are matrices, not convolutions of size 1.
        ignored: beginnings of names, after the root, that are no part of the networks.
        renamed: endings of the names of modules in old files, and what they are now.
    """

    name: str
    roots: tuple[str, ...]
    down: str
    up: str
    block: str
    attention: str
    downsample: str
    upsample: str
    middle: Mapping[str, str]
    block_layers: Mapping[str, str]
    attention_layers: Mapping[str, str]
    ends: Mapping[str, str]
    coarsest_first: bool
    matrices: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def name_of(self, path: str, levels: int) -> str:
        """Their name, after the root, of the array of `Tokenizer` at "encoder/conv_in/kernel".

        Args:
            levels: of the networks.
        """
        *parts, leaf = path.split("/")
        return f"{'.'.join(self._modules(parts, levels))}.{LEAVES[leaf]}"

    def _modules(self, parts: list[str], levels: int) -> list[str]:
        match parts:
            case ["pre_quant"]:
                return ["quant_conv"]
            case ["post_quant"]:
                return ["post_quant_conv"]
            case ["quantizer"]:
                return ["quantize.embedding"]
            case [side, "mid", part, layer]:
                layers = self.attention_layers if part == "attention" else self.block_layers
                return [side, self.middle[part], layers[layer]]
            case [side, level, part, layer] if level.startswith("level_"):
                kind, number = part.split("_")
                layers = self.attention_layers if kind == "attention" else self.block_layers
                where = self.attention if kind == "attention" else self.block
                return [
                    side,
                    self._level(side, level, levels),
                    where.format(n=number),
                    layers[layer],
                ]
            case [side, sampling, *_] if sampling.startswith("downsample_"):
                return [side, self._level(side, sampling, levels), self.downsample]
            case [side, sampling] if sampling.startswith("upsample_"):
                level = int(sampling.split("_")[1]) + 1  # the coarser one of the two
                return [side, self._level(side, f"level_{level}", levels), self.upsample]
            case [side, layer]:
                return [side, self.ends[layer]]
        raise KeyError("/".join(parts))

    def _level(self, side: str, name: str, levels: int) -> str:
        number = int(name.split("_")[1])
        if side == "encoder":
            return self.down.format(n=number)
        return self.up.format(n=levels - 1 - number if self.coarsest_first else number)

    def now(self, name: str) -> str:
        """A name after the root, as files of today have it."""
        module, _, leaf = name.rpartition(".")
        for old, new in self.renamed.items():
            if module.endswith(old):
                return f"{module.removesuffix(old)}{new}.{leaf}"
        return name

    def as_theirs(self, path: str, array: np.ndarray) -> np.ndarray:
        """Our array at `path` as a file has it."""
        layer, leaf = path.split("/")[-2:]
        if leaf != "kernel":
            return array
        if array.ndim == 2:  # [C_in, C_out]
            kernel = array.T
            return kernel if layer in self.matrices else kernel[:, :, None, None]
        return np.moveaxis(array, (-1, -2), (0, 1))  # [C_out, C_in, *kernel]


def as_ours(path: str, array: np.ndarray, axes: int) -> np.ndarray:
    """An array of a file as ours of `axes` axes; what has no such form is left as it is."""
    if path.split("/")[-1] != "kernel":
        return array
    if axes == 2:
        if array.ndim > 2 and array.shape[2:] == (1,) * (array.ndim - 2):
            array = array.reshape(array.shape[:2])
        return array.T  # [C_in, C_out]
    if array.ndim != axes:
        return array
    return np.moveaxis(array, (0, 1), (-1, -2))  # [*kernel, C_in, C_out]


ATTENTION = {"norm": "norm", "query": "q", "key": "k", "value": "v", "out": "proj_out"}
TAMING = Layout(
    name="taming",
    roots=("state_dict.", "first_stage_model.", "state_dict.first_stage_model.", ""),
    down="down.{n}",
    up="up.{n}",
    block="block.{n}",
    attention="attn.{n}",
    downsample="downsample.conv",
    upsample="upsample.conv",
    middle={"block_0": "mid.block_1", "attention": "mid.attn_1", "block_1": "mid.block_2"},
    block_layers=BLOCK | {"shortcut": "nin_shortcut"},
    attention_layers=ATTENTION,
    ends=SAME | {"to_output": "conv_out"},
    coarsest_first=False,
    ignored=("loss.", "model_ema.", "colorize"),
)
LLAMAGEN = dataclasses.replace(
    TAMING,
    name="llamagen",
    roots=("ema.", "model.", ""),
    down="conv_blocks.{n}",
    up="conv_blocks.{n}",
    block="res.{n}",
    middle={"block_0": "mid.0", "attention": "mid.1", "block_1": "mid.2"},
    coarsest_first=True,
    ignored=("quantize.codebook_used",),
)
DIFFUSERS = Layout(
    name="diffusers",
    roots=("",),
    down="down_blocks.{n}",
    up="up_blocks.{n}",
    block="resnets.{n}",
    attention="attentions.{n}",
    downsample="downsamplers.0.conv",
    upsample="upsamplers.0.conv",
    middle={
        "block_0": "mid_block.resnets.0",
        "attention": "mid_block.attentions.0",
        "block_1": "mid_block.resnets.1",
    },
    block_layers=BLOCK | {"shortcut": "conv_shortcut"},
    attention_layers={
        "norm": "group_norm", "query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0",
    },
    ends={
        "conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out",
        "to_output": "conv_out",
    },
    coarsest_first=True,
    matrices=("query", "key", "value", "out"),
    renamed={".query": ".to_q", ".key": ".to_k", ".value": ".to_v", ".proj_attn": ".to_out.0"},
)  # fmt: skip
LAYOUTS = {layout.name: layout for layout in (TAMING, DIFFUSERS, LLAMAGEN)}
