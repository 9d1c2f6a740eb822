"""Records what vector-quantize-pytorch computes from given numbers: record.py DIR.

Runs by `make parity` in an environment of its own, which has torch and neither vqjax nor jax, so
nothing of vqjax can leak into what it is compared with. Inputs come from numpy's generators, hence
every run records the same numbers but for rounding. DIR/values.safetensors then holds

    CASE/z, direction       the input; and a direction D in which the output is differentiated
    CASE/z_q, indices, loss what came out; one loss per level where there are several
    CASE/pull               d <D, z_q> / dz
    CASE/push               d loss / dz
    CASE/push_NAME          d loss / d NAME, of the codes or the kernel
    CASE/...                the weights, what training steps made of them, parts of the loss
"""

import pathlib
import sys
from collections.abc import Callable, Mapping

import numpy as np
import torch
from safetensors.numpy import save_file
from vector_quantize_pytorch import (
    FSQ,
    LFQ,
    GroupedResidualVQ,
    HierarchicalVQ,
    ResidualFSQ,
    ResidualLFQ,
    ResidualSimVQ,
    ResidualVQ,
    SimVQ,
    VectorQuantize,
)

FILE = "values.safetensors"
K, D = 16, 4
B, N = 2, 24
DECAY = 0.8
# Codes that an optimizer moves, with the straight-through estimator.
LEARNED = {"learnable_codebook": True, "ema_update": False, "rotation_trick": False}
# Codes that are averages, by the paper's equations: no smoothing, nothing revived.
AVERAGED = {"decay": DECAY, "eps": 0.0, "threshold_ema_dead_code": 0, "rotation_trick": False}

Arrays = dict[str, np.ndarray]


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def to_numpy(x: torch.Tensor) -> np.ndarray:
    x = x.detach()
    return x.to(torch.int32 if not x.is_floating_point() else torch.float32).numpy().copy()


