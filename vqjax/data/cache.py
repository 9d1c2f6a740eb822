"""What is worked out once per machine (record offsets, checked files, drawings), in .npz files.

They lie in the user's cache directory, never beside the data, and every one can be worked out
again: what cannot be read is ignored, and what cannot be written is not cached.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np


def cache_home() -> pathlib.Path:
    """Returns vqjax's directory in the user's cache: XDG_CACHE_HOME or ~/.cache, then vqjax."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(home) if home else pathlib.Path("~/.cache").expanduser()) / "vqjax"


def _path(kind: str, key: Any) -> pathlib.Path:
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return cache_home() / kind / f"{digest}.npz"


def load(kind: str, key: Any) -> dict[str, np.ndarray] | None:
    """Returns what was cached under `key` (anything that goes through JSON), or None."""
    try:
        # Opened here: NumPy leaves a file open that is not an archive.
        with _path(kind, key).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def store(kind: str, key: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Caches `arrays` under `key` where the cache directory can be written."""
    path = _path(kind, key)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: another process reads all of it or nothing.
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, **arrays)
            os.replace(temporary, path)
        finally:
            pathlib.Path(temporary).unlink(missing_ok=True)
