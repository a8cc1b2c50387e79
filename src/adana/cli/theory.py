"""``adana theory``: the bench of problems in which everything can be computed.

The subcommands are the functions of :data:`adana.theory.experiments.EXPERIMENTS`: options, defaults and help are read
from their signatures and descriptions. Here they are parsed, called and printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.cli import UsageError
from adana.cli.arguments import parse
from adana.cli.common import pick_device
from adana.cli.functions import Output as BaseOutput
from adana.cli.functions import PlotOutput as BasePlotOutput
from adana.cli.functions import any_of, command, draw, name_of, needs, refuse_unwritable, values
from adana.cli.tables import say, show_table, terminal
from adana.theory.experiments import EXPERIMENTS
from adana.theory.simulate import SIMULATED

DESCRIPTION = (
    "Problems in which everything can be computed: least squares on random features whose eigenvalues fall as a power "
    "law (PLRF), and relatives. The package's own update rules are simulated on them, with theory's prediction beside. "
    "Risk is the expected loss. Every subcommand prints a table, or JSON with --json."
)


@dataclass(frozen=True)
class Output(BaseOutput):
    """What every experiment has."""

    max_hours: float = 24.0
    """Refuse what is estimated to take longer than this many hours of one processor core."""


@dataclass(frozen=True)
class PlotOutput(Output, BasePlotOutput):
    """What every experiment but the figures has."""


MORE = {"optimizers": f" Choose from {', '.join(SIMULATED)}."}
COMMANDS: dict[str, type[Any]] = {
    name: command(name, experiment, Output if name == "figures" else PlotOutput, more=MORE)
    for name, experiment in EXPERIMENTS.items()
}


def run(argv: Sequence[str]) -> int:
    options: Any = parse(any_of(COMMANDS), "theory", DESCRIPTION, argv)
    name = name_of(COMMANDS, options)
    plot: Path | None = getattr(options, "plot", None)
    needs(name, ("scipy", "matplotlib") if plot is not None or name == "figures" else ("scipy",), "theory")
    device = getattr(options, "device", None)
    if device is not None:
        pick_device(device)
    refuse_unwritable(plot)
    notes = terminal(stderr=True)
    experiment = EXPERIMENTS[name]
    result = _call(experiment, values(options, PlotOutput, experiment, notes), options.max_hours)
    if plot is not None:
        from adana.theory import plots

        draw(plots.figure(result), plot, notes)
    _show(result, options.json)
    return 0


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
