"""How many pictures are what their captions say, where the data can tell."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqjax import arguments
from vqjax.data.texts import to_text
from vqjax.runs.base import Run, keywords_of, require, with_article
from vqjax.runs.denoising import ALWAYS
from vqjax.runs.editing import PLAIN, UNGUIDED
from vqjax.runs.joint import JointRun
from vqjax.runs.judge import options_text, sample_options
from vqjax.sampling import Guidance, TokenSampling
from vqjax.sampling.solvers import Solver
from vqjax.types import UsageError

SOURCE_NEEDS = ("caption_tests", "kinds", "satisfied")  # methods of a source that can tell
ALL = "all"


@dataclasses.dataclass(frozen=True)
class CaptionCheck:
    """Result of `check_captions`.

    Attributes:
        tests: {test: {pictures: {kind of caption: share that satisfies its caption}}}. Pictures
            are "drawn" from the captions, "drawn without" any but checked against them, "real"
            ones and their "reconstructed" copies. Of a joint prior also captions "written" of real
            pictures, at temperature 0, and the share of things "named" in them as in theirs.
        protocol: how they were drawn, in one line.
    """

    tests: Mapping[str, Mapping[str, Mapping[str, float]]]
    protocol: str

    def lines(self) -> list[str]:
        """A table as text."""
        kinds = list(dict.fromkeys(k for t in self.tests.values() for p in t.values() for k in p))
        head = f"  {'captions satisfied, %':<38}" + "".join(f"{kind:>10}" for kind in kinds)
        rows = []
        for test, pictures in self.tests.items():
            for name, shares in pictures.items():
                cells = "".join(f"{100 * shares.get(k, np.nan):>10.1f}" for k in kinds)
                rows.append(f"  {test + ': ' + name:<38}{cells}")
        return [head, *rows, f"  {self.protocol}"]


def check_captions(
    run: Run,
    n: int,
    seed: int = 0,
    sampling: TokenSampling = PLAIN,
    guidance: Guidance = UNGUIDED,
    solver: Solver | None = None,
    guidance_interval: Sequence[float] = ALWAYS,
) -> CaptionCheck:
    """Draws a picture for each of the first n captions of every test of the run's data.

    Args:
        run: a prior conditioned on captions of data that can tell whether a picture satisfies
            one, such as `Shapes`; or a joint prior of pictures and their captions.
        n: captions per test, or all there are.
        seed: see `PriorRun.sample`; so are sampling and guidance.

    Raises:
        UsageError: another kind of run or data.
        DataError: the data or the tokenizer is not at hand.
    """
    n = arguments.whole("n", n, least=1)
    require(run, "sample")
    source = getattr(run.experiment.data, "source", None)
    joint = isinstance(run, JointRun) and sorted(run.media.values()) == ["image", "text"]
    if not all(hasattr(source, name) for name in SOURCE_NEEDS):
        raise UsageError(
            f"{run.path}: its data cannot tell whether a picture satisfies a caption; Shapes can"
        )
    if not joint and "prompts" not in keywords_of(run.sample):
        raise UsageError(f"{run.path} is {with_article(run.kind)} that draws no pictures of texts")
    options = sample_options(
        run,
        seed=seed,
        sampling=sampling,
        guidance=guidance,
        solver=solver,
        guidance_interval=guidance_interval,
    )
    run_test = _run_joint_test if joint else _run_test
    tests = {name: run_test(run, test, n, options) for name, test in source.caption_tests().items()}
    protocol = (
        f"the first {n:,} captions of each test, {options_text(options)}, of {run.path} "
        f"(step {run.step}, {run.params_kind})"
    )
    return CaptionCheck(tests, protocol)


def _run_test(
    run: Run, source: Any, n: int, options: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    captions, real = _examples(source, n)
    n = len(captions)
    pictures = {
        "drawn": run.sample(n, prompts=captions, **options),
        "drawn without": run.sample(n, **_unguided(options)),
        "real": real,
    }
    if hasattr(run, "tokenizer"):
        pictures["reconstructed"] = run.tokenizer.reconstruct(real)
    return _shares(source, captions, pictures)


def _run_joint_test(
    run: JointRun, source: Any, n: int, options: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    captions, real = _examples(source, n)
    n, names = len(captions), {medium: name for name, medium in run.media.items()}
    image, text = names["image"], names["text"]
    written = run.sample(
        n, conditions={image: real}, targets=[text], sampling=TokenSampling(temperature=0.0)
    )[text]
    pictures = {
        "drawn": run.sample(n, conditions={text: captions}, targets=[image], **options)[image],
        "drawn without": run.sample(n, targets=[image], **_unguided(options))[image],
        "real": real,
        "reconstructed": run.coded(image, real),
    }
    kinds = np.array(source.kinds(captions))
    return _shares(source, captions, pictures) | {
        "written": _by_kind(source.described(real, written), kinds),
        "written: things named": _by_kind(source.named(written, captions), kinds),
    }


def _examples(source: Any, n: int) -> tuple[list[str], np.ndarray]:
    """The first n captions of a test, or all there are, and their pictures."""
    n = min(n, source.num_eval())
    batch = next(source.eval(n, np.arange(n)))
    return [to_text(row) for row in batch["caption"]], batch["image"]


def _unguided(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "guidance"}


def _shares(
    source: Any, captions: Sequence[str], pictures: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    kinds = np.array(source.kinds(captions))
    return {
        name: _by_kind(source.satisfied(images, captions), kinds)
        for name, images in pictures.items()
    }


def _by_kind(values: Any, kinds: np.ndarray) -> dict[str, float]:
    """Means of values [n]: of each kind of caption, and of all."""
    values = np.asarray(values, np.float64)
    shares = {kind: float(values[kinds == kind].mean()) for kind in np.unique(kinds)}
    return {**shares, ALL: float(values.mean())}
