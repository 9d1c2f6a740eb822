"""Several processes as one run: how they connect, agree and end.

Every process runs the same program. What may differ between them (files, data) is agreed on before
it is used: an error on one is raised on all, so that none waits for the others.
"""

import contextlib
import hashlib
import inspect
import json
import os
import pathlib
import re
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from vqjax.types import DataError, Stopped, UsageError, VqjaxError

Value = TypeVar("Value")

LEAVE_SECONDS = 60  # for the other processes to end
VISIBLE_SECONDS = 10.0  # for a new file to become visible on another host
# Variables with the number of processes (a batch script, which runs once, has SLURM_NTASKS, too).
LAUNCHERS = {"Open MPI": "OMPI_COMM_WORLD_SIZE", "Slurm": "SLURM_STEP_NUM_TASKS"}
# Errors of the runtime when another process is gone: of gloo, NCCL, and JAX's own service.
_LOST = re.compile(
    r"UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|[Cc]onnection (closed|reset|refused)"
    r"|[Gg]loo|NCCL|heartbeat|[Cc]oordination service|another task|[Bb]arrier"
)


class PeerLost(VqjaxError):
    """Another process of the run is gone; exit code 75 if a sealed step can be resumed, else 1."""

    def __init__(self, run: os.PathLike, sealed: Sequence[int], why: str) -> None:
        self.exit_code = Stopped.exit_code if sealed else 1
        rest = (
            f"step {sealed[-1]} is sealed; run the same command on all hosts to go on"
            if sealed
            else "no step is sealed yet"
        )
        super().__init__(f"another process of {run} is gone ({why}): {rest}")


def connect(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    timeout: int | None = None,
    patience: int | None = None,
) -> None:
    """Connects to the other processes; does nothing where this is the only one. Call it before JAX
    touches a device.

    Args:
        coordinator: "host:port" of process 0; None: JAX_COORDINATOR_ADDRESS, or what JAX detects
            on TPU slices, Slurm and Open MPI.
        processes: how many there are; None: JAX_NUM_PROCESSES, or likewise.
        process: the index of this one, from 0; None: JAX_PROCESS_ID, or likewise.
        timeout: seconds without a heartbeat after which a process counts as dead; None: JAX's.
        patience: seconds until all processes must have connected; None: JAX's.

    Raises:
        UsageError: settings that contradict each other.
        VqjaxError: not all processes connected, or process 0 cannot listen.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    processes = _number("processes", processes, "JAX_NUM_PROCESSES")
    process = _number("process", process, "JAX_PROCESS_ID")
    _check_settings(coordinator, processes, process)
    if processes == 1:
        return
    options: dict[str, Any] = {
        "initialization_timeout": patience,
        "heartbeat_timeout_seconds": timeout,
        "shutdown_timeout_seconds": LEAVE_SECONDS,
    }
    valid = inspect.signature(jax.distributed.initialize).parameters  # the last two since JAX 0.8
    options = {k: v for k, v in options.items() if k in valid and v is not None}
    if coordinator and re.fullmatch(r"(localhost|127\.[\d.]+):\d+", coordinator):
        options["coordinator_bind_address"] = coordinator  # no other host has to reach it
        if process == 0:
            _check_port(coordinator)
    if coordinator:
        options |= {"coordinator_address": coordinator}
    if processes is not None:
        options |= {"num_processes": processes, "process_id": process}
    try:
        jax.distributed.initialize(**options)
    except ValueError as error:
        if coordinator is None and "coordinator_address" in str(error):
            return _check_alone()  # no cluster
        raise UsageError(f"cannot join the other processes: {error}") from error
    except RuntimeError as error:
        text = str(error).splitlines()[0]
        if "Failed to start RPC server" in text:
            raise _port_in_use(coordinator or "the port that JAX chose") from error
        address = coordinator or "process 0"
        raise VqjaxError(f"not all processes connected to {address}: {text}") from error


def _check_port(address: str) -> None:
    """Refuses a port of this machine that is in use, on which JAX would crash."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_server((host, int(port))).close()
    except (OSError, OverflowError) as error:
        raise _port_in_use(address) from error


def _port_in_use(address: str) -> VqjaxError:
    return VqjaxError(f"process 0 cannot listen at {address}: is another run using the port?")


def _check_alone() -> None:
    """Refuses to run as the only process where a launcher has started several."""
    for launcher, variable in LAUNCHERS.items():
        if (_number("processes", None, variable) or 1) > 1:
            raise UsageError(
                f"{launcher} has started several processes, but JAX does not find them: "
                "give --coordinator, --processes and --process"
            )


def _number(name: str, value: int | None, variable: str) -> int | None:
    if value is not None or variable not in os.environ:
        return value
    try:
        return int(os.environ[variable])
    except ValueError:
        text = os.environ[variable]
        raise UsageError(f"{variable}={text!r}: wanted a number of {name}") from None


