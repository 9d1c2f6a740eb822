"""Files of weights: what torch wrote is read to the last bit; what is hostile runs nothing."""

import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest

from vqjax.features.weights import read_exactly, read_weights
from vqjax.types import DataError

COMMITTED = pathlib.Path(__file__).parent.parent / "parity" / "fixtures"
FIXTURES = pathlib.Path(os.environ.get("VQJAX_PARITY", COMMITTED))  # where `make parity` records


@pytest.mark.parametrize(("file", "root"), [("tensors.pt", "state_dict."), ("tensors.pth", "")])
def test_what_torch_wrote_is_read_to_the_last_bit(file, root):
    got, expected = read_weights(FIXTURES / file), read_weights(FIXTURES / "tensors.safetensors")
    assert set(got) == {root + name for name in expected}
    for name, array in expected.items():
        actual = got[root + name]
        assert actual.dtype == array.dtype and actual.flags.c_contiguous, name
        np.testing.assert_array_equal(actual, array, err_msg=name)
    (one,) = read_weights(FIXTURES / file, [f"{root}part"]).values()
    np.testing.assert_array_equal(one, [[6, 8, 10], [12, 14, 16]])


# A pickle by hand, an instruction at a time: bytes that push one value each.
def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def named(name):
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def pair(*values):
    return b"(" + b"".join(values) + b"t"


def numbers(values):
    return pair(*map(number, values))


def called(function, *arguments):
    return named(function) + pair(*arguments) + b"R"


def mapping(**values):
    return b"}(" + b"".join(text(k) + v for k, v in values.items()) + b"u"


def storage(count, key="0", legacy=False):
    more = [b"N"] if legacy else []
    words = text("storage"), named("torch.FloatStorage"), text(key), text("cpu"), number(count)
    return pair(*words, *more) + b"Q"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, count=6, legacy=False):
    return called(
        "torch._utils._rebuild_tensor_v2",
        storage(count, legacy=legacy),
        number(offset),
        numbers(shape),
        numbers(strides),
        b"\x89",
        called("collections.OrderedDict"),
    )


VALUES = np.arange(6, dtype=np.float32)
DATA = VALUES.tobytes()


def zipped(path, description, data=DATA, **settings):
    with zipfile.ZipFile(path, "w", **settings) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + description + b".")
        archive.writestr("archive/data/0", data)
    return path


def legacy(path, description, data=DATA, count=6, keys=None):
    heads = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    body = b"\x80\x02" + description + b"."
    keys = keys or pickle.dumps(["0"], 2)
    path.write_bytes(b"".join([*heads, body, keys, struct.pack("<q", count), data]))
    return path


def test_by_hand_both_formats(tmp_path):
    for path in (
        zipped(tmp_path / "a.pt", mapping(w=tensor())),
        legacy(tmp_path / "a.pth", mapping(w=tensor(legacy=True))),
    ):
        np.testing.assert_array_equal(read_weights(path)["w"], VALUES.reshape(2, 3))


def test_what_the_first_versions_of_torch_wrote(tmp_path):
    """A parameter is made empty and filled afterwards; sizes are objects."""
    old = called(
        "torch._utils._rebuild_tensor",
        storage(6, legacy=True),
        number(0),
        called("torch.Size", numbers((2, 3))),
        numbers((3, 1)),
    )
    empty = named("torch.nn.parameter.Parameter") + b")\x81"
    state = pair(old, b"N", called("collections.OrderedDict"), b"\x88", b"\x89")
    filled = called("torch.nn.parameter.Parameter", old) + pair(b"\x88", b"\x89", b"}") + b"b"
    path = legacy(tmp_path / "a.pth", mapping(w=empty + state + b"b", v=filled, u=old))
    for array in read_weights(path, ["w", "v", "u"]).values():
        np.testing.assert_array_equal(array, VALUES.reshape(2, 3))
    with pytest.raises(DataError, match="a parameter of 1 parts"):
        read_weights(legacy(path, mapping(w=empty + pair(old) + b"b")))


