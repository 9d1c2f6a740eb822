"""The scripts of tpu_scripts/ against a gcloud that is none.

It writes down every command line word for word, answers what the test scripted, and runs what it
is told to run on a worker right here, in a home of its own for each of two workers. Its `create`
gives fresh workers and its `delete` ends all that runs on them, as when a TPU is taken away.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from jax.sharding import AbstractMesh

from vqjax.cli.arguments import read_experiment
from vqjax.cli.main import parse
from vqjax.config import find_files
from vqjax.training.sharding import check_batch_size
from vqjax.types import MESH_AXES

ROOT = pathlib.Path(__file__).parent.parent
FOLDER = ROOT / "tpu_scripts"
README = FOLDER / "README.md"
VERBS = sorted(p.stem for p in FOLDER.glob("*.sh") if p.stem not in ("lib", "worker"))
SHELL = sorted([*FOLDER.glob("*.sh"), ROOT / ".ci" / "run"])
SHELLCHECK = shutil.which(
    "shellcheck", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
)
needs_linux = pytest.mark.skipif(
    not all(map(shutil.which, ("git", "flock", "setsid"))), reason="the workers run Linux"
)

NAME = "my tpu's"
DIR = "check out"
PLACE = ["--project=my project", "--zone=the zone"]
SETTINGS = f"""
PROJECT="my project"
ZONE="the zone"
NAME="{NAME}"
ACCELERATOR_TYPE=v5litepod-256
RUNTIME_VERSION=v2-alpha-tpuv5-lite
REMOTE_DIR="{DIR}"
POLL_SECONDS=0
STOP_SECONDS=30
"""
# Words that a shell would like to read otherwise.
HARD = [
    "a b",
    "it's",
    'say "hi"',
    "$HOME",
    "`id`",
    "x='FSQ((8, 5))'",
    "*",
    "",
    "a\\b",
    "two\nlines",
]

# It imports little and late, because it starts hundreds of times.
GCLOUD = """#!{python} -IS
import json, os, sys
world, words = os.environ["WORLD"], sys.argv[1:]
with open(world + "/calls", "a") as calls:
    print(json.dumps(words), file=calls)
group, verb = words[2:4]
homes = [world + "/w0", world + "/w1"]
def answer(name):
    with open(f"{{world}}/{{name}}.json", "r+") as answers:
        first, *rest = json.load(answers)
        answers.seek(0)
        answers.truncate()
        json.dump(rest or [first], answers)
    if first in ("NOT_FOUND", "UNAVAILABLE"):
        sys.exit(f"ERROR: {{first}}: says the stub")
    print(first)
if os.path.exists(f"{{world}}/{{verb}}.json"):
    answer(verb)
elif verb == "describe":
    answer(group)
elif verb == "create":
    for home in homes:
        os.mkdir(home)
elif verb == "delete":
    import pathlib, shutil, signal
    for home in homes:
        for pid in pathlib.Path(home).glob("*/.pod/pid"):
            if not pid.with_name("exit").exists():
                os.killpg(os.getpgid(int(pid.read_text())), signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)
elif verb == "scp":
    import shutil
    for home in homes:
        shutil.copy(words[4], home + "/" + words[5].split(":")[1])
elif verb == "ssh" and os.path.exists(world + "/states.json"):
    if " state;" in words[6]:
        answer("states")
elif verb == "ssh":
    which = next(w for w in words if w.startswith("--worker="))[9:]
    command = next(w for w in words if w.startswith("--command="))[10:]
    os.environ["PATH"] = f"{{world}}/worker:{{os.environ['PATH']}}"
    shells = []
    for home in homes if which == "all" else [homes[int(which)]]:
        os.chdir(home)
        env = dict(os.environ, HOME=home, WORKER=os.path.basename(home))
        shells.append(os.spawnvpe(os.P_NOWAIT, "sh", ["sh", "-c", command], env))
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1]) for shell in shells))
"""
# On a worker. vqjax behaves as the next line of the file `behaviours` says, which all workers read.
WORKER = {
    "hostname": "#!/bin/sh\necho $WORKER\n",
    "python3": """#!/bin/sh
