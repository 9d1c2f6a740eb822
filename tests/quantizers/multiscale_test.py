"""Multi-scale residuals: grids, means over cells, and a picture worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.quantizers import FSQ, MultiScaleResidual, VectorQuantizer, multiscale


@pytest.mark.parametrize(
    ("grid", "grids"),
    [
        ((4, 4), ((1, 1), (2, 2), (4, 4))),
        ((8, 4), ((2, 1), (4, 2), (8, 4))),
        ((6,), ((2,), (3,), (6,))),
    ],
)
def test_grids_follow_the_latents(grid, grids):
    assert MultiScaleResidual(FSQ((5, 5)), scales=(1, 2, 4)).grids(grid) == grids


def test_by_hand():
    """Scale 1: the mean of 1, 1, 1, 5 becomes the code 2; scale 2: the rest is -1, -1, -1, 3."""
    quantizer = MultiScaleResidual(VectorQuantizer(4, 1), scales=(1, 2), convolutions=0)
    z = jnp.array([1.0, 1.0, 1.0, 5.0]).reshape(1, 2, 2, 1)
    variables = quantizer.init(jax.random.key(0), z, train=False, step=0)
    codes = jnp.array([[2.0], [-1.0], [2.5], [9.0]])
    params = {"parts_0": {"codes": codes}}

    def run(params, z):
        return quantizer.apply({**variables, "params": params}, z, train=False, step=0)

    out = run(params, z)
    np.testing.assert_array_equal(out.indices[0], [[[0]]])
    np.testing.assert_array_equal(out.indices[1], [[[1, 1], [1, 2]]])
    np.testing.assert_array_equal(out.z_q.ravel(), [1.0, 1.0, 1.0, 4.5])
    # |z - 2|^2 = 1, 1, 1, 9 and |z - z_q|^2 = 0, 0, 0, 0.25, means over positions and scales.
    assert float(out.losses["commitment"]) == pytest.approx((12 / 4 + 0.25 / 4) / 2)
    to_codes = jax.grad(lambda p: run(p, z).losses["codebook"])(params)["parts_0"]["codes"]
    # d/de of (f - z)^2 / 4 / 2: code 0 is in both scales at all positions.
    first = 2 * np.array([1, 1, 1, -3]) / 8
    second = 2 * np.array([0, 0, 0, -0.5]) / 8
    expected = [first.sum() + second.sum(), second[:3].sum(), second[3], 0.0]
    np.testing.assert_allclose(to_codes.ravel(), expected, atol=1e-6)


def test_cells_that_cut_positions_share_them_in_proportion():
    quantizer = MultiScaleResidual(FSQ((3,), bound="clip"), scales=(2, 3), convolutions=0)
    z = jnp.array([0.9, 0.0, -0.9]).reshape(1, 3, 1)
    out = quantizer.apply(
        quantizer.init(jax.random.key(0), z, train=False, step=0), z, train=False, step=0
    )
    # (0.9 + 0 / 2) / 1.5 = 0.6 rounds to 1, and -0.6 to -1.
    np.testing.assert_array_equal(out.indices[0], [[2, 0]])


@pytest.mark.parametrize(
    ("levels", "expected"),
    [(10, "0011122333"), (5, "01223"), (3, "023"), (1, "0")],
)
def test_published_weights_have_their_phi(levels, expected):
    found = [multiscale.phi_of(k, levels, 4, published=True) for k in range(levels)]
    assert "".join(map(str, found)) == expected
    assert [multiscale.phi_of(k, 10, 4, published=False) for k in (0, 3, 9)] == [0, 1, 3]


def test_published_weights_are_enlarged_by_their_kernel():
    """Twice as many positions: those of a = -0.75 at a quarter, and ends that are repeated."""
    taps = multiscale._cubic(4, 8)
    inner = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]
    np.testing.assert_allclose(taps[3], inner)
    np.testing.assert_allclose(taps[4], inner[::-1])
    np.testing.assert_allclose(taps[0], [inner[3] + inner[2] + inner[1], inner[0], 0, 0])
    np.testing.assert_allclose(taps.sum(axis=1), 1.0)
    np.testing.assert_allclose(multiscale._cubic(1, 3), 1.0)