@pytest.mark.parametrize("kind", [zipped, legacy], ids=["zip", "legacy"])
def test_what_training_keeps_beside_its_tensors_is_passed_over(kind, tmp_path):
    """As Lightning writes it: classes as keys, settings of OmegaConf, tensors of the optimizer."""
    old = kind is legacy
    callbacks = named("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
    settings = called("omegaconf.dictconfig.DictConfig") + mapping(content=number(1)) + b"b"
    state = b"](" + mapping(step=tensor(legacy=old)) + b"e"
    description = (
        b"}(" + text("callbacks") + b"}(" + callbacks + mapping(best=number(3)) + b"u"
        + text("hyper_parameters") + settings
        + text("optimizer_states") + state
        + text("state_dict") + mapping(w=tensor(legacy=old)) + b"u"
    )  # fmt: skip
    read = read_weights(kind(tmp_path / "last.ckpt", description))
    assert list(read) == ["state_dict.w"]
    for word in ("pytorch_lightningx.A", "builtins.getattr", "numpy.load", "torch.load"):
        with pytest.raises(DataError, match=f"holds {word}"):
            read_weights(kind(tmp_path / "last.ckpt", called(word, text("a"))))


def test_names_may_be_chosen_by_shape(tmp_path):
    path = FIXTURES / "tensors.safetensors"
    shapes = {name: array.shape for name, array in read_weights(path).items()}
    found = []

    def choose(shapes):
        found.append(dict(shapes))
        return ["part"]

    for file in ("tensors.safetensors", "tensors.pth"):
        assert list(read_weights(FIXTURES / file, choose)) == ["part"]
    assert found == [shapes] * 2


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def hostile(marker):
    """Descriptions that would run code, or reach for what could."""
    yield pickle.dumps({"w": Runs(marker)}, 2)[2:-1]
    yield mapping(w=called("os.system", text(f"touch {marker}")))
    yield mapping(w=called("builtins.eval", text(f"open({str(marker)!r}, 'w')")))
    yield mapping(w=called("torch._utils._rebuild_tensor_v2.__globals__.get", text("os")))
    yield text("os") + text("system") + b"\x93" + pair(text(f"touch {marker}")) + b"R"
    yield b"(" + text(f"touch {marker}") + b"ios\nsystem\n"  # INST
    yield b"(" + named("os.system") + text(f"touch {marker}") + b"o"  # OBJ
    yield named("os.system") + pair(text(f"touch {marker}")) + b"\x81"  # NEWOBJ
    yield b"\x82\x01"  # EXT1
    yield tensor() + mapping(__class__=text("x")) + b"b"  # BUILD on what is no dict


@pytest.mark.parametrize("kind", [zipped, legacy], ids=["zip", "legacy"])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(kind, tmp_path):
    marker = tmp_path / "marker"
    os.system(f"touch {marker}")
    assert marker.exists()  # it would work
    marker.unlink()
    for description in hostile(marker):
        path = kind(tmp_path / "a.pt", description)
        with pytest.raises(DataError, match="no code is run|no sound file"):
            read_weights(path)
        assert not marker.exists()
    with pytest.raises(DataError, match="holds posix.system, which is not read"):
        read_weights(kind(tmp_path / "a.pt", next(hostile(marker))))


LIES = {
    "too large": {"shape": (2, 4), "strides": (4, 1)},
    "strides beyond": {"strides": (4, 1)},
    "offset beyond": {"offset": 1},
    "negative offset": {"offset": -1},
    "negative stride": {"strides": (-3, 1)},
    "negative size": {"shape": (-2, -3)},
    "repeated": {"shape": (1 << 30, 1 << 30), "strides": (0, 0)},
    "axes": {"shape": (2, 3, 1)},
    "storage count": {"count": 7},
    "huge storage": {"count": 2**31 - 1},
}


@pytest.mark.parametrize("kind", [zipped, legacy], ids=["zip", "legacy"])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_lies_about_sizes(kind, lie, tmp_path):
    path = kind(tmp_path / "a.pt", mapping(w=tensor(**lie, legacy=kind is legacy)))
    with pytest.raises(DataError, match="a.pt (holds|is no sound)"):
        read_weights(path)


def test_other_lies(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(DataError, match="compressed"):
        zeros = bytes(1 << 24)
        big = mapping(w=tensor((1 << 22,), (1,), count=1 << 22))
        read_weights(zipped(path, big, zeros, compression=zipfile.ZIP_DEFLATED))
    nested = b"}"
    for _ in range(40):  # 2^40 names, if it were followed
        nested += b"q\x00" + b"}(" + text("a") + b"h\x00" + text("b") + b"h\x00u"
    with pytest.raises(DataError, match="mappings within mappings"):
        read_weights(zipped(path, nested))
    with pytest.raises(DataError, match="is not read"):
        read_weights(zipped(path, number(1)))
    with pytest.raises(DataError, match="a storage of 5 numbers"):
        read_weights(legacy(path, mapping(w=tensor(legacy=True)), count=5))
    for content in (b"", b"PK\x03\x04", b"\x80", b"\x80\x02.", b"\xff" * 100, b"{}" * 50):
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_weights(path)


# A tuple of 2^40 leaves: the text of it, or its hash, would take all memory or all time.
VAST = number(0) + b"q\x07h\x07\x86" * 40


@pytest.mark.parametrize("kind", [zipped, legacy], ids=["zip", "legacy"])
def test_few_bytes_that_would_grow_without_end(kind, tmp_path):
    path, old = tmp_path / "a.pt", kind is legacy
    head = named("torch._utils._rebuild_tensor_v2") + b"(" + storage(6, legacy=old) + number(0)
    long = (1 << 14) * "long"
    inner = b"}(" + b"".join(text(str(i)) + b"h\x05" for i in range(1000)) + b"u"  # 2^26 letters
    for description, line in {
        VAST + text("FloatStorage") + b"\x93": "a name that is no text",
        text("torch") + VAST + b"\x93": "a name that is no text",
        head + pair(VAST) + numbers((1,)) + b"tR": "no whole numbers",
        head + numbers((2, 3)) + pair(number(0), VAST) + b"tR": "no whole numbers",
        head + VAST + numbers(()) + b"tR": "a tensor of 2 sizes and 0 strides",
        head + numbers((1,) * 65) * 2 + b"tR": "a tensor of 65 sizes",
        named(f"os.{long}"): "holds os.long",
        tensor(legacy=old) + b"q\x05" + mapping(**{long: inner}): "too long names",
    }.items():
        with pytest.raises(DataError, match=line) as error:
            read_weights(kind(path, description))
        assert len(str(error.value)) < 500
    pairs = b"](" + pair(text("w"), tensor(legacy=old)) + b"eq\x06"
    calls = (called("collections.OrderedDict", arguments) for arguments in (pairs, b"h\x06"))
    read = read_weights(kind(path, mapping(**dict(zip("ab", calls, strict=True)))))
    assert list(read) == ["a.w"]  # a list of pairs is used up by the first that is made of it


def test_a_storages_key_that_would_grow_without_end(tmp_path):
    keys = b"\x80\x02](" + VAST + b"e."
    with pytest.raises(DataError, match="key of type tuple"):
        read_weights(legacy(tmp_path / "a.pt", mapping(w=tensor(legacy=True)), keys=keys))


@pytest.mark.parametrize("file", ["tensors.pt", "tensors.pth", "tensors.safetensors"])
def test_cut_off_anywhere(file, tmp_path):
    whole, path = (FIXTURES / file).read_bytes(), tmp_path / file
    for size in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=file):
            read_weights(path)


@pytest.mark.parametrize("file", ["tensors.pt", "tensors.pth", "tensors.safetensors"])
def test_damaged_anywhere_it_is_read_or_refused(file, tmp_path):
    whole, path = (FIXTURES / file).read_bytes(), tmp_path / file
    rng = np.random.default_rng(0)
    for index in rng.integers(0, len(whole), 80):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read_weights(path)
        except DataError:
            continue


def test_names_and_shapes(tmp_path):
    path = zipped(tmp_path / "a.pt", mapping(weight=tensor()))
    assert read_exactly(path, {"weight": (2, 3)})["weight"].dtype == np.float32
    with pytest.raises(DataError, match="no array 'weigth': did you mean 'weight'"):
        read_exactly(path, {"weigth": (2, 3)})
    with pytest.raises(DataError, match=r"weight is \(2, 3\), wanted \(3, 2\)"):
        read_exactly(path, {"weight": (3, 2)})
    with pytest.raises(DataError, match="counts holds int64"):
        read_exactly(FIXTURES / "tensors.pth", {"counts": (2,)})
    infinite = np.where(VALUES == 3, np.inf, VALUES).astype(np.float32)
    with pytest.raises(DataError, match="not finite"):
        read_exactly(
            zipped(tmp_path / "b.pt", mapping(weight=tensor()), infinite.tobytes()),
            {"weight": (2, 3)},
        )
    with pytest.raises(DataError, match="nowhere"):
        read_weights(tmp_path / "nowhere")