echo "$*" >>"$HOME/python3"
case "$*" in
    *" venv "*) mkdir -p .venv/bin ;;
    *" pip install "*-e*) cp "$WORLD/vqjax" .venv/bin/vqjax ;;
esac
""",
    "../vqjax": """#!/bin/bash
[ "$1" != --version ] || exit 0
echo >>"$WORLD/starts.$WORKER"
behaviour=$(sed -n "$(wc -l <"$WORLD/starts.$WORKER")p" "$WORLD/behaviours")
printf '%s\\0' "$@" >"$HOME/words"
env -0 >"$HOME/env"
pwd >"$HOME/cwd"
[ "$behaviour" != wait ] || trap 'kill $!; exit 75' TERM
[ "$behaviour" != deaf ] || trap '' TERM
echo "behaves as $behaviour"
case $behaviour in
    wait | deaf) sleep 60 & wait ;;
    w0:*) [ $WORKER != w0 ] || exit "${behaviour#w0:}"; exit 134 ;;
    *) exit "$behaviour" ;;
esac
""",
}


class World:
    """A small checkout with the scripts in it, a gcloud on PATH, and two workers."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.checkout = path / "here we are"
        (self.checkout / "tpu_scripts").mkdir(parents=True)
        for script in FOLDER.glob("*.sh"):
            shutil.copy(script, self.checkout / "tpu_scripts")
        self.write("here we are/setup.cfg", "[options]\n")
        self.write("here we are/pyproject.toml", "")
        self.write("here we are/.gitignore", "/ignored\n")
        subprocess.run(["git", "init", "--quiet", self.checkout], check=True)
        self.write("bin/gcloud", GCLOUD.format(python=sys.executable))
        for name, text in WORKER.items():
            self.write(f"worker/{name}", text)
        self.settings(SETTINGS)
        self.answer(["ACTIVE"], ["READY"])
        for name in ("w0", "w1"):
            (path / name).mkdir()

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def settings(self, text: str) -> None:
        self.write("the settings", text)

    def answer(self, queue: list[str], node: list[str]) -> None:
        """What `describe` says, one after another; the last for ever."""
        self.write("queued-resources.json", json.dumps(queue))
        self.write("tpu-vm.json", json.dumps(node))

    def play(self, *looks: tuple[str, str]) -> None:
        """Workers that only say how they are, look after look, the last for ever."""
        said = ["\n".join(f"vqjax-state w{n} {s}" for n, s in enumerate(look)) for look in looks]
        self.write("states.json", json.dumps(said))

    def behave(self, *lines: str | int) -> None:
        self.write("behaviours", "".join(f"{line}\n" for line in lines))

    def __call__(self, verb: str, *words: str, **options) -> subprocess.CompletedProcess:
        path = f"{self.path / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            [self.checkout / "tpu_scripts" / f"{verb}.sh", *words],
            env={**os.environ, "PATH": path, "WORLD": str(self.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **{"input": "", **options},
        )

    def run(self, verb: str, *words: str, **options) -> subprocess.CompletedProcess:
        """With the settings, as `--settings FILE`."""
        return self(verb, "--settings", str(self.path / "the settings"), *words, **options)

    def calls(self) -> list[list[str]]:
        """The words of every gcloud since the last call of this."""
        file = self.path / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def states(self) -> list[str]:
        return self.run("status").stdout.splitlines()[2:]

    def wait_for(self, state: str) -> None:
        """Until both workers are in it and their vqjax has begun to behave."""
        deadline = time.monotonic() + 30
        while self.states() != [f"w0 {state}", f"w1 {state}"] or not self.behaving():
            assert time.monotonic() < deadline, self.states()
            time.sleep(0.05)

    def behaving(self) -> bool:
        logs = [(self.path / name / DIR / ".pod/log").read_text() for name in ("w0", "w1")]
        return all("behaves as" in log.split(": vqjax ")[-1] for log in logs)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    for pid in tmp_path.glob("w?/*/.pod/pid"):
        if not pid.with_name("exit").exists():
            os.killpg(os.getpgid(int(pid.read_text())), signal.SIGKILL)


@pytest.fixture
def ready(world):
    """Workers that are set up."""
    for name in ("w0", "w1"):
        place = world.path / name / DIR
        for folder in ("tpu_scripts", ".pod", ".venv/bin"):
            (place / folder).mkdir(parents=True)
        shutil.copy(FOLDER / "worker.sh", place / "tpu_scripts")
        shutil.copy(world.path / "vqjax", place / ".venv/bin")
        (place / ".pod/installed").touch()
    return world


def ssh(command: str, worker: str = "all") -> list[str]:
    command = f"--command={command}"
    return ["compute", "tpus", "tpu-vm", "ssh", NAME, f"--worker={worker}", command, *PLACE]


def queued(verb: str, *words: str) -> list[str]:
    return ["compute", "tpus", "queued-resources", verb, NAME, *words, *PLACE]


SCRIPT = f"'{DIR}/tpu_scripts/worker.sh'"
STATES = ssh(
    f"if [ -e {SCRIPT} ]; then bash {SCRIPT} state; "
    "else echo vqjax-state $(hostname) unprepared; fi"
)


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    command = [SHELLCHECK, *map(str, SHELL)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_needs_no_settings_and_a_wrong_option_is_one_line(verb, world):
    shown = world(verb, "--help")
    assert shown.returncode == 0 and shown.stderr == ""
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(f"{verb}.sh") and "--dry-run" in shown.stdout
    named = {word.strip("[]") for word in lines[0].split() if word.startswith("[--")}
    assert all(f"  {option} " in shown.stdout for option in named), "every option is explained"
    refused = world.run(verb, "--wrong", "train")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"{verb}.sh: unknown option --wrong (see --help)\n"
    assert world.calls() == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "no settings file"),
        (SETTINGS.replace("ZONE=", "ZONE= #"), "ZONE is not set"),
        (SETTINGS + "ACCELERATOR=v4-8\n", "unknown setting ACCELERATOR "),
        (SETTINGS + "POLL_SECONDS=often\n", "POLL_SECONDS=often is not a whole number"),
        (SETTINGS.replace("RUNTIME_VERSION", "# "), "RUNTIME_VERSION is not set"),
        (SETTINGS + "TIER=cheap\n", "TIER=cheap is none of"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(text, complaint, world):
    (world.path / "the settings").unlink() if text is None else world.settings(text)
    refused = world.run("create")
    assert refused.returncode == 2 and complaint in refused.stderr
    assert refused.stderr.count("\n") == 1 and world.calls() == []


def test_the_example_holds_every_setting_and_is_taken(world):
    example = (FOLDER / "settings.example").read_text()
    world.settings(example.replace("PROJECT= ", "PROJECT=mine "))
    assert world.run("create", "--dry-run").stdout == (
        "gcloud compute tpus queued-resources create vqjax-256 --node-id=vqjax-256 "
        "--accelerator-type=v5litepod-256 --runtime-version=v2-alpha-tpuv5-lite --spot "
        "--project=mine --zone=us-west4-a\n"
    )
    head = (FOLDER / "lib.sh").read_text().split("# Every setting")[1].split("say()")[0]
    names = {word.split("=")[0] for word in head.split() if word[:1].isupper() and "=" in word}
    assert len(names) > 15
    assert all(f"\n{name}=" in example for name in names)


def test_the_example_of_prepare_waits_for_a_machine_that_updates_itself(world):
    lines = (FOLDER / "settings.example").read_text().split("# PREPARE='\n")[1].split("# '\n")[0]
    prepare = "".join(line.removeprefix("#") for line in lines.splitlines(keepends=True))
    world.write("worker/mountpoint", "#!/bin/sh\nexit 1\n")
    world.write("worker/sleep", "#!/bin/sh\n")
    world.write(
        "worker/sudo", '#!/bin/sh\necho "$*" >>"$WORLD/did"\n[ $(wc -l <"$WORLD/did") != 1 ]\n'
    )
    path = f"{world.path / 'worker'}:{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", prepare]
    subprocess.run(command, env={"PATH": path, "WORLD": str(world.path)}, check=True)
    did = (world.path / "did").read_text().splitlines()
    assert did[:3] == [
        *["apt-get update"] * 2,
        "apt-get -o DPkg::Lock::Timeout=300 install -y nfs-common",
    ]
    assert did[4] == "mount -o hard 10.0.0.2:/share /mnt/vqjax"


def readme_lines() -> list[str]:
    """The command lines in the README's blocks, continued ones joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines()]


def test_the_readme_trains_on_256_chips(monkeypatch):
    """The settings exist, and the batch divides over the chips; so does launch.sh's help."""
    trains = [line.split(" train ")[1].split() for line in readme_lines() if " train " in line]
    helped = (FOLDER / "launch.sh").read_text().replace("\\\n#", "").split("launch.sh train ")[1]
    monkeypatch.chdir(ROOT)
    assert len(trains) == 2
    for words in [*trains, helped.splitlines()[0].split()]:
        experiment = read_experiment(parse(["train", *words]))
        mesh = AbstractMesh(experiment.mesh.sizes(256), MESH_AXES)
        check_batch_size("batch_size", experiment.batch_size, experiment.accumulate, mesh)
        assert experiment.compute_dtype == "bfloat16"
        files = find_files(experiment).values()
        assert all(file.path.startswith("/mnt/vqjax/") for file in files), "on the share"


def test_every_command_of_the_readme_is_taken(world):
    lines = readme_lines()
    ours = [shlex.split(line) for line in lines if line.startswith("tpu_scripts/")]
    assert {words[0] for words in ours} >= {f"tpu_scripts/{v}.sh" for v in VERBS if v != "sync"}
    for script, *words in ours:
        verb = pathlib.Path(script).stem
        assert world.run(verb, "--dry-run", *words).returncode == 0, [script, *words]
    assert world.calls() == []
    gcloud = [words for line in lines if (words := shlex.split(line))[0] == "gcloud"]
    assert all("--project=PROJECT" in words for words in gcloud if words[1] != "auth")
    placed = [words for words in gcloud if words[1] == "filestore" or words[2] == "tpus"]
    assert len(placed) > 3 and all("--zone=ZONE" in words for words in placed)
    assert sum("ssh-add" in line for line in lines) == sum("ssh-agent" in line for line in lines)
    inline = re.sub(r"^```sh\n.*?^```", "", README.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert "`gcloud " not in inline.replace("`gcloud`", ""), "a command stands in a block"
    links = re.findall(r"\]\((?!https:)([^)]+)\)", README.read_text())
    assert all((FOLDER / link).exists() for link in links)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("", []),
        ("TIER=spot\nVALID_UNTIL=6h\n", ["--spot", "--valid-until-duration=6h"]),
        ('TIER=reserved\nCREATE_FLAGS=(--labels="a=b c")\n', ["--reserved", "--labels=a=b c"]),
    ],
)
def test_create(more, words, world):
    for name in ("w0", "w1"):
        (world.path / name).rmdir()
    world.settings(SETTINGS + more)
    assert world.run("create").returncode == 0
    kind = ["--accelerator-type=v5litepod-256", "--runtime-version=v2-alpha-tpuv5-lite"]
    assert world.calls() == [queued("create", f"--node-id={NAME}", *kind, *words)]


