"""How fast a GPT prior draws tokens, beside `generate` of Hugging Face's LLaMA with its weights.

    python tests/speed/generate.py
    python tests/speed/generate.py --sizes 6x256x8 --rounds 3

Both get the same parameters, the same first vector, and their likeliest token every time; logits
and tokens are compared before anything is timed. Then they take turns in one process, so what
else the machine does hits all of them; a ratio is the median over the rounds of rival / vqjax.
Transformers compiles `generate` on accelerators only; here it runs as it does on a CPU. Needs torch
and transformers, which vqjax itself does not.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from vqjax.nn.transformer import hidden_size
from vqjax.priors import GPT
from vqjax.sampling import Guidance, TokenSampling
from vqjax.types import Level, Tree

CACHES = ("dynamic", "static")


def prior(layers: int, width: int, heads: int, codes: int, side: int) -> tuple[GPT, Tree]:
    """The network, and parameters of which none is zero."""
    levels = (Level("tokens", (side, side), codes),)
    network = GPT(width, layers, heads, positions="sequence", levels=levels)
    tokens = jax.ShapeDtypeStruct((1, side * side), jnp.int32)
    shapes = jax.eval_shape(lambda t: network.init(jax.random.key(0), t), tokens)["params"]
    rng = np.random.default_rng(0)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        around = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(rng.normal(around, 0.02, leaf.shape), jnp.float32)

    return network, jax.tree_util.tree_map_with_path(fill, shapes)


def llama(network: GPT, params: Tree) -> transformers.LlamaForCausalLM:
    """The same network of Hugging Face, with the same parameters."""
    codes, length = network.order.vocabulary, network.order.length
    config = transformers.LlamaConfig(
        vocab_size=codes,
        hidden_size=network.width,
        intermediate_size=hidden_size(network.width),
        num_hidden_layers=network.layers,
        num_attention_heads=network.heads,
        max_position_embeddings=length + 1,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    blocks = params["transformer"]["blocks"]["block"]
    weights = {
        "model.embed_tokens.weight": params["tokens"]["embedding"],
        "model.norm.weight": params["transformer"]["norm"]["scale"],
        "lm_head.weight": params["head"]["kernel"].T,
    }
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"}
    for i in range(network.layers):
        start = f"model.layers.{i}."
        for ours, theirs in names.items():
            kernel = blocks["attention"][ours]["kernel"][i]
            weights[f"{start}self_attn.{theirs}.weight"] = kernel.T
        for name in ("gate", "up", "down"):
            weights[f"{start}mlp.{name}_proj.weight"] = blocks["mlp"][name]["kernel"][i].T
        weights[f"{start}input_layernorm.weight"] = blocks["attention_norm"]["scale"][i]
        weights[f"{start}post_attention_layernorm.weight"] = blocks["mlp_norm"]["scale"][i]
    model = transformers.LlamaForCausalLM(config).eval()
    model.load_state_dict({k: torch.from_numpy(np.array(v, order="C")) for k, v in weights.items()})
    return model


def contenders(
    network: GPT, params: Tree, model: transformers.LlamaForCausalLM, batch: int
) -> dict[str, Callable[[], np.ndarray]]:
    """{name: draws int[batch, T]}, ours first."""
    keys = jax.random.split(jax.random.key(0), batch)

    @jax.jit
    def draw(params: Tree, keys: jax.Array) -> jax.Array:
        sampling = TokenSampling(temperature=0.0)
        return network.sample(params, keys, sampling=sampling, guidance=Guidance())

    start = torch.from_numpy(np.array(params["start"])).expand(batch, 1, -1)
    seen = torch.ones(batch, 1, dtype=torch.long)

    @torch.inference_mode()
    def generate(cache: str) -> np.ndarray:
        return model.generate(
            inputs_embeds=start,
            attention_mask=seen,
            max_new_tokens=network.order.length,
            do_sample=False,
            use_cache=True,
            cache_implementation=cache,
        ).numpy()

    found = {"vqjax": lambda: np.asarray(draw(params, keys))}
    for cache in CACHES:
        found[f"transformers, {cache} cache"] = functools.partial(generate, cache)
    return found


def compare(network: GPT, params: Tree, model: torch.nn.Module, tokens: np.ndarray) -> float:
    """The largest difference between the logits of both, for the same tokens."""
    ours = jax.jit(lambda p, t: network.apply({"params": p}, t))(params, jnp.asarray(tokens))
    with torch.inference_mode():
        start = torch.from_numpy(np.array(params["start"])).expand(len(tokens), 1, -1)
        embedded = model.model.embed_tokens(torch.tensor(tokens[:, :-1]).long())
        theirs = model(inputs_embeds=torch.cat([start, embedded], 1)).logits.numpy()
    return float(np.abs(np.asarray(ours) - theirs).max())


def measure(size: tuple[int, int, int], args: argparse.Namespace) -> None:
    """Prints a line per contender."""
    network, params = prior(*size, args.codes, args.side)
    model = llama(network, params)
    runs = contenders(network, params, model, args.batch)
    tokens = {name: run() for name, run in runs.items()}  # compiles
    difference = compare(network, params, model, tokens["vqjax"])
    if not difference < 1e-4:
        raise SystemExit(f"not the same network: logits differ by {difference:.1e}")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    # The vectors of tokens are looked up, not read through.
    read = 4 * (sum(p.size for p in jax.tree.leaves(params)) - params["tokens"]["embedding"].size)
    steps = network.order.length
    for name, times in seconds.items():
        ratio = statistics.median(t / ours for t, ours in zip(times, seconds["vqjax"], strict=True))
        middle = statistics.median(times)
        same = 100 * np.mean(tokens[name] == tokens["vqjax"])
        print(
            f"{'x'.join(map(str, size)):<12} {name:<28} {args.batch * steps / middle:>9,.0f}"
            f" {ratio:>8.2f} {read * steps / middle / 1e9:>7.2f} {same:>8.2f} {difference:>9.1e}",
            flush=True,
        )


def size_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--sizes",
        type=size_of,
        nargs="+",
        default=[(6, 256, 8), (12, 768, 12)],
        help="layers x width x heads (default: 6x256x8 12x768x12)",
    )
    parser.add_argument("--batch", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--side", type=int, default=16, help="of the grid (default: %(default)s)")
    parser.add_argument("--codes", type=int, default=1024, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}; transformers", end=" ")
    print(
        f"{transformers.__version__}, torch {torch.__version__} on {args.threads} threads; float32"
    )
    # Seconds beside ours; weights read; tokens as ours; the largest difference of logits.
    head = ("size", "", "tokens/s", "/ vqjax", "GB/s", "% same", "logits")
    print("{:<12} {:<28} {:>9} {:>8} {:>7} {:>8} {:>9}".format(*head))
    for size in args.sizes:
        measure(size, args)


if __name__ == "__main__":
    main()