def observe(
    call: Callable,
    z: np.ndarray,
    parameters: Mapping[str, torch.Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Arrays:
    """What `call(z) -> (output, indices[, loss])` gives, and its gradients."""
    z = torch.from_numpy(z).to(dtype).requires_grad_()
    direction = torch.from_numpy(normal(99, *z.shape)).to(dtype)
    out, indices, *loss = call(z)
    found = {"z": z, "direction": direction, "z_q": out, "indices": indices}
    (found["pull"],) = torch.autograd.grad((out * direction).sum(), z, retain_graph=True)
    if loss:
        parameters = dict(parameters or {})
        found["loss"] = loss[0]
        pushes = torch.autograd.grad(loss[0].sum(), [z, *parameters.values()])
        found |= dict(zip(["push", *(f"push_{name}" for name in parameters)], pushes, strict=True))
    return {name: to_numpy(x) for name, x in found.items()}


def set_codes(module: torch.nn.Module, codes: np.ndarray) -> torch.Tensor:
    """Gives a VectorQuantize its codes [heads, K, D], and returns where they are."""
    book = module._codebook
    book.embed.data.copy_(torch.from_numpy(codes))
    book.embed_avg.copy_(book.embed.data)  # the sums, of counts that are all one
    return book.embed


def vq(**settings) -> Arrays:
    module = VectorQuantize(D, K, **{**LEARNED, **settings})
    codes = normal(1, 1, K, D)
    embed = set_codes(module, codes)
    found = observe(module, normal(0, B, N, D), {"codes": embed})
    return {**found, "codes": codes[0], "push_codes": found["push_codes"][0]}


def ema(steps: int = 3) -> Arrays:
    module = VectorQuantize(D, K, **AVERAGED)
    codes = normal(2, 1, K, D)
    set_codes(module, codes)
    found = {"codes": codes[0]}
    for step in range(steps):
        result = observe(module, normal(10 + step, B, N, D))
        found |= {f"{name}_{step}": x for name, x in result.items()}
        found[f"codes_after_{step}"] = to_numpy(module._codebook.embed)[0]
        found[f"counts_after_{step}"] = to_numpy(module._codebook.cluster_size)[0]
    return found


def cosine(rotation: bool) -> Arrays:
    settings = {**AVERAGED, "rotation_trick": rotation}
    module = VectorQuantize(D, K, use_cosine_sim=True, **settings)
    codes = normal(3, 1, K, D)
    codes /= np.linalg.norm(codes, axis=-1, keepdims=True)
    set_codes(module, codes)
    return {**observe(module, normal(4, B, N, D)), "codes": codes[0]}


def heads(separate: bool) -> Arrays:
    module = VectorQuantize(
        2 * D, K, codebook_dim=D, heads=2, separate_codebook_per_head=separate, **LEARNED
    )
    codes = normal(5, 2 if separate else 1, K, D)
    embed = set_codes(module, codes)
    return {**observe(module, normal(6, B, N, 2 * D), {"codes": embed}), "codes": codes}


def fsq(*levels: int, dtype: torch.dtype = torch.float32, **settings) -> Arrays:
    return observe(FSQ(list(levels), **settings), normal(7, B, 64, len(levels)), dtype=dtype)


def signs(dtype: torch.dtype = torch.float32, **settings) -> Arrays:
    """LFQ, and BSQ with spherical=True."""
    module = LFQ(
        dim=D,
        entropy_loss_weight=0.1,
        commitment_loss_weight=0.25,
        diversity_gamma=0.7,
        **settings,
    )
    parts = []

    def call(z):
        # So warm that no probability is below 1e-5, where their logarithm is clamped.
        result, breakdown = module(z, inv_temperature=0.25, return_loss_breakdown=True)
        parts.append(breakdown)
        return result

    found = observe(call, normal(8, B, N, D, scale=0.5), dtype=dtype)
    names = ("sample_entropy", "batch_entropy", "commitment")
    return {**found, **{n: to_numpy(x) for n, x in zip(names, parts[0], strict=True)}}


def set_simvq(module: SimVQ, seed: int) -> Arrays:
    codes, kernel = normal(seed, K, D), normal(seed + 1, D, D, scale=D**-0.5)
    module.frozen_codebook.copy_(torch.from_numpy(codes))
    module.code_transform.weight.data.copy_(torch.from_numpy(kernel.T))
    return {"codes": codes, "kernel": kernel}


def simvq(rotation: bool) -> Arrays:
    module = SimVQ(D, K, rotation_trick=rotation)
    weights = set_simvq(module, 20)
    found = observe(module, normal(22, B, N, D), {"kernel": module.code_transform.weight})
    return {**found, **weights, "push_kernel": found["push_kernel"].T.copy()}


def residual_simvq(stages: int = 2) -> Arrays:
    module = ResidualSimVQ(dim=D, num_quantizers=stages, codebook_size=K, rotation_trick=False)
    weights = [set_simvq(layer, 30 + 2 * i) for i, layer in enumerate(module.layers)]
    found = observe(module, normal(29, B, N, D))
    return {**found, **{name: np.stack([w[name] for w in weights]) for name in weights[0]}}


def residual(stages: int = 3, **settings) -> Arrays:
    module = ResidualVQ(dim=D, num_quantizers=stages, codebook_size=K, **{**LEARNED, **settings})
    codes = np.stack([normal(40 + i, K, D, scale=0.5**i) for i in range(stages)])
    embeds = [set_codes(layer, codes[i][None]) for i, layer in enumerate(module.layers)]
    places = {f"codes_{i}": embed for i, embed in enumerate(embeds)}
    found = observe(module, normal(39, B, N, D), places)
    pushes = np.stack([found.pop(f"push_codes_{i}")[0] for i in range(stages)])
    return {**found, "codes": codes, "push_codes": pushes}


def residual_ema(stages: int = 2, shared: bool = False) -> Arrays:
    module = ResidualVQ(
        dim=D, num_quantizers=stages, codebook_size=K, shared_codebook=shared, **AVERAGED
    )
    codes = np.stack([normal(50 + (0 if shared else i), K, D) for i in range(stages)])
    for layer, mine in zip(module.layers, codes, strict=True):
        set_codes(layer, mine[None])
    found = observe(module, normal(49, B, N, D))
    books = [layer._codebook for layer in module.layers]
    return {
        **found,
        "codes": codes,
        "codes_after": np.stack([to_numpy(book.embed)[0] for book in books]),
        "counts_after": np.stack([to_numpy(book.cluster_size)[0] for book in books]),
    }


def grouped_residual(groups: int = 2, stages: int = 2) -> Arrays:
    module = GroupedResidualVQ(
        dim=groups * D, groups=groups, num_quantizers=stages, codebook_size=K, **LEARNED
    )
    codes = normal(60, groups, stages, K, D)
    for group, rvq in enumerate(module.rvqs):
        for stage, layer in enumerate(rvq.layers):
            set_codes(layer, codes[group, stage][None])
    return {**observe(module, normal(61, B, N, groups * D)), "codes": codes}


def residual_fsq(*levels: int) -> Arrays:
    """They squash the input first, x -> c tanh(x / c); `squashed` is what their stages get."""
    module = ResidualFSQ(levels=list(levels), num_quantizers=2)
    limits = 1.0 + 1.0 / (np.asarray(levels, np.float32) - 1.0)
    uniform = np.random.default_rng(70).uniform(-0.95, 0.95, (B, N, len(levels)))
    squashed = (uniform * limits).astype(np.float32)
    z = (limits * np.arctanh(uniform)).astype(np.float32)
    return {**observe(module, z), "squashed": squashed}


def residual_lfq() -> Arrays:
    # They have no way to give the stages a temperature: without the entropy.
    module = ResidualLFQ(
        dim=D,
        num_quantizers=2,
        codebook_size=2**D,
        entropy_loss_weight=0.0,
        commitment_loss_weight=1.0,
    )
    return observe(module, normal(71, B, N, D))


def multiscale(grid: int = 6) -> Arrays:
    """Two scales of the same grid, where nothing is resized; in training, codes would move between
    the two.
    """
    module = HierarchicalVQ(
        dim=D,
        codebook_size=K,
        scales=(grid, grid),
        channel_first=False,
        kmeans_init=False,
        threshold_ema_dead_code=0,
    ).eval()
    codes = normal(80, 1, K, D)
    set_codes(module.vq, codes)
    z = normal(81, 8, grid, D)
    kernel = module.phi_shared.conv.weight  # [D, D, 3]
    new, bias = normal(82, 3, D, D, scale=0.3), normal(83, D, scale=0.1)
    kernel.data.copy_(torch.from_numpy(new.transpose(2, 1, 0)))
    module.phi_shared.conv.bias.data.copy_(torch.from_numpy(bias))
    out, indices, _ = module(torch.from_numpy(z))
    found = {"z_q": to_numpy(out), "indices": to_numpy(torch.stack(indices, dim=-1))}
    return {**found, "z": z, "codes": codes[0], "kernel": new, "bias": bias}


CASES = {
    "vq": vq,
    "vq_rotation": lambda: vq(rotation_trick=True),
    "ema": ema,
    "cosine": lambda: cosine(rotation=False),
    "cosine_rotation": lambda: cosine(rotation=True),
    "heads_shared": lambda: heads(separate=False),
    "heads_separate": lambda: heads(separate=True),
    "fsq_even": lambda: fsq(8, 4, 6),
    "fsq_odd": lambda: fsq(5, 7, 3),
    "fsq_mixed": lambda: fsq(8, 5, 5, 5),
    "fsq_clip": lambda: fsq(8, 5, 4, bound_hard_clamp=True),
    "fsq_bfloat16": lambda: fsq(8, 5, 5, 5, dtype=torch.bfloat16),
    "lfq": signs,
    "lfq_bfloat16": lambda: signs(dtype=torch.bfloat16),
    "bsq": lambda: signs(spherical=True),
    "simvq": lambda: simvq(rotation=False),
    "simvq_rotation": lambda: simvq(rotation=True),
    "residual": residual,
    "residual_rotation": lambda: residual(rotation_trick=True),
    "residual_ema": residual_ema,
    "residual_ema_shared": lambda: residual_ema(shared=True),
    "residual_simvq": residual_simvq,
    "residual_fsq": lambda: residual_fsq(5, 7, 5),
    "residual_lfq": residual_lfq,
    "grouped_residual": grouped_residual,
    "multiscale": multiscale,
}


def main(folder: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    values = {
        f"{case}/{name}": np.ascontiguousarray(x)
        for case, record in CASES.items()
        for name, x in record().items()
    }
    assert not {"jax", "vqjax"} & set(sys.modules)
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    save_file(values, path / FILE)
    size = sum(x.nbytes for x in values.values())
    print(f"{path / FILE}: {len(CASES)} cases, {len(values)} arrays, {size // 1000} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
