"""Runs whose parameters are shapes: enough for whatever is looked at before the first program."""

import dataclasses
import pathlib
import types

import jax

from tests import tiny
from vqjax.config import FrozenRun
from vqjax.data import Digits
from vqjax.priors import ClassLabel, MaskGIT
from vqjax.runs.classifier import ClassifierRun
from vqjax.runs.prior import PriorRun
from vqjax.runs.tokenizer import Run
from vqjax.sampling import Parallel
from vqjax.tasks import PriorTask
from vqjax.tasks.prior import FROZEN
from vqjax.training.experiment import Experiment
from vqjax.training.mesh import make_mesh
from vqjax.training.optim import AdamW
from vqjax.training.restore import OpenedRun
from vqjax.training.state import example_batch
from vqjax.types import ArraySpec


def blank(experiment: Experiment) -> OpenedRun:
    """An experiment as if it had been trained and opened; there are no numbers in it."""
    inputs, task = experiment.data.example_spec(), experiment.network_task()
    make = lambda: task.init(jax.random.key(0), example_batch(inputs))  # noqa: E731
    params, collections = jax.eval_shape(make)
    record = types.SimpleNamespace(experiment=experiment, inputs=inputs)
    return OpenedRun(pathlib.Path("RUN"), record, 1, params, collections, "raw", ())


def maskgit_over(tokenizer: Experiment, path: str = "TOKENIZER") -> Experiment:
    """A prior over digits' tokens that is told the class and can edit."""
    prior = MaskGIT(16, 1, 2, condition=ClassLabel(10), decoding=Parallel(2))
    return Experiment(
        task=PriorTask(prior=prior, tokenizer=FrozenRun(path, experiment=tokenizer)),
        data=Digits(),
        optimizers={"prior": AdamW(1e-2)},
        batch_size=16,
        total_steps=1,
    )


def blank_runs() -> dict[str, Run | PriorRun | ClassifierRun]:
    """{name: a run of 8 x 8 x 1 examples}, one of each kind; of "floats" they are no uint8."""
    mesh = make_mesh(jax.devices()[:1])
    codes, vae = blank(tiny.vqvae(data=Digits())), blank(tiny.vae())
    record = types.SimpleNamespace(**vars(codes.record))
    record.inputs = {"image": ArraySpec((8, 8, 1), "float32")}
    runs = {"codes": Run(codes, mesh), "vae": Run(vae, mesh)}
    runs["floats"] = Run(dataclasses.replace(codes, record=record), mesh)
    frozen = {FROZEN: {"params": codes.params, "collections": codes.collections}}
    runs["prior"] = PriorRun(blank(maskgit_over(codes.experiment)), mesh, frozen)
    runs["classifier"] = ClassifierRun(blank(tiny.classifier()), mesh)
    return runs
