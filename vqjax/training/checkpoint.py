"""Checkpoints that are either whole or not used: Orbax writes them, a seal proves them.

Orbax alone loads a flipped bit as wrong numbers and takes an empty folder for the newest step. So
`checkpoints/<step>/` counts as finished only when `seal.json` lies in it, with the sha256 of every
file and the shape and dtype of every array; what does not match its seal is named and passed over.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import threading
from typing import Any

import jax
import orbax.checkpoint as ocp

from vqjax.training import distributed
from vqjax.types import DataError, Tree

STATE = "state"
SEAL = "seal.json"


@dataclasses.dataclass(frozen=True)
class Restored:
    """A state read back, its step, and what had to be said on the way there."""

    state: Any
    step: int
    lines: tuple[str, ...]


def sealed_steps(directory: str | os.PathLike) -> list[int]:
    """Steps under `directory` (RUN/checkpoints) that carry a seal, in increasing order."""
    root = pathlib.Path(directory)
    if not root.is_dir():
        return []
    return sorted(int(p.name) for p in root.iterdir() if _is_step(p) and (p / SEAL).is_file())


def _is_step(folder: pathlib.Path) -> bool:
    return folder.name.isdecimal() and folder.name == str(int(folder.name))


def seal_of(directory: str | os.PathLike, step: int) -> str:
    """The sha256 of a step's seal: it changes when any of the step's files does."""
    return hashlib.sha256((pathlib.Path(directory) / str(step) / SEAL).read_bytes()).hexdigest()


def verify(folder: pathlib.Path) -> str | None:
    """What is wrong with a sealed step, in a few words, or None."""
    try:
        seal = json.loads((folder / SEAL).read_text())
        step, files, arrays = seal["step"], dict(seal["files"]), dict(seal["arrays"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"{SEAL} cannot be read"
    if seal.get("self") != _digest(step, files, arrays):
        return f"{SEAL} is damaged"
    if str(step) != folder.name:
        return f"{SEAL} is that of step {step}"
    name = STATE
    try:
        for name, digest in files.items():
            if _sha256(folder / name) != digest:
                return f"{name} differs from its seal"
        for name in _files(folder):
            if name not in files:
                return f"{name} is not in its seal"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None


def restore(directory: str | os.PathLike, target: Tree, step: int | None = None) -> Restored | None:
    """The newest sound state, or that of `step`; None where nothing was ever sealed.

    Args:
        directory: RUN/checkpoints.
        target: tree of `jax.ShapeDtypeStruct` with shardings.
        step: this one or an error; None: the newest that is sound.

    Raises:
        DataError: every sealed step is damaged or has lost its seal, `step` is not there, or the
            arrays are others.
    """
    number, lines = newest_sound(directory, step)
    if number is None:
        return None
    return Restored(read(directory, number, target), number, tuple(lines))


def newest_sound(
    directory: str | os.PathLike, step: int | None = None
) -> tuple[int | None, list[str]]:
    """The newest sealed step whose files are as they were sealed, or None where nothing was ever
    sealed; and a line on each newer one that was passed over.

    Args:
        step: this one or an error.

    Raises:
        DataError: as `restore`.
    """
    root = pathlib.Path(directory)
    steps, lost = sealed_steps(root), _unsealed(root)
    if lost and not steps:
        raise DataError(
            f"no sealed checkpoint in {root}: {', '.join(map(str, lost))} lost {SEAL}; "
            "start anew in another --workdir"
        )
    if step is not None:
        if step not in steps:
            have = ", ".join(map(str, steps)) or "none"
            raise DataError(f"no sealed step {step} in {root} (sealed: {have})")
        steps = [step]
    lines = []
    for number in reversed(steps):
        wrong = verify(root / str(number))
        if wrong is None:
            bare = [n for n in lost if n > number and step is None]
            return number, [f"checkpoint {n} has no {SEAL}: passed over" for n in bare] + lines
        lines.append(f"checkpoint {number} is damaged ({wrong}): passed over")
    if lines:
        raise DataError(f"no sound checkpoint in {root}: {'; '.join(lines)}")
    return None, []


def read(directory: str | os.PathLike, step: int, target: Tree) -> Tree:
    """The arrays of a sealed step as `target` wants them; its files are not verified here.

    Raises:
        DataError: the arrays are others.
    """
    folder = pathlib.Path(directory) / str(step)
    _compare(json.loads((folder / SEAL).read_text())["arrays"], target, folder)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        return reader.restore(folder / STATE, args=ocp.args.StandardRestore(target))


def _unsealed(root: pathlib.Path) -> list[int]:
    """Steps with arrays that carry no seal: it was lost, or their save was killed. Before step 0 is
    sealed, no other step is begun: where nothing is sealed, they are what is left of a run.
    """
    if not root.is_dir():
        return []
    folders = [p for p in root.iterdir() if _is_step(p) and (p / STATE).exists()]
    return sorted(int(p.name) for p in folders if p.name != "0" and not (p / SEAL).is_file())


class Checkpoints:
    """Saves in the background, seals what is complete, keeps the newest `keep` sealed steps.

    Use it in `with`: at the end it waits. Errors of the background surface at the next call. All
    processes of a run call it alike; process 0 alone moves, seals and deletes.
    """

    def __init__(self, directory: str | os.PathLike, keep: int) -> None:
        self.directory = pathlib.Path(directory).absolute()
        self.keep = keep
        self._writer = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        if distributed.is_first() and self.directory.is_dir():
            for left in self.directory.glob("*/*.orbax-checkpoint-tmp*"):
                shutil.rmtree(left, ignore_errors=True)  # of a save that was killed

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and distributed.several():
            return  # the others may never come here
        try:
            self.wait()
        except DataError:
            if kind is None:  # else what went wrong first counts
                raise
        finally:
            self._writer.close()

    def save(self, step: int, state: Tree) -> None:
        """Copies `state` off the device, then returns; the rest happens in the background.

        A step that is sealed already stays as it is.
        """
        self.wait()
        folder = self.directory / str(step)
        if not distributed.from_first(lambda: self._make_room(folder)):
            return
        arrays = _describe(state)
        self._writer.save(folder / STATE, args=ocp.args.StandardSave(state), force=True)
        self._thread = threading.Thread(target=self._finish, args=(folder, arrays), daemon=True)
        self._thread.start()

    def _make_room(self, folder: pathlib.Path) -> bool:
        """A folder for a step that is not sealed yet; False where it is."""
        if int(folder.name) in sealed_steps(self.directory):
            return False
        if folder.exists() and not folder.is_dir():
            folder.rename(_damaged(folder))
        folder.mkdir(parents=True, exist_ok=True)
        return True

    def wait(self) -> None:
        """Until the last save is sealed."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        distributed.agree(self._complain)

    def _complain(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise DataError(f"saving in {self.directory} failed: {error}") from error

    def close(self) -> None:
        self.__exit__(None)

    def set_aside(self, after: int) -> None:
        """Renames damaged steps newer than `after`, so that they are neither kept nor counted, and
        deletes what kills have left of older ones.
        """
        for folder in list(self.directory.glob("*")) if distributed.is_first() else ():
            if not _is_step(folder):
                continue
            sealed = (folder / SEAL).is_file()
            if sealed and int(folder.name) > after:
                folder.rename(_damaged(folder))
            if not sealed and int(folder.name) < after:
                shutil.rmtree(folder, ignore_errors=True)

    def _finish(self, folder: pathlib.Path, arrays: dict) -> None:
        try:
            self._writer.wait_until_finished()
            if distributed.is_first():
                _seal(folder, arrays)
                for old in sealed_steps(self.directory)[: -self.keep]:
                    # The seal goes first: what is half deleted must not look finished.
                    (self.directory / str(old) / SEAL).unlink()
                    shutil.rmtree(self.directory / str(old), ignore_errors=True)
        except BaseException as error:
            self._error = error


def _damaged(folder: pathlib.Path) -> pathlib.Path:
    """A free name beside `folder`, whose content is of no use any more but is not ours to delete
    unseen: the one of before goes.
    """
    target = folder.with_name(f"{folder.name}.damaged")
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    return target


def _files(folder: pathlib.Path) -> list[str]:
    """A step's files, by their paths below `folder`."""
    found = (folder / STATE).rglob("*")
    return sorted(p.relative_to(folder).as_posix() for p in found if p.is_file())


def _seal(folder: pathlib.Path, arrays: dict) -> None:
    files = {name: _sha256(folder / name) for name in _files(folder)}
    step = int(folder.name)
    digest = _digest(step, files, arrays)
    text = json.dumps({"step": step, "self": digest, "files": files, "arrays": arrays})
    part = folder / (SEAL + ".part")
    with part.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    part.rename(folder / SEAL)


def _digest(step: int, files: dict, arrays: dict) -> str:
    return hashlib.sha256(json.dumps([step, files, arrays], sort_keys=True).encode()).hexdigest()


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(tree: Tree) -> dict[str, list]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p): [list(x.shape), str(x.dtype)] for p, x in leaves}


def _compare(saved: dict, target: Tree, folder: pathlib.Path) -> None:
    """Orbax casts a dtype in silence; here whatever differs is an error."""
    wanted = _describe(target)
    differs = [f"{n} is not wanted" for n in sorted(saved.keys() - wanted.keys())]
    differs += [f"{n} is not there" for n in sorted(wanted.keys() - saved.keys())]
    differs += [
        f"{n} is {saved[n]}, wanted {wanted[n]}"
        for n in sorted(wanted.keys() & saved.keys())
        if saved[n] != wanted[n]
    ]
    if differs:
        more = f" and {len(differs) - 3} more" if len(differs) > 3 else ""
        raise DataError(f"{folder} holds another model: {'; '.join(differs[:3])}{more}")