@pytest.mark.parametrize(
    ("queue", "code", "last"),
    [
        (["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"], 0, "ACTIVE"),
        (["WAITING_FOR_RESOURCES", "FAILED"], 1, "will not come: delete.sh, then create.sh again"),
        (["UNAVAILABLE", "PROVISIONING", "UNAVAILABLE", "ACTIVE"], 0, "ACTIVE"),
        (["PROVISIONING", "UNAVAILABLE", "UNAVAILABLE"], 1, "will cost when it comes: delete.sh"),
    ],
)
def test_create_waits(queue, code, last, world):
    for name in ("w0", "w1"):
        (world.path / name).rmdir()
    world.settings(SETTINGS + "MAX_FAILURES=2\n")
    world.answer(queue, [])
    done = world.run("create", "--wait")
    assert done.returncode == code and done.stderr.endswith(f"{last}\n"), done.stderr
    assert done.stderr.count("how the queue stands") == queue.count("UNAVAILABLE")
    assert world.calls()[1:] == [queued("describe", "--format=value(state.state)")] * len(queue)


@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_what_a_babysitter_would_undo_says_so(verb, world):
    assert "End a babysit.sh" in " ".join(world(verb, "--help").stdout.split())


def test_delete_asks(world):
    refused = world.run("delete", input="n\n")
    assert refused.returncode == 1 and "still there" in refused.stderr and world.calls() == []
    assert world.run("delete").returncode == 1 and world.calls() == []
    assert world.run("delete", input="y\n").returncode == 0
    assert world.run("delete", "--yes").returncode == 0
    assert world.calls() == [queued("delete", "--force", "--quiet")] * 2


