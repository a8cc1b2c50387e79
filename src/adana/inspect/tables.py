"""What was looked at, as a table and sentences for a terminal or a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adana.inspect.hilberg import Curve, Fit, Hilberg
from adana.inspect.optimizer import Kind, OptimizerState
from adana.scaling.intervals import Interval
from adana.tables import Column, Table, tabulate

__all__ = ["sentences", "table"]


def table(result: Hilberg | OptimizerState) -> Table:
    """One row per law, or per kind of parameter at the last step."""
    return _hilberg(result) if isinstance(result, Hilberg) else _optimizer(result)


def _hilberg(result: Hilberg) -> Table:
    rows = [(curve, *one) for curve in result.curves for one in zip(curve.fits, curve.intervals)]

    def span(row: tuple[Curve, Fit, Interval | None]) -> str | None:
        return None if row[2] is None else f"{row[2].low:.3f} to {row[2].high:.3f}"

    columns: list[Column[tuple[Curve, Fit, Interval | None]]] = [
        Column("compressor", lambda row: row[0].compressor, words=True),
        Column("law", lambda row: row[1].form, words=True),
        Column("Hilberg exponent", lambda row: "at an edge" if row[1].at_edge else f"{row[1].exponent:.3f}"),
        Column("95 % over starts", span),
        Column("limit", lambda row: row[1].rate, ".4f", unit="bits per byte"),
        Column("misfit", lambda row: row[1].misfit, ".2%"),
        Column("bytes", lambda row: f"{row[0].lengths[0]:,} to {row[0].lengths[-1]:,}"),
    ]
    return tabulate("hilberg", f"{', '.join(result.texts)}: {result.bytes:,} bytes", rows, columns)


def _optimizer(result: OptimizerState) -> Table:
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
    return tabulate("optimizer", caption, last.kinds, [column for column in columns if not empty(column)])


def sentences(result: Hilberg | OptimizerState) -> list[str]:
    """What to know before the table is believed."""
    return _on_hilberg(result) if isinstance(result, Hilberg) else _on_optimizer(result)


def _on_hilberg(result: Hilberg) -> list[str]:
    said: list[Any] = []
    for curve in result.curves:
        stretched, power = curve.fits
        if stretched.at_edge or power.at_edge:
            said.append(
                f"{curve.compressor}: a fit ends at the edge of what is searched: this text and this compressor do not "
                "tell the exponent"
            )
            continue
        said.append(
            f"{curve.compressor}: by the paper's argument kappa >= {stretched.exponent:.2f} (the two laws say "
            f"{stretched.exponent:.2f} and {power.exponent:.2f}; which one holds is not known)"
        )
    said.append(
        "Compare texts with it, and do not set kappa by it: on texts of exponent 0.5, 0.7 and 0.88 PPM gives 0.52, "
        "0.61 and 0.70 (docs/inspect.md)."
    )
    return said


def _on_optimizer(result: OptimizerState) -> list[str]:
    steps = [snapshot.step for snapshot in result.snapshots]
    said = [f"{len(steps)} snapshots, steps {steps[0]:,} to {steps[-1]:,}."]
    if len(steps) == 1:
        said.append("For the whole run, train with --diagnostics-every 100.")
    return said
