"""Subcommands that are functions: options, defaults and help are read from a signature and its docstring."""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from rich.console import Console

from adana.cli import UsageError
from adana.cli.tables import say
from adana.docstrings import arguments

__all__ = ["Output", "PlotOutput", "any_of", "command", "draw", "name_of", "needs", "refuse_unwritable", "values"]

PLOTS = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Output:
    """What every such command has."""

    json: bool = False
    """Print the result as JSON on standard output instead of a table."""


@dataclass(frozen=True)
class PlotOutput(Output):
    """What every command that can draw has."""

    plot: Path | None = None
    """Also write a figure to this file (.svg, .png or .pdf); default none."""


def command(
    name: str, function: Callable[..., Any], base: type, *, more: Mapping[str, str], positional: Sequence[str] = ()
) -> type:
    """The options of a function: its parameters, with the descriptions of its docstring.

    Args:
        name: of the command.
        function: what it calls. ``progress`` is no option. Its annotations must be types and not text: its module does
            without ``from __future__ import annotations``.
        base: dataclass of the options that all have.
        more: ends of descriptions, by the option's name.
        positional: options that are given without a name.
    """
    texts = arguments(function)
    options = []
    for option in inspect.signature(function).parameters.values():
        if option.name == "progress":
            continue
        text = texts[option.name] + more.get(option.name, "")
        kind: Any
        if option.name in positional:
            several = "" if option.annotation is str else " ..."
            shown = tyro.conf.arg(help=text, metavar=option.name.upper() + several)
            kind = Annotated[option.annotation, shown, tyro.conf.Positional]
        else:
            kind = Annotated[option.annotation, tyro.conf.arg(help=text)]
        options.append((option.name, kind) if option.default is option.empty else (option.name, kind, option.default))
    made = make_dataclass(name, options, bases=(base,), frozen=True, kw_only=True)
    made.__doc__ = inspect.getdoc(function).split("\n")[0]  # type: ignore[union-attr]
    return made


def any_of(commands: Mapping[str, type]) -> Any:
    """The type of the options of one command among several."""
    choices = tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in commands.items())
    return Union[choices]  # noqa: UP007 - the choices are known only here


def name_of(commands: Mapping[str, type], options: Any) -> str:
    """Which command was asked for."""
    return next(name for name, kind in commands.items() if type(options) is kind)


def values(options: Any, base: type, function: Callable[..., Any], notes: Console) -> dict[str, Any]:
    """What to call the function with: its own options, and lines of progress on the terminal."""
    found = {one.name: getattr(options, one.name) for one in fields(options)}
    for one in fields(base):
        found.pop(one.name, None)
    if "progress" in inspect.signature(function).parameters:
        found["progress"] = lambda line: say(notes, line, style="dim")
    return found


def needs(name: str, libraries: Sequence[str], extra: str) -> None:
    """Refuse, before anything is computed, what cannot be imported."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise UsageError(f"{name} needs {library}: pip install 'adana[{extra}]'")


def refuse_unwritable(plot: Path | None) -> None:
    """Refuse, before anything is computed, a figure that could not be written."""
    if plot is None:
        return
    folder = plot.absolute().parent
    if plot.suffix not in PLOTS:
        raise UsageError(f"--plot must end in .svg, .png or .pdf, got {plot}")
    if not folder.is_dir():
        raise UsageError(f"--plot: the folder {folder} does not exist")
    if plot.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"--plot: {plot if plot.is_dir() else folder} cannot be written")


def draw(figure: Any, plot: Path, notes: Console) -> None:
    """Write a figure, and say where it is."""
    from adana.drawing import save

    try:
        save(figure, plot)
    except OSError as error:
        raise UsageError(f"--plot: cannot write {plot}: {error.strerror}") from None
    say(notes, f"figure: {plot}", style="dim")
