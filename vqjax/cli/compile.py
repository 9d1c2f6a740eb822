"""`vqjax compile FILE --topology NAME`: the train step compiled for machines that are not here."""

import argparse
import dataclasses
import math
import os
import pathlib
import sys
from typing import Any

from vqjax.cli.arguments import (
    add_experiment_arguments,
    add_overwrite_argument,
    add_verb,
    path_argument,
    read_experiment,
)
from vqjax.cli.compiled import prepare, report, say
from vqjax.cli.examples import add_shape_argument
from vqjax.format import printable, printable_lines

DESCRIPTION = """\
Compiles the real train step for a TPU slice or a GPU box with no chip present, and prints the
memory that each device needs, the work, the collectives, and a roofline: how fast it could be.

  vqjax compile mnist_vqgan --topology t4
  vqjax compile mnist_vqgan --topology v5e:16x16 batch_size=2048 --json out.json
  vqjax compile FILE --topology v5p:4x4x4 --slices 2 mesh.fsdp=16 compute_dtype=bfloat16
  vqjax compile FILE --topology l4 --fit-batch
  vqjax compile FILE --topology v5e:2x2 --sweep 1,4,8,64,256,1024 --json sweep.json

TPUs: v4, v5e, v5p, v6e, with a slice's shape in chips. GPUs: h100, a100, a100-80gb, l4, t4, v100,
with a number: h100x8. batch_size is of all devices together. A large network takes minutes.
Needs the extra compile-tpu or compile-gpu. `vqjax train FILE --dry-run`: for the devices at hand.
"""


