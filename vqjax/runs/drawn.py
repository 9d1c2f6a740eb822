"""Names of the pictures that verbs draw: no two verbs share one, and each says what made it.

`<verb>_<step>_seed<seed>-<number>_<option>=<value>_<what it is of>.png`, without what there is not:
a sheet of all has no number, what is not drawn at random no seed.
"""

import hashlib
import pathlib
import re
import types
import unicodedata
from collections.abc import Mapping, Sequence

SLUG = 48  # bytes; the end of what is longer becomes a digest
LONGEST = 255 - len(".png")  # likewise, of a whole name
_DIGEST = 8  # hexadecimal digits
_NAME = re.compile(r"(?P<verb>[a-z-]+)_(?P<step>\d{8,})(_seed\d+(?P<number>-\d+)?)?(?P<of>_.*)?")
# What the report calls them. The last ones are names of versions before verbs were in them.
TITLES = {
    "reconstruct": "Reconstructions",
    "sample": "Samples",
    "sample-interpolation": "Interpolation",
    "edit-inpaint": "Inpainting",
    "edit-outpaint": "Outpaint",
    "edit-upscale": "Upscaling",
    "edit-variations": "Variations",
    "prior": "Samples",
    "interpolation": "Interpolation",
    "inpaint": "Inpainting",
    "outpaint": "Outpaint",
    "upscale": "Upscaling",
    "variations": "Variations",
}
SAMPLED = ("sample", "prior")


def picture_name(
    verb: str,
    step: int,
    seed: int | None = None,
    number: int | None = None,
    of: Sequence[str] = (),
    options: Mapping[str, str] = types.MappingProxyType({}),
) -> str:
    """The name of one file.

    Args:
        verb: with its kind, as "edit-inpaint".
        step: the checkpoint's.
        seed: what was drawn at random with.
        number: of one of several pictures; None: a sheet of all.
        of: texts: what was read, the conditions.
        options: {name: value} of what else decides what is drawn, where it was asked for. No part
            of a name but these holds a "=".
    """
    seeded = "" if seed is None else f"seed{seed}" + ("" if number is None else f"-{number:04d}")
    said = [f"{name}={value}" for name, value in options.items()]
    name = "_".join(filter(None, [verb, f"{step:08d}", seeded, *said, *map(slug, of)]))
    return (name if len(name.encode()) <= LONGEST else _cut(name, LONGEST, name)) + ".png"


def slug(text: str) -> str:
    """Letters, digits and dashes that stand for `text`: other texts have other ones."""
    text = unicodedata.normalize("NFC", text)
    short = "-".join(re.findall(r"\w+", text))
    if len(short.encode()) <= SLUG and text == short.replace("-", " "):
        return short
    return _cut(short, SLUG, text)


def _cut(name: str, most: int, text: str) -> str:
    """The start of `name` and a digest of `text`, at most `most` bytes."""
    start = name.encode()[: most - _DIGEST - 1].decode(errors="ignore")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return "-".join(filter(None, [start.rstrip("-"), digest]))


def conditions_in_names(kinds: Sequence[int | str]) -> list[str]:
    """Classes (-1: none) or prompts, for `of`; [] where there are none."""
    if not kinds:
        return []
    if isinstance(kinds[0], str):
        return ["\0".join(map(str, kinds))]  # no prompt holds that
    return [" ".join(["class", *("none" if kind == -1 else str(kind) for kind in kinds)])]


def sheets_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """Sheets that verbs left in a folder, in the order of their names: neither the pictures of the
    training there nor what `sample --out` and its like write one by one.
    """
    return [path for path in sorted(folder.glob("*.png")) if _is_sheet(path.stem)]


def newest_samples(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """The sheets of `vqjax sample` of the latest steps, at most `count`."""
    found = [(_NAME.fullmatch(path.stem), path) for path in sheets_of(folder)]
    sampled = [(int(m["step"]), path) for m, path in found if m and m["verb"] in SAMPLED]
    return [path for _, path in sorted(sampled)[-count:]]


def title_of(path: pathlib.Path) -> str:
    """What a sheet is called."""
    name = path.stem.split("_")[0]
    return TITLES.get(name, name)


def _is_sheet(stem: str) -> bool:
    if stem.isdigit():
        return False
    name = _NAME.fullmatch(stem)
    return name is None or not (name["number"] or name["verb"] == "reconstruct" and name["of"])
