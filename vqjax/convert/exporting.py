"""A tokenizer's run as the files of another library."""

from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from vqjax.convert.layouts import DIFFUSERS
from vqjax.nn.norm import group_count
from vqjax.quantizers import EMAVectorQuantizer, Gaussian, VectorQuantizer
from vqjax.runs.base import Run
from vqjax.tokenizers import ConvDecoder, ConvEncoder
from vqjax.types import UsageError

CODES = "quantizer/codes"
GROUPS = 32


def as_diffusers(run: Run) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The settings and arrays of the same network as diffusers' `VQModel`, or `AutoencoderKL`.

    Raises:
        UsageError: these cannot be the same function; the line says why.
    """
    tokenizer = getattr(run.task, "tokenizer", None)
    if reason := _hindrance(run, tokenizer):
        raise UsageError(f"{run.path} cannot be exported to diffusers: {reason}")
    encoder, quantizer = tokenizer.encoder, tokenizer.quantizer
    levels = len(encoder.multipliers)
    flat = {path: np.asarray(array) for path, array in flatten_dict(run.params, sep="/").items()}
    if isinstance(quantizer, EMAVectorQuantizer):
        flat[CODES] = np.asarray(run.collections["codebook"]["quantizer"]["codes"])
    arrays = {
        DIFFUSERS.name_of(path, levels): np.ascontiguousarray(DIFFUSERS.as_theirs(path, array))
        for path, array in flat.items()
    }
    return _settings(run, tokenizer), arrays


def _hindrance(run: Run, tokenizer: Any) -> str | None:
    """Why diffusers has no such network, or None."""
    encoder, decoder = (getattr(tokenizer, side, None) for side in ("encoder", "decoder"))
    if not (isinstance(encoder, ConvEncoder) and isinstance(decoder, ConvDecoder)):
        return "it is no tokenizer with a ConvEncoder and a ConvDecoder"
    if len(run.shape) != 3:
        return f"its examples have {len(run.shape) - 1} axes, wanted two of an image"
    if not isinstance(tokenizer.quantizer, VectorQuantizer | EMAVectorQuantizer | Gaussian):
        return f"it has no {type(tokenizer.quantizer).__name__}"
    groups = {group_count(encoder.width * m, GROUPS) for m in encoder.multipliers}
    if len(groups) > 1:
        listed = " and ".join(map(str, sorted(groups)))
        return f"normalisations have {listed} groups, wanted one number"
    wanted = {
        "output": (tokenizer.output, "linear"),
        "encoder.multipliers[0]": (encoder.multipliers[0], 1),
        "encoder.downsample": (encoder.downsample, "strided"),
        "encoder.activation": (encoder.activation, "silu"),
        "decoder.activation": (decoder.activation, "silu"),
        "encoder.strides": (set(encoder.strides or (2,)), {2}),
        "decoder.strides": (set(decoder.strides or (2,)), {2}),
        "decoder.width": (decoder.width, encoder.width),
        "decoder.multipliers": (decoder.multipliers, encoder.multipliers),
        "decoder.blocks": (decoder.blocks, encoder.blocks + 1),
        "decoder.mid_attention": (decoder.mid_attention, encoder.mid_attention),
        "decoder.channels": (decoder.channels, run.shape[-1]),
        "decoder.latent_dim": (decoder.latent_dim, _latent_channels(tokenizer)),
    }
    for name, (found, expected) in wanted.items():
        if found != expected:
            return f"{name} is {found}, wanted {expected}"
    return None


def _latent_channels(tokenizer: Any) -> int:
    """Of the encoder's result; of a normal distribution, of its mean."""
    channels = tokenizer.encoder.latent_dim
    return channels // 2 if isinstance(tokenizer.quantizer, Gaussian) else channels


def _settings(run: Run, tokenizer: Any) -> dict[str, Any]:
    """What diffusers reads from config.json."""
    encoder, decoder, quantizer = tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer
    factors = [2**n for n in range(len(encoder.multipliers))]

    def blocks(direction: str, attends: tuple[int, ...]) -> list[str]:
        return [f"{'Attn' if f in attends else ''}{direction}Block2D" for f in factors]

    settings = {
        "_class_name": "AutoencoderKL" if isinstance(quantizer, Gaussian) else "VQModel",
        "act_fn": "silu",
        "block_out_channels": [encoder.width * m for m in encoder.multipliers],
        "down_block_types": blocks("DownEncoder", encoder.attention_factors),
        "up_block_types": blocks("UpDecoder", decoder.attention_factors)[::-1],
        "in_channels": run.shape[-1],
        "out_channels": decoder.channels,
        "latent_channels": decoder.latent_dim,
        "layers_per_block": encoder.blocks,
        "mid_block_add_attention": encoder.mid_attention,
        "norm_num_groups": group_count(encoder.width, GROUPS),
        "sample_size": run.shape[0],
        "scaling_factor": 1.0,
    }
    if isinstance(quantizer, Gaussian):
        if quantizer.codebook_dim != decoder.latent_dim:
            raise UsageError(
                f"{run.path} cannot be exported to diffusers: quantizer.codebook_dim is "
                f"{quantizer.codebook_dim}, wanted decoder.latent_dim={decoder.latent_dim}"
            )
        return settings
    return settings | {
        "num_vq_embeddings": quantizer.codebook_size,
        "vq_embed_dim": quantizer.codebook_dim,
        "norm_type": "group",
        "lookup_from_codebook": False,
    }
