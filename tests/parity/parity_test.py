"""Same input, same weights: vqjax's quantizers beside those of vector-quantize-pytorch.

What theirs computed is in fixtures/, recorded by record.py, so no torch is needed here.
`make parity` records it anew in a directory that VQJAX_PARITY names, and runs this on that. Where
the two differ by design, the test says how; docs/parity.md has the table.
"""

import functools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file

from tests.quickly import quick
from vqjax.ops.rotation import rotate
from vqjax.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    CosineVectorQuantizer,
    EMAVectorQuantizer,
    MultiHead,
    MultiScaleResidual,
    Product,
    Residual,
    RotationTrick,
    SimVQ,
    VectorQuantizer,
)

COMMITTED = pathlib.Path(__file__).parent / "fixtures"
FILE = "values.safetensors"
FRESH = os.environ.get("VQJAX_PARITY")
K, D, DECAY = 16, 4, 0.8
LATE = 1000  # a step at which the decay has warmed up
BOTH = {"commitment": 1.0, "codebook": 1.0}  # theirs is one term, with gradient to both sides


def close(got, wanted, name=""):
    """Within 1e-5; of the largest where all are small, as gradients of means are."""
    largest = np.max(np.abs(wanted))
    np.testing.assert_allclose(got, wanted, 1e-5, 1e-5 * min(1.0, largest), err_msg=name)


@functools.cache
def values(folder):
    return load_file(pathlib.Path(folder) / FILE)


def recorded(case):
    prefix, found = case + "/", values(FRESH or COMMITTED)
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


def started(quantizer, z, leaves):
    """Initial variables, with leaves such as {"params/codes": array} in their places."""
    rngs = {"params": jax.random.key(0), "quantizer": jax.random.key(1)}
    tree = quick(lambda z: quantizer.init(rngs, z, train=False, step=0))(z)
    flat = traverse_util.flatten_dict(tree, sep="/")
    for name, value in leaves.items():
        assert flat[name].shape == value.shape, name
    return traverse_util.unflatten_dict({**flat, **leaves}, sep="/")


def run(quantizer, theirs, leaves=None, weights=None, z=None):
    """What ours gives, with gradients named like theirs, and the variables after one step."""
    z, direction = theirs["z"] if z is None else z, theirs["direction"]
    weights = quantizer.loss_weights if weights is None else weights
    assert set(weights) == set(quantizer.loss_weights)
    variables = started(quantizer, z, leaves or {})
    params = variables.get("params", {})

    @quick
    def compute(variables, params, z):
        def call(params, z):
            mine = {**variables, **({"params": params} if params else {})}
            out, mutated = quantizer.apply(mine, z, train=True, step=LATE, mutable=["statistics"])
            terms = (weights[name] * value for name, value in out.losses.items())
            return (out.z_q, sum(terms, start=jnp.zeros(()))), (out, mutated["statistics"])

        (z_q, loss), back, (out, statistics) = jax.vjp(call, params, z, has_aux=True)
        _, pull = back((direction, jnp.zeros_like(loss)))
        push_params, push = back((jnp.zeros_like(z_q), jnp.ones_like(loss)))
        return out, loss, pull, push, push_params, statistics

    out, loss, pull, push, push_params, statistics = compute(variables, params, z)
    book, key = variables["codebook"], jax.random.key(2)
    _, book = quantizer.update(params, book, statistics, key, LATE)
    return {
        "z_q": out.z_q,
        "indices": np.stack(out.indices, axis=-1),
        "losses": out.losses,
        "loss": loss,
        "pull": pull,
        "push": push,
        "params": traverse_util.flatten_dict(push_params, sep="/"),
        "codebook": traverse_util.flatten_dict(book, sep="/"),
        "metrics": out.metrics,
    }


def agree(got, theirs, *names):
    indices = theirs["indices"]
    if indices.ndim < got["indices"].ndim:
        indices = indices[..., None]
    np.testing.assert_array_equal(got["indices"], indices)
    close(got["z_q"], theirs["z_q"])
    for name in names:
        close(got[name], theirs[name], name)


@pytest.mark.skipif(FRESH is None, reason="only where `make parity` has recorded them anew")
def test_recorded_anew_they_are_what_is_committed():
    fresh, committed = values(FRESH), values(COMMITTED)
    assert set(fresh) == set(committed)
    for name in fresh:
        np.testing.assert_allclose(fresh[name], committed[name], 1e-6, 1e-6, err_msg=name)


