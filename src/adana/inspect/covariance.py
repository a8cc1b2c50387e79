"""Spectra of covariances of vectors that come in pieces: exact where they are narrow, randomised where they are wide.

Exact: the sum of ``x x'``, (width, width). Randomised: subspace iteration, whose products ``C Q`` with a narrow Q,
(width, modes), are sums over the pieces as well; each pass over them is one iteration (Halko, Martinsson and Tropp
2011). A Ritz pair (theta, u) of the last pass has the residual ``|C u - theta u|``, and within it of theta lies an
eigenvalue of C: the error is known, and stated.

Both keep the sums of several groups of the pieces apart, so that the covariance without one of them costs no pass: what
intervals are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from adana.inspect.power_law import LEAST_VALUES, PowerLaw, fit_power_law, jackknife, slope
from adana.scaling.intervals import Interval

__all__ = [
    "GROUPS",
    "PASSES",
    "Eigen",
    "Exact",
    "Moments",
    "Randomised",
    "Spectrum",
    "covariance_spectrum",
    "described",
]

GROUPS = 8
PASSES = 3
"""Passes over the pieces of the randomised way: two iterations, then the products that the eigenvalues are from."""
SAMPLES_PER_WIDTH = 8


@dataclass(frozen=True)
class Eigen:
    """Eigenvalues, falling, their vectors as columns, and within which distance of each an eigenvalue lies."""

    values: Tensor
    vectors: Tensor
    errors: Tensor


class Moments(Protocol):
    """Sums over vectors."""

    width: int
    passes: int

    @property
    def samples(self) -> int:
        """How many vectors there were."""

    def add(self, x: Tensor, group: int) -> None:
        """Take vectors (n, width) of a group into the sums."""

    def next_pass(self) -> None:
        """All vectors have been seen once more."""

    def eigen(self, groups: Sequence[int] | None = None) -> Eigen:
        """Of the covariance of some groups; None for all."""

    def total(self) -> float:
        """The trace of the covariance of all."""

    def mean_square(self) -> float:
        """The squared length of the mean of all."""


class _Centred:
    def __init__(self, width: int, groups: int, device: torch.device | str) -> None:
        self.width, self.device = width, torch.device(device)
        self.counts = [0] * groups
        self.sums = torch.zeros(groups, width, dtype=torch.float64, device=device)
        self.squares = 0.0

    @property
    def samples(self) -> int:
        return sum(self.counts)

    def total(self) -> float:
        return self.squares / self.samples - self.mean_square()

    def mean_square(self) -> float:
        mean = self.sums.sum(0) / self.samples
        return float(mean @ mean)

    def _take(self, x: Tensor, group: int) -> Tensor:
        x = x.detach().reshape(-1, self.width).to(self.device, torch.float64)
        self.counts[group] += len(x)
        self.sums[group] += x.sum(0)
        self.squares += float(x.square().sum())
        return x

    def _mean(self, groups: Sequence[int]) -> tuple[int, Tensor]:
        count = sum(self.counts[group] for group in groups)
        return count, self.sums[list(groups)].sum(0) / count


class Exact(_Centred):
    """The whole covariance, in float64: ``8 groups width^2`` bytes.

    Args:
        width: of the vectors.
        groups: see the module.
        device: where the sums lie.
    """

    passes = 1

    def __init__(self, width: int, groups: int = GROUPS, device: torch.device | str = "cpu") -> None:
        super().__init__(width, groups, device)
        self.products = torch.zeros(groups, width, width, dtype=torch.float64, device=device)

    def add(self, x: Tensor, group: int) -> None:
        x = self._take(x, group)
        self.products[group].addmm_(x.T, x)

    def next_pass(self) -> None:
        pass

    def eigen(self, groups: Sequence[int] | None = None) -> Eigen:
        groups = range(len(self.counts)) if groups is None else groups
        count, mean = self._mean(groups)
        covariance = self.products[list(groups)].sum(0) / count - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        return Eigen(values.flip(0), vectors.flip(1), torch.zeros_like(values))


class Randomised(_Centred):
    """The leading eigenvalues, by subspace iteration: ``8 groups width modes`` bytes.

    Args:
        width: of the vectors.
        modes: columns of Q. Of them the first half is given out: the others are there for its accuracy.
        groups: see the module.
        device: where the sums lie.
        seed: of the first Q.
    """

    passes = PASSES

    def __init__(
        self, width: int, modes: int, groups: int = GROUPS, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        super().__init__(width, groups, device)
        self.modes = min(modes, width)
        draw = torch.randn(width, self.modes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.basis = torch.linalg.qr(draw.to(device)).Q
        self.products = torch.zeros(groups, width, self.modes, dtype=torch.float64, device=device)

    def add(self, x: Tensor, group: int) -> None:
        x = self._take(x, group)
        self.products[group].addmm_(x.T, x @ self.basis)

    def next_pass(self) -> None:
        self.basis = torch.linalg.qr(self._product(range(len(self.counts)))).Q
        for sums in (self.products, self.sums):
            sums.zero_()
        self.counts, self.squares = [0] * len(self.counts), 0.0

    def _product(self, groups: Sequence[int]) -> Tensor:
        count, mean = self._mean(groups)
        return self.products[list(groups)].sum(0) / count - torch.outer(mean, mean @ self.basis)

    def eigen(self, groups: Sequence[int] | None = None) -> Eigen:
        product = self._product(range(len(self.counts)) if groups is None else groups)
        small = self.basis.T @ product
        values, turns = torch.linalg.eigh((small + small.T) / 2)
        keep = max(1, self.modes // 2)
        values, turns = values.flip(0)[:keep], turns.flip(1)[:, :keep]
        vectors = self.basis @ turns
        return Eigen(values, vectors, (product @ turns - vectors * values).norm(dim=0))


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one covariance, and the law of their fall.

    Attributes:
        width: of the vectors.
        samples: how many vectors.
        method: ``"exact"``, or ``"randomised"``: then the leading eigenvalues only.
        error: largest relative error of an eigenvalue within the range of the fit, or of all given; 0 where exact.
        total: the trace: the sum of all eigenvalues, those not given included.
        eigenvalues: falling.
        effective_rank: ``(sum lambda)^2 / sum lambda^2``, the participation ratio; randomised, of those given, with the
            rest in the first sum.
        law: the power law, or what comes closest; None with fewer than 16 eigenvalues above 0.
        interval: of its exponent, 95 %, over parts of the samples (a jackknife over 8 groups, its range held); not over
            seeds or runs. None where a part has eigenvalues that are not above 0.
    """

    width: int
    samples: int
    method: str
    error: float
    total: float
    eigenvalues: list[float]
    effective_rank: float
    law: PowerLaw | None
    interval: Interval | None