@pytest.mark.parametrize("verb", VERBS)
def test_dry_run_prints_and_calls_nothing(verb, world, monkeypatch):
    words = HARD if verb in ("launch", "babysit") else []
    monkeypatch.setenv("TMPDIR", str(world.path))
    git = ["git", "-C", world.checkout, "-c", "user.name=me", "-c", "user.email=me@here"]
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=one"], check=True)
    shown = world.run(verb, "--dry-run", *words)
    assert shown.returncode == 0 and world.calls() == []
    # What it prints, a shell runs as it is: the words come back.
    (world.path / "words").mkdir()
    replay = world.path / "replay"
    replay.write_text(shown.stdout)
    path = f"{world.path / 'bin'}:{os.environ['PATH']}"
    world.write("bin/gcloud", '#!/bin/sh\nprintf "%s\\0" "$@" >"$(mktemp -p "$WORDS")"\n')
    env = {**os.environ, "PATH": path, "WORDS": str(world.path / "words")}
    assert subprocess.run(["sh", "-e", replay], env=env, check=False).returncode == 0
    kept = [file.read_text().split("\0")[:-1] for file in (world.path / "words").iterdir()]
    assert kept and all(words[:2] == ["compute", "tpus"] for words in kept)
    assert all(pathlib.Path(words[4]).exists() for words in kept if words[3] == "scp")
    assert all(word in words for words in kept for word in PLACE)


