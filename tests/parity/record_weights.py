"""Random tokenizers in published architectures, by the libraries of others, and what they compute.

    .venv-parity/bin/python tests/parity/record_weights.py DIR

Makes a folder for each: the file as it would be published, and `io.safetensors` with `x` [N, C, H,
W], `latents` [N, D, h, w], `indices` int64[N, h, w], where there are codes the distance of the
second best to the best, `margin`, and `x_hat`. SMALL ones are committed. Those that diffusers does
not have are in other words:

taming      encoder and codes of transformers' ChameleonVQVAE, decoder of diffusers' VQModel with
            its names changed to those of taming-transformers
llamagen    transformers' JanusVQVAE with its names changed to those of LlamaGen; the nearest code
            is that of unit vectors, as LlamaGen's own forward pass has it
"""

import pathlib
import re
import sys

import safetensors.torch
import torch
from diffusers import AutoencoderKL, VQModel
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAE
from transformers.models.janus.configuration_janus import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAE

SMALL = ("diffusers_vq", "diffusers_kl", "diffusers_kl_plain")
COUNTS = "counts.txt"  # {family: parameters}
# diffusers' names of a decoder -> taming's, whose levels are counted from the finest one.
TAMING_DECODER = (
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0", lambda m: "mid.attn_1"),
    (r"up_blocks\.(\d)", lambda m: f"up.{1 - int(m[1])}"),
    (r"\.resnets\.", lambda m: ".block."),
    (r"\.attentions\.", lambda m: ".attn."),
    (r"upsamplers\.0", lambda m: "upsample"),
    (r"conv_shortcut", lambda m: "nin_shortcut"),
    (r"group_norm", lambda m: "norm"),
    (r"conv_norm_out", lambda m: "norm_out"),
    (r"to_out\.0", lambda m: "proj_out"),
    (r"to_([qkv])\b", lambda m: m[1]),
)
# transformers' names of Janus -> LlamaGen's.
LLAMAGEN = (
    (r"mid\.block_1", lambda m: "mid.0"),
    (r"mid\.attn_1", lambda m: "mid.1"),
    (r"mid\.block_2", lambda m: "mid.2"),
    (r"\b(down|up)\.(\d)", lambda m: f"conv_blocks.{m[2]}"),
    (r"\.block\.", lambda m: ".res."),
)


def renamed(name, changes):
    for pattern, new in changes:
        name = re.sub(pattern, new, name)
    return name


