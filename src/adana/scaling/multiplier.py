"""How much compute a baseline would need to match a loss (Section C.2.1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Multiplier", "compute_multiplier"]


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
