"""The best learning rate over size, tokens and batch, and the best batch over tokens.

1. Each cell of (N, D, batch) has a sweep of learning rates. A parabola in log lr through those near the best gives its
   best, with the error that the noise of a loss and the curvature leave.
2. ``lr* = c N^a D^b B^g`` is a line in logarithms, weighted by these errors and by the spread of cells around the law.
   A cell whose best is at the edge of its grid is a bound: it counts only where the law is on the wrong side of it.
3. Over the batches of one (N, D) the lowest points make a parabola in log batch: ``B* = k D^h``, and the learning rate
   there, ``c N^a D^b``, which is the form of published laws.
4. The bootstrap draws whole (N, D) with replacement.

Source of the form: the Step Law (arXiv 2503.04715).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adana.scaling.fits.rate_batch import Best, OptimizerRateBatch, PowerLaw, RateBatchLaws, Side
from adana.scaling.fits.size_tokens import Size
from adana.scaling.grouping import by_label, by_setting, check
from adana.scaling.intervals import Interval, interval
from adana.scaling.runs import Run
from adana.scaling.size_tokens_fit import cells_of, which_size

__all__ = ["best_of", "power_law", "rate_batch_law"]

Array = NDArray[np.float64]

NEAR = 1.2
"""Logarithms of learning rates, or batches, this near to the best make the parabola."""
FEWEST = 3
SAME = 0.05
"""Spread of a logarithm around a line over the others below which it cannot be told from them."""


def rate_batch_law(
    runs: Sequence[Run], *, size: Size | None = None, bootstrap: int = 1000, seed: int = 0
) -> RateBatchLaws:
    """Laws of the best learning rate and batch of every optimizer.

    Args:
        runs: sweeps of the learning rate at several sizes and tokens, at one batch or more.
        size: which parameters N are; None takes those without embeddings where all runs say them.
        bootstrap: samples.
        seed: of the bootstrap.

    Raises:
        ValueError: a run without size, tokens, learning rate or batch, or too few cells with three learning rates.
    """
    check(runs)
    which = which_size(runs, size)
    laws = []
    for name, own in by_label(runs).items():
        try:
            laws.append(_of_optimizer(own, which, bootstrap, np.random.default_rng(seed)))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return RateBatchLaws(which, tuple(sorted({run.model for run in runs if run.model})), tuple(laws))


def _of_optimizer(
    runs: Sequence[Run], size: Size, bootstrap: int, generator: np.random.Generator
) -> OptimizerRateBatch:
    sweeps: dict[tuple[float, float, float], dict[float, float]] = {}
    for (n, tokens), cell in cells_of(runs, size).items():
        for group in by_setting(cell).values():
            run = group[0]
            if run.lr is None:
                raise ValueError(f"{run.where}: no learning rate: add the column lr, or say --columns lr=COLUMN")
            if run.batch_tokens is None:
                raise ValueError(f"{run.where}: no batch: add the column batch_tokens, or say --columns batch=COLUMN")
            sweep = sweeps.setdefault((n, tokens, run.batch_tokens), {})
            sweep[run.lr] = min(sweep.get(run.lr, math.inf), fmean(one.final_loss for one in group))
    usable = {key: sweep for key, sweep in sweeps.items() if sum(map(math.isfinite, sweep.values())) >= FEWEST}
    noise = _noise(list(usable.values()))
    rates = [Best(n, d, batch, *best_of(sweep, noise)) for (n, d, batch), sweep in sorted(usable.items())]
    missing = []
    if len(usable) < len(sweeps):
        missing.append(f"{len(sweeps) - len(usable)} cells have fewer than {FEWEST} finished learning rates: left out")
    lr = power_law(rates, ("N", "D", "B"), bootstrap, generator, "learning rate", missing)
    at: dict[tuple[float, float], list[Best]] = {}
    for one in rates:
        at.setdefault((one.n, one.tokens), []).append(one)
    batches, there = [], []
    lines = [{one.batch_tokens or 0.0: one.loss for one in line} for line in at.values() if len(line) >= FEWEST]
    coarse = _noise(lines)
    for (n, d), line in at.items():
        if len(line) < FEWEST:
            continue
        best = Best(n, d, None, *best_of({one.batch_tokens or 0.0: one.loss for one in line}, coarse))
        batches.append(best)
        inside = [one for one in line if one.side == "inside"]
        if best.side == "inside" and len(inside) > 1:
            logs = np.log([one.batch_tokens or 0.0 for one in inside])
            value = math.exp(float(np.interp(math.log(best.value), logs, np.log([one.value for one in inside]))))
            error = float(np.interp(math.log(best.value), logs, [one.error for one in inside]))
            there.append(Best(n, d, best.value, value, "inside", error, best.loss))
    batch = at_best = None
    if batches:
        try:
            batch = power_law(batches, ("D",), bootstrap, generator, "best batch", missing)
            at_best = power_law(there, ("N", "D"), bootstrap, generator, "learning rate at the best batch", missing)
        except ValueError as error:
            missing.append(str(error))
    else:
        missing.append(f"no size and number of tokens has {FEWEST} batches: no law of the batch")
    return OptimizerRateBatch(
        runs[0].optimizer, runs[0].kappa, lr, at_best, batch, tuple(rates), tuple(batches), tuple(missing)
    )


def best_of(sweep: Mapping[float, float], noise: float) -> tuple[float, Side, float, float]:
    """Where a sweep is lowest, on which side of the grid it may lie, the error of its logarithm, and the loss.

    Args:
        sweep: loss by learning rate or batch; inf for a run that diverged.
        noise: standard deviation of a loss.

    >>> value, side, error, loss = best_of({1.0: 2.1, 2.0: 2.0, 4.0: 2.1}, 0.001)
    >>> round(value, 6), side, round(loss, 6)
    (2.0, 'inside', 2.0)
    >>> best_of({1.0: 2.0, 4.0: 2.1, 16.0: 2.3}, 0.001)[:2]  # a parabola that is less at 1 than at 4 is lowest below 2
    (2.0, 'at most')
    """
    ranked = sorted(value for value in sweep if math.isfinite(sweep[value]))
    k = min(range(len(ranked)), key=lambda i: sweep[ranked[i]])
    if k == 0 and ranked[0] == min(sweep):
        return math.sqrt(ranked[0] * ranked[1]), "at most", 0.0, sweep[ranked[0]]
    if k == len(ranked) - 1 and ranked[-1] == max(sweep):
        return math.sqrt(ranked[-1] * ranked[-2]), "at least", 0.0, sweep[ranked[-1]]
    x, y, design = _window(sweep, ranked, k)
    solved = np.linalg.lstsq(design, y, rcond=None)[0]
    square, slope = float(solved[0]), float(solved[1])
    offset = -slope / (2 * square) if square > 0 else math.inf
    if not x.min() <= offset <= x.max():  # no bottom there: the best one itself, as uncertain as the grid is wide
        return ranked[k], "inside", float(np.ptp(x)) / 4, sweep[ranked[k]]
    gradient = np.array([slope / (2 * square**2), -1 / (2 * square), 0.0])
    spread = noise * math.sqrt(max(0.0, float(gradient @ np.linalg.pinv(design.T @ design) @ gradient)))
    return ranked[k] * math.exp(offset), "inside", spread, float(solved[2] - slope**2 / (4 * square))


def _window(sweep: Mapping[float, float], ranked: Sequence[float], k: int) -> tuple[Array, Array, Array]:
    near = [value for value in ranked if abs(math.log(value / ranked[k])) <= NEAR]
    if len(near) < FEWEST:
        first = min(max(0, k - 1), len(ranked) - FEWEST)
        near = list(ranked[first : first + FEWEST])
    x = np.log(near) - math.log(ranked[k])
    return x, np.array([sweep[value] for value in near]), np.stack([x**2, x, np.ones_like(x)], axis=1)


def _noise(sweeps: Sequence[Mapping[float, float]]) -> float:
    """Standard deviation of a loss around the parabolas of all cells together; a little where nothing tells it."""
    squares = freedom = 0.0
    for sweep in sweeps:
        ranked = sorted(value for value in sweep if math.isfinite(sweep[value]))
        k = min(range(len(ranked)), key=lambda i: sweep[ranked[i]])
        if 0 < k < len(ranked) - 1:
            _, y, design = _window(sweep, ranked, k)
            if len(y) > FEWEST:
                rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
                squares, freedom = squares + float(rest @ rest), freedom + len(y) - FEWEST
    return math.sqrt(squares / freedom) if freedom else 1e-3


def power_law(
    bests: Sequence[Best],
    names: Sequence[str],
    bootstrap: int,
    generator: np.random.Generator,
    what: str,
    missing: list[str],
) -> PowerLaw:
    """A power law through the bests of cells.

    Args:
        bests: points and bounds.
        names: variables that it may have, of ``N``, ``D`` and ``B``; those that do not vary, or vary with the ones
            before them, are left out.
        bootstrap: samples.
        generator: of the bootstrap.
        what: is fitted, in words.
        missing: what is left out is said here.

    Raises:
        ValueError: fewer points than numbers.
    """
    inside = [one for one in bests if one.side == "inside"]
    read = {"N": lambda one: one.n, "D": lambda one: one.tokens, "B": lambda one: one.batch_tokens or 1.0}
    kept: list[str] = []
    columns = [np.ones(len(bests))]
    points = np.array([one.side == "inside" for one in bests], dtype=bool)
    for name in names:
        column = np.log([read[name](one) for one in bests])
        before = np.stack(columns, axis=1)[points]
        rest = (
            column[points] - before @ np.linalg.lstsq(before, column[points], rcond=None)[0] if points.any() else column
        )
        if len(rest) and float(np.std(rest)) >= SAME:
            kept.append(name)
            columns.append(column)
        else:
            why = "does not vary" if not len(rest) or np.ptp(column) < SAME else f"varies with {' and '.join(kept)}"
            missing.append(f"{what}: {name} {why}: no exponent of it")
    if len(inside) <= len(columns):
        raise ValueError(
            f"too few cells for a law of the {what}: {len(inside)} with a best inside their grid, for {len(columns)} "
            f"numbers ({len(bests) - len(inside)} more have it at the edge)"
        )
    x = np.stack(columns, axis=1)
    centre = np.concatenate([[0.0], x[:, 1:].mean(axis=0)])
    x = x - centre
    y = np.log([one.value for one in bests])
    error = np.array([one.error for one in bests])
    sign = np.array([{"inside": 0.0, "at least": 1.0, "at most": -1.0}[one.side] for one in bests])
    active = points.copy()
    spread, solved, weights = 0.1, np.zeros(len(columns)), np.ones(len(bests))
    for _ in range(60):
        weights = active / (error**2 + spread**2 + 1e-8)
        root = np.sqrt(weights)
        solved = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
        rest = y - x @ solved
        # The spread that makes the weighted squares of the points come out at their degrees of freedom.
        freedom = max(1, int(points.sum()) - len(columns))
        ratio = float(np.sum((rest**2 * weights)[points])) / freedom
        spread = float(np.clip(spread * math.sqrt(max(ratio, 1e-6)), 1e-4, 3.0))
        wrong = points | (sign * rest > 0)
        if bool((wrong == active).all()) and abs(ratio - 1) < 1e-3:
            break
        active = wrong
    groups = np.unique([(one.n, one.tokens) for one in bests], axis=0, return_inverse=True)[1].reshape(-1)
    count = int(groups.max()) + 1
    times = generator.multinomial(count, np.full(count, 1 / count), size=bootstrap)[:, groups] * weights
    normal = np.einsum("sn,np,nq->spq", times, x, x, optimize=True)
    right = np.einsum("sn,np,n->sp", times, x, y, optimize=True)
    # A sample that lacks what tells the numbers apart fits anything.
    good = np.linalg.cond(normal) < 1e10
    samples = np.linalg.solve(normal[good], right[good][..., None])[..., 0]
    if len(samples) < max(1, bootstrap // 4):
        raise ValueError(f"too few sizes and tokens for intervals of a law of the {what}: {count}")
    # Few groups say little about their own spread: percentiles come out where Student's t would put them.
    freedom = max(1, count - len(columns))
    wider = math.sqrt(count / freedom) * float(stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975))
    samples = solved + wider * (samples - solved)
    samples[:, 0] -= samples[:, 1:] @ centre[1:]
    solved[0] -= float(solved[1:] @ centre[1:])
    found = interval(samples[:, 0])
    intervals = {"factor": Interval(math.exp(found.low), math.exp(found.high))}
    intervals |= {name: interval(samples[:, k]) for k, name in enumerate(kept, 1)}
    return PowerLaw(
        factor=math.exp(float(solved[0])),
        exponents={name: float(solved[k]) for k, name in enumerate(kept, 1)},
        intervals=intervals,
        samples=tuple(tuple(float(f"{value:.7g}") for value in row) for row in samples),
        spread=spread,
        points=int(points.sum()),
        bounds=len(bests) - int(points.sum()),
    )
