"""Experiment trackers beside TensorBoard: trackio, wandb or mlflow, by `vqjax train --track`.

A tracker has what `Board` has, is called from a thread of its own, and neither ends nor blocks the
run: what it cannot take is left out, which is said once. A run that goes on goes on there, too, as
its name ends with the run's id.
"""

import contextlib
import importlib
import io
import math
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from vqjax.format import printable
from vqjax.numbers import Number
from vqjax.types import UsageError, did_you_mean

PROJECT = "vqjax"
PACKAGES = ("mlflow", "trackio", "wandb")
ID_LETTERS = 8  # of the run's id, in its name


class Service(Protocol):
    """What a package has to offer."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def image(self, name: str, step: int, image: np.ndarray) -> None: ...

    def finish(self) -> None: ...


class Tracker:
    """One run on a tracker, which is opened by the first thing that is written.

    Args:
        spec: "trackio", "wandb" or "mlflow", and after a colon the project.
        run: the run directory.
        run_id: the run's id.
        config: the experiment as JSON values.

    Raises:
        UsageError: there is no such tracker, or it is not installed.
    """

    def __init__(
        self, spec: str, run: pathlib.Path, run_id: str, config: Mapping[str, Any]
    ) -> None:
        package, _, project = spec.partition(":")
        if package not in PACKAGES:
            raise UsageError(f"--track {printable(spec)}: {did_you_mean(package, PACKAGES)}")
        try:
            self._module = importlib.import_module(package)
        except ImportError as error:
            raise UsageError(f"--track {package} needs it: pip install {package}") from error
        open_service: Callable[..., Service] = {
            "trackio": _Trackio, "wandb": _Wandb, "mlflow": _Mlflow,
        }[package]  # fmt: skip
        name = f"{run.name}-{run_id[:ID_LETTERS]}"
        self._open = lambda: open_service(
            self._module, project or PROJECT, name, run_id, run, dict(config)
        )
        self._service: Service | None = None

    def numbers(
        self,
        kind: str,
        step: int,
        numbers: Mapping[str, float],
        when: float,
        described: Mapping[str, Number] | None = None,
    ) -> None:
        """See `Board.numbers`."""
        del when, described
        values = {f"{kind}/{name}": v for name, v in numbers.items() if math.isfinite(v)}
        self._do(lambda service: service.log(values, step))

    def image(self, name: str, step: int, image: np.ndarray, when: float) -> None:
        """See `Board.image`."""
        del when
        self._do(lambda service: service.image(name, step, image))

    def close(self) -> None:
        """Ends the session, not the run."""
        if self._service is not None:
            self._do(lambda service: service.finish())

    def _do(self, what: Callable[[Service], object]) -> None:
        # Their banners are not for the terminal of a training.
        with contextlib.redirect_stdout(io.StringIO()):
            if self._service is None:
                self._service = self._open()
            what(self._service)


class _Session:
    """What trackio and wandb have alike: `_module`, and `_run` that it opened."""

    _module: Any
    _run: Any

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def image(self, name: str, step: int, image: np.ndarray) -> None:
        self._run.log({name: self._module.Image(image)}, step=step)

    def finish(self) -> None:
        self._run.finish()


class _Trackio(_Session):
    def __init__(
        self, module: Any, project: str, name: str, run_id: str, run: pathlib.Path, config: dict
    ) -> None:
        del run_id, run
        self._module = module
        self._run = module.init(
            project=project, name=name, config=config, resume="allow", embed=False
        )


class _Wandb(_Session):
    def __init__(
        self, module: Any, project: str, name: str, run_id: str, run: pathlib.Path, config: dict
    ) -> None:
        self._module = module
        self._run = module.init(
            project=project,
            name=name,
            id=run_id,
            dir=str(run),
            config=config,
            resume="allow",
            settings=module.Settings(silent=True),
        )


class _Mlflow:
    TAG = "vqjax.run"

    def __init__(
        self, module: Any, project: str, name: str, run_id: str, run: pathlib.Path, config: dict
    ) -> None:
        del run
        self._client = module.MlflowClient()
        experiment = self._client.get_experiment_by_name(project)
        where = experiment.experiment_id if experiment else self._client.create_experiment(project)
        earlier = self._client.search_runs([where], f"tags.`{self.TAG}` = '{run_id}'")
        if earlier:
            self._run = earlier[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        made = self._client.create_run(where, tags={self.TAG: run_id}, run_name=name)
        self._run = made.info.run_id
        self._client.log_dict(self._run, config, "experiment.json")

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            # Letters that its names may have.
            self._client.log_metric(self._run, name.replace("|", " of "), value, step=step)

    def image(self, name: str, step: int, image: np.ndarray) -> None:
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{step:08d}.png"
            Image.fromarray(image).save(path)
            self._client.log_artifact(self._run, str(path), "samples")

    def finish(self) -> None:
        self._client.set_terminated(self._run)
