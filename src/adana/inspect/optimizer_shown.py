"""A run's optimizer as a table, as sentences and as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adana.inspect.optimizer import Kind, OptimizerState
from adana.tables import Column, Table, tabulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLUMNS", "PANELS", "columns_of", "draw", "figure", "kinds_of", "panels_of", "sentences", "tables"]

PANELS = {
    "memory_steps": "memory, steps",
    "alpha": "alpha, by the schedule",
    "effective_alpha": "alpha after clipping (dashed: before)",
    "clipped": "share clipped",
    "mfac": "mfac",
    "momentum_norm": "momentum norm",
    "tau": "tau, median and 10 to 90 %",
}
"""What is drawn, by the attribute of :class:`~adana.inspect.optimizer.Kind`, with its title."""

COLUMNS: tuple[Column[Kind], ...] = (
    Column("kind", lambda kind: kind.kind, words=True),
    Column("memory", lambda kind: kind.memory_steps, ".4g", unit="steps"),
    Column("memory", lambda kind: kind.memory_tokens, "count", unit="tokens"),
    Column("alpha", lambda kind: kind.alpha, ".3g"),
    Column("alpha after clipping", lambda kind: kind.effective_alpha, ".3g"),
    Column("clipped", lambda kind: kind.clipped, ".1%"),
    Column("mfac", lambda kind: kind.mfac, ".3g"),
    Column("momentum norm", lambda kind: kind.momentum_norm, ".3g"),
    Column("tau, 10 %", lambda kind: kind.tau and kind.tau[1], ".3g"),
    Column("tau, median", lambda kind: kind.tau and kind.tau[2], ".3g"),
    Column("tau, 90 %", lambda kind: kind.tau and kind.tau[3], ".3g"),
)


def columns_of(kinds: Sequence[Kind]) -> list[Column[Kind]]:
    """The columns in which any of the kinds has something."""
    return [column for column in COLUMNS if any(column.value(kind) is not None for kind in kinds)]


def tables(result: OptimizerState) -> list[Table]:
    """One row per kind of parameter, at the last step."""
    last = result.snapshots[-1]
    caption = f"{result.run}: {result.optimizer} after step {last.step:,} of {result.total_steps:,}"
    return [tabulate("optimizer", caption, last.kinds, columns_of(last.kinds))]


def sentences(result: OptimizerState) -> list[str]:
    """What to know before the table is believed."""
    steps = [snapshot.step for snapshot in result.snapshots]
    said = [f"{len(steps)} snapshots, steps {steps[0]:,} to {steps[-1]:,}."]
    if len(steps) == 1:
        said.append("For the whole run, train with --diagnostics-every 100.")
    return said


def kinds_of(result: OptimizerState) -> list[str]:
    """The kinds of parameter that it has."""
    return list(dict.fromkeys(kind.kind for snapshot in result.snapshots for kind in snapshot.kinds))


def panels_of(result: OptimizerState) -> dict[str, str]:
    """Those of :data:`PANELS` that there is something to draw of; alpha once, where it is clipped with what is left."""
    shown = {name: title for name, title in PANELS.items() if any(_series(result, name, k) for k in kinds_of(result))}
    if "effective_alpha" in shown:
        del shown["alpha"]
    return shown


def draw(axes: Any, result: OptimizerState, name: str, colours: Mapping[str, str]) -> None:
    """One panel over steps on matplotlib axes, a line for each kind of parameter.

    Args:
        axes: to draw on.
        result: what was found.
        name: one of :func:`panels_of`.
        colours: by kind.
    """
    for kind, colour in colours.items():
        points = _series(result, name, kind)
        steps = [step for step, _ in points]
        if name == "tau":
            levels = np.array([values for _, values in points]).reshape(-1, len(result.quantiles))
            axes.fill_between(steps, levels[:, 1], levels[:, 3], color=colour, alpha=0.2, linewidth=0)
            axes.plot(steps, levels[:, 2], ".-", color=colour, label=kind)
        elif points:
            axes.plot(steps, [value for _, value in points], ".-", color=colour, label=kind)
        if name == "effective_alpha" and points:
            before = _series(result, "alpha", kind)
            axes.plot([step for step, _ in before], [value for _, value in before], color=colour, linestyle=(0, (4, 2)))
    axes.set(xlabel="step")
    if name not in ("clipped", "tau"):
        axes.set_yscale("log")
    if name == "memory_steps":
        each = result.tokens_per_step
        tokens = axes.secondary_yaxis("right", functions=(lambda steps: steps * each, lambda tokens: tokens / each))
        tokens.set_ylabel("tokens")


def _series(result: OptimizerState, name: str, kind: str) -> list[tuple[int, Any]]:
    return [
        (snapshot.step, getattr(one, name))
        for snapshot in result.snapshots
        for one in snapshot.kinds
        if one.kind == kind and getattr(one, name) is not None
    ]


def figure(result: OptimizerState) -> Figure:
    """Each number over steps, a line for each kind of parameter; of tau the median with its 10 to 90 %."""
    from matplotlib.figure import Figure

    from adana.drawing import COLOURS

    colours = dict(zip(kinds_of(result), COLOURS))
    shown = panels_of(result)
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    drawn = Figure(figsize=(3.4 * columns, 2.7 * rows), layout="constrained")
    all_axes = drawn.subplots(rows, columns, squeeze=False).flatten()
    for axes in all_axes[len(shown) :]:
        axes.set_visible(False)
    for axes, (name, title) in zip(all_axes, shown.items()):
        draw(axes, result, name, colours)
        axes.set_title(title, fontsize=10)
    all_axes[0].legend(frameon=False, fontsize=8)
    return drawn
