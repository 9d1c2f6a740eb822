"""The embedded data set: scikit-learn's scanned digits, prepared at first use without a network."""

import contextlib
import dataclasses
import functools
import io
import os
import pathlib
import shutil
import tempfile

from vqjax.data import augment as augmentation
from vqjax.data.arrays import finished_spec
from vqjax.data.keep import cache_home
from vqjax.data.source import Split, SplitSource
from vqjax.data.tf_data import first_line, quiet, tensorflow
from vqjax.data.tfds import TFDS, data_home, find_prepared
from vqjax.types import ArraySpec, DataError, UsageError

__all__ = ["Digits"]

NAME = "digits"
NUM_TRAIN = 1_500
NUM_TEST = 297
_SPECS = {"image": ArraySpec((8, 8, 1), "uint8"), "label": ArraySpec((), "int32")}


def prepare_digits(data_dir: str | None) -> tuple[str, bool]:
    """Prepares the digits where they are not yet.

    The usual place (`vqjax.data.tfds.data_home`) is taken if it can be written, else the user's
    cache. Two processes may do this at once: each works in a directory of its own, and the first to
    rename it wins.

    Returns:
        The data_dir they lie in, and whether they were prepared just now.

    Raises:
        DataError: if neither place can be written.
        UsageError: if TensorFlow or scikit-learn are not installed.
    """
    homes = [data_home(data_dir), os.fspath(cache_home() / "tfds")]
    for home in homes:
        if find_prepared(NAME, home):
            return home, False
    problems = []
    for home in homes:
        try:
            os.makedirs(home, exist_ok=True)
            work = tempfile.mkdtemp(prefix=".digits-", dir=home)
        except OSError as error:
            problems.append(f"{home}: {error.strerror}")
            continue
        try:
            _prepare_in(pathlib.Path(work), pathlib.Path(home))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return home, True
    raise DataError(f"the digits cannot be written anywhere ({'; '.join(problems)})")


def _prepare_in(work: pathlib.Path, home: pathlib.Path) -> None:
    """Prepares the digits in `work` and moves them into `home`, another directory's parent."""
    tensorflow()
    try:
        import sklearn.datasets  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the digits come with scikit-learn, which cannot be imported ({error}): "
            "pip install 'vqjax[data]'"
        ) from error
    import tensorflow_datasets as tfds

    from vqjax.data.builders.digits import Digits as Builder

    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()), _no_bar(tfds):
            builder = Builder(data_dir=work)
            builder.download_and_prepare()
    except OSError as error:
        raise DataError(f"the digits cannot be prepared in {home}: {first_line(error)}") from error
    made = pathlib.Path(builder.data_dir)
    target = home / NAME / made.name
    target.parent.mkdir(exist_ok=True)
    try:
        made.rename(target)
    except OSError as error:
        if find_prepared(NAME, os.fspath(home)) is None:  # else another process was first
            raise DataError(f"{target} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _no_bar(tfds):
    """Turns TFDS's progress bars off: this takes two seconds."""
    shown = tfds.core.utils.tqdm_utils._active  # TFDS has a setter, but nothing to ask
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            tfds.enable_progress_bar()


@dataclasses.dataclass(frozen=True)
class Digits(SplitSource):
    """1,797 handwritten digits, uint8 [8, 8, 1], 1,500 for training and 297 for evaluation.

    "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI, CC BY 4.0), as it
    comes with scikit-learn.

    Attributes:
        augment: transforms of "image".
        data_dir: where they are, or are prepared; None: TFDS_DATA_DIR, else ~/tensorflow_datasets,
            else the user's cache.
    """

    augment: tuple[augmentation.Transform, ...] = ()
    data_dir: str | None = None

    @functools.cached_property
    def _source(self) -> TFDS:
        home, _ = prepare_digits(self.data_dir)
        return TFDS(NAME, data_dir=home, augment=self.augment)

    def _open(self, part: str) -> Split:
        return self._source._open(part)

    def check(self) -> None:
        """See `Source.check`; prepares the digits where they are not yet."""
        self._source.check()

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known without the files."""
        return finished_spec(_SPECS, self.augment)

    def num_train(self) -> int:
        """See `Source.num_train`."""
        return NUM_TRAIN

    def num_eval(self) -> int:
        """See `Source.num_eval`."""
        return NUM_TEST

    def notes(self) -> list[str]:
        """See `Source.notes`."""
        return [
            "data: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI "
            "(CC BY 4.0), from scikit-learn"
        ]
