"""Environments that pip makes, for tests of what users install."""

import os
import pathlib
import shutil
import subprocess
import sys
import types
from collections.abc import Mapping

import pytest

ROOT = pathlib.Path(__file__).parent.parent
KEPT = ("HOME", "LANG", "TMPDIR")  # of this process's own environment, beside PIP_*


def python_like(*names: str) -> str:
    """The first of these interpreters that works here, such as "python3.13"; else this one."""
    for name in names:
        path = shutil.which(name)
        if (
            path
            and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            return path
    return sys.executable


class Environment:
    """A new environment of `python` in `folder`; where no package index answers, the test is
    skipped.
    """

    def __init__(self, folder: pathlib.Path, python: str) -> None:
        self.folder = folder
        self._bin = folder / "bin"
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        probe = ("download", "--no-deps", "--dest", str(folder / "probe"), "toolz==0.12.1")
        if self.run("python", "-m", "pip", *probe, cwd=ROOT, check=False).returncode:
            pytest.skip("no package index answers")

    def pip(self, *words: str) -> None:
        """`pip install`, in the checkout."""
        self.run("python", "-m", "pip", "install", "--quiet", *words, cwd=ROOT)

    def run(
        self,
        program: str,
        *words: str,
        cwd: pathlib.Path,
        check: bool = True,
        settings: Mapping[str, str] = types.MappingProxyType({}),
    ) -> subprocess.CompletedProcess:
        """Runs one of its programs, which sees nothing of what is installed around it but
        `settings` in its environment.
        """
        kept = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith("PIP_")}
        done = subprocess.run(
            [str(self._bin / program), *words],
            cwd=cwd,
            env={
                **kept,
                "PATH": f"{self._bin}:/usr/bin:/bin",
                "JAX_PLATFORMS": "cpu",
                **settings,
            },  # fmt: skip
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done
