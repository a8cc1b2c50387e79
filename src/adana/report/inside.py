"""The report's section on what went on inside the optimizers, from what runs logged of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from adana.inspect.optimizer import Kind, OptimizerState, logged
from adana.inspect.optimizer_shown import columns_of, draw, kinds_of, panels_of
from adana.report.findings import Entry, Findings
from adana.report.page import Figure, Panel, Section, keys, link
from adana.report.wording import Absent, legend, many, panel
from adana.tables import Cell, Column, tabulate

__all__ = ["inside"]

MOST_RUNS = 6
"""Runs drawn, the best of each optimizer first; the numbers of all are in the table."""

Row = tuple[Entry, int, Kind]


def inside(found: Findings, out: Path, remade: str) -> Section:
    """Memory, momentum, clipping and tau over steps, of the runs that logged them (Figures 36 and 37)."""
    best = {id(entry) for group in found.best for entry in group.entries}
    ordered = sorted((entry for entry in found.entries if entry.result is not None), key=lambda it: id(it) not in best)
    states: list[tuple[Entry, OptimizerState]] = []
    notes = []
    for entry in ordered:
        try:
            state = logged(entry.path)
        except (OSError, ValueError) as error:
            notes.append(f"Not read: {error}.")
            continue
        if state is not None:
            states.append((entry, state))
    if not states:
        raise Absent("no run here logged its optimizer; adana train --diagnostics-every 100 does")
    shown = keys(kind for _, state in states for kind in kinds_of(state))
    panels: list[Panel] = []
    for entry, state in states[:MOST_RUNS]:
        name = f"{entry.run.label}, {entry.path.name}" if len(states) > 1 else entry.run.label
        colours = {kind: shown[kind].colour for kind in kinds_of(state)}
        for which, title in panels_of(state).items():
            what = f"{title[:1].upper()}{title[1:]} of {name} over {state.total_steps:,} steps, by kind of parameter."
            drawn = partial(draw, result=state, name=which, colours=colours)
            panels.append(panel(f"inside-{len(panels)}", f"{name}: {title}", what, drawn))
    hidden = len(states) - MOST_RUNS
    if hidden > 0:
        notes.append(f"{many(hidden, 'more run')} in the numbers below, not drawn.")
    rows = [(entry, state.snapshots[-1].step, kind) for entry, state in states for kind in state.snapshots[-1].kinds]
    columns: list[Column[Row]] = [
        Column("optimizer", lambda row: row[0].run.label, words=True),
        Column("folder", lambda row: Cell(row[0].path.name, href=link(row[0].path, out)), words=True),
        Column("step", lambda row: row[1]),
        *map(_of_row, columns_of([kind for _, _, kind in rows])),
    ]
    numbers = tabulate("inside-numbers", "the last line that each run logged, by kind of parameter", rows, columns)
    caption = (
        "What runs logged of their optimizers (the paper's Figures 36 and 37): memory 1/(1 - beta) of the momentum in "
        "steps and tokens; its weight alpha by the schedule (dashed) and after clipping, alpha_fac/mfac; the share of "
        "entries that are clipped; mfac, the mean of |m|/(sqrt(v) + eps); the norm of the momentum; and tau, how often "
        "an entry has a gradient. Only what an optimizer has is drawn."
    )
    kinds = legend(shown, (kind for _, state in states[:MOST_RUNS] for kind in kinds_of(state)))
    figure = Figure("inside-figure", caption, tuple(panels), numbers, remade, kinds)
    return Section("inside", "Inside the optimizer", (), tuple(notes), (figure,))


def _of_row(column: Column[Kind]) -> Column[Row]:
    return Column(column.heading, lambda row: column.value(row[2]), column.form, column.unit, column.none, column.words)
