"""RUN/experiment.json: the record of a run, readable without its experiment file."""

import dataclasses
import functools
import os
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from vqjax import config
from vqjax._version import __version__
from vqjax.hub import run_path
from vqjax.training.experiment import Experiment
from vqjax.training.journal import unwritable, write_whole
from vqjax.training.seal import SEAL, Owner
from vqjax.types import ArraySpec, DataError, UsageError

RECORD = "experiment.json"
BY_HAND = "was changed by hand since it was written: put the old one back"
# Fields of frozen parts of an experiment that the first start records, by class.
PINS = {"FrozenRun": ("step", "seal"), "WeightFile": ("sha256",)}
# Fields that may differ between two starts of one run, by class.
NOT_COMPARED = {
    "Experiment": ("mesh",),
    "FrozenRun": ("path", "command", "inputs"),
    "WeightFile": ("path",),
}


@dataclasses.dataclass(frozen=True)
class Replaced:
    """An earlier record of this run: its `digest`, and the changes that replaced it."""

    digest: str
    changes: tuple[str, ...]

    @classmethod
    def of(cls, item: Any) -> "Replaced":
        """From its JSON form."""
        return cls(str(item["digest"]), tuple(map(str, item["changes"])))


@dataclasses.dataclass(frozen=True)
class ExperimentRecord:
    """One run's record.

    Attributes:
        experiment: the resolved tree.
        inputs: `ArraySpec` of one example, so that the run opens without its data.
        name: the experiment file's stem.
        command: what started the run.
        version: of vqjax.
        id: of the run, whatever its path; None in a record of an earlier vqjax.
        replaced: the records before this one, oldest first.
    """

    experiment: Experiment
    inputs: dict[str, ArraySpec]
    name: str
    command: tuple[str, ...] = ()
    version: str = __version__
    id: str | None = None
    replaced: tuple[Replaced, ...] = ()

    @functools.cached_property
    def digest(self) -> str:
        """Of everything that is compared when a run resumes."""
        inputs = {k: (tuple(v.shape), str(v.dtype)) for k, v in sorted(self.inputs.items())}
        return config.digest({"experiment": self.experiment, "inputs": inputs}, NOT_COMPARED)


def new_id() -> str:
    """A unique id of a run."""
    return uuid.uuid4().hex


def owner_of(record: ExperimentRecord) -> Owner:
    """The owner of the steps of a record's run."""
    earlier = {}
    for index, old in enumerate(record.replaced):
        since = (line for item in record.replaced[index:] for line in item.changes)
        earlier[old.digest] = tuple(since)
    return Owner(record.id, record.digest, earlier)


def is_pack(run: pathlib.Path) -> bool:
    """Whether a directory is a pack (`vqjax.training.packed`), not a run that was trained there."""
    return (run / SEAL).exists() and not (run / "checkpoints").exists()


def write_record(run: pathlib.Path, record: ExperimentRecord) -> None:
    """Writes the record atomically; makes the directory where it is missing.

    Raises:
        UsageError: the directory cannot be made or written.
        DataError: the disk is full or fails.
    """
    content = {
        "vqjax": record.version,
        "id": record.id,
        "digest": record.digest,
        "replaced": [dataclasses.asdict(item) for item in record.replaced],
        "name": record.name,
        "command": list(record.command),
        "inputs": {k: v.as_json() for k, v in record.inputs.items()},
        "experiment": config.encode(record.experiment),
    }
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_whole(run / RECORD, config.to_json(content))
    except OSError as error:
        raise unwritable(run, error) from error


def load_record(run: str | os.PathLike, trust: Sequence[str] = ()) -> ExperimentRecord:
    """Reads a record; an untrusted one is safe to open (`vqjax.config`).

    Raises:
        DataError: no run there, or a record that cannot be read or was changed by hand.
    """
    run = run_path(run)
    content, path = read_content(run), run / RECORD
    record = parse_record(content, path, trust)
    if is_pack(run):
        record = dataclasses.replace(record, experiment=_with_own_frozen(run, record.experiment))
    if content.get("digest") not in (None, record.digest):
        raise DataError(
            f"{path} {BY_HAND} (settings are changed by "
            "`vqjax train FILE NAME=VALUE --allow-change`)"
        )
    return record


def _with_own_frozen(run: pathlib.Path, experiment: Experiment) -> Experiment:
    """The experiment of a pack, with the frozen runs that lie below it."""
    for path, frozen in config.find_frozen(experiment).items():
        if os.path.isabs(frozen.path):
            continue
        if ".." in pathlib.PurePath(frozen.path).parts:
            raise DataError(f"{run / RECORD}: {path} lies outside: {frozen.path}")
        inside = dataclasses.replace(frozen, path=str(run.absolute() / frozen.path))
        experiment = config.with_frozen(experiment, path, inside)
    return experiment


def parse_record(
    content: Mapping[str, Any], path: pathlib.Path, trust: Sequence[str]
) -> ExperimentRecord:
    """The record in `content` of `path`, whether or not it was changed by hand.

    Raises:
        DataError: it cannot be read.
    """
    try:
        inputs = {str(k): ArraySpec.of_json(v) for k, v in content["inputs"].items()}
        texts = str(content["name"]), tuple(map(str, content["command"])), str(content["vqjax"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    try:
        experiment = config.decode(content["experiment"], trust=trust)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if not isinstance(experiment, Experiment):
        raise DataError(f"{path} holds {type(experiment).__name__}, not an Experiment")
    try:
        experiment.check_parts()
    except UsageError as error:
        raise DataError(f"{path}: {error}") from error
    return ExperimentRecord(experiment, inputs, *texts, content.get("id"), replaced_in(content))


def read_content(run: pathlib.Path) -> dict[str, Any]:
    """A record as JSON values.

    Raises:
        DataError: there is none, or it is not a record of a run.
    """
    path = run / RECORD
    if not os.path.lexists(path):
        raise DataError(f"{run} is not a run: it has no {RECORD}")
    content = config.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("experiment"), dict):
        raise DataError(f"{path} is not a record of a run")
    try:
        replaced_in(content)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: its field 'replaced' is damaged") from error
    if not all(isinstance(content.get(name), (str, type(None))) for name in ("id", "digest")):
        raise DataError(f"{path}: wanted texts as its id and digest")
    return content


def replaced_in(content: Mapping[str, Any]) -> tuple[Replaced, ...]:
    """The earlier records in this content."""
    return tuple(map(Replaced.of, content.get("replaced", ())))