@needs_linux
def test_setup_copies_and_installs_once(world):
    world.settings(SETTINGS + 'PREPARE=\'\necho "it is $WORKER" >>"$HOME/prepared"\n\'\n')
    world.write("here we are/kept.py", "1")
    world.write("here we are/a 'new' one.py", "2")
    world.write("here we are/ignored", "3")
    done = world.run("setup")
    assert done.returncode == 0, done.stderr
    scp, unpack, setup = world.calls()
    assert scp[:4] == ["compute", "tpus", "tpu-vm", "scp"]
    assert scp[5:] == [f"{NAME}:.vqjax-source.tar.gz", "--worker=all", *PLACE]
    assert unpack == ssh(
        f"mkdir -p '{DIR}' && tar -xzf .vqjax-source.tar.gz -C '{DIR}' tpu_scripts/worker.sh && "
        f'bash {SCRIPT} unpack "$HOME"/.vqjax-source.tar.gz'
    )
    assert setup[6].startswith(f"--command=bash {SCRIPT} setup 3.12 tpu,data '\necho")
    for name in ("w0", "w1"):
        home = world.path / name
        assert (home / "prepared").read_text() == f"it is {name}\n"
        assert (home / DIR / "a 'new' one.py").read_text() == "2"
        assert not (home / DIR / "ignored").exists()
        assert (home / "python3").read_text().splitlines() == [
            "-m uv --version",
            "-m uv venv --quiet --seed --python 3.12 .venv",
            "-m uv pip install --quiet --python .venv/bin/python -e .[tpu,data]",
        ]
    assert world.states() == ["w0 idle", "w1 idle"]

    # Again: what was deleted here goes there, runs stay, and nothing is installed.
    (world.path / "w0" / DIR / "runs").mkdir()
    (world.checkout / "kept.py").unlink()
    again = world.run("setup")
    assert again.stdout.count("set up already") == 2
    assert not (world.path / "w1" / DIR / "kept.py").exists()
    assert (world.path / "w1" / DIR / "a 'new' one.py").exists()
    assert (world.path / "w0" / DIR / "runs").is_dir()
    assert len((world.path / "w0" / "python3").read_text().splitlines()) == 3
    # Other requirements are installed.
    world.write("here we are/setup.cfg", "[options]\ninstall_requires = more\n")
    assert world.run("setup").stdout.count("set up already") == 0
    assert len((world.path / "w0" / "python3").read_text().splitlines()) == 6


