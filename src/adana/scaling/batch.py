"""What a batch changes at equal tokens: the best alpha~, and what an optimizer is worth against a baseline.

The damping law (:mod:`adana.scaling.damping`) is of linear dampings over the length of a run; this is of the damping
scale alpha~ as optimizers have it, at one size and number of tokens, over tokens per step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from scipy import stats

from adana.scaling.damping import best_damping
from adana.scaling.fits import BatchLaws, BatchRow, OptimizerBatch
from adana.scaling.fits.size_tokens import Size
from adana.scaling.grouping import best_loss, by_label, by_setting, check
from adana.scaling.intervals import Interval
from adana.scaling.multiplier import budget_multipliers, pooled_spread
from adana.scaling.runs import Run
from adana.scaling.size_tokens_fit import size_of, which_size

__all__ = ["batch_law"]

Cell = tuple[float, float, float]
"""Parameters, tokens, tokens per step."""


def batch_law(
    runs: Sequence[Run],
    *,
    baseline: str = "adamw",
    size: Size | None = None,
    seed_noise: float | None = None,
    seed: int = 0,
) -> BatchLaws:
    """Best alpha~ and token multiplier of every optimizer over the batch, at equal tokens.

    Args:
        runs: at each size, number of tokens and batch the best learning rate and setting counts.
        baseline: the optimizer to compare with, by name, or by name and kappa as shown.
        size: which parameters N are; None takes those without embeddings where all runs say them.
        seed_noise: standard deviation of one run's loss; None takes it from runs with several seeds.
        seed: of the intervals' draws.

    Raises:
        ValueError: a run without size, tokens or batch; one batch at every size and number of tokens.

    Source: Section C.2.1 for the multiplier; Section H.1 and Figure 33 for alpha~ over the batch.
    """
    check(runs)
    which = which_size(runs, size)
    groups = by_label(runs)
    named = [name for name, own in groups.items() if baseline in (name, own[0].optimizer)]
    base = named[0] if len(named) == 1 else ""
    cells = {name: _cells(own, which) for name, own in groups.items()}
    batches: dict[tuple[float, float], set[float]] = {}
    for own in cells.values():
        for n, d, batch in own:
            batches.setdefault((n, d), set()).add(batch)
    if not any(len(seen) > 1 for seen in batches.values()):
        raise ValueError("one batch at every size and number of tokens: there is nothing to compare at equal tokens")
    worth = _worth(cells, base, seed_noise, seed) if base else {}
    return BatchLaws(
        baseline=base,
        size=which,
        models=tuple(sorted({run.model for run in runs if run.model})),
        laws=tuple(_of_optimizer(name, own, worth) for name, own in cells.items()),
    )


def _cells(runs: Sequence[Run], size: Size) -> dict[Cell, list[Run]]:
    found: dict[Cell, list[Run]] = {}
    for run in runs:
        if run.tokens is None:
            raise ValueError(f"{run.where}: no tokens: add the column tokens, or steps and batch_tokens")
        if run.batch_tokens is None:
            raise ValueError(f"{run.where}: no batch: add the column batch_tokens")
        found.setdefault((size_of(run, size), run.tokens, run.batch_tokens), []).append(run)
    return dict(sorted(found.items()))


def _losses(runs: Sequence[Run]) -> list[float]:
    """Of the best setting, over its seeds."""
    best = min(by_setting(runs).values(), key=lambda group: fmean(run.final_loss for run in group))
    return [run.final_loss for run in best]


def _worth(
    cells: dict[str, dict[Cell, list[Run]]], baseline: str, seed_noise: float | None, seed: int
) -> dict[tuple[str, Cell], BatchRow]:
    """Multipliers in tokens at each size and batch, as rows that have nothing else."""
    every = [_losses(runs) for own in cells.values() for runs in own.values()]
    spread = pooled_spread([losses for losses in every if all(map(math.isfinite, losses))])
    noise = seed_noise if seed_noise is not None else None if spread is None else spread[0]
    found: dict[tuple[str, Cell], BatchRow] = {}
    for n, batch in dict.fromkeys((n, batch) for n, _, batch in cells[baseline]):
        at = {
            name: {d: losses for (m, d, b), runs in own.items() if (m, b) == (n, batch) for losses in [_losses(runs)]}
            for name, own in cells.items()
        }
        finite = {
            name: {d: losses for d, losses in own.items() if all(map(math.isfinite, losses))}
            for name, own in at.items()
        }
        if len(finite[baseline]) < 2:
            continue
        used = {name: own for name, own in finite.items() if own}
        for row in budget_multipliers(used, baseline, seed_noise=noise, seed=seed):
            band = None
            if row.low is not None and row.high is not None and math.isfinite(row.low):
                band = Interval(row.low, row.high)
            if row.found is not None:
                value, beyond = row.found.multiplier, row.found.extrapolated
                cell = (n, row.compute, batch)
                found[row.optimizer, cell] = BatchRow(
                    *cell, row.loss, multiplier=value, extrapolated=beyond, interval=band
                )
    return found


def _of_optimizer(name: str, cells: dict[Cell, list[Run]], worth: dict[tuple[str, Cell], BatchRow]) -> OptimizerBatch:
    rows, points = [], []
    for cell, runs in cells.items():
        n, d, batch = cell
        loss = best_loss(runs)
        if not math.isfinite(loss):
            continue
        scales: dict[float, list[Run]] = {}
        for run in runs:
            scale = (run.keywords or {}).get("damping_scale")
            if isinstance(scale, int | float):
                scales.setdefault(float(scale), []).append(run)
        best, bracketed = None, None
        sweep = {scale: best_loss(own) for scale, own in scales.items()}
        if sum(map(math.isfinite, sweep.values())) >= 3:
            point = best_damping(n, d / batch, batch, sweep)
            best, bracketed = point.best, point.bracketed
            if bracketed:
                points.append((n, d, math.log(batch), math.log(best)))
        other = worth.get((name, cell))
        rows.append(
            BatchRow(
                *(n, d, batch, loss, best, bracketed),
                multiplier=None if other is None else other.multiplier,
                extrapolated=None if other is None else other.extrapolated,
                interval=None if other is None else other.interval,
            )
        )
    return OptimizerBatch(name, tuple(rows), *_exponent(points))


def _exponent(points: Sequence[tuple[float, float, float, float]]) -> tuple[float | None, Interval | None]:
    """Slope of log alpha~ over log B, with a level for each size and number of tokens."""
    groups: dict[tuple[float, float], list[tuple[float, float]]] = {}
    for n, d, x, y in points:
        groups.setdefault((n, d), []).append((x, y))
    used = [np.array(own) for own in groups.values() if len({x for x, _ in own}) > 1]
    if not used:
        return None, None
    off = np.concatenate([own - own.mean(axis=0) for own in used])
    squares = float(off[:, 0] @ off[:, 0])
    slope = float(off[:, 0] @ off[:, 1]) / squares
    freedom = len(off) - len(used) - 1
    if freedom < 1:
        return slope, None
    rest = off[:, 1] - slope * off[:, 0]
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(float(rest @ rest) / freedom / squares)
    return slope, Interval(slope - half, slope + half)
