"""Same weights, same inputs: next-scale prediction and the relativistic GAN beside torch; see
record_generators.py.
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from vqjax.losses import Relativistic, gradient_penalty
from vqjax.priors import ClassLabel, NextScale
from vqjax.types import Level

COMMITTED = pathlib.Path(__file__).parent / "fixtures"
VALUES = load_file(
    pathlib.Path(os.environ.get("VQJAX_PARITY", COMMITTED)) / "generators.safetensors"
)
LEVELS = tuple(Level(f"tokens_{n}", (n + 1, n + 1), 5) for n in range(3))


def under(prefix):
    return {k.removeprefix(prefix): v for k, v in VALUES.items() if k.startswith(prefix)}


def params_of(state):
    """Theirs as ours."""

    def dense(name):
        found = {"kernel": state[f"{name}.weight"].T}
        return found | ({"bias": state[f"{name}.bias"]} if f"{name}.bias" in state else {})

    def block(i):
        root, ada = f"blocks.{i}", dense(f"blocks.{i}.ada")
        gates, modulation = np.split(ada["kernel"], [32], 1), np.split(ada["bias"], [32])
        names = {"query": "q", "key": "k", "value": "v", "out": "out", "up": "up", "down": "down"}
        return {
            "gates": {"kernel": gates[0], "bias": modulation[0]},
            "modulation": {"kernel": gates[1], "bias": modulation[1]},
            "sharpness": state[f"{root}.sharpness"],
            **{ours: dense(f"{root}.{theirs}") for ours, theirs in names.items()},
        }

    return {
        "condition": {"table": state["classes.weight"]},
        "sum_features": dense("sums"),
        "scales": state["levels"],
        "positions": state["positions"],
        "blocks": jax.tree.map(lambda *leaves: np.stack(leaves), block(0), block(1)),
        "final": dense("final"),
        "head": dense("head"),
    }


def test_the_published_next_scale_transformer_is_the_same_function():
    found = under("var/")
    params = params_of(under("var/state/"))
    network = NextScale(16, 2, 2, condition=ClassLabel(3), levels=LEVELS)
    sums = (found["sums/0"], found["sums/1"])
    labels = np.where(found["labels"] == 3, -1, found["labels"]).astype(np.int32)
    tokens = jnp.zeros((2, 14), jnp.int32)

    def total(params, sums):
        logits = network.apply({"params": params}, tokens, labels, sums)
        return jnp.sum(logits * found["weights"]), logits

    run = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))
    (_, logits), (of_params, of_sums) = run(params, sums)
    pairs = [(logits, found["logits"])]
    pairs += [(of_sums[n], found[f"sums_gradient/{n}"]) for n in range(2)]
    pairs += [(of_params["blocks"]["sharpness"], found["sharpness_gradient"])]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_the_relativistic_pair_and_both_penalties():
    found = under("gan/")
    weights = under("gan/state/")
    real, fake = (found[name].transpose(0, 2, 3, 1) for name in ("real", "fake"))

    def judge(weights, x):
        h = jax.lax.conv_general_dilated(
            x, weights["0.weight"], (1, 1), "VALID", dimension_numbers=("NHWC", "OIHW", "NCHW")
        )
        h = jax.nn.leaky_relu(h + weights["0.bias"].reshape(1, -1, 1, 1), 0.2)
        return h.reshape(len(x), -1) @ weights["3.weight"].T + weights["3.bias"][None]

    def losses(weights):
        made = {
            "discriminator": Relativistic().discriminator(
                judge(weights, real), judge(weights, fake)
            ),
            "r1": gradient_penalty(lambda x: judge(weights, x), real),
            "r2": gradient_penalty(lambda x: judge(weights, x), fake),
        }
        return made["discriminator"] + 0.5 * made["r1"] + 0.25 * made["r2"], made

    (_, made), gradients = jax.jit(jax.value_and_grad(losses, has_aux=True))(weights)
    pairs = [(made[name], found[name]) for name in made]
    pairs += [(gradients[name], found[f"gradient/{name}"]) for name in weights]
    generate = lambda x: Relativistic().generator(judge(weights, x), judge(weights, real))  # noqa: E731
    value, slope = jax.jit(jax.value_and_grad(generate))(fake)
    pairs += [(value, found["generator"]), (slope, found["fake_gradient"].transpose(0, 2, 3, 1))]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-6 * max(1.0, np.abs(theirs).max()))