def _check_settings(coordinator: str | None, processes: int | None, process: int | None) -> None:
    if (processes is None) != (process is None):
        raise UsageError("give --processes and --process together (or neither)")
    if processes is None:
        return
    if not 0 <= process < processes:
        raise UsageError(f"--process {process}: wanted 0 to {processes - 1}")
    if processes > 1 and coordinator is None:
        raise UsageError(f"--processes {processes} needs --coordinator HOST:PORT of process 0")
    if coordinator and not re.fullmatch(r".+:\d+", coordinator):
        raise UsageError(f"--coordinator {coordinator}: give HOST:PORT")


def several() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def agree(action: Callable[[], Value]) -> Value:
    """`action()` of this process, once it succeeded on all. It must not wait for other processes.

    Raises:
        VqjaxError: on every process, the error of the first process that failed.
    """
    if not several():
        return action()
    failure: Exception | None = None
    try:
        value = action()
    except Exception as error:
        failure = error
    failures = [json.loads(text) for text in _exchange(json.dumps(_as_json(failure)))]
    if failure is not None:
        raise failure
    for number, other in enumerate(failures):
        if other:
            raise _error(other["code"], f"process {number}: {other['line']}")
    return value


def _as_json(failure: Exception | None) -> dict[str, Any]:
    if failure is None:
        return {}
    code = failure.exit_code if isinstance(failure, VqjaxError) else 1
    text = " ".join(str(failure).split())
    return {"code": code, "line": text or type(failure).__name__}


def _error(code: int, line: str) -> VqjaxError:
    kinds: Mapping[int, type[VqjaxError]] = {2: UsageError, 3: DataError}
    return kinds.get(code, VqjaxError)(line)


def _exchange(text: str) -> list[str]:
    """The texts of all processes, in their order."""
    data = np.frombuffer(text.encode(), np.uint8)
    with jax.transfer_guard("allow"):  # process_allgather makes implicit transfers
        sizes = np.asarray(multihost_utils.process_allgather(np.int32(data.size))).ravel()
        padded = np.zeros(sizes.max(initial=1), np.uint8)
        padded[: data.size] = data
        everyone = np.asarray(multihost_utils.process_allgather(padded)).reshape(sizes.size, -1)
    return [row[:size].tobytes().decode() for row, size in zip(everyone, sizes, strict=True)]


def from_first(make: Callable[[], Any]) -> Any:
    """The result of `make()`, called on process 0 alone: JSON values.

    Raises:
        VqjaxError: its error, on every process.
    """
    if not several():
        return make()
    value = agree(lambda: make() if is_first() else None)
    return json.loads(_exchange(json.dumps(value))[0])


def check_same(what: str, text: str) -> None:
    """Refuses, with UsageError, a `text` that is not the same on every process."""
    if not several():
        return
    everyone = _exchange(hashlib.sha256(text.encode()).hexdigest())
    different = [str(n) for n, digest in enumerate(everyone) if digest != everyone[0]]
    if different:
        raise UsageError(f"process {', '.join(different)} has another {what} than process 0")


def check_shared(directory: pathlib.Path) -> None:
    """Refuses, with UsageError, a directory that is not the same one on every process."""
    if not several():
        return

    def leave() -> str:
        name = f".shared-{uuid.uuid4().hex}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()
        return name

    token = directory / from_first(leave)
    with contextlib.suppress(OSError):  # NFS caches its absence for a minute; this refreshes that
        directory.mkdir(parents=True, exist_ok=True)
    answers = _exchange(json.dumps(_appears(token)))
    blind = [str(number) for number, answer in enumerate(answers) if answer != "true"]
    if is_first():
        token.unlink(missing_ok=True)
    if blind:
        raise UsageError(
            f"process {', '.join(blind)} does not see what process 0 writes to {directory}: "
            "give a --workdir on a file system that all hosts share"
        )


def _appears(file: pathlib.Path) -> bool:
    deadline = time.monotonic() + VISIBLE_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def should_stop(step: int) -> bool:
    """Whether one of the processes was signalled to stop and all stop at `step`. Call it on every
    process after every step.
    """
    return several() and multihost_utils.reached_preemption_sync_point(step)


def request_stop() -> None:
    """Makes `should_stop` true on all of several processes, at the same step."""
    os.kill(os.getpid(), signal.SIGTERM)  # which is JAX's among several


def set_flag(name: str) -> None:
    """Sets a flag that other processes can read at any time, by `has_flag`."""
    if several():
        with contextlib.suppress(Exception):  # they are gone
            ocp.multihost.get_jax_distributed_client().key_value_set(name, "set")


def has_flag(name: str) -> bool:
    """Whether another process, or this one, has set a flag."""
    try:
        return bool(ocp.multihost.get_jax_distributed_client().key_value_try_get(name))
    except Exception:  # not set; or the service is gone, which JAX will notice by itself
        return False


def is_lost_peer(error: Exception) -> bool:
    """Whether an error of the runtime means that another process is gone."""
    return several() and bool(_LOST.search(str(error)))


def abandon(code: int) -> NoReturn:
    """Ends this process at once, without waiting for others that may never end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
