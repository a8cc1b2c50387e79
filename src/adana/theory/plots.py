"""Drawing what the bench computes."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from adana import schedules
from adana.theory.comparison import Comparison
from adana.theory.kappa_map import KappaMap
from adana.theory.phases import PHASES, exponents
from adana.theory.spectral import PhaseMap
from adana.theory.sweeps import KappaSweep

__all__ = [
    "comparison",
    "kappa_map",
    "phase_diagram",
    "phase_map",
    "save",
    "schedules_in_time",
    "sweep",
    "sweep_curves",
]

# Okabe and Ito's colours, told apart under every common colour-vision deficiency, then greys.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7b4ea3", "#6b7280")


def save(figure: Figure, path: Path, caption: str = "") -> None:
    """Write a figure with its caption below, whole or not at all; the format follows the suffix."""
    if caption:
        lines = textwrap.wrap(caption, int(figure.get_figwidth() * 16))
        figure.set_layout_engine("constrained", rect=(0, 0.035 * len(lines) + 0.01, 1, 1 - 0.035 * len(lines) - 0.01))
        figure.text(0.012, 0.012, "\n".join(lines), fontsize=7.5, va="bottom", color="#444444")
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    # A fixed salt and no date: the same results give the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "adana", "svg.fonttype": "none"}):
        figure.savefig(temporary, metadata=metadata, dpi=160)
    os.replace(temporary, path)


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


def sweep(result: KappaSweep, title: str) -> Figure:
    """Final risk over kappa, a line a rule; AdamW's best as a dashed line."""
    figure, axes = _axes(title)
    labels = list(dict.fromkeys(row.label for row in result.rows if row.kappa is not None))
    for i, label in enumerate(labels):
        rows = [row for row in result.rows if row.label == label]
        risk = [row.risk if np.isfinite(row.risk) else np.nan for row in rows]
        axes.plot([row.kappa for row in rows], risk, "o-", markersize=3, color=COLOURS[i % len(COLOURS)], label=label)
    adam = [row.risk for row in result.rows if row.kappa is None and np.isfinite(row.risk)]
    if adam:
        axes.axhline(min(adam), color="black", linestyle="--", linewidth=1, label="best of the rules without kappa")
    axes.axvline(result.predicted, color="#6b7280", linestyle=":", linewidth=1.2, label="1/(2 rho)")
    axes.axhline(result.least, color="#6b7280", linewidth=0.8, label="least possible risk")
    axes.set(xlabel="kappa", ylabel="population risk at the end", yscale="log")
    axes.set_ylim(0.7 * result.least, 30 * result.start)
    axes.legend(frameon=False, fontsize=7)
    return figure


def sweep_curves(result: KappaSweep, labels: tuple[str, ...], title: str) -> Figure:
    """Risk along training, a panel a rule, a line a kappa."""
    figure, panels = _axes(title, len(labels))
    for axes, label in zip(np.atleast_1d(panels), labels):
        chosen = [i for i, row in enumerate(result.rows) if row.label == label]
        for n, i in enumerate(chosen):
            shade = matplotlib.colormaps["viridis"](n / max(1, len(chosen) - 1))
            risk = np.where(np.isfinite(result.curves[i]), result.curves[i], np.nan)
            axes.plot(result.steps[1:], risk[1:], color=shade, linewidth=1.2, label=f"{result.rows[i].kappa:.2g}")
        best = min((i for i, row in enumerate(result.rows) if row.kappa is None), key=lambda i: result.rows[i].risk)
        axes.plot(result.steps[1:], result.curves[best][1:], "k--", linewidth=1, label="best adamw")
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
    """Simulated best kappa against 1/(2 rho), a panel a batch, a colour a horizon, a marker a learning rate."""
    batches = list(dict.fromkeys(point.batch for point in result.points))
    horizons = list(dict.fromkeys(point.horizon for point in result.points))
    lrs = list(dict.fromkeys(point.lr for point in result.points))
    figure, panels = _axes("best kappa of ADana on PLRF: predicted and simulated", len(batches))
    for axes, batch in zip(np.atleast_1d(panels), batches):
        for point in result.points:
            if point.batch != batch:
                continue
            h, i = horizons.index(point.horizon), lrs.index(point.lr)
            shade = matplotlib.colormaps["viridis"](h / max(1, len(horizons) - 1))
            place = (point.rho + 0.02 * (i - len(lrs) / 2), point.best)
            fill = "none" if point.at_edge else shade
            axes.plot(*place, "osD^v"[i % 5], markersize=5, markeredgecolor=shade, markerfacecolor=fill)
        rho = np.linspace(min(p.rho for p in result.points), max(p.rho for p in result.points), 100)
        axes.plot(rho, 1 / (2 * rho), color="black", linewidth=1, label="1/(2 rho)")
        for i, lr in enumerate(lrs):
            axes.plot([], [], "osD^v"[i % 5], color="#6b7280", linestyle="none", label=f"lr {lr:g}")
        for h, horizon in enumerate(horizons):
            shade = matplotlib.colormaps["viridis"](h / max(1, len(horizons) - 1))
            axes.plot([], [], "o", color=shade, linestyle="none", label=f"T = {horizon:,}")
        axes.set(xlabel="rho", title=f"batch {batch}")
        axes.legend(frameon=False, fontsize=7)
    np.atleast_1d(panels)[0].set_ylabel("best kappa (hollow: at the edge of the sweep)")
    return figure


def phase_map(result: PhaseMap) -> Figure:
    """Where SignSVD or signSGD is ahead, a panel a horizon."""
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
