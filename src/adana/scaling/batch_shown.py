"""What a batch changes at equal tokens, in tables and sentences."""

from __future__ import annotations

from adana.scaling.damping import BATCH_EXPONENT
from adana.scaling.fits.batch import BatchLaws
from adana.scaling.shown import Shown
from adana.tables import Cell, Column, tabulate

__all__ = ["batch_shown"]


def batch_shown(fit: BatchLaws) -> Shown:
    """Every cell of size, tokens and batch, and the exponent of alpha~ over the batch."""

    def starred(value: float | None, star: bool | None, digits: str) -> Cell | None:
        return None if value is None else Cell(f"{value:{digits}}{'*' if star else ''}", value)

    rows = [(law.label, row) for law in fit.laws for row in law.rows]
    worth = (
        f"; m: tokens that {fit.baseline} would need for the same loss at this batch, over D" if fit.baseline else ""
    )
    table = tabulate(
        "batch-cells",
        f"At equal tokens D, over tokens per step B: the best alpha~{worth}. *: at the edge, or extrapolated.",
        rows,
        [
            Column("optimizer", lambda it: it[0], words=True),
            Column("N", lambda it: it[1].n, "count"),
            Column("D", lambda it: it[1].tokens, "count"),
            Column("B", lambda it: it[1].batch_tokens, ",.0f"),
            Column("loss", lambda it: it[1].loss, ".4f"),
            Column("alpha~", lambda it: starred(it[1].damping_scale, it[1].bracketed is False, ".3g")),
            Column("m", lambda it: starred(it[1].multiplier, it[1].extrapolated, ".3f")),
            Column("m, 95 %", lambda it: it[1].interval, ".3f"),
        ],
    )
    remarks = []
    for law in fit.laws:
        if law.exponent is not None:
            band = "" if law.interval is None else f" ({law.interval.low:.3f} to {law.interval.high:.3f})"
            remarks.append(
                f"{law.label}: alpha~ = k B^{law.exponent:.3f}{band} at equal tokens; the paper has "
                f"{BATCH_EXPONENT:g} (H.1)."
            )
    warnings = []
    if not fit.baseline:
        warnings.append("no baseline among these runs: name one with --baseline to see multipliers")
    elif not any(row.multiplier is not None for _, row in rows):
        warnings.append(f"no multiplier: {fit.baseline} has two numbers of tokens at no size and batch")
    if not remarks:
        warnings.append("no exponent of alpha~: three values of damping_scale at two batches of one size and D tell it")
    return Shown((table,), tuple(warnings), tuple(remarks))
