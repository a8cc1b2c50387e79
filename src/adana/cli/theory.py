"""``adana theory``: the bench of problems in which everything can be computed.

The subcommands are the functions of :data:`adana.theory.experiments.EXPERIMENTS`: options, defaults and help are read
from their signatures and descriptions. Here they are parsed, called and printed.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from rich.console import Console

from adana.cli import UsageError
from adana.cli.arguments import parse
from adana.cli.common import pick_device
from adana.cli.tables import say, show_table, terminal
from adana.docstrings import arguments
from adana.theory.experiments import EXPERIMENTS
from adana.theory.simulate import SIMULATED

DESCRIPTION = (
    "Problems in which everything can be computed: least squares on random features whose eigenvalues fall as a power "
    "law (PLRF), and relatives. The package's own update rules are simulated on them, with theory's prediction beside. "
    "Every subcommand prints a table, or JSON with --json."
)
PLOTS = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Output:
    """What every experiment has."""

    json: bool = False
    """Print the result as JSON on standard output instead of a table."""
    max_hours: float = 24.0
    """Refuse what is estimated to take longer than this many hours of one processor core."""


@dataclass(frozen=True)
class PlotOutput(Output):
    """What every experiment but the figures has."""

    plot: Path | None = None
    """Also write a figure to this file (.svg, .png or .pdf); default none."""


def _command(name: str, experiment: Callable[..., Any]) -> type[Output]:
    """The options of an experiment: its parameters, with the descriptions of its docstring."""
    texts = arguments(experiment)
    options = []
    for option in inspect.signature(experiment).parameters.values():
        if option.name != "progress":
            text = texts[option.name]
            if option.name == "optimizers":
                text += f" Choose from {', '.join(SIMULATED)}."
            options.append((option.name, Annotated[option.annotation, tyro.conf.arg(help=text)], option.default))
    base = Output if name == "figures" else PlotOutput
    made = make_dataclass(name, options, bases=(base,), frozen=True)
    made.__doc__ = inspect.getdoc(experiment).split("\n")[0]  # type: ignore[union-attr]
    return made


COMMANDS: dict[str, type[Output]] = {name: _command(name, experiment) for name, experiment in EXPERIMENTS.items()}


def run(argv: Sequence[str]) -> int:
    choices = tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items())
    any_of_them: Any = Union[choices]  # noqa: UP007 - the choices are known only here
    options: Any = parse(any_of_them, "theory", DESCRIPTION, argv)
    name = next(name for name, kind in COMMANDS.items() if type(options) is kind)
    plot: Path | None = getattr(options, "plot", None)
    _check(name, plot, getattr(options, "device", None))
    notes = terminal(stderr=True)
    values = {one.name: getattr(options, one.name) for one in fields(options)}
    for one in fields(PlotOutput):
        values.pop(one.name, None)
    experiment = EXPERIMENTS[name]
    if "progress" in inspect.signature(experiment).parameters:
        values["progress"] = lambda line: say(notes, line, style="dim")
    result = _call(experiment, values, options.max_hours)
    if plot is not None:
        _draw(result, plot, notes)
    _show(result, options.json)
    return 0


def _check(name: str, plot: Path | None, device: str | None) -> None:
    """Refuse, before anything is computed, what would fail at the end."""
    drawn = plot is not None or name == "figures"
    for library in ("scipy", "matplotlib") if drawn else ("scipy",):
        if importlib.util.find_spec(library) is None:
            raise UsageError(f"{name} needs {library}: pip install 'adana[theory]'")
    if device is not None:
        pick_device(device)
    if plot is None:
        return
    folder = plot.absolute().parent
    if plot.suffix not in PLOTS:
        raise UsageError(f"--plot must end in .svg, .png or .pdf, got {plot}")
    if not folder.is_dir():
        raise UsageError(f"--plot: the folder {folder} does not exist")
    if plot.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"--plot: {plot if plot.is_dir() else folder} cannot be written")


def _call(experiment: Callable[..., Any], values: dict[str, Any], max_hours: float) -> Any:
    import numpy as np

    from adana.theory.checks import NotSolved
    from adana.theory.effort import longest

    try:
        # What overflows has diverged: that is a result, shown as such.
        with longest(max_hours), np.errstate(all="ignore"):
            return experiment(**values)
    except (ValueError, NotSolved) as error:
        raise UsageError(" ".join(str(error).split())) from None
    except MemoryError:
        raise UsageError("not enough memory: lower the sizes") from None
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or 'the output'}: {error.strerror or error}") from None


def _draw(result: Any, plot: Path, notes: Console) -> None:
    from adana.theory import plots

    try:
        plots.save(plots.figure(result), plot)
    except OSError as error:
        raise UsageError(f"--plot: cannot write {plot}: {error.strerror}") from None
    say(notes, f"figure: {plot}", style="dim")


def _show(result: Any, as_json: bool) -> None:
    from adana.theory.comparison import compact
    from adana.theory.tables import sentences, tables

    if as_json:
        print(compact(result if isinstance(result, dict) else result.document()))
        return
    console = terminal()
    if isinstance(result, dict):  # the figures, each of which was named when it was written
        return
    for table in tables(result):
        show_table(console, table)
    for line in sentences(result):
        say(console, line, style="dim")