def test_the_fixtures_are_small():
    assert sum(file.stat().st_size for file in COMMITTED.iterdir()) < 1e6


@pytest.mark.parametrize("case", ["vq", "vq_rotation"])
def test_learned_codes(case):
    theirs = recorded(case)
    estimator = {"estimator": RotationTrick()} if "rotation" in case else {}
    quantizer = VectorQuantizer(K, D, **estimator)
    got = run(quantizer, theirs, {"params/codes": theirs["codes"]}, BOTH)
    agree(got, theirs, "pull", "push")
    close(got["params"]["codes"], theirs["push_codes"])
    for value in got["losses"].values():
        close(value, theirs["loss"])


def test_three_steps_of_averaged_codes():
    theirs = recorded("ema")
    quantizer = EMAVectorQuantizer(K, D, decay=DECAY, revival=None)
    codes, counts = theirs["codes"], np.ones(K, np.float32)
    for step in range(3):
        now = {name.removesuffix(f"_{step}"): x for name, x in theirs.items()}
        leaves = {"codebook/codes": codes, "codebook/counts": counts}
        got = run(quantizer, now, leaves, {"commitment": 1.0})
        agree(got, now, "loss", "pull", "push")
        codes, counts = got["codebook"]["codes"], got["codebook"]["counts"]
        close(codes, now["codes_after"])
        close(counts, now["counts_after"])


@pytest.mark.parametrize("case", ["cosine", "cosine_rotation"])
def test_directions(case):
    """Theirs are averages, ours parameters: all but the codes' own gradient is the same."""
    theirs = recorded(case)
    estimator = {"estimator": RotationTrick()} if "rotation" in case else {}
    quantizer = CosineVectorQuantizer(K, D, **estimator)
    weights = {"commitment": 1.0, "codebook": 0.0}
    got = run(quantizer, theirs, {"params/codes": theirs["codes"]}, weights)
    agree(got, theirs, "loss", "pull", "push")


def test_heads_that_share_a_codebook():
    theirs = recorded("heads_shared")
    leaves = {"params/parts_0/codes": theirs["codes"][0]}
    got = run(MultiHead(VectorQuantizer(K, D), heads=2), theirs, leaves, BOTH)
    agree(got, theirs, "pull", "push")
    close(got["params"]["parts_0/codes"], theirs["push_codes"][0])
    close(got["losses"]["commitment"], theirs["loss"])


def test_heads_with_a_codebook_each():
    theirs = recorded("heads_separate")
    leaves = {f"params/parts_{head}/codes": theirs["codes"][head] for head in range(2)}
    got = run(Product(VectorQuantizer(K, D), groups=2), theirs, leaves, BOTH)
    agree(got, theirs, "pull", "push")
    for head in range(2):
        close(got["params"][f"parts_{head}/codes"], theirs["push_codes"][head])
    close(got["losses"]["codebook"], theirs["loss"])


@pytest.mark.parametrize(
    ("case", "quantizer"),
    [
        ("fsq_even", FSQ((8, 4, 6))),
        ("fsq_odd", FSQ((5, 7, 3))),
        ("fsq_mixed", FSQ((8, 5, 5, 5))),
        ("fsq_clip", FSQ((8, 5, 4), bound="clip")),
    ],
)
def test_finite_scalars(case, quantizer):
    theirs = recorded(case)
    agree(run(quantizer, theirs), theirs, "pull")


@pytest.mark.parametrize(
    ("case", "quantizer"),
    [("fsq_bfloat16", FSQ((8, 5, 5, 5))), ("lfq_bfloat16", LFQ(D))],
)
def test_bfloat16(case, quantizer):
    """Theirs gives bfloat16 back; ours is float32, and theirs once cast."""
    theirs = recorded(case)
    got = run(quantizer, theirs, z=jnp.asarray(theirs["z"], jnp.bfloat16))
    if case == "lfq_bfloat16":
        got["indices"] = reversed_bits(got["indices"])
    low = jnp.asarray(got["z_q"], jnp.bfloat16).astype(jnp.float32)
    agree({**got, "z_q": low}, theirs)
    np.testing.assert_allclose(got["pull"].astype(jnp.float32), theirs["pull"], 2**-7, 1e-6)


def reversed_bits(indices):
    """Theirs has the first channel in the highest bit, ours in the lowest, as in the paper."""
    return sum((indices >> i & 1) << (D - 1 - i) for i in range(D))


