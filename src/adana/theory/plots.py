"""Drawing what the bench computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from adana import schedules
from adana.drawing import COLOURS
from adana.theory.comparison import Comparison
from adana.theory.dana_map import DanaMap
from adana.theory.kappa_map import KappaMap
from adana.theory.phases import PHASES, exponents
from adana.theory.ranking import SweepResult
from adana.theory.spectral import PhaseMap
from adana.theory.sweeps import KappaSweep

__all__ = [
    "comparison",
    "dana_map",
    "figure",
    "kappa_map",
    "phase_diagram",
    "phase_map",
    "schedules_in_time",
    "sweep",
    "sweep_curves",
]

_MARKERS = "osD^v"


def figure(result: Comparison | SweepResult | KappaMap | DanaMap) -> Figure:
    """The figure of any result of :mod:`adana.theory.experiments`."""
    if isinstance(result, SweepResult):
        return sweep(result, f"final risk over kappa ({result.name})")
    if isinstance(result, KappaMap):
        return kappa_map(result)
    if isinstance(result, DanaMap):
        return dana_map(result)
    if result.drawing == "phase-diagram":
        return phase_diagram()
    if result.drawing == "phase-map":
        return phase_map(result.numbers["phase_map"])
    return comparison(result)


def _axes(title: str, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.2 if columns == 1 else 5.2 * columns, 4.8), layout="constrained")
    axes = figure.subplots(1, columns)
    for one in np.atleast_1d(axes):
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25, linewidth=0.6)
    figure.suptitle(title, fontsize=10)
    return figure, axes


def comparison(result: Comparison) -> Figure:
    """Points for what was simulated, lines for what was predicted."""
    figure, axes = _axes(result.title)
    highest = max(float(np.nanmax(curve.simulated[:1])) for curve in result.curves)
    highest = max([highest, *(float(curve.simulated.max()) for curve in result.curves if curve.diverged_at is None)])
    for i, curve in enumerate(result.curves):
        colour = COLOURS[i % len(COLOURS)]
        shown = np.isfinite(curve.simulated)
        if result.logarithmic:  # of what diverged, the beginning
            shown &= (curve.x > 0) & (curve.simulated > 0) & (curve.simulated < 1e3 * highest)
        axes.plot(curve.x[shown], curve.simulated[shown], ".", markersize=4, color=colour, label=curve.label)
        if curve.standard_error is not None:
            low, high = (curve.simulated + sign * 2 * curve.standard_error for sign in (-1, 1))
            axes.fill_between(curve.x[shown], low[shown], high[shown], color=colour, alpha=0.15, linewidth=0)
        if curve.predicted is not None:
            known = np.isfinite(curve.predicted)
            axes.plot(curve.x[known], curve.predicted[known], "-", linewidth=1.1, color=colour)
    if result.logarithmic:
        axes.set(xscale="log", yscale="log")
    axes.set(xlabel=result.x_label, ylabel=result.y_label)
    axes.legend(frameon=False, fontsize=7, title="points: simulated; lines: predicted", title_fontsize=7)
    return figure


def sweep(result: SweepResult, title: str) -> Figure:
    """Final risk over kappa, each rule at its own best learning rate; the best of the rules without kappa dashed."""
    figure, axes = _axes(title)
    first, rows = result.sweeps[0], result.ranking.values
    rules = first.setting.rules()
    labels = [label for label, rule in rules.items() if rule.option == "kappa"]
    for i, label in enumerate(labels):
        risk = [row.risk.mean for row in rows if row.label == label]
        shown = [x if np.isfinite(x) else np.nan for x in risk]
        colour = COLOURS[i % len(COLOURS)]
        axes.plot(list(rules[label].values), shown, "o-", markersize=3, color=colour, label=label)
    plain = [one for one in result.ranking.rules if one.option != "kappa" and np.isfinite(one.risk.mean)]
    if plain:
        best = min(plain, key=lambda one: one.risk.mean)
        axes.axhline(
            best.risk.mean, color="black", linestyle="--", linewidth=1, label=f"{best.label} ({best.option} searched)"
        )
    axes.axvline(first.predicted, color="#6b7280", linestyle=":", linewidth=1.2, label="1/(2 rho)")
    axes.axhline(first.least, color="#6b7280", linewidth=0.8, label="least possible risk")
    axes.set(xlabel="kappa", ylabel="population risk at the end", yscale="log")
    axes.set_ylim(0.7 * first.least, 30 * first.start)
    axes.legend(frameon=False, fontsize=7)
    return figure


def sweep_curves(result: KappaSweep, labels: tuple[str, ...], title: str) -> Figure:
    """Risk along training, a panel per rule, a line per kappa at its best learning rate."""
    figure, panels = _axes(title, len(labels))
    adam_risk = result.finite_risk("adamw")
    adam = result.curves["adamw"][np.unravel_index(int(adam_risk.argmin()), adam_risk.shape)]
    for axes, label in zip(np.atleast_1d(panels), labels):
        values, best = result.rule(label).values, result.finite_risk(label).argmin(axis=1)
        for i, kappa in enumerate(values):
            shade = matplotlib.colormaps["viridis"](i / max(1, len(values) - 1))
            curve = result.curves[label][i, best[i]]
            risk = np.where(np.isfinite(curve), curve, np.nan)
            axes.plot(result.steps[1:], risk[1:], color=shade, linewidth=1.2, label=f"{kappa:.2g}")
        axes.plot(result.steps[1:], adam[1:], "k--", linewidth=1, label="best adamw")
        axes.set(xscale="log", yscale="log", xlabel="step", title=label, ylim=(0.7 * result.least, 30 * result.start))
        axes.legend(frameon=False, fontsize=7, title="kappa", title_fontsize=7)
    np.atleast_1d(panels)[0].set_ylabel("population risk")
    return figure


def phase_diagram(*, points: int = 240) -> Figure:
    """The seven phases over (rho, eta), shaded by the compute-optimal loss exponent."""
    rhos, etas = np.linspace(0.02, 1.6, points), np.linspace(-0.4, 1.6, points)
    name, loss = np.full((points, points), -1), np.full((points, points), np.nan)
    for k, eta in enumerate(etas):
        for i, rho in enumerate(rhos):
            if 2 * (rho + eta) > 1:
                found = exponents(rho, eta)
                name[k, i], loss[k, i] = PHASES.index(found.phase), found.loss
    figure, axes = _axes("SGD on PLRF: phases, and the exponent of loss in compute")
    shade = axes.pcolormesh(rhos, etas, loss, cmap="viridis", shading="auto", rasterized=True)
    axes.contour(rhos, etas, name, levels=np.arange(-0.5, len(PHASES)), colors="white", linewidths=0.8)
    for index, label in enumerate(PHASES):
        where = np.argwhere(name == index)
        if len(where):
            k, i = np.rint(where.mean(0)).astype(int)
            axes.text(rhos[i], etas[k], label, color="white", ha="center", va="center", fontsize=9)
    axes.set(xlabel="rho (data exponent)", ylabel="eta (target exponent)")
    figure.colorbar(shade, ax=axes, label="epsilon, risk ~ compute^-epsilon")
    return figure


def kappa_map(result: KappaMap) -> Figure:
    """Simulated best kappa beside 1/(2 rho), a panel per batch, a colour per horizon, a marker per learning rate."""
    points = [_Place(f"batch {p.batch}", p.rho, p.horizon, f"lr {p.lr:g}", p.best, p.at_edge) for p in result.points]
    return _best_kappas(f"best kappa of {result.optimizer} on PLRF: predicted and simulated", points)


def dana_map(result: DanaMap) -> Figure:
    """Best kappa of the exact risk beside 1/(2 rho), a panel per learning rate, a marker per constant c."""
    points = [
        _Place(f"lr {p.lr:g}", p.rho, p.horizon, f"c = {p.damping_scale:g}", p.best, p.at_edge) for p in result.points
    ]
    return _best_kappas("best kappa of DANA's exact risk: in the limit and at finite horizons", points)


class _Place(NamedTuple):
    """One best kappa, and where it is drawn."""

    panel: str
    rho: float
    horizon: int
    marker: str
    best: float
    at_edge: bool


def _best_kappas(title: str, points: Sequence[_Place]) -> Figure:
    panels, horizons, markers = (
        list(dict.fromkeys(getattr(point, name) for point in points)) for name in ("panel", "horizon", "marker")
    )
    figure, axes_of = _axes(title, len(panels))
    shades = {h: matplotlib.colormaps["viridis"](i / max(1, len(horizons) - 1)) for i, h in enumerate(horizons)}
    shapes = {marker: _MARKERS[i % len(_MARKERS)] for i, marker in enumerate(markers)}
    rho = np.linspace(min(p.rho for p in points), max(p.rho for p in points), 100)
    for axes, panel in zip(np.atleast_1d(axes_of), panels):
        for point in points:
            if point.panel == panel:
                shade = shades[point.horizon]
                axes.plot(
                    point.rho + 0.02 * (markers.index(point.marker) - len(markers) / 2),
                    point.best,
                    shapes[point.marker],
                    markersize=5,
                    markeredgecolor=shade,
                    markerfacecolor="none" if point.at_edge else shade,
                )
        axes.plot(rho, 1 / (2 * rho), color="black", linewidth=1, label="1/(2 rho)")
        for marker in markers:
            axes.plot([], [], shapes[marker], color="#6b7280", linestyle="none", label=marker)
        for horizon in horizons:
            axes.plot([], [], "o", color=shades[horizon], linestyle="none", label=f"T = {horizon:,}")
        axes.set(xlabel="rho", title=panel)
        axes.legend(frameon=False, fontsize=7)
    np.atleast_1d(axes_of)[0].set_ylabel("best kappa (hollow: at the edge of the sweep)")
    return figure


def phase_map(result: PhaseMap) -> Figure:
    """Where SignSVD or signSGD is ahead, a panel per horizon."""
    figure, panels = _axes("SignSVD against signSGD, each at its best learning rate", len(result.steps))
    limit = float(np.abs(result.log_ratio).max())
    for axes, horizon, values in zip(np.atleast_1d(panels), result.steps, np.moveaxis(result.log_ratio, -1, 0)):
        shade = axes.pcolormesh(
            result.alphas, result.betas, values.T, cmap="RdBu", vmin=-limit, vmax=limit, shading="nearest"
        )
        axes.set(xlabel="alpha (data)", ylabel="beta (target)", title=f"after {horizon} steps")
    figure.colorbar(shade, ax=panels, label="log10 R(signSGD)/R(SignSVD)")
    return figure


def schedules_in_time(total_steps: int = 100_000) -> Figure:
    """Memory of the averages: how far back they reach, in linear and in logarithmic time."""
    figure, (linear, logarithmic, weights) = _axes("what an average remembers", 3)
    t = np.unique(np.rint(np.geomspace(1, total_steps, 400)))
    horizons = {
        "beta = 0.9": np.full(t.shape, 10.0),
        "beta = 0.999": np.full(t.shape, 1000.0),
        "log time, delta = 8": 1 / schedules.average_weight(t, 8.0),
        "AdEMAMix's warm-up": 1 / (1 - schedules.ademamix_beta1(t, total_steps)),
    }
    for i, (label, values) in enumerate(horizons.items()):
        for axes in (linear, logarithmic):
            axes.plot(t, values, color=COLOURS[i], linewidth=1.3, label=label)
    linear.set(xlabel="step", ylabel="memory in steps, 1/(1 - beta)", title="linear time")
    logarithmic.set(xlabel="step", xscale="log", yscale="log", title="logarithmic time")
    logarithmic.legend(frameon=False, fontsize=7)
    # A log-time average weighs the past by its share of the run: one shape at every step.
    for i, now in enumerate((100, 3000, total_steps)):
        s = np.arange(1, now + 1, dtype=np.float64)
        w = schedules.average_weight(s, 8.0)
        beta = schedules.beta(s, 8.0)
        after = np.concatenate([np.cumsum(np.log(beta[::-1]))[::-1][1:], [0.0]])
        weights.plot(s / now, now * w * np.exp(after), color=COLOURS[i], linewidth=1.2, label=f"t = {now:,}")
    weights.set(xlabel="when the gradient came: step / t", ylabel="t times its weight", title="log time, delta = 8")
    weights.legend(frameon=False, fontsize=7)
    return figure
