"""What verbs that draw share: options for the methods of runs, and writing pictures."""

import argparse
import dataclasses
import os
import pathlib
import re
import sys
import types
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from vqjax.cli.arguments import add_overwrite_argument, add_step_argument, path_argument
from vqjax.cli.sampling import (
    SAMPLING,
    SOLVING,
    add_sampling_arguments,
    sampling_options,
    solver_options,
)

MAX_PIXELS = 64 << 20  # of a picture that is read
CONDITIONS = ("classes", "prompt", "condition")  # options that condition a prior
# The keyword of a run's method that an option sets; --condition may set another one, too.
KEYWORDS = {
    "n": "n",
    "seed": "seed",
    "classes": "classes",
    "prompt": "prompts",
    "condition": "prompts",
    "temperature": "sampling",
    "top_k": "sampling",
    "top_p": "sampling",
    "guidance": "guidance",
    "sampler": "solver",
    "steps": "solver",
    "guidance_interval": "guidance_interval",
    "strength": "strength",
    "codebooks": "codebooks",
}
CONDITION_KEYWORDS = ("classes", "prompts")  # lists that only conditional priors take
OTHERS = "conditions"  # by array: of priors under several conditions
RETURN_LENGTH = "return_length"  # what verbs ask for, not their users
PLAIN = ("n", "seed", "strength", "codebooks")  # options whose value a keyword takes as it is
# Options that decide what is drawn.
IN_NAMES = (
    *SAMPLING, *SOLVING, "target", "strength", "outpaint", "codebooks", "rate", "keep", "params"
)  # fmt: skip


def add_drawing_arguments(
    parser: argparse.ArgumentParser, count: str, conditions: str, out: str
) -> None:
    """Adds -n (`count` is its help), --seed, --step, --classes (`conditions`: its default),
    --prompt, --condition, those of `add_sampling_arguments`, --out (its help) and --overwrite.
    """
    parser.add_argument("-n", metavar="N", type=int, help=count)
    parser.add_argument("--seed", metavar="N", type=int, help="random seed (default: 0)")
    add_step_argument(parser)
    parser.add_argument(
        "--classes",
        metavar="A,B,...",
        help=f"class conditions, in turn; --classes=-1: unconditional (default: {conditions})",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", action="append", help="text conditions, in turn (repeatable)"
    )
    parser.add_argument(
        "--condition",
        metavar="NAME=VALUE",
        action="append",
        help='of a prior under several conditions, as speaker=2, in turn; text="..." is the same '
        'as --prompt "..." (repeatable)',
    )
    parser.add_argument("--given", dest="condition", action=_EarlierName, help=argparse.SUPPRESS)
    add_sampling_arguments(parser)
    parser.add_argument("--out", metavar="DIR", type=path_argument, help=out)
    add_overwrite_argument(parser)


class _EarlierName(argparse._AppendAction):
    """What --condition was called until version 0.3."""

    def __call__(self, *args: Any, **keywords: Any) -> None:
        print("--given is called --condition now, and goes with version 0.3", file=sys.stderr)
        super().__call__(*args, **keywords)


def used_flags(args: argparse.Namespace, *names: str) -> list[str]:
    """Those of the options `names` that are set, as they are typed."""
    return [_flag(name) for name in names if getattr(args, name) is not None]


