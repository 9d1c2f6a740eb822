"""Published tokenizers become runs that compute what their own code does.

Reference numbers are by diffusers and transformers (tests/parity/record_weights.py): small networks
are committed; those of the published width are there under `make parity` alone.
"""

import dataclasses
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy

import vqjax
from vqjax.cli.main import main
from vqjax.convert.imported import described, experiment_of, write_run
from vqjax.convert.reading import read
from vqjax.data import Arrays, NoData
from vqjax.training.record import load_record
from vqjax.types import DataError, UsageError

COMMITTED = pathlib.Path(__file__).parent.parent / "parity" / "fixtures"
FIXTURES = pathlib.Path(os.environ.get("VQJAX_PARITY", COMMITTED)) / "weights"
SMALL = ("diffusers_vq", "diffusers_kl", "diffusers_kl_plain")
WIDE = ("diffusers_vq_wide", "diffusers_kl_wide", "taming", "gumbel", "llamagen")
FILES = {"taming": "last.ckpt", "gumbel": "last.ckpt", "llamagen": "vq_ds16_c2i.pt"}
SURE = 1e-4  # by which the nearest code is nearer than the next
VQ = FIXTURES / "diffusers_vq"


def published(name):
    """The file or folder of one family, skipped where it is not at hand."""
    if not (FIXTURES / name).is_dir():
        pytest.skip("recorded by `make parity` alone: of the published width")
    return FIXTURES / name / FILES.get(name, "")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Runs of published tokenizers, each imported once."""
    made = {}

    def open_run(name):
        if name not in made:
            workdir = tmp_path_factory.mktemp("runs") / name
            assert main(["import", str(published(name)), "--workdir", str(workdir)]) == 0
            made[name] = vqjax.load(workdir)
        return made[name]

    return open_run


@pytest.mark.parametrize("name", [*SMALL, *WIDE])
def test_latents_codes_and_pictures_are_those_of_the_reference(name, opened):
    run = opened(name)
    io = safetensors.numpy.load_file(FIXTURES / name / "io.safetensors")
    io = {k: np.moveaxis(v, 1, -1) if v.ndim == 4 else v for k, v in io.items()}
    close = {"rtol": 0, "atol": 1e-4 * np.abs(io["latents"]).max()}
    z = run.apply(run.params, io["x"], method="latents")
    if "indices" not in io:  # the mean comes first
        z = z[..., : io["latents"].shape[-1]]
    np.testing.assert_allclose(z, io["latents"], **close)
    expected = int((FIXTURES / name / "counts.txt").read_text())
    count = sum(a.size for a in jax.tree.leaves(run.params))
    if name == "gumbel":  # two linear layers are one here: 16 to 8 to 64 channels
        expected += (16 * 64 + 64) - (16 * 8 + 8 + 8 * 64 + 64)
    if name == "diffusers_kl_plain":  # two that pass everything on
        expected += (8 * 8 + 8) + (4 * 4 + 4)
    assert count == expected
    if "indices" in io:
        quantized = run.apply(run.params, io["x"], train=False, step=0, method="encode").quantized
        sure = io["margin"] > SURE
        assert sure.mean() > 0.95
        np.testing.assert_array_equal(np.asarray(quantized.indices[0])[sure], io["indices"][sure])
        decode, z_q = "decode_indices", (io["indices"],)
    else:
        decode, z_q = "decode", io["latents"]
    if "x_hat" in io:
        x_hat = run.apply(run.params, z_q, method=decode)
        np.testing.assert_allclose(
            x_hat, io["x_hat"], rtol=0, atol=1e-4 * np.abs(io["x_hat"]).max()
        )


def test_the_verb_says_what_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(published("diffusers_kl"), "vae")
    assert main(["import", "vae"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("diffusers: one position per 2 x 2 pixels, 4 channels of latents, ")
    assert lines[1].startswith("scaling_factor=0.18215") and "runs/vae" in lines[-1]
    run = vqjax.load("runs/vae")
    assert run.shape == (256, 256, 3) and isinstance(run.experiment.data, NoData)
    assert main(["import", "vae"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["evaluate", "runs/vae"]) == 3
    error = capsys.readouterr().err
    assert "came without data" in error and len(error.splitlines()) == 1
    assert main(["tokenize", "runs/vae", "--out", "t"]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_verbs_work_on_data_that_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    tiny_pictures(folder)
    data = f'Folder("{folder}", 16)'
    assert main(["import", str(VQ), "--workdir", "small", "--data", data]) == 0
    assert vqjax.load("small").shape == (16, 16, 3)
    assert main(["reconstruct", "small", str(folder), "--out", "out"]) == 0
    assert main(["report", "small"]) == 0 and (tmp_path / "small" / "report.html").exists()
    page = (tmp_path / "small" / "report.html").read_text()
    assert "it was imported" in page and "not done yet" not in page
    capsys.readouterr()
    assert main(["evaluate", "small", "--data", f'Folder("{folder}", 16)']) == 0
    assert "psnr" in capsys.readouterr().out
    assert main(["evaluate", "small", "--data", f'Folder("{folder}", 32)']) == 2
    assert "the run was trained on" in capsys.readouterr().err
    wrong = ["import", str(VQ), "--workdir", "wrong", "--data"]
    assert main([*wrong, f'Folder("{folder}", 15)']) == 2
    assert "not a multiple of the factor 2" in capsys.readouterr().err
    assert (
        main([*wrong, f'Folder("{tmp_path}/nowhere", 16)']) == 3
        and not pathlib.Path("wrong").exists()
    )


def tiny_pictures(folder):
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        picture = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(picture).resize((40, 32)).save(folder / f"{i}.png")


def test_old_names_of_attention_and_a_guessed_root(tmp_path):
    arrays = safetensors.numpy.load_file(VQ / "diffusion_pytorch_model.safetensors")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, array in arrays.items():
        for new, was in names.items():
            name = name.replace(f".{new}.", f".{was}.")
        old[name] = array[:, :, None, None] if ".query.weight" in name else array
    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copy(VQ / "config.json", folder)
    safetensors.numpy.save_file(old, folder / "diffusion_pytorch_model.safetensors")
    ours, theirs = (jax.tree.leaves(read(path).params) for path in (VQ, folder))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_match_is_listed_from_both_sides(tmp_path):
    arrays = safetensors.numpy.load_file(VQ / "diffusion_pytorch_model.safetensors")
    shutil.copy(VQ / "config.json", tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"

    def refused(line, change, wanted=None, **settings):
        own = dict(arrays)
        change(own)
        safetensors.numpy.save_file(own, path)
        with pytest.raises((DataError, UsageError), match=line):
            read(path, wanted)

    def rename(own):
        own["encoder.conv_norm_aus.bias"] = own.pop("encoder.conv_norm_out.bias")

    refused(
        "in the file alone encoder.conv_norm_aus.bias; needed and not there encoder.conv_n", rename
    )
    refused(
        "neither taming nor diffusers nor llamagen: it has a",
        lambda o: o.clear() or o.update(a=np.ones(1)),
    )
    refused("names are not those of taming", lambda own: None, "taming")
    refused("format 'tamming': did you mean 'taming'", lambda own: None, "tamming")

    def spoil(name, value):
        return lambda own: own.update({name: value})

    nan = np.full_like(arrays["encoder.conv_in.bias"], np.nan)
    refused(
        "encoder.conv_in.bias holds numbers that are not finite", spoil("encoder.conv_in.bias", nan)
    )
    refused(
        "encoder.conv_in.bias holds int64", spoil("encoder.conv_in.bias", np.ones(16, np.int64))
    )
    refused(r"decoder.conv_in.bias is \(3,\)", spoil("decoder.conv_in.bias", nan[:3]))
    (tmp_path / "config.json").unlink()
    refused("normalisations of 16 channels in 32 groups", lambda own: None)
    for content, line in (("{", "cannot be read"), ('{"norm_num_groups": "4"}', "norm_num_groups")):
        (tmp_path / "config.json").write_text(content)
        refused(line, lambda own: None)
    (tmp_path / "config.json").write_text('{"norm_num_groups": 4, "norm_type": "spatial"}')
    refused("norm_type='spatial': here it can only be 'group'", lambda own: None)
    with pytest.raises(DataError, match="holds neither"):
        read(tmp_path.parent)


def test_data_from_python(tmp_path):
    found = read(VQ)
    assert "64 codes of 8" in described(found)
    experiment = dataclasses.replace(experiment_of(found), data=NoData((16, 16, 3)))
    write_run(found, experiment, tmp_path / "run")
    images = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), np.uint8)
    run = vqjax.load(tmp_path / "run", data=Arrays({"image": images}, {"image": images}))
    assert np.isfinite(run.evaluate().numbers["psnr"])


@pytest.mark.slow
def test_trainings_build_on_it(tmp_path, capsys, monkeypatch):
    """The experiment for ImageNet, shrunk, over an imported tokenizer and somebody's folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    tiny_pictures(folder)
    data = f'Folder("{folder}", 16)'
    assert main(["import", str(VQ), "--workdir", "small", "--data", data]) == 0
    command = ["train", "imagenet_gpt", "--arg", "tokenizer=small", f"data={data}"]
    command += ["total_steps=2", "batch_size=8", "task.prior.width=48", "task.prior.layers=1"]
    assert main([*command, "--dry-run"]) == 0
    assert main([*command, "--workdir", "prior"]) == 0
    assert vqjax.load("prior").sample(2, classes=[0, 1]).shape == (2, 16, 16, 3)
    record = load_record("small").experiment
    tuned = dataclasses.replace(record, init_from="small", batch_size=8, total_steps=2)
    run = vqjax.train(tuned, "tuned")
    before, after = (jax.tree.leaves(r.params) for r in (vqjax.load("small"), run))
    moved = [float(np.abs(a - b).max()) for a, b in zip(before, after, strict=True)]
    assert 0.0 < max(moved) < 0.1  # it began there
