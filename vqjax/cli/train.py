"""`vqjax train FILE`: train an experiment, or resume it."""

import argparse
import mmap
import pathlib
import shlex
import sys
from typing import Any

from vqjax.cli import streams
from vqjax.cli.arguments import add_experiment_arguments, add_verb, path_argument, read_experiment
from vqjax.cli.compiled import prepare, report, say
from vqjax.cli.examples import add_shape_argument
from vqjax.cli.failures import explain, fail
from vqjax.cli.guard import add_process_arguments, has_peers_configured, may_have_peers, split

DESCRIPTION = """\
Trains the experiment that FILE's experiment() returns. Run the same command again to resume.

  vqjax train mnist_vqgan
  vqjax train folder_vqgan --arg folder=photos --arg image_size=64
  vqjax train mnist_vqvae batch_size=32 task.tokenizer.quantizer.codebook_size=256

Exit codes: 0 done, 2 wrong settings or a run that is being trained, 3 bad data or checkpoint
or a save that failed, 4 non-finite gradients, 75 stopped by a signal, or by the end of another
process, after a good save (run me again).
Signals: SIGTERM, SIGUSR1, Ctrl-C, and SIGHUP, which a closed terminal sends, but not under nohup.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(subparsers, "train", "train an experiment, or resume it", DESCRIPTION)
    add_experiment_arguments(parser)
    parser.add_argument(
        "--workdir",
        metavar="RUN",
        type=path_argument,
        help="the run directory (default: runs/<name of FILE>)",
    )
    parser.add_argument(
        "--allow-change",
        action="store_true",
        help="resume a run although its settings have changed",
    )
    parser.add_argument(
        "--track",
        metavar="TRACKER",
        help="numbers and pictures to trackio, wandb or mlflow, too; trackio:PROJECT names one",
    )
    add_process_arguments(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only compile the step for the devices at hand and print what it needs",
    )
    add_shape_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if not args.dry_run:
        streams.drop_what_fails()
    if not may_have_peers(args):
        return _train(read_experiment(args), args)
    peers = mmap.mmap(-1, 1)
    peers[0] = has_peers_configured(args)
    code = split(_workdir(args), peers)
    return _train_with_peers(args, peers) if code is None else code


def _workdir(args: argparse.Namespace) -> pathlib.Path:
    return pathlib.Path(args.workdir or pathlib.Path("runs") / pathlib.Path(args.file).stem)


def _train(experiment: Any, args: argparse.Namespace) -> int:
    if args.dry_run:
        return _dry_run(experiment, args)
    from vqjax.runs.load import make_evaluator, run_class
    from vqjax.training import distributed
    from vqjax.training.loop import train
    from vqjax.training.platform import enable_compilation_cache, keep_freed_memory

    run_class(experiment.task)  # or nothing could open the run
    keep_freed_memory()
    enable_compilation_cache()
    workdir = _workdir(args)
    train(
        experiment,
        workdir,
        make_evaluator=make_evaluator,
        name=pathlib.Path(args.file).stem,
        command=["vqjax", *sys.argv[1:]],
        allow_change=args.allow_change,
        trust=args.trust,
        track=args.track,
    )
    if distributed.is_first():
        _print_next_commands(experiment, workdir)
    return 0


def _print_next_commands(experiment: Any, workdir: pathlib.Path) -> None:
    """Prints the commands that show the result."""
    from vqjax.config.names import foreign_sources
    from vqjax.runs.load import run_class
    from vqjax.training.terminal import show

    run = shlex.quote(str(workdir))
    run += "".join(f" --trust {shlex.quote(source)}" for source in foreign_sources(experiment))
    for command in run_class(experiment.task).next_commands:
        show(f"next: {command.replace('RUN', run)}")


def _train_with_peers(args: argparse.Namespace, peers: mmap.mmap) -> int:
    from vqjax.training import distributed
    from vqjax.training.loop import lost_peers_named
    from vqjax.types import NonFiniteError, Stopped, UsageError

    process = args.coordinator, args.processes, args.process
    distributed.connect(*process, args.peer_timeout, args.connect_timeout)
    peers[0] = distributed.several()
    try:
        with lost_peers_named(_workdir(args)):
            experiment = distributed.agree(lambda: read_experiment(args))
        return _train(experiment, args)
    except (UsageError, Stopped, NonFiniteError):
        raise  # all processes come to such an end together
    except Exception as error:
        if not distributed.several():
            raise
        distributed.abandon(fail(*explain(error), error if args.debug else None))


def _dry_run(experiment: Any, args: argparse.Namespace) -> int:
    """`vqjax compile` for the mesh at hand; nothing is written."""
    from vqjax.hardware.compiled import compile_step
    from vqjax.hardware.devices import topology_of
    from vqjax.training.mesh import make_mesh

    experiment, inputs = prepare(experiment, args)
    mesh = make_mesh(None, experiment.mesh)
    topology = topology_of(list(mesh.devices.flat))
    report(compile_step(experiment, inputs, mesh, topology, say))
    return 0
