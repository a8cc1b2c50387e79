"""What the report's figures look like: each function draws numbers that others worked out on matplotlib axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from adana.report.findings import Sweep
from adana.report.page import INK, SOFT, Key
from adana.scaling.fits import Budget, MultiplierRow, OptimizerLoss, OptimizerRate
from adana.tables import count

__all__ = [
    "Curve",
    "curves",
    "heat_map",
    "joined",
    "kappas",
    "law_of_rates",
    "losses",
    "multipliers",
    "noise",
    "residuals",
    "sweeps",
]

CURVE_POINTS = 120
"""Points drawn of a curve: more cannot be told apart at this width."""
LAW_POINTS = 33
REACH = 10.0
"""How far beyond its ends the baseline's line is drawn on at most: further, the axis would show little else."""


class Curve(NamedTuple):
    """One run's curve.

    Attributes:
        key: how its optimizer looks.
        points: (step, loss).
        stands_out: whether it is drawn thick.
        diverged_at: the step it diverged at.
    """

    key: Key
    points: Sequence[tuple[int, float]]
    stands_out: bool
    diverged_at: int | None


def _log(axes: Any, which: str, form: Callable[[float], str] = lambda value: f"{value:.4g}") -> None:
    """A logarithmic axis with plain numbers on it, enough of them on a short one and not too many on a long one."""
    getattr(axes, f"set_{which}scale")("log")
    low, high = getattr(axes, f"get_{which}lim")()
    decades = math.log10(high / low)
    subs = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0) if decades < 0.8 else (1.0, 2.0, 5.0) if decades < 2 else (1.0,)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _diverged(axes: Any, x: float, key: Key) -> None:
    """A cross at the top of the axis."""
    axes.plot(
        [x], [1.0], "x", color=key.colour, markersize=7, markeredgewidth=2, transform=axes.get_xaxis_transform(),
        clip_on=False, zorder=5,
    )  # fmt: skip


def _grid(low: float, high: float, points: int = LAW_POINTS) -> list[float]:
    return [low * (high / low) ** (i / (points - 1)) for i in range(points)]


def curves(axes: Any, drawn: Sequence[Curve]) -> None:
    """Validation loss along runs; those that do not stand out thin."""
    ends: list[float] = []
    heights: list[float] = []
    for key, points, stands_out, diverged_at in drawn:
        step = max(1, math.ceil(len(points) / CURVE_POINTS))
        thinned = [*points[:-1:step], *points[-1:]]
        finite = [(x, y) for x, y in thinned if math.isfinite(y)]
        if finite:
            x, y = zip(*finite)
            width, alpha = (1.8, 1.0) if stands_out else (0.9, 0.45)
            marker = "." if len(finite) == 1 else None
            axes.plot(
                x, y, color=key.colour, linewidth=width, alpha=alpha, marker=marker, zorder=3 if stands_out else 2
            )
        if diverged_at is not None:
            _diverged(axes, diverged_at, key)
        elif finite:
            ends.append(finite[-1][1])
            # The first fifth of training is far above the rest, which is what there is to see.
            heights += [y for x, y in finite if x >= finite[-1][0] / 5][:1]
    if ends:
        low, high = min(ends), max([*ends, *heights])
        pad = 0.06 * (high - low) or 0.05
        axes.set_ylim(low - pad, high + pad)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axes.set(xlabel="step", ylabel="validation loss (nats)")


def losses(
    axes: Any,
    ladders: Mapping[str, Mapping[float, float]],
    all_diverged: Mapping[str, Sequence[float]],
    laws: Sequence[OptimizerLoss],
    keys: Mapping[str, Key],
) -> None:
    """Final loss over compute, with the laws that were fitted and their bands."""
    for law in laws:
        key, ladder, found = keys[law.label], ladders[law.label], law.fit.law
        end = max(law.predictions[-1].pfh, max(ladder))
        inside, beyond = _grid(min(ladder), max(ladder)), _grid(max(ladder), end)
        axes.plot(inside, [found(c) for c in inside], color=key.colour, linewidth=1.3)
        axes.plot(beyond, [found(c) for c in beyond], color=key.colour, linewidth=1.3, linestyle=(0, (4, 2)))
        whole = _grid(min(ladder), end)
        bands = [law.fit.predict(c)[1] for c in whole]
        axes.fill_between(
            whole,
            [band.low for band in bands],
            [band.high for band in bands],
            color=key.colour,
            alpha=0.13,
            linewidth=0,
        )
    for label, ladder in ladders.items():
        key = keys[label]
        axes.plot(list(ladder), list(ladder.values()), key.marker, color=key.colour, zorder=4)
    values = [y for ladder in ladders.values() for y in ladder.values()]
    values += [one.loss for law in laws for one in law.predictions]
    if values:
        pad = 0.08 * (max(values) - min(values)) or 0.05
        axes.set_ylim(min(values) - pad, max(values) + pad)
    _log(axes, "x")
    for label, computes in all_diverged.items():
        for compute in computes:
            _diverged(axes, compute, keys[label])
    axes.set(xlabel="compute (petaflop-hours)", ylabel="final loss (nats)")


