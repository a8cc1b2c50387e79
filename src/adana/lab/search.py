"""The paper's search for a learning rate, as a function of a function: it runs nothing itself (Section F.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adana.scaling.curvature import curvature

__all__ = ["LearningRateSearch", "bracketed_minimum", "search_learning_rate"]

Evaluate = Callable[[Sequence[float]], Sequence[float]]

MOST = 14


@dataclass(frozen=True)
class LearningRateSearch:
    """Where a search for a learning rate ended.

    Attributes:
        lr: the best learning rate tried; where it started if every run diverged.
        loss: the loss there; None if every run diverged.
        bracketed: whether the points wanted stood on each side of the best of the last grid.
        curvature: zeta (56), nats for an error of a factor e: of the parabola in ln(lr) through the points as near the
            best as the coarse grid's sides reach; None with fewer than three of them, or if it opens downwards.
        points: every (learning rate, loss) tried, by learning rate; inf for a diverged run.
    """

    lr: float
    loss: float | None
    bracketed: bool
    curvature: float | None
    points: tuple[tuple[float, float], ...]


def search_learning_rate(
    evaluate: Evaluate,
    start: float,
    *,
    coarse: float = 2.0,
    fine: float | None = 1.25,
    sides: int = 2,
    most: int = MOST,
) -> LearningRateSearch:
    """Search a learning rate on a coarse grid, then on a fine one around the best point of that.

    Each grid is ``lr = centre * factor^k``, extended until ``sides`` points stand on each side of its best (32, 33). A
    coarse grid that ends without that has no minimum to refine, and is the end of the search.

    Args:
        evaluate: losses of several learning rates at once; inf for a diverged run. Never asked for one twice.
        start: a point of the coarse grid.
        coarse: its spacing.
        fine: spacing of the second grid; None for none.
        sides: points wanted on each side of the best.
        most: points of one grid at most; a grid that needs more ends unbracketed.

    Raises:
        ValueError: a start or spacing that cannot be, too few points for one grid, or a loss that is NaN.

    Source: Section F.1; curvature: F.3.6 (56).

    >>> found = search_learning_rate(lambda lrs: [3 + 0.02 * math.log(lr / 0.003) ** 2 for lr in lrs], 2.0**-10)
    >>> round(found.lr, 5), found.bracketed, round(found.curvature, 6)
    (0.00313, True, 0.02)
    """
    _check(start, coarse, fine, sides, most)
    known: dict[float, float] = {}

    def once(lrs: Sequence[float]) -> list[float]:
        new = [lr for lr in lrs if lr not in known]
        if new:
            known.update(zip(new, map(float, evaluate(new))))
        if any(math.isnan(known[lr]) for lr in new):
            raise ValueError("a loss is NaN: a run that diverged counts as inf")
        return [known[lr] for lr in lrs]

    lr, loss, bracketed = bracketed_minimum(once, start, coarse, sides=sides, most=most)
    if fine is not None and bracketed:
        lr, loss, bracketed = bracketed_minimum(once, lr, fine, sides=sides, most=most)
    points = tuple(sorted(known.items()))
    if loss == math.inf:
        return LearningRateSearch(start, None, False, None, points)
    reach = sides * math.log(coarse) + 1e-9
    parabola = curvature({x: y for x, y in points if abs(math.log(x / lr)) <= reach})
    return LearningRateSearch(lr, loss, bracketed, parabola.curvature if parabola else None, points)


def _check(start: float, coarse: float, fine: float | None, sides: int, most: int) -> None:
    if not 0 < start < math.inf:
        raise ValueError(f"start must be a finite number above 0, got {start!r}")
    for name, factor in (("coarse", coarse), ("fine", fine)):
        if factor is not None and not 1 < factor < math.inf:
            raise ValueError(f"{name} must be a factor above 1, got {factor!r}")
    if sides < 1:
        raise ValueError(f"sides must be at least 1, got {sides}")
    if most < 2 * sides + 1:
        raise ValueError(f"most must be at least {2 * sides + 1} for {sides} points on each side, got {most}")


def bracketed_minimum(
    evaluate: Evaluate,
    start: float,
    factor: float,
    *,
    sides: int = 2,
    most: int = MOST,
) -> tuple[float, float, bool]:
    """Minimise over a geometric grid, extended until ``sides`` points stand on each side of the best.

    Args:
        evaluate: losses of several points at once; ``inf`` for a diverged run.
        start: a point of the grid.
        factor: the grid's spacing.
        sides: points wanted on each side.
        most: points at most; a search that needs more ends unbracketed.

    Returns:
        The best point, its loss, and whether it is bracketed.

    Source: Section F.1.

    >>> bracketed_minimum(lambda xs: [abs(x - 0.25) for x in xs], 1.0, 2.0)
    (0.25, 0.0, True)
    """
    losses: dict[int, float] = {}
    wanted = list(range(-sides, sides + 1))
    while wanted and len(losses) + len(wanted) <= most:
        losses.update(zip(wanted, evaluate([start * factor**k for k in wanted])))
        best = min(losses, key=lambda k: (losses[k], k))
        wanted = [k for k in range(best - sides, best + sides + 1) if k not in losses]
    best = min(losses, key=lambda k: (losses[k], k))
    return start * factor**best, losses[best], not wanted and math.isfinite(losses[best])
