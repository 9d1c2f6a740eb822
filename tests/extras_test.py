"""What to type for the packages that are missing, in a checkout and installed from a wheel."""

import shlex

from vqjax import extras


def test_a_checkout_is_installed_from_where_it_lies(monkeypatch, tmp_path):
    checkout = tmp_path / "my code"
    checkout.mkdir()
    (checkout / "setup.cfg").touch()
    monkeypatch.setattr(extras, "_CHECKOUT", checkout)
    words = shlex.split(extras.pip_install("data", "text"))
    assert words == ["pip", "install", "-e", f"{checkout}[data,text]"]


def test_an_installed_package_is_asked_for_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    assert extras.pip_install("text") == "pip install 'vqjax[text]'"
