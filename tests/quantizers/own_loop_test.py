"""Quantizers in somebody's own Flax module and loop: the documented way, and what is refused."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax import quantizers as q
from vqjax.types import UsageError

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "quantizers.md"
EMA = q.EMAVectorQuantizer(16, 4)
NEED = {
    "ema": EMA,
    "revival": q.VectorQuantizer(16, 4, revival=q.Revival()),
    "cosine": q.CosineVectorQuantizer(16, 4, revival=q.Revival()),
    "residual": q.Residual(EMA, stages=2),
    "product": q.Product(EMA, groups=2),
    "multihead": q.MultiHead(EMA, heads=2),
    "multiscale": q.MultiScaleResidual(EMA, scales=(1, 2)),
}
OTHERS = {
    "gradient": q.VectorQuantizer(16, 4),
    "simvq": q.SimVQ(16, 4),
    "fsq": q.FSQ((5, 5, 5)),
    "ibq": q.IBQ(16, 4),
    "residual": q.Residual(q.VectorQuantizer(16, 4), stages=2),
}
KEYS = {"quantizer": jax.random.key(1)}


def train(quantizer, **how):
    """A training call, traced only."""
    z = jnp.zeros((2, 2, 2, quantizer.codebook_dim))

    def run(z):
        rngs = {"params": jax.random.key(0), "quantizer": jax.random.key(1)}
        variables = quantizer.init(rngs, z, train=True, step=0)  # is free
        quantizer.apply(variables, z, train=False, step=0)
        return quantizer.apply(variables, z, train=True, step=0, **how)

    jax.eval_shape(run, z)


@pytest.mark.parametrize("quantizer", NEED.values(), ids=NEED)
def test_a_training_call_that_nobody_learns_from_is_refused(quantizer):
    for mutable in (False, ["codebook"], ["codebook", "statistics"], True):
        with pytest.raises(UsageError, match=r"mutable=\['statistics'\]") as error:
            train(quantizer, rngs=KEYS, mutable=mutable)
        assert len(str(error.value)) < 500
    with pytest.raises(UsageError, match=r"rngs={'quantizer': key}"):
        train(quantizer, mutable=["statistics"])
    train(quantizer, rngs=KEYS, mutable=["statistics"])


@pytest.mark.parametrize("quantizer", OTHERS.values(), ids=OTHERS)
def test_codes_that_learn_by_gradient_alone_need_nothing(quantizer):
    for mutable in (False, ["codebook"], True):
        train(quantizer, rngs=KEYS, mutable=mutable)


@pytest.mark.parametrize(
    "quantizer",
    [
        None,
        *(
            pytest.param(text, marks=pytest.mark.slow)
            for text in (
                "VectorQuantizer(64, 4, start=KMeans(), revival=Revival())",
                "CosineVectorQuantizer(64, 4)",
                "SimVQ(64, 4, start=KMeans())",
                "Residual(EMAVectorQuantizer(16, 4), stages=2)",
                "Product(EMAVectorQuantizer(16, 2), groups=2)",
                "MultiHead(EMAVectorQuantizer(16, 2), heads=2)",
            )
        ),
    ],
)
def test_the_program_of_the_docs_learns_and_its_codes_move(quantizer, capsys):
    script = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)[0]
    if quantizer is not None:
        line = "quantizer = EMAVectorQuantizer(codebook_size=64, codebook_dim=4)"
        assert script.count(line) == 1
        script = "from vqjax.quantizers import *\n" + script.replace(
            line, f"quantizer = {quantizer}"
        )
    names = {}
    exec(compile(script, DOCS.name, "exec"), names)
    losses = names["losses"]
    assert np.isfinite(losses).all() and losses[-1] < 0.5 * losses[0]
    assert "loss " in capsys.readouterr().out
    if quantizer is None:
        book, first = names["codebook"]["quantizer"], names["first"][1]
        assert (np.abs(book["codes"] - first["codes"]).max(axis=1) > 0).mean() > 0.9
        assert book["alive"] > 0.9 and float(book["counts"].sum()) > 0
