"""Command lines drawn at random, from what is right, what is wrong and what is odd.

Whatever is typed ends with one of the program's exit codes, without a traceback, in short lines;
and a command that is refused as wrong writes nothing.
"""

import concurrent.futures
import contextlib
import io
import os
import pathlib
import random
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from vqjax.cli.main import VERBS, main
from vqjax.media.audio import write_sound

pytestmark = pytest.mark.slow

FILES = pathlib.Path(__file__).parent.parent / "training" / "files"
LINES, PROCESSES = 1_500, 50
SEED = 16
CODES = {0, 1, 2, 3, 4, 75, 130}
LONGEST = 500  # characters of a line
TIMEOUT = 120  # seconds of a process

ODD = (
    "", " ", "-", "--", "=", "x", "0", "-1", "1.5", "nan", "inf", "-1e400", "1e999", str(2**64),
    "9" * 400, "x" * 5_000, "None", "none", "true", "()", "[]", "{}", "((((", "1,2,3", "a=b",
    "--x=y", "*", "%s", "%(prog)s", "{0}", "é", "名", "a\nb", "a\0b", "\x1b[31mred", "\udcff",
    "Adam(1e-3)", "L1()", "__import__('os')", "~", "~nobody1/x", "file:///x", "gs://b/x", "..",
    "nowhere", "/proc/nothing", "/dev/null", "/dev/full", "pipe", "link", "loop", "folder",
    "empty.py", "broken.py", "noise.png", "tokenizer", "prior", "tokenizer/experiment.json",
)  # fmt: skip
FIELDS = (
    "batch_size", "seed", "accumulate", "compute_dtype", "ema_decay", "keep", "log_every", "mesh",
    "mesh.data", "mesh.fsdp", "data", "data.train_arrays", "optimizers", "optimizers.tokenizer",
    "optimizers.tokenizer.clip", "task", "task.losses", "task.losses.0", "task.loss_weights.l2",
    "task.tokenizer.encoder.widths", "task.tokenizer.encoder.shape", "init_from", "init_new",
    "task.tokenizer.quantizer", "task.tokenizer.quantizer.codebook_size", "bacth_size", "a.b.c",
)  # fmt: skip
VALUES = ("1", "2", "8", "16", "4", "float32", "bfloat16", "0.9", "FSQ((3,3,3,3))", "(L1(),)")
NUMBERS = ("1", "2", "3")
TRAIN = ("FILE", "--arg", "--frozen", "--trust", "OVERRIDE")
RUN = ("--params", "--frozen", "--trust")
SAMPLING = (
    "--temperature",
    "--top-k",
    "--top-p",
    "--guidance",
    "--classes",
    "--prompt",
    "--condition",
)
OPTIONS = {
    "experiments": ("OVERRIDE",),
    "copy": ("NAME", "OVERRIDE", "--overwrite"),
    "prepare": ("NAME", "--data-dir"),
    "train": (*TRAIN, "--workdir", "--allow-change", "--dry-run", "--shape"),
    "reconstruct": (
        "RUN", *RUN, "INPUT", "--out", "--step", "--max-pixels", "--codebooks", "--rate",
        "--format", "--max-seconds",
    ),
    "tokenize": ("RUN", "--trust", "--out", "--step", "--samples"),
    "sample": ("RUN", *RUN, "-n", "--seed", "--step", "--interpolate", *SAMPLING, "--out"),
    "edit": (
        "RUN", *RUN, "PICTURE", "--mask", "--outpaint", "--upscale", "--variations", "--strength",
        "--fit", "-n", "--seed", "--step", *SAMPLING, "--out",
    ),
    "evaluate": (
        "RUN", *RUN, "OVERRIDE", "--step", "--importance-samples", "--judge", "-n", "--by",
        "--codecs", "--json",
    ),
    "inspect": ("RUN", *TRAIN[1:], "--shape"),
    "report": ("RUN", "RUN", "--trust", "--out"),
    "compare": ("RUN", "RUN", "--params", "--trust", "--out", "--markdown", "--json"),
    "compile": (*TRAIN, "--topology", "--slices", "--shape", "--json", "--fit-batch", "--sweep"),
    "benchmark": (*TRAIN, "--shape", "--json", "--against", "--tolerance", "--data"),
}  # fmt: skip
FLAGS = (
    "--overwrite",
    "--allow-change",
    "--dry-run",
    "--fit",
    "--json",
    "--markdown",
    "--fit-batch",
    "--codecs",
)
# One good value or more for what stands for itself and for options.
GOOD = {
    "NAME": ("digits",),
    "FILE": (str(FILES / "small_vqvae.py"),),
    "RUN": ("tokenizer", "tokenizer", "prior", "unfinished", "codec"),
    "PICTURE": ("noise.png", "folder"),
    "INPUT": ("noise.png", "folder", "noise.wav"),
    "--data-dir": ("data",),
    "--arg": ("poison=false",),
    "--frozen": ("tokenizer=tokenizer",),
    "--trust": ("tests.tiny",),
    "--workdir": ("tokenizer", "new"),
    "--shape": ("8,8,1",),
    "--out": ("out", "out2"),
    "--step": ("0", "2"),
    "--max-pixels": ("1000",),
    "--codebooks": NUMBERS,
    "--samples": ("80", "81"),
    "--rate": ("8000",),
    "--format": ("wav", "opus"),
    "--max-seconds": ("1", "0"),
    "--params": ("raw", "auto"),
    "-n": NUMBERS,
    "--seed": NUMBERS,
    "--interpolate": NUMBERS,
    "--temperature": ("0.5",),
    "--top-k": NUMBERS,
    "--top-p": ("0.9",),
    "--guidance": ("2",),
    "--classes": ("0,1",),
    "--prompt": ("a two",),
    "--condition": ("text=two",),
    "--mask": ("top", "noise.png"),
    "--outpaint": ("0,0,0,4",),
    "--upscale": ("2",),
    "--variations": NUMBERS,
    "--strength": ("0.5",),
    "--importance-samples": NUMBERS,
    "--judge": ("prior",),
    "--by": ("label",),
    "--topology": ("t4x9", "v5e:1x9"),  # no such machines: a compilation takes long
    "--slices": ("0",),
    "--sweep": ("1,8",),
    "--against": ("tokenizer/experiment.json",),
    "--tolerance": ("-1",),
    "--data": ("synthetic",),
}


