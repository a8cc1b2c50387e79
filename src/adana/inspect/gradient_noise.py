"""The gradient noise scale of McCandlish et al. (2018), from gradients of independent parts of the data.

``B_simple = tr(S) / |G|^2`` is the batch at which the noise of a gradient is as large as the gradient: ``G`` is the
gradient of the expected loss and ``S`` the covariance of one sequence's.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

__all__ = ["LEAST_GROUPS", "Gradients", "Noise", "average_weights", "check_enough", "estimate", "noise_scale"]

LEAST_GROUPS = 4
PIECE = 1 << 22


@dataclass(frozen=True)
class Noise:
    """Signal and noise of a gradient.

    Attributes:
        signal: ``|G|^2``, without bias: it can come out below 0 where noise hides it.
        noise: ``tr(S)`` of one sequence, without bias.
        scale: ``noise / signal`` in sequences; None where the signal is not above 0.
        low: end of the scale's 95 % interval, by the jackknife over groups of sequences; None where there is no noise.
        high: the other end; None where the signal may be 0.
    """

    signal: float
    noise: float
    scale: float | None
    low: float | None
    high: float | None


class Gradients:
    """Sums over gradients from which signal and noise follow, in groups; no gradient is kept.

    With units of one sequence this is the estimator by single gradients; with units of ``b`` sequences it is McCandlish
    et al.'s with two batch sizes, ``b`` and all: ``|G|^2 = (B |g_B|^2 - b mean |g_b|^2) / (B - b)`` and ``tr(S) =
    (mean |g_b|^2 - |g_B|^2) / (1/b - 1/B)``.

    Args:
        groups: how many groups of units the interval is over.
        unit: sequences that each gradient is the mean of.

    Raises:
        ValueError: fewer than four groups, or a unit below 1.

    Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1.
    """

    def __init__(self, groups: int = 8, unit: int = 1) -> None:
        if groups < LEAST_GROUPS or unit < 1:
            raise ValueError(f"groups must be at least {LEAST_GROUPS} and unit at least 1, got {groups} and {unit}")
        self.unit = unit
        self.sums: list[Tensor | None] = [None] * groups
        self.squares, self.counts = np.zeros(groups), np.zeros(groups)

    def add(self, group: int, gradients: Tensor) -> None:
        """Count gradients, (units, elements), into a group."""
        total = gradients.sum(dim=0)
        kept = self.sums[group]
        self.sums[group] = total if kept is None else kept.add_(total)
        self.squares[group] += sum(_dot(one, one) for one in gradients)
        self.counts[group] += len(gradients)

    def dot(self, other: Tensor) -> float:
        """The inner product of the mean gradient with a vector."""
        return sum(_dot(one, other) for one in self._sums()) / float(self.counts.sum())

    def products(self) -> np.ndarray:
        """Inner products of the groups' sums; those of sets of parameters add up to the whole model's.

        Raises:
            ValueError: a group without a gradient.
        """
        sums = self._sums()
        return np.array([[_dot(a, b) for b in sums] for a in sums])

    def _sums(self) -> list[Tensor]:
        sums = [one for one in self.sums if one is not None]
        if len(sums) < len(self.sums):
            raise ValueError(f"{len(self.sums) - len(sums)} of {len(self.sums)} groups have no gradient")
        return sums


def _dot(a: Tensor, b: Tensor) -> float:
    """In float64, without a copy of either as a whole."""
    return sum(float(x.double() @ y.double()) for x, y in zip(a.split(PIECE), b.split(PIECE)))


def check_enough(sequences: int, unit: int, groups: int) -> None:
    """Refuse fewer than two gradients for each group.

    Raises:
        ValueError: too few sequences.
    """
    if sequences < 2 * unit * groups:
        raise ValueError(
            f"sequences must be at least {2 * unit * groups}, two gradients of {unit} for each of {groups} groups, got "
            f"{sequences}"
        )


def estimate(products: np.ndarray, squares: np.ndarray, counts: np.ndarray, unit: int = 1) -> Noise:
    """Signal and noise from sums over groups.

    Args:
        products: inner products of the groups' sums of gradients, (groups, groups).
        squares: sum of the squared norms in each group.
        counts: gradients in each group.
        unit: sequences that each gradient is the mean of.
    """

    def both(chosen: np.ndarray) -> tuple[float, float]:
        n, total = counts[chosen].sum(), products[np.ix_(chosen, chosen)].sum()
        signal = (total - squares[chosen].sum()) / (n * (n - 1))
        return float(signal), float(unit * (squares[chosen].sum() - total / n) / (n - 1))

    every = np.arange(len(counts))
    signal, noise = both(every)
    scale = noise / signal if signal > 0 else None
    if noise <= 0:
        return Noise(signal, noise, scale, None, None)
    # Over 1/scale: it has a value and an error where the signal may be 0, too.
    k = len(counts)
    left_out = [both(np.delete(every, i)) for i in every]
    inverse = np.array([one / other for one, other in left_out])
    half = float(stats.t.ppf(0.975, k - 1)) * math.sqrt((k - 1) / k * float(np.square(inverse - inverse.mean()).sum()))
    low, high = (1 / end if end > 0 else None for end in (signal / noise + half, signal / noise - half))
    return Noise(signal, noise, scale, low, high)


def noise_scale(gradients: Any, *, unit: int = 1, groups: int = 8) -> Noise:
    """The gradient noise scale of an array of gradients.

    Args:
        gradients: (units, elements), each the mean gradient of so many independent sequences.
        unit: how many.
        groups: the interval is over so many groups of them.

    Raises:
        ValueError: an array of another shape, or fewer than two gradients for each group.

    Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = noise_scale(0.1 + rng.standard_normal((4096, 1000)))  # |G|^2 = 10, tr(S) = 1000
        >>> round(found.scale)
        100
    """
    array = torch.as_tensor(np.asarray(gradients, dtype=np.float64))
    if array.ndim != 2 or len(array) < 2 * groups:
        raise ValueError(
            f"gradients must be an array (units, elements) with at least {2 * groups} units, two for each of {groups} "
            f"groups, got one of shape {tuple(array.shape)}"
        )
    sums = Gradients(groups, unit)
    for group, part in enumerate(array.tensor_split(groups)):
        sums.add(group, part)
    return estimate(sums.products(), sums.squares, sums.counts, unit)


def average_weights(updates: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Sum of an average's weights, and of their squares.

    ``sum^2 / squares`` is how many independent batches the average is worth; noise of variance ``v`` in each leaves
    ``squares v`` in it.

    Args:
        updates: of each update in order, what the average keeps of itself and the weight of what comes in.

    Example:
        >>> total, squares = average_weights([(0.9, 0.1)] * 1000)
        >>> round(total**2 / squares, 3)  # (1 + beta)/(1 - beta)
        19.0
    """
    total = squares = 0.0
    for keeps, weight in updates:
        total = keeps * total + weight
        squares = keeps * keeps * squares + weight * weight
    return total, squares
