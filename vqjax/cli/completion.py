"""What a shell proposes on Tab: verbs, options, and experiments by name.

`register-python-argcomplete vqjax` sets a shell up, which then runs the program with _ARGCOMPLETE
in its environment.
"""

import argparse
import os


def is_requested() -> bool:
    """Whether a shell asks for proposals."""
    return "_ARGCOMPLETE" in os.environ


def complete(parser: argparse.ArgumentParser, verbs: dict[str, argparse.ArgumentParser]) -> None:
    """Answers the shell and ends the program.

    Args:
        parser: of the whole program.
        verbs: the parser of each verb.
    """
    import argcomplete

    from vqjax.shipped import experiments

    names = argcomplete.ChoicesCompleter(tuple(experiments()))
    files = argcomplete.FilesCompleter()

    def names_and_files(prefix: str, **_: object) -> list[str]:
        return [*names(), *files(prefix)]

    for verb in verbs.values():
        for action in verb._actions:
            if action.dest == "file" and action.nargs is None:
                action.completer = names_and_files
            elif action.metavar == "NAME" and action.dest == "name":
                action.completer = names
    argcomplete.autocomplete(parser)
