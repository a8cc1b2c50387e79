"""Laws of the learning rate and the batch, in tables and sentences."""

from __future__ import annotations

from adana.scaling.fits.rate_batch import Best, RateBatchLaws
from adana.scaling.shown import Shown
from adana.tables import Column, tabulate

__all__ = ["rate_batch_shown"]


def rate_batch_shown(fit: RateBatchLaws) -> Shown:
    """The laws, and the best of every cell."""
    laws = [
        (law.label, what, found, name, value)
        for law in fit.laws
        for what, found in (("lr*", law.lr), ("lr* at B*", law.at_best_batch), ("B*", law.batch))
        if found is not None
        for name, value in (("factor", found.factor), *found.exponents.items())
    ]
    kind = "with both embeddings" if fit.size == "total" else "without embeddings"

    def value(one: Best) -> str:
        return f"{one.value:.4g}" if one.side == "inside" else f"{one.side} {one.value:.4g}"

    rates = [(law.label, one) for law in fit.laws for one in law.rates]
    batches = [(law.label, one) for law in fit.laws for one in law.batches]
    tables = [
        tabulate(
            "rate-batch-laws",
            f"{fit.formula}: N parameters {kind}, D tokens, B tokens per step; with 95 % intervals.",
            laws,
            [
                Column("optimizer", lambda it: it[0], words=True),
                Column("law", lambda it: it[1], words=True),
                Column("number", lambda it: it[3] if it[3] == "factor" else f"exponent of {it[3]}", words=True),
                Column("value", lambda it: it[4], ".4g"),
                Column("95 %", lambda it: it[2].intervals[it[3]], ".4g"),
            ],
        ),
        tabulate(
            "rate-batch-rates",
            "The best learning rate of every cell; at least, at most: at the edge of its grid, and so a bound.",
            rates,
            [
                Column("optimizer", lambda it: it[0], words=True),
                Column("N", lambda it: it[1].n, "count"),
                Column("D", lambda it: it[1].tokens, "count"),
                Column("B", lambda it: it[1].batch_tokens, ",.0f"),
                Column("lr*", lambda it: value(it[1]), words=True),
                Column("error", lambda it: it[1].error, ".1%"),
                Column("loss", lambda it: it[1].loss, ".4f"),
            ],
        ),
    ]
    if batches:
        tables.append(
            tabulate(
                "rate-batch-batches",
                "The best tokens per step of every size and number of tokens.",
                batches,
                [
                    Column("optimizer", lambda it: it[0], words=True),
                    Column("N", lambda it: it[1].n, "count"),
                    Column("D", lambda it: it[1].tokens, "count"),
                    Column("B*", lambda it: value(it[1]), words=True),
                    Column("error", lambda it: it[1].error, ".1%"),
                    Column("loss", lambda it: it[1].loss, ".4f"),
                ],
            )
        )
    warnings = [f"{law.label}: {said}" for law in fit.laws for said in law.not_fitted]
    remarks = []
    for law in fit.laws:
        remarks.append(f"{law.label}: {law.lr.text('lr*')}; cells lie within a factor of {2.718**law.lr.spread:.2f}.")
        if law.at_best_batch is not None:
            remarks.append(f"{law.label}, at the best batch: {law.at_best_batch.text('lr*')}.")
        if law.batch is not None:
            remarks.append(f"{law.label}: {law.batch.text('B*')} tokens per step.")
        edges = sum(one.side != "inside" for one in law.rates)
        if edges:
            remarks.append(f"{law.label}: {edges} of {len(law.rates)} cells have their best learning rate at an edge.")
    return Shown(tuple(tables), tuple(warnings), tuple(remarks))