def draw(rng):
    """One command line of one process, which --processes would fork. Most have something wrong with
    them: what is right takes time.
    """
    verb = rng.choice(VERBS)
    odds = rng.choice((0.0, 0.15, 0.3, 0.6))  # that a value is odd
    words = []
    for name in OPTIONS[verb]:
        needed = name.isupper() and name not in ("PICTURE", "INPUT", "OVERRIDE")
        needed |= name == "--out" or name == "--topology"
        if rng.random() < (0.95 if needed else 0.25):
            words.append(option(rng, name, odds))
    if verb == "train":  # how long it takes is never left to chance
        words.append(["total_steps=2"])
    if verb == "benchmark":
        words.append(["--seconds", rng.choice(("0", "0", "0", "0", "0.01"))])
    if rng.random() < 0.1:
        words.append([rng.choice((*ODD, "--nonsense", "--batch_size=3", "--debu", "--help"))])
    rng.shuffle(words)
    odd_verb = rng.random() < 0.02
    return [rng.choice(ODD) if odd_verb else verb, *(w for group in words for w in group)]


def option(rng, name, odds):
    if name in FLAGS:
        return [name]
    if name == "OVERRIDE":
        value = rng.choice(ODD) if rng.random() < odds else rng.choice(VALUES)
        return [f"{rng.choice(FIELDS)}={value}"]
    value = rng.choice(ODD) if rng.random() < odds else rng.choice(GOOD[name])
    if not name.startswith("-"):
        return [value]
    return [f"{name}={value}"] if name.startswith("--") and rng.random() < 0.5 else [name, value]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with three small runs and a good deal that is none."""
    jax.config.update("jax_disable_most_optimizations", True)  # what runs once is soon compiled
    root = tmp_path_factory.mktemp("fuzz")
    small = ["total_steps=2", "--workdir"]
    file = str(FILES / "small_vqvae.py")
    prior = [str(FILES / "small_prior.py"), "--arg", f"tokenizer={root / 'tokenizer'}"]
    assert main(["train", file, *small, str(root / "tokenizer")]) == 0
    assert main(["train", *prior, "--arg", "prior=maskgit", *small, str(root / "prior")]) == 0
    assert main(["train", str(FILES / "small_codec.py"), *small, str(root / "codec")]) == 0
    (root / "unfinished").mkdir()
    record = (root / "tokenizer" / "experiment.json").read_text()
    (root / "unfinished" / "experiment.json").write_text(record)
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to("/nowhere")
    (root / "loop").symlink_to("loop")
    (root / "empty.py").touch()
    (root / "broken.py").write_text("def experiment(:")
    (root / "folder").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).save(root / "noise.png")
    Image.fromarray(noise).save(root / "folder" / "noise.jpg")
    write_sound(root / "noise.wav", noise.reshape(-1).astype(np.int16), 8_000)
    return root


@pytest.fixture
def here(root, monkeypatch):
    """In that folder, without a home, a network and prepared data of one's own."""
    jax.config.update("jax_disable_most_optimizations", True)
    monkeypatch.chdir(root)
    for name, where in (("HOME", "home"), ("XDG_CACHE_HOME", "cache"), ("TFDS_DATA_DIR", "data")):
        monkeypatch.setenv(name, str(root / where))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setattr("vqjax.cli.prepare.RETRIES", 1)
    assert main(["prepare", "digits"]) == 0
    return root