def described(moments: Moments, groups: int = GROUPS) -> Spectrum:
    """The spectrum of what was added, with its law.

    Raises:
        ValueError: fewer samples than 8 times the width, or vectors that are not finite or do not vary.
    """
    needed = SAMPLES_PER_WIDTH * moments.width
    if moments.samples < needed:
        raise ValueError(
            f"a spectrum of width {moments.width:,} needs at least {needed:,} samples ({SAMPLES_PER_WIDTH} per "
            f"dimension), got {moments.samples:,}: with fewer it falls faster than the true one"
        )
    total = moments.total()
    if not np.isfinite(total):
        raise ValueError("vectors that are not finite have no spectrum: has the run diverged?")
    found = moments.eigen()
    values = found.values.cpu().numpy()
    # What is below the rounding of the sums is not known: directions without variance, such as a norm's mean.
    known = values > max(values[0], np.finfo(np.float64).tiny) * 1e-12
    kept = values[: int(known.argmin()) if not known.all() else len(values)]
    # Sums of x x' lose about as many digits as the mean square has more than the variance.
    if not len(kept) or total <= 1e-12 * (total + moments.mean_square()):
        raise ValueError("all vectors are the same: their covariance is zero and has no spectrum")
    exact = isinstance(moments, Exact)
    law = fit_power_law(kept, most=None if exact else len(kept)) if len(kept) >= LEAST_VALUES else None
    over = slice(law.first - 1, law.last) if law is not None else slice(len(kept))
    error = float((found.errors[over] / found.values[over]).max())
    return Spectrum(
        moments.width,
        moments.samples,
        "exact" if exact else "randomised",
        error,
        total,
        kept.tolist(),
        total**2 / float(np.square(kept).sum()),
        law,
        None if law is None else _jackknife(moments, law, groups),
    )


def _jackknife(moments: Moments, law: PowerLaw, groups: int) -> Interval | None:
    """Student's interval of the exponent from those without one group each."""
    without = []
    for left in range(groups):
        values = moments.eigen([group for group in range(groups) if group != left]).values.cpu().numpy()
        if len(values) < law.last or not values[law.last - 1] > 0:
            return None
        without.append(slope(values, law.first, law.last))
    return jackknife(law.exponent, without)


def covariance_spectrum(
    pieces: Callable[[], Iterable[ArrayLike]] | Sequence[ArrayLike],
    *,
    exact_up_to: int = 1024,
    modes: int = 256,
    groups: int = GROUPS,
    progress: Callable[[int], None] | None = None,
) -> Spectrum:
    """The covariance spectrum of vectors that come in pieces, and its power law.

    Args:
        pieces: arrays (n, width), all of one width; or what gives them anew for every pass. Piece i belongs to group
            ``i mod groups``: at least as many pieces as groups.
        exact_up_to: widest vectors whose whole covariance is held; wider ones are randomised.
        modes: columns of the randomised way, of which half are given out.
        groups: parts of the samples, for the interval.
        progress: is called with how many vectors were seen.

    Raises:
        ValueError: too few pieces or samples (8 per dimension are needed), or widths that differ.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scales = np.arange(1, 65) ** -0.6
        >>> found = covariance_spectrum([rng.normal(size=(500, 64)) * scales for _ in range(16)])
        >>> found.law.holds, round(found.law.exponent, 1)
        (True, 1.2)
    """
    again = pieces if callable(pieces) else lambda: pieces
    moments: Moments | None = None
    done = seen = 0
    while moments is None or done < moments.passes:
        if moments is not None:
            moments.next_pass()
        count = 0
        for count, piece in enumerate(again(), 1):
            x = torch.as_tensor(np.asarray(piece))
            if x.ndim != 2 or (moments is not None and x.shape[1] != moments.width):
                raise ValueError(f"pieces must be (n, width), all of one width, got {tuple(x.shape)}")
            if moments is None:
                wide = x.shape[1] > exact_up_to
                moments = Randomised(x.shape[1], modes, groups) if wide else Exact(x.shape[1], groups)
            moments.add(x, (count - 1) % groups)
            seen += len(x)
            if progress is not None:
                progress(seen)
        if moments is None or count < groups:
            raise ValueError(f"an interval over {groups} groups needs as many pieces, got {count}")
        done += 1
    return described(moments, groups)
