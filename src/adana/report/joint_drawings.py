"""What the figures of laws over size, tokens and batch look like."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adana.report.drawings import _grid, _log
from adana.report.page import INK, SOFT, Key
from adana.scaling.fits import OptimizerOvertraining, OptimizerRateBatch, SizeTokensLaw, SizeTokensLaws, SizeTokensPoint
from adana.scaling.intervals import interval
from adana.tables import count

__all__ = ["Point", "batches", "contours", "rates_over_both", "token_multipliers"]

Point = SizeTokensPoint
LEVELS = 9
REACH = 10.0
"""How far beyond the runs' compute the best size is drawn."""


def _axes_of_both(axes: Any, n: list[float], d: list[float]) -> None:
    axes.set_xlim(min(n) / 1.5, max(n) * 1.5)
    axes.set_ylim(min(d) / 1.5, max(d) * 1.5)
    _log(axes, "x", count)
    _log(axes, "y", count)
    axes.set(xlabel="parameters N", ylabel="tokens D")


def contours(axes: Any, fit: SizeTokensLaws, key: Key) -> None:
    """Levels of the loss over size and tokens, the runs, and the size with the least loss for its compute."""
    own = fit.laws[0]
    n, d = [point.n for point in fit.points], [point.tokens for point in fit.points]
    flops = [6 * point.n * point.tokens for point in fit.points]
    inside, beyond = _grid(min(flops), max(flops), 25), _grid(max(flops), REACH * max(flops), 9)
    line, further = ([own.law.optimum(c) for c in part] for part in (inside, beyond))
    x, y = (
        _grid(min(n) / 1.5, max(*n, further[-1][0]) * 1.5, 60),
        _grid(min(d) / 1.5, max(*d, further[-1][1]) * 1.5, 60),
    )
    grid_n, grid_d = np.meshgrid(x, y)
    law = own.law
    z = law.e + law.a * grid_n**-law.alpha + law.b * grid_d**-law.beta
    # Evenly spaced over what the law adds to E, in logarithms: the far corner would take every level otherwise.
    levels = law.e + np.geomspace(float(z.min()) - law.e, float(z.max()) - law.e, LEVELS + 2)[1:-1]
    drawn = axes.contour(grid_n, grid_d, z, levels=levels, colors=[SOFT], linewidths=0.8)
    axes.clabel(drawn, fmt=lambda value: f"{value:.3g}", fontsize=8, colors=[INK])
    samples = [SizeTokensLaw(*sample) for sample in own.samples]
    whole = [*inside, *beyond[1:]]
    ends = [
        interval([math.log(sample.optimum(c)[0] / law.optimum(c)[0]) for sample in samples if sample.a and sample.b])
        for c in whole
    ]
    lows, highs = (
        [law.optimum(c)[0] * math.exp(fit.widening * getattr(band, side)) for c, band in zip(whole, ends)]
        for side in ("low", "high")
    )
    # At a budget a smaller model has more tokens: the band is between two lines over N.
    band_x = [*lows, *reversed(highs)]
    band_y = [*(c / 6 / size for c, size in zip(whole, lows)), *(c / 6 / s for c, s in zip(whole[::-1], highs[::-1]))]
    axes.fill(band_x, band_y, color=key.colour, alpha=0.15, linewidth=0)
    axes.plot(*zip(*line), color=key.colour, linewidth=1.6)
    axes.plot(*zip(*further), color=key.colour, linewidth=1.6, linestyle=(0, (4, 2)))
    losses = [point.loss for point in fit.points]
    low, high = min(losses), max(losses)
    for point in fit.points:
        shade = 0.25 + 0.75 * ((high - point.loss) / (high - low) if high > low else 1.0)
        axes.plot(point.n, point.tokens, key.marker, color=key.colour, alpha=shade, markersize=4, zorder=4)
    _axes_of_both(axes, [x[0] * 1.5, x[-1] / 1.5], [y[0] * 1.5, y[-1] / 1.5])


