"""Python files that the user names: run once, under a name of their own.

A file's module keeps the file's path and the sha256 of the very bytes that ran, so that a class
defined in it can be recorded with them. Modules that it imports from its own directory count as
such files, too: nobody could import them by name later.
"""

import contextlib
import dataclasses
import hashlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from vqjax.shipped import folder

SOURCE = "__vqjax_source__"  # the module attribute that keeps a SourceFile
PREFIX = "vqjax_file_"  # of the names under which files are run


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A file whose code ran: its absolute `path` and the `sha256` of its bytes."""

    path: Path
    sha256: str


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source_of(module_name: str) -> SourceFile | None:
    """The user's file behind a module's name, None where the module is an ordinary one."""
    module = sys.modules[module_name]
    if module_name == "__main__" and getattr(module, "__file__", None):
        path = Path(module.__file__).resolve()
        return SourceFile(path, sha256_of(path))
    return vars(module).get(SOURCE)


@contextlib.contextmanager
def importable(directory: Path) -> Iterator[None]:
    """Puts `directory` first on the import path for as long as the context lasts, and the
    experiments that come with vqjax last: a copy of one still finds those it builds on.
    """
    first, shipped = str(directory), folder()
    last = None if shipped is None or str(shipped) in (first, *sys.path) else str(shipped)
    sys.path.insert(0, first)
    if last is not None:
        sys.path.append(last)
    try:
        yield
    finally:
        # The code may have put entries of its own in front, or removed these itself.
        for entry in filter(None, (first, last)):
            with contextlib.suppress(ValueError):
                sys.path.remove(entry)


def run_file(path: Path) -> ModuleType:
    """Runs a Python file and returns its module; the same bytes at the same path run once.

    Whatever the code raises comes through unchanged.
    """
    path = path.resolve()
    code = path.read_bytes()
    sha256 = hashlib.sha256(code).hexdigest()
    key = hashlib.sha256(f"{path}\n{sha256}".encode()).hexdigest()[:12]
    name = f"{PREFIX}{path.stem}_{key}"
    for loaded in list(sys.modules.values()):
        if isinstance(loaded, ModuleType) and vars(loaded).get(SOURCE) == SourceFile(path, sha256):
            return loaded
    _forget_siblings_elsewhere(path.parent)
    # A loader and a path, so that tracebacks and `inspect` find the lines of the source.
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_file_location(name, path, loader=loader)
    )
    setattr(module, SOURCE, SourceFile(path, sha256))
    before = set(sys.modules)
    sys.modules[name] = module
    try:
        with importable(path.parent):
            exec(compile(code, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        mark_siblings(path.parent, before)
    return module


def mark_siblings(directory: Path, before: set[str]) -> None:
    """Marks the modules imported since `before` that lie in `directory` itself, or among the
    experiments that come with vqjax, as files of the user.
    """
    folders = (directory, folder())
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if (
            file
            and file.endswith(".py")
            and "." not in name
            and SOURCE not in vars(sys.modules[name])
        ):
            path = Path(file).resolve()
            if path.parent in folders:
                setattr(sys.modules[name], SOURCE, SourceFile(path, sha256_of(path)))


def _forget_siblings_elsewhere(directory: Path) -> None:
    """Lets `import nets` beside a second file find that file's `nets`, not the first one's."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and not name.startswith(PREFIX):
            source = vars(module).get(SOURCE)
            if source is not None and source.path.parent != directory:
                del sys.modules[name]
