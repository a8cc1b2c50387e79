"""How sharp a sweep's minimum is: the curvature of loss over log learning rate. NumPy alone: the lab needs it too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["SweepCurvature", "curvature"]


@dataclass(frozen=True)
class SweepCurvature:
    """A parabola through one sweep, in log learning rate (56).

    Attributes:
        best_lr: where it is lowest.
        best_loss: how low.
        curvature: zeta, nats for an error of a factor e, squared in the log of the factor.
    """

    best_lr: float
    best_loss: float
    curvature: float


def curvature(sweep: Mapping[float, float]) -> SweepCurvature | None:
    """``L = L* + zeta (log gamma - log gamma_bar)^2`` through all finished learning rates of one size.

    Args:
        sweep: final loss by learning rate; inf is left out.

    Returns:
        The parabola, or None where there are fewer than three points, it does not open upwards, or so little that
        its bottom is out of all range.

    >>> found = curvature({0.5: 2.1, 1.0: 2.0, 2.0: 2.1})
    >>> round(found.best_lr, 6), round(found.curvature * math.log(2) ** 2, 6)
    (1.0, 0.1)
    >>> curvature({1.0: 1.0, math.e: 2.0, math.e**2: 3.0 + 1e-9}) is None
    True

    Source: Section F.3.6 (56).
    """
    finite = {lr: loss for lr, loss in sweep.items() if math.isfinite(loss)}
    if len(finite) < 3:
        return None
    x = np.log(list(finite))
    zeta, linear, constant = (float(value) for value in np.polyfit(x - x.mean(), list(finite.values()), 2))
    if zeta <= 0:
        return None
    offset = -linear / (2 * zeta)
    if abs(x.mean() + offset) > 700:
        return None
    return SweepCurvature(math.exp(x.mean() + offset), constant - zeta * offset**2, zeta)
