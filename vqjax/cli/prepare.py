"""`vqjax prepare NAME`: downloads a data set and prepares it for TFDS, or LPIPS's weights, once."""

import argparse
import contextlib
import difflib
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

from vqjax.cli.arguments import path_argument
from vqjax.extras import pip_install
from vqjax.format import printable

CATALOGUE = "https://www.tensorflow.org/datasets/catalog"
# Sources that read no files.
BUILTIN = {"digits": "Digits()", "shapes": "Shapes()", "tones": "Tones()"}
LPIPS, WEIGHTS = "lpips", "weights"  # the one that is no data set, and where it goes
RETRIES = 4  # of one download, about 6 s; TFDS's ten take more than three minutes without a network


def add_parser(subparsers: Any) -> None:
    """Registers the verb."""
    parser = subparsers.add_parser(
        "prepare",
        help="download and prepare a data set",
        description="Downloads the TFDS data set NAME and prepares it: TFDS(NAME) reads it then. "
        "Does nothing where that is done; TFDSAudio(NAME, ...) reads sound. The digits, shapes and "
        "tones of vqjax's own sources, Digits(), Shapes() and Tones(), need no preparation. "
        "`prepare lpips` fetches the two files of the perceptual loss into weights/, where "
        "experiments look for them.",
    )
    parser.add_argument(
        "name", metavar="NAME", help=f"name[/config][:version], e.g. mnist; see {CATALOGUE}"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        default=None,
        help="directory of data sets (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=path_argument, help="of lpips: the folder (default: weights)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepares `args.name` in `args.data_dir` and prints its directory."""
    if args.name == LPIPS:
        return _fetch_lpips(args)
    from vqjax.types import UsageError

    if args.out is not None:
        raise UsageError(f"--out is of {LPIPS}: data sets go to --data-dir")
    from vqjax.data.prepared import data_home, find_prepared

    home = data_home(args.data_dir)  # refuses what is no directory
    if args.name in BUILTIN and args.data_dir is None:
        print(f"{args.name} come with vqjax: {BUILTIN[args.name]} needs no preparation")
        return 0
    directory = find_prepared(args.name, args.data_dir)
    if directory is not None:
        print(printable(f"{args.name} is prepared in {directory}"))
        return 0
    directory = _prepare(args.name, home)
    print(printable(f"prepared {args.name} in {directory}"))
    return 0


def _fetch_lpips(args: argparse.Namespace) -> int:
    """Fetches the two files, and says whose they are."""
    import tqdm

    from vqjax.features import download
    from vqjax.paths import as_path
    from vqjax.types import DataError, UsageError

    if args.data_dir is not None:
        raise UsageError(f"--data-dir is of data sets: the files of {LPIPS} go to --out")
    folder = as_path(args.out or WEIGHTS, "--out")
    for file in download.LPIPS:
        print(printable(f"{file.name}: {file.url} ({file.licence})"), file=sys.stderr)
        try:
            with tqdm.tqdm(unit="B", unit_scale=True, leave=False, disable=None) as bar:

                def report(done: int, total: int | None, bar: Any = bar) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                fetched = download.fetch(file, folder, report)
        except DataError as error:
            remedy = f"get it yourself and put it there as {folder / file.name}"
            raise DataError(f"{error}; {remedy}") from error
        print(printable(f"{'fetched' if fetched else 'there already:'} {folder / file.name}"))
    return 0


def _prepare(name: str, home: str) -> str:
    """Downloads and prepares a data set of TFDS's catalogue; returns its directory.

    Raises:
        UsageError: for a name, config or version that TFDS does not know.
        DataError: if it cannot be downloaded or written.
    """
    from vqjax.data.tf_data import first_line, quiet, tensorflow, tensorflow_datasets
    from vqjax.types import DataError, UsageError

    key = re.split("[/:]", name)[0]
    if key in BUILTIN:
        raise UsageError(
            f"{name!r} cannot be prepared: the {key} come with vqjax, {BUILTIN[key]} reads no files"
        )
    tensorflow()
    tfds = tensorflow_datasets()
    with quiet():
        try:
            builder = tfds.builder(name, data_dir=home)
        except tfds.core.DatasetNotFoundError as error:
            raise UsageError(_unknown_message(name, tfds)) from error
        except (ValueError, AssertionError) as error:
            raise UsageError(f"{name!r} cannot be prepared: {_reason(error)}") from error
        except ImportError as error:
            raise UsageError(_missing_package(name, error)) from error
    message = f"preparing {builder.info.full_name} in {builder.data_dir}"
    print(printable(message), file=sys.stderr)
    try:
        with quiet(), _few_retries():
            builder.download_and_prepare(file_format="tfrecord")
    except ImportError as error:
        raise UsageError(_missing_package(name, error)) from error
    except AssertionError as error:  # files that only the user can get
        raise DataError(f"{name!r} cannot be prepared: {' '.join(str(error).split())}") from error
    except OSError as error:
        network = "ConnectionError" in {c.__name__ for c in type(error).__mro__}
        why = "there is no network, or the server is down" if network else first_line(error)
        raise DataError(f"{name!r} cannot be prepared in {home}: {why}") from error
    except Exception as error:  # every builder fails in its own way
        raise DataError(f"{name!r} cannot be prepared: {first_line(error)}") from error
    return str(builder.data_dir)


def _unknown_message(name: str, tfds: Any) -> str:
    names = tfds.list_builders(with_community_datasets=False)
    near = difflib.get_close_matches(re.split("[/:]", name)[0], [*names, *BUILTIN], n=1)
    hint = f": did you mean {near[0]!r}?" if near else ""
    return f"TFDS knows no data set {name!r}{hint} ({CATALOGUE})"


def _missing_package(name: str, error: ImportError) -> str:
    """Returns the line about a package that TFDS needs to prepare `name`."""
    from vqjax.data.tf_data import first_line

    cause: BaseException | None = error  # TFDS raises it again, without the name of the package
    while cause is not None and not getattr(cause, "name", None):
        cause = cause.__cause__ or cause.__context__
    package = getattr(cause, "name", None)
    if not package:
        return f"{name!r} needs a package that is missing: {first_line(error)}"
    # TFDS decodes files of sound by pydub.
    remedy = pip_install("audio") if package == "pydub" else f"pip install {package}"
    return f"{name!r} needs the package {package}, which is missing: {remedy}"


def _reason(error: Exception) -> str:
    """TFDS puts the builder's arguments first and the reason, of many lines, behind them."""
    return " ".join(str(error).rsplit('}": ', 1)[-1].split())[:300]


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Lets TFDS try a download a few times only, and without a warning for each try."""
    from tensorflow_datasets.core.download import downloader

    # Not put back: after the first failure other downloads go on trying in their threads.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries
