"""Text to image from your own pictures: a folder with captions, over `folder_vqgan.py`.

    vqjax train folder_vqgan --arg folder=DIR
    vqjax train folder_text_to_image --arg folder=DIR
    vqjax sample runs/folder_text_to_image --prompt "a red car" --guidance 3 --out out

The caption of a picture is the text in `name.txt` beside it, or its line in DIR/captions.csv or
captions.jsonl (`file`, `caption`) or in a metadata.csv, in any language; of several lines one is
drawn at each visit (`Folder` has all the rules). What is said of captions and pictures applies to a
few thousand of them; a prior of this size learns those by heart rather than the world.

On a CPU take a tokenizer of 64 tokens: `--arg multipliers=1,2,4,4` for `folder_vqgan.py`. With
2,008 captioned drawings (emoji), 600 steps of it and then `--arg total_steps=1500` here took 15 min
35 s and 60 min on two cores full of other work: PSNR 19.60 dB, then 4.24 nats per token of the
pictures held out. What it draws with `--guidance 2` has the colours and outlines of emoji, discs
above all, and no drawing yet that the prompt would be guessed from: these are first minutes of a
training for a GPU.

Cost: 60 min, busy.
"""

import os

from vqjax.config import FrozenRun
from vqjax.data import BPE, Captions, Folder
from vqjax.ops.schedules import Cosine
from vqjax.paths import as_path
from vqjax.priors import GPT, Text
from vqjax.tasks import PriorTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW

TINY = (
    "total_steps=2",
    "batch_size=8",
    "data.source.image_size=16",
    "task.prior.width=16",
    "task.prior.layers=1",
)


def experiment(
    folder: str,
    image_size: int = 64,
    tokenizer: str = "runs/folder_vqgan",
    vocabulary: int = 1_024,
    length: int = 24,
    width: int = 128,
    layers: int = 6,
    batch_size: int = 16,
    total_steps: int = 1_500,
) -> Experiment:
    import folder_vqgan  # the file beside this one

    return Experiment(
        task=PriorTask(
            prior=GPT(
                width=width,
                layers=layers,
                heads=4,
                dropout=0.1,
                condition=Text(vocabulary, length, width),
            ),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=folder_vqgan.experiment(folder, image_size),
                command=f"vqjax train folder_vqgan --arg folder={folder}",
            ),
        ),
        # Absolute: the run can be evaluated and resumed from any directory.
        data=Captions(
            Folder(os.path.abspath(as_path(folder, "folder")), image_size, caption_bytes=256),
            BPE(vocabulary),
            length,
        ),
        optimizers={
            "prior": AdamW(
                Cosine(1e-3, steps=total_steps, warmup=100), b2=0.95, weight_decay=0.05, clip=1.0
            )
        },
        batch_size=batch_size,
        eval_batch_size=50,
        eval_every=max(1, total_steps // 3),
        ema_decay=0.99,
        total_steps=total_steps,
    )
