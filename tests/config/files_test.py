import inspect
import pickle
import sys

import pytest

from vqjax.config import load_file
from vqjax.types import DataError, UsageError

HEAD = """
import dataclasses
from vqjax.config import FrozenRun

@dataclasses.dataclass(frozen=True)
class Job:
    task: object
    data: object
    batch_size: int = 64
    rate: float | None = 0.1
"""
FILE = (
    HEAD
    + """
def experiment(folder: str, size: int = 8, scale=1.0, flag: "bool" = False):
    return Job(task=(folder, size, scale, flag), data=FrozenRun("runs/a"))
"""
)


@pytest.fixture
def write(tmp_path):
    def write(text, name="exp.py"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def refused(path, arguments=None, overrides=(), frozen=(), kind=UsageError):
    with pytest.raises(kind) as caught:
        load_file(path, arguments or {}, overrides, frozen)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_from_python(write):
    path = write(FILE)
    typed = load_file(path, {"folder": "12", "size": 3, "flag": True})
    assert typed.task == load_file(path, {"folder": "12", "size": "3", "flag": "true"}, ()).task
    assert "overrides='batch_size=5': wanted a list of texts" in refused(
        path, {"folder": "12"}, overrides="batch_size=5"
    )


def test_loads(write):
    path = write(FILE)
    job = load_file(
        path, {"folder": "12", "size": "3", "flag": "true"}, ["batch_size=5"], ["data=b"]
    )
    assert job.task == ("12", 3, 1.0, True)
    assert job.batch_size == 5 and job.data.path == "b"


def test_module_is_found_again_and_the_path_is_clean(write, tmp_path):
    before = list(sys.path)
    job = load_file(write(FILE), {"folder": "x"}, [])
    assert sys.path == before and str(tmp_path) not in sys.path
    assert pickle.loads(pickle.dumps(job)) == job
    assert "class Job" in inspect.getsource(type(job))
    assert not (tmp_path / "__pycache__").exists()


def test_siblings_do_not_mix(tmp_path):
    text = HEAD + "import vq_sibling\ndef experiment():\n    return Job(vq_sibling.X, None)\n"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vq_sibling.py").write_text(f"X = {name!r}")
        (tmp_path / name / "exp.py").write_text(text)
    assert [load_file(str(tmp_path / n / "exp.py"), {}, []).task for n in "ab"] == ["a", "b"]


def test_missing_and_odd_files(write, tmp_path):
    good = write(FILE, "mnist_vqvae.py")
    line = refused(good.replace("vqvae", "vqvea"))
    assert "does not exist: did you mean 'mnist_vqvae.py'?" in line
    assert "does not exist" in refused(str(tmp_path / "no" / "x.py"))
    assert "is a directory" in refused(str(tmp_path))
    assert "is not a Python file" in refused(write("x", "exp.txt"))
    assert "has no function experiment()" in refused(write("x = 1"))
    assert "has no function experiment()" in refused(write("experiment = 3"))
    assert "returned int, not an Experiment" in refused(write("def experiment():\n    return 3"))
    assert "returned NoneType" in refused(write("def experiment():\n    pass"))
    assert "returned type, not" in refused(write(HEAD + "def experiment():\n    return Job"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n1 / 0\n", "exp.py:2: ZeroDivisionError: division by zero"),
        ("\n\nx = (\n", "exp.py:3: SyntaxError: '(' was never closed"),
        ("import nowhere_at_all\n", "exp.py:1: ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(0)\n", "exp.py:2: SystemExit: 0"),
        ("def experiment():\n    return f()\n\ndef f():\n    {}['x\\ny']\n", "exp.py:5: KeyError"),
        ("from vqjax.types import UsageError\nraise UsageError('so')\n", "exp.py:2: so"),
        ("\0", "exp.py: "),
        (HEAD + "\ndef experiment():\n    return Job(1, 2, 3, 4, 5)\n", "exp.py:13: TypeError: "),
    ],
)
def test_exceptions_name_their_line(write, text, line):
    assert line in refused(write(text))


def test_exceptions_keep_kind_and_cause(write):
    path = write("from vqjax.types import DataError\nraise DataError('gone')\n")
    assert "exp.py:2: gone" in refused(path, kind=DataError)
    with pytest.raises(UsageError) as caught:
        load_file(write("1 / 0"), {}, [])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_failed_file_runs_again(write):
    refused(write("1 / 0"))
    refused(write("1 / 0"))
    load_file(write(FILE), {"folder": "x"}, [])


def test_arguments(write):
    path = write(FILE)
    assert "experiment() needs an argument: give --arg folder=VALUE" in refused(path)
    line = refused(path, {"foldre": "x"})
    assert "no argument 'foldre': did you mean 'folder'? (valid: flag, folder, scale, size)" in line
    assert refused(path, {"folder": "x", "size": "big"}) == "--arg size: 'big' is not an int"
    assert refused(path, {"folder": "x", "scale": "big"}) == "--arg scale: 'big' is not a float"
    assert "--arg flag: 'no' is not a bool" in refused(path, {"folder": "x", "flag": "no"})


def test_settings_are_checked(write):
    path, arguments = write(FILE), {"folder": "x"}
    assert refused(path, arguments, ["batch_size=many"]) == "batch_size: 'many' is not an int"
    wrong = write(HEAD + "def experiment():\n    return Job(1, 2, batch_size='8')\n", "w.py")
    assert refused(wrong).endswith("w.py: batch_size: '8' is not an int")
    assert load_file(wrong, {}, ["batch_size=8"]).batch_size == 8


def test_repeated_instance(write):
    body = "    d = nn.Dense(3)\n    return Job((d,), d)\n"
    path = write(HEAD + "from flax import linen as nn\ndef experiment():\n" + body)
    assert "the same Dense instance stands at task.0 and at data" in refused(path)


def test_frozen(write):
    path, arguments = write(FILE), {"folder": "x"}
    assert "--frozen data: give NAME=PATH" in refused(path, arguments, frozen=["data"])
    assert "nothing frozen 'date' in the experiment: did you mean 'data'?" in refused(
        path, arguments, frozen=["date=x"]
    )
