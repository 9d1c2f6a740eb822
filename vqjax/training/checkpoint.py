"""Checkpoints that are either whole or not used: Orbax writes them, a seal proves them."""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import shutil
import threading
from collections.abc import Callable
from typing import Any

import orbax.checkpoint as ocp

from vqjax.training import defaults, distributed, seal
from vqjax.training.journal import reason
from vqjax.training.quiet import Quiet
from vqjax.training.seal import SEAL, STATE, Owner, describe, sealed_steps, steps_in
from vqjax.types import DataError, Tree, VqjaxError

TRIAL = "state.trial"
POLL_SECONDS = 0.5  # between two checks whether another process has failed
_writers = itertools.count()
MESSAGE = 200  # characters of Orbax's message


@dataclasses.dataclass(frozen=True)
class Restored:
    """A state read back, its step, and lines for the user."""

    state: Any
    step: int
    lines: tuple[str, ...]


def restore(
    directory: str | os.PathLike, target: Tree, step: int | None = None, owner: Owner | None = None
) -> Restored | None:
    """The newest sound state, or that of `step`; None where nothing was ever sealed.

    Args:
        directory: RUN/checkpoints.
        target: tree of `jax.ShapeDtypeStruct` with shardings.
        step: this one or an error; None: the newest that is sound.
        owner: the run that they must belong to; None: any.

    Raises:
        DataError: every sealed step is damaged or has lost its seal, `step` is missing, or the
            arrays differ from `target`.
    """
    number, lines = newest_sound(directory, step, owner)
    if number is None:
        return None
    return Restored(read(directory, number, target), number, tuple(lines))


def newest_sound(
    directory: str | os.PathLike, step: int | None = None, owner: Owner | None = None
) -> tuple[int | None, list[str]]:
    """The newest sealed step whose files are as they were sealed, or None where nothing was ever
    sealed; a line on each newer one that was passed over, and caveats on its settings.

    Args:
        step: this one or an error.
        owner: the run that they must belong to; None: any.

    Raises:
        DataError: as `restore`; a step of this run under an experiment that it never had.
    """
    root = pathlib.Path(directory)
    steps, unsealed = sealed_steps(root), _unsealed_steps(root)
    if unsealed and not steps:
        raise DataError(
            f"no sealed checkpoint in {root}: {', '.join(map(str, unsealed))} lost {SEAL}; "
            "start anew in another --workdir"
        )
    if step is not None:
        if step not in steps:
            sealed = ", ".join(map(str, steps)) or "none"
            raise DataError(f"no sealed step {step} in {root} (sealed: {sealed})")
        steps = [step]
    lines = []
    for number in reversed(steps):
        problem = _problem(root / str(number), owner)
        if problem is None:
            newer = [n for n in unsealed if n > number and step is None]
            lines = [f"checkpoint {n} has no {SEAL}: passed over" for n in newer] + lines
            caveats = [owner and seal.caveat(root / str(number), owner)]
            old = defaults.caveat(seal.read_seal(root / str(number))["arrays"])
            caveats.append(old and f"checkpoint {number}: {old}")
            return number, [*lines, *filter(None, caveats)]
        lines.append(f"checkpoint {number} {problem}: passed over")
    if lines:
        raise DataError(f"no sound checkpoint in {root}: {'; '.join(lines)}")
    return None, []


def _problem(folder: pathlib.Path, owner: Owner | None) -> str | None:
    damage = seal.verify(folder)
    if damage is not None:
        return f"is damaged ({damage})"
    mismatch = owner and seal.mismatch(folder, owner)
    return f"is not this run's ({mismatch})" if mismatch else None


def read(directory: str | os.PathLike, step: int, target: Tree) -> Tree:
    """The arrays of a sealed step with the shardings of `target`; its files are not verified here.

    Raises:
        DataError: the arrays differ from `target`.
    """
    folder = pathlib.Path(directory) / str(step)
    arrays = (seal.read_seal(folder) or {"arrays": {}})["arrays"]
    _compare(arrays, target, folder)
    saved = ocp.args.StandardRestore(defaults.as_saved(target, arrays))
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        return defaults.as_target(reader.restore(folder / STATE, args=saved), target)


def _unsealed_steps(root: pathlib.Path) -> list[int]:
    """Steps with arrays but without a seal: it was lost, or their save was killed. No other step is
    begun before step 0 is sealed: where nothing is sealed, they are the remains of a run.
    """
    begun = [n for n in steps_in(root) if n and seal.file_type(root / str(n) / STATE) != 0]
    return sorted(set(begun) - set(sealed_steps(root)))


