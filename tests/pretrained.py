"""The packs in pretrained/: makes them anew by the commands in their cards, and compares numbers.

    python -m tests.pretrained DIR [--only NAME ...]

Trains in DIR/runs, which is resumed where it is there, packs into DIR/pretrained, and prints each
number of its evaluation beside the committed one; ends with 1 where one of the headline differs by
more than APART. To replace the committed packs copy DIR/pretrained over them.
"""

import argparse
import json
import os
import pathlib
import sys

import vqjax
from vqjax.cli.main import main as vqjax_main

COMMITTED = pathlib.Path(__file__).parent.parent / "pretrained"
TRAINED = (
    "mnist_vqvae", "mnist_gpt", "shapes_vqvae", "shapes_text_to_image", "spoken_digit_codec",
    "digits_any_to_any",
)  # fmt: skip
NEEDED = {  # runs that a pack builds on
    "mnist_vqvae": ("mnist_vqvae",),
    "mnist_gpt": ("mnist_vqvae", "mnist_gpt"),
    "shapes_text_to_image": ("shapes_vqvae", "shapes_text_to_image"),
    "digits_any_to_any": ("mnist_vqvae", "spoken_digit_codec", "digits_any_to_any"),
}
APART = 0.05  # of a number


def make(names):
    """Trains and packs these in the working directory."""
    wanted = {run for name in names for run in NEEDED[name]}
    for run in TRAINED:
        if run in wanted and vqjax_main(["train", run]):
            sys.exit(f"training {run} failed")
    for name in names:
        out = pathlib.Path("pretrained") / name
        command = ["pack", f"runs/{name}", "--out", str(out), "--dtype", "bfloat16", "--evaluate"]
        if not out.exists() and vqjax_main(command):
            sys.exit(f"packing {name} failed")


def numbers(pack):
    """Of its evaluation."""
    line = json.loads((pack / "metrics.jsonl").read_text())
    return {name: value for name, value in line.items() if name not in ("kind", "step")}


def compare(name):
    """Whether the headline came out alike; prints all numbers."""
    new, old = (numbers(root / name) for root in (pathlib.Path("pretrained"), COMMITTED))
    headline = type(vqjax.load(COMMITTED / name)).headline
    alike = True
    for key, was in old.items():
        now = new.get(key, float("nan"))
        apart = abs(now - was) / max(abs(was), 1e-9)
        if key.partition("/")[0] in headline and not apart <= APART:
            alike = False
        print(f"{name}: {key} {was:.4g} committed, {now:.4g} now ({100 * apart:.1f} %)")
    return alike


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--only", nargs="+", choices=sorted(NEEDED), default=sorted(NEEDED))
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    os.chdir(args.folder)
    make(args.only)
    there = [name for name in args.only if (COMMITTED / name).is_dir()]
    results = [compare(name) for name in there]
    sys.exit(not all(results))
