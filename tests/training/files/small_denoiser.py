"""A denoiser of scanned digits by class, of a few thousand weights."""

from vqjax.data import Digits
from vqjax.denoisers import RotaryDiT
from vqjax.priors import ClassLabel
from vqjax.sampling import DPMSolver
from vqjax.tasks import DiffusionTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW


def experiment() -> Experiment:
    return Experiment(
        task=DiffusionTask(
            RotaryDiT(16, 1, 2, patch=4, condition=ClassLabel(10), dropout=0.1),
            solver=DPMSolver(3),
        ),
        data=Digits(),
        optimizers={"denoiser": AdamW(1e-3)},
        batch_size=8,
        eval_batch_size=50,
        total_steps=40,
        log_every=1,
        save_every=5,
        eval_every=10,
        ema_decay=0.9,
    )
