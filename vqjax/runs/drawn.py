"""File names of the pictures that verbs draw: no two verbs share one, and each says what made it.

`<verb>_<step>_seed<seed>-<number>_<option>=<value>_<inputs and conditions>.png`, without what does
not apply: a sheet of all has no number, what is not drawn at random no seed.
"""

import hashlib
import pathlib
import re
import types
import unicodedata
from collections.abc import Mapping, Sequence

MAX_SLUG = 48  # bytes; the end of what is longer becomes a digest
MAX_NAME = 255 - len(".png")  # likewise, of a whole name
_DIGEST = 8  # hexadecimal digits
_NAME = re.compile(r"(?P<verb>[a-z-]+)_(?P<step>\d{8,})(_seed\d+(?P<number>-\d+)?)?(?P<of>_.*)?")
# Their titles in the report. The last ones are from versions whose names had no verbs.
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
        seed: of the random draws, if any.
        number: of one of several pictures; None: a sheet of all.
        of: texts: names of the inputs, the conditions.
        options: {name: value} of the other options that are set. Only these put a "=" into a name.
    """
    seeded = "" if seed is None else f"seed{seed}" + ("" if number is None else f"-{number:04d}")
    items = [f"{name}={value}" for name, value in options.items()]
    name = "_".join(filter(None, [verb, f"{step:08d}", seeded, *items, *map(slug, of)]))
    return (name if len(name.encode()) <= MAX_NAME else _cut(name, MAX_NAME, name)) + ".png"


def slug(text: str) -> str:
    """Letters, digits and dashes that identify `text`: different texts have different ones."""
    text = unicodedata.normalize("NFC", text)
    short = "-".join(re.findall(r"\w+", text))
    if len(short.encode()) <= MAX_SLUG and text == short.replace("-", " "):
        return short
    return _cut(short, MAX_SLUG, text)


def _cut(name: str, most: int, text: str) -> str:
    """The start of `name` and a digest of `text`, at most `most` bytes."""
    start = name.encode()[: most - _DIGEST - 1].decode(errors="ignore")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return "-".join(filter(None, [start.rstrip("-"), digest]))


def conditions_in_names(conditions: Sequence[int | str]) -> list[str]:
    """Classes (-1: unconditional) or prompts, for `of`; [] where there are none."""
    if not conditions:
        return []
    if isinstance(conditions[0], str):
        return ["\0".join(map(str, conditions))]  # no prompt holds that
    return [" ".join(["class", *("none" if c == -1 else str(c) for c in conditions)])]


def sheets_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """Sheets that verbs wrote to a folder, sorted by name: neither the pictures of the training
    there nor the single pictures that `sample --out` and its like write.
    """
    return [path for path in sorted(folder.glob("*.png")) if _is_sheet(path.stem)]


def newest_samples(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """The sheets of `vqjax sample` of the latest steps, at most `count`."""
    matches = [(_NAME.fullmatch(path.stem), path) for path in sheets_of(folder)]
    sampled = [(int(m["step"]), path) for m, path in matches if m and m["verb"] in SAMPLED]
    return [path for _, path in sorted(sampled)[-count:]]


def title_of(path: pathlib.Path) -> str:
    """The title of a sheet."""
    name = path.stem.split("_")[0]
    return TITLES.get(name, name)


def _is_sheet(stem: str) -> bool:
    if stem.isdigit():
        return False
    name = _NAME.fullmatch(stem)
    return name is None or not (name["number"] or name["verb"] == "reconstruct" and name["of"])
