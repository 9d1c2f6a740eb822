"""What lies where."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from vqjax.training.mesh import make_mesh
from vqjax.training.sharding import (
    batch_sharding,
    check_batch_size,
    local_rows,
    put_batch,
    replicate,
)
from vqjax.training.state import example_batch
from vqjax.types import MESH_AXES, ArraySpec, UsageError


def test_all_devices_are_on_the_data_axis():
    mesh = make_mesh()
    assert dict(mesh.shape) == {"data": 8, "fsdp": 1, "tensor": 1}
    assert make_mesh(jax.devices()[:2]).size == 2


@pytest.mark.parametrize("shape", [(8, 1, 1), (4, 2, 1), (2, 2, 2), (1, 1, 8)])
def test_one_host_has_all_rows_once(shape):
    devices = np.array(jax.devices()).reshape(shape)
    mesh = Mesh(devices, MESH_AXES, axis_types=(AxisType.Auto,) * 3)
    np.testing.assert_array_equal(local_rows(16, mesh), np.arange(16))


def test_rows_land_on_their_devices_and_ids_stay_at_home():
    mesh = make_mesh()
    x = np.arange(16, dtype=np.uint8)[:, None]
    ids = {"example_id": np.arange(16), "sound.example_id": np.arange(16)}
    batch = put_batch({"image": x, "sound.present": x[:, 0] > 0, **ids}, mesh)
    assert set(batch) == {"image", "sound.present"} and batch["sound.present"].dtype == bool
    assert not example_batch({name: ArraySpec((), "int64") for name in ids})
    assert batch["image"].sharding == batch_sharding(mesh) and batch["image"].dtype == np.uint8
    for shard in batch["image"].addressable_shards:
        place = mesh.devices.ravel().tolist().index(shard.device)
        np.testing.assert_array_equal(shard.data, x[2 * place : 2 * place + 2])
    everywhere = replicate({"a": x}, mesh)["a"]
    assert len(everywhere.addressable_shards) == 8
    assert all(s.data.shape == x.shape for s in everywhere.addressable_shards)


@pytest.mark.parametrize(
    ("size", "accumulate", "line"),
    [
        (12, 1, "batch_size=12 does not divide over 8 devices: use 8 or 16"),
        (4, 1, "batch_size=4 does not divide over 8 devices: use 8"),
        (24, 2, "batch_size=24 does not divide over 8 devices x accumulate=2: use 16 or 32"),
    ],
)
def test_batches_that_do_not_divide(size, accumulate, line):
    with pytest.raises(UsageError) as error:
        check_batch_size("batch_size", size, accumulate, make_mesh())
    assert str(error.value) == line


def test_batches_that_divide():
    check_batch_size("batch_size", 16, 2, make_mesh())
    check_batch_size("batch_size", 3, 3, make_mesh(jax.devices()[:1]))
