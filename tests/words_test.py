"""One word per thing, and it is the field's: earlier names stand only where they must work."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
# Names that were renamed, whole, and words that no identifier is made of.
EARLIER = {
    "Told", "Choice", "Parallel", "Wishes", "Rig", "Ahead", "Reach", "Drawing", "told_apart",
    "possible", "conditioned", "declare_start", "remembered", "unstacked", "draw_place",
    "sample_in_parallel", "ahead_json", "reach_of", "adopt", "adopt_known", "recall", "begin",
    "book", "fooling", "TELLING", "CHOOSING",
}  # fmt: skip
WORDS = {"told", "given", "wish", "wishes", "mine", "want"}
# {file: names of earlier versions that still work there}
COMPATIBLE = {
    "vqjax/cli/drawing.py": {"--given"},
}
FILES = sorted([*(ROOT / "vqjax").rglob("*.py"), *(ROOT / "experiments").glob("*.py")])


def identifiers(tree: ast.AST) -> set[str]:
    """All names that code binds or reads, and options of the command line."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.keyword(arg=str(name)):
                names.add(name)
            case ast.alias(name=name):  # with or without another name
                names.add(name.rpartition(".")[2])
            case ast.Constant(value=str(text)) if re.fullmatch(r"--[a-z][a-z-]*", text):
                names.add(text)
    return names


def earlier_names(text: str) -> set[str]:
    found = set()
    for name in identifiers(ast.parse(text)):
        words = (word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))
        if name in EARLIER or not WORDS.isdisjoint(words):
            found.add(name)
    return found


def test_earlier_names_stand_only_where_they_still_work():
    found = {str(p.relative_to(ROOT)): earlier_names(p.read_text()) for p in FILES}
    assert {file: names for file, names in found.items() if names} == COMPATIBLE


def test_it_would_be_seen():
    text = 'def f(told):\n    x.book(choice=1)\n    add("--given")\n    from a import Choice as B\n'
    assert earlier_names(text) == {"told", "book", "--given", "Choice"}
