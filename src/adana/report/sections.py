"""The report's sections: which the runs allow, what each says, and one sentence for each that they do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from adana.report import drawings
from adana.report.drawings import count
from adana.report.findings import FORMULA, Entry, Findings, Group, Sweep
from adana.report.page import NONE, Cell, Figure, Key, Panel, Section, Table, keys, link, number, sequence, svg
from adana.scaling import fitting

__all__ = ["facts", "sections"]

MOST_HEAT_MAPS = 24


class _Absent(Exception):
    """The runs do not allow a section; the message says why."""


def facts(found: Findings) -> list[str]:
    """The line below the title."""
    diverged = sum(entry.diverged for entry in found.entries)
    sizes = sorted({entry.run.non_embedding_parameters for entry in found.entries} - {None})  # type: ignore[type-var]
    said = [_many(len(found.entries) - diverged, "finished run")]
    if diverged:
        said.append(f"{diverged} diverged")
    if found.unfinished:
        said.append(f"{len(found.unfinished)} unfinished")
    said.append(_many(len(found.labels), "optimizer"))
    if sizes:
        said.append(_many(len(sizes), "size") + f", {_span([count(size) for size in sizes])} non-embedding parameters")
    said += sorted({entry.run.model for entry in found.entries if entry.run.model})
    return said


def sections(found: Findings, out: Path, remade: str) -> list[Section]:
    """All sections, in the order of the page.

    Args:
        found: what the runs say.
        out: the page, which links are relative to.
        remade: the command that makes the page again.
    """
    shown = keys(found.labels)
    makers: dict[str, Callable[[], Section]] = {
        "Loss curves": lambda: _curves(found, shown, out, remade),
        "Final loss against compute": lambda: _loss(found, shown),
        "Compute saved": lambda: _multipliers(found, shown),
        "Learning rates": lambda: _learning_rates(found, shown, remade),
        "Learning rate and omega": lambda: _heat_maps(found, remade),
        "Kappa": lambda: _kappas(found, remade),
        "Seeds and noise": lambda: _seeds(found, shown, remade),
    }
    made, absent = [_best(found)], []
    for heading, make in makers.items():
        try:
            made.append(make())
        except _Absent as error:
            absent.append(f"{heading}: {error}.")
    if absent:
        made.append(
            Section("absent", "What these runs do not show", ("Left out, each for want of something:",), tuple(absent))
        )
    return [*made, _runs(found, out)]


# The sections, from top to bottom.


def _best(found: Findings) -> Section:
    bracketed = {(sweep.label, sweep.size): sweep for sweep in found.sweeps}
    chosen = {id(run) for run in found.chosen}
    rows = []
    for group in found.best:
        run = group.run
        sweep = bracketed.get((run.label, run.non_embedding_parameters or -1.0)) if id(run) in chosen else None
        between = NONE if sweep is None or len(sweep.losses) < 2 else "yes" if sweep.bracketed else "no"
        rows.append(
            (
                Cell(run.label),
                _size(run.non_embedding_parameters),
                _compute(group.run),
                _loss_cell(group),
                number(group.spread, ".4f"),
                Cell(str(len(group.entries)), len(group.entries)),
                number(run.lr, ".3g"),
                Cell(between),
                number(run.weight_decay, "g"),
                Cell(run.options or NONE),
            )
        )
    notes = []
    if found.unfinished:
        names = sequence([path.name for path in found.unfinished], 8)
        notes.append(f"Not finished, and so in no table and no fit: {names}.")
    lost = sum(entry.diverged for entry in found.entries)
    if lost:
        notes.append(
            f"{_many(lost, 'run')} diverged: a cross at the top of an axis. A setting of which one seed diverged counts "
            "as diverged."
        )
    models = sorted({entry.run.model for entry in found.entries if entry.run.model})
    if len(models) > 1:
        notes.append(f"The runs are of several models ({sequence(models)}), which the fits do not tell apart.")
    table = Table(
        "best-table",
        "The best setting of each optimizer at each size and horizon. Loss: mean over seeds, and the standard deviation "
        "of one. Bracketed: whether a smaller and a larger learning rate did worse.",
        ("optimizer ", "size P", "PFH", "loss", "± seed", "seeds", "lr", "bracketed", "omega", "options "),
        tuple(rows),
    )
    return Section("best", "Best of each optimizer", (found.horizon,), tuple(notes), (), (table,))


def _curves(found: Findings, shown: Mapping[str, Key], out: Path, remade: str) -> Section:
    drawn = [entry for entry in found.entries if entry.result is not None and _points(entry)]
    if not drawn:
        raise _Absent("no run here has a curve: a CSV has final losses only")
    stands_out = {id(entry) for group in found.best for entry in group.entries}
    panels, rows = [], []
    for size, own in _by_size(drawn).items():
        lines = [
            (shown[entry.run.label], _points(entry), id(entry) in stands_out, entry.result and entry.result.diverged_at)
            for entry in own
        ]
        title = _size_title(size)
        what = f"Validation loss over steps of {_many(len(own), 'run')} of {_names(own)}, {title}. " + _finals(own)
        panels.append(
            _panel(f"curves-{len(panels)}", title, what, lambda axes, lines=lines: drawings.curves(axes, lines))
        )
    for entry in drawn:
        points = _points(entry)
        at = [points[round(k * (len(points) - 1) / 4)] for k in range(5)]
        rows.append(
            (
                Cell(entry.run.label),
                _size(entry.run.non_embedding_parameters),
                number(entry.run.lr, ".3g"),
                _whole(entry.run.seed),
                *(Cell(f"{loss:.4f} at {step:,}", loss) for step, loss in at),
                Cell(entry.path.name, href=link(entry.path, out)),
            )
        )
    numbers = Table(
        "curves-numbers",
        "the loss curves, at the first evaluation, at a quarter, a half, three quarters, and at the end",
        ("optimizer ", "size P", "lr", "seed", "first", "quarter", "half", "three quarters", "last", "folder "),
        tuple(rows),
    )
    caption = (
        "Validation loss along training, unsmoothed. Thick: the best setting of each optimizer; thin: all others. "
        "The beginning is above the frame." + _cross(drawn)
    )
    legend = _legend(shown, (entry.run.label for entry in drawn))
    return Section(
        "curves", "Loss curves", (), (), (Figure("curves-figure", caption, tuple(panels), numbers, remade, legend),)
    )


def _loss(found: Findings, shown: Mapping[str, Key]) -> Section:
    fit = found.loss
    groups = fitting.by_label(found.chosen)
    try:
        ladders = {
            name: {compute: fmean(losses) for compute, losses in fitting.ladder_of(own, FORMULA).items()}
            for name, own in groups.items()
        }
    except ValueError as error:
        raise _Absent(str(error)) from None
    ladders = {name: ladder for name, ladder in ladders.items() if ladder}
    if not ladders:
        raise _Absent("no run has finished with a loss")
    computes = {compute for ladder in ladders.values() for compute in ladder}
    if len(computes) < 2 and fit.payload is None:
        raise _Absent("all runs had the same compute")
    lost = {
        name: sorted({run.pfh(FORMULA) for run in own} - set(ladders.get(name, ()))) for name, own in groups.items()
    }
    laws = [] if fit.payload is None else fit.payload["laws"]
    notes = [fit.left_out] if fit.left_out else []
    tables: list[Table] = []
    if fit.payload is None:
        notes.append(f"No law is fitted, and so no line is drawn: {fit.refused}.")
    else:
        tables, said = _loss_tables(fit.payload)
        notes += said
    residuals = {(law["label"], row["pfh"]): row["residual"] for law in laws for row in law["residuals"]}
    numbers = Table(
        "loss-numbers",
        "final losses, and how far from the law",
        ("optimizer ", "PFH", "loss", "loss - law"),
        tuple(
            (Cell(name), number(compute), number(loss, ".4f"), number(residuals.get((name, compute)), "+.4f"))
            for name, ladder in ladders.items()
            for compute, loss in ladder.items()
        ),
    )
    what = "Final loss over compute. " + " ".join(
        f"{name}: {max(ladder.values()):.3f} to {min(ladder.values()):.3f} over {_many(len(ladder), 'budget')}."
        for name, ladder in ladders.items()
    )
    panel = _panel(
        "loss",
        "",
        what,
        lambda axes: drawings.losses(axes, ladders, lost, laws, shown),
        name="Final loss against compute",
    )
    caption = f"Each point is the best setting at a budget, C by formula {FORMULA.upper()}."
    if laws:
        caption += f" Lines: {fit.payload['formula']} with one a for all, dashed beyond the data; bands: 95 % of the bootstrap."  # type: ignore[index]
    if any(lost.values()):
        caption += " A cross at the top: every run of that budget diverged."
    figure = Figure("loss-figure", caption, (panel,), numbers, fit.command, _legend(shown, groups))
    return Section("loss", "Final loss against compute", (), tuple(notes), (figure,), tuple(tables))


def _loss_tables(fit: Mapping[str, Any]) -> tuple[list[Table], list[str]]:
    names = ("a", "e", "f")
    notes, rows = [], []
    for law in fit["laws"]:
        cells = [Cell(law["label"])]
        for name in names:
            ends = law["intervals"].get(name)
            known = ends is None or law["identified"][name]
            cells += [
                number(law[name], ".3g"),
                Cell("held" if ends is None else _range(ends) + ("" if known else " ?")),
            ]
        rows.append((*cells, number(law["r_squared"], ".5f")))
        unknown = [name for name in names if not law["identified"].get(name, True)]
        if unknown:
            notes.append(
                f"{law['label']}: {sequence(unknown)} not identified (?), other values fit as well: trust the law within "
                "the data, and its band beyond."
            )
    for one in fit["outliers"]:
        notes.append(
            f"{one['label']}: {one['loss']:.4g} at {one['pfh']:.4g} petaflop-hours is an outlier, the others say "
            f"{one['expected']:.4g}; it is kept."
        )
    tables = [
        Table(
            "loss-laws",
            f"{fit['formula']}, C in petaflop-hours, with 95 % intervals. Noise of a point {fit['noise']:.2g} nats; "
            f"{fit['starts']['agreeing']} of {fit['starts']['tried']} starts agree.",
            ("optimizer ", "a", "a, 95 %", "e", "e, 95 %", "f", "f, 95 %", "R²"),
            tuple(rows),
        ),
        Table(
            "loss-predictions",
            "What the laws say beyond the data.",
            ("optimizer ", "PFH", "loss", "95 %"),
            tuple(
                (
                    Cell(law["label"]),
                    number(one["pfh"]),
                    number(one["loss"], ".4f"),
                    Cell(_range(one["interval"], ".4f")),
                )
                for law in fit["laws"]
                for one in law["predictions"]
            ),
        ),
    ]
    held = [(law["label"], law["hold_out"]) for law in fit["laws"] if law["hold_out"] is not None]
    if held:
        tables.append(
            Table(
                "loss-held-out",
                "The largest budget of each, predicted from the others.",
                ("optimizer ", "PFH", "measured", "predicted", "error", "95 %"),
                tuple(
                    (
                        Cell(label),
                        number(one["pfh"]),
                        number(one["loss"], ".4f"),
                        number(one["predicted"], ".4f"),
                        number(one["error"], "+.4f"),
                        Cell(_range(one["interval"], ".4f")),
                    )
                    for label, one in held
                ),
            )
        )
    elif fit["no_hold_out"]:
        notes.append(f"No budget was held out to be predicted: {fit['no_hold_out']}.")
    return tables, notes


def _multipliers(found: Findings, shown: Mapping[str, Key]) -> Section:
    fit = found.multiplier.payload
    if fit is None:
        raise _Absent(found.multiplier.refused)
    baseline, rows = fit["baseline"], fit["rows"]
    notes = []
    unknown = [row for row in rows if row["multiplier"] is None]
    if unknown:
        where = sequence([f"{row['label']} at {row['pfh']:.4g} petaflop-hours" for row in unknown])
        notes.append(f"No budget gives {baseline} the loss of {where}: no multiplier.")
    if fit["seed_noise"] is None:
        notes.append("No intervals: every setting ran with one seed, which says nothing about noise.")
    if any(row["extrapolated"] for row in rows):
        notes.append(f"* extrapolated: outside the losses {baseline} was trained to; hollow in the figure.")
    for row in [*rows, *({"label": baseline, **one} for one in fit["ladder"])]:
        if row["outlier"]:
            notes.append(f"{row['label']}: {row['loss']:.4g} at {row['pfh']:.4g} petaflop-hours is an outlier.")
    numbers = Table(
        "multiplier-numbers",
        f"compute {baseline} would need for the same loss, over the compute used (Section C.2.1)",
        ("optimizer ", "PFH", "loss", "multiplier", "95 %", "saved"),
        tuple(
            (
                Cell(row["label"]),
                number(row["pfh"]),
                number(row["loss"], ".4f"),
                Cell("none") if row["multiplier"] is None else _marked(row["multiplier"], ".3f", row["extrapolated"]),
                Cell(NONE if row["interval"] is None else _range(row["interval"], ".3f")),
                Cell(NONE)
                if row["efficiency"] is None
                else _marked(100 * row["efficiency"], "+.1f", row["extrapolated"], " %"),
            )
            for row in rows
        )
        + tuple(
            (
                Cell(f"{baseline} (baseline)"),
                number(one["pfh"]),
                number(one["loss"], ".4f"),
                number(1.0, ".3f"),
                Cell(NONE),
                number(0.0, "+.1f"),
            )
            for one in fit["ladder"]
        ),
    )
    described = " ".join(
        f"{row['label']} {100 * row['efficiency']:+.0f} % at {row['pfh']:.3g}{' extrapolated' if row['extrapolated'] else ''}."
        for row in rows
        if row["multiplier"] is not None
    )
    panels = (
        _panel(
            "saved", f"Compute saved against {baseline}", f"Compute saved in percent over petaflop-hours. {described}",
            lambda axes: drawings.multipliers(axes, rows, shown),
        ),
        _panel(
            "joined", f"The losses it is read from, {baseline} joined",
            f"Final loss over compute; the losses of {baseline} joined by straight lines. "
            + " ".join(f"{row['label']} {row['loss']:.3f} at {row['pfh']:.3g}." for row in rows),
            lambda axes: drawings.joined(axes, fit["ladder"], rows, baseline, shown),
        ),
    )  # fmt: skip
    noise = "" if fit["seed_noise"] is None else f" Bars: 95 % from a seed noise of {fit['seed_noise']:.2g} nats a run."
    caption = f"Left axis and right axis of the paper's Figure 1: how much more compute {baseline} would need for the same loss.{noise}"
    legend = _legend(shown, [baseline, *(row["label"] for row in rows)])
    figure = Figure("multiplier-figure", caption, panels, numbers, found.multiplier.command, legend)
    return Section("multipliers", f"Compute saved against {baseline}", (), tuple(notes), (figure,))


def _learning_rates(found: Findings, shown: Mapping[str, Key], remade: str) -> Section:
    swept = [sweep for sweep in found.sweeps if len(sweep.losses) > 1]
    if not swept:
        raise _Absent("at no size did an optimizer run at two learning rates")
    sizes = sorted({sweep.size for sweep in swept})
    notes, figures, tables = [], [], []
    for sweep in swept:
        if sweep.best is None:
            notes.append(
                f"{sweep.label}, {count(sweep.size)}: fewer than two learning rates finished, so none is the best."
            )
    edge = [
        f"{sweep.label} at {count(sweep.size)}" for sweep in swept if sweep.best is not None and not sweep.bracketed
    ]
    if edge:
        notes.append(f"Not bracketed, the best learning rate is the last one tried on its side: {sequence(edge)}.")
    panels = []
    for size in sizes:
        own = [sweep for sweep in swept if sweep.size == size]
        what = " ".join(f"{one.label} is best at {one.best:.3g}." for one in own if one.best is not None)
        panels.append(
            _panel(
                f"sweep-{len(panels)}",
                _size_title(size),
                f"Final loss over peak learning rate, {_size_title(size)}. {what}",
                lambda axes, own=own: drawings.sweeps(axes, own, shown),
            )  # fmt: skip
        )
    numbers = Table(
        "sweep-numbers",
        "final loss by learning rate (best setting, mean over seeds)",
        ("optimizer ", "size P", "lr", "loss"),
        tuple(
            (Cell(sweep.label), _size(sweep.size), number(lr), number(loss, ".4f", none="diverged"))
            for sweep in swept
            for lr, loss in sweep.losses.items()
        ),
    )
    caption = (
        "Final loss over peak learning rate. Ringed: the best; dashed: the parabola in log learning rate (56) through all "
        "that finished, where there are three and it opens upwards."
    )
    if any(math.isinf(loss) for sweep in swept for loss in sweep.losses.values()):
        caption += " A cross at the top: diverged."
    legend = _legend(shown, (sweep.label for sweep in swept))
    figures.append(Figure("sweep-figure", caption, tuple(panels), numbers, remade, legend))
    tables.append(
        Table(
            "sweep-best",
            "The best learning rate at each size. Curvature: nats for an error of a factor e, squared in the log of the "
            "factor; the parabola's own lowest learning rate beside it.",
            ("optimizer ", "size P", "lr", "loss", "bracketed", "tried", "curvature", "parabola's lr"),
            tuple(
                (
                    Cell(sweep.label),
                    _size(sweep.size),
                    number(sweep.best),
                    number(None if sweep.best is None else sweep.losses[sweep.best], ".4f"),
                    Cell(NONE if sweep.best is None else "yes" if sweep.bracketed else "no"),
                    Cell(str(len(sweep.losses)), len(sweep.losses)),
                    number(sweep.curvature and sweep.curvature.curvature, ".3g"),
                    number(sweep.curvature and sweep.curvature.best_lr),
                )
                for sweep in swept
            ),
        )
    )
    ladders = {
        label: [one for one in swept if one.label == label and one.best is not None] for label in found.learning_rates
    }
    for label, fitted in found.learning_rates.items():
        if fitted.payload is None:
            notes.append(f"{label}: no law of the learning rate is fitted, and so no line is drawn: {fitted.refused}.")
            continue
        (law,) = fitted.payload["laws"]
        if law["intervals"]["b"] is None:
            notes.append(f"{label}: too few sizes to fit b; the law has b = 0.")
        elif not law["b_identified"]:
            notes.append(f"{label}: the data do not tell b; the law has b = 0.")
    for label, fitted in found.learning_rates.items():
        if len(ladders[label]) > 1:
            figures.append(
                _law_of_rates(label, ladders[label], fitted.payload, shown[label], fitted.command, len(figures))
            )
    fitted_laws = [fitted.payload["laws"][0] for fitted in found.learning_rates.values() if fitted.payload is not None]
    if fitted_laws:
        tables += _rate_tables(fitted_laws)
    return Section("rates", "Learning rates", (), tuple(notes), tuple(figures), tuple(tables))


def _law_of_rates(
    label: str, own: Sequence[Sweep], payload: Mapping[str, Any] | None, key: Key, command: str, index: int
) -> Figure:
    law = None if payload is None else payload["laws"][0]
    what = f"Best learning rate of {label} over size: " + ", ".join(
        f"{one.best:.3g} at {count(one.size)}" for one in own
    )
    caption = f"{label}: learning rates over size."
    if law is None:
        rows = [(_size(one.size), number(one.best), Cell(NONE)) for one in own]
        caption += " The best at each size; no law was fitted."
    else:
        rows = [
            (_size(p["non_embedding_parameters"]), number(p["lr"]), Cell(str(p["weight"]), p["weight"]))
            for p in law["points"]
        ]
        caption += (
            f" The five best at each size, larger the more they count; dashed: gamma* = {law['a']:.3g} "
            f"({law['b']:.3g} + P)^{law['d']:.3f}, drawn on to ten times the largest size; band: 95 % of the bootstrap."
        )
    numbers = Table(
        f"law-{index}-numbers", f"learning rates of {label} over size", ("size P", "lr", "weight"), tuple(rows)
    )
    drawing = _panel(
        f"law-{index}", "", what + ".", lambda axes: drawings.law_of_rates(axes, own, law, key),
        name=f"Learning rates of {label} over size",
    )  # fmt: skip
    return Figure(f"law-{index}-figure", caption, (drawing,), numbers, command)


def _rate_tables(laws: Sequence[Mapping[str, Any]]) -> list[Table]:
    rows = []
    for law in laws:
        ends = law["intervals"]
        b = "not fitted" if ends["b"] is None else _range(ends["b"]) + ("" if law["b_identified"] else " ?")
        (one,) = law["predictions"]
        rows.append(
            (
                Cell(law["label"]),
                number(law["a"], ".3g"),
                Cell(_range(ends["a"])),
                number(law["b"], ".3g"),
                Cell(b),
                number(law["d"], ".3f"),
                Cell(_range(ends["d"], ".3f")),
                _size(one["non_embedding_parameters"]),
                number(one["lr"]),
                Cell(_range(one["interval"])),
            )  # fmt: skip
        )
    tables = [
        Table(
            "law-table",
            "gamma* = a (b + P)^d with 95 % intervals, and what it says for ten times the largest size. ?: not identified.",
            ("optimizer ", "a", "a, 95 %", "b", "b, 95 %", "d", "d, 95 %", "at P", "lr", "lr, 95 %"),
            tuple(rows),
        )
    ]
    costs = [
        (
            Cell(law["label"]),
            number(law["sensitivity"]["curvature"], ".3g"),
            Cell(cost["of"]),
            Cell(f"{cost['loss']:.2g}", cost["loss"]),
            Cell(NONE) if cost["compute"] is None else Cell(f"{100 * cost['compute']:.2g} %", cost["compute"]),
        )
        for law in laws
        for cost in law["sensitivity"]["costs"]
    ]
    if costs:
        tables.append(
            Table(
                "law-costs",
                "What an error in the learning rate costs (56)-(59).",
                ("optimizer ", "curvature", "off by ", "loss (nats)", "compute"),
                tuple(costs),
            )
        )
    return tables


def _heat_maps(found: Findings, remade: str) -> Section:
    maps: dict[tuple[float, str, str], dict[tuple[float, float], float]] = {}
    for group in found.groups:
        run = group.run
        if run.lr is not None and run.weight_decay is not None:
            where = (run.non_embedding_parameters or 0.0, run.label, run.options)
            cells = maps.setdefault(where, {})
            cells[run.lr, run.weight_decay] = min(cells.get((run.lr, run.weight_decay), math.inf), group.mean)
    drawn = {
        where: cells
        for where, cells in sorted(maps.items())
        if all(len({key[axis] for key in cells}) > 1 for axis in (0, 1)) and any(map(math.isfinite, cells.values()))
    }
    if not drawn:
        raise _Absent("no optimizer ran at two learning rates and two omegas of one size")
    panels, rows = [], []
    for (size, label, options), cells in drawn.items():
        best = min(cells, key=lambda key, cells=cells: cells[key])
        title = ", ".join(filter(None, (label, options, _size_title(size or None))))
        what = f"Final loss of {title} by learning rate and omega: {cells[best]:.4f} at best, at {best[0]:.3g} and omega {best[1]:g}."
        panels.append(
            _panel(f"heat-{len(panels)}", title, what, lambda axes, cells=cells: drawings.heat_map(axes, cells))
        )
        rows += [
            (Cell(label), _size(size or None), Cell(options or NONE), number(lr), number(omega, "g"), number(loss, ".4f", none="diverged"))
            for (lr, omega), loss in sorted(cells.items())
        ]  # fmt: skip
    notes = []
    if len(panels) > MOST_HEAT_MAPS:
        notes.append(f"{len(panels) - MOST_HEAT_MAPS} more maps are in the numbers below and not drawn.")
    numbers = Table(
        "heat-numbers",
        "final loss by learning rate and omega (mean over seeds)",
        ("optimizer ", "size P", "options ", "lr", "omega", "loss"),
        tuple(rows),
    )
    caption = (
        "Final loss by learning rate and omega (the paper's Figures 34 and 35); framed: the least. Dark is high. Empty "
        "cells were not run; div. diverged."
    )
    figure = Figure("heat-figure", caption, tuple(panels[:MOST_HEAT_MAPS]), numbers, remade)
    return Section("heat", "Learning rate and omega", (), tuple(notes), (figure,))


def _kappas(found: Findings, remade: str) -> Section:
    by_size: dict[float | None, dict[str, dict[float, float]]] = {}
    plain: dict[float | None, dict[str, float]] = {}
    for group in found.groups:
        run, size = group.run, group.run.non_embedding_parameters
        if run.kappa is None:
            levels = plain.setdefault(size, {})
            levels[run.optimizer] = min(levels.get(run.optimizer, math.inf), group.mean)
            continue
        line = by_size.setdefault(size, {}).setdefault(", ".join(filter(None, (run.optimizer, run.options))), {})
        line[run.kappa] = min(line.get(run.kappa, math.inf), group.mean)
    drawn = {
        size: {name: dict(sorted(line.items())) for name, line in sorted(lines.items()) if len(line) > 1}
        for size, lines in by_size.items()
    }
    drawn = {size: lines for size, lines in drawn.items() if lines}
    if not drawn:
        raise _Absent("no optimizer ran at two kappas of one size")
    levels = {
        size: {name: level for name, level in plain.get(size, {}).items() if math.isfinite(level)} for size in drawn
    }
    own = keys([name for lines in drawn.values() for name in lines])
    count_of = len(own)
    for i, name in enumerate(sorted({name for level in levels.values() for name in level})):
        own[name] = Key(name, count_of + i, "o", dashed=True)
    panels, rows = [], []
    for size, lines in sorted(drawn.items(), key=lambda item: item[0] or 0.0):
        title = _size_title(size)
        best = {name: min(line, key=lambda kappa, line=line: line[kappa]) for name, line in lines.items()}
        what = f"Final loss over kappa, {title}. " + " ".join(
            f"{name} is best at kappa {kappa:g} with {lines[name][kappa]:.4f}." for name, kappa in best.items()
        )
        panels.append(
            _panel(
                f"kappa-{len(panels)}",
                title,
                what,
                lambda axes, lines=lines, size=size: drawings.kappas(axes, lines, levels[size], own),
            )  # fmt: skip
        )
        for name, line in lines.items():
            rows += [
                (Cell(name), _size(size), number(kappa, "g"), number(loss, ".4f", none="diverged"))
                for kappa, loss in line.items()
            ]
        rows += [(Cell(name), _size(size), number(None), number(level, ".4f")) for name, level in levels[size].items()]
    numbers = Table(
        "kappa-numbers",
        "final loss by kappa (best learning rate and omega, mean over seeds)",
        ("setting ", "size P", "kappa", "loss"),
        tuple(rows),
    )
    caption = (
        "Final loss over kappa, each at its best learning rate and omega (the paper's Figures 4 and 8). Dashed: "
        "optimizers without kappa. Points are joined, not fitted."
    )
    if any(math.isinf(loss) for lines in drawn.values() for line in lines.values() for loss in line.values()):
        caption += " A cross at the top: diverged."
    return Section(
        "kappa",
        "Kappa",
        (),
        (),
        (Figure("kappa-figure", caption, tuple(panels), numbers, remade, tuple(own.values())),),
    )


def _seeds(found: Findings, shown: Mapping[str, Key], remade: str) -> Section:
    several = [group for group in found.groups if len(group.entries) > 1]
    if found.noise is None:
        raise _Absent("no setting finished with two seeds, and one says nothing of how far a seed moves a loss")
    pooled, freedom = found.noise
    table = Table(
        "seeds-table",
        "Settings that ran with several seeds. Standard deviation of one run, over the seeds that finished.",
        ("optimizer ", "size P", "lr", "omega", "options ", "seeds", "diverged", "mean", "± seed", "least", "greatest"),
        tuple(
            (
                Cell(group.run.label),
                _size(group.run.non_embedding_parameters),
                number(group.run.lr, ".3g"),
                number(group.run.weight_decay, "g"),
                Cell(group.run.options or NONE),
                Cell(str(len(group.entries)), len(group.entries)),
                Cell(str(group.diverged), group.diverged),
                number(fmean(group.finished) if group.finished else None, ".4f"),
                number(group.spread, ".4f"),
                number(min(group.finished, default=None), ".4f"),
                number(max(group.finished, default=None), ".4f"),
            )
            for group in several
        ),
    )
    spread = [group for group in several if len(group.finished) > 1]
    points = [(shown[group.run.label], fmean(group.finished), loss) for group in spread for loss in group.finished]
    numbers = Table(
        "noise-numbers",
        "distance of each run from the mean of its seeds",
        ("optimizer ", "size P", "lr", "seed", "loss", "loss - mean"),
        tuple(
            (
                Cell(group.run.label),
                _size(group.run.non_embedding_parameters),
                number(entry.run.lr, ".3g"),
                _whole(entry.run.seed),
                number(entry.run.final_loss, ".4f"),
                number(entry.run.final_loss - fmean(group.finished), "+.4f"),
            )
            for group in spread
            for entry in group.entries
            if not entry.diverged
        ),
    )
    said = (
        f"Pooled over {_many(len(spread), 'setting')}, a seed moves one run's loss by a standard deviation of "
        f"{pooled:.4f} nats ({_many(freedom, 'degree')} of freedom)."
    )
    panel = _panel(
        "noise",
        "",
        said,
        lambda axes: drawings.noise(axes, points, pooled),
        name="Loss of each run less the mean of its seeds",
    )
    caption = "Each run's final loss less the mean of its setting; shaded: twice the pooled standard deviation."
    figure = Figure("noise-figure", caption, (panel,), numbers, remade, _legend(shown, (g.run.label for g in spread)))
    return Section("seeds", "Seeds and noise", (said,), (), (figure,), (table,))


def _runs(found: Findings, out: Path) -> Section:
    rows = []
    for entry in found.entries:
        run, result = entry.run, entry.result
        at = "" if result is None or result.diverged_at is None else f" at {result.diverged_at:,}"
        rows.append(
            (
                Cell(run.label),
                _size(run.non_embedding_parameters),
                number(run.lr, ".3g"),
                number(run.weight_decay, "g"),
                Cell(run.options or NONE),
                _whole(run.seed),
                number(run.steps, ",.0f"),
                number(run.tokens, ".3g"),
                _compute(run),
                number(run.final_loss, ".4f", none=f"diverged{at}"),
                Cell(entry.path.name if result is not None else run.where, href=link(entry.path, out)),
            )
        )
    rows += [
        (Cell("unfinished"), *(Cell(NONE) for _ in range(9)), Cell(path.name, href=link(path, out)))
        for path in found.unfinished
    ]
    table = Table(
        "runs-table",
        "Every run, with a link to its folder or file.",
        ("optimizer ", "size P", "lr", "omega", "options ", "seed", "steps", "tokens", "PFH", "loss", "where "),
        tuple(rows),
    )
    return Section("runs", "All runs", (), (), (), (table,))


# How things are said.


def _panel(id: str, title: str, description: str, draw: Callable[[Any], None], *, name: str = "") -> Panel:
    return Panel(title, svg(draw, id=id, title=name or title, description=description))


def _many(n: int, name: str) -> str:
    return f"{n} {name}{'' if n == 1 else 's'}"


def _span(shown: Sequence[str]) -> str:
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"


def _size_title(size: float | None) -> str:
    return "size not said" if size is None else f"{count(size)} parameters"


def _size(size: float | None) -> Cell:
    return Cell(NONE) if size is None else Cell(count(size), size)


def _compute(run: Any) -> Cell:
    return number(run.pfh(FORMULA)) if FORMULA in run.flops else number(None)


def _whole(value: int | None) -> Cell:
    return Cell(NONE) if value is None else Cell(str(value), value)


def _loss_cell(group: Group) -> Cell:
    if not group.diverged:
        return number(group.mean, ".4f")
    return Cell(
        "diverged" if group.diverged == len(group.entries) else f"{group.diverged} of {len(group.entries)} diverged",
        math.inf,
    )


def _range(ends: Sequence[float | None], form: str = ".3g") -> str:
    low, high = ends
    return f"{low or 0:{form}} to {'infinity' if high is None else format(high, form)}"


def _marked(value: float, form: str, extrapolated: bool, unit: str = "") -> Cell:
    return Cell(f"{value:{form}}{unit}{'*' if extrapolated else ''}", value)


def _points(entry: Entry) -> list[tuple[int, float]]:
    curve = [] if entry.result is None else entry.result.curve
    return [(int(step), float(loss)) for step, loss in curve if loss is not None and math.isfinite(loss)]


def _by_size(entries: Iterable[Entry]) -> dict[float | None, list[Entry]]:
    found: dict[float | None, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.run.non_embedding_parameters, []).append(entry)
    return found


def _names(entries: Iterable[Entry]) -> str:
    return sequence(sorted({entry.run.label for entry in entries}))


def _finals(entries: Sequence[Entry]) -> str:
    best: dict[str, float] = {}
    for entry in entries:
        best[entry.run.label] = min(best.get(entry.run.label, math.inf), entry.run.final_loss)
    return " ".join(
        f"{name} ends at {f'{loss:.3f}' if math.isfinite(loss) else 'infinity'}." for name, loss in best.items()
    )


def _cross(entries: Iterable[Entry]) -> str:
    return " A cross at the top: where a run diverged." if any(entry.diverged for entry in entries) else ""


def _legend(shown: Mapping[str, Key], labels: Iterable[str]) -> tuple[Key, ...]:
    return tuple(shown[label] for label in sorted(set(labels)))
