"""Runs whose parameters are shapes: enough for whatever is looked at before the first program."""

import dataclasses
import pathlib
import types
from typing import Any

import jax

import vqjax
from tests import tiny
from vqjax.config import FrozenRun
from vqjax.data import Digits
from vqjax.priors import ClassLabel, MaskGIT
from vqjax.runs.base import Opening, Run
from vqjax.runs.classifier import ClassifierRun
from vqjax.runs.diffusion import DiffusionRun
from vqjax.runs.generator import GeneratorRun
from vqjax.runs.prior import PriorRun
from vqjax.runs.text import TextRun
from vqjax.runs.tokenizer import TokenizerRun
from vqjax.sampling import MaskedDecoding
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
    """A class-conditional prior over digits' tokens that can edit."""
    prior = MaskGIT(16, 1, 2, condition=ClassLabel(10), decoding=MaskedDecoding(2))
    return Experiment(
        task=PriorTask(prior=prior, tokenizer=FrozenRun(path, experiment=tokenizer)),
        data=Digits(),
        optimizers={"prior": AdamW(1e-2)},
        batch_size=16,
        total_steps=1,
    )


def opened(kind: type[Run], run: OpenedRun, frozen: Any = None) -> Run:
    """A run on one device, as `vqjax.load` makes it."""
    mesh = make_mesh(jax.devices()[:1])
    return kind(Opening(run, mesh, frozen or {}, (), vqjax.load))


def blank_runs() -> dict[str, Run]:
    """{name: a run of 8 x 8 x 1 examples}, one of each kind; of "floats" they are no uint8, of
    "texts" texts.
    """
    codes, vae = blank(tiny.vqvae(data=Digits())), blank(tiny.vae())
    record = types.SimpleNamespace(**vars(codes.record))
    record.inputs = {"image": ArraySpec((8, 8, 1), "float32")}
    runs = {"codes": opened(TokenizerRun, codes), "vae": opened(TokenizerRun, vae)}
    runs["floats"] = opened(TokenizerRun, dataclasses.replace(codes, record=record))
    frozen = {FROZEN: {"params": codes.params, "collections": codes.collections}}
    runs["prior"] = opened(PriorRun, blank(maskgit_over(codes.experiment)), frozen)
    runs["texts"] = opened(TextRun, blank(tiny.texts()))
    runs["denoiser"] = opened(DiffusionRun, blank(tiny.denoiser()))
    runs["generator"] = opened(GeneratorRun, blank(tiny.gan()))
    runs["classifier"] = opened(ClassifierRun, blank(tiny.classifier()))
    return runs