def residuals(axes: Any, laws: Sequence[OptimizerLoss], noise: float, keys: Mapping[str, Key]) -> None:
    """How far each loss is from its law, and twice the noise that says of a point."""
    axes.axhspan(-2 * noise, 2 * noise, color=SOFT, alpha=0.13, linewidth=0)
    axes.axhline(0, color=SOFT, linewidth=1)
    for law in laws:
        key = keys[law.label]
        x, y = zip(*((row.pfh, row.residual) for row in law.fit.residuals))
        axes.plot(x, y, key.marker, color=key.colour)
    _log(axes, "x")
    axes.set(xlabel="compute (petaflop-hours)", ylabel="loss - law (nats)")


def multipliers(axes: Any, rows: Sequence[MultiplierRow], keys: Mapping[str, Key]) -> None:
    """Compute saved against the baseline, with intervals; hollow where extrapolated."""
    known = [(row, 100 * row.efficiency) for row in rows if row.efficiency is not None]
    values = [saved for _, saved in known] + [0.0]
    low, high = min(values), max(values)
    reach = 0.6 * (high - low) + 5
    for row, _ in known:
        key = keys[row.label]
        if row.interval is not None:
            # No upper end means that the loss may be one the baseline never reaches.
            ends = [100 * (row.interval.low - 1), min(100 * (row.interval.high - 1), high + 2 * reach)]
            axes.plot([row.pfh] * 2, ends, color=key.colour, linewidth=1.1, alpha=0.7)
    for label in dict.fromkeys(row.label for row, _ in known):
        own = [(row, saved) for row, saved in known if row.label == label]
        key = keys[label]
        axes.plot([row.pfh for row, _ in own], [saved for _, saved in own], color=key.colour, linewidth=0.9)
        for row, saved in own:
            fill = "none" if row.extrapolated else key.colour
            axes.plot(
                row.pfh, saved, key.marker, markeredgecolor=key.colour, markerfacecolor=fill, markeredgewidth=1.4,
                zorder=4,
            )  # fmt: skip
    axes.axhline(0, color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
    axes.set_ylim(low - reach, high + reach)
    if known:
        _log(axes, "x")
    axes.set(xlabel="compute (petaflop-hours)", ylabel="compute saved (%)")


def joined(
    axes: Any,
    baseline: Sequence[Budget],
    rows: Sequence[MultiplierRow],
    name: str,
    keys: Mapping[str, Key],
) -> None:
    """The baseline's line as multipliers are read from it, straight in compute and so bent here; everybody's losses."""
    key = keys[name]
    line = [(one.pfh, one.loss) for one in baseline]
    parts: list[tuple[Any, Any, Any]] = [(*ends, "-") for ends in itertools.pairwise(line)]
    beyond = [(row.pfh * row.multiplier, row.loss) for row in rows if row.extrapolated and row.multiplier is not None]
    for (at, loss), outermost in ((line[0], min), (line[-1], max)):
        end, last = outermost([(at, loss), *beyond])
        if end != at:
            near = min(max(end, line[0][0] / REACH), line[-1][0] * REACH)
            parts.append(((at, loss), (near, loss + (near - at) / (end - at) * (last - loss)), (0, (4, 2))))
    for (start, first), (end, last), style in parts:
        x = _grid(start, end)
        y = [first + (at - start) / (end - start) * (last - first) for at in x]
        axes.plot(x, y, color=key.colour, linestyle=style, zorder=3)
    axes.plot(*zip(*line), key.marker, color=key.colour, zorder=3)
    for row in rows:
        own = keys[row.label]
        axes.plot(row.pfh, row.loss, own.marker, color=own.colour, zorder=4)
    _log(axes, "x")
    axes.set(xlabel="compute (petaflop-hours)", ylabel="final loss (nats)")


def sweeps(axes: Any, found: Sequence[Sweep], keys: Mapping[str, Key]) -> None:
    """Final loss over learning rate at one size, with the parabolas (56)."""
    for sweep in found:
        key = keys[sweep.label]
        finite = {lr: loss for lr, loss in sweep.losses.items() if math.isfinite(loss)}
        axes.plot(list(finite), list(finite.values()), key.marker, color=key.colour, zorder=3)
        if sweep.curvature is not None:
            x = _grid(min(finite), max(finite), 25)
            bend = sweep.curvature
            y = [bend.best_loss + bend.curvature * math.log(lr / bend.best_lr) ** 2 for lr in x]
            axes.plot(x, y, color=key.colour, linewidth=1, linestyle=(0, (3, 2)))
        if sweep.best is not None:
            axes.plot(
                sweep.best, sweep.losses[sweep.best], "o", markersize=11, markerfacecolor="none",
                markeredgecolor=key.colour, markeredgewidth=1.2,
            )  # fmt: skip
    rates = [lr for sweep in found for lr in sweep.losses]
    axes.set_xlim(min(rates) / 1.15, max(rates) * 1.15)
    _log(axes, "x")
    for sweep in found:
        for lr, loss in sweep.losses.items():
            if math.isinf(loss):
                _diverged(axes, lr, keys[sweep.label])
    axes.set(xlabel="peak learning rate", ylabel="final loss (nats)")


def law_of_rates(axes: Any, own: Sequence[Sweep], law: OptimizerRate | None, key: Key) -> None:
    """The best learning rates over size, larger the more they count, and the law where one was fitted."""
    if law is None:
        axes.plot([sweep.size for sweep in own], [sweep.best for sweep in own], key.marker, color=key.colour)
        sizes = [sweep.size for sweep in own]
    else:
        sizes = [*law.fit.sizes, law.predictions[-1].non_embedding_parameters]
        x = _grid(min(sizes), max(sizes))
        bands = [law.fit.predict(size)[1] for size in x]
        axes.fill_between(
            x, [band.low for band in bands], [band.high for band in bands], color=key.colour, alpha=0.15, linewidth=0
        )
        axes.plot(x, [law.fit.law(size) for size in x], color=key.colour, linestyle=(0, (4, 2)))
        for point in law.fit.points:
            size = 2.5 + 1.3 * point.weight
            axes.plot(
                point.non_embedding_parameters, point.lr, "o", color=key.colour, markersize=size, alpha=0.6,
                markeredgewidth=0,
            )  # fmt: skip
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3)
    _log(axes, "x", count)
    _log(axes, "y")
    axes.set(xlabel="non-embedding parameters", ylabel="peak learning rate")


