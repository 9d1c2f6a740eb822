"""How to install what vqjax does not always bring."""

import shlex
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def pip_install(*extras: str) -> str:
    """The command that brings the packages of `extras`, from the checkout where this is one: there
    it works whether or not an index knows vqjax.
    """
    names = f"[{','.join(extras)}]"
    if (_CHECKOUT / "setup.cfg").is_file():
        return f"pip install -e {shlex.quote(str(_CHECKOUT) + names)}"
    return f"pip install {shlex.quote('vqjax' + names)}"