# Set before JAX is imported: the host's own devices are not touched, no metadata server is asked
# for a TPU, and the compilers' remarks on their absence are left out.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # or only one process at a time may compile
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = add_verb(
        subparsers,
        "compile",
        "does it fit, and how fast could it be: the step compiled for TPUs or GPUs not here",
        DESCRIPTION,
    )
    add_experiment_arguments(parser)
    parser.add_argument(
        "--topology", metavar="NAME", required=True, help="v5e:16x16, v5p:4x4x4, h100x8, t4, ..."
    )
    parser.add_argument(
        "--slices", metavar="N", type=int, default=1, help="slices, joined by the slower network"
    )
    add_shape_argument(parser)
    parser.add_argument(
        "--json", metavar="OUT", type=path_argument, help="save all numbers to this file"
    )
    add_overwrite_argument(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--fit-batch",
        action="store_true",
        help="the largest batch_size that fits: compiles two, extrapolates, compiles the result",
    )
    group.add_argument(
        "--sweep",
        metavar="CHIPS",
        help="weak scaling, as 1,8,64,...: the same batch per chip on so many chips; compiles two "
        "and extrapolates the others",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    if "jax" not in sys.modules:
        os.environ.update(ENVIRONMENT)
    from vqjax.files import write_json
    from vqjax.hardware.devices import check_compiler
    from vqjax.hardware.topology import parse_topology

    _check_outputs(args)
    topology = parse_topology(args.topology, args.slices)
    check_compiler(topology)
    sizes = _sweep_sizes(args.sweep, args.slices) if args.sweep else ()
    experiment, inputs = prepare(read_experiment(args), args)
    if args.fit_batch:
        numbers = _fit_batch(_sliced(experiment, topology), inputs, topology)
    elif sizes:
        numbers = _sweep(experiment, inputs, topology, sizes, args)
    else:
        numbers = report(_compile(_sliced(experiment, topology), inputs, topology))
    if args.json:
        write_json(args.json, numbers, overwrite=args.overwrite)


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuses, with UsageError, files that must not be replaced; a sweep has a chart, too."""
    from vqjax.files import check_output
    from vqjax.types import UsageError

    if not args.json:
        return
    check_output(args.json, overwrite=args.overwrite)
    if args.sweep:
        chart = pathlib.Path(args.json).with_suffix(".svg")
        if chart == pathlib.Path(args.json):
            raise UsageError(f"--json {chart}: the sweep's chart goes there: name a .json file")
        check_output(chart, overwrite=args.overwrite)


def _sliced(experiment: Any, topology: Any) -> Any:
    if topology.slices == 1:
        return experiment
    mesh = dataclasses.replace(experiment.mesh, slices=topology.slices)
    return dataclasses.replace(experiment, mesh=mesh)


def _compile(experiment: Any, inputs: dict, topology: Any) -> Any:
    from vqjax.hardware.compiled import compile_step
    from vqjax.hardware.devices import devices_of
    from vqjax.training.mesh import make_mesh

    mesh = make_mesh(devices_of(topology), experiment.mesh)
    return compile_step(experiment, inputs, mesh, topology, say)


def _fit_batch(experiment: Any, inputs: dict, topology: Any) -> dict[str, Any]:
    from vqjax.format import quantity
    from vqjax.hardware.compiled import step_json
    from vqjax.hardware.scaling import fit_batch
    from vqjax.hardware.tables import table

    data, fsdp, _ = experiment.mesh.sizes(topology.devices)
    unit = data * fsdp * experiment.accumulate

    def compile_at(batch_size: int) -> Any:
        say(f"batch_size={batch_size}")
        return _compile(dataclasses.replace(experiment, batch_size=batch_size), inputs, topology)

    fit = fit_batch(compile_at, experiment.batch_size, unit)
    lines = [f"  batch_size={n:<10,}{quantity(v, 'B')} a device" for n, v in fit.tried.items()]
    if fit.slope:
        lines.append(
            f"  line: {quantity(fit.fixed, 'B')} + {quantity(fit.slope * unit, 'B')} per {unit} "
            "example(s)"
        )
    lines += [f"  batch_size={n:<10,}refused by the compiler" for n in fit.refused]
    if fit.best is None:
        lines.append("  no batch that was compiled fits")
    else:
        lines.append(f"  largest that was compiled and fits: batch_size={fit.best.batch_size}")
    print("\n".join(["batch that fits", *lines]))
    if fit.best is not None:
        print("\n" + printable_lines(table(fit.best)))
    return {
        "fixed": fit.fixed,
        "bytes_per_example": fit.slope,
        "tried": fit.tried,
        "refused": fit.refused,
        "largest": fit.best.batch_size if fit.best else 0,
        "step": step_json(fit.best) if fit.best else None,
    }


def _sweep_sizes(text: str, slices: int) -> tuple[int, ...]:
    from vqjax.types import UsageError

    if slices > 1:
        raise UsageError(f"--slices {slices}: --sweep takes as many slices as its chips need")
    words = text.split(",")
    sizes = tuple(int(w) for w in words if w.strip().isdecimal())
    if (
        len(sizes) != len(words)
        or len(sizes) < 2
        or sorted(set(sizes)) != list(sizes)
        or not sizes[0]
    ):
        raise UsageError(f"--sweep {text}: give increasing numbers of chips, such as 1,8,64,512")
    return sizes


def _sweep(
    experiment: Any, inputs: dict, topology: Any, sizes: tuple[int, ...], args: argparse.Namespace
) -> dict[str, Any]:
    from vqjax.files import write_output
    from vqjax.hardware.scaling import sweep
    from vqjax.hardware.sweep_chart import sweep_svg, sweep_table
    from vqjax.hardware.tables import FORMULAS, chip_table, notes
    from vqjax.hardware.topology import default_topology

    topologies = [default_topology(topology.chip, n) for n in sizes]
    per_chip = math.ceil(experiment.batch_size / topology.chips)

    steps = []

    def compile_on(target: Any, batch_size: int) -> Any:
        sized = dataclasses.replace(_sliced(experiment, target), batch_size=batch_size)
        steps.append(_compile(sized, inputs, target))
        return steps[-1]

    points = sweep(topologies, per_chip, compile_on)
    title = f"{topology.chip.name}, {per_chip} examples per chip"
    print(f"weak scaling: {title}", sweep_table(points), FORMULAS, sep="\n\n", end="\n\n")
    print(
        chip_table([topology.chip]), "\n".join(f"note: {n}" for n in notes(steps[-1])), sep="\n\n"
    )
    if args.json:
        chart = pathlib.Path(args.json).with_suffix(".svg")
        write_output(chart, sweep_svg(title, points), overwrite=args.overwrite)
        print(f"\n{printable(str(chart))}")
    rows = [
        {
            "topology": str(p.topology),
            "chips": p.topology.chips,
            "batch_size": p.batch_size,
            "compiled": p.compiled,
            "memory_per_device": p.memory,
            "fits": p.fits,
            "step": p.roofline.step,
            **dataclasses.asdict(p.roofline),
            "bound": p.roofline.bound,
            "efficiency": p.efficiency,
        }
        for p in points
    ]
    return {"chip": topology.chip.name, "points": rows}
