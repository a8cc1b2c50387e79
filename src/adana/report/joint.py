"""The report's sections of laws over size, tokens and batch: each with a figure and its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from adana.report import joint_drawings as drawings
from adana.report.findings import Findings, Fitted
from adana.report.laws import sentences
from adana.report.page import Figure, Key, Panel, Section
from adana.report.wording import Absent, legend, panel
from adana.scaling.fits import SizeTokensLaws
from adana.scaling.overtraining_shown import overtraining_shown
from adana.scaling.rate_batch_shown import rate_batch_shown
from adana.scaling.size_tokens_shown import size_tokens_shown
from adana.tables import Column, Table, count, tabulate

__all__ = ["overtraining", "rate_batch", "size_tokens"]

Keys = Mapping[str, Key]


def size_tokens(found: Findings, shown: Keys) -> Section:
    """Loss over size and tokens: contours of each law with its runs and the best size for a budget."""
    fitted = {
        label: one for label, one in found.size_tokens.items() if one.fit is not None and one.fit.varies == "both"
    }
    if not fitted:
        raise Absent(_why(found.size_tokens, "tokens follow size, or are of one number, so that only one law is left"))
    figures, tables, notes = [], [], []
    for k, (label, one) in enumerate(fitted.items()):
        fit = one.fit
        assert isinstance(fit, SizeTokensLaws)
        law = fit.laws[0].law
        low, high = (law.optimum(6 * point.n * point.tokens) for point in _ends(fit))
        what = (
            f"Contours of the loss over parameters and tokens by {fit.formula}, with {len(fit.points)} runs. The best "
            f"size goes from {count(low[0])} parameters and {count(low[1])} tokens to {count(high[0])} and "
            f"{count(high[1])}."
        )
        numbers = tabulate(
            f"tokens-numbers-{k}",
            "losses over size and tokens, and how far from the law",
            fit.points,
            [
                Column("optimizer", lambda point: point.label, words=True),
                Column("N", lambda point: point.n, "count"),
                Column("D", lambda point: point.tokens, "count"),
                Column("loss", lambda point: point.loss, ".4f"),
                Column("loss / law - 1", lambda point: point.residual, "+.2%"),
            ],
        )
        caption = (
            f"{label}: loss by {fit.formula}. Points: the runs, darker where the loss is lower. Line: the size with "
            "the least loss for its compute, dashed beyond the runs, up to ten times their compute; band: 95 % of the "
            "bootstrap, as wide as hold-outs say."
        )
        drawn = panel(f"tokens-{k}", label, what, partial(drawings.contours, fit=fit, key=shown[label]))
        figures.append(Figure(f"tokens-figure-{k}", caption, (drawn,), numbers, one.command))
        said = size_tokens_shown(fit)
        tables += _apart(said.tables, k)
        notes += [f"{label}: {line}" for line in sentences(said)]
    return Section("tokens", "Loss over size and tokens", (), tuple(notes), tuple(figures), tuple(tables))


def rate_batch(found: Findings, shown: Keys) -> Section:
    """The best learning rate over size and tokens, with its cells, and the best batch over tokens."""
    fit = found.rate_batch.fit
    if fit is None:
        raise Absent(found.rate_batch.refused)
    laws = [law for law in fit.laws if {"D", "B"} & set(law.lr.exponents)]
    if not laws:
        raise Absent("the runs have one batch, and tokens follow size: the law over size alone says it all")
    panels: list[Panel] = []
    for k, law in enumerate(laws):
        inside = [one for one in law.rates if one.side == "inside"]
        what = f"Best learning rates of {len(law.rates)} cells over size and tokens. {law.lr.text('lr*')}."
        if inside:
            best = f" From {min(one.value for one in inside):.3g} to {max(one.value for one in inside):.3g}."
            what += best
        panels.append(
            panel(f"rate-batch-{k}", law.label, what, partial(drawings.rates_over_both, law=law, key=shown[law.label]))
        )
        if law.batch is not None:
            what = f"Best tokens per step over tokens. {law.batch.text('B*')}."
            draw = partial(drawings.batches, law=law, key=shown[law.label])
            panels.append(panel(f"best-batch-{k}", f"{law.label}, batch", what, draw))
    said = rate_batch_shown(fit)
    first, numbers, *rest = said.tables
    caption = (
        "Cells of size and tokens, each with its best learning rate (of several batches, at the one with the least "
        "loss); lines: the law at the batch of the middle cell. Hollow: the best is at the edge of its grid: a bound."
    )
    if any(law.batch is not None for law in laws):
        caption += " Beside it: the best tokens per step over tokens, with the law and its 95 % band."
    labels = [law.label for law in laws]
    figure = Figure(
        "rate-batch-figure", caption, tuple(panels), numbers, found.rate_batch.command, legend(shown, labels)
    )
    heading = "Learning rate over size, tokens and batch"
    return Section("rate-batch", heading, (), tuple(sentences(said)), (figure,), (first, *rest))


def overtraining(found: Findings, shown: Keys) -> Section:
    """The equivalent-token multiplier over the overtraining axis."""
    fit = found.overtraining.fit
    if fit is None:
        raise Absent(found.overtraining.refused)
    panels = []
    for k, law in enumerate(fit.laws):
        known = [row for row in law.rows if row.joined_in_log is not None]
        described = " ".join(f"{row.joined_in_log:.3f} at f {row.f:.3g}." for row in known)
        p = "" if law.exponent is None else f" p is {law.exponent:.3f}."
        what = f"Equivalent tokens of {law.label} over those of {fit.baseline}, over f. {described}{p}"
        draw = partial(drawings.token_multipliers, law=law, key=shown[law.label])
        panels.append(panel(f"overtraining-{k}", law.label, what, draw))
    said = overtraining_shown(fit)
    first, numbers = said.tables
    caption = (
        f"m(f): the tokens that {fit.baseline} would need for the same loss, over the tokens used; f is tokens over 20 "
        "parameters. Points: losses joined by lines straight in log tokens; hollow: extrapolated; bars: 95 % of the "
        "noise of a run. Lines: c f^(p - 1), a c for each size; band: the interval of p around the middle point."
    )
    labels = [law.label for law in fit.laws]
    figure = Figure(
        "overtraining-figure", caption, tuple(panels), numbers, found.overtraining.command, legend(shown, labels)
    )
    return Section("overtraining", "The overtraining axis", (), tuple(sentences(said)), (figure,), (first,))


def _why(tried: Mapping[str, Fitted[SizeTokensLaws]], otherwise: str) -> str:
    refused = [one.refused for one in tried.values() if one.fit is None]
    return refused[0] if refused and len(refused) == len(tried) else otherwise


def _ends(fit: SizeTokensLaws) -> tuple[drawings.Point, drawings.Point]:
    ordered = sorted(fit.points, key=lambda point: point.n * point.tokens)
    return ordered[0], ordered[-1]


def _apart(tables: tuple[Table, ...], k: int) -> list[Table]:
    """Tables of one of several laws: an id stands on a page once."""
    from dataclasses import replace

    return [replace(table, id=f"{table.id}-{k}") for table in tables]
