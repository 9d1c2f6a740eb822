"""A folder of pairs out of the drawings of the data set `emoji`, some of them named aloud, and how
well a joint prior of it finds the caption of a picture.

    python -m tests.runs.spoken_emoji write DIR
    vqjax train folder_vqgan --arg folder=DIR --arg multipliers=1,2,4,4
    vqjax train sound_folder_codec --arg folder=DIR
    vqjax train pairs_any_to_any --arg folder=DIR --arg seconds=2.5
    python -m tests.runs.spoken_emoji find runs/pairs_any_to_any

`write` makes train/ (1,807 drawings) and test/ (201), and pairs.csv; captions of SPOKEN drawings of
train/ are read aloud by `espeak-ng`, at the rate that it has, the other rows have no sound. `find`
ranks the captions of test/ for each of its pictures by log p(caption | picture) - log p(caption),
and prints the rank of the right one. TFDS_DATA_DIR says where the data set is.
"""

import argparse
import csv
import pathlib
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image

import vqjax
from vqjax.data import TFDS
from vqjax.data.texts import to_text

SPOKEN = 200
SPLITS = {"train": "train", "test": "eval"}
CAPTION_BYTES = 512  # more than the longest caption has
NEAR = 10  # ranks that count as found
DRAWS = 10_000  # of the bootstrap


def drawings(part):
    """(picture uint8[64, 64, 3], caption) of each drawing of "train" or "eval"."""
    found = []
    for batch in TFDS("emoji", caption_bytes=CAPTION_BYTES).in_order(part, 100):
        kept = batch["mask"]
        found += zip(batch["image"][kept], map(to_text, batch["caption"][kept]), strict=True)
    return found


def chosen(count, most=SPOKEN):
    """Which of `count` drawings are read aloud: at equal distances."""
    return {int(i) for i in np.linspace(0, count - 1, min(count, most))}


def speak(text, path):
    """Writes a text read aloud as a WAV file."""
    command = ["espeak-ng", "-w", str(path), "--", text]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not path.is_file():
        sys.exit(f"espeak-ng cannot say {text!r}: {done.stderr.strip() or done.returncode}")


def write(folder):
    """Writes the drawings, the sounds and the table."""
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is missing: apt-get install espeak-ng")
    folder.mkdir(parents=True)
    rows = []
    for split, part in SPLITS.items():
        examples = drawings(part)
        spoken = chosen(len(examples)) if split == "train" else set()
        (folder / split).mkdir()
        for i, (picture, caption) in enumerate(examples):
            image, sound = f"{split}/{i:04d}.png", f"{split}/{i:04d}.wav" if i in spoken else ""
            Image.fromarray(picture).save(folder / image)
            if sound:
                speak(caption, folder / sound)
            rows.append((image, sound, caption))
        print(f"{split}: {len(examples):,} drawings, {len(spoken):,} of them read aloud")
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "audio", "text"), *rows])


def held_out(run):
    """The pictures uint8[n, H, W, C] and captions of the eval split's rows that have both."""
    data, pictures, texts = run.experiment.data, [], []
    for batch in data.eval(50, np.arange(50)):
        both = batch["mask"] & batch["image.present"] & batch["text.present"]
        pictures.append(batch["image.image"][both])
        texts += data.texts_of("text").decode(batch["text.caption"][both])
    return np.concatenate(pictures), texts


def ranks_of(scores):
    """The rank of candidate i for condition i, 1 the best, int[n]; others with the same score
    come before it. `scores`: [n, n], conditions first.
    """
    right = np.diagonal(scores)[:, None]
    return (scores >= right).sum(axis=1)


def interval(found, seed=0):
    """The 95 % interval of the mean of bool[n]: percentiles of its bootstrap."""
    draws = np.random.default_rng(seed).integers(0, len(found), (DRAWS, len(found)))
    return np.percentile(found[draws].mean(axis=1), [2.5, 97.5])


def find(path):
    """Prints how well captions are found."""
    run = vqjax.load(path)
    pictures, texts = held_out(run)
    scores = np.stack([run.rank("text", texts, {"image": picture}) for picture in pictures])
    ranks = ranks_of(scores)
    found = ranks <= NEAR
    low, high = interval(found)
    print(f"{len(texts)} pictures held out, step {run.step}: median rank {np.median(ranks):g}")
    print(
        f"the right caption among the first {NEAR}: {100 * found.mean():.1f} % "
        f"({100 * low:.1f} to {100 * high:.1f} %); by chance {100 * NEAR / len(texts):.1f} %"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["write", "find"])
    parser.add_argument("path", help="a new folder, or the run")
    args = parser.parse_args()
    write(pathlib.Path(args.path)) if args.what == "write" else find(args.path)


if __name__ == "__main__":
    main()