def heat_map(axes: Any, cells: Mapping[tuple[float, float], float]) -> None:
    """Final loss by learning rate and omega, each in its cell; the least one framed."""
    rates, omegas = sorted({lr for lr, _ in cells}), sorted({omega for _, omega in cells})
    finite = [loss for loss in cells.values() if math.isfinite(loss)]
    low, high = min(finite), max(finite)
    shades = matplotlib.colormaps["viridis_r"]
    digits = 3 if high - low < 0.5 else 2
    size = 9.5 if len(rates) <= 5 else 8 if len(rates) <= 7 else 6.5
    best = min(cells, key=lambda key: cells[key])
    for (lr, omega), loss in cells.items():
        x, y = rates.index(lr), omegas.index(omega)
        if math.isfinite(loss):
            shade = shades((loss - low) / (high - low) if high > low else 0.0)
            face = matplotlib.colors.to_hex(shade)
            bright = 0.2126 * shade[0] ** 2.2 + 0.7152 * shade[1] ** 2.2 + 0.0722 * shade[2] ** 2.2
            ink, text = ("#111111" if bright > 0.18 else "#ffffff"), f"{loss:.{digits}f}"
        else:
            face, ink, text = "none", INK, "div."
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor="none"))
        axes.text(x, y, text, ha="center", va="center", color=ink, fontsize=size)
    x, y = rates.index(best[0]), omegas.index(best[1])
    axes.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, fill=False, edgecolor="#111111", linewidth=2.2))
    axes.set_xlim(-0.5, len(rates) - 0.5)
    axes.set_ylim(-0.5, len(omegas) - 0.5)
    axes.set_xticks(range(len(rates)), [f"{lr:.3g}" for lr in rates], rotation=35 if len(rates) > 5 else 0)
    axes.set_yticks(range(len(omegas)), [f"{omega:g}" for omega in omegas])
    axes.grid(False)
    axes.set(xlabel="peak learning rate", ylabel="omega")


def kappas(
    axes: Any, lines: Mapping[str, Mapping[float, float]], levels: Mapping[str, float], keys: Mapping[str, Key]
) -> None:
    """Final loss over kappa, a line a setting; a level for each optimizer without kappa."""
    for name, line in lines.items():
        finite = {kappa: loss for kappa, loss in line.items() if math.isfinite(loss)}
        axes.plot(list(finite), list(finite.values()), color=keys[name].colour, marker=keys[name].marker)
    for name, level in levels.items():
        axes.axhline(level, color=keys[name].colour, linewidth=1.2, linestyle=(0, (4, 2)))
    for name, line in lines.items():
        for kappa, loss in line.items():
            if math.isinf(loss):
                _diverged(axes, kappa, keys[name])
    axes.set(xlabel="kappa", ylabel="final loss (nats)")


def noise(axes: Any, points: Sequence[tuple[Key, float, float]], pooled: float) -> None:
    """How far each run is from the mean of its seeds, and twice the pooled noise."""
    axes.axhspan(-2 * pooled, 2 * pooled, color=SOFT, alpha=0.13, linewidth=0)
    axes.axhline(0, color=SOFT, linewidth=1)
    for key, mean, loss in points:
        axes.plot(mean, loss - mean, key.marker, color=key.colour, alpha=0.85)
    reach = 1.15 * max([2 * pooled, *(abs(loss - mean) for _, mean, loss in points)]) or 0.001
    axes.set_ylim(-reach, reach)
    axes.set(xlabel="mean final loss of the setting (nats)", ylabel="loss - mean (nats)")
