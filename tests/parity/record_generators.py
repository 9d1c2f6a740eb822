"""Next-scale prediction and the relativistic GAN, written in torch from their published formulas,
with random weights, and what they compute.

    .venv-parity/bin/python tests/parity/record_generators.py DIR

Writes DIR/generators.safetensors. "var/" has the transformer of arXiv 2404.02905: queries and keys
of length 1, queries times exp(min(s, ln 100)) for each head; norms that the class modulates, gated
branches; a mask that lets a scale see itself and coarser ones. "gan/" has the losses of arXiv
2501.05441, eq. 2, with both zero-centred penalties, and their gradients by the discriminator's
weights and by the made examples.
"""

import math
import pathlib
import sys

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

FILE = "generators.safetensors"
WIDTH, HEADS, LAYERS, CLASSES, CODES, FEATURES = 16, 2, 2, 3, 5, 4
GRIDS = (1, 2, 3)


def seeded(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scattered(module):
    for seed, (_, p) in enumerate(sorted(module.named_parameters())):
        p.data = seeded(p.shape, seed) * (0.5 if p.ndim > 1 else 0.3)
    return module


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ada = nn.Linear(WIDTH, 6 * WIDTH)
        self.q, self.v = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k = nn.Linear(WIDTH, WIDTH, bias=False)
        self.sharpness = nn.Parameter(torch.zeros(HEADS))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def attention(self, x, mask):
        def heads(y):
            return y.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # [B, h, T, d]

        sharp = self.sharpness.clamp(max=math.log(100)).exp()[:, None, None]
        q = F.normalize(heads(self.q(x)), dim=-1) * sharp
        k = F.normalize(heads(self.k(x)), dim=-1)
        weights = (q @ k.transpose(-1, -2)).masked_fill(~mask, -torch.inf).softmax(-1)
        return self.out((weights @ heads(self.v(x))).transpose(1, 2).flatten(2))

    def forward(self, x, c, mask):
        g1, g2, a1, a2, b1, b2 = self.ada(F.silu(c))[:, None].chunk(6, dim=-1)
        norm = lambda y: F.layer_norm(y, (WIDTH,), eps=1e-6)  # noqa: E731
        x = x + g1 * self.attention(norm(x) * (1 + a1) + b1, mask)
        y = self.up(norm(x) * (1 + a2) + b2)
        return x + g2 * self.down(F.gelu(y, approximate="tanh"))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        length = sum(side**2 for side in GRIDS)
        self.classes = nn.Embedding(CLASSES + 1, WIDTH)
        self.sums = nn.Linear(FEATURES, WIDTH)
        self.levels = nn.Parameter(torch.zeros(len(GRIDS), WIDTH))
        self.positions = nn.Parameter(torch.zeros(length, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.final, self.head = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, CODES)

    def forward(self, labels, sums):
        level = torch.repeat_interleave(
            torch.arange(len(GRIDS)), torch.tensor([side**2 for side in GRIDS])
        )
        c = self.classes(labels)
        x = torch.cat([c[:, None], *(self.sums(s.flatten(1, 2)) for s in sums)], dim=1)
        x = x + self.positions + self.levels[level]
        mask = level[:, None] >= level[None]
        for block in self.blocks:
            x = block(x, c, mask)
        scale, shift = self.final(F.silu(c))[:, None].chunk(2, dim=-1)
        return self.head(F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + scale) + shift)


def var():
    model = scattered(Transformer())
    labels = torch.tensor([2, CLASSES])  # the last one is that of no class
    sums = [seeded((2, side, side, FEATURES), side).requires_grad_() for side in GRIDS[1:]]
    logits = model(labels, sums)
    weights = seeded(logits.shape, 101)
    (logits * weights).sum().backward()
    arrays = {"labels": labels, "logits": logits.detach(), "weights": weights}
    for number, s in enumerate(sums):
        arrays |= {f"sums/{number}": s.detach(), f"sums_gradient/{number}": s.grad}
    arrays["sharpness_gradient"] = torch.stack([b.sharpness.grad for b in model.blocks])
    return arrays | {f"state/{k}": v for k, v in model.state_dict().items()}


def gan():
    judge = scattered(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 1))
    )
    real, fake = seeded((6, 1, 4, 4), 1), seeded((6, 1, 4, 4), 2)

    def penalty(x):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(judge(x).sum(), x, create_graph=True)
        return slope.square().sum((1, 2, 3)).mean()

    discriminator = F.softplus(-(judge(real) - judge(fake))).mean()
    r1, r2 = penalty(real), penalty(fake)
    (discriminator + 0.5 * r1 + 0.25 * r2).backward()
    arrays = {"real": real, "fake": fake, "discriminator": discriminator, "r1": r1, "r2": r2}
    arrays |= {f"state/{k}": p.detach() for k, p in judge.named_parameters()}
    arrays |= {f"gradient/{k}": p.grad for k, p in judge.named_parameters()}
    made = fake.clone().requires_grad_()
    generator = F.softplus(-(judge(made) - judge(real))).mean()
    (arrays["fake_gradient"],) = torch.autograd.grad(generator, made)
    return arrays | {"generator": generator}


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    found = {"var": var(), "gan": gan()}
    safetensors.torch.save_file(
        {f"{n}/{k}": v.detach().contiguous() for n, part in found.items() for k, v in part.items()},
        folder / FILE,
    )
    print(folder / FILE)
