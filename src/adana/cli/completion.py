"""``adana completion``: a script that has a shell complete commands, options and choices."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import tyro

from adana.cli import COMMANDS
from adana.cli.arguments import Asked, asked_only, parse
from adana.cli.help import plain_help

DESCRIPTION = (
    "Print a script with which the Tab key completes adana's commands, their options, and the values of options that "
    "have a choice. Write it where your shell looks for such scripts: see the examples."
)


@dataclass(frozen=True)
class Options:
    """Options of ``adana completion``."""

    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional]
    """The shell that reads the script."""
    json: bool = False
    """Print the script as JSON on standard output."""


def run(argv: Sequence[str]) -> int:
    options = parse(Options, "completion", DESCRIPTION, argv)
    text = script(options.shell)
    print(json.dumps({"shell": options.shell, "script": text}, indent=1) if options.json else text)
    return 0


def script(shell: str) -> str:
    """The completion script of all commands.

    Args:
        shell: bash or zsh.
    """
    commands = []
    for name, summary in COMMANDS.items():
        asked = _asked(name)
        known: dict[str, Any] = {} if asked.default is None else {"default": asked.default}
        commands.append(
            Annotated[(asked.kind, tyro.conf.subcommand(name, description=summary, prefix_name=False, **known))]
        )
    said = io.StringIO()
    any_of_them: Any = Union[tuple(commands)]  # noqa: UP007 - the commands are known only here
    with plain_help(), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(any_of_them, args=["--tyro-write-completion", shell, "-"], prog="adana")
    # Where there is nothing of ours to complete, bash completes names of files.
    return said.getvalue().rstrip().replace("complete -F ", "complete -o default -F ")


def _asked(name: str) -> Asked:
    """What a command asks of its command line."""
    module = importlib.import_module(f"adana.cli.{name.replace('-', '_')}")
    try:
        with asked_only():
            module.run(["small"] if name == "train" else [])
    except Asked as asked:
        return asked
    raise AssertionError(f"{name} read no options")
