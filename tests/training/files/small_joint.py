"""A joint prior of three short texts with a label in common, of a few thousand weights."""

from vqjax.data import Bytes, Captions, LabelledTexts, Paired
from vqjax.priors import JointPrior
from vqjax.tasks import JointTask, TextStream
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Muon

LENGTH = 4


def experiment(streams: int = 3) -> Experiment:
    names = [f"text{number}" for number in range(streams)]
    sources = {
        name: Captions(
            LabelledTexts(tuple((f"{name[-1]}{label}", f"{label}" * 3) for label in range(8))),
            Bytes(),
            LENGTH,
        )
        for name in names
    }
    return Experiment(
        task=JointTask(
            {name: TextStream(257, LENGTH, noise=0.5) for name in names},
            JointPrior(width=16, layers=1, heads=2),
        ),
        data=Paired(sources) if streams > 1 else sources[names[0]],
        optimizers={"prior": Muon(1e-2)},
        batch_size=8,
        eval_batch_size=8,
        total_steps=40,
        log_every=1,
        save_every=5,
        eval_every=10,
        ema_decay=0.9,
    )