def randomised(module, seed):
    """Its parameters drawn anew, so that none is as its constructor left it."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in module.state_dict().items():
        fan = p[0].numel() if p.ndim > 1 else 1
        noise = torch.randn(p.shape, generator=generator)
        scale = noise / fan**0.5 if p.ndim > 1 else 0.1 * noise
        is_norm = "norm" in name and name.endswith("weight")
        p.copy_(1.0 + scale if is_norm else scale)
        if "embedding" in name:
            p.copy_(noise)
    return module.eval()


def images(seed):
    return torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def nearest(latents, codes):
    """The nearest codes, int64[N, h, w], and how much farther the second best is."""
    flat = latents.permute(0, 2, 3, 1).reshape(-1, codes.shape[1]).double()
    square = torch.cdist(flat, codes.double()) ** 2
    best, order = square.topk(2, largest=False)
    shape = (len(latents), *latents.shape[2:])
    return order[:, 0].reshape(shape), (best[:, 1] - best[:, 0]).reshape(shape)


def record(folder, count, **arrays):
    """Writes what a network computed, and how many parameters it has."""
    arrays = {name: array.detach().contiguous() for name, array in arrays.items()}
    safetensors.torch.save_file(arrays, folder / "io.safetensors")
    (folder / COUNTS).write_text(f"{count}\n")


def size(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def vq_model(width, groups, latent=16, dim=8, codes=64, attention=True):
    first, last = ("DownEncoderBlock2D", "UpDecoderBlock2D")
    attending = ("AttnDownEncoderBlock2D", "AttnUpDecoderBlock2D")
    down, up = attending if attention else (first, last)
    return VQModel(
        block_out_channels=(width, width),
        down_block_types=(first, down),
        up_block_types=(up, last),
        layers_per_block=1,
        norm_num_groups=groups,
        latent_channels=latent,
        num_vq_embeddings=codes,
        vq_embed_dim=dim,
    )


def diffusers_vq(folder, width, groups):
    model, x = randomised(vq_model(width, groups), 1), images(2)
    model.save_pretrained(folder)
    latents = model.encode(x).latents
    indices, margin = nearest(latents, model.quantize.embedding.weight)
    record(
        folder, size(model), x=x, latents=latents, indices=indices, margin=margin,
        x_hat=model.decode(latents).sample,
    )  # fmt: skip


def diffusers_kl(folder, width, groups, plain=False):
    model = AutoencoderKL(
        block_out_channels=(width, 2 * width) if groups == 32 else (width, width),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=groups,
        latent_channels=4,
        use_quant_conv=not plain,
        use_post_quant_conv=not plain,
        **({"shift_factor": 0.0609} if plain else {}),
    )
    model, x = randomised(model, 3), images(4)
    model.save_pretrained(folder)
    latents = model.encode(x).latent_dist.mean
    record(folder, size(model), x=x, latents=latents, x_hat=model.decode(latents).sample)


def taming(folder):
    """Also what a Lightning checkpoint has beside the networks: other losses, an optimizer."""
    config = ChameleonVQVAEConfig(
        embed_dim=8, num_embeddings=64, latent_channels=16, resolution=16, base_channels=128,
        channel_multiplier=[1, 1], num_res_blocks=1, attn_resolutions=[8],
    )  # fmt: skip
    encoder, x = randomised(ChameleonVQVAE(config), 5), images(6)
    decoder = randomised(vq_model(128, 32), 7)
    state = dict(encoder.state_dict())
    for name, array in decoder.decoder.state_dict().items():
        new = renamed(name, TAMING_DECODER)
        is_linear = re.search(r"attn.*\.(q|k|v|proj_out)\.weight", new)
        state[f"decoder.{new}"] = array[:, :, None, None] if is_linear else array
    decoder.post_quant_conv.load_state_dict(
        {k.split(".")[1]: v for k, v in state.items() if k.startswith("post_quant_conv")}
    )
    latents = encoder.quant_conv(encoder.encoder(x))
    indices, margin = nearest(latents, encoder.quantize.embedding.weight)
    z_q = encoder.quantize.embedding(indices).permute(0, 3, 1, 2)
    x_hat = decoder.decoder(decoder.post_quant_conv(z_q))
    count = sum(array.numel() for array in state.values())
    state["loss.discriminator.main.0.weight"] = torch.zeros(64, 3, 4, 4)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))])
    content = {"epoch": 1, "state_dict": state, "optimizer_states": [optimizer.state_dict()]}
    torch.save(content, folder / "last.ckpt")
    record(folder, count, x=x, latents=latents, indices=indices, margin=margin, x_hat=x_hat)


def gumbel(folder):
    """taming's Gumbel f8 has a projection to logits behind the encoder's, and the largest wins."""
    state = torch.load(folder.parent / "taming" / "last.ckpt")["state_dict"]
    generator = torch.Generator().manual_seed(8)
    del state["quantize.embedding.weight"]
    state["quantize.embed.weight"] = torch.randn((64, 8), generator=generator)
    state["quantize.proj.weight"] = torch.randn((64, 8, 1, 1), generator=generator)
    state["quantize.proj.bias"] = torch.randn(64, generator=generator)
    io = safetensors.torch.load_file(folder.parent / "taming" / "io.safetensors")
    conv = torch.nn.functional.conv2d
    logits = conv(io["latents"], state["quantize.proj.weight"], state["quantize.proj.bias"])
    best, order = logits.permute(0, 2, 3, 1).topk(2)
    torch.save({"state_dict": state}, folder / "last.ckpt")
    counted = (v.numel() for k, v in state.items() if not k.startswith("loss."))
    record(
        folder, sum(counted), x=io["x"], latents=logits, indices=order[..., 0],
        margin=best[..., 0] - best[..., 1],
    )  # fmt: skip


def llamagen(folder):
    config = JanusVQVAEConfig(
        embed_dim=8, num_embeddings=64, latent_channels=16, base_channels=128,
        channel_multiplier=[1, 1], num_res_blocks=1, num_patches=8,
    )  # fmt: skip
    model, x = randomised(JanusVQVAE(config), 9), images(10)
    latents = model.quant_conv(model.encoder(x))
    unit = torch.nn.functional.normalize
    codes = unit(model.quantize.embedding.weight, dim=-1)
    indices, margin = nearest(unit(latents, dim=1), codes)
    x_hat = model.decode(indices.reshape(len(x), -1))
    state = {renamed(name, LLAMAGEN): array for name, array in model.state_dict().items()}
    state["quantize.codebook_used"] = torch.zeros(65_536)
    torch.save({"model": state, "steps": 3}, folder / "vq_ds16_c2i.pt")
    record(
        folder, size(model), x=x, latents=latents, indices=indices, margin=margin,
        x_hat=getattr(x_hat, "sample", x_hat),
    )  # fmt: skip


@torch.no_grad()
def main():
    root = pathlib.Path(sys.argv[1]) / "weights"
    families = {
        "diffusers_vq": lambda f: diffusers_vq(f, 16, 4),
        "diffusers_kl": lambda f: diffusers_kl(f, 16, 4),
        "diffusers_kl_plain": lambda f: diffusers_kl(f, 16, 4, plain=True),
        "diffusers_vq_wide": lambda f: diffusers_vq(f, 128, 32),
        "diffusers_kl_wide": lambda f: diffusers_kl(f, 128, 32),
        "taming": taming,
        "gumbel": gumbel,
        "llamagen": llamagen,
    }
    for name, make in families.items():
        (root / name).mkdir(parents=True)
        make(root / name)


if __name__ == "__main__":
    main()
