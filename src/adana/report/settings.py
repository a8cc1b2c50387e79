"""The report's sections of settings: learning rate and omega, kappa, seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from statistics import fmean

from adana.report import drawings
from adana.report.findings import Findings
from adana.report.page import Figure, Key, Panel, Section, nth_key
from adana.report.wording import Absent, legend, many, panel, size_title
from adana.tables import Column, tabulate

__all__ = ["heat_maps", "kappas", "seeds"]

MOST_MAPS = 24
"""Heat maps drawn; the numbers of all are in the table."""

Cells = dict[tuple[float, float], float]


def heat_maps(found: Findings, remade: str) -> Section:
    """Final loss by learning rate and omega, a map for each optimizer, setting and size."""
    maps: dict[tuple[float, str, str], Cells] = {}
    for group in found.groups:
        run = group.run
        if run.lr is not None and run.weight_decay is not None:
            cells = maps.setdefault((run.non_embedding_parameters or 0.0, run.label, run.options), {})
            at = (run.lr, run.weight_decay)
            cells[at] = min(cells.get(at, math.inf), group.mean)
    maps = {where: grid for where, cells in sorted(maps.items()) if (grid := _grid(cells))}
    if not maps:
        raise Absent("no optimizer ran at two learning rates and two omegas of one size")
    panels: list[Panel] = []
    for (value, label, options), cells in maps.items():
        lr, omega = min(cells, key=cells.__getitem__)
        title = ", ".join(filter(None, (label, options, size_title(value or None))))
        what = (
            f"Final loss of {title} by learning rate and omega: {cells[lr, omega]:.4f} at best, at {lr:.3g} and "
            f"omega {omega:g}."
        )
        panels.append(panel(f"heat-{len(panels)}", title, what, partial(drawings.heat_map, cells=cells)))
        if len(panels) == MOST_MAPS:
            break
    numbers = tabulate(
        "heat-numbers",
        "final loss by learning rate and omega (mean over seeds)",
        [(where, at, value) for where, cells in maps.items() for at, value in sorted(cells.items())],
        [
            Column("optimizer", lambda it: it[0][1], words=True),
            Column("size P", lambda it: it[0][0] or None, "count"),
            Column("options", lambda it: it[0][2], words=True),
            Column("lr", lambda it: it[1][0]),
            Column("omega", lambda it: it[1][1], "g"),
            Column("loss", lambda it: it[2], ".4f", none="diverged"),
        ],
    )
    hidden = len(maps) - len(panels)
    notes = (f"{many(hidden, 'more map')} in the numbers below, not drawn.",) if hidden else ()
    caption = (
        "Final loss by learning rate and omega (the paper's Figures 34 and 35), where at least two of each were "
        "crossed; framed: the least. Dark is high. An empty cell was not run; div.: diverged."
    )
    figure = Figure("heat-figure", caption, tuple(panels), numbers, remade)
    return Section("heat", "Learning rate and omega", (), notes, (figure,))


def _grid(cells: Cells) -> Cells:
    """The learning rates that met two omegas, and the omegas that met two of those; empty where nothing did."""
    for axis in (0, 1):
        met: dict[float, set[float]] = {}
        for at in cells:
            met.setdefault(at[axis], set()).add(at[1 - axis])
        cells = {at: value for at, value in cells.items() if len(met[at[axis]]) > 1}
    crossed = all(len({at[axis] for at in cells}) > 1 for axis in (0, 1))
    return cells if crossed and any(map(math.isfinite, cells.values())) else {}


def kappas(found: Findings, shown: Mapping[str, Key], remade: str) -> Section:
    """Final loss over kappa at each size, beside the optimizers without kappa."""
    lines: dict[float | None, dict[str, dict[float, float]]] = {}
    levels: dict[float | None, dict[str, float]] = {}
    for group in found.groups:
        run, where = group.run, group.run.non_embedding_parameters
        if run.kappa is None:
            least = levels.setdefault(where, {})
            least[run.label] = min(least.get(run.label, math.inf), group.mean)
        else:
            name = ", ".join(filter(None, (run.optimizer, run.options)))
            line = lines.setdefault(where, {}).setdefault(name, {})
            line[run.kappa] = min(line.get(run.kappa, math.inf), group.mean)
    drawn: dict[float | None, dict[str, dict[float, float]]] = {}
    for where, named in sorted(lines.items(), key=lambda item: item[0] or 0.0):
        for name, line in sorted(named.items()):
            if len(line) > 1:
                drawn.setdefault(where, {})[name] = dict(sorted(line.items()))
    if not drawn:
        raise Absent("no optimizer ran at two kappas of one size")

    plain = {name for where in drawn for name in levels.get(where, {})}
    own = {name: Key(name, key.index, key.marker, dashed=True) for name, key in shown.items() if name in plain}
    taken = {key.index for key in own.values()}
    free = [i for i in range(64) if nth_key("", i).index not in taken] or list(range(64))
    names = sorted({name for named in drawn.values() for name in named})
    own |= {name: nth_key(name, free[i % len(free)]) for i, name in enumerate(names)}
    panels: list[Panel] = []
    rows: list[tuple[str, float | None, float | None, float]] = []
    for where, named in drawn.items():
        level = {name: value for name, value in levels.get(where, {}).items() if math.isfinite(value)}
        best = {name: min(line, key=line.__getitem__) for name, line in named.items()}
        what = f"Final loss over kappa, {size_title(where)}. " + " ".join(
            f"{name} is best at kappa {kappa:g} with {named[name][kappa]:.4f}." for name, kappa in best.items()
        )
        draw = partial(drawings.kappas, lines=named, levels=level, keys=own)
        panels.append(panel(f"kappa-{len(panels)}", size_title(where), what, draw))
        rows += [(name, where, kappa, value) for name, line in named.items() for kappa, value in line.items()]
        rows += [(name, where, None, value) for name, value in level.items()]
    numbers = tabulate(
        "kappa-numbers",
        "final loss by kappa (best learning rate and omega, mean over seeds)",
        rows,
        [
            Column("setting", lambda it: it[0], words=True),
            Column("size P", lambda it: it[1], "count"),
            Column("kappa", lambda it: it[2], "g"),
            Column("loss", lambda it: it[3], ".4f", none="diverged"),
        ],
    )
    caption = (
        "Final loss over kappa, each at its best learning rate and omega (the paper's Figure 8). Dashed: optimizers "
        "without kappa. Points are joined, not fitted."
    )
    if found.multiplier.fit is not None:
        caption += " What each kappa saves over compute (Figure 4) is under compute saved."
    if any(math.isinf(row[3]) for row in rows):
        caption += " A cross at the top: diverged."
    figure = Figure("kappa-figure", caption, tuple(panels), numbers, remade, tuple(own.values()))
    return Section("kappa", "Kappa", (), (), (figure,))


def seeds(found: Findings, shown: Mapping[str, Key], remade: str) -> Section:
    """How far a seed moves a loss: by setting, and pooled."""
    if found.noise is None:
        raise Absent("no setting finished with two seeds, and one says nothing of how far a seed moves a loss")
    pooled, freedom = found.noise
    several = [group for group in found.groups if len(group.entries) > 1]
    by_setting = tabulate(
        "seeds-table",
        "Settings that ran with several seeds: mean, standard deviation, least and greatest of those that finished.",
        several,
        [
            Column("optimizer", lambda group: group.run.label, words=True),
            Column("size P", lambda group: group.run.non_embedding_parameters, "count"),
            Column("lr", lambda group: group.run.lr, ".3g"),
            Column("omega", lambda group: group.run.weight_decay, "g"),
            Column("options", lambda group: group.run.options, words=True),
            Column("seeds", lambda group: len(group.entries)),
            Column("diverged", lambda group: group.diverged),
            Column("mean", lambda group: fmean(group.finished) if group.finished else None, ".4f"),
            Column("± seed", lambda group: group.spread, ".4f"),
            Column("least", lambda group: min(group.finished, default=None), ".4f"),
            Column("greatest", lambda group: max(group.finished, default=None), ".4f"),
        ],
    )
    spread = [group for group in several if len(group.finished) > 1]
    apart = [(group, entry) for group in spread for entry in group.entries if not entry.diverged]
    points = [(shown[group.run.label], fmean(group.finished), entry.run.final_loss) for group, entry in apart]
    numbers = tabulate(
        "noise-numbers",
        "distance of each run from the mean of its seeds",
        apart,
        [
            Column("optimizer", lambda it: it[0].run.label, words=True),
            Column("size P", lambda it: it[0].run.non_embedding_parameters, "count"),
            Column("lr", lambda it: it[1].run.lr, ".3g"),
            Column("seed", lambda it: it[1].run.seed),
            Column("loss", lambda it: it[1].run.final_loss, ".4f"),
            Column("loss - mean", lambda it: it[1].run.final_loss - fmean(it[0].finished), "+.4f"),
        ],
    )
    said = (
        f"Pooled over {many(len(spread), 'setting')}, a seed moves one run's loss by a standard deviation of "
        f"{pooled:.4f} nats ({many(freedom, 'degree')} of freedom)."
    )
    name = "Loss of each run less the mean of its seeds"
    drawing = panel("noise", "", said, partial(drawings.noise, points=points, pooled=pooled), name=name)
    caption = "Each run's final loss less the mean of its setting; shaded: twice the pooled standard deviation."
    keys = legend(shown, (group.run.label for group in spread))
    figure = Figure("noise-figure", caption, (drawing,), numbers, remade, keys)
    return Section("seeds", "Seeds and noise", (said,), (), (figure,), (by_setting,))
