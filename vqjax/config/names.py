"""Names of classes: one explicit table for vqjax's own, `--trust` for all others.

A class of vqjax is known by its short name ("ConvEncoder"), which is looked up in a table made
of the `__all__` lists of a fixed tuple of packages. Nothing else is reachable by name, and no
attribute of anything is followed. Other classes are known as "module:Class" or "file.py:Class"
(with the file's sha256 beside it) and are imported only when the user trusts that very module
or file.
"""

import dataclasses
import functools
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqjax.config.modules import run_file, sha256_of, source_of
from vqjax.config.tree import is_object, is_object_class, walk
from vqjax.paths import as_path
from vqjax.types import DataError, UsageError

PACKAGES = (
    "vqjax.ops.schedules",
    "vqjax.ops.diffusion",
    "vqjax.ops.diff_augment",
    "vqjax.priors",
    "vqjax.denoisers",
    "vqjax.generators",
    "vqjax.quantizers",
    "vqjax.losses",
    "vqjax.metrics",
    "vqjax.discriminators",
    "vqjax.sampling",
    "vqjax.tokenizers",
    "vqjax.tasks",
    "vqjax.data",
    "vqjax.training.optim",
    "vqjax.training.mesh",
    "vqjax.training.experiment",
    "vqjax.config",
)
# {name in records: name today} of classes that were renamed; the old names are read for ever.
RENAMED: dict[str, str] = {"Choice": "TokenSampling", "Parallel": "MaskedDecoding"}
_MODULE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@functools.cache
def table() -> dict[str, type]:
    """All classes of vqjax that an experiment may hold, by short name."""
    classes: dict[str, type] = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            cls = getattr(module, name)
            # A `flax.struct` holds arrays, and is not part of an experiment.
            fits = is_object_class(cls) and not hasattr(cls, "_flax_dataclass")
            if fits and cls.__module__.startswith("vqjax."):
                first = classes.setdefault(cls.__name__, cls)
                assert first is cls, f"two classes named {cls.__name__}: {first} and {cls}"
    return classes


def first_name(name: str) -> str:
    """The name that a class of vqjax had when records first named it."""
    return next((old for old, new in RENAMED.items() if new == name), name)


@dataclasses.dataclass(frozen=True)
class ForeignName:
    """A class that is not vqjax's: the `module` or file name, the class, the file's sha256."""

    module: str
    cls: str
    sha256: str | None

    @property
    def tag(self) -> str:
        return f"{self.module}:{self.cls}"


def foreign_name(cls: type) -> ForeignName | None:
    """The recorded name of a class that is not in the table; None for one that is.

    Raises:
        UsageError: no name would lead back to the class.
    """
    if cls.__name__ in table() and table()[cls.__name__] is cls:
        return None
    if cls.__module__.startswith("vqjax."):
        raise UsageError(f"{cls.__module__}.{cls.__qualname__} is not a public class of vqjax")
    module = sys.modules.get(cls.__module__)
    if module is None or vars(module).get(cls.__name__) is not cls:
        raise UsageError(
            f"{cls.__module__}.{cls.__qualname__} is not defined at the top of its module: "
            "a run could not name it"
        )
    source = source_of(cls.__module__)
    if source is None:
        return ForeignName(cls.__module__, cls.__name__, None)
    return ForeignName(source.path.name, cls.__name__, source.sha256)


def foreign_classes(tree: Any) -> tuple[str, ...]:
    """The classes in the tree that a reader has to trust: "module:Class", "file.py:Class"."""
    names = (foreign_name(type(value)) for _, value in walk(tree) if is_object(value))
    return tuple(sorted({name.tag for name in names if name is not None}))


def foreign_sources(tree: Any) -> tuple[str, ...]:
    """The values of `--trust` that a reader of the tree needs: modules and file paths."""
    sources = set()
    for _, value in walk(tree):
        if is_object(value) and foreign_name(type(value)) is not None:
            source = source_of(type(value).__module__)
            sources.add(str(source.path) if source else type(value).__module__)
    return tuple(sorted(sources))


@dataclasses.dataclass(frozen=True)
class Trust:
    """The modules and files whose code may run in order to read a run."""

    modules: tuple[str, ...]
    files: tuple[Path, ...]

    def find(self, name: ForeignName) -> type:
        """The class behind a foreign name.

        Raises:
            DataError: it is not trusted, not the recorded one, or no class for an experiment.
        """
        module = self._file(name) if name.module.endswith(".py") else self._module(name)
        cls = vars(module).get(name.cls)
        if not is_object_class(cls):
            raise DataError(f"{name.tag} is not a Linen module or frozen dataclass")
        return cls

    def _module(self, name: ForeignName) -> Any:
        parents = [name.module[: dot.start()] for dot in re.finditer(r"\.|$", name.module)]
        if not set(parents) & set(self.modules):
            raise DataError(_untrusted(name, name.module))
        try:
            return importlib.import_module(name.module)
        except Exception as error:
            raise DataError(f"importing {name.module} for {name.tag} failed: {error}") from error

    def _file(self, name: ForeignName) -> Any:
        trusted = [file for file in self.files if file.name == name.module]
        if not trusted:
            raise DataError(_untrusted(name, name.module))
        same = [file for file in trusted if sha256_of(file) == name.sha256]
        if not same:
            raise DataError(
                f"{trusted[0]} is not the file that the run was made with: its sha256 is "
                f"{sha256_of(trusted[0])[:12]}..., recorded is {str(name.sha256)[:12]}...: name a "
                "copy of it as it was"
            )
        try:
            return run_file(same[0])
        except (Exception, SystemExit) as error:
            kind = type(error).__name__
            raise DataError(f"running {same[0]} for {name.tag} failed: {kind}: {error}") from error


def parse_trust(items: Sequence[str]) -> Trust:
    """Reads the values of `--trust MODULE|FILE.py`.

    Raises:
        UsageError: a file that does not exist, or something that is neither.
    """
    files = tuple(as_path(item, "--trust") for item in items if item.endswith(".py"))
    modules = tuple(item for item in items if not item.endswith(".py"))
    for file in files:
        if not file.is_file():
            raise UsageError(f"--trust {file}: no such file")
    for module in modules:
        if not _MODULE_NAME.fullmatch(module):
            raise UsageError(f"--trust {module}: neither a module's name nor a .py file")
    return Trust(modules, files)


def _untrusted(name: ForeignName, where: str) -> str:
    return (
        f"{name.tag} is not a class of vqjax and reading it runs its code: "
        f"add --trust {'PATH/' if where.endswith('.py') else ''}{where} if you trust it "
        "(trust=[...] in Python)"
    )
