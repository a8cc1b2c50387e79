"""The report's sections of fits: loss over compute, compute multipliers, learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from adana.report import drawings
from adana.report.findings import FORMULA, Findings, Sweep
from adana.report.page import Figure, Key, Panel, Section, sequence
from adana.report.wording import (
    Absent,
    count,
    legend,
    many,
    marked,
    panel,
    size,
    size_title,
)
from adana.scaling import fitting
from adana.tables import Cell, Column, Table, span, tabulate

__all__ = ["learning_rates", "loss", "multipliers"]

Keys = Mapping[str, Key]
Law = Mapping[str, Any]


def loss(found: Findings, shown: Keys) -> Section:
    """Final loss over compute, with laws where they could be fitted."""
    fit = found.loss
    groups = fitting.by_label(found.chosen)
    try:
        ladders = {
            name: {pfh: fmean(losses) for pfh, losses in fitting.ladder_of(own, FORMULA).items()}
            for name, own in groups.items()
        }
    except ValueError as error:
        raise Absent(str(error)) from None
    lost = {name: sorted({run.pfh(FORMULA) for run in own} - set(ladders[name])) for name, own in groups.items()}
    ladders = {name: ladder for name, ladder in ladders.items() if ladder}
    if len({pfh for ladder in ladders.values() for pfh in ladder}) < 2:
        raise Absent("no two budgets of compute have a finished run")

    laws: Sequence[Law] = fit.payload["laws"] if fit.payload is not None else []
    residuals = {(law["label"], row["pfh"]): row["residual"] for law in laws for row in law["residuals"]}
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
    notes = [fit.left_out] if fit.left_out else []
    tables: list[Table] = []
    if fit.payload is None:
        notes.append(f"No law is fitted, and so no line is drawn: {fit.refused}.")
    else:
        worst = max((abs(value) for value in residuals.values()), default=0.0)
        draw = partial(drawings.residuals, laws=laws, noise=fit.payload["noise"], keys=shown)
        what = f"Loss less the law over petaflop-hours; at most {worst:.4f} nats off."
        panels.append(panel("residuals", "Loss less the law", what, draw))
        caption += (
            f" Lines: {fit.payload['formula']} with one a for all, dashed beyond the data; bands: 95 % of the "
            "bootstrap. Beside it: how far each is from its law, shaded to twice the noise of a point."
        )
        tables = _loss_tables(fit.payload)
        notes += _loss_notes(fit.payload)
    if any(lost.values()):
        caption += " A cross at the top: every run of that budget diverged."
    figure = Figure("loss-figure", caption, tuple(panels), numbers, fit.command, legend(shown, groups))
    return Section("loss", "Final loss against compute", (), tuple(notes), (figure,), tuple(tables))


def _loss_tables(fit: Law) -> list[Table]:
    def ends(law: Law, name: str) -> Cell:
        found = law["intervals"].get(name)
        if found is None:
            return Cell("held")
        return Cell(span(found) + ("" if law["identified"][name] else " ?"), found[0])

    tables = [
        tabulate(
            "loss-laws",
            f"{fit['formula']}, C in petaflop-hours, with 95 % intervals; ?: not identified. Noise of a point "
            f"{fit['noise']:.2g} nats; {fit['starts']['agreeing']} of {fit['starts']['tried']} starts agree.",
            fit["laws"],
            [
                Column("optimizer", lambda law: law["label"], words=True),
                Column("a", lambda law: law["a"], ".3g"),
                Column("a, 95 %", lambda law: ends(law, "a")),
                Column("e", lambda law: law["e"], ".3g"),
                Column("e, 95 %", lambda law: ends(law, "e")),
                Column("f", lambda law: law["f"], ".3g"),
                Column("f, 95 %", lambda law: ends(law, "f")),
                Column("R²", lambda law: law["r_squared"], ".5f"),
            ],
        ),
        tabulate(
            "loss-predictions",
            "What the laws say beyond the data.",
            [(law["label"], one) for law in fit["laws"] for one in law["predictions"]],
            [
                Column("optimizer", lambda it: it[0], words=True),
                Column("PFH", lambda it: it[1]["pfh"]),
                Column("loss", lambda it: it[1]["loss"], ".4f"),
                Column("95 %", lambda it: it[1]["interval"], ".4f"),
            ],
        ),
    ]
    held = [(law["label"], law["hold_out"]) for law in fit["laws"] if law["hold_out"] is not None]
    if held:
        tables.append(
            tabulate(
                "loss-held-out",
                "The largest budget of each, predicted from the others.",
                held,
                [
                    Column("optimizer", lambda it: it[0], words=True),
                    Column("PFH", lambda it: it[1]["pfh"]),
                    Column("measured", lambda it: it[1]["loss"], ".4f"),
                    Column("predicted", lambda it: it[1]["predicted"], ".4f"),
                    Column("error", lambda it: it[1]["error"], "+.4f"),
                    Column("95 %", lambda it: it[1]["interval"], ".4f"),
                ],
            )
        )
    return tables


def _loss_notes(fit: Law) -> list[str]:
    notes = []
    for law in fit["laws"]:
        unknown = [name for name, known in law["identified"].items() if not known]
        if unknown:
            notes.append(
                f"{law['label']}: {sequence(unknown)} not identified (?), other values fit as well: trust the law "
                "within the data, and its band beyond."
            )
    for one in fit["outliers"]:
        notes.append(
            f"{one['label']}: {one['loss']:.4g} at {one['pfh']:.4g} petaflop-hours is an outlier, the others say "
            f"{one['expected']:.4g}; it is kept."
        )
    if fit["no_hold_out"]:
        notes.append(f"No budget was held out to be predicted: {fit['no_hold_out']}.")
    return notes


def multipliers(found: Findings, shown: Keys) -> Section:
    """Compute saved against the baseline, and the losses that is read from."""
    fit = found.multiplier.payload
    if fit is None:
        raise Absent(found.multiplier.refused)
    baseline, rows = fit["baseline"], fit["rows"]
    unknown = [f"{row['label']} at {row['pfh']:.4g} petaflop-hours" for row in rows if row["multiplier"] is None]
    notes = []
    if unknown:
        notes.append(f"No budget gives {baseline} the loss of {sequence(unknown)}: no multiplier.")
    if fit["seed_noise"] is None:
        notes.append("No intervals: every setting ran with one seed, which says nothing about noise.")
    if any(row["extrapolated"] for row in rows):
        notes.append(f"* extrapolated: outside the losses {baseline} was trained to; hollow in the figure.")
    ladder = [{"label": baseline, **one} for one in fit["ladder"]]
    notes += [
        f"{row['label']}: {row['loss']:.4g} at {row['pfh']:.4g} petaflop-hours is an outlier."
        for row in [*rows, *ladder]
        if row["outlier"]
    ]
    baseline_rows = [{**one, "label": f"{baseline} (baseline)", "multiplier": 1.0, "efficiency": 0.0} for one in ladder]
    numbers = tabulate(
        "multiplier-numbers",
        f"compute {baseline} would need for the same loss, over the compute used (Section C.2.1)",
        [*rows, *({"interval": None, "extrapolated": False} | row for row in baseline_rows)],
        [
            Column("optimizer", lambda row: row["label"], words=True),
            Column("PFH", lambda row: row["pfh"]),
            Column("loss", lambda row: row["loss"], ".4f"),
            Column("multiplier", lambda row: marked(row["multiplier"], ".3f", row["extrapolated"])),
            Column("95 %", lambda row: row["interval"], ".3f"),
            Column("saved", lambda row: marked(row["efficiency"], "+.1%", row["extrapolated"])),
        ],
    )
    described = " ".join(
        f"{row['label']} {100 * row['efficiency']:+.0f} % at {row['pfh']:.3g}"
        f"{', extrapolated' if row['extrapolated'] else ''}."
        for row in rows
        if row["multiplier"] is not None
    )
    losses = " ".join(f"{row['label']} {row['loss']:.3f} at {row['pfh']:.3g}." for row in [*ladder, *rows])
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
            partial(drawings.joined, baseline=fit["ladder"], rows=rows, name=baseline, keys=shown),
        ),
    )
    caption = (
        f"The two sides of the paper's Figure 1: how much more compute {baseline} would need for the same loss, and "
        f"the losses themselves, those of {baseline} joined by lines that are straight in compute and so bend on this "
        "axis."
    )
    if any(row["extrapolated"] for row in rows):
        caption += " Dashed: the outer ones, drawn on."
    if fit["seed_noise"] is not None:
        caption += f" Bars: 95 % from a seed noise of {fit['seed_noise']:.2g} nats a run, that of these settings."
    labels = [baseline, *(row["label"] for row in rows)]
    figure = Figure("multiplier-figure", caption, panels, numbers, found.multiplier.command, legend(shown, labels))
    return Section("multipliers", f"Compute saved against {baseline}", (), tuple(notes), (figure,))


def learning_rates(found: Findings, shown: Keys, remade: str) -> Section:
    """Sweeps at each size, the best learning rates, and their laws over size."""
    swept = [sweep for sweep in found.sweeps if len(sweep.losses) > 1]
    if not any(run.non_embedding_parameters for run in found.chosen):
        raise Absent("the runs do not say their size; a CSV needs non_embedding_parameters, or arch and heads")
    if not swept:
        raise Absent("at no size did an optimizer run at two learning rates")
    figures = [_sweep_figure(swept, shown, remade)]
    laws = [fitted.payload["laws"][0] for fitted in found.learning_rates.values() if fitted.payload is not None]
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
            Column("size P", lambda sweep: size(sweep.size)),
            Column("lr", lambda sweep: sweep.best),
            Column("loss", lambda sweep: None if sweep.best is None else sweep.losses[sweep.best], ".4f"),
            Column("bracketed", lambda sweep: sweep.bracketed if sweep.best is not None else None),
            Column("tried", lambda sweep: len(sweep.losses)),
            Column("curvature", lambda sweep: sweep.curvature.curvature if sweep.curvature else None, ".3g"),
            Column("parabola's lr", lambda sweep: sweep.curvature.best_lr if sweep.curvature else None),
        ],
    )
    tables = [best, *(_rate_tables(laws) if laws else [])]
    notes = _rate_notes(found, swept)
    return Section("rates", "Learning rates", (), tuple(notes), tuple(figures), tuple(tables))


def _rate_notes(found: Findings, swept: Sequence[Sweep]) -> list[str]:
    notes = [
        f"{sweep.label}, {count(sweep.size)}: fewer than two learning rates finished, so none is the best."
        for sweep in swept
        if sweep.best is None
    ]
    edge = [f"{one.label} at {count(one.size)}" for one in swept if one.best is not None and not one.bracketed]
    if edge:
        notes.append(f"Not bracketed, the best learning rate is the last one tried on its side: {sequence(edge)}.")
    for label, fitted in found.learning_rates.items():
        if fitted.payload is None:
            why = fitted.refused.removeprefix(f"{label}: ")
            notes.append(f"{label}: no law of the learning rate is fitted, and so no line is drawn: {why}.")
            continue
        (law,) = fitted.payload["laws"]
        said = fitting.b_in_words(law)
        if said:
            notes.append(f"{label}: {said}.")
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
            Column("size P", lambda it: size(it[0].size)),
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
    found: Findings, swept: Sequence[Sweep], laws: Sequence[Law], shown: Keys, remade: str
) -> Figure | None:
    """Figure 14: a panel an optimizer; None where none was swept at two sizes."""
    by_label = {law["label"]: law for law in laws}
    panels: list[Panel] = []
    rows: list[tuple[str, float, float | None, int | None]] = []
    for label in found.learning_rates:
        own = [sweep for sweep in swept if sweep.label == label and sweep.best is not None]
        if len(own) < 2:
            continue
        law = by_label.get(label)
        best = ", ".join(f"{one.best:.3g} at {count(one.size)}" for one in own)
        formula = "" if law is None else f": {law['a']:.3g} ({law['b']:.3g} + P)^{law['d']:.3f}"
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
            rows += [(label, one["non_embedding_parameters"], one["lr"], one["weight"]) for one in law["points"]]
    if not panels:
        return None
    numbers = tabulate(
        "law-numbers",
        "learning rates over size, and how much they count",
        rows,
        [
            Column("optimizer", lambda it: it[0], words=True),
            Column("size P", lambda it: size(it[1])),
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


def _rate_tables(laws: Sequence[Law]) -> list[Table]:
    def b(law: Law) -> Cell:
        ends = law["intervals"]["b"]
        return Cell("not fitted") if ends is None else Cell(span(ends) + ("" if law["b_identified"] else " ?"))

    tables = [
        tabulate(
            "law-table",
            "gamma* = a (b + P)^d, P the non-embedding parameters, with 95 % intervals; ?: not identified.",
            laws,
            [
                Column("optimizer", lambda law: law["label"], words=True),
                Column("a", lambda law: law["a"], ".3g"),
                Column("a, 95 %", lambda law: law["intervals"]["a"]),
                Column("b", lambda law: law["b"], ".3g"),
                Column("b, 95 %", b),
                Column("d", lambda law: law["d"], ".3f"),
                Column("d, 95 %", lambda law: law["intervals"]["d"], ".3f"),
            ],
        ),
        tabulate(
            "law-predictions",
            "What the laws say for ten times the largest size.",
            [(law["label"], one) for law in laws for one in law["predictions"]],
            [
                Column("optimizer", lambda it: it[0], words=True),
                Column("size P", lambda it: size(it[1]["non_embedding_parameters"])),
                Column("lr", lambda it: it[1]["lr"]),
                Column("95 %", lambda it: it[1]["interval"]),
            ],
        ),
    ]
    costs = [(law, cost) for law in laws for cost in law["sensitivity"]["costs"]]
    if costs:
        tables.append(
            tabulate(
                "law-costs",
                "What an error in the learning rate costs (56)-(59).",
                costs,
                [
                    Column("optimizer", lambda it: it[0]["label"], words=True),
                    Column("curvature", lambda it: it[0]["sensitivity"]["curvature"], ".3g"),
                    Column("off by", lambda it: it[1]["of"], words=True),
                    Column("loss", lambda it: it[1]["loss"], ".2g", unit="nats"),
                    Column("compute", lambda it: it[1]["compute"], ".3%"),
                ],
            )
        )
    return tables
