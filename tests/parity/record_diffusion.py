"""A diffusion transformer with random weights, the schedulers of diffusers, and what they compute.

    .venv-parity/bin/python tests/parity/record_diffusion.py DIR

Writes DIR/diffusion.safetensors. Of the transformer, DiTTransformer2DModel, two things are set to
what was published: the frequencies of the time (`downscale_freq_shift`), and the epsilon of every
norm; and each of its blocks has the same embedder, as it has a copy of its own. "solvers/NAME/" has
the noise that a scheduler began with, the one it drew in each step, its times, and where it came
to, for a model that is `prediction` below.
"""

import pathlib
import sys

import safetensors.torch
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)

FILE = "diffusion.safetensors"
HEADS, WIDTH, LAYERS, CLASSES = 2, 8, 2, 3


def seeded(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def prediction(x, t):
    """What every model says of x at a time in [0, 1]."""
    return torch.tanh(0.7 * x + 0.3) * (0.5 + 0.5 * t)


def transformer():
    model = DiTTransformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH,
        in_channels=3,
        out_channels=6,
        num_layers=LAYERS,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=CLASSES,
        norm_eps=1e-6,
    )
    for seed, (_, p) in enumerate(sorted(model.named_parameters())):
        p.data = seeded(p.shape, seed) * (0.5 / p[0].numel() ** 0.5 if p.ndim > 1 else 0.1)
    first = model.transformer_blocks[0].norm1.emb
    first.time_proj.downscale_freq_shift = 0
    for block in model.transformer_blocks[1:]:
        block.norm1.emb = first
    model.eval()
    x = seeded((2, 3, 8, 8), 100).requires_grad_()
    t, labels = torch.tensor([37, 911]), torch.tensor([2, CLASSES])
    out = model(x, t, labels).sample
    weights = seeded(out.shape, 101)
    (out * weights).sum().backward()
    embed = model.pos_embed.proj.weight
    arrays = {"x": x.detach(), "t": t, "labels": labels, "out": out.detach(), "weights": weights}
    arrays |= {"x_gradient": x.grad, "embed_gradient": embed.grad}
    state = model.state_dict()
    copies = [k for k in state if "norm1.emb" in k and "blocks.0." not in k]
    arrays |= {f"state/{k}": v for k, v in state.items() if k not in copies}
    return arrays


def walked(scheduler, steps, flow=False):
    """From noise to where a scheduler comes."""
    scheduler.set_timesteps(steps)
    start = x = seeded((4, 6, 1), 200)
    drawn = []
    for number, t in enumerate(scheduler.timesteps):
        time = (t if flow else t + 1) / 1_000
        out = prediction(x, time)
        if scheduler.config.get("variance_type") == "learned_range":
            out = torch.cat([out, torch.tanh(x) / 2], dim=1)
        if isinstance(scheduler, DDPMScheduler):
            generator = torch.Generator().manual_seed(number)
            drawn.append(torch.randn(x.shape, generator=torch.Generator().manual_seed(number)))
            x = scheduler.step(out, t, x, generator=generator).prev_sample
        else:
            x = scheduler.step(out, t, x).prev_sample
    if flow:
        times = torch.unique_consecutive(scheduler.sigmas)
    else:
        times = torch.cat([(scheduler.timesteps + 1) / 1_000, torch.zeros(1)])
    arrays = {"start": start, "times": times.float(), "end": x}
    return arrays | ({"drawn": torch.stack(drawn)} if drawn else {})


SOLVERS = {
    "ddim": lambda: walked(DDIMScheduler(clip_sample=False), 50),
    "ddpm": lambda: walked(DDPMScheduler(clip_sample=False), 50),
    "ddpm_learned": lambda: walked(
        DDPMScheduler(clip_sample=False, variance_type="learned_range"), 50
    ),
    "dpm_10": lambda: walked(DPMSolverMultistepScheduler(), 10),
    "dpm_20": lambda: walked(DPMSolverMultistepScheduler(), 20),
    "euler": lambda: walked(FlowMatchEulerDiscreteScheduler(), 20, True),
    "euler_shifted": lambda: walked(FlowMatchEulerDiscreteScheduler(shift=3.0), 20, True),
    "heun": lambda: walked(FlowMatchHeunDiscreteScheduler(), 20, True),
}

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    arrays = {f"dit/{name}": array for name, array in transformer().items()}
    for name, walk in SOLVERS.items():
        arrays |= {f"solvers/{name}/{key}": value for key, value in walk().items()}
    arrays = {name: array.contiguous() for name, array in arrays.items()}
    safetensors.torch.save_file(arrays, pathlib.Path(sys.argv[1]) / FILE)
