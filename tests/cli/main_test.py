import subprocess
import sys
import time
import types

import pytest

from vqjax import __version__
from vqjax.cli import arguments, main
from vqjax.types import DataError, NonFiniteError, Stopped, UsageError, VqjaxError


@pytest.fixture
def verb(monkeypatch):
    """Puts a function in the place of the verb `train`."""

    def install(run, extend=arguments.add_experiment_arguments):
        def add_parser(subparsers):
            parser = subparsers.add_parser("train", help="train")
            extend(parser)
            parser.add_argument("--workdir")
            parser.set_defaults(run=run)

        module = types.ModuleType("vqjax.cli.train")
        module.add_parser = add_parser
        monkeypatch.setitem(sys.modules, "vqjax.cli.train", module)

    return install


def raises(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no\nsuch field"), 2, "no such field"),
        (DataError("bad"), 3, "bad"),
        (NonFiniteError("nan"), 4, "nan"),
        (VqjaxError("x"), 1, "x"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("a\nb"), 1, "unexpected ValueError: a b: run again with --debug for the"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 1, "out of memory: lower batch_size, "),
        (OSError(28, "No space left on device", "x"), 1, "x: No space left on device (OSError; "),
        (MemoryError(), 1, "raise accumulate, or set compute_dtype=bfloat16 (MemoryError)"),
    ],
)
def test_failures_are_one_line(verb, capsys, error, code, line):
    verb(raises(error))
    assert main.main(["train", "x.py"]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("vqjax: error: ") and line in err
    assert err.count("\n") == 1


def test_what_somebody_stopped_is_no_error(verb, capsys):
    verb(raises(Stopped("SIGINT: step 4 is saved")))
    assert main.main(["train", "x.py"]) == 75
    assert capsys.readouterr().err == "vqjax: SIGINT: step 4 is saved\n"


@pytest.mark.parametrize("argv", [["--debug", "train", "x.py"], ["train", "x.py", "--debug"]])
def test_debug_shows_the_traceback(verb, capsys, argv):
    verb(raises(UsageError("no")))
    assert main.main(argv) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and err.endswith("vqjax: error: no\n")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([], "no verb given: experiments, copy, "),
        (["trian"], "'trian' is not a verb: did you mean 'train'? (valid: experiments, "),
        (["zzz"], "'zzz' is not a verb (valid: experiments, "),
        (["version"], "'version' is not a verb: did you mean '--version'? (valid: experiments, "),
        (["help", "trian"], "'trian' is not a verb: did you mean 'train'?"),
        (["--verison"], "unrecognized arguments: --verison: did you mean '--version'?"),
        (["train"], "the following arguments are required: FILE (see vqjax train --help)"),
        (["train", "x.py", "--wrokdir", "r"], "--wrokdir"),
        (["train", "x.py", "--wrokdir=r"], "did you mean '--workdir'? (see vqjax train --help)"),
        (["train", "x.py", "--work", "r"], "unrecognized arguments: --work"),
        (
            ["train", "x.py", "--batch_size", "32"],
            ": a field is set by batch_size=32, an argument of FILE's experiment() by --arg batch_",
        ),
        (["train", "x.py", "--batch-size=32"], "a field is set by batch_size=32, an argument"),
        (["train", "x.py", "--lr"], "a field is set by lr=VALUE, an argument of"),
        (["train", "x.py", "--out", ""], "argument --out: an empty path: is a variable of the"),
        (["train", "x.py", "--workdir"], "argument --workdir: expected one argument"),
        (["train", "x.py", "--kind", "grean"], "did you mean 'green'?"),
    ],
)
def test_wrong_command_lines(verb, capsys, argv, line):
    def extend(parser):
        arguments.add_experiment_arguments(parser)
        parser.add_argument("--kind", choices=("red", "green"))
        parser.add_argument("--out", type=arguments.path_argument)

    verb(lambda args: None, extend)
    assert main.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("vqjax: error: ") and line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [
        "x.py a.b=1 c=-2 --workdir r --arg n=1 --arg m=2",
        "--workdir r --arg n=1 x.py a.b=1 --arg m=2 c=-2",
        "a.b=1 --workdir=r x.py --arg n=1 c=-2 --arg=m=2",
        "a.b=1 c=-2 --arg n=1 --arg m=2 --workdir r x.py",
    ],
)
def test_any_order(verb, monkeypatch, argv):
    from vqjax import config

    calls = []
    monkeypatch.setattr(config, "load_file", lambda *args: calls.append(args) or 1)
    verb(lambda args: calls.append((arguments.read_experiment(args), args.workdir, args.file)))
    assert main.main(["train", *argv.split()]) == 0
    assert calls == [("x.py", {"n": "1", "m": "2"}, ["a.b=1", "c=-2"], []), (1, "r", "x.py")]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("x.py y.py", "'y.py' is not an override: give key=value"),
        ("a=1", "no experiment file given, only a=1"),
        ("x.py --arg n", "--arg n: give NAME=VALUE"),
        ("nowhere.py", "nowhere.py does not exist"),
        ("~nobody1/x.py", "FILE: ~nobody1/x.py: no such user"),
        ("x.py --trust nowhere.py", "--trust nowhere.py: no such file"),
    ],
)
def test_wrong_experiment_arguments(verb, capsys, argv, line):
    verb(arguments.read_experiment)
    assert main.main(["train", *argv.split()]) == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1


