"""Same weights, same noise, same times: the published transformer and the solvers beside those of
diffusers; see record_diffusion.py.
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from vqjax.denoisers import DiT
from vqjax.ops.diffusion import DDPMPath, StraightPath, understood
from vqjax.priors import ClassLabel
from vqjax.sampling import Ancestral, DPMSolver, Euler, Heun, solvers

COMMITTED = pathlib.Path(__file__).parent / "fixtures"
VALUES = load_file(
    pathlib.Path(os.environ.get("VQJAX_PARITY", COMMITTED)) / "diffusion.safetensors"
)


def under(prefix):
    return {k.removeprefix(prefix): v for k, v in VALUES.items() if k.startswith(prefix)}


def params_of(state, layers):
    """Theirs as ours."""

    def dense(name):
        return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}

    def block(i):
        root = f"transformer_blocks.{i}"
        qkv = [dense(f"{root}.attn1.to_{name}") for name in "qkv"]
        return {
            "modulation": dense(f"{root}.norm1.linear"),
            "qkv": jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1), *qkv),
            "out": dense(f"{root}.attn1.to_out.0"),
            "up": dense(f"{root}.ff.net.0.proj"),
            "down": dense(f"{root}.ff.net.2"),
        }

    emb = "transformer_blocks.0.norm1.emb"
    times = f"{emb}.timestep_embedder"
    kernel = state["pos_embed.proj.weight"].transpose(2, 3, 1, 0)  # [p, p, C, D]
    return {
        "embed": {
            "kernel": kernel.reshape(-1, kernel.shape[-1]),
            "bias": state["pos_embed.proj.bias"],
        },
        "time": {"first": dense(f"{times}.linear_1"), "second": dense(f"{times}.linear_2")},
        "condition": {"table": state[f"{emb}.class_embedder.embedding_table.weight"]},
        "blocks": jax.tree.map(lambda *leaves: np.stack(leaves), *map(block, range(layers))),
        "final_modulation": dense("proj_out_1"),
        "head": dense("proj_out_2"),
    }


def test_the_published_transformer_is_the_same_function():
    found = under("dit/")
    params = params_of(under("dit/state/"), 2)
    network = DiT(16, 2, 2, condition=ClassLabel(3), variance="learned")
    x, out, weights = (found[n].transpose(0, 2, 3, 1) for n in ("x", "out", "weights"))
    t = found["t"].astype(np.float32) / 1_000
    labels = np.where(found["labels"] == 3, -1, found["labels"]).astype(np.int32)

    def total(params, x):
        got = network.apply({"params": params}, x, t, labels)
        return jnp.sum(got * weights), got

    (_, got), (of_params, of_x) = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(
        params, x
    )
    np.testing.assert_allclose(got, out, atol=1e-5 * np.abs(out).max())
    for ours, theirs in (
        (of_x, found["x_gradient"].transpose(0, 2, 3, 1)),
        (
            of_params["embed"]["kernel"],
            found["embed_gradient"].transpose(2, 3, 1, 0).reshape(-1, 16),
        ),
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("name", "solver", "path", "predicts", "tolerance"),
    [
        ("ddim", Ancestral(eta=0.0), DDPMPath(), "noise", 1e-5),
        ("ddpm", Ancestral(), DDPMPath(), "noise", 5e-5),
        ("ddpm_learned", Ancestral(), DDPMPath(), "noise", 5e-5),
        ("dpm_10", DPMSolver(), DDPMPath(), "noise", 1e-5),
        ("dpm_20", DPMSolver(), DDPMPath(), "noise", 1e-5),
        ("euler", Euler(), StraightPath(), "velocity", 1e-5),
        ("euler_shifted", Euler(), StraightPath(), "velocity", 1e-5),
        ("heun", Heun(), StraightPath(), "velocity", 1e-5),
    ],
)
def test_solvers_go_the_same_way(name, solver, path, predicts, tolerance, monkeypatch):
    found = under(f"solvers/{name}/")

    def predict(x, t):
        out = jnp.tanh(0.7 * x + 0.3) * (0.5 + 0.5 * t)
        found = understood(path, predicts, out, x, jnp.full(len(x), t))
        spread = (jnp.tanh(x) / 2 + 1) / 2
        return found._replace(spread=spread) if name == "ddpm_learned" else found

    if "drawn" in found:
        noise = jnp.asarray(found["drawn"])
        monkeypatch.setattr(solvers, "noise_of", lambda keys, shape, number: noise[number - 1])
    keys = jax.random.split(jax.random.key(0), 4)
    end = solvers.solve(predict, path, solver, jnp.asarray(found["start"]), keys, found["times"])
    np.testing.assert_allclose(end, found["end"], atol=tolerance * np.abs(found["end"]).max())
