"""Your own pictures, sound and words, each given any of the others by one model.

    vqjax train folder_vqgan --arg folder=DIR --arg multipliers=1,2,4,4
    vqjax train sound_folder_codec --arg folder=DIR
    vqjax train pairs_any_to_any --arg folder=DIR
    vqjax sample runs/pairs_any_to_any --condition image=picture.png --target text,audio -n 4
    vqjax sample runs/pairs_any_to_any --prompt "a red car" --target image --guidance 2 --out out
    vqjax rank runs/pairs_any_to_any --condition image=picture.png --candidates words.txt

DIR holds a table, pairs.csv: a row is an example, with the columns `image` and `audio`, each the
path of a file relative to DIR, and `text`, the words themselves in any language. Cells may be
empty: a row may have any of the three (`PairsFolder` has all the rules). A column that the table
does not have is left out by `--arg image=None`, `--arg audio=None` or `--arg text=false`; at least
one remains.

Pictures and sound have a tokenizer each, trained on the same folder: a run of `folder_vqgan` or of
`sound_folder_codec`, or any other whose path `--arg image=RUN` or `--arg audio=RUN` gives, with the
`image_size` or the `rate` that it was trained on. Of sound the model learns the first `seconds`,
and the first 4 codebooks.

The defaults are for a few thousand rows on two cores. On a GPU or TPU raise, in this order:
`--arg total_steps=50000`, `--arg batch_size=64`, `--arg width=512`, `--arg layers=12`, and
`compute_dtype=bfloat16`.

A folder of 1,807 emoji with captions, 200 of them also read aloud (`--arg seconds=2.5`): of 201
held-out pictures the right caption is among the first 10 of 201 in 47.8 % (40.8 to 54.7; by chance
5.0), by `vqjax rank`'s score; 1,500 steps took 25 minutes beside other work (docs/fusion.md).

Cost: 25 min, busy.
"""

import os

from vqjax.config import FrozenRun
from vqjax.data import BPE, ImageColumn, Loudness, PairsFolder, SoundColumn, TextColumn
from vqjax.ops.schedules import Cosine
from vqjax.paths import as_path
from vqjax.priors import JointPrior
from vqjax.tasks import JointTask, TextStream, TokenStream
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Muon

TINY = (
    "total_steps=2",
    "batch_size=8",
    "data.columns.image.image_size=16",
    "data.columns.audio.samples=3200",
    "task.prior.width=16",
    "task.prior.layers=1",
)


def experiment(
    folder: str,
    image: str | None = "runs/folder_vqgan",
    audio: str | None = "runs/sound_folder_codec",
    text: bool = True,
    image_size: int = 64,
    rate: int = 16_000,
    seconds: float = 1.5,
    vocabulary: int = 1_024,
    length: int = 24,
    width: int = 128,
    layers: int = 6,
    batch_size: int = 24,
    total_steps: int = 1_500,
) -> Experiment:
    import folder_vqgan  # the files beside this one
    import sound_folder_codec

    streams, columns = {}, {}
    if image is not None:
        pictures = FrozenRun(
            image,
            experiment=folder_vqgan.experiment(folder, image_size, multipliers=(1, 2, 4, 4)),
            command=f"vqjax train folder_vqgan --arg folder={folder} --arg multipliers=1,2,4,4"
            + (f" --arg image_size={image_size}" if image_size != 64 else ""),
        )
        streams["image"] = TokenStream(pictures)
        columns["image"] = ImageColumn(image_size)
    if audio is not None:
        codec = FrozenRun(
            audio,
            experiment=sound_folder_codec.experiment(folder, rate),
            command=f"vqjax train sound_folder_codec --arg folder={folder}"
            + (f" --arg rate={rate}" if rate != 16_000 else ""),
        )
        hop = rate // 50
        samples = max(1, round(seconds * 50)) * hop
        streams["audio"] = TokenStream(codec, codebooks=4, ends=True)
        columns["audio"] = SoundColumn(rate, samples, shift=hop // 2, loudness=Loudness())
    if text:
        streams["text"] = TextStream(vocabulary, length)
        columns["text"] = TextColumn(BPE(vocabulary), length)
    return Experiment(
        task=JointTask(
            streams,
            JointPrior(width=width, layers=layers, heads=4, dropout=0.1),
            blocks=(0.0, 0.5, 0.5) if len(streams) == 3 else (),
        ),
        # Absolute: the run can be evaluated and resumed from any directory.
        data=PairsFolder(os.path.abspath(as_path(folder, "folder")), columns),
        optimizers={
            "prior": Muon(Cosine(3e-3, steps=total_steps, warmup=100), weight_decay=0.1, clip=1.0)
        },
        batch_size=batch_size,
        eval_batch_size=50,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
