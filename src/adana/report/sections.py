"""The report's sections in their order: which the runs allow, and one sentence for each that they do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from adana.report import drawings
from adana.report.findings import Entry, Findings, Group
from adana.report.inside import inside
from adana.report.joint import overtraining, rate_batch, size_tokens
from adana.report.laws import learning_rates, loss, multipliers
from adana.report.page import Figure, Key, Panel, Section, keys, link, sequence
from adana.report.settings import heat_maps, kappas, seeds
from adana.report.wording import (
    Absent,
    compute,
    legend,
    loss_of,
    many,
    panel,
    size_title,
)
from adana.tables import Cell, Column, count, tabulate

__all__ = ["facts", "sections"]


def facts(found: Findings) -> list[str]:
    """The line below the title."""
    diverged = sum(entry.diverged for entry in found.entries)
    said = [many(len(found.entries) - diverged, "finished run")]
    if diverged:
        said.append(f"{diverged} diverged")
    if found.unfinished:
        said.append(f"{len(found.unfinished)} unfinished")
    said.append(many(len(found.labels), "optimizer"))
    runs = [entry.run for entry in found.entries]
    sizes = sorted({run.non_embedding_parameters for run in runs if run.non_embedding_parameters is not None})
    if sizes:
        ends = " to ".join(dict.fromkeys((count(sizes[0]), count(sizes[-1]))))
        said.append(f"{many(len(sizes), 'size')}, {ends} non-embedding parameters")
    return said + _models(found)


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
        "Final loss against compute": lambda: loss(found, shown),
        "Compute saved": lambda: multipliers(found, shown),
        "Learning rates": lambda: learning_rates(found, shown, remade),
        "Loss over size and tokens": lambda: size_tokens(found, shown),
        "Learning rate over size, tokens and batch": lambda: rate_batch(found, shown),
        "The overtraining axis": lambda: overtraining(found, shown),
        "Learning rate and omega": lambda: heat_maps(found, remade),
        "Kappa": lambda: kappas(found, shown, remade),
        "Seeds and noise": lambda: seeds(found, shown, remade),
        "Inside the optimizer": lambda: inside(found, out, remade),
    }
    made, absent = [_best(found)], []
    for heading, make in makers.items():
        try:
            made.append(make())
        except Absent as error:
            absent.append(f"{heading}: {error}.")
    if absent:
        made.append(Section("absent", "What these runs do not show", (), tuple(absent)))
    return [*made, _runs(found, out)]


def _best(found: Findings) -> Section:
    chosen = {id(run) for run in found.chosen}
    sweeps = {(sweep.label, sweep.size): sweep for sweep in found.sweeps}

    def bracketed(group: Group) -> bool | None:
        sweep = sweeps.get((group.run.label, group.run.non_embedding_parameters or 0.0))
        known = sweep is not None and len(sweep.losses) > 1 and id(group.run) in chosen
        return sweep.bracketed if sweep is not None and known else None

    best = tabulate(
        "best-table",
        "The best setting of each optimizer at each size and horizon. Loss: mean over seeds, and the standard "
        "deviation of one. Bracketed: whether a smaller and a larger learning rate did worse.",
        found.best,
        [
            Column("optimizer", lambda group: group.run.label, words=True),
            Column("size P", lambda group: group.run.non_embedding_parameters, "count"),
            Column("PFH", lambda group: compute(group.run)),
            Column("loss", loss_of, ".4f"),
            Column("± seed", lambda group: group.spread, ".4f"),
            Column("seeds", lambda group: len(group.entries)),
            Column("lr", lambda group: group.run.lr, ".3g"),
            Column("bracketed", bracketed),
            Column("omega", lambda group: group.run.weight_decay, "g"),
            Column("options", lambda group: group.run.options, words=True),
        ],
    )
    notes = []
    if found.unfinished:
        names = sequence([path.name for path in found.unfinished], 8)
        notes.append(f"Not finished, and so in no fit: {names}.")
    lost = sum(entry.diverged for entry in found.entries)
    if lost:
        notes.append(
            f"{many(lost, 'run')} diverged: a cross at the top of an axis. A setting of which one seed diverged counts "
            "as diverged."
        )
    models = _models(found)
    if len(models) > 1:
        notes.append(f"The runs are of several models ({sequence(models)}), which the fits do not tell apart.")
    return Section("best", "Best of each optimizer", (found.horizon,), tuple(notes), (), (best,))


def _curves(found: Findings, shown: Mapping[str, Key], out: Path, remade: str) -> Section:
    points = {id(entry): _points(entry) for entry in found.entries}
    drawn = [entry for entry in found.entries if points[id(entry)]]
    if not drawn:
        raise Absent("no run here has a curve; a CSV has final losses only")
    best = {id(entry) for group in found.best for entry in group.entries}
    by_size: dict[float | None, list[Entry]] = {}
    for entry in drawn:
        by_size.setdefault(entry.run.non_embedding_parameters, []).append(entry)
    panels: list[Panel] = []
    for value, own in by_size.items():
        lines = [
            drawings.Curve(
                shown[entry.run.label],
                points[id(entry)],
                id(entry) in best,
                entry.result.diverged_at if entry.result else None,
            )
            for entry in own
        ]
        what = f"Validation loss over steps of {many(len(own), 'run')}, {size_title(value)}. {_finals(own)}"
        draw = partial(drawings.curves, drawn=lines)
        panels.append(panel(f"curves-{len(panels)}", size_title(value), what, draw))

    def at(part: float) -> Callable[[Entry], Cell]:
        def cell(entry: Entry) -> Cell:
            own = points[id(entry)]
            step, value = own[round(part * (len(own) - 1))]
            return Cell(f"{value:.4f} at {step:,}", value)

        return cell

    numbers = tabulate(
        "curves-numbers",
        "validation losses, the first, those a quarter, a half and three quarters along, and the last",
        drawn,
        [
            Column("optimizer", lambda entry: entry.run.label, words=True),
            Column("size P", lambda entry: entry.run.non_embedding_parameters, "count"),
            Column("lr", lambda entry: entry.run.lr, ".3g"),
            Column("seed", lambda entry: entry.run.seed),
            Column("first", at(0)),
            Column("quarter", at(0.25)),
            Column("half", at(0.5)),
            Column("three quarters", at(0.75)),
            Column("last", at(1)),
            Column("folder", lambda entry: Cell(entry.path.name, href=link(entry.path, out)), words=True),
        ],
    )
    caption = (
        "Validation loss along training, unsmoothed. Thick: the best setting of each optimizer; thin: all others. The "
        "beginning may lie above the frame."
    )
    if any(entry.diverged for entry in drawn):
        caption += " A cross at the top: where a run diverged."
    keys = legend(shown, (entry.run.label for entry in drawn))
    figure = Figure("curves-figure", caption, tuple(panels), numbers, remade, keys)
    return Section("curves", "Loss curves", (), (), (figure,))


def _runs(found: Findings, out: Path) -> Section:
    def ended(entry: Entry) -> float | Cell:
        at = None if entry.result is None else entry.result.diverged_at
        return Cell(f"diverged at {at:,}", math.inf) if at is not None and entry.diverged else entry.run.final_loss

    def where(entry: Entry) -> Cell:
        name = entry.path.name if entry.result is not None else entry.run.where
        return Cell(name, href=link(entry.path, out))

    columns = [
        Column("optimizer", lambda entry: entry.run.label, words=True),
        Column("where", where, words=True),
        Column("loss", ended, ".4f", none="diverged"),
        Column("size P", lambda entry: entry.run.non_embedding_parameters, "count"),
        Column("lr", lambda entry: entry.run.lr, ".3g"),
        Column("omega", lambda entry: entry.run.weight_decay, "g"),
        Column("options", lambda entry: entry.run.options, words=True),
        Column("seed", lambda entry: entry.run.seed),
        Column("steps", lambda entry: entry.run.steps, ",.0f"),
        Column("tokens", lambda entry: entry.run.tokens, ".3g"),
        Column("PFH", lambda entry: compute(entry.run)),
    ]
    every = tabulate(
        "runs-table", "Every run that has ended, with a link to its folder or file.", found.entries, columns
    )
    tables = [every]
    if found.unfinished:
        tables.append(
            tabulate(
                "unfinished-table",
                "Runs that have not ended.",
                found.unfinished,
                [
                    Column("folder", lambda path: Cell(path.name, href=link(path, out)), words=True),
                    Column("state", lambda path: "unfinished", words=True),
                ],
            )
        )
    return Section("runs", "All runs", (), (), (), tuple(tables))


def _models(found: Findings) -> list[str]:
    return sorted({entry.run.model for entry in found.entries if entry.run.model})


def _points(entry: Entry) -> list[tuple[int, float]]:
    curve = [] if entry.result is None else entry.result.curve
    return [(int(step), float(value)) for step, value in curve if value is not None and math.isfinite(value)]


def _finals(entries: Iterable[Entry]) -> str:
    best: dict[str, float] = {}
    for entry in entries:
        best[entry.run.label] = min(best.get(entry.run.label, math.inf), entry.run.final_loss)
    return " ".join(
        f"{name} ends at {value:.3f}." if math.isfinite(value) else f"{name} diverges." for name, value in best.items()
    )
