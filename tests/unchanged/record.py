"""What a change of the house must not change, recorded to be compared, bit for bit.

    python -m tests.unchanged.record BEFORE
    python -m tests.unchanged.record AFTER --against BEFORE

Trains a small run of every kind for 20 steps, and writes to DIR/unchanged.json each loss of each
step, what every verb then makes of the run, the facts on its page, and the path, shape and dtype of
every array in the states of all experiments; to DIR/states.json digests of the latter, which
`tests/experiments_test.py` compares. With --against it prints what differs, and ends with 1. The
same machine, JAX and compilation cache are taken for granted. It knows verbs and files alone, so
that it outlives whatever moves in between; about eight minutes on two cores.
"""

import argparse
import contextlib
import hashlib
import html
import io
import json
import os
import pathlib
import re
import runpy
import sys
from collections.abc import Iterable, Iterator

ROOT = pathlib.Path(__file__).parent.parent.parent
RECORD = "unchanged.json"
DIGITS = 'Digits(augment=(Resize(16, method="nearest"),))'
STEPS = ("total_steps=20", "log_every=1", "eval_every=10", "save_every=10", "eval_batch_size=99")
BOTH_MOVE = ("task.loss_weights.generator.start=0", "optimizers.discriminator.start=0")
NARROW = tuple(f"task.tokenizer.{part}.multipliers=(1,1,1)" for part in ("encoder", "decoder"))
PATCHGAN = (f"data={DIGITS}", "--arg", "width=8", *BOTH_MOVE, *NARROW)
OVER = ("--arg", "tokenizer=vqgan", f"data={DIGITS}")
TEXT = "Text(vocabulary=320, tokens=8, width=16, layers=1)"
# The words of `vqjax train`, in this order; each run lies in a folder of its name.
RUNS = {
    "classifier": ("mnist_classifier", f"data={DIGITS}"),
    "vqgan": ("mnist_vqgan", *PATCHGAN, "ema_decay=0.9"),
    "vqgan_accumulate": ("mnist_vqgan", *PATCHGAN, "accumulate=2"),
    "vqgan_bfloat16": ("mnist_vqgan", *PATCHGAN, "compute_dtype=bfloat16"),
    "vae": (
        "mnist_vae", "data=Digits(augment=(Binarize(),))", "--arg", "widths=(16,)",
        "--arg", "latents=3", "task.tokenizer.encoder.shape=(8,8)",
        "task.tokenizer.decoder.shape=(8,8)",
    ),
    "gpt_text": (
        "digits_text_to_image", "--arg", "tokenizer=vqgan",
        f"task.prior=GPT(16, 1, 2, dropout=0.1, condition={TEXT})",
    ),
    "gpt_plain": ("mnist_gpt", *OVER, "task.prior.condition=None"),
    "gpt_classes": ("mnist_gpt", *OVER),
    "maskgit": ("mnist_maskgit", *OVER),
    "pixelcnn": ("mnist_pixelcnn", *OVER),
    "levels": (
        "digits_vqgan", "--arg", "width=8", *NARROW,
        "task.tokenizer.quantizer=Residual(VectorQuantizer(16, 8), 2)",
    ),
    "gpt_levels": (
        "mnist_gpt", "--arg", "tokenizer=levels", 'data=TokenSet("tokens")',
    ),
}  # fmt: skip
# The words of other verbs behind RUN, and of what they write the pictures.
ALL = (("inspect",), ("evaluate", "--json"), ("compare", "--json"))
TOKENIZER = (("reconstruct", "--out", "out"),)
VAE = (("sample", "-n", "4", "--seed", "1", "--out", "out"), ("sample", "--interpolate", "2"))
PRIOR = (("sample", "-n", "4", "--seed", "1", "--out", "out"),)
GUIDED = ("sample", "-n", "3", "--classes", "3,7", "--guidance", "2", "--top-k", "5")
EDITS = (
    ("edit", "--mask", "left", "-n", "2", "--classes", "3"),
    ("edit", "--outpaint", "4,4,4,0", "-n", "2"),
    ("edit", "--upscale", "2", "--strength", "0.5", "-n", "2"),
)
JUDGE = (("evaluate", "--judge", "classifier", "-n", "40", "--json"),)
VERBS = {
    "vqgan": (*TOKENIZER, ("evaluate", "--params", "raw", "--json")),
    "vqgan_accumulate": (),
    "vqgan_bfloat16": TOKENIZER,
    "vae": (*TOKENIZER, *VAE, ("evaluate", "--importance-samples", "3", "--json")),
    "gpt_text": (*PRIOR, ("sample", "--prompt", "a nine", "-n", "2", "--temperature", "0.5")),
    "gpt_plain": (*PRIOR, ("edit", "--outpaint", "0,0,0,4", "-n", "2"), *JUDGE),
    "gpt_classes": (*PRIOR, GUIDED, *JUDGE),
    "maskgit": (*PRIOR, GUIDED, *EDITS),
    "pixelcnn": (*PRIOR, GUIDED),
    "classifier": (),
    "levels": TOKENIZER,
    "gpt_levels": PRIOR,
}
# What tells the time, the place or a checkpoint's digest: lines, and ends of lines.
TIMES = re.compile(
    r"seconds|per_second|Wall|first step|Compiling|Waiting|vqjax|Made on|Command|seal: | MB$"
)
ENDS = re.compile(r" 95% after .*$|(?<= 20) [\d.]+ [\d.]+$")