def _flag(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"


def add_setting_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `key=value` items."""
    parser.add_argument(
        "settings",
        metavar="key=value",
        nargs="*",
        help="other keywords of the run's method, such as steps=50",
    )


def files_and_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files and `key=value` items among words; a word that exists as a file is a file."""
    settings = [w for w in words if re.match(r"[A-Za-z_]\w*=", w) and not os.path.exists(w)]
    return [word for word in words if word not in settings], settings


def method_options(
    args: argparse.Namespace, run: Any, method: Callable, reserved: Sequence[str] = ()
) -> dict[str, Any]:
    """Keywords for a run's method, from the options and `args.settings`.

    Args:
        reserved: options that the verb itself uses.

    Raises:
        UsageError: an option or a keyword that it does not take, or an invalid value.
    """
    from vqjax.runs.base import keywords_of
    from vqjax.types import UsageError

    excluded = {*CONDITION_KEYWORDS, OTHERS} - {*run.conditions} | {RETURN_LENGTH}
    takes = {k: p for k, p in keywords_of(method).items() if k not in excluded}
    options = [name for name in KEYWORDS if hasattr(args, name) and name not in reserved]
    fitting = [n for n in options if KEYWORDS[n] in takes or (n == "condition" and OTHERS in takes)]
    for name in options:
        if getattr(args, name) is not None and name not in fitting:
            flags = [_flag(n) for n in fitting]
            set_by_options = {*KEYWORDS.values(), OTHERS}
            flags += [f"{keyword}=" for keyword in takes if keyword not in set_by_options]
            names = ", ".join(flags) or "none"
            raise UsageError(f"{_flag(name)} is not for this run: it takes {names}")
    keywords = condition_options(args, takes) if "classes" in vars(args) else {}
    keywords |= sampling_options(args) if "guidance" in vars(args) else {}
    keywords |= solver_options(args, run) if "sampler" in vars(args) else {}
    plain = [name for name in PLAIN if name in takes and name not in reserved]
    values = {name: getattr(args, name, None) for name in plain}
    keywords |= {name: value for name, value in values.items() if value is not None}
    settings = _settings(getattr(args, "settings", ()), takes)
    for name in options:
        keyword = OTHERS if name == "condition" and OTHERS in keywords else KEYWORDS[name]
        if getattr(args, name) is not None and keyword in settings:
            raise UsageError(f"{keyword} is set twice: {_flag(name)} and {keyword}=")
    return keywords | settings


def _settings(words: Sequence[str], takes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `key=value` items, parsed by the annotations of the keywords."""
    from vqjax.config.text import parse_text
    from vqjax.types import UsageError, did_you_mean

    settings: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{word!r}: give key=value")
        if name not in takes or name == "out":
            raise UsageError(f"{word}: no {name!r} here: {did_you_mean(name, takes)}")
        parameter = takes[name]
        default = None if parameter.default is parameter.empty else parameter.default
        settings[name] = parse_text(text, parameter.annotation, default, name)
    return settings


def condition_options(args: argparse.Namespace, takes: Container[str]) -> dict[str, Any]:
    """`classes`, `prompts` or `conditions` for `PriorRun`'s methods, which take the keywords
    `takes`; UsageError for what cannot be parsed.
    """
    from vqjax.types import UsageError

    options: dict[str, Any] = {}
    if args.classes is not None:
        try:
            options["classes"] = [int(word) for word in args.classes.split(",")]
        except ValueError as error:
            raise UsageError(f"--classes {args.classes}: give numbers, as 3,7") from error
    prompts, others = list(args.prompt or ()), _other_conditions(args)
    for item in args.condition or ():
        name, equals, value = item.partition("=")
        if not equals or ("prompts" if name == "text" else OTHERS) not in takes:
            forms = ['text="..."'] * ("prompts" in takes) + ["speaker=2"] * (OTHERS in takes)
            raise UsageError(f"--condition {item}: give {' or '.join(forms)}")
        if name == "text":
            prompts.append(value)
    options |= {"prompts": prompts} if prompts else {}
    return options | ({OTHERS: others} if others else {})


def _other_conditions(args: argparse.Namespace) -> dict[str, list[str]]:
    """{name: values} of --condition, without those by a text."""
    others: dict[str, list[str]] = {}
    for item in getattr(args, "condition", None) or ():
        name, equals, value = item.partition("=")
        if equals and name != "text":
            others.setdefault(name, []).append(value)
    return others


def _in_names(args: argparse.Namespace) -> dict[str, str]:
    """Those of `IN_NAMES` that are set, for the names of pictures: {"guidance": "3"}."""
    values = {name: getattr(args, name, None) for name in IN_NAMES}
    texts = {
        name.replace("_", "-"): _in_name(value)
        for name, value in values.items()
        if value is not None and (name, value) != ("params", "auto")
    }
    others = {name: "+".join(values) for name, values in _other_conditions(args).items()}
    texts |= {_file_safe(name): _file_safe(value) for name, value in others.items()}
    if getattr(args, "keep", None) is not None:
        texts["judge"] = _file_safe(pathlib.PurePath(str(args.judge)).name)
    items = (item.partition("=") for item in getattr(args, "settings", ()))
    elsewhere = ("n", "seed", *CONDITION_KEYWORDS)  # in other parts of the name
    return texts | {key: _file_safe(value) for key, _, value in items if key not in elsewhere}


def _in_name(value: Any) -> str:
    """The value of an option for a name: of weights of guidance "image-2+audio-1.5", of targets in
    their order "text+audio".
    """
    if isinstance(value, list):
        return _file_safe("+".join(value).replace(",", "+"))
    if isinstance(value, dict):
        return "+".join(f"{name}-{scale:g}" for name, scale in value.items())
    return str(value).removesuffix(".0")


def _file_safe(value: str) -> str:
    """A value as it is where a file's name may hold it, else its slug."""
    from vqjax.runs.drawn import slug

    return value if re.fullmatch(r"[\w.+-]+", value) else slug(value)


@dataclasses.dataclass(frozen=True)
class Names:
    """Where one call of a verb writes its pictures.

    Attributes:
        args: of the verb, with `out` and `overwrite`. With --out, names hold that of the run; they
            always hold those of `IN_NAMES` that are set.
        trained: the run.
        verb: with its kind, as "edit-inpaint".
        seed: None: nothing is drawn at random.
        of: names of the inputs.
    """

    args: argparse.Namespace
    trained: Any
    verb: str
    seed: int | None = None
    of: tuple[str, ...] = ()

    @property
    def folder(self) -> pathlib.Path:
        out = self.args.out
        return pathlib.Path(out) if out else pathlib.Path(self.trained.path) / "samples"

    def path(
        self,
        conditions: Sequence[int | str] = (),
        number: int | None = None,
        others: Mapping[str, str] = types.MappingProxyType({}),
    ) -> pathlib.Path:
        """Path of one picture, or of the sheet; `conditions`: its classes or prompts; `others`: its
        own other conditions, where the verb has those of several.
        """
        from vqjax.runs.drawn import conditions_in_names, picture_name

        run = [pathlib.Path(self.trained.path).name] if self.args.out else []
        of = [*run, *self.of, *conditions_in_names(conditions)]
        own = {_file_safe(name): _file_safe(value) for name, value in others.items()}
        step, options = self.trained.step, _in_names(self.args) | own
        return self.folder / picture_name(self.verb, step, self.seed, number, of, options)

    def singles(
        self,
        conditions: Sequence[int | str],
        count: int,
        others: Mapping[str, Sequence[Any]] = types.MappingProxyType({}),
    ) -> list[pathlib.Path]:
        """Paths of `count` single pictures, of `conditions`, and of each of the `others`, in turn;
        none without --out.
        """
        numbers = range(count if self.args.out else 0)
        return [
            self.path(
                in_turn(conditions, i), i, {k: str(*in_turn(v, i)) for k, v in others.items()}
            )
            for i in numbers
        ]

    def check(self, paths: Iterable[pathlib.Path], inputs: Iterable = ()) -> None:
        """Refuses, with UsageError, to write over what has no mark of vqjax or, even with
        --overwrite, over one of the `inputs`. Creates nothing.
        """
        from vqjax.files import check_output
        from vqjax.types import UsageError

        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--out {self.folder} is a file: name a folder")
        read = {identity: path for path in inputs if (identity := _identity(path)) is not None}
        for path in paths:
            if (identity := _identity(path)) in read:
                original = read[identity]
                raise UsageError(f"{path} would be written over {original}: name another --out")
            check_output(path, overwrite=self.args.overwrite)


def in_turn(values: Sequence[Any], number: int) -> Sequence[Any]:
    """The value of example `number`, in a list of one; all of none."""
    return values[number % len(values) :][:1] if values else values


def _identity(path: str | pathlib.Path) -> tuple[int, int] | None:
    """Device and inode of a file, by whatever name or link it is reached; None: there is none."""
    try:
        stat = pathlib.Path(path).stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def write_sheet(
    rows: list, path: pathlib.Path, caption: str = "", *, overwrite: bool = False
) -> pathlib.Path:
    """Writes a sheet of rows of examples; `caption` goes into the file, for the run's report."""
    from vqjax.media.gallery import image_of, lay

    sheet = lay([[image_of(example) for example in row] for row in rows])
    return write_png(path, sheet, caption, overwrite=overwrite)


def write_example(example: Any, path: pathlib.Path, *, overwrite: bool = False) -> pathlib.Path:
    """Writes an example as it is, without enlargement."""
    from vqjax.media.gallery import image_of, to_uint8

    is_image = example.ndim == 3 and example.shape[-1] in (1, 3, 4)
    image = to_uint8(example) if is_image else image_of(example)  # clips and signals: drawn
    return write_png(path, image, overwrite=overwrite)


def write_png(
    path: pathlib.Path, image: Any, caption: str = "", *, overwrite: bool = False
) -> pathlib.Path:
    """`write_output` of a sheet, or of an image uint8 [H, W, C] of 1 to 4 channels."""
    from vqjax.files import write_output
    from vqjax.media.gallery import png_file

    return write_output(path, png_file(image, caption), overwrite=overwrite)
