"""How fast a VQGAN's training step is, beside the same layers in PyTorch with its weights.

    python tests/speed/step.py
    python tests/speed/step.py --rounds 3

PyTorch has `diffusers.VQModel` and a PatchGAN of the same layers. Both get the same parameters and
batch; the losses, the adaptive weight and both players' gradient norms of the first step are
compared before anything is timed. Then they take turns in one process, so what else the machine
does hits all of them; a ratio is the median over the rounds of rival / vqjax. Needs torch and
diffusers, which vqjax itself does not.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from vqjax.data import Arrays
from vqjax.discriminators import PatchGAN
from vqjax.nn.norm import group_count
from vqjax.quantizers import VectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam
from vqjax.training.platform import keep_freed_memory
from vqjax.training.state import TrainState, create_state
from vqjax.training.step import active_at, make_train_step
from vqjax.types import Tree

MULTIPLIERS = (1, 1, 2)
BLOCKS = 2
DIM = 64
RATE = 1e-4
GENERATOR_WEIGHT = 0.1
LOSSES = ("l1", "quantizer", "generator", "discriminator")
SIDE = 2048  # of the square matrices whose product measures the machine


def experiment(args: argparse.Namespace) -> Experiment:
    """The step that is measured; the data only give it a shape."""
    sizes = {"width": args.width, "multipliers": MULTIPLIERS, "latent_dim": DIM}
    image = np.zeros((args.batch, args.size, args.size, 3), np.float32)
    return Experiment(
        task=TokenizerTask(
            Tokenizer(
                ConvEncoder(**sizes, blocks=BLOCKS),
                VectorQuantizer(args.codes, DIM),
                ConvDecoder(**sizes, blocks=BLOCKS + 1),
            ),
            loss_weights={"l1": 1.0, "generator": GENERATOR_WEIGHT, "discriminator": 1.0},
            discriminator=PatchGAN(args.width),
        ),
        data=Arrays({"image": image}, {"image": image}),
        optimizers={"tokenizer": Adam(RATE), "discriminator": Adam(RATE)},
        batch_size=args.batch,
        total_steps=1,
    )


def first_state(found: Experiment) -> TrainState:
    """Step 0, with parameters of which none is zero and codes that lie apart."""
    state = jax.jit(lambda: create_state(found, found.data.example_spec()))()
    rng = np.random.default_rng(0)

    def shake(path: tuple, leaf: jax.Array) -> jax.Array:
        spread = 0.5 if path[-1].key == "codes" else 0.02
        return leaf + jnp.asarray(rng.normal(0.0, spread, leaf.shape), leaf.dtype)

    return state.replace(params=jax.tree_util.tree_map_with_path(shake, state.params))


def vqjax_step(found: Experiment, state: TrainState, x: np.ndarray) -> Callable[[], dict]:
    """Makes one step after another from `state`, which it uses up."""
    active = active_at(found, 0)
    batch = {"image": jnp.asarray(x)}
    run = make_train_step(found).lower(state, {}, batch, active=active).compile()

    def step() -> dict[str, jax.Array]:
        nonlocal state
        state, metrics = run(state, {}, batch)
        return jax.block_until_ready((state, metrics))[1]

    return step


class Discriminator(torch.nn.Sequential):
    """`vqjax.discriminators.PatchGAN` with 3 layers and group norm."""

    def __init__(self, width: int) -> None:
        layers = [torch.nn.Conv2d(3, width, 4, 2, 1), torch.nn.LeakyReLU(0.2)]
        for i in range(3):
            features = width * 2 ** (i + 1)
            layers += [
                torch.nn.Conv2d(width * 2**i, features, 4, 2 if i < 2 else 1, 1, bias=False),
                torch.nn.GroupNorm(group_count(features, 32), features, eps=1e-6),
                torch.nn.LeakyReLU(0.2),
            ]
        super().__init__(*layers, torch.nn.Conv2d(8 * width, 1, 4, 1, 1))


def vq_model(args: argparse.Namespace) -> diffusers.VQModel:
    """The tokenizer of diffusers, with as many groups in each norm as ours has."""
    model = diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D",) * len(MULTIPLIERS),
        up_block_types=("UpDecoderBlock2D",) * len(MULTIPLIERS),
        block_out_channels=tuple(args.width * m for m in MULTIPLIERS),
        layers_per_block=BLOCKS,
        latent_channels=DIM,
        num_vq_embeddings=args.codes,
        vq_embed_dim=DIM,
        norm_num_groups=group_count(args.width, 32),
    )
    model.quantize.legacy = False  # beta weighs the commitment, as published
    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = group_count(module.num_channels, 32)
    return model


def torch_name(path: tuple[str, ...]) -> str:
    """Where diffusers keeps what we keep at `path`."""
    top = {"pre_quant": "quant_conv", "post_quant": "post_quant_conv"}
    *place, leaf = path
    leaf = {"kernel": "weight", "scale": "weight", "codes": "embedding.weight"}.get(leaf, leaf)
    if place[0] not in ("encoder", "decoder"):
        return f"{top.get(place[0], 'quantize')}.{leaf}"
    side, *inner = place
    ups = side == "decoder"
    found = [side]
    for name in inner:
        kind, _, number = name.rpartition("_")
        if kind in ("level", "downsample", "upsample"):
            level = int(number) + (kind == "upsample")
            found.append(
                f"up_blocks.{len(MULTIPLIERS) - 1 - level}" if ups else f"down_blocks.{level}"
            )
            found += {"downsample": ["downsamplers.0"], "upsample": ["upsamplers.0.conv"]}.get(
                kind, []
            )
        elif kind == "block":
            found.append(f"resnets.{number}")
        elif kind in ("conv", "norm") and number.isdigit():
            found.append(kind + number)
        else:
            found.append(
                {
                    "mid": "mid_block",
                    "attention": "attentions.0",
                    "norm": "group_norm",
                    "query": "to_q",
                    "key": "to_k",
                    "value": "to_v",
                    "out": "to_out.0",
                    "shortcut": "conv_shortcut",
                    "norm_out": "conv_norm_out",
                    "to_output": "conv_out",
                }.get(name, name)
            )
    return ".".join([*found, leaf])


def copy_parameters(params: Tree, model: torch.nn.Module, judge: torch.nn.Module) -> None:
    """Ours -> theirs, every one of them."""
    layers = [m for m in judge if not isinstance(m, torch.nn.LeakyReLU)]
    order = [
        "conv_0",
        *(f"{kind}_{i}" for i in (1, 2, 3) for kind in ("conv", "norm")),
        "to_logits",
    ]
    places = dict(zip(order, layers, strict=True))
    for player, network in (("tokenizer", model), ("discriminator", judge)):
        left = dict(network.named_parameters())
        for path, leaf in jax.tree_util.tree_leaves_with_path(params[player]):
            names = tuple(key.key for key in path)
            if player == "tokenizer":
                parameter = left.pop(torch_name(names))
            else:
                place = places[names[0]]
                parameter = place.bias if names[1] == "bias" else place.weight
                left = {k: v for k, v in left.items() if v is not parameter}
            value = np.array(leaf)
            if names[-1] == "kernel":  # [*k, C_in, C_out] -> [C_out, C_in, *k]
                value = np.moveaxis(value, (-1, -2), (0, 1))
                value = value.reshape(parameter.shape) if value.ndim == 2 else value
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
        if left:
            raise SystemExit(f"nothing was copied to {', '.join(left)}")


def torch_step(
    args: argparse.Namespace, params: Tree, x: np.ndarray, layout: torch.memory_format
) -> Callable[[], dict]:
    """The tokenizer's step, then the discriminator's, from one reconstruction.

    The published training loop reconstructs a second time for the discriminator; not here.
    """
    model, judge = vq_model(args), Discriminator(args.width)
    copy_parameters(params, model, judge)
    model.to(memory_format=layout)
    judge.to(memory_format=layout)
    x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    players = {"tokenizer": model, "discriminator": judge}
    optimizers = {p: torch.optim.Adam(m.parameters(), RATE, fused=True) for p, m in players.items()}
    last = tuple(model.decoder.conv_out.parameters())

    def norm(gradients: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return torch.stack([g.square().sum() for g in gradients]).sum().sqrt()

    def update(player: str, loss: torch.Tensor) -> torch.Tensor:
        optimizers[player].zero_grad()
        loss.backward()
        size = norm(tuple(p.grad for p in players[player].parameters()))
        optimizers[player].step()
        return size

    def step() -> dict[str, float]:
        judge.requires_grad_(False)
        z_q, quantizer, _ = model.quantize(model.quant_conv(model.encoder(x)))
        x_hat = model.decoder(model.post_quant_conv(z_q))
        l1 = (x - x_hat).abs().mean()
        generator = -judge(x_hat).mean()
        pulls = (norm(torch.autograd.grad(t, last, retain_graph=True)) for t in (l1, generator))
        weight = (next(pulls) / (next(pulls) + 1e-4)).clamp(0.0, 1e4).detach()
        total = l1 + quantizer + GENERATOR_WEIGHT * weight * generator
        found = {"grad_norm/tokenizer": update("tokenizer", total)}
        judge.requires_grad_(True)
        real, fake = judge(x), judge(x_hat.detach())
        discriminator = 0.5 * (torch.relu(1.0 - real).mean() + torch.relu(1.0 + fake).mean())
        found["grad_norm/discriminator"] = update("discriminator", discriminator)
        losses = {"l1": l1, "quantizer": quantizer, "generator": generator}
        found |= losses | {"discriminator": discriminator, "adaptive_weight": weight}
        return {name: value.item() for name, value in found.items()}

    return step


def compare(ours: dict, theirs: dict) -> float:
    """The largest relative difference between the numbers of both first steps.

    Raises:
        SystemExit: above 1e-4 for a loss, or above 1e-3 for what comes of gradients.
    """
    quantizer = 0.25 * ours["commitment"] + ours["codebook"]
    largest = 0.0
    for name, value in theirs.items():
        mine = float(quantizer if name == "quantizer" else ours[name])
        difference = abs(mine - value) / abs(value)
        if not difference < (1e-4 if name in LOSSES else 1e-3):
            raise SystemExit(f"not the same step: {name} is {mine:.6g} and {value:.6g}")
        largest = max(largest, difference)
    return largest


def products() -> dict[str, Callable[[], object]]:
    """{who: multiplies two square matrices}; a product is 2 SIDE^3 operations."""
    a = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    of_jax, of_torch = jnp.asarray(a), torch.from_numpy(a)
    multiply = jax.jit(jnp.matmul)
    return {
        "jax": lambda: multiply(of_jax, of_jax).block_until_ready(),
        "torch": lambda: of_torch @ of_torch,
    }


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(args: argparse.Namespace) -> None:
    """Prints a line per contender."""
    found = experiment(args)
    state = first_state(found)
    x = np.random.default_rng(1).uniform(-1, 1, (args.batch, args.size, args.size, 3))
    x = x.astype(np.float32)
    runs = {
        f"torch, {name}": torch_step(args, state.params, x, layout)
        for name, layout in (
            ("channels first", torch.contiguous_format),
            ("channels last", torch.channels_last),
        )
    }
    runs = {"vqjax": vqjax_step(found, state, x), **runs}
    with FlopCounterMode(display=False) as counter:
        first = {"torch, channels first": runs["torch, channels first"]()}
    first = {name: first.get(name) or run() for name, run in runs.items()}
    differences = {n: compare(first["vqjax"], v) for n, v in first.items() if n != "vqjax"}
    flops = counter.get_total_flops()
    print(f"{flops / 1e9:.1f} GFLOP; first steps differ by {max(differences.values()):.1e} at most")

    seconds: dict[str, list[float]] = {name: [] for name in runs}
    rates: list[float] = []  # the better product of each round, FLOP/s
    multiply = products()
    for index in range(args.rounds + 1):
        times = {name: timed(run) for name, run in runs.items()}
        rate = 2 * SIDE**3 / min(timed(run) for run in multiply.values())
        if index:  # the first warms up
            rates.append(rate)
            for name, value in times.items():
                seconds[name].append(value)
    print(f"matrix product: {statistics.median(rates) / 1e9:.0f} GFLOP/s")
    print(
        "{:<24} {:>9} {:>9} {:>8} {:>9} {:>9}".format(
            "", "ms", "least", "/ vqjax", "GFLOP/s", "share"
        )
    )
    for name, times in seconds.items():
        ratio = statistics.median(t / o for t, o in zip(times, seconds["vqjax"], strict=True))
        middle = statistics.median(times)
        share = statistics.median(flops / t / r for t, r in zip(times, rates, strict=True))
        print(
            f"{name:<24} {1e3 * middle:>9.0f} {1e3 * min(times):>9.0f} {ratio:>8.2f}"
            f" {flops / middle / 1e9:>9.0f} {share:>9.1%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=64, help="of a picture (default: %(default)s)")
    parser.add_argument("--width", type=int, default=64, help="channels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--codes", type=int, default=1024, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=9, help="each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    args = parser.parse_args()
    keep_freed_memory()  # as `vqjax train` does; it serves both
    torch.set_num_threads(args.threads)
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}; diffusers", end=" ")
    print(f"{diffusers.__version__}, torch {torch.__version__} on {args.threads} threads; float32")
    measure(args)


if __name__ == "__main__":
    main()