@needs_linux
def test_launch_hands_over_every_word_and_logs_and_stops(ready):
    ready.settings(
        SETTINGS
        + "TFDS_DATA_DIR='/mnt/my data'\nENVIRONMENT=(XLA_FLAGS=\"--a=1 --b='2'\" EMPTY=)\n"
    )
    ready.behave("wait", "3")
    launched = ready.run("launch", "train", *HARD, "--workdir", "--", "-n")
    assert launched.returncode == 0, launched.stderr
    states, start = ready.calls()
    assert states == STATES
    assert start[6].startswith(
        f"--command=bash {SCRIPT} start 'XLA_FLAGS=--a=1 --b='\\''2'\\''' EMPTY= "
        "'TFDS_DATA_DIR=/mnt/my data' -- train 'a b' 'it'\\''s' 'say \"hi\"' '$HOME' '`id`'"
    )
    ready.wait_for("running")
    for name in ("w0", "w1"):
        home = ready.path / name
        words = (home / "words").read_text().split("\0")[:-1]
        assert words == ["train", *HARD, "--workdir", "--", "-n"]
        env = dict(line.split("=", 1) for line in (home / "env").read_text().split("\0")[:-1])
        assert env["XLA_FLAGS"] == "--a=1 --b='2'" and env["EMPTY"] == ""
        assert env["TFDS_DATA_DIR"] == "/mnt/my data"
        assert (home / "cwd").read_text() == f"{home / DIR}\n"
    ready.calls()

    again = ready.run("launch", "train", "x.py")
    assert again.returncode == 1 and "stop.sh first" in again.stderr
    assert ready.calls() == [STATES], "nothing is started"
    refused = ready.run("sync")
    assert refused.returncode == 1 and "a run is on" in refused.stderr

    ready.calls()
    logs = ready.run("logs", "--worker", "all", "--lines", "1")
    assert sorted(logs.stdout.splitlines()) == ["w0: behaves as wait", "w1: behaves as wait"]
    assert ready.run("logs", "--worker", "1").stdout.endswith("\nbehaves as wait\n")
    assert ready.calls() == [
        ssh(f"bash {SCRIPT} log 1 host"),
        ssh(f"bash {SCRIPT} log 40 plain", worker="1"),
    ]

    stopped = ready.run("stop")
    assert sorted(stopped.stdout.splitlines()) == ["w0: stopped, exit 75", "w1: stopped, exit 75"]
    assert ready.states() == ["w0 exit 75", "w1 exit 75"]
    assert ready.run("stop").stdout.count(": no run is on\n") == 2
    # Code 75 of a worker that the next launch misses would pass for that run's.
    assert ready.run("sync").returncode == 0
    assert ready.states() == ["w0 idle", "w1 idle"]
    # The next run is another line of the same log, and its code replaces the last one.
    assert ready.run("launch", "train", "x.py").returncode == 0
    ready.wait_for("exit 3")
    log = (ready.path / "w0" / DIR / ".pod/log").read_text()
    assert log.count(": vqjax train ") == 2 and log.rstrip().endswith(": exit 3")


