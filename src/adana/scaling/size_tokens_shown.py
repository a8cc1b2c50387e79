"""A law over size and tokens, in tables and sentences."""

from __future__ import annotations

from adana.scaling.fits.size_tokens import Extremes, OptimizerSizeTokens, SizeTokensLaws
from adana.scaling.shown import Shown
from adana.tables import Cell, Column, span, tabulate

__all__ = ["size_tokens_shown"]

NAMES = {"e": "E", "a": "A", "alpha": "alpha", "b": "B", "beta": "beta"}


def size_tokens_shown(fit: SizeTokensLaws) -> Shown:
    """Laws over size and tokens: their numbers, best sizes, IsoFLOP parabolas, and what they are worth."""

    def banded(law: OptimizerSizeTokens, name: str) -> Cell:
        found = law.intervals[name]
        return Cell(span(found) + ("" if law.identified[name] else " ?"), found.low)

    columns: list[Column[OptimizerSizeTokens]] = [Column("optimizer", lambda law: law.label, words=True)]
    for name in fit.laws[0].intervals:
        columns += [
            Column(NAMES[name], lambda law, name=name: getattr(law.law, name), ".4g"),  # type: ignore[misc]
            Column(f"{NAMES[name]}, 95 %", lambda law, name=name: banded(law, name)),  # type: ignore[misc]
        ]
    kind = "with both embeddings" if fit.size == "total" else "without embeddings"
    tables = [
        tabulate(
            "tokens-laws",
            f"{fit.formula}, N parameters {kind}, D tokens; with 95 % intervals, {fit.drawn} drawn. ?: not identified.",
            fit.laws,
            columns,
        )
    ]
    optima = [(law, one) for law in fit.laws for one in law.optima]
    if optima:
        tables.append(
            tabulate(
                "tokens-optima",
                "The size and tokens with the least loss for a budget C = 6 N D.",
                optima,
                [
                    Column("optimizer", lambda it: it[0].label, words=True),
                    Column("FLOPs", lambda it: it[1].flops, ".3g"),
                    Column("N", lambda it: it[1].n, "count"),
                    Column("N, 95 %", lambda it: it[1].n_interval, ".3g"),
                    Column("D", lambda it: it[1].tokens, ".3g"),
                    Column("D, 95 %", lambda it: it[1].tokens_interval, ".3g"),
                    Column("D/N", lambda it: it[1].tokens / it[1].n, ".3g"),
                    Column("loss", lambda it: it[1].loss, ".4f"),
                    Column("loss, 95 %", lambda it: it[1].loss_interval, ".4f"),
                ],
            )
        )
    worth = [
        (law.label, what, found)
        for law in fit.laws
        for what, found in (("tokens", law.worth_tokens), ("parameters", law.worth_parameters))
        if found is not None
    ]
    if worth:
        tables.append(
            tabulate(
                "tokens-worth",
                f"The factor in tokens, or in parameters, that an optimizer is worth against {fit.laws[0].label}.",
                worth,
                [
                    Column("optimizer", lambda it: it[0], words=True),
                    Column("in", lambda it: it[1], words=True),
                    Column("factor", lambda it: it[2].factor, ".3f"),
                    Column("95 %", lambda it: it[2].interval, ".3f"),
                ],
            )
        )
    remarks = [
        f"{len(fit.points)} rows; {fit.starts[1]} of {fit.starts[0]} starts agree; 95 % of the losses lie within "
        f"{fit.noise:.2%} of the law."
    ]
    if fit.isoflops is not None:
        iso = fit.isoflops
        tables.append(
            tabulate(
                "tokens-isoflops",
                "The second way: the size where the parabola in log N of each budget is lowest. Off centre: where the "
                "same parabola through the law's own losses is lowest, over the law's best size; 1 is no bias.",
                iso.budgets,
                [
                    Column("FLOPs", lambda it: it.flops, ".3g"),
                    Column("runs", lambda it: it.points),
                    Column("best N", lambda it: it.n, "count"),
                    Column("loss", lambda it: it.loss, ".4f"),
                    Column("off centre", lambda it: it.bias, ".3f"),
                ],
            )
        )
        band = "" if iso.interval is None else f" ({iso.interval.low:.3f} to {iso.interval.high:.3f})"
        remarks.append(f"Best N by parabolas: {iso.factor:.3g} C^{iso.exponent:.3f}{band}.")
    for law in fit.laws[:1]:
        if law.size_exponent is not None:
            low, high = law.size_exponent.low, law.size_exponent.high
            a = law.law.size_exponent
            remarks.append(
                f"Best N by the law: C^{a:.3f} ({low:.3f} to {high:.3f}); best D: C^{1 - a:.3f} ({1 - high:.3f} to "
                f"{1 - low:.3f})."
            )
    if fit.least_squares is not None:
        e, alpha, beta = fit.least_squares
        remarks.append(
            f"Least squares by variable projection, which outliers move more: E {e:.4g}, alpha {alpha:.4g}, beta "
            f"{beta:.4g}."
        )
    if fit.held_out:
        remarks.append(
            f"{fit.covered} of {fit.held_out} losses of the most compute, each predicted from runs with less, lie in "
            f"the law's own interval; intervals of predictions are {fit.widening:.2f} times as wide."
        )
    return Shown(tuple(tables), tuple(_warnings(fit)), tuple(remarks))


def _warnings(fit: SizeTokensLaws) -> list[str]:
    said = []
    if fit.varies == "size":
        said.append(
            "tokens follow size in these runs (fixed tokens per parameter, or one number of tokens), so that alpha and "
            "beta cannot be told apart: the law is in N alone and holds on that line only"
        )
    elif fit.varies == "tokens":
        said.append("all runs have one size: the law is in D alone and holds for that size only")
    for law in fit.laws:
        unknown = [NAMES[name] for name, known in law.identified.items() if not known]
        if unknown:
            said.append(f"{law.label}: {', '.join(unknown)} not identified (?): other values fit nearly as well")
    said += [_extreme(fit, one) for one in fit.extremes]
    if not fit.held_out:
        said.append("too few cells to hold some out: intervals know noise, and not that a law is only a model")
    return said


def _extreme(fit: SizeTokensLaws, one: Extremes) -> str:
    end = "at most" if one.side == "fewest" else "at least"
    now, then = fit.laws[0].law, one.law
    what = "are left out" if one.left_out else "are kept: --without-outliers leaves them out"
    return (
        f"the {len(one.rows)} rows with the {one.side} tokens per parameter ({end} {one.ratio:.3g}) decide the law and "
        f"{what}: {'; '.join(one.rows)}. Without them alpha is {then.alpha:.3f} and beta {then.beta:.3f}"
        + ("" if one.left_out else f", with them {now.alpha:.3f} and {now.beta:.3f}")
    )
