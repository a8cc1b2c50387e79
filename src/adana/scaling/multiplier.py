"""How much compute a baseline would need to match a loss (Section C.2.1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

__all__ = ["BudgetMultiplier", "Multiplier", "compute_multiplier", "budget_multipliers", "pooled_spread"]


@dataclass(frozen=True)
class Multiplier:
    """A compute multiplier.

    Attributes:
        multiplier: ``C^A / C^B``: above 1 the baseline A needs more compute than B used.
        extrapolated: whether the loss lies outside the baseline's measured losses.
    """

    multiplier: float
    extrapolated: bool

    @property
    def efficiency(self) -> float:
        """``(C^A - C^B) / C^B``: the relative compute saved."""
        return self.multiplier - 1


def compute_multiplier(
    baseline_compute: Sequence[float], baseline_losses: Sequence[float], compute: float, loss: float
) -> Multiplier | None:
    """Compute multiplier of a run against a baseline trained to the end at several budgets.

    The baseline's losses are joined by straight lines, the outer ones extended; ``C^A`` is where that
    line first reaches ``loss``.

    Args:
        baseline_compute: budgets C_i, increasing, at least two.
        baseline_losses: final loss at each.
        compute: budget of the run.
        loss: its final loss.

    Returns:
        The multiplier, or None where no point of the line has that loss (an outer slope that does not
        fall, or a crossing at no positive compute).

    Raises:
        ValueError: fewer than two budgets, unequal lengths, budgets that do not increase, or a value that
            is not finite.

    Source: Section C.2.1.

    >>> compute_multiplier([1.0, 1.5], [2.0, 1.9], 1.0, 1.95)
    Multiplier(multiplier=1.25, extrapolated=False)
    """
    c, losses = list(baseline_compute), list(baseline_losses)
    if len(c) < 2 or len(c) != len(losses):
        raise ValueError(f"a baseline needs two or more budgets with one loss each, got {c} and {losses}")
    if not all(math.isfinite(x) for x in [*c, *losses, compute, loss]) or compute <= 0:
        raise ValueError(f"compute and losses must be finite, got {c}, {losses}, {compute}, {loss}")
    if any(later <= earlier for earlier, later in itertools.pairwise(c)):
        raise ValueError(f"baseline budgets must increase, got {c}")
    for i in range(len(c) - 1):
        high, low = losses[i], losses[i + 1]
        if high >= loss >= low and high > low:
            at = c[i] + (high - loss) / (high - low) * (c[i + 1] - c[i])
            return Multiplier(at / compute, False)
    first, last = (losses[1] - losses[0]) / (c[1] - c[0]), (losses[-1] - losses[-2]) / (c[-1] - c[-2])
    if loss < losses[-1] and last < 0:
        return Multiplier((c[-1] + (loss - losses[-1]) / last) / compute, True)
    if loss > losses[0] and first < 0:
        at = c[0] + (loss - losses[0]) / first
        return Multiplier(at / compute, True) if at > 0 else None
    return None


def pooled_spread(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """Standard deviation inside groups of runs that differ in their seed alone, and its degrees of freedom.

    >>> pooled_spread([[1.0, 2.0, 3.0], [5.0, 7.0], [4.0]])
    (1.1547005383792515, 3)
    >>> pooled_spread([[1.0], [2.0]]) is None
    True
    """
    freedom = sum(len(group) - 1 for group in groups)
    if freedom < 1:
        return None
    squares = sum((x - fmean(group)) ** 2 for group in groups for x in group)
    return math.sqrt(squares / freedom), freedom


@dataclass(frozen=True)
class BudgetMultiplier:
    """One optimizer's multiplier at one budget of a ladder.

    Attributes:
        optimizer: whose.
        compute: budget C^B.
        loss: its final loss, the mean over seeds.
        found: the multiplier; None where no budget gives the baseline that loss.
        low: lower end of the 95 % interval from seed noise; None where the noise is not known.
        high: upper end; inf where the noise lets the loss be one that the baseline never reaches.
    """

    optimizer: str
    compute: float
    loss: float
    found: Multiplier | None
    low: float | None
    high: float | None


def budget_multipliers(
    ladders: Mapping[str, Mapping[float, Sequence[float]]],
    baseline: str,
    *,
    seed_noise: float | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> list[BudgetMultiplier]:
    """Multipliers of every optimizer at every budget, each with its interval from seed noise.

    The interval redraws every mean loss, the baseline's too, with the standard deviation of one run over the root
    of the number of its seeds. Runs that share a seed are taken for independent, which errs on the wide side.

    Args:
        ladders: final losses, one a seed, by compute, by optimizer.
        baseline: the optimizer to compare with.
        seed_noise: standard deviation of one run's loss; None takes it from the seeds, pooled over all points.
        draws: redrawn ladders.
        seed: of the draws.

    Raises:
        ValueError: no such baseline, a point without losses, a noise below 0, or what :func:`compute_multiplier`
            refuses.

    Source: Section C.2.1.

    >>> ladders = {"adamw": {1.0: [3.0], 2.0: [2.8]}, "adana": {1.0: [2.9]}}
    >>> [(row.optimizer, row.compute, row.found.multiplier) for row in budget_multipliers(ladders, "adamw")]
    [('adana', 1.0, 1.5)]
    """
    if baseline not in ladders:
        raise ValueError(f"no runs of the baseline {baseline!r}: choose from {', '.join(ladders)}")
    if seed_noise is not None and not 0 <= seed_noise < math.inf:
        raise ValueError(f"the seed noise must be a number of at least 0, got {seed_noise}")
    for name, ladder in ladders.items():
        for compute, losses in ladder.items():
            if not losses:
                raise ValueError(f"{name} has no loss at compute {compute:g}")
    budgets = sorted(ladders[baseline])
    spread = pooled_spread([losses for ladder in ladders.values() for losses in ladder.values()])
    sigma, freedom = (seed_noise, None) if seed_noise is not None else spread or (None, None)
    generator = np.random.default_rng(seed)

    def redrawn(losses: Sequence[float], scale: np.ndarray) -> np.ndarray:
        return fmean(losses) + scale * generator.standard_normal(draws) / math.sqrt(len(losses))

    means = [fmean(ladders[baseline][c]) for c in budgets]
    if sigma is not None:
        # Few seeds say little about their own spread: its uncertainty is drawn too.
        scale = sigma * (np.ones(draws) if freedom is None else np.sqrt(freedom / generator.chisquare(freedom, draws)))
        noisy = np.stack([redrawn(ladders[baseline][c], scale) for c in budgets], axis=1)
    rows = []
    for name, ladder in ladders.items():
        if name == baseline:
            continue
        for compute, losses in sorted(ladder.items()):
            loss = fmean(losses)
            ends: tuple[float | None, float | None] = (None, None)
            if sigma is not None:
                values = [
                    _or_limit(compute_multiplier(budgets, line, compute, x), line[-1], x)
                    for line, x in zip(noisy.tolist(), redrawn(losses, scale).tolist())
                ]
                ranked = sorted(values)
                ends = (ranked[int(0.025 * draws)], ranked[min(draws - 1, int(0.975 * draws))])
            rows.append(BudgetMultiplier(name, compute, loss, compute_multiplier(budgets, means, compute, loss), *ends))
    return rows


def _or_limit(found: Multiplier | None, last: float, loss: float) -> float:
    """A multiplier, or the side on which there is none: no budget is large enough, or none small enough."""
    if found is not None:
        return found.multiplier
    return math.inf if loss < last else 0.0
