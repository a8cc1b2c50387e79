"""The race's page: curves, the baseline's line, the table."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

__all__ = ["write_race_page"]

# Okabe and Ito's colours, told apart under every common colour-vision deficiency, then greys.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7b4ea3", "#6b7280")


def write_race_page(result: Mapping[str, Any], path: Path) -> None:
    """Write the page of a race, whole or not at all.

    Args:
        result: what ``adana race --json`` prints.
        path: the HTML file.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: resources.files("adana.report").joinpath("templates").joinpath(name).read_text()
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    order = [row["optimizer"] for row in result["rows"]]
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(sorted(order))}
    page = environment.get_template("race.html").render(
        result=result,
        colours=colours,
        curves=_svg(_curves(result, order, colours), "Validation loss along each run"),
        crossing=_svg(_crossing(result, colours), "Final loss against compute, with the baseline's line"),
    )
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)


def _figure() -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _curves(result: Mapping[str, Any], order: list[str], colours: Mapping[str, str]) -> Figure:
    figure, axes = _figure()
    named = set()
    finals = [row["loss"] for row in result["rows"] if row["loss"] is not None]
    points = [loss for curve in result["curves"] for _, loss in curve["points"]]
    for curve in sorted(result["curves"], key=lambda c: (order.index(c["optimizer"]), c["horizon"], c["seed"])):
        if not curve["points"]:
            continue
        name, longer = curve["optimizer"], curve["horizon"] != 1.0
        label = name if not longer else f"{name}, {curve['horizon']:g} x budget"
        steps, losses = zip(*curve["points"])
        axes.plot(
            steps,
            losses,
            color=colours[name],
            linestyle="--" if longer else "-",
            linewidth=1.4,
            marker="." if not longer else None,
            alpha=0.85,
            label=None if label in named else label,
        )
        named.add(label)
    if finals and points:
        low, high = min(points), max(finals)
        axes.set_ylim(low - 0.15 * (high - low) - 0.02, high + max(0.5, 2 * (high - low)))
    axes.set_xlabel("step")
    axes.set_ylabel("validation loss (nats a byte)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _crossing(result: Mapping[str, Any], colours: Mapping[str, str]) -> Figure:
    figure, axes = _figure()
    baseline = result["baseline"]
    line = []
    for horizon, losses in zip(result["horizons"], result["baseline_losses"]):
        finished = [x for x in losses if x is not None]
        if finished:
            line.append((horizon, sum(finished) / len(finished)))
            axes.plot([horizon] * len(finished), finished, ".", color=colours[baseline], alpha=0.5)
    if line:
        axes.plot(*zip(*line), "o-", color=colours[baseline], label=f"{baseline}, trained to each end", linewidth=1.6)
    for row in result["rows"]:
        name, loss = row["optimizer"], row["loss"]
        if name == baseline or loss is None:
            continue
        axes.plot([1.0], [loss], "o", color=colours[name], label=name)
        if row["multiplier"] is not None:
            style = ":" if row["extrapolated"] else "-"
            axes.plot([1.0, row["multiplier"]], [loss, loss], style, color=colours[name], linewidth=1.2)
            axes.plot([row["multiplier"]], [loss], "|", color=colours[name], markersize=12)
    axes.set_xlabel("compute, in multiples of the budget (dotted: extrapolated)")
    axes.set_ylabel("final validation loss")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _svg(figure: Figure, label: str) -> Markup:
    """A figure as inline SVG that takes the page's text colour, for light and dark alike."""
    buffer = io.StringIO()
    # Text as text, which the page colours and readers can select; a fixed salt makes equal pages of equal races.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "adana"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"#000000|#262626", "currentColor", svg)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return Markup(svg)  # made by matplotlib from numbers and optimizer names, which it escapes
