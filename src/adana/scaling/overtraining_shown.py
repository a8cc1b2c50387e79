"""Token multipliers over the overtraining axis, in tables and sentences."""

from __future__ import annotations

from adana.scaling.fits.overtraining import Overtraining
from adana.scaling.shown import Shown
from adana.tables import Cell, Column, tabulate

__all__ = ["overtraining_shown"]

FEW_TIMES = 4.0
"""Span of f from which on an exponent says something."""


def overtraining_shown(fit: Overtraining) -> Shown:
    """Multipliers at each size and f, the exponent of every optimizer, and what it rests on."""

    def starred(value: float | None, star: bool | None) -> Cell | None:
        return None if value is None else Cell(f"{value:.3f}{'*' if star else ''}", value)

    rows = [(law.label, row) for law in fit.laws for row in law.rows]
    tables = (
        tabulate(
            "overtraining-exponents",
            f"{fit.formula}, L_A of {fit.baseline}; p above 1: the advantage grows with training. With 95 % intervals.",
            fit.laws,
            [
                Column("optimizer", lambda law: law.label, words=True),
                Column("p", lambda law: law.exponent, ".3f"),
                Column("p, 95 %", lambda law: law.interval, ".3f"),
                Column("points", lambda law: law.points),
                Column("f spans", lambda law: law.span, ".3g"),
            ],
        ),
        tabulate(
            "overtraining-multipliers",
            f"Tokens that {fit.baseline} would need for the same loss, over the tokens used (Section C.2.1). "
            "*: extrapolated.",
            rows,
            [
                Column("optimizer", lambda it: it[0], words=True),
                Column("N", lambda it: it[1].n, "count"),
                Column("f", lambda it: it[1].f, ".3g"),
                Column("loss", lambda it: it[1].loss, ".4f"),
                Column("m(f)", lambda it: starred(it[1].multiplier, it[1].extrapolated)),
                Column("95 %", lambda it: it[1].interval, ".3f"),
                Column("joined in log", lambda it: starred(it[1].joined_in_log, it[1].extrapolated)),
            ],
        ),
    )
    warnings = []
    for law in fit.laws:
        if law.exponent is None:
            warnings.append(
                f"{law.label}: no size has two losses inside those of {fit.baseline}: no exponent can be fitted"
            )
        elif law.points < 3 or law.span < FEW_TIMES:
            warnings.append(
                f"{law.label}: f spans too little for an exponent: {law.points} points over a factor of {law.span:.3g} "
                f"(three over a factor of {FEW_TIMES:g} say something)"
            )
        if law.exponent is not None and law.interval is None:
            warnings.append(f"{law.label}: no interval of p: two points and one seed; --seed-noise gives a noise")
    remarks = ["Extrapolated multipliers do not count for p."]
    if fit.noise is None:
        remarks.append("No noise of a run is known: intervals of p are from the points' distance to its line alone.")
    else:
        remarks.append(f"Intervals from a noise of {fit.noise:.2g} nats per run.")
    return Shown(tables, tuple(warnings), tuple(remarks))
