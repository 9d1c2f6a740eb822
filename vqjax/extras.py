"""How to install the optional dependencies of vqjax."""

import shlex
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def pip_install(*extras: str) -> str:
    """The command that installs the packages of `extras`: in a checkout from there, which works
    whether or not an index has vqjax.
    """
    names = f"[{','.join(extras)}]"
    if (_CHECKOUT / "setup.cfg").is_file():
        return f"pip install -e {shlex.quote(str(_CHECKOUT) + names)}"
    return f"pip install {shlex.quote('vqjax' + names)}"
