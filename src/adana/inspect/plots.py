"""Drawing what was looked at."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from adana.drawing import COLOURS
from adana.inspect.hilberg import Hilberg
from adana.inspect.optimizer import OptimizerState

__all__ = ["figure", "hilberg", "optimizer"]


def figure(result: Hilberg | OptimizerState) -> Figure:
    """The figure of any result."""
    return hilberg(result) if isinstance(result, Hilberg) else optimizer(result)


def hilberg(result: Hilberg) -> Figure:
    """Code length per byte over the length of the text, with the fit of the mean over starts."""
    drawn = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = drawn.subplots()
    for colour, curve in zip(COLOURS, result.curves):
        for one in curve.rates:
            axes.plot(curve.lengths, one, ".", color=colour, markersize=4, alpha=0.5)
        fit = curve.fits[0]
        n = np.geomspace(curve.lengths[0], curve.lengths[-1], 200)
        beta = "not known" if fit.at_edge else f"{fit.exponent:.2f}"
        label = f"{curve.compressor}: Hilberg exponent {beta}"
        axes.plot(n, fit.rate * np.exp(fit.scale * n ** (fit.exponent - 1)), color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="bytes of text", ylabel="bits per byte")
    axes.legend(frameon=False)
    return drawn


PANELS = (
    ("memory_steps", "memory, steps"),
    ("alpha", "alpha, by the schedule"),
    ("momentum_norm", "momentum norm"),
    ("mfac", "mfac"),
    ("effective_alpha", "alpha after clipping"),
    ("clipped", "share clipped"),
)


def optimizer(result: OptimizerState) -> Figure:
    """Each number over steps, a line for each kind of parameter; of tau the median with its 10 to 90 %."""
    kinds = list(dict.fromkeys(kind.kind for snapshot in result.snapshots for kind in snapshot.kinds))
    colours = dict(zip(kinds, COLOURS))
    series = {
        (name, kind): [
            (snapshot.step, getattr(one, name))
            for snapshot in result.snapshots
            for one in snapshot.kinds
            if one.kind == kind and getattr(one, name) is not None
        ]
        for name in (*(name for name, _ in PANELS), "tau")
        for kind in kinds
    }
    shown = [(name, title) for name, title in (*PANELS, ("tau", "tau")) if any(series[name, kind] for kind in kinds)]
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    drawn = Figure(figsize=(3.4 * columns, 2.7 * rows), layout="constrained")
    all_axes = drawn.subplots(rows, columns, squeeze=False).flatten()
    for axes in all_axes[len(shown) :]:
        axes.set_visible(False)
    for axes, (name, title) in zip(all_axes, shown):
        for kind in kinds:
            points = series[name, kind]
            steps = [step for step, _ in points]
            if name == "tau":
                levels = np.array([values for _, values in points]).reshape(-1, len(result.quantiles))
                axes.fill_between(steps, levels[:, 1], levels[:, 3], color=colours[kind], alpha=0.2, linewidth=0)
                axes.plot(steps, levels[:, 2], ".-", color=colours[kind], label=kind)
            elif points:
                axes.plot(steps, [value for _, value in points], ".-", color=colours[kind], label=kind)
        axes.set(title=title, xlabel="step")
        if name not in ("clipped", "tau"):
            axes.set_yscale("log")
    all_axes[0].legend(frameon=False, fontsize=8)
    return drawn
