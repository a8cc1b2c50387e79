"""The race's page: curves, the baseline's line, the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from adana.lab.race_result import race_notes, race_table
from adana.report.page import Key, keys, render, svg, write

__all__ = ["write_race_page"]


def write_race_page(result: Mapping[str, Any], path: Path) -> None:
    """Write the page of a race, whole or not at all.

    Args:
        result: what ``adana race --json`` prints.
        path: the HTML file.
    """
    order = [row["optimizer"] for row in result["rows"]]
    shown = keys(sorted(order))
    longer = dict.fromkeys(
        (c["optimizer"], c["horizon"]) for c in result["curves"] if c["points"] and c["horizon"] != 1
    )
    dashed = [replace(shown[name], name=f"{name}, {horizon:g} x budget", dashed=True) for name, horizon in longer]
    losses = "; ".join(
        f"{row['optimizer']} {'diverged' if row['loss'] is None else format(row['loss'], '.3f')}"
        for row in result["rows"]
    )
    page = render(
        "race.html",
        result=result,
        table=race_table(result),
        notes=race_notes(result),
        curve_keys=[*(shown[name] for name in order), *dashed],
        crossing_keys=[shown[name] for name in order],
        curves=svg(
            partial(_curves, result=result, order=order, shown=shown),
            id="curves",
            title="Validation loss along each run",
            description=f"Validation loss over steps. Final losses: {losses}.",
        ),
        crossing=svg(
            partial(_crossing, result=result, shown=shown),
            id="crossing",
            title="Final loss against compute, with the baseline's line",
            description=f"Final loss over compute in multiples of the budget. Final losses: {losses}.",
        ),
    )
    write(page, path)


def _curves(axes: Any, result: Mapping[str, Any], order: list[str], shown: Mapping[str, Key]) -> None:
    finals = [row["loss"] for row in result["rows"] if row["loss"] is not None]
    points = [loss for curve in result["curves"] for _, loss in curve["points"]]
    for curve in sorted(result["curves"], key=lambda c: (order.index(c["optimizer"]), c["horizon"], c["seed"])):
        if not curve["points"]:
            continue
        longer = curve["horizon"] != 1.0
        steps, losses = zip(*curve["points"])
        axes.plot(
            steps,
            losses,
            color=shown[curve["optimizer"]].colour,
            linestyle="--" if longer else "-",
            marker="." if not longer else None,
            alpha=0.85,
        )
    if finals and points:
        low, high = min(points), max(finals)
        axes.set_ylim(low - 0.15 * (high - low) - 0.02, high + max(0.5, 2 * (high - low)))
    axes.set_xlabel("step")
    axes.set_ylabel("validation loss (nats per byte)")


def _crossing(axes: Any, result: Mapping[str, Any], shown: Mapping[str, Key]) -> None:
    baseline = result["baseline"]
    line = []
    for horizon, losses in zip(result["horizons"], result["baseline_losses"]):
        finished = [x for x in losses if x is not None]
        if finished:
            line.append((horizon, sum(finished) / len(finished)))
            axes.plot([horizon] * len(finished), finished, ".", color=shown[baseline].colour, alpha=0.5)
    if line:
        axes.plot(*zip(*line), color=shown[baseline].colour, marker=shown[baseline].marker)
    for row in result["rows"]:
        name, loss = row["optimizer"], row["loss"]
        if name == baseline or loss is None:
            continue
        key = shown[name]
        axes.plot([1.0], [loss], key.marker, color=key.colour)
        if row["multiplier"] is not None:
            style = ":" if row["extrapolated"] else "-"
            axes.plot([1.0, row["multiplier"]], [loss, loss], style, color=key.colour, linewidth=1.2)
            axes.plot([row["multiplier"]], [loss], "|", color=key.colour, markersize=12)
    axes.set_xlabel("compute, in multiples of the budget")
    axes.set_ylabel("final validation loss")
