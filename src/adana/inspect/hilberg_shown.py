"""The Hilberg exponent as a table, as sentences and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adana.inspect.compression import COMPRESSORS
from adana.inspect.hilberg import Curve, Fit, Hilberg
from adana.scaling.intervals import Interval
from adana.tables import Column, Table, tabulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "sentences", "tables"]


def tables(result: Hilberg) -> list[Table]:
    """One row per compressor and law."""
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
        Column("range of n", lambda row: f"{row[0].lengths[0]:,} to {row[0].lengths[-1]:,} {_unit(row[0])}"),
    ]
    caption = f"{', '.join(result.texts)}: {result.bytes:,} bytes" if result.texts else "the run's held-out text"
    return [tabulate("hilberg", caption, rows, columns)]


def _unit(curve: Curve) -> str:
    return "bytes" if curve.compressor in COMPRESSORS else "tokens"


def sentences(result: Hilberg) -> list[str]:
    """What to know before the table is believed."""
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


def figure(result: Hilberg) -> Figure:
    """Code length per byte over the length of the text, with the fit of the mean over starts."""
    from matplotlib.figure import Figure

    from adana.drawing import COLOURS

    drawn = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = drawn.subplots()
    for colour, curve in zip(COLOURS, result.curves):
        for one in curve.rates:
            axes.plot(curve.lengths, one, ".", color=colour, markersize=4, alpha=0.5)
        fit = curve.fits[0]
        n = np.geomspace(curve.lengths[0], curve.lengths[-1], 200)
        beta = "not known" if fit.at_edge else f"{fit.exponent:.2f}"
        label = f"{curve.compressor}: Hilberg exponent {beta}"
        axes.plot(n, fit.rate * np.exp(fit.scale * n ** (fit.exponent - 1)), color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="bytes of text, or tokens of the run's context", ylabel="bits per byte")
    axes.legend(frameon=False)
    return drawn
