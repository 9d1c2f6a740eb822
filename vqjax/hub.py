"""Packs on the Hugging Face Hub: `hf://ORG/NAME` or `hf://ORG/NAME@REVISION` where a run is named.

Only what a pack consists of is fetched, into the cache of `huggingface_hub`, and none of it is
code; its seal is compared when it is opened.
"""

import os
import pathlib
import re

from vqjax.extras import pip_install
from vqjax.format import printable
from vqjax.paths import as_path

SCHEME = "hf://"
PARTS = ("experiment.json", "model.safetensors", "seal.json", "metrics.jsonl", "README.md")
FILES = (*PARTS, "samples/*", "frozen/*")
_NAME = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_SHOWN = 200  # characters of an error


def is_hub(path: str | os.PathLike) -> bool:
    """Whether it names a pack on the Hub."""
    return isinstance(path, str) and path.startswith(SCHEME)


def run_path(path: str | os.PathLike, what: str = "") -> pathlib.Path:
    """`as_path` of a run, which may be a pack on the Hub: it is fetched, unless it was before.

    Raises:
        UsageError: it is no path, or not the name of something on the Hub; or `huggingface_hub` is
            not installed.
        DataError: there is no such pack or revision, or it cannot be fetched.
    """
    return _fetched(path) if is_hub(path) else as_path(path, what)


def _fetched(url: str) -> pathlib.Path:
    from vqjax.types import DataError, UsageError

    shown = printable(url, _SHOWN)
    named = _NAME.fullmatch(url)
    if named is None:
        raise UsageError(f"{shown}: wanted {SCHEME}ORG/NAME or {SCHEME}ORG/NAME@REVISION")
    try:
        import huggingface_hub
        from huggingface_hub.utils import disable_progress_bars
    except ImportError as error:
        raise UsageError(f"{shown} needs huggingface_hub: {pip_install('hub')}") from error
    disable_progress_bars()
    try:
        folder = huggingface_hub.snapshot_download(
            named["repo"], revision=named["revision"], allow_patterns=list(FILES)
        )
    except Exception as error:  # of the Hub, the network, the disk
        line = next((x for x in str(error).splitlines() if x.strip()), type(error).__name__)
        raise DataError(f"{shown} cannot be fetched: {printable(line.strip(), _SHOWN)}") from error
    root = pathlib.Path(folder)
    _check_inside(shown, root)
    if not (root / PARTS[0]).is_file():
        raise DataError(f"{shown} is no pack of vqjax: it has no {PARTS[0]}")
    return root


def _check_inside(shown: str, root: pathlib.Path) -> None:
    """Refuses files that lie elsewhere than in the cache of this repository."""
    from vqjax.types import DataError

    cache = root.parent.parent.resolve()  # of snapshots/COMMIT; links lead to blobs/ beside it
    for file in root.rglob("*"):
        if not file.resolve().is_relative_to(cache):
            raise DataError(f"{shown}: {file.relative_to(root)} leads out of its folder")