def run_verb(words: list[str]) -> str:
    """What one command prints on stdout; it must succeed."""
    from vqjax.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    if code != 0:
        raise SystemExit(f"{' '.join(words)}: exit code {code}\n{err.getvalue()}")
    return out.getvalue()


def train(name: str) -> None:
    words = RUNS[name]
    arguments = [word for pair in zip(words, words[1:], strict=False) for word in _pair(pair)]
    overrides = [word for word in words[1:] if "=" in word and word not in arguments]
    tiny = runpy.run_path(str(ROOT / "experiments" / f"{words[0]}.py"))["TINY"]
    whole = [part.partition("=")[0] for part in overrides]
    kept = [v for v in tiny if not any(v.startswith(f"{path}.") for path in whole)]
    small = [v for v in kept if "quantizer" not in v or name != "levels"]
    run_verb(["train", words[0], "--workdir", name, *arguments, *small, *STEPS, *overrides])


def _pair(pair: tuple[str, str]) -> tuple[str, ...]:
    return pair if pair[0] == "--arg" else ()


def losses(run: pathlib.Path) -> list[str]:
    """Lines of training and evaluation, as they are written."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [line for line in lines if json.loads(line)["kind"] in ("train", "eval")]


def pictures(folder: pathlib.Path) -> dict[str, str]:
    """{name: digest of what is seen} of all pictures below."""
    import numpy as np
    from PIL import Image

    found = {}
    for path in sorted(folder.rglob("*.png")):
        seen = np.asarray(Image.open(path).convert("RGBA"))
        digest = hashlib.sha256(repr(seen.shape).encode() + seen.tobytes()).hexdigest()
        found[str(path.relative_to(folder))] = digest[:16]
    return found


def said(text: str) -> list[str]:
    """The lines of an output that do not tell the time or where a run lies."""
    here = str(pathlib.Path.cwd())
    return _lasting(line.replace(here, ".") for line in text.splitlines())


def facts(page: str) -> list[str]:
    """The facts and the tables of a page, one line each, but for times."""
    rows = re.findall(r"<div><dt>.*?</dd></div>|<tr>.*?</tr>", page, re.DOTALL)
    cells = [re.sub(r"<[^>]+>", " ", row) for row in rows]
    return _lasting(" ".join(html.unescape(cell).split()) for cell in cells)


def _lasting(lines: Iterable[str]) -> list[str]:
    return [ENDS.sub("", line) for line in lines if not TIMES.search(line)]


def of_runs() -> Iterator[tuple[str, object]]:
    """(name, what must stay) of every run; runs lie in the current folder."""
    for name in RUNS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        if name == "gpt_levels":
            run_verb(["tokenize", "levels", "--out", "tokens"])
        train(name)
        yield f"{name}: metrics", losses(pathlib.Path(name))
        for verb, *options in (*ALL, *VERBS[name]):
            out = run_verb([verb, name, *options])
            yield f"{name}: {' '.join([verb, *options])}", said(out)
        page = pathlib.Path(f"{name}.html")
        run_verb(["report", name, "--out", str(page)])
        yield f"{name}: facts", facts(page.read_text())
    run_verb(["report", "vqgan", "levels", "--out", "two.html"])
    yield "two runs: facts", facts(pathlib.Path("two.html").read_text())
    yield "pictures", pictures(pathlib.Path())


def states(folder: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    """(experiment, a line for every array of its state)."""
    import functools

    import jax

    from tests.experiments_test import NEEDS_FOLDER, inputs_of, tiny_overrides
    from vqjax import config
    from vqjax.training.state import create_state

    for path in sorted((ROOT / "experiments").glob("*.py")):
        arguments = {"folder": str(folder)} if path.name in NEEDS_FOLDER else {}
        for size, overrides in (("full", ()), ("tiny", tiny_overrides(path))):
            experiment = config.load_file(str(path), arguments, overrides)
            state = jax.eval_shape(
                functools.partial(create_state, experiment, inputs_of(experiment))
            )
            yield f"{path.stem} {size}", lines_of(state)


def lines_of(state) -> list[str]:
    """A line for every array of a state: path, dtype and shape."""
    import jax

    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    return [f"{jax.tree_util.keystr(path)} {a.dtype}{list(a.shape)}" for path, a in flat]


def digest(lines: list[str]) -> str:
    """Of the parameters and collections among the lines; what optimizers keep is optax's affair."""
    own = [line for line in lines if line.startswith((".params", ".collections", ".ema"))]
    return hashlib.sha256("\n".join(own).encode()).hexdigest()[:16]