@pytest.mark.parametrize(
    ("case", "quantizer"),
    [
        # p ~ exp(2 x . c * inverse temperature), the inverse being 1/4
        ("lfq", LFQ(D, temperature=4.0, gamma=0.7)),
        # ours has no factor 2 here: p ~ exp(u . c / temperature)
        ("bsq", BSQ(D, temperature=2.0, gamma=0.7)),
    ],
)
def test_signs(case, quantizer):
    theirs = recorded(case)
    weights = {"entropy": 0.1, **({"commitment": 0.25} if case == "lfq" else {})}
    got = run(quantizer, theirs, weights=weights)
    got["indices"] = reversed_bits(got["indices"])
    agree(got, theirs, "pull")
    for name in ("sample_entropy", "batch_entropy"):
        close(got["metrics"][name], theirs[name], name)
    close(got["losses"]["entropy"], theirs["sample_entropy"] - 0.7 * theirs["batch_entropy"])
    if case == "lfq":
        close(got["losses"]["commitment"], theirs["commitment"])
        close(got["loss"], theirs["loss"])
        close(got["push"], theirs["push"])
        return

    # BSQ's paper has no commitment: theirs is taken off, its value and its gradient.
    def commitment(z):
        u = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
        return jnp.mean((u - jnp.where(z > 0, 0.5, -0.5)) ** 2)

    extra, slope = jax.value_and_grad(commitment)(theirs["z"])
    close(extra, theirs["commitment"])
    close(got["loss"] + 0.25 * extra, theirs["loss"])
    close(got["push"] + 0.25 * slope, theirs["push"])


@pytest.mark.parametrize("case", ["simvq", "simvq_rotation"])
def test_a_linear_map_of_fixed_codes(case):
    theirs = recorded(case)
    estimator = {"estimator": RotationTrick()} if "rotation" in case else {}
    leaves = {"codebook/codes": theirs["codes"], "params/kernel": theirs["kernel"]}
    got = run(SimVQ(K, D, **estimator), theirs, leaves)  # the weights are those of the paper
    agree(got, theirs, "loss", "pull", "push")
    close(got["params"]["kernel"], theirs["push_kernel"])


def stage_codes(theirs, collection="params"):
    return {f"{collection}/parts_{i}/codes": codes for i, codes in enumerate(theirs["codes"])}


def test_residual():
    """Each stage of theirs adds an identity to the gradient of z_q; ours gives it once."""
    theirs = recorded("residual")
    stages = len(theirs["codes"])
    quantizer = Residual(VectorQuantizer(K, D), stages=stages)
    got = run(quantizer, theirs, stage_codes(theirs), BOTH)
    agree(got, theirs, "push")
    close(got["losses"]["commitment"], np.sum(theirs["loss"]))
    close(theirs["pull"], stages * theirs["direction"])
    close(got["pull"], theirs["direction"])
    for i in range(stages):
        close(got["params"][f"parts_{i}/codes"], theirs["push_codes"][i])


def test_residual_with_rotations():
    """Theirs adds the rotations of all stages; ours is the one rotation from z to z_q."""
    theirs = recorded("residual_rotation")
    quantizer = Residual(VectorQuantizer(K, D, estimator=RotationTrick()), stages=3)
    got = run(quantizer, theirs, stage_codes(theirs), BOTH)
    agree(got, theirs, "push")

    def pull(function, start):
        return jax.grad(lambda z: jnp.sum(function(z) * theirs["direction"]))(start)

    codes = [book[theirs["indices"][..., i]] for i, book in enumerate(theirs["codes"])]
    left = [theirs["z"] - sum(codes[:i]) for i in range(3)]
    parts = [pull(lambda r, e=e: rotate(r, e), r) for r, e in zip(left, codes, strict=True)]
    close(theirs["pull"], sum(parts))
    close(got["pull"], pull(lambda z: rotate(z, sum(codes)), theirs["z"]))


def test_residual_of_averaged_codes():
    theirs = recorded("residual_ema")
    quantizer = Residual(EMAVectorQuantizer(K, D, decay=DECAY, revival=None), stages=2)
    ones = {f"codebook/parts_{i}/counts": np.ones(K, np.float32) for i in range(2)}
    leaves = stage_codes(theirs, "codebook") | ones
    got = run(quantizer, theirs, leaves, {"commitment": 1.0})
    agree(got, theirs, "push")
    close(got["loss"], np.sum(theirs["loss"]))
    for i in range(2):
        close(got["codebook"][f"parts_{i}/codes"], theirs["codes_after"][i])
        close(got["codebook"][f"parts_{i}/counts"], theirs["counts_after"][i])


