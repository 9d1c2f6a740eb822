"""Names of earlier versions: imports until 0.3, records for ever, options with the new name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.small_source import SmallSource
from vqjax import config, sampling
from vqjax.cli.main import main
from vqjax.config.names import RENAMED, table
from vqjax.quantizers import VectorQuantizer
from vqjax.types import fit_method

pytestmark = pytest.mark.usefixtures("real_table")


@pytest.mark.parametrize("name", sorted(sampling.EARLIER))
def test_imports(name):
    assert getattr(sampling, name) is sampling.EARLIER[name]
    assert name not in sampling.__all__


def test_a_name_that_never_was():
    with pytest.raises(AttributeError, match="no attribute 'Choise'"):
        _ = sampling.Choise


def test_records_and_overrides():
    assert not set(RENAMED) & set(table()) and set(RENAMED.values()) <= set(table())
    plan = tiny.token_prior("maskgit")
    record = config.to_json(config.encode(plan))
    assert '"MaskedDecoding"' in record
    older = record.replace('"MaskedDecoding"', '"Parallel"')
    assert config.decode(config.from_json(older)).task.prior == plan.task.prior
    typed = config.apply_overrides(plan, ["task.prior.decoding=Parallel(3)"])
    assert typed.task.prior.decoding == sampling.MaskedDecoding(3)


def test_the_option_given(tmp_path, capsys):
    assert main(["sample", str(tmp_path), "--given", "txt=a"]) != 0
    assert "--given is called --condition now" in capsys.readouterr().err


def test_methods_of_ones_own_quantizer():
    class Halved(VectorQuantizer):
        def book(self):
            return self.codes / 2

        def begin(self, params, codebook, z, rng):
            return params, codebook

    quantizer = Halved(4, 2)
    variables = quantizer.init(jax.random.key(0), jnp.ones((3, 2)), train=False, step=0)
    codes = quantizer.apply(variables, (jnp.arange(4),), method="lookup")
    np.testing.assert_array_equal(codes, variables["params"]["codes"] / 2)
    assert quantizer.init_codebook(1, 2, None, None) == (1, 2)


def test_data_of_ones_own_that_are_fitted():
    class Old(SmallSource):
        def learned(self, before=None):
            return "fitted"

    assert fit_method(Old())() == "fitted" and fit_method(SmallSource()) is None
