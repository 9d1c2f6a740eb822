# ---
# jupyter:
#   accelerator: GPU
#   colab:
#     provenance: []
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Networks of others
#
# A pack, which somebody made by `vqjax pack`, and a tokenizer as taming-transformers, diffusers or
# LlamaGen publish it. Nothing is trained, and nothing in either can run code.

# %%
import os

# What pip installs: a git URL ("git+https://..."), or a wheel that `make dist` made.
SOURCE = os.environ.get("SOURCE", "")  # @param {type:"string"}
# A folder that `vqjax pack` made, or hf://ORG/NAME.
PACK = os.environ.get("PACK", "")  # @param {type:"string"}
# A published file, such as last.ckpt or vq_ds16_c2i.pt, or a folder of diffusers.
FILE = os.environ.get("FILE", "")  # @param {type:"string"}
# A folder of pictures to look at through it.
PICTURES = os.environ.get("PICTURES", "")  # @param {type:"string"}

# %% [markdown]
# ## Install
#
# JAX and TensorFlow stay as they are on Colab.

# %%
import importlib.util

if importlib.util.find_spec("vqjax") is None:
    assert SOURCE, "SOURCE: name a git URL or a wheel in the first cell"
    more = "chex toolz tensorboardX importlib_resources"
    if importlib.util.find_spec("tensorflow") is not None:
        more += " tensorflow-metadata==1.17.3"  # the last one that goes with Colab's protobuf
    # %pip install -q --no-deps $SOURCE $more

# %%
import jax
from IPython.display import display
from PIL import Image

import vqjax
from vqjax.media.gallery import Gallery
from vqjax.runs.base import can

print(f"vqjax {vqjax.__version__}, jax {jax.__version__}, {jax.devices()}")


def show(**rows):
    """Pictures in rows beneath each other."""
    display(Image.fromarray(Gallery(rows).sheet().image))


# %% [markdown]
# ## A pack

# %%
if PACK:
    run = vqjax.load(PACK)
    print(f"{run.path}: {run.kind}, step {run.step}")
    if can(type(run), run.experiment, "sample"):
        show(samples=run.sample(8))
    else:
        images = ((run.held_out(8) + 1) * 127.5).round().astype("uint8")
        show(originals=images, reconstructions=run.reconstruct(images))

# %% [markdown]
# ## A published tokenizer
#
# `vqjax import FILE` in a terminal does the same.

# %%
import pathlib
import shutil

from vqjax.convert.imported import described, experiment_of, write_run
from vqjax.convert.reading import read

if FILE:
    published = read(pathlib.Path(FILE))
    print(described(published))
    workdir = pathlib.Path("runs/imported").absolute()
    shutil.rmtree(workdir, ignore_errors=True)  # of an earlier try
    write_run(published, experiment_of(published), workdir)
    tokenizer = vqjax.load(workdir)

# %%
import numpy as np

if FILE and PICTURES:
    paths = sorted(p for p in pathlib.Path(PICTURES).iterdir() if p.suffix in (".png", ".jpg"))
    size = 8 * max(1, np.max(tokenizer.module.encoder.factors))
    images = np.stack(
        [np.asarray(Image.open(p).convert("RGB").resize((size, size))) for p in paths[:4]]
    )
    show(originals=images, reconstructions=tokenizer.reconstruct(images))
    tokens = tokenizer.encode(images)
    print(f"{images[0].shape} -> {tokens[0].shape}")
