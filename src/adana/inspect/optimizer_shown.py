"""A run's optimizer as a table, as sentences and as a figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from adana.inspect.optimizer import Kind, OptimizerState
from adana.tables import Column, Table, tabulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "sentences", "tables"]

PANELS = (
    ("memory_steps", "memory, steps"),
    ("alpha", "alpha, by the schedule"),
    ("momentum_norm", "momentum norm"),
    ("mfac", "mfac"),
    ("effective_alpha", "alpha after clipping"),
    ("clipped", "share clipped"),
)


def tables(result: OptimizerState) -> list[Table]:
    """One row per kind of parameter, at the last step."""
    last = result.snapshots[-1]
    columns: list[Column[Kind]] = [
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
    ]
    empty: Callable[[Column[Kind]], bool] = lambda column: all(column.value(kind) is None for kind in last.kinds)  # noqa: E731
    caption = f"{result.run}: {result.optimizer} after step {last.step:,} of {result.total_steps:,}"
    return [tabulate("optimizer", caption, last.kinds, [column for column in columns if not empty(column)])]


def sentences(result: OptimizerState) -> list[str]:
    """What to know before the table is believed."""
    steps = [snapshot.step for snapshot in result.snapshots]
    said = [f"{len(steps)} snapshots, steps {steps[0]:,} to {steps[-1]:,}."]
    if len(steps) == 1:
        said.append("For the whole run, train with --diagnostics-every 100.")
    return said


def figure(result: OptimizerState) -> Figure:
    """Each number over steps, a line for each kind of parameter; of tau the median with its 10 to 90 %."""
    from matplotlib.figure import Figure

    from adana.drawing import COLOURS

    kinds = list(dict.fromkeys(kind.kind for snapshot in result.snapshots for kind in snapshot.kinds))
    colours = dict(zip(kinds, COLOURS))
    series = {
        (name, kind): [
            (snapshot.step, getattr(one, name))
            for snapshot in result.snapshots
            for one in snapshot.kinds
            if one.kind == kind and getattr(one, name) is not None
        ]
        for name in (*(name for name, _ in PANELS), "tau")
        for kind in kinds
    }
    shown = [(name, title) for name, title in (*PANELS, ("tau", "tau")) if any(series[name, kind] for kind in kinds)]
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    drawn = Figure(figsize=(3.4 * columns, 2.7 * rows), layout="constrained")
    all_axes = drawn.subplots(rows, columns, squeeze=False).flatten()
    for axes in all_axes[len(shown) :]:
        axes.set_visible(False)
    for axes, (name, title) in zip(all_axes, shown):
        for kind in kinds:
            points = series[name, kind]
            steps = [step for step, _ in points]
            if name == "tau":
                levels = np.array([values for _, values in points]).reshape(-1, len(result.quantiles))
                axes.fill_between(steps, levels[:, 1], levels[:, 3], color=colours[kind], alpha=0.2, linewidth=0)
                axes.plot(steps, levels[:, 2], ".-", color=colours[kind], label=kind)
            elif points:
                axes.plot(steps, [value for _, value in points], ".-", color=colours[kind], label=kind)
        axes.set(title=title, xlabel="step")
        if name not in ("clipped", "tau"):
            axes.set_yscale("log")
    all_axes[0].legend(frameon=False, fontsize=8)
    return drawn
