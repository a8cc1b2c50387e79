"""The report's sections of fits: loss over compute, compute multipliers, learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean

from adana.report import drawings
from adana.report.findings import FORMULA, Findings, Sweep
from adana.report.page import Figure, Key, Panel, Section, sequence
from adana.report.wording import (
    Absent,
    legend,
    many,
    panel,
    size_title,
)
from adana.scaling import grouping
from adana.scaling.fits import OptimizerRate
from adana.scaling.presentation import Shown, loss_shown, multipliers_shown, rates_shown
from adana.tables import Column, Table, count, tabulate

__all__ = ["learning_rates", "loss", "multipliers"]

Keys = Mapping[str, Key]


def loss(found: Findings, shown: Keys) -> Section:
    """Final loss over compute, with laws where they could be fitted."""
    fitted, fit = found.loss, found.loss.fit
    groups = grouping.by_label(found.chosen)
    try:
        ladders = {
            name: {pfh: fmean(losses) for pfh, losses in grouping.ladder_of(own, FORMULA).items()}
            for name, own in groups.items()
        }
    except ValueError as error:
        raise Absent(str(error)) from None
    lost = {name: sorted({run.pfh(FORMULA) for run in own} - set(ladders[name])) for name, own in groups.items()}
    ladders = {name: ladder for name, ladder in ladders.items() if ladder}
    if len({pfh for ladder in ladders.values() for pfh in ladder}) < 2:
        raise Absent("no two budgets of compute have a finished run")

    laws = fit.laws if fit is not None else ()
    residuals = {(law.label, row.pfh): row.residual for law in laws for row in law.fit.residuals}
    numbers = tabulate(
        "loss-numbers",
        "final losses, and how far from the law",
        [(name, pfh, value) for name, ladder in ladders.items() for pfh, value in ladder.items()],
        [
            Column("optimizer", lambda it: it[0], words=True),
            Column("PFH", lambda it: it[1]),
            Column("loss", lambda it: it[2], ".4f"),
            Column("loss - law", lambda it: residuals.get(it[:2]), "+.4f"),
        ],
    )
    described = " ".join(
        f"{name}: {max(ladder.values()):.3f} to {min(ladder.values()):.3f} over {many(len(ladder), 'budget')}."
        for name, ladder in ladders.items()
    )
    draw = partial(drawings.losses, ladders=ladders, all_diverged=lost, laws=laws, keys=shown)
    panels = [panel("loss", "Final loss", f"Final loss over petaflop-hours. {described}", draw)]
    caption = f"Each point is the best setting at a budget, C by formula {FORMULA.upper()}."
    notes = [fitted.left_out] if fitted.left_out else []
    tables: list[Table] = []
    if fit is None:
        notes.append(f"No law is fitted, and so no line is drawn: {fitted.refused}.")
    else:
        worst = max((abs(value) for value in residuals.values()), default=0.0)
        draw = partial(drawings.residuals, laws=laws, noise=fit.noise, keys=shown)
        what = f"Loss less the law over petaflop-hours; at most {worst:.4f} nats off."
        panels.append(panel("residuals", "Loss less the law", what, draw))
        caption += (
            f" Lines: {fit.formula} with one a for all, dashed beyond the data; bands: 95 % of the bootstrap. Beside "
            "it: how far each is from its law, shaded to twice the noise of a point."
        )
        said = loss_shown(fit)
        tables = [one for one in said.tables if one.id != "loss-residuals"]  # the figure's own numbers
        notes += sentences(said)
    if any(lost.values()):
        caption += " A cross at the top: every run of that budget diverged."
    figure = Figure("loss-figure", caption, tuple(panels), numbers, fitted.command, legend(shown, groups))
    return Section("loss", "Final loss against compute", (), tuple(notes), (figure,), tuple(tables))


def multipliers(found: Findings, shown: Keys) -> Section:
    """Compute saved against the baseline, and the losses that is read from."""
    fit = found.multiplier.fit
    if fit is None:
        raise Absent(found.multiplier.refused)
    baseline, rows = fit.baseline, fit.rows
    said = multipliers_shown(fit)
    described = " ".join(
        f"{row.label} {row.efficiency:+.0%} at {row.pfh:.3g}{', extrapolated' if row.extrapolated else ''}."
        for row in rows
        if row.efficiency is not None
    )
    measured = [(baseline, one.loss, one.pfh) for one in fit.ladder] + [(row.label, row.loss, row.pfh) for row in rows]
    losses = " ".join(f"{name} {value:.3f} at {pfh:.3g}." for name, value, pfh in measured)
    panels = (
        panel(
            "saved",
            f"Compute saved against {baseline}",
            f"Compute saved in percent over petaflop-hours. {described}",
            partial(drawings.multipliers, rows=rows, keys=shown),
        ),
        panel(
            "joined",
            f"The losses it is read from, {baseline} joined",
            f"Final loss over petaflop-hours, those of {baseline} joined. {losses}",
            partial(drawings.joined, baseline=fit.ladder, rows=rows, name=baseline, keys=shown),
        ),
    )
    caption = (
        f"The two sides of the paper's Figure 1: how much more compute {baseline} would need for the same loss, and "
        f"the losses themselves, those of {baseline} joined by lines that are straight in compute and so bend on this "
        "axis."
    )
    if any(row.extrapolated for row in rows):
        caption += " Dashed: the outer lines, drawn on. Hollow: extrapolated."
    if fit.seed_noise is not None:
        caption += f" Bars: 95 % from a seed noise of {fit.seed_noise:.2g} nats per run, that of these settings."
    labels = [baseline, *(row.label for row in rows)]
    (numbers,) = said.tables
    figure = Figure("multiplier-figure", caption, panels, numbers, found.multiplier.command, legend(shown, labels))
    return Section("multipliers", f"Compute saved against {baseline}", (), tuple(sentences(said)), (figure,))


def learning_rates(found: Findings, shown: Keys, remade: str) -> Section:
    """Sweeps at each size, the best learning rates, and their laws over size."""
    swept = [sweep for sweep in found.sweeps if len(sweep.losses) > 1]
    if not any(run.non_embedding_parameters for run in found.chosen):
        raise Absent("the runs do not say their size; a CSV needs non_embedding_parameters, or arch and heads")
    if not swept:
        raise Absent("at no size did an optimizer run at two learning rates")
    figures = [_sweep_figure(swept, shown, remade)]
    fits = [fitted.fit for fitted in found.learning_rates.values() if fitted.fit is not None]
    laws = [law for fit in fits for law in fit.laws]
    over_size = _law_figure(found, swept, laws, shown, remade)
    if over_size is not None:
        figures.append(over_size)
    best = tabulate(
        "sweep-best",
        "The best learning rate at each size, and whether a smaller and a larger one did worse. Curvature (56): nats "
        "for an error of a factor e; beside it where the parabola is lowest.",
        swept,
        [
            Column("optimizer", lambda sweep: sweep.label, words=True),
            Column("size P", lambda sweep: sweep.size, "count"),
            Column("lr", lambda sweep: sweep.best),
            Column("loss", lambda sweep: None if sweep.best is None else sweep.losses[sweep.best], ".4f"),
            Column("bracketed", lambda sweep: sweep.bracketed if sweep.best is not None else None),
            Column("tried", lambda sweep: len(sweep.losses)),
            Column("curvature", lambda sweep: sweep.curvature.curvature if sweep.curvature else None, ".3g"),
            Column("parabola's lr", lambda sweep: sweep.curvature.best_lr if sweep.curvature else None),
        ],
    )
    said = rates_shown(laws, at=fits[0].horizon) if fits else Shown(())
    notes = [*_rate_notes(found, swept), *sentences(said)]
    return Section("rates", "Learning rates", (), tuple(notes), tuple(figures), (best, *said.tables))


def _rate_notes(found: Findings, swept: Sequence[Sweep]) -> list[str]:
    notes = [
        f"{sweep.label}, {count(sweep.size)}: fewer than two learning rates finished, so none is the best."
        for sweep in swept
        if sweep.best is None
    ]
    edge = [
        f"{one.label} at {count(one.size)}"
        for one in swept
        if one.best is not None and not one.bracketed and found.learning_rates[one.label].fit is None
    ]
    if edge:
        notes.append(f"Not bracketed, the best learning rate is the last one tried on its side: {sequence(edge)}.")
    for label, fitted in found.learning_rates.items():
        if fitted.fit is None:
            why = fitted.refused.removeprefix(f"{label}: ")
            notes.append(f"{label}: no law of the learning rate is fitted, and so no line is drawn: {why}.")
    return notes


def _sweep_figure(swept: Sequence[Sweep], shown: Keys, remade: str) -> Figure:
    panels: list[Panel] = []
    for value in sorted({sweep.size for sweep in swept}):
        own = [sweep for sweep in swept if sweep.size == value]
        best = " ".join(f"{one.label} is best at {one.best:.3g}." for one in own if one.best is not None)
        what = f"Final loss over peak learning rate, {size_title(value)}. {best}"
        draw = partial(drawings.sweeps, found=own, keys=shown)
        panels.append(panel(f"sweep-{len(panels)}", size_title(value), what, draw))
    numbers = tabulate(
        "sweep-numbers",
        "final loss by learning rate (best setting, mean over seeds)",
        [(sweep, lr, value) for sweep in swept for lr, value in sweep.losses.items()],
        [
            Column("optimizer", lambda it: it[0].label, words=True),
            Column("size P", lambda it: it[0].size, "count"),
            Column("lr", lambda it: it[1]),
            Column("loss", lambda it: it[2], ".4f", none="diverged"),
        ],
    )
    caption = (
        "Final loss over peak learning rate. Ringed: the best; dashed: the parabola in log learning rate (56) through "
        "all that finished, where it is lowest between them."
    )
    if any(math.isinf(value) for sweep in swept for value in sweep.losses.values()):
        caption += " A cross at the top: diverged."
    keys = legend(shown, (sweep.label for sweep in swept))
    return Figure("sweep-figure", caption, tuple(panels), numbers, remade, keys)


def _law_figure(
    found: Findings, swept: Sequence[Sweep], laws: Sequence[OptimizerRate], shown: Keys, remade: str
) -> Figure | None:
    """Figure 14: a panel an optimizer; None where none was swept at two sizes."""
    by_label = {law.label: law for law in laws}
    panels: list[Panel] = []
    rows: list[tuple[str, float, float | None, int | None]] = []
    for label in found.learning_rates:
        own = [sweep for sweep in swept if sweep.label == label and sweep.best is not None]
        if len(own) < 2:
            continue
        law = by_label.get(label)
        best = ", ".join(f"{one.best:.3g} at {count(one.size)}" for one in own)
        formula = "" if law is None else f": {law.fit.law.a:.3g} ({law.fit.law.b:.3g} + P)^{law.fit.law.d:.3f}"
        panels.append(
            panel(
                f"law-{len(panels)}",
                label + formula,
                f"Best learning rate of {label} over size: {best}.",
                partial(drawings.law_of_rates, own=own, law=law, key=shown[label]),
            )
        )
        if law is None:
            rows += [(label, one.size, one.best, None) for one in own]
        else:
            rows += [(label, one.non_embedding_parameters, one.lr, one.weight) for one in law.fit.points]
    if not panels:
        return None
    numbers = tabulate(
        "law-numbers",
        "learning rates over size, and how much they count",
        rows,
        [
            Column("optimizer", lambda it: it[0], words=True),
            Column("size P", lambda it: it[1], "count"),
            Column("lr", lambda it: it[2]),
            Column("weight", lambda it: it[3]),
        ],
    )
    caption = "Learning rates over size (the paper's Figure 14)."
    if laws:
        caption += (
            " The five best at each size, larger the more they count; dashed: the fitted law, drawn on to ten times "
            "the largest size; band: 95 % of the bootstrap."
        )
    if len(by_label) < len(panels):
        caption += " Where no law was fitted: the best at each size."
    return Figure("law-figure", caption, tuple(panels), numbers, found.rates_command if laws else remade)


def sentences(said: Shown) -> list[str]:
    """Warnings and remarks of a fit as notes of a page: whole sentences."""
    return [line if line.endswith(".") else f"{line}." for line in (*said.warnings, *said.remarks)]
