"""From runs to laws over size and tokens: :mod:`adana.scaling.size_tokens` does the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adana.scaling.fits.size_tokens import (
    Extremes,
    IsoFlop,
    IsoFlops,
    OptimizerSizeTokens,
    Optimum,
    Size,
    SizeTokensLaw,
    SizeTokensLaws,
    SizeTokensPoint,
    Varies,
    Worth,
)
from adana.scaling.grouping import by_label, by_setting, check
from adana.scaling.intervals import Interval, factor_of, interval
from adana.scaling.progress import told
from adana.scaling.runs import SAME_HORIZON, Run
from adana.scaling.size_tokens import COLLINEAR, Points, bootstrap_samples, fit_points, least_squares, predicted

__all__ = ["cells_of", "points_of", "size_of", "size_tokens_law"]

Array = NDArray[np.float64]

FEWEST_CELLS = 6
KNOWN_TO = 3.0
SAME_BUDGET = 1.25
"""Budgets closer than this are one IsoFLOP parabola."""
FEWEST_OF_BUDGET = 5
EXTREME = 0.02
"""Part of the rows that count as an end of the tokens per parameter."""
MOVED = 2.0
"""Standard deviations by which rows at an end must move alpha or beta to be named."""
CUTS = 8
CUT_SAMPLES = 100
TOP = 0.2
"""Part of the cells, by compute, that hold-outs predict."""


def size_of(run: Run, size: Size) -> float:
    """N of a run: with both embeddings, or without.

    Raises:
        ValueError: the source does not say.
    """
    value = run.total_parameters if size == "total" else run.non_embedding_parameters
    if value is None:
        name = "total_parameters" if size == "total" else "non_embedding_parameters"
        raise ValueError(
            f"{run.where}: no size: add the column parameters or {name}, or say --columns parameters=COLUMN"
        )
    return float(value)


def which_size(runs: Sequence[Run], size: Size | None) -> Size:
    """The size asked for; else without embeddings where all runs say it."""
    if size is not None:
        return size
    return "non-embedding" if all(run.non_embedding_parameters for run in runs) else "total"


def cells_of(runs: Sequence[Run], size: Size) -> dict[tuple[float, float], list[Run]]:
    """The runs of one optimizer by size and tokens; tokens that differ by 2 % at one size are one cell.

    Raises:
        ValueError: a run without size or tokens.
    """
    for run in runs:
        if run.tokens is None:
            raise ValueError(f"{run.where}: no tokens: add the column tokens, or flops, or say --columns tokens=COLUMN")
    cells: dict[tuple[float, float], list[Run]] = {}
    last: tuple[float, float] | None = None
    for run in sorted(runs, key=lambda run: (size_of(run, size), run.tokens)):
        n, d = size_of(run, size), float(run.tokens or 0)
        if last is None or last[0] != n or d > last[1] * (1 + SAME_HORIZON):
            last = (n, d)
        cells.setdefault(last, []).append(run)
    return cells


def points_of(groups: dict[str, list[Run]], size: Size) -> tuple[Points, list[tuple[str, Run]]]:
    """Every seed of the best setting of every cell, as numbers, and the runs.

    Runs without learning rates, batches and settings that tell them apart are rows of their own where a cell has them.
    """
    rows: list[tuple[float, float, float, int, int]] = []
    runs: list[tuple[str, Run]] = []
    number = 0
    for owner, (name, own) in enumerate(groups.items()):
        for (n, d), cell in cells_of(own, size).items():
            best = min(by_setting(cell).values(), key=lambda group: fmean(run.final_loss for run in group))
            if not math.isfinite(fmean(run.final_loss for run in best)):
                continue
            for run in best:
                rows.append((n, float(run.tokens or d), run.final_loss, owner, number))
                runs.append((name, run))
            number += 1
    if not rows:
        raise ValueError("every run diverged: there is no loss to fit")
    n_, d_, loss, owners, cells = zip(*rows)
    return (
        Points(np.array(n_), np.array(d_), np.array(loss), np.array(owners, dtype=int), np.array(cells, dtype=int)),
        runs,
    )


def size_tokens_law(
    runs: Sequence[Run],
    *,
    size: Size | None = None,
    draw: Literal["rows", "cells"] = "rows",
    shared: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
    budgets: Sequence[float] = (),
    without_extremes: bool = False,
) -> SizeTokensLaws:
    """``L(N, D) = E + A N^-alpha + B D^-beta`` of every optimizer.

    Args:
        runs: at each size and number of tokens the best learning rate, batch and setting counts.
        size: which parameters N are; None takes those without embeddings where all runs say them.
        draw: what the bootstrap draws: rows, or cells of N and D.
        shared: one E, alpha and beta for all optimizers, each with its own A and B. Without it, only runs of one
            optimizer can be fitted at a time.
        bootstrap: samples.
        seed: of the bootstrap.
        budgets: FLOPs to give the best size and tokens for; none means ten times the largest of the runs.
        without_extremes: leave out the rows at an end of the tokens per parameter that move the law.

    Raises:
        ValueError: too few cells, or a run without size or tokens.

    Source: Hoffmann et al. (2022), Sections 3.2 and 3.3; Besiroglu et al. (2024).
    """
    check(runs)
    groups = by_label(runs)
    if len(groups) > 1 and not shared:
        raise ValueError(
            f"{len(groups)} optimizers: {', '.join(groups)}: choose one with --optimizers, or --exponents shared for "
            "one E, alpha and beta with each optimizer's own A and B"
        )
    which = which_size(runs, size)
    points, owners = points_of(groups, which)
    varies = _varies(points)
    _enough(points, varies, list(groups))
    generator = np.random.default_rng(seed)
    solved = fit_points(points, varies)

    extremes: list[Extremes] = []
    sides: tuple[Literal["fewest", "most"], ...] = ("fewest", "most") if varies == "both" else ()
    for side in sides:
        found = _extreme(points, owners, solved.u, side, left_out=without_extremes)
        if found is None:
            continue
        extremes.append(found[0])
        if without_extremes:
            points, owners = points.kept(found[1]), [one for one, keep in zip(owners, found[1]) if keep]
            solved = fit_points(points, varies)
    samples = bootstrap_samples(points, solved.u, bootstrap, generator, draw)

    noise = float(np.quantile(np.abs(solved.residuals), 0.95))
    needed = _needed(points, varies, solved.u, generator, draw)
    at = list(budgets) or [10 * float((6 * points.n * points.d).max())]
    widening = factor_of(needed)
    laws = []
    for owner, own in enumerate(groups.values()):
        laws.append(_of_optimizer(own[0], owner, solved.u, samples, varies, at, widening, noise))
    law = laws[0].law
    second = None
    if varies == "both":
        second = least_squares(points)
    return SizeTokensLaws(
        size=which,
        varies=varies,
        shared=len(groups) > 1,
        drawn=draw,
        models=tuple(sorted({run.model for run in runs if run.model})),
        batch_tokens=next(iter(batches)) if len(batches := {run.batch_tokens for run in runs}) == 1 else None,
        noise=noise,
        starts=(solved.tried, solved.agreeing),
        least_squares=second,
        widening=widening,
        held_out=len(needed),
        covered=sum(one <= 1 for one in needed),
        laws=tuple(laws),
        points=tuple(
            SizeTokensPoint(name, run.where, float(n), float(d), float(loss), float(off))
            for (name, run), n, d, loss, off in zip(owners, points.n, points.d, points.loss, solved.residuals)
        ),
        extremes=tuple(extremes),
        isoflops=_isoflops(points, law) if varies == "both" and len(groups) == 1 else None,
    )


def _varies(points: Points) -> Varies:
    if points.off_line >= COLLINEAR and np.ptp(np.log(points.n)) > 1e-6:
        return "both"
    return "size" if np.ptp(np.log(points.n)) > 1e-6 else "tokens"


def _enough(points: Points, varies: Varies, names: Sequence[str]) -> None:
    numbers = 3 + 2 * len(names) if varies == "both" else 2 + len(names)
    cells = len(np.unique(points.cell))
    if cells <= numbers or cells < FEWEST_CELLS - (varies != "both"):
        raise ValueError(
            f"too few cells of size and tokens: {cells} for the {numbers} numbers of the law; it needs "
            f"{max(numbers + 1, FEWEST_CELLS - (varies != 'both'))}"
        )
    for owner, name in enumerate(names):
        if not np.any(points.owner == owner):
            raise ValueError(f"{name}: every run diverged: there is no loss to fit")


def _of_optimizer(
    run: Run,
    owner: int,
    u: Array,
    samples: Array,
    varies: Varies,
    budgets: Sequence[float],
    widening: float,
    noise: float,
) -> OptimizerSizeTokens:
    optimizers = (len(u) - 3) // 2

    def numbers(rows: Array) -> Array:
        e, a, b = np.exp(rows[:, 0]), np.exp(rows[:, 3 + owner]), np.exp(rows[:, 3 + optimizers + owner])
        return np.stack([e, a, rows[:, 1], b, rows[:, 2]], axis=1)

    law = SizeTokensLaw(*(float(value) for value in numbers(u[None])[0]))
    drawn = numbers(samples)
    fitted = {"both": ("e", "a", "alpha", "b", "beta"), "size": ("e", "a", "alpha"), "tokens": ("e", "b", "beta")}
    intervals = {
        name: interval(drawn[:, k]) for k, name in enumerate(("e", "a", "alpha", "b", "beta")) if name in fitted[varies]
    }
    found = OptimizerSizeTokens(
        optimizer=run.optimizer,
        kappa=run.kappa,
        law=law,
        intervals=intervals,
        identified={name: one.low > 0 and one.high <= KNOWN_TO * one.low for name, one in intervals.items()},
        samples=tuple(tuple(float(f"{value:.7g}") for value in row) for row in drawn),  # type: ignore[misc]
    )
    extra: dict[str, object] = {}
    if varies == "both":
        laws = [SizeTokensLaw(*row) for row in found.samples]
        extra["size_exponent"] = interval([one.size_exponent for one in laws])
        optima = []
        for flops in budgets:
            n, d = law.optimum(flops)
            ends = np.array([one.optimum(flops) for one in laws])
            loss, band = found.predict(n, d, widening, noise)
            # Size and tokens for a budget are as uncertain as the law beyond the runs is: the same factor.
            wide = [_widened(value, interval(np.log(ends[:, k])), widening) for k, value in enumerate((n, d))]
            optima.append(Optimum(flops, n, wide[0], d, wide[1], loss, band))
        extra["optima"] = tuple(optima)
    if owner > 0:
        for name, first, exponent in (("worth_tokens", 3 + optimizers, 2), ("worth_parameters", 3, 1)):
            if np.isfinite(u[first]):
                logs = (samples[:, first] - samples[:, first + owner]) / samples[:, exponent]
                band = interval(logs)
                worth = math.exp((u[first] - u[first + owner]) / u[exponent])
                extra[name] = Worth(worth, Interval(math.exp(band.low), math.exp(band.high)))
    return OptimizerSizeTokens(**{**vars(found), **extra})


def _widened(value: float, logs: Interval, widening: float) -> Interval:
    middle = math.log(value)
    low, high = (middle + widening * (end - middle) for end in (min(logs.low, middle), max(logs.high, middle)))
    return Interval(math.exp(low), math.exp(high))


def _extreme(
    points: Points, owners: Sequence[tuple[str, Run]], u: Array, side: Literal["fewest", "most"], *, left_out: bool
) -> tuple[Extremes, NDArray[np.bool_]] | None:
    """The rows at one end of the tokens per parameter, where the law without them is another one."""
    ratio = points.d / points.n
    count = math.ceil(EXTREME * len(ratio))
    order = np.argsort(ratio if side == "fewest" else -ratio, kind="stable")[:count]
    keep = np.ones(len(ratio), dtype=bool)
    keep[order] = False
    rest = points.kept(keep)
    if rest.optimizers < points.optimizers or len(np.unique(rest.cell)) < len(u) + 1 or rest.off_line < COLLINEAR:
        return None
    other = fit_points(rest, start=u).u
    # The spread is that without them: a few rows that decide the law also widen its own bootstrap.
    spread = bootstrap_samples(rest, other, CUT_SAMPLES, np.random.default_rng(0), "rows")[:, 1:3].std(axis=0)
    shift = float(np.max(np.abs(other[1:3] - u[1:3]) / np.maximum(spread, 1e-12)))
    if shift < MOVED:
        return None
    law = SizeTokensLaw(
        math.exp(other[0]), math.exp(other[3]), float(other[1]), math.exp(other[3 + points.optimizers]), float(other[2])
    )
    return Extremes(side, tuple(owners[k][1].where for k in order), float(ratio[order[-1]]), law, shift, left_out), keep


def _needed(
    points: Points, varies: Varies, u: Array, generator: np.random.Generator, draw: Literal["rows", "cells"]
) -> list[float]:
    """By which factor an interval must be widened to hold each cell that is predicted from those of less compute.

    The cells of most compute are predicted from growing parts of the others. Noise of the measurement itself is not
    the law's: it is taken off first.
    """
    flops = points.n * points.d
    cells, first = np.unique(points.cell, return_index=True)
    order = cells[np.argsort(flops[first], kind="stable")]
    numbers = 3 + 2 * points.optimizers
    start = max(numbers + 2, round(len(order) * (1 - TOP)))
    cuts = (
        sorted({*np.linspace(start, len(order) - 1, CUTS).round().astype(int).tolist()}) if start < len(order) else []
    )
    needed: list[float] = []
    for cut in told("hold-outs", cuts):
        inside = np.isin(points.cell, order[:cut])
        rest = points.kept(inside)
        if rest.optimizers < points.optimizers or (varies == "both" and rest.off_line < COLLINEAR):
            continue
        solved = fit_points(rest, varies, start=u)
        samples = bootstrap_samples(rest, solved.u, CUT_SAMPLES, generator, draw)
        noise = float(np.quantile(np.abs(solved.residuals), 0.95))
        until = order[cut : cut + max(1, (len(order) - start) // CUTS)]
        for k in np.flatnonzero(np.isin(points.cell, until)):
            owner, n, d = int(points.owner[k]), points.n[k], points.d[k]
            value = math.log(float(predicted(solved.u[None], n, d, owner)[0]))
            band = interval(np.log(predicted(samples, n, d, owner)))
            error = math.log(points.loss[k]) - value
            half = max(band.high - value, 0.0) if error > 0 else max(value - band.low, 0.0)
            off = math.sqrt(max(0.0, error**2 - noise**2))
            needed.append(off / max(half, 1e-9) if off > 0 else 0.0)
    return needed


def _isoflops(points: Points, law: SizeTokensLaw) -> IsoFlops | None:
    """Parabolas in log N through the losses of budgets that several sizes have in common."""
    flops = 6 * points.n * points.d
    found = []
    for group in _budgets(flops):
        n = points.n[group]
        if len(np.unique(n)) < FEWEST_OF_BUDGET or n.max() < 3 * n.min():
            continue
        budget = float(np.exp(np.log(flops[group]).mean()))
        lowest = _lowest(np.log(n), points.loss[group])
        if lowest is None or not math.log(n.min()) < lowest[0] < math.log(n.max()):
            continue
        own = _lowest(np.log(n), np.array([law(size, budget / 6 / size) for size in n]))
        bias = None if own is None else math.exp(own[0]) / law.optimum(budget)[0]
        found.append(IsoFlop(budget, len(group), math.exp(lowest[0]), lowest[1], bias))
    if len(found) < 3:
        return None
    x, y = np.log([one.flops for one in found]), np.log([one.n for one in found])
    exponent, level = np.polyfit(x, y, 1)
    rest = y - level - exponent * x
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(np.sum((x - x.mean()) ** 2)))
    half = float(stats.t.ppf(0.975, len(x) - 2)) * error
    band = Interval(float(exponent) - half, float(exponent) + half)
    return IsoFlops(tuple(found), float(exponent), band, math.exp(float(level)))


def _budgets(flops: Array) -> list[NDArray[np.int_]]:
    """Runs of nearly one budget: the most runs within a factor first, then the most of those that are left."""
    logs, left = np.log(flops), np.ones(len(flops), dtype=bool)
    groups: list[NDArray[np.int_]] = []
    while True:
        inside = (logs[None] >= logs[:, None]) & (logs[None] <= logs[:, None] + math.log(SAME_BUDGET)) & left[None]
        counts = np.where(left, inside.sum(axis=1), 0)
        if counts.max() < FEWEST_OF_BUDGET:
            return sorted(groups, key=lambda group: float(logs[group].mean()))
        group = np.flatnonzero(inside[int(counts.argmax())])
        groups.append(group)
        left[group] = False


def _lowest(x: Array, y: Array) -> tuple[float, float] | None:
    middle = x.mean()
    square, slope, level = np.polyfit(x - middle, y, 2)
    if square <= 0:
        return None
    return float(middle - slope / (2 * square)), float(level - slope**2 / (4 * square))
