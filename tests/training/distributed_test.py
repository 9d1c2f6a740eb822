"""What one process does when it is alone; `make storm` has two."""

import socket

import jax
import numpy as np
import pytest

from vqjax.training import distributed
from vqjax.types import DataError, UsageError, VqjaxError


@pytest.mark.parametrize(
    ("which", "line"),
    [
        ((None, 2, None), "give --processes and --process together (or neither)"),
        (("host:1", 2, 2), "--process 2: wanted 0 to 1"),
        ((None, 2, 0), "--processes 2 needs --coordinator HOST:PORT of process 0"),
        (("here", 2, 0), "--coordinator here: give HOST:PORT"),
    ],
)
def test_processes_that_cannot_find_each_other(which, line, monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError) as error:
        distributed.connect(*which)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("launcher", "variable"),
    [("Open MPI", "OMPI_COMM_WORLD_SIZE"), ("Slurm", "SLURM_STEP_NUM_TASKS")],
)
def test_several_processes_that_jax_does_not_find(launcher, variable, monkeypatch):
    def initialize(**options):
        raise ValueError("coordinator_address should be defined.")  # as JAX does

    monkeypatch.setattr(distributed.jax.distributed, "initialize", initialize)
    for name in distributed.LAUNCHERS.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "1")
    distributed.connect()
    monkeypatch.setenv(variable, "2")
    with pytest.raises(UsageError, match=f"{launcher} has started several processes, but JAX"):
        distributed.connect()


def test_a_port_that_is_taken(monkeypatch):
    def initialize(coordinator_address, num_processes, process_id):
        raise RuntimeError("UNKNOWN: Failed to start RPC server")

    monkeypatch.setattr(distributed.jax.distributed, "initialize", initialize)
    with pytest.raises(VqjaxError, match="cannot listen at host:1: is another run using the port"):
        distributed.connect("host:1", 2, 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(VqjaxError, match=f"process 0 cannot listen at {where}: is another run"):
            distributed.connect(where, 2, 0)


def test_numbers_of_the_environment(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(UsageError, match="JAX_NUM_PROCESSES='two': wanted a number of processes"):
        distributed.connect("host:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "1")
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    distributed.connect()  # alone: nobody to join


def test_alone_nothing_is_waited_for(tmp_path):
    def fail():
        raise DataError("no")

    assert not distributed.several() and distributed.is_first()
    assert distributed.agree(lambda: 3) == 3 and distributed.from_first(lambda: [1, 2]) == [1, 2]
    with pytest.raises(DataError, match="no"):
        distributed.agree(fail)
    distributed.check_shared(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    assert not distributed.should_stop(1)


def test_a_directory_that_was_not_there_is_asked_for_anew(tmp_path, monkeypatch):
    """By making it, which no file system answers from memory."""

    def appears(token):
        assert token.parent.is_dir()
        return True

    monkeypatch.setattr(distributed, "several", lambda: True)
    monkeypatch.setattr(distributed, "_exchange", lambda text: [text])
    monkeypatch.setattr(distributed, "from_first", lambda leave: "token")
    monkeypatch.setattr(distributed, "_appears", appears)
    distributed.check_shared(tmp_path / "a" / "run")


def test_a_lost_peer_says_what_to_do():
    with_step = distributed.PeerLost("run", [10, 20], "why")
    assert with_step.exit_code == 75 and str(with_step) == (
        "another process of run is gone (why): step 20 is sealed; run the same command on all "
        "hosts to go on"
    )
    assert distributed.PeerLost("run", [], "why").exit_code == 1


def test_words_are_exchanged_within_guarded_steps_too(monkeypatch):
    def gather(value):
        return np.asarray(jax.jit(lambda x: x)(value))[None]  # a transfer that nobody wrote down

    monkeypatch.setattr(distributed.multihost_utils, "process_allgather", gather)
    with jax.transfer_guard("disallow"):
        assert distributed._exchange("words") == ["words"]
