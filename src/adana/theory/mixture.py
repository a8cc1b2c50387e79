"""Mixture-of-experts PLRF: sparse gradients from Zipf routing.

m experts with parameters theta_i share one W; every sample goes to expert i with probability
``p_i = i^-zeta / sum_j j^-zeta`` (equation 6). The gradient of expert i is ``(1/B) sum_{k to i} xhat_k
(<xhat_k, theta_i> - y_k)``: divided by B, not by the number routed. An expert without samples has a gradient of
exactly zero, and its optimizer still steps: averages decay and parameters move. The risk is
``R = sum_i p_i R_i`` (equation 7).

Status: the mean risk of each expert under linear methods is exact (:mod:`adana.theory.recursion` with
``probabilities``). Checked with m=8, d=40, B in {1, 8}, T=1500, SGD and DANA, away from the edge of stability,
where the risk becomes heavy-tailed and sample means fail. Source: Section B.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from adana.theory.checks import Floats, at_least, integer
from adana.theory.effort import Effort
from adana.theory.engines import Samples
from adana.theory.plrf import Plrf

__all__ = ["MoePlrf", "zipf"]


def zipf(experts: int, zeta: float) -> Floats:
    """``p_i = i^-zeta / sum_j j^-zeta``, (experts,).

    >>> zipf(3, 1.0).round(4).tolist()
    [0.5455, 0.2727, 0.1818]
    """
    Effort.of(held=3.0 * integer("experts", experts)).check(f"a routing to {experts:,} experts", "lower the experts")
    weights = np.arange(1, experts + 1, dtype=np.float64) ** -at_least("zeta", zeta, 0)
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class MoePlrf:
    """m experts on one drawn problem.

    Args:
        base: the problem every expert solves.
        experts: m >= 1.
        zeta: Zipf exponent, >= 0; 0 routes uniformly.

    Raises:
        ValueError: a number out of range.

    >>> problem = MoePlrf(Plrf(1.0, 0.5, v=40, d=10), experts=3)
    >>> problem.shape, bool(np.isclose(problem.risk(np.zeros((3, 10))), problem.base.risk(np.zeros(10))))
    ((3, 10), True)
    """

    base: Plrf
    experts: int
    zeta: float = 1.0

    def __post_init__(self) -> None:
        zipf(self.experts, self.zeta)

    @property
    def probabilities(self) -> Floats:
        """Of each expert, (m,)."""
        return zipf(self.experts, self.zeta)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameters, (m, d)."""
        return (self.experts, self.base.d)

    def expert_risk(self, theta: ArrayLike) -> Floats:
        """Risk of every expert, (..., m)."""
        return self.base.risk(theta)

    def risk(self, theta: ArrayLike) -> Floats:
        """Mixture risk ``sum_i p_i R_i`` of each of a stack of parameters (..., m, d)."""
        with np.errstate(all="ignore"):  # an expert that overflowed makes the mixture infinite
            return np.asarray(self.expert_risk(theta) @ self.probabilities)

    def risk_bound(self, norms_squared: Floats) -> Floats:
        """The mixture of each expert's bound."""
        return np.asarray(self.base.risk_bound(norms_squared) @ self.probabilities)

    def safe_norm_squared(self, bound: float) -> float:
        """As in the base problem: the mixture weighs no expert by more than one."""
        return self.base.safe_norm_squared(bound)

    def stream(self, seed: int, runs: int, batch: int, dtype: Any) -> Callable[[int], Samples]:
        """The base problem's samples, in the same order, and the expert of each."""
        base = self.base.stream(seed, runs, batch, dtype)
        routing = np.random.default_rng([seed, 3])
        # Routing by the cumulated probabilities draws one number per sample, whatever m is.
        edges = np.cumsum(self.probabilities)[:-1]

        def draw(steps: int) -> Samples:
            features, targets, _ = base(steps)
            return Samples(features, targets, np.searchsorted(edges, routing.random(targets.shape), side="right"))

        return draw
