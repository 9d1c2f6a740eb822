"""A parent that outlives what JAX does to a process whose peers are gone.

When another process of a run dies, JAX's runtime may end this one by SIGABRT, which no Python code
can catch. So a run of several processes trains in a child, and its parent turns that end into a
message and an exit code that a launcher can act on.
"""

import argparse
import ctypes
import glob
import importlib.util
import mmap
import os
import pathlib
import signal
import sys

from vqjax.cli.failures import fail

PR_SET_PDEATHSIG = 1
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --coordinator, --processes, --process and the timeouts."""
    group = parser.add_argument_group(
        "several processes",
        "TPU slices, Slurm and Open MPI are detected. Elsewhere start the same command on every "
        f"host with these, or with {', '.join(VARIABLES)}.",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0")
    group.add_argument("--processes", metavar="N", type=int, help="number of processes")
    group.add_argument("--process", metavar="I", type=int, help="index of this process, from 0")
    group.add_argument(
        "--peer-timeout",
        metavar="SECONDS",
        type=int,
        default=100,
        help="a process without a sign of life for so long counts as dead (default: %(default)s)",
    )
    group.add_argument(
        "--connect-timeout",
        metavar="SECONDS",
        type=int,
        default=300,
        help="for all processes to connect (default: %(default)s)",
    )


def may_have_peers(args: argparse.Namespace) -> bool:
    """Whether this process could be one of several."""
    return has_peers_configured(args) or _has_tpu()


def has_peers_configured(args: argparse.Namespace) -> bool:
    """Whether the command or the environment configures several processes."""
    options = any(v is not None for v in (args.coordinator, args.processes, args.process))
    variables = any(name in os.environ for name in VARIABLES)
    launcher = any(_task_count(name) > 1 for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
    return options or variables or launcher


def _task_count(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 0


def _has_tpu() -> bool:
    chips = glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def split(run: pathlib.Path, peers: mmap.mmap) -> int | None:
    """Forks; the child gets None, and the parent waits for it and gets its exit code.

    Args:
        run: the run directory.
        peers: one byte of shared memory, not 0 where there are other processes to be lost.
    """
    ignored = {n for n in FORWARDED if signal.getsignal(n) is signal.SIG_IGN}  # as under nohup
    awaited = {*FORWARDED, signal.SIGCHLD} - ignored
    # Blocked, none is lost before it is waited for; caught, SIGCHLD stays pending on every system.
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    parent, child = os.getpid(), os.fork()
    if child == 0:
        os.setpgid(0, 0)  # Ctrl-C reaches it once, through the parent
        _die_with(parent)
        signal.signal(signal.SIGCHLD, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
        return None
    pid = 0
    while not pid:
        number = signal.sigwait(awaited)
        if number == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
        else:
            os.kill(child, number)
    # They stay blocked: the child's end is what counts from here on.
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGABRT and peers[0]:
        return _report_lost_peer(run)
    if code == -signal.SIGABRT:
        print("vqjax: error: aborted (SIGABRT)", file=sys.stderr)
    return code if code >= 0 else 128 - code


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it had ended before prctl
            os._exit(1)


def _report_lost_peer(run: pathlib.Path) -> int:
    from vqjax.training.distributed import PeerLost
    from vqjax.training.seal import sealed_steps

    lost = PeerLost(run, sealed_steps(run / "checkpoints"), "JAX gave up")
    return fail(str(lost), lost.exit_code, None)
