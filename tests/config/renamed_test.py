"""Names of earlier versions: imports until 0.3, records for ever, options with the new name."""

import pytest

from tests import tiny
from vqjax import config, sampling
from vqjax.cli.main import main
from vqjax.config.names import RENAMED, table
from vqjax.quantizers.base import EARLIER
from vqjax.quantizers.nearest import NearestCode
from vqjax.types import UsageError

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


@pytest.mark.parametrize(("earlier", "name"), EARLIER.items())
def test_a_method_that_would_be_overlooked(earlier, name):
    with pytest.raises(UsageError, match=rf"Own\.{earlier}: this method is called {name} now"):
        type("Own", (NearestCode,), {earlier: lambda self: None})
