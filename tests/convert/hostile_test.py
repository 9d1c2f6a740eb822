"""Files that lie, are damaged, or would run code: one line, nothing run, nothing written."""

import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from tests.convert.import_test import VQ
from tests.features.weights_test import Runs, mapping, tensor, zipped
from vqjax.cli.main import main
from vqjax.convert.reading import read
from vqjax.types import DataError

NAME = "diffusion_pytorch_model.safetensors"
FEW, MANY = 50, 2_000  # mutated files of each kind


def as_torch(path):
    """The published arrays as torch's zip archive, written by hand."""
    arrays = safetensors.numpy.load_file(VQ / NAME)
    described = {}
    for number, (name, array) in enumerate(arrays.items()):
        strides = tuple(s // 4 for s in array.strides)
        described[name] = tensor(array.shape, strides, count=array.size).replace(
            b"X\x01\x00\x00\x000", b"X" + struct.pack("<I", len(str(number))) + b"%d" % number
        )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + mapping(**described) + b".")
        for number, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{number}", array.tobytes())
    return path


def mutated(content, rng, head):
    """A few bytes changed, moved or cut, most of them in the part that describes the rest."""
    content = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        most = head if rng.random() < 0.8 else len(content)
        at = int(rng.integers(0, most))
        kind = rng.integers(4)
        if kind == 0:
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            content[at : at + 8] = rng.bytes(8)
        elif kind == 2:
            del content[at : at + int(rng.integers(1, 64))]
        else:
            content[at:at] = content[at : at + int(rng.integers(1, 64))]
    return bytes(content)


def survives(folder, file, content, head, count):
    """How many of `count` mutated files were refused."""
    rng, refused = np.random.default_rng(0), 0
    for _ in range(count):
        (folder / file).write_bytes(mutated(content, rng, head))
        try:
            read(folder / file)
        except DataError as error:
            assert "\n" not in str(error) and len(str(error)) < 1_000
            refused += 1
    return refused


@pytest.mark.parametrize(
    "count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"]
)
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_mutated_files_are_read_or_refused_in_one_line(kind, count, tmp_path):
    (tmp_path / "config.json").write_text((VQ / "config.json").read_text())
    if kind == "safetensors":
        content = (VQ / NAME).read_bytes()
        head, file = 8 + struct.unpack("<Q", content[:8])[0], NAME
    else:
        file = "diffusion_pytorch_model.bin"
        content = as_torch(tmp_path / file).read_bytes()
        assert read(tmp_path / file).format == "diffusers"
        head = content.index(b"archive/data/0")
    refused = survives(tmp_path, file, content, head, count)
    assert refused > 0.5 * count


def test_what_would_run_code_is_not_run(tmp_path, capsys):
    marker = tmp_path / "marker"
    path = zipped(tmp_path / "a.ckpt", pickle.dumps({"state_dict": Runs(marker)}, 2)[2:-1])
    assert main(["import", str(path), "--workdir", str(tmp_path / "run")]) == 3
    error = capsys.readouterr().err.strip()
    assert "posix.system, which is not read" in error and len(error.splitlines()) == 1
    assert not marker.exists() and not (tmp_path / "run").exists()


def test_headers_that_promise_too_much(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 100 << 30) + b"{}")
    with pytest.raises(DataError, match="a.safetensors"):
        read(path)
    huge = {"encoder.conv_in.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}
    header = json.dumps(huge).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(DataError, match="a.safetensors"):
        read(path)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + mapping(w=tensor()) + b".")
        archive.writestr("archive/data/0", bytes(1 << 26))
    with pytest.raises(DataError, match="compressed"):
        read(tmp_path / "bomb.pt")


def test_networks_of_absurd_sizes_are_refused(tmp_path):
    """Names of a network, shapes of a monster, and hardly a number."""
    arrays = safetensors.numpy.load_file(VQ / NAME)
    many = {
        name.replace("down_blocks.1", f"down_blocks.{n}"): array
        for n in range(1, 40)
        for name, array in arrays.items()
    }
    (tmp_path / "config.json").write_text((VQ / "config.json").read_text())
    safetensors.numpy.save_file(many, tmp_path / NAME)
    with pytest.raises(DataError, match="do not match|levels"):
        read(tmp_path / NAME)