def rates_over_both(axes: Any, law: OptimizerRateBatch, key: Key) -> None:
    """The best learning rate of each cell of size and tokens, and the law's levels."""
    best: dict[tuple[float, float], Any] = {}
    for one in law.rates:
        if (one.n, one.tokens) not in best or one.loss < best[one.n, one.tokens].loss:
            best[one.n, one.tokens] = one
    n, d = [one.n for one in best.values()], [one.tokens for one in best.values()]
    seen = sorted(one.batch_tokens for one in best.values() if one.batch_tokens is not None)
    batch = seen[len(seen) // 2] if seen else 1.0
    found = law.lr if law.at_best_batch is None else law.at_best_batch
    if len(set(n)) > 1 and len(set(d)) > 1:
        x, y = _grid(min(n) / 1.5, max(n) * 1.5, 40), _grid(min(d) / 1.5, max(d) * 1.5, 40)
        z = np.array([[math.log10(found.predict(N=a, D=b, B=batch)[0]) for a in x] for b in y])
        drawn = axes.contour(x, y, z, levels=6, colors=[SOFT], linewidths=0.8, linestyles="solid")
        axes.clabel(drawn, fmt=lambda value: f"{10**value:.2g}", fontsize=8, colors=[INK])
    for one in best.values():
        fill = key.colour if one.side == "inside" else "none"
        axes.plot(one.n, one.tokens, key.marker, markeredgecolor=key.colour, markerfacecolor=fill, zorder=4)
        axes.annotate(
            f"{one.value:.2g}", (one.n, one.tokens), xytext=(5, 4), textcoords="offset points", fontsize=8, color=INK
        )
    _axes_of_both(axes, n, d)


def batches(axes: Any, law: OptimizerRateBatch, key: Key) -> None:
    """The best tokens per step over tokens, and the law."""
    assert law.batch is not None
    d = [one.tokens for one in law.batches]
    x = _grid(min(d) / 1.3, max(d) * 1.3, 25)
    middle = sorted(one.n for one in law.batches)[len(law.batches) // 2]
    bands = [law.batch.predict(N=middle, D=value) for value in x]
    lows, highs = [band.low for _, band in bands], [band.high for _, band in bands]
    axes.fill_between(x, lows, highs, color=key.colour, alpha=0.15, linewidth=0)
    axes.plot(x, [value for value, _ in bands], color=key.colour, linestyle=(0, (4, 2)))
    for one in law.batches:
        fill = key.colour if one.side == "inside" else "none"
        axes.plot(one.tokens, one.value, key.marker, markeredgecolor=key.colour, markerfacecolor=fill, zorder=4)
    _log(axes, "x", count)
    _log(axes, "y", count)
    axes.set(xlabel="tokens D", ylabel="best tokens per step")


def token_multipliers(axes: Any, law: OptimizerOvertraining, key: Key) -> None:
    """m(f) of each size, with its interval and the law ``c f^(p - 1)``."""
    known = [(row, row.joined_in_log) for row in law.rows if row.joined_in_log is not None]
    factors = dict(law.factors)
    for n in sorted({row.n for row, _ in known}):
        own = [(row, m) for row, m in known if row.n == n]
        used = [row.f for row, _ in own if not row.extrapolated]
        if law.exponent is not None and n in factors and len(used) > 1:
            x, middle = _grid(min(used), max(used), 17), math.exp(sum(map(math.log, used)) / len(used))
            at = factors[n] * middle ** (law.exponent - 1)
            if law.interval is not None:
                bands = [[at * (f / middle) ** (p - 1) for f in x] for p in (law.interval.low, law.interval.high)]
                lows, highs = [min(pair) for pair in zip(*bands)], [max(pair) for pair in zip(*bands)]
                axes.fill_between(x, lows, highs, color=key.colour, alpha=0.15, linewidth=0)
            axes.plot(x, [at * (f / middle) ** (law.exponent - 1) for f in x], color=key.colour, linestyle=(0, (4, 2)))
        for row, m in own:
            if row.interval is not None and row.multiplier is not None and not row.extrapolated:
                # The interval is of the multiplier straight in tokens: as far, by ratio, from the one that is drawn.
                ends = [m * end / row.multiplier for end in (row.interval.low, row.interval.high)]
                axes.plot([row.f] * 2, ends, color=key.colour, linewidth=1, alpha=0.7)
            fill = "none" if row.extrapolated else key.colour
            axes.plot(row.f, m, key.marker, markeredgecolor=key.colour, markerfacecolor=fill, zorder=4)
        (last, m) = own[-1]
        axes.annotate(count(n), (last.f, m), xytext=(5, 2), textcoords="offset points", fontsize=8, color=INK)
    axes.axhline(1, color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
    if known:
        _log(axes, "x")
    axes.set(xlabel="f = tokens / (20 parameters)", ylabel="equivalent tokens m(f)")
