"""Same pictures, same weights: LPIPS beside the package lpips, as record_lpips.py recorded it."""

import functools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.parity import random_vgg
from tests.quickly import quick
from vqjax.features import lpips

COMMITTED = pathlib.Path(__file__).parent / "fixtures"
FILE = "lpips.safetensors"
FRESH = os.environ.get("VQJAX_PARITY")


@functools.cache
def recorded(folder):
    return load_file(pathlib.Path(folder) / FILE)


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    """Through files, as users have them."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(random_vgg.backbone(), folder / "vgg16.safetensors")
    save_file(random_vgg.heads(), folder / "heads.safetensors")
    return lpips.read(folder / "vgg16.safetensors", folder / "heads.safetensors")


@functools.partial(quick, static_argnames="dtype")
def distance_and_pull(params, x, x_hat, dtype=None):
    def summed(x_hat):
        distance = lpips.distance(params, x, x_hat, dtype)
        return jnp.sum(distance), distance

    (_, distance), pull = jax.value_and_grad(summed, has_aux=True)(x_hat)
    return distance, pull


def test_distance_and_gradient(params):
    theirs = recorded(FRESH or COMMITTED)
    distance, pull = distance_and_pull(params, *random_vgg.pictures())
    np.testing.assert_allclose(distance, theirs["distance"], 1e-5, 1e-5)
    np.testing.assert_allclose(pull, theirs["pull"], 1e-4, 1e-7)
    assert 0.0 < distance[0] < distance[1] < distance[2]


@pytest.mark.slow
def test_bfloat16_is_sound(params):
    """A backbone in bfloat16 adds about 1e-4 to a distance; a pull keeps its direction."""
    theirs = recorded(FRESH or COMMITTED)
    distance, pull = distance_and_pull(params, *random_vgg.pictures(), "bfloat16")
    assert distance.dtype == jnp.float32
    np.testing.assert_allclose(distance, theirs["distance"], 2e-3, 2e-4)
    for got, wanted, least in zip(pull, theirs["pull"], (0.8, 0.98, 0.98), strict=True):
        size = np.linalg.norm(got) * np.linalg.norm(wanted)
        assert np.sum(got * wanted) / size > least


@pytest.mark.skipif(FRESH is None, reason="only where `make parity` has recorded them anew")
def test_recorded_anew_they_are_what_is_committed():
    fresh, committed = recorded(FRESH), recorded(COMMITTED)
    assert set(fresh) == set(committed)
    for name in fresh:
        np.testing.assert_allclose(fresh[name], committed[name], 1e-5, 1e-6, err_msg=name)
