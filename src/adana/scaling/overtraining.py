"""Does an optimizer's advantage grow with training? Losses over ``f = D / 20 N`` at fixed sizes.

1. At each size the best setting of every optimizer at every number of tokens gives its loss over f.
2. ``m(f)``: tokens that the baseline would need for the loss, over the tokens used (Section C.2.1 along this axis).
3. ``L_B(f) = L_A(c f^p)`` says ``log(m f) = log c + p log f``: a straight line, one p for all sizes and a c for each.
   Here the baseline's losses are joined by lines straight in log tokens: lines straight in tokens lie above a
   power law, and most where its budgets are far apart.
4. Intervals redraw every loss with the noise of a run; that of p also has what the line leaves of the points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from adana.scaling.fits.overtraining import OptimizerOvertraining, Overtraining, TokenMultiplier
from adana.scaling.fits.size_tokens import Size
from adana.scaling.grouping import by_label, by_setting, check
from adana.scaling.intervals import Interval, hull, interval
from adana.scaling.multiplier import compute_multiplier, pooled_spread
from adana.scaling.runs import Run
from adana.scaling.size_tokens_fit import cells_of, which_size

__all__ = ["CHINCHILLA", "exponent_of", "overtraining"]

Array = NDArray[np.float64]
LossByTokens = dict[float, list[float]]
"""Losses of the seeds by tokens, ascending."""

CHINCHILLA = 20.0
"""Tokens per parameter where f is 1."""


@dataclass(frozen=True)
class _Exponent:
    p: float
    factors: dict[float, float]
    interval: Interval | None
    span: float
    points: int


def overtraining(
    runs: Sequence[Run],
    *,
    baseline: str = "adamw",
    size: Size | None = None,
    seed_noise: float | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Overtraining:
    """Token multipliers of every optimizer over f, and the exponent p.

    Args:
        runs: of the baseline and another optimizer, at one or more sizes, each with several numbers of tokens; at
            each the best setting counts, by its mean over seeds.
        baseline: the optimizer to compare with, by its label.
        size: which parameters N are; None takes those without embeddings where all runs say them.
        seed_noise: standard deviation of one run's loss; None takes it from the seeds, pooled over all points.
        draws: redrawn tables.
        seed: of the draws.

    Raises:
        ValueError: no such baseline, nothing to compare, or no size at which the baseline has two numbers of tokens.

    Source: Section C.2.1; an exponent of 2 - kappa is what theory expects of ADana (arXiv 2609.04577).
    """
    check(runs)
    which = which_size(runs, size)
    groups = by_label(runs)
    named = [label for label, own in groups.items() if baseline in (label, own[0].optimizer)]
    if len(named) != 1:
        what = "no runs" if not named else "several kappas"
        raise ValueError(f"{what} of the baseline {baseline!r}: choose one of {', '.join(groups)}")
    baseline = named[0]
    if len(groups) < 2:
        raise ValueError(f"no other optimizer than the baseline {baseline} has finished: there is nothing to compare")
    ladders = {label: _ladders(own, which) for label, own in groups.items()}
    own = {n: ladder for n, ladder in ladders[baseline].items() if len(ladder) > 1}
    if not own:
        raise ValueError(
            f"the baseline {baseline} has at no size two numbers of tokens: multipliers over the overtraining axis "
            "need runs of one size at several tokens per parameter"
        )
    if not any(n in own for label in ladders if label != baseline for n in ladders[label]):
        shown = ", ".join(f"{n:.4g}" for n in own)
        raise ValueError(f"no other optimizer has runs at a size of the baseline's ladder ({shown} parameters)")
    every = [losses for sizes in ladders.values() for ladder in sizes.values() for losses in ladder.values()]
    pooled = pooled_spread(every)
    sigma, freedom = (seed_noise, None) if seed_noise is not None else pooled or (None, None)
    generator = np.random.default_rng(seed)
    laws = []
    for label, sizes in ladders.items():
        if label == baseline:
            continue
        mine = {n: ladder for n, ladder in sizes.items() if n in own}
        redrawn = None if sigma is None else [_redrawn((own, mine), sigma, freedom, generator) for _ in range(draws)]
        rows = _rows(own, mine, redrawn)
        found = exponent_of(own, mine, redrawn)
        laws.append(
            OptimizerOvertraining(
                label=label,
                rows=tuple(rows),
                exponent=None if found is None else found.p,
                interval=None if found is None else found.interval,
                factors=() if found is None else tuple(sorted(found.factors.items())),
                span=1.0 if found is None else found.span,
                points=0 if found is None else found.points,
            )
        )
    return Overtraining(
        baseline=baseline,
        size=which,
        models=tuple(sorted({run.model for run in runs if run.model})),
        noise=sigma,
        ladder=tuple(
            (n, tokens / (CHINCHILLA * n), fmean(losses))
            for n, ladder in sorted(own.items())
            for tokens, losses in ladder.items()
        ),
        laws=tuple(laws),
    )


def _ladders(runs: Sequence[Run], size: Size) -> dict[float, LossByTokens]:
    """Losses of the seeds of the best setting, by tokens, by size; none where all diverged."""
    found: dict[float, LossByTokens] = {}
    for (n, tokens), cell in cells_of(runs, size).items():
        losses = min(
            ([run.final_loss for run in seeds] for seeds in by_setting(cell).values()), key=lambda row: fmean(row)
        )
        if math.isfinite(fmean(losses)):
            found.setdefault(n, {})[tokens] = losses
    return {n: dict(sorted(ladder.items())) for n, ladder in sorted(found.items())}


Means = tuple[dict[float, dict[float, float]], dict[float, dict[float, float]]]


def _redrawn(
    ladders: Sequence[Mapping[float, LossByTokens]], sigma: float, freedom: int | None, generator: np.random.Generator
) -> Means:
    """Mean losses with new noise; few seeds say little about their own spread, so that its uncertainty is drawn too."""
    scale = sigma * (1.0 if freedom is None else math.sqrt(freedom / generator.chisquare(freedom)))
    first, second = (
        {
            n: {d: fmean(x) + scale * generator.standard_normal() / math.sqrt(len(x)) for d, x in ladder.items()}
            for n, ladder in sizes.items()
        }
        for sizes in ladders
    )
    return first, second


def _mean(sizes: Mapping[float, LossByTokens]) -> dict[float, dict[float, float]]:
    return {n: {d: fmean(losses) for d, losses in ladder.items()} for n, ladder in sizes.items()}


def _rows(
    own: Mapping[float, LossByTokens], mine: Mapping[float, LossByTokens], redrawn: Sequence[Means] | None
) -> list[TokenMultiplier]:
    base, other = _mean(own), _mean(mine)
    rows = []
    for n, ladder in other.items():
        budgets = list(base[n])
        for tokens, loss in ladder.items():
            found = compute_multiplier(budgets, list(base[n].values()), tokens, loss)
            band = None
            if redrawn is not None:
                drawn = []
                for first, second in redrawn:
                    line, value = list(first[n].values()), second[n][tokens]
                    one = compute_multiplier(budgets, line, tokens, value)
                    drawn.append(one.multiplier if one else math.inf if value < line[-1] else 0.0)
                ranked = sorted(drawn)
                band = Interval(ranked[int(0.025 * len(ranked))], ranked[int(0.975 * len(ranked))])
            in_log = _in_log(base[n], loss)
            rows.append(
                TokenMultiplier(
                    n=n,
                    f=tokens / (CHINCHILLA * n),
                    loss=loss,
                    multiplier=None if found is None else found.multiplier,
                    joined_in_log=None if in_log is None else math.exp(in_log) / tokens,
                    extrapolated=None if found is None else found.extrapolated,
                    interval=band,
                )
            )
    return rows


def _in_log(baseline: Mapping[float, float], loss: float) -> float | None:
    """Log of the tokens at which the baseline has a loss, its own joined by lines straight in log tokens.

    >>> round(math.exp(_in_log({1.0: 3.0, 4.0: 2.0}, 2.5)), 6)
    2.0
    """
    x, y = np.log(list(baseline)), list(baseline.values())
    pairs = [(k, k + 1) for k in range(len(x) - 1)]
    inside = [(i, j) for i, j in pairs if y[i] >= loss >= y[j] and y[i] > y[j]]
    i, j = inside[0] if inside else pairs[-1] if loss < y[-1] else pairs[0]
    if not y[i] > y[j]:
        return None
    return float(x[i] + (y[i] - loss) / (y[i] - y[j]) * (x[j] - x[i]))


def exponent_of(
    own: Mapping[float, LossByTokens], mine: Mapping[float, LossByTokens], redrawn: Sequence[Means] | None = None
) -> _Exponent | None:
    """The exponent p of ``L_B(f) = L_A(c f^p)`` with one c for each size.

    Args:
        own: losses of the seeds of the baseline, by tokens, by size.
        mine: those of the other optimizer.
        redrawn: the mean losses of both with new noise, many times.

    Returns:
        None where at no size two losses lie inside those of the baseline.

    >>> base = {1e8: {d: [4 * d**-0.1] for d in (1e9, 2e9, 4e9, 8e9, 16e9)}}
    >>> better = {1e8: {d: [4 * (1.2 * 2e9 * (d / 2e9) ** 1.1) ** -0.1] for d in (1e9, 2e9, 4e9)}}
    >>> round(exponent_of(base, better).p, 2)
    1.1
    """
    base, other = _mean(own), _mean(mine)
    # Which points count is decided once: were it redrawn too, a point at the end would come and go.
    used = {
        n: [d for d, loss in ladder.items() if min(base[n].values()) <= loss <= max(base[n].values())]
        for n, ladder in other.items()
    }
    used = {n: points for n, points in used.items() if len(points) > 1}
    if not used:
        return None
    f = np.concatenate([np.log([d / (CHINCHILLA * n) for d in points]) for n, points in used.items()])
    columns = np.zeros((len(f), len(used)))
    row = 0
    for k, points in enumerate(used.values()):
        columns[row : row + len(points), k] = 1.0
        row += len(points)
    design = np.concatenate([columns, f[:, None]], axis=1)

    def line(
        first: Mapping[float, Mapping[float, float]], second: Mapping[float, Mapping[float, float]]
    ) -> Array | None:
        found = []
        for n, points in used.items():
            for d in points:
                at = _in_log(first[n], second[n][d])
                if at is None:
                    return None
                found.append(at - math.log(CHINCHILLA * n))
        return np.array(found)

    y = line(base, other)
    if y is None:
        return None
    solved = np.linalg.lstsq(design, y, rcond=None)[0]
    p = float(solved[-1])
    bands = []
    if redrawn is not None:
        drawn = [one for means in redrawn if (one := line(*means)) is not None]
        if drawn:
            bands.append(interval(np.linalg.lstsq(design, np.array(drawn).T, rcond=None)[0][-1]))
    freedom = len(y) - design.shape[1]
    if freedom > 0:
        from scipy import stats

        rest = y - design @ solved
        error = math.sqrt(float(rest @ rest) / freedom * float(np.linalg.inv(design.T @ design)[-1, -1]))
        half = float(stats.t.ppf(0.975, freedom)) * error
        bands.append(Interval(p - half, p + half))
    return _Exponent(
        p=p,
        factors={n: math.exp(float(solved[k])) for k, n in enumerate(used)},
        interval=hull(bands) if bands else None,
        span=max(max(points) / min(points) for points in used.values()),
        points=len(y),
    )
