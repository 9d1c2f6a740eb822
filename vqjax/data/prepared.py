"""Where the data sets lie that TFDS has prepared, and the error for one that is missing."""

import difflib
import os
import re
from typing import Any

from vqjax.data.tf_data import quiet, tensorflow_datasets
from vqjax.paths import as_path
from vqjax.types import DataError, UsageError

_NAME = re.compile(r"(?P<set>\w+)(/(?P<config>[\w+\-][\w.+\-]*))?(:(?P<version>[\w.*]+))?")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_INFO_FILE = "dataset_info.json"


def data_home(data_dir: str | None) -> str:
    """Returns where prepared data sets lie: `data_dir` > TFDS_DATA_DIR > ~/tensorflow_datasets.

    Raises:
        UsageError: that is neither a path of this machine nor a URL.
    """
    home = os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets")
    home = home if data_dir is None else data_dir
    return home if "://" in home else os.fspath(as_path(home, "data_dir"))


def _names(directory: Any) -> list[str]:
    """Returns the names of what is in `directory`; none if it is not a directory."""
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return []


def find_prepared(name: str, data_dir: str | None) -> str | None:
    """Returns the directory of the prepared data set `name`, or None.

    Args:
        name: "mnist", "mnist:3.0.1", "mnist:3.*.*" or "voc/2007:5.0.0". The newest version counts
            where none is named; the only prepared or else TFDS's default config likewise.
        data_dir: see `data_home`.

    Raises:
        UsageError: if `name` has another form, or several configs could be meant.
    """
    from etils import epath

    match = _NAME.fullmatch(name)
    if not match:
        raise UsageError(f"{name!r} is no data set's name: name[/config][:version] is its form")
    home = epath.Path(data_home(data_dir)) / match["set"]
    version = (match["version"] or "*.*.*").split(".")

    def newest(directory: Any) -> str | None:
        versions = [v for v in map(_VERSION.fullmatch, _names(directory)) if v]
        versions = [
            v
            for v in versions
            if len(version) == 3
            and all(w in ("*", n) for w, n in zip(version, v.groups(), strict=True))
            and (directory / v.string / _INFO_FILE).exists()
        ]
        if not versions:
            return None
        best = max(versions, key=lambda v: tuple(map(int, v.groups())))
        return os.fspath(directory / best.string)

    if match["config"]:
        return newest(home / match["config"])
    default = newest(home)
    if default:
        return default
    configs = {c: path for c in _names(home) if (path := newest(home / c)) is not None}
    if len(configs) > 1:
        raise UsageError(
            f"{name!r} is prepared in several configs: name[/config] is one of "
            + ", ".join(f"{match['set']}/{c}" for c in configs)
        )
    return next(iter(configs.values()), None)


def not_prepared(name: str, data_dir: str | None) -> DataError:
    """The error for a data set that is missing: the command that fetches it, and its size."""
    from etils import epath

    home = data_home(data_dir)
    dataset = re.split("[/:]", name)[0]
    small = dataset.lower()  # as all names of data sets are
    near = difflib.get_close_matches(small, _names(epath.Path(home)))
    hint = f" (prepared there: {', '.join(near)})" if near else ""
    if small != dataset and small in near:
        hint = f": did you mean {small!r}?{hint}"
    option = f" --data-dir {data_dir}" if data_dir else ""
    full = small + name[len(dataset) :]
    return DataError(
        f"data set {name!r} is not prepared in {home}{hint}: run `vqjax prepare {full}{option}`"
        f"{_download_size(small)}"
    )


def _download_size(dataset: str) -> str:
    """How much `vqjax prepare` fetches, in brackets; "" where TFDS does not know."""
    try:
        with quiet():
            files = tensorflow_datasets().builder_cls(dataset).url_infos
        size = sum(file.size for file in files.values())
    except Exception:  # no such data set, no TFDS, or one without recorded sizes
        return ""
    return f" (downloads {size / 1e6:,.0f} MB)" if size else ""
