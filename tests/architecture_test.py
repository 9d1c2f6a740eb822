"""Imports go down, never sideways, never up; only some rooms know TensorFlow or Pallas."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "vqjax"
FLOORS = {
    "_version": 0, "types": 0, "format": 0, "paths": 0, "files": 0, "arguments": 0, "config": 0,
    "extras": 0, "hub": 0, "shipped": 0, "numbers": 0, "media": 0,
    "kernels": 1, "ops": 1, "data": 1,
    "nn": 2, "features": 3,
    "quantizers": 4, "losses": 4, "discriminators": 4, "metrics": 4, "sampling": 4,
    "tokenizers": 5, "priors": 5, "denoisers": 5, "generators": 5,
    "tasks": 6,
    "training": 7, "evaluation": 7,
    "runs": 8,
    "reports": 9, "benchmark": 9, "hardware": 9, "compression": 9, "convert": 9,
    "cli": 10, "__main__": 10,
}  # fmt: skip
# Who may import whom on the same floor.
SIDEWAYS = {
    ("config", "types"), ("config", "_version"), ("config", "format"), ("files", "types"),
    ("files", "format"), ("files", "_version"), ("files", "paths"), ("paths", "types"),
    ("paths", "format"), ("config", "paths"), ("config", "files"), ("types", "format"),
    ("arguments", "types"), ("arguments", "format"), ("arguments", "paths"),
    ("config", "arguments"), ("config", "shipped"), ("shipped", "types"), ("ops", "kernels"),
    ("media", "files"), ("media", "format"), ("media", "numbers"), ("numbers", "format"),
    ("media", "types"), ("media", "extras"), ("hub", "extras"), ("hub", "format"),
    ("hub", "paths"), ("hub", "types"),
    ("evaluation", "training"), ("benchmark", "hardware"), ("__main__", "cli"),
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_file(module: str) -> bool:
    """Whether a dotted name of vqjax is a file or a folder of them."""
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@functools.cache
def imports(path: pathlib.Path) -> list[tuple[str, bool]]:
    """(module, whether it is imported when the file is) for every import statement."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(f)
    }
    found = []
    for node in ast.walk(tree):
        top = id(node) not in inside
        if isinstance(node, ast.Import):
            found += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name, top) for name in names]
            if any(not is_file(name) for name in names):  # of what the package itself holds
                found.append((node.module, top))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    if path == PACKAGE / "__init__.py":
        return  # the front door: it names rooms as text and opens them on demand
    here = room(path)
    assert here in FLOORS, f"{here} has no floor"
    for module, _ in imports(path):
        parts = module.split(".")
        if parts[0] != "vqjax" or len(parts) < 2 or parts[1] not in FLOORS:
            continue
        there = parts[1]
        if there == here:
            continue
        down = FLOORS[there] < FLOORS[here] and not (here == "data" and there == "ops")
        assert down or (here, there) in SIDEWAYS, f"{path}: {here} imports {there}"


@pytest.mark.parametrize("room_", sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py")))
def test_each_room_says_its_floor_what_it_imports_and_where_to_begin(room_):
    text = " ".join(
        ast.get_docstring(ast.parse((PACKAGE / room_ / "__init__.py").read_text())).split()
    )
    found = re.search(r"Floor (\d+), imports floor 0(.*?)\. Most important file: `(\w+\.py)`", text)
    assert found, text
    floor, named, file = found.groups()
    above = {m.split(".")[1] for p in (PACKAGE / room_).rglob("*.py") for m, _ in imports(p)
             if m.startswith("vqjax.") and FLOORS.get(m.split(".")[1], 0) > 0}  # fmt: skip
    assert int(floor) == FLOORS[room_] and set(re.findall(r"`(\w+)`", named)) == above - {room_}
    assert (PACKAGE / room_ / file).is_file()


def modules() -> dict[str, pathlib.Path]:
    """{dotted name: file} of all of vqjax."""
    named = {}
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def test_no_file_imports_itself_by_any_way():
    """Imports inside functions count, too."""
    named = modules()
    graph = {
        name: {module for module, _ in imports(path) if module in named and module != name}
        for name, path in named.items()
        if name != "vqjax"  # the front door
    }
    open_, done = [], set()

    def visit(name):
        assert name not in open_, " -> ".join([*open_[open_.index(name) :], name])
        if name in done or name not in graph:
            return
        open_.append(name)
        for other in sorted(graph[name]):
            visit(other)
        done.add(open_.pop())

    for name in graph:
        visit(name)


def test_training_never_imports_a_model():
    for path in (PACKAGE / "training").glob("*.py"):
        for module, _ in imports(path):
            for name in ("tasks", "tokenizers", "quantizers", "losses", "discriminators", "nn"):
                assert not module.startswith(f"vqjax.{name}"), f"{path} imports {module}"


@pytest.mark.parametrize(
    ("library", "rooms", "top_level_allowed"),
    [
        ("tensorflow", {"data", "cli"}, False),
        ("tensorflow_datasets", {"data", "cli"}, False),
        ("torch", set(), False),
        ("soundfile", {"media"}, False),
        ("pydub", set(), False),
        ("jax.experimental.pallas", {"kernels"}, True),
        ("jax.distributed", {"training", "cli"}, True),
        ("jinja2", {"reports"}, True),
        ("matplotlib", set(), False),
    ],
)
def test_who_knows_what(library, rooms, top_level_allowed):
    for path in FILES:
        for module, top in imports(path):
            if module == library or module.startswith(library + "."):
                assert room(path) in rooms, f"{path} imports {module}"
                assert top_level_allowed or not top, f"{path} imports {module} at import"


def at_import(*names: str) -> set[str]:
    """All that these modules import when they are imported, themselves included."""
    named, found, left = modules(), set(), [*names]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += [m for m, top in imports(named[name]) if top] if name in named else []
    return found


def test_templates_are_read_only_for_pages():
    """A table on the terminal and a drawing of its own go without."""
    rooms = ("compare", "compare_table", "legend", "history", "tables", "glossary")
    found = at_import(*(f"vqjax.reports.{room}" for room in rooms), "vqjax.hardware.sweep_chart")
    assert "jax" in found and "jinja2" not in found
    assert "jinja2" in at_import("vqjax.reports.report") & at_import("vqjax.reports.compare_page")


HEAVY = ("tensorflow", "torch", "tensorflow_datasets", "jax", "jinja2", "markupsafe", "matplotlib")


@pytest.mark.parametrize(
    "call",
    ["import vqjax", "import vqjax.cli.main", "import vqjax.cli.main as m; m.main(['--help'])"],
)
def test_the_front_door_is_light(call):
    code = f"import sys; {call}; print([m for m in {HEAVY} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_no_long_files():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path


def test_no_long_functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, (path, node.name)