def tree(root):
    """What lies there, but for what libraries keep for themselves."""
    found = {}
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in ("cache", "__pycache__")]
        for name in (*names, *files):
            stat = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return {path: of for path, of in found.items() if not os.path.isdir(path)}


def faults(argv, code, out, err):
    """What is wrong with how a command line ended."""
    if code not in CODES:
        yield f"exit code {code}"
    for text, checked in ((out, "--debug" not in argv), (err, "--debug" not in argv)):
        if checked and ("Traceback" in text or "unexpected" in text):
            yield f"said {text[-300:]!r}"
    lines = err.replace("\r", "\n").splitlines()
    if "--json" not in argv:  # one line by its nature
        lines += out.splitlines()
    if (longest := max(map(len, lines), default=0)) > LONGEST:
        yield f"a line of {longest} characters"
    if code not in (0, 75) and not err.strip() and "--help" not in argv:
        yield "failed without a word"


def in_this_process(argv):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except BaseException as error:
            code = repr(error)
    return code, out.getvalue(), err.getvalue()


def test_command_lines(here):
    rng, wrong = random.Random(SEED), []
    before = tree(here)
    for _ in range(LINES):
        argv = draw(rng)
        code, out, err = in_this_process(argv)
        after = tree(here)
        found = list(faults(argv, code, out, err))
        if code == 2 and after != before:
            changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
            found.append(f"refused, but wrote {sorted(changed)[:3]}")
        before = after
        if found:
            wrong.append(f"{shlex.join(argv)[:600]}\n    {'; '.join(found)}")
    assert not wrong, f"{len(wrong)} of {LINES}:\n" + "\n".join(wrong[:20])


def test_command_lines_as_processes(here):
    """Also with their output closed, full, or read by nobody."""
    rng = random.Random(SEED + 1)
    redirected = ("", "", ">&-", "2>&-", ">/dev/full", "2>/dev/full", "| true", "<&- >&- 2>&-")

    def ended(argv, where):
        command = f'"$@" {where}; exit ${{PIPESTATUS[0]}}'
        words = ["bash", "-c", command, "bash", sys.executable, "-m", "vqjax", *argv]
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, cwd=here
        )
        silent = "2>" in where or where == "| true"  # a reader that left is no news
        found = list(faults(argv, done.returncode, done.stdout, done.stderr))
        found = [f for f in found if not (silent and f == "failed without a word")]
        return f"{shlex.join(argv)[:600]} {where}\n    {'; '.join(found)}" if found else None

    drawn = []
    while len(drawn) < PROCESSES:
        argv = draw(rng)
        if rng.random() < 0.1:
            argv += [rng.choice(("--processes", "--process", "--coordinator")), rng.choice(ODD)]
        if not any("\0" in word for word in argv):
            drawn.append((argv, rng.choice(redirected)))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        wrong = [line for line in pool.map(lambda each: ended(*each), drawn) if line]
    assert not wrong, f"{len(wrong)} of {PROCESSES}:\n" + "\n".join(wrong)
