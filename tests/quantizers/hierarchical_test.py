"""Codes on two grids and more: what each level sees, and what it adds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.quantizers import FSQ, EMAVectorQuantizer, Hierarchical, KMeans, Residual
from vqjax.tasks.codebooks import encodings
from vqjax.types import UsageError


def made(levels=2, shape=(2, 4, 6), **settings):
    """(quantizer, variables whose codes are spread, z)."""
    quantizer = Hierarchical(EMAVectorQuantizer(8, 3), levels=levels, width=8, **settings)
    z = jax.random.normal(jax.random.key(0), (*shape, 8))
    rngs = {"params": jax.random.key(1), "quantizer": jax.random.key(2)}
    return quantizer, quick(lambda z: quantizer.init(rngs, z, train=False, step=0))(z), z


def test_a_level_adds_its_own_channels():
    quantizer, variables, z = made()
    run = quick(lambda v, z: quantizer.apply(v, z, train=False, step=0))
    out = run(variables, z)
    assert [index.shape for index in out.indices] == [(2, 2, 3), (2, 4, 6)]
    look_up = quick(lambda v, i: quantizer.apply(v, i, method="lookup"))
    top, bottom = out.indices
    whole, other = look_up(variables, (top, bottom)), look_up(variables, (top, 7 - bottom))
    np.testing.assert_array_equal(whole[..., :3], other[..., :3])
    assert (whole[..., 3:] != other[..., 3:]).any()
    moved = look_up(variables, (7 - top, bottom))
    np.testing.assert_array_equal(whole[..., 3:], moved[..., 3:])
    assert (whole[..., :3] != moved[..., :3]).any()


def test_every_network_of_it_learns():
    quantizer, variables, z = made()

    def loss(params):
        out = quantizer.apply({**variables, "params": params}, z, train=False, step=0)
        return jnp.sum(out.z_q**3) + out.losses["commitment"]

    gradients = quick(jax.grad(loss))(variables["params"])
    for name, tree in gradients.items():
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)), name
        assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(tree)), name


def test_the_fine_grid_sees_what_the_coarse_one_became():
    """With other coarse codes for the same z, the fine level quantizes something else."""
    quantizer, variables, z = made()
    seen = quick(lambda v: quantizer.apply(v, z, 1, method="before"))
    codebook = variables["codebook"]
    coarse = {**codebook["parts_0"], "codes": -codebook["parts_0"]["codes"]}
    other = {**variables, "codebook": {**codebook, "parts_0": coarse}}
    assert np.abs(seen(other) - seen(variables)).max() > 1e-4


@pytest.mark.parametrize(
    ("grid", "grids"), [((5, 7), ((2, 2), (3, 4), (5, 7))), ((1,), ((1,),) * 3)]
)
def test_grids_are_halved_and_rounded_up(grid, grids):
    assert Hierarchical(FSQ((5, 5)), levels=3).grids(grid) == grids


def test_its_start_waits_for_enough_coarse_vectors():
    quantizer, few = Hierarchical(EMAVectorQuantizer(8, 3), width=8), KMeans(samples=3)
    batches = iter([{"z": jnp.zeros((2, 4, 6, 8))}] * 9)
    found = encodings(lambda b: b["z"], batches, few.samples, 8, quantizer.vectors_for_start)
    assert len(found) == 2 and len(list(batches)) == 7  # 24 vectors of the coarse grid, 12 in each
    padding = {"z": jnp.zeros((2, 4, 6, 8)), "mask": jnp.zeros(2, bool)}
    batches = iter([padding, *[{"z": jnp.zeros((2, 4, 6, 8))}] * 9])
    encodings(lambda b: b["z"], batches, few.samples, 8, quantizer.vectors_for_start)
    assert len(list(batches)) == 7


def test_what_does_not_fit_is_refused():
    for settings, words in (
        ({"levels": 1}, "levels=1"),
        ({"width": 0}, "width"),
        ({"blocks": -1}, "blocks=-1"),
    ):
        with pytest.raises(UsageError, match=words):
            Hierarchical(FSQ((5, 5)), **settings)
    with pytest.raises(UsageError, match="Residual does not have just one codebook"):
        Hierarchical(Residual(FSQ((5, 5), bound="clip"), 2))
    with pytest.raises(UsageError, match="Hierarchical does not have just one codebook"):
        Residual(Hierarchical(FSQ((5, 5))), 2)
