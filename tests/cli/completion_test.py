"""What a shell proposes, asked as a shell asks."""

import os
import subprocess
import sys

import pytest


def proposals(line, cwd):
    """What completes `line`."""
    env = os.environ | {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_STDOUT_FILENAME": str(cwd / "answer"),
    }
    code = "import sys; sys.argv[0] = 'vqjax'; from vqjax.cli.main import run; run()"
    subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, check=True, timeout=60)
    return {word.strip() for word in (cwd / "answer").read_text().split("\n")}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vqjax re", {"reconstruct", "report"}),
        ("vqjax train mnist_vq", {"mnist_vqgan", "mnist_vqvae"}),
        ("vqjax train mi", {"mine.py"}),
        ("vqjax copy digits_v", {"digits_vqgan"}),
        ("vqjax train --work", {"--workdir"}),
    ],
)
def test_what_a_shell_proposes(tmp_path, line, expected):
    (tmp_path / "mine.py").touch()
    assert proposals(line, tmp_path) == expected