def test_file_and_its_code(verb, tmp_path, capsys):
    file = tmp_path / "exp.py"
    file.write_text(
        "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Job:\n"
        "    task: int\n    data: int = 0\n    batch_size: int = 1\n"
        "def experiment(n: int):\n    return Job(n)\n"
    )
    calls = []
    verb(lambda args: calls.append((arguments.read_experiment(args), args.trust)))
    argv = ["train", "batch_size=3", str(file), "--arg", "n=2"]
    assert main.main(argv) == 0
    assert (calls[0][0].task, calls[0][0].batch_size, calls[0][1]) == (2, 3, [str(file)])
    assert main.main([*argv, "batch_size=many"]) == 2
    assert main.main([*argv, "bacth_size=3"]) == 2
    assert main.main([*argv, "--arg", "n=x"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "vqjax: error: batch_size: 'many' is not an int",
        "vqjax: error: the experiment has no field 'bacth_size': did you mean 'batch_size'? "
        "(valid: batch_size, data, task)",
        "vqjax: error: --arg n: 'x' is not an int",
    ]


def test_run_arguments(verb):
    calls = []
    verb(calls.append, arguments.add_run_arguments)
    assert main.main(["train", "--trust", "a", "--params", "raw", "r", "--trust", "b.py"]) == 0
    assert (calls[0].run_dir, calls[0].params, calls[0].trust) == ("r", "raw", ["a", "b.py"])
    verb(calls.append, lambda parser: arguments.add_run_arguments(parser, several=True))
    assert main.main(["train", "r", "--workdir", "w", "s"]) == 0
    assert (calls[1].run_dirs, calls[1].params, calls[1].trust) == (["r", "s"], "auto", [])


def test_version_and_help(verb, capsys):
    verb(lambda args: None)
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"vqjax {__version__}\n"
    assert main.main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "FILE" in out and "--workdir" in out and "key=value" in out and "--debug" in out


def test_every_verb_has_a_quick_help_without_jax_or_tensorflow():
    script = (
        "import sys\nfrom vqjax.cli import main\n"
        "codes = [main.main(argv) for argv in (['--help'], *([v, '--help'] for v in main.VERBS))]\n"
        "heavy = {'jax', 'flax', 'numpy', 'tensorflow', 'torch'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else max(codes))\n"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"vqjax {verb}" in done.stdout for verb in main.VERBS)
    assert time.monotonic() - start < 2 * (1 + len(main.VERBS))


def program(*argv):
    command = [sys.executable, "-m", "vqjax", *argv]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.count("\n") <= 1, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_module_is_the_program():
    assert program("--version") == (0, f"vqjax {__version__}\n", "")
    code, out, err = program("trian", "x.py")
    assert (code, out) == (2, "") and err.startswith("vqjax: error: 'trian' is not a verb: did you")


def test_import_is_light():
    script = (
        "import sys, vqjax; assert 'load' in dir(vqjax); assert not hasattr(vqjax, 'nothing')\n"
        "sys.exit(str({'jax', 'flax', 'tensorflow', 'numpy'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == ""