@pytest.mark.slow
@needs_linux
def test_stop_kills_only_when_told(ready):
    ready.settings(SETTINGS.replace("STOP_SECONDS=30", "STOP_SECONDS=0"))
    ready.behave("deaf")
    ready.run("launch", "train")
    ready.wait_for("running")
    refused = ready.run("stop")
    assert refused.returncode == 1 and "--kill" in refused.stderr
    assert ready.run("stop", "--kill").stdout.count(": killed\n") == 2
    assert ready.states() == ["w0 exit 137", "w1 exit 137"]


@needs_linux
def test_a_worker_that_is_not_set_up_is_told_apart(ready):
    shutil.rmtree(ready.path / "w1" / DIR)
    assert ready.states() == ["w0 idle", "w1 unprepared"]
    refused = ready.run("launch", "train")
    assert refused.returncode == 1 and "setup.sh first" in refused.stderr
    # Its machine went down in the middle of a run: no lock, no exit code.
    pid = ready.path / "w0" / DIR / ".pod/pid"
    pid.touch()
    assert ready.states()[0] == "w0 killed"
    pid.unlink()


def changes(calls: list[list[str]]) -> list[str]:
    """What the calls did, without the questions."""
    named = []
    for words in calls:
        verb = words[3]
        if verb == "ssh":
            verb = words[6].split("worker.sh' ")[-1].split()[0].rstrip(";")
        if verb not in ("describe", "scp", "state"):
            named.append(verb)
    return named


@needs_linux
def test_babysit_through_a_preemption_and_a_stop(world):
    """From nothing; taken away in the first run; the second stops with 75; the third is done."""
    for name in ("w0", "w1"):
        (world.path / name).rmdir()
    world.answer(
        ["NOT_FOUND", "WAITING_FOR_RESOURCES", "ACTIVE"],
        ["CREATING", "READY", "READY", "READY", "PREEMPTED", "READY"],
    )
    world.behave("wait", 75, 0)
    done = world.run("babysit", "--delete", "train", "it's.py")
    assert done.returncode == 0, done.stderr
    assert changes(world.calls()) == [
        *("create", "unpack", "setup", "start"),
        *("delete", "create", "unpack", "setup", "start"),
        *("unpack", "setup", "start"),
        "delete",
    ]
    assert "PREEMPTED: asking for another" in done.stderr
    assert "running on 2 workers" in done.stderr
    assert "stopped and saved (75): launching again" in done.stderr
    assert "not all workers began" not in done.stderr


@pytest.mark.parametrize(
    ("looks", "why"),
    [
        ([("killed", "exit 1")], ""),
        ([("running", "running"), ("killed", "exit 1")], "a worker went down"),
        ([("running", "running"), ("exit 75", "exit 134")], "stopped and saved (75)"),
        ([("running", "idle"), ("exit 1", "idle")], "not all workers began"),
        (
            [("running", "running"), ("exit 143", "exit 1")],
            "stopped before there was anything to save (143)",
        ),
    ],
)
def test_babysit_sets_up_and_launches_again(looks, why, world):
    """The setup mounts again what a machine lost when it went down."""
    world.play(*looks, ("idle", "idle"), ("exit 0", "exit 0"))  # the idle ones launch.sh sees
    done = world.run("babysit", "train")
    assert done.returncode == 0, done.stderr
    assert changes(world.calls()) == ["unpack", "setup", "start"]
    assert f"{why}: launching again" in done.stderr if why else "again" not in done.stderr