def test_residual_of_one_averaged_codebook():
    """Theirs decays once per stage, so a step forgets more; ours once per step."""
    theirs = recorded("residual_ema_shared")
    template = EMAVectorQuantizer(K, D, decay=DECAY, revival=None)
    quantizer = Residual(template, stages=2, shared=True)
    ones = np.ones(K, np.float32)
    leaves = {"codebook/parts_0/codes": theirs["codes"][0], "codebook/parts_0/counts": ones}
    got = run(quantizer, theirs, leaves, {"commitment": 1.0})
    agree(got, theirs, "push")
    close(got["loss"], np.sum(theirs["loss"]))
    picks = [np.bincount(theirs["indices"][..., i].ravel(), minlength=K) for i in range(2)]
    once = DECAY * ones + (1 - DECAY) * picks[0]
    close(theirs["counts_after"][0], DECAY * once + (1 - DECAY) * picks[1])
    close(got["codebook"]["parts_0/counts"], DECAY * ones + (1 - DECAY) * sum(picks))


def test_residual_of_linear_maps():
    theirs = recorded("residual_simvq")
    kernels = {f"params/parts_{i}/kernel": kernel for i, kernel in enumerate(theirs["kernel"])}
    leaves = stage_codes(theirs, "codebook") | kernels
    got = run(Residual(SimVQ(K, D), stages=2), theirs, leaves)
    agree(got, theirs, "push")
    close(got["loss"], np.sum(theirs["loss"]))
    close(2 * got["pull"], theirs["pull"])


class _Scaled(FSQ):
    """An FSQ whose residuals are scaled as theirs are, by levels^-stage."""

    @property
    def residual_scale(self):
        return tuple(1.0 / n for n in self.levels)


def test_residual_of_finite_scalars():
    """Where all levels are odd, the grids are the same; ours takes 1 / (levels - 1) as the scale,
    so that what a stage leaves fills the next one's range, which only the first stage shares.
    """
    theirs = recorded("residual_fsq")
    levels, z = (5, 7, 5), theirs["squashed"]
    got = run(Residual(_Scaled(levels, bound="clip"), stages=2), theirs, z=z)
    agree(got, theirs)
    ours = run(Residual(FSQ(levels, bound="clip"), stages=2), theirs, z=z)
    np.testing.assert_array_equal(ours["indices"][..., 0], theirs["indices"][..., 0])


def test_residual_of_signs():
    """Theirs takes stage q's commitment at its size 2^-q, ours at the size of the first."""
    theirs = recorded("residual_lfq")
    weights = {"commitment": 1.0, "entropy": 0.0}
    got = run(Residual(LFQ(D), stages=2), theirs, weights=weights)
    got["indices"] = reversed_bits(got["indices"])
    agree(got, theirs)
    first = run(LFQ(D), theirs, weights=weights)
    close(first["loss"], theirs["loss"][0])
    close((got["loss"] - first["loss"]) / 4, theirs["loss"][1])
    close(first["push"] + (got["push"] - first["push"]) / 4, theirs["push"])
    close(2 * got["pull"], theirs["pull"])


def test_groups_of_residuals():
    """Ours has no grouped residual in one piece: a `Residual` per group of channels is the same."""
    theirs = recorded("grouped_residual")
    for group in range(2):
        channels = slice(group * D, (group + 1) * D)
        half = {name: theirs[name][..., channels] for name in ("z", "direction", "z_q", "push")}
        half |= {"indices": theirs["indices"][group], "codes": theirs["codes"][group]}
        quantizer = Residual(VectorQuantizer(K, D), stages=2)
        got = run(quantizer, half, stage_codes(half), BOTH)
        agree(got, half, "push")
        close(got["losses"]["commitment"], np.sum(theirs["loss"][group]))


def test_scales_of_one_size():
    """Where grids differ, both interpolate differently: here both scales have the grid of z."""
    theirs = recorded("multiscale")
    grid = theirs["z"].shape[1]
    template = EMAVectorQuantizer(K, D)
    quantizer = MultiScaleResidual(template, scales=(grid, grid), convolutions=1)
    leaves = {
        "codebook/parts_0/codes": theirs["codes"],
        "params/phi_0/kernel": theirs["kernel"],
        "params/phi_0/bias": theirs["bias"],
    }
    variables = started(quantizer, theirs["z"], leaves)
    out = quantizer.apply(variables, theirs["z"], train=False, step=0)
    agree({"z_q": out.z_q, "indices": np.stack(out.indices, axis=-1)}, theirs)