class Checkpoints:
    """Saves in the background, seals what is complete, keeps the newest `keep` sealed steps.

    Use it in `with`: at the end it waits. Errors of the background are raised by the next call. All
    processes of a run make the same calls; only process 0 moves, seals and deletes.

    Args:
        directory: RUN/checkpoints; RUN must exist.
        keep: how many sealed steps stay.
        owner: the run that they belong to.
        check: raises VqjaxError where the run may not be written to any more.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        keep: int,
        owner: Owner | None = None,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self.directory = pathlib.Path(directory).absolute()
        self.keep = keep
        self.owner = owner
        self._check = check
        # If making a directory fails in Orbax's thread, other threads wait five minutes for it.
        options = ocp.options.AsyncOptions(create_directories_asynchronously=False)
        self._writer = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler(), async_options=options)
        self._quiet = Quiet()
        # Of this writer and of its saves, the same on every process.
        self._writer_number, self._save_number = next(_writers), 0
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._has_failed = False  # whether a save has failed
        if distributed.is_first() and self.directory.is_dir():
            for leftover in self.directory.glob("*/*.orbax-checkpoint-tmp*"):
                shutil.rmtree(leftover, ignore_errors=True)  # of a save that was killed

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and distributed.several():
            return  # other processes may never come here
        try:
            self.wait()
        except VqjaxError:
            if kind is None:  # else the first error counts
                raise
        finally:
            with contextlib.suppress(Exception):  # it was raised, or every step is sealed
                self._writer.close()
            if not self._has_failed:
                self._quiet.end()

    @property
    def failed(self) -> bool:
        """Whether the next call will raise an error of the background."""
        return self._error is not None

    def save(self, step: int, state: Tree) -> None:
        """Copies `state` off the device, then returns; the rest happens in the background.

        A step that is already sealed stays as it is.

        Raises:
            DataError: the step cannot be written, or the one before could not.
        """
        self.wait()
        folder = self.directory / str(step)
        if not distributed.from_first(lambda: self._make_room(folder)):
            return
        arrays = describe(state), seal.as_stored(state)
        self._save_number += 1
        try:
            self._writer.save(folder / STATE, args=ocp.args.StandardSave(state), force=True)
        except (OSError, ValueError) as error:
            distributed.set_flag(self._failure_flag())
            raise self._failure(error) from error
        self._thread = threading.Thread(target=self._finish, args=(folder, *arrays), daemon=True)
        self._thread.start()

    def _make_room(self, folder: pathlib.Path) -> bool:
        """Makes a writable folder for a step that is not sealed yet; False where it is sealed."""
        self._check()
        try:
            if int(folder.name) in sealed_steps(self.directory):
                return False
            if folder.exists() and not folder.is_dir():
                folder.rename(_damaged(folder))
            for path in (self.directory, folder, folder / TRIAL):  # no parents: RUN may be gone
                path.mkdir(exist_ok=True)
            path.rmdir()
        except OSError as error:
            raise self._failure(error) from error
        return True

    def wait(self) -> None:
        """Waits until the last save is sealed.

        Raises:
            DataError: it failed.
        """
        if self._thread is None:
            return
        while self._thread.is_alive():
            self._thread.join(POLL_SECONDS if distributed.several() else None)
            if distributed.several() and distributed.has_flag(self._failure_flag()):
                break  # Orbax would wait for the process that failed
        self._thread = None
        distributed.agree(self._raise_failure)

    def _failure_flag(self) -> str:
        return f"vqjax_save_{self._writer_number}_{self._save_number}_failed"

    def _raise_failure(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error if isinstance(error, VqjaxError) else self._failure(error) from error

    def _failure(self, error: BaseException) -> DataError:
        self._has_failed = True
        why = reason(error)
        sealed = []
        with contextlib.suppress(DataError):  # the directory may be what fails
            sealed = sealed_steps(self.directory)
        last = f"step {sealed[-1]} is the newest" if sealed else "no step is"
        return DataError(f"saving in {self.directory} failed: {why[:MESSAGE]}; {last} sealed")

    def close(self) -> None:
        self.__exit__(None)

    def set_aside(self, after: int | None) -> None:
        """Renames sealed steps newer than `after`, from which the run resumes, so that they do not
        count as kept ones, and deletes unfinished saves of older steps.

        Args:
            after: None: the run starts anew, and no step in the directory belongs to it.
        """
        if not distributed.is_first():
            return
        sealed, newest = sealed_steps(self.directory), -1 if after is None else after
        for number in steps_in(self.directory):
            folder = self.directory / str(number)
            if number in sealed and number > newest:
                folder.rename(_damaged(folder))
            if number not in sealed and number < newest:
                shutil.rmtree(folder, ignore_errors=True)

    def _finish(self, folder: pathlib.Path, arrays: dict, stored: dict) -> None:
        try:
            self._writer.wait_until_finished()
            if distributed.is_first():
                self._check()
                seal.write_seal(folder, arrays, stored, self.owner)
                for old in sealed_steps(self.directory)[: -self.keep]:
                    _delete(self.directory / str(old))
        except BaseException as error:
            self._error = error
            distributed.set_flag(self._failure_flag())


def _delete(folder: pathlib.Path) -> None:
    """Deletes an old step; where that is not permitted, it stays."""
    with contextlib.suppress(OSError):
        (folder / SEAL).unlink()  # first: what is half deleted must not look finished
        shutil.rmtree(folder, ignore_errors=True)


def _damaged(folder: pathlib.Path) -> pathlib.Path:
    """A free path to move `folder` to, whose content is useless but the user may want to look at;
    the one moved there before is deleted.
    """
    target = folder.with_name(f"{folder.name}.damaged")
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    return target


def _compare(saved: dict, target: Tree, folder: pathlib.Path) -> None:
    """Orbax casts dtypes silently; here any difference is an error."""
    expected = describe(target)
    differences = [f"{n} is not expected" for n in sorted(saved.keys() - expected.keys())]
    differences += [f"{n} is missing" for n in sorted(expected.keys() - saved.keys())]
    differences += [
        f"{n} is {saved[n]}, wanted {expected[n]}"
        for n in sorted(expected.keys() & saved.keys())
        if not defaults.fits(saved[n], expected[n])
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise DataError(f"{folder} holds another model: {'; '.join(differences[:3])}{more}")