def test_babysit_counts_failures_in_a_row(world):
    """A look that is answered ends the row, in a queue of days, too."""
    world.settings(SETTINGS + "MAX_FAILURES=2\n")
    queue = ["WAITING_FOR_RESOURCES", "UNAVAILABLE"] * 3 + ["ACTIVE"]
    world.answer(queue, ["READY", "UNAVAILABLE", "READY"])
    world.play(("running", "running"), ("exit 0", "exit 0"))
    done = world.run("babysit", "train")
    assert done.returncode == 0 and done.stderr.count("failure 1 of 2") == 4, done.stderr
    world.answer(["ACTIVE"], ["UNAVAILABLE"])
    done = world.run("babysit", "train")
    assert done.returncode == 1 and "2 failures in a row" in done.stderr


@pytest.mark.parametrize(
    ("answers", "queue", "code", "tries"),
    [
        (["UNAVAILABLE", "deleted"], ["ACTIVE"], 0, 2),
        (["UNAVAILABLE"], ["ACTIVE", "ACTIVE", "NOT_FOUND"], 0, 1),
        (["UNAVAILABLE"], ["ACTIVE"], 1, 3),
    ],
)
def test_babysit_tries_to_give_back_until_it_is_gone(answers, queue, code, tries, world):
    world.settings(SETTINGS + "MAX_FAILURES=3\n")
    world.answer(queue, ["READY"])
    world.write("delete.json", json.dumps(answers))
    world.play(("running", "running"), ("exit 0", "exit 0"))
    done = world.run("babysit", "--delete", "train")
    assert done.returncode == code, done.stderr
    assert changes(world.calls()) == ["delete"] * tries
    assert ("NOT DELETED" in done.stderr) == bool(code)


@needs_linux
@pytest.mark.parametrize(
    ("behaviour", "code", "starts"),
    [
        ("w0:4", 4, 1),
        pytest.param("w0:75", 0, 2, marks=pytest.mark.slow),
        pytest.param("w0:143", 0, 2, marks=pytest.mark.slow),
        pytest.param("3", 3, 1, marks=pytest.mark.slow),
        pytest.param("w0:1", 1, 1, marks=pytest.mark.slow),
        pytest.param("139", 139, 1, marks=pytest.mark.slow),
    ],
)
def test_babysit_judges_by_the_code_that_says_most(behaviour, code, starts, ready):
    """w0:N means that the other worker aborted (134), as JAX does when a peer is gone."""
    ready.behave(behaviour, 0)
    done = ready.run("babysit", "train")
    assert done.returncode == code, done.stderr
    assert changes(ready.calls()).count("start") == starts
    assert "still rented" in done.stderr
    assert (code == 0) or f"w0: behaves as {behaviour}" in done.stderr


@pytest.mark.slow
@needs_linux
def test_babysit_gives_up(ready):
    ready.settings(SETTINGS + "MAX_FAILURES=3\nMAX_RELAUNCHES=1\n")
    ready.behave(75, 75, 0)
    assert ready.run("babysit", "train").returncode == 1
    assert changes(ready.calls()).count("start") == 2
    ready.answer(["UNAVAILABLE"], ["READY"])
    done = ready.run("babysit", "train")
    assert done.returncode == 1 and "3 failures in a row" in done.stderr
    asked = queued("describe", "--format=value(state.state)")
    assert ready.calls()[:3] == [asked] * 3


@pytest.mark.slow
@needs_linux
def test_babysit_ends_a_run_that_some_workers_have_left(ready):
    ready.behave("wait", 0)
    ready.run("launch", "train")
    ready.wait_for("running")
    os.kill(int((ready.path / "w0" / DIR / ".pod/pid").read_text()), signal.SIGKILL)
    ready.calls()
    assert ready.run("babysit", "train").returncode == 0
    assert changes(ready.calls()) == ["stop", "unpack", "setup", "start"]
