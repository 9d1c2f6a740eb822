"""How many pictures are what their captions say, where the data can tell."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from vqjax import arguments
from vqjax.data.texts import to_text
from vqjax.runs.base import Run, keywords_of, require
from vqjax.runs.editing import PLAIN, UNGUIDED
from vqjax.runs.judge import options_text, sample_options
from vqjax.sampling import Guidance, TokenSampling
from vqjax.types import UsageError

SOURCE_NEEDS = ("caption_tests", "kinds", "satisfied")  # methods of a source that can tell
ALL = "all"


@dataclasses.dataclass(frozen=True)
class CaptionCheck:
    """Result of `check_captions`.

    Attributes:
        tests: {test: {pictures: {kind of caption: share that satisfies its caption}}}. Pictures
            are "drawn" from the captions, "drawn without" any but checked against them, "real"
            ones and their "reconstructed" copies.
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
    run: Run, n: int, seed: int = 0, sampling: TokenSampling = PLAIN, guidance: Guidance = UNGUIDED
) -> CaptionCheck:
    """Draws a picture for each of the first n captions of every test of the run's data.

    Args:
        run: a prior conditioned on captions of data that can tell whether a picture satisfies
            one, such as `Shapes`.
        n: captions per test, or all there are.
        seed: see `PriorRun.sample`; so are sampling and guidance.

    Raises:
        UsageError: another kind of run or data.
        DataError: the data or the tokenizer is not at hand.
    """
    n = arguments.whole("n", n, least=1)
    require(run, "sample")
    source = getattr(run.experiment.data, "source", None)
    conditional = "prompts" in keywords_of(run.sample)
    if not conditional or not all(hasattr(source, name) for name in SOURCE_NEEDS):
        raise UsageError(
            f"{run.path}: its data cannot tell whether a picture satisfies a caption; Shapes can"
        )
    options = sample_options(run, seed=seed, sampling=sampling, guidance=guidance)
    tests = {
        name: _run_test(run, test, n, options) for name, test in source.caption_tests().items()
    }
    protocol = (
        f"the first {n:,} captions of each test, {options_text(options)}, of {run.path} "
        f"(step {run.step}, {run.params_kind})"
    )
    return CaptionCheck(tests, protocol)


def _run_test(
    run: Run, source: Any, n: int, options: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    n = min(n, source.num_eval())
    batch = next(source.eval(n, np.arange(n)))
    captions, real = [to_text(row) for row in batch["caption"]], batch["image"]
    kinds = np.array(source.kinds(captions))
    pictures = {
        "drawn": run.sample(n, prompts=captions, **options),
        "drawn without": run.sample(n, **{k: v for k, v in options.items() if k != "guidance"}),
        "real": real,
    }
    if hasattr(run, "tokenizer"):
        pictures["reconstructed"] = run.tokenizer.reconstruct(real)
    shares = {}
    for name, images in pictures.items():
        hits = np.asarray(source.satisfied(images, captions))
        shares[name] = {kind: float(hits[kinds == kind].mean()) for kind in np.unique(kinds)}
        shares[name][ALL] = float(hits.mean())
    return shares
