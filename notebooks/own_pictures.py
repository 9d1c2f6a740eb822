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
# # Your own pictures as tokens
#
# A folder of pictures -> a tokenizer -> tokens -> a prior that draws new ones. Run the cells in
# order. Where the session was lost, run them again: each training goes on where it was.
#
# Settings are the first cell. On Colab choose *Runtime, Change runtime type, GPU* before.

# %%
import os

# What pip installs: a git URL ("git+https://..."), or a wheel that `make dist` made.
SOURCE = os.environ.get("SOURCE", "")  # @param {type:"string"}
# A folder of pictures, at any depth. "": the Drive's folder "pictures", where there is a Drive.
PICTURES = os.environ.get("PICTURES", "")  # @param {type:"string"}
SIZE = int(os.environ.get("SIZE", "64"))  # @param {type:"integer"}
STEPS = int(os.environ.get("STEPS", "5000"))  # @param {type:"integer"}

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

import vqjax

print(f"vqjax {vqjax.__version__}, jax {jax.__version__}, {jax.devices()}")

# %% [markdown]
# ## Pictures and runs
#
# Runs lie on the Drive where there is one, so that they outlive the session.

# %%
RUNS = "runs"
if importlib.util.find_spec("google") and importlib.util.find_spec("google.colab"):
    from google.colab import drive

    drive.mount("/content/drive")
    RUNS = "/content/drive/MyDrive/vqjax"
    PICTURES = PICTURES or "/content/drive/MyDrive/pictures"
assert os.path.isdir(PICTURES), f"{PICTURES!r} is no folder: name one in the first cell"

# %%
from IPython.display import display
from PIL import Image

from vqjax.data import Folder
from vqjax.media.gallery import Gallery


def show(**rows):
    """Pictures in rows beneath each other."""
    display(Image.fromarray(Gallery(rows).sheet().image))


data = Folder(os.path.abspath(PICTURES), SIZE)
data.check()
for note in data.notes():
    print(note)
print(f"{data.num_train():,} pictures to learn from, {data.num_eval():,} held out")

# %% [markdown]
# ## A tokenizer
#
# A VQGAN of `experiments/folder_vqgan.py`. `vqjax train folder_vqgan` does the same in a terminal.

# %%
from vqjax.config import load_file

tokenizer = vqjax.train(
    load_file("folder_vqgan", {"folder": PICTURES, "image_size": SIZE, "total_steps": STEPS}),
    f"{RUNS}/tokenizer",
)

# %%
held_out = tokenizer.held_out(8)
images = ((held_out + 1) * 127.5).round().astype("uint8")
show(originals=images, reconstructions=tokenizer.reconstruct(images))

# %%
tokens = tokenizer.encode(images)
print(f"{images[0].shape} -> {tokens[0].shape} of {tokenizer.module.quantizer.codebook_size} codes")
print(tokens[0])

# %% [markdown]
# ## A prior
#
# MaskGIT learns which tokens go with which, and draws new pictures through the tokenizer.

# %%
from vqjax.config import FrozenRun
from vqjax.ops.schedules import Cosine
from vqjax.priors import MaskGIT
from vqjax.tasks import PriorTask
from vqjax.training.optim import AdamW

prior = vqjax.train(
    vqjax.Experiment(
        task=PriorTask(MaskGIT(width=256, layers=8, heads=4), FrozenRun(tokenizer.path)),
        data=data,
        optimizers={"prior": AdamW(Cosine(1e-3, steps=STEPS, warmup=min(200, STEPS // 2)))},
        batch_size=16,
        ema_decay=0.999,
        total_steps=STEPS,
    ),
    f"{RUNS}/prior",
)

# %%
show(samples=prior.sample(16))

# %% [markdown]
# ## What else
#
# One page of everything, to download; and the networks as a folder to give away.

# %%
from vqjax.reports.report import write_report

print(write_report([prior.path, tokenizer.path], overwrite=True))