def make_folder(folder: pathlib.Path) -> pathlib.Path:
    """40 pictures in two classes, with captions."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(40):
        path = folder / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(path)
        path.with_suffix(".txt").write_text(f"picture {i} of class {'ab'[i % 2]}")
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=pathlib.Path, help="new folder for runs and record")
    parser.add_argument("--against", type=pathlib.Path, help="an earlier one")
    parser.add_argument("--states", action="store_true", help="only the states of experiments")
    args = parser.parse_args()
    old = None if args.against is None else json.loads((args.against / RECORD).read_text())
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    args.dir.mkdir(parents=True)
    os.chdir(args.dir)
    found: dict[str, object] = {}
    for name, lines in states(make_folder(pathlib.Path("pictures"))):
        found[f"state of {name}"] = lines
    if not args.states:
        found |= dict(of_runs())
    pathlib.Path(RECORD).write_text(json.dumps(found, indent=1))
    digests = {name[9:]: digest(v) for name, v in found.items() if name.startswith("state of ")}
    pathlib.Path("states.json").write_text(json.dumps(digests, indent=1) + "\n")
    if old is not None and args.states:
        old = {name: lines for name, lines in old.items() if name.startswith("state of ")}
    return 0 if old is None else report_changes(old, found)


def report_changes(old: dict, new: dict) -> int:
    """Prints what differs; 1 where anything does."""
    changed = [name for name in {**old, **new} if name in new and old.get(name) != new[name]]
    missing = [name for name in old if name not in new]
    for name in changed:
        print(f"CHANGED {name}")
        before, after = (_lines(tree.get(name, [])) for tree in (old, new))
        for line in [f"  - {v}" for v in before if v not in after][:8]:
            print(line[:300])
        for line in [f"  + {v}" for v in after if v not in before][:8]:
            print(line[:300])
    for name in missing:
        print(f"MISSING {name}")
    print(f"{len(new) - len(changed)} of {len(new)} are as they were")
    return 1 if changed or missing else 0


def _lines(value: object) -> list[str]:
    return [f"{k} {v}" for k, v in value.items()] if isinstance(value, dict) else list(value)


if __name__ == "__main__":
    sys.exit(main())
