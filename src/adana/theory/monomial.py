"""Spectrum of monomial random features: does a power law survive ``x -> (W'x)^p``?

``x ~ N(0, H)``, eigenvalues ``lambda_j = j^-alpha``, W (v, d) of entries N(0, 1), ``S = W'HW``. The features'
covariance ``M = E_x[f(W'x) f(W'x)']/d`` with ``f(y) = y^p`` has, by Wick's formula, the entries

    ``d M_ij = sum_{k = p mod 2} (C(p,k) (p-k-1)!!)^2 k! S_ij^k (S_ii S_jj)^((p-k)/2)``, k <= p.

For infinite d and p = 2 the spectrum is ``{4 lambda_i lambda_j, i < j}`` together with the eigenvalues of
``(lambda lambda' + 2 diag(lambda^2))(11' + 2 I)``. For p = 1 it is lambda itself. Products of two power laws follow
``(log(j+1)/j)^alpha``, the abstract's law with degree p = 2.

Status: entries and the p = 2 limit exact; the law recalled from the abstract and checked on the sorted products. For
p >= 3 the range in which it is proved is empty at d <= 2000, so no slope is tested there. Source: the abstract on
monomial random features.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from adana.theory.checks import Floats, integer, positive, vector
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.effort import Effort

__all__ = ["compare", "feature_covariance", "limit_spectrum", "sorted_products"]


_LARGEST_DEGREE = 50


def _alpha(alpha: float) -> float:
    if positive("alpha", alpha) <= 1:
        raise ValueError(f"alpha must exceed 1 (a trace-class covariance), got {alpha!r}")
    return float(alpha)


def _double_factorial(n: int) -> int:
    return math.prod(range(n, 0, -2))


def feature_covariance(s: ArrayLike, degree: int) -> Floats:
    """``E[y_i^p y_j^p]`` for ``y ~ N(0, S)``: M without its factor 1/d.

    Args:
        s: covariance S, (d, d).
        degree: p >= 1.

    >>> feature_covariance([[1.0, 0.5], [0.5, 1.0]], 2).tolist()
    [[3.0, 1.5], [1.5, 3.0]]
    """
    matrix = np.asarray(s, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise ValueError(f"s must be a finite square matrix, got shape {matrix.shape}")
    p = integer("degree", degree)
    if p > _LARGEST_DEGREE:
        raise ValueError(f"degree must be at most {_LARGEST_DEGREE}, beyond which numbers overflow, got {p}")
    scale = np.diagonal(matrix)
    outer = np.outer(scale, scale)
    total = np.zeros_like(matrix)
    for k in range(p % 2, p + 1, 2):
        weight = (math.comb(p, k) * _double_factorial(p - k - 1)) ** 2 * math.factorial(k)
        total += weight * matrix**k * outer ** ((p - k) // 2)
    return total


def limit_spectrum(eigenvalues: ArrayLike, degree: int) -> Floats:
    """Spectrum for infinitely many features, falling; degree 1 or 2.

    >>> limit_spectrum([1.0], 2).tolist()  # E[(w x)^2 (w' x)^2] = 3 on w^2, whose mean square is 3
    [9.0]
    """
    lam = vector("eigenvalues", eigenvalues, least=0)
    if integer("degree", degree) == 1:
        return np.sort(lam)[::-1]
    if degree != 2:
        raise ValueError(f"the limit spectrum is known for degree 1 and 2, got {degree}")
    pairs = 4 * np.outer(lam, lam)[np.triu_indices(lam.size, 1)]
    # (lam lam' + 2 diag lam^2)(11' + 2I) is similar to C' (lam lam' + 2 diag lam^2) C with CC' = 11' + 2I.
    root = np.linalg.cholesky(np.ones((lam.size, lam.size)) + 2 * np.eye(lam.size))
    diagonal = np.linalg.eigvalsh(root.T @ (np.outer(lam, lam) + 2 * np.diag(lam**2)) @ root)
    return np.asarray(np.sort(np.concatenate([pairs, diagonal]))[::-1])


def sorted_products(alpha: float, count: int) -> Floats:
    """The ``count`` largest of ``(i j)^-alpha`` over i, j >= 1, falling.

    >>> sorted_products(2.0, 4).tolist()
    [1.0, 0.25, 0.25, 0.1111111111111111]
    """
    exponent, count = _alpha(alpha), integer("count", count)
    # sum_{n <= N} divisors(n) ~ N log N + (2 gamma - 1) N numbers lie above N^-alpha.
    top = 4
    while top * (math.log(top) + 0.154) < count + 2 * math.sqrt(top) + 2:
        top = int(top * 1.1) + 1
    divisors = np.zeros(top + 1, dtype=np.int64)
    for i in range(1, top + 1):
        divisors[i::i] += 1
    n = np.arange(1, top + 1)
    products = np.repeat(n, divisors[1:])[:count]
    return np.asarray(products.astype(np.float64) ** -exponent)


def compare(alpha: float = 2.0, degree: int = 2, *, d: int = 1000, v: int = 2000, seed: int = 0) -> Comparison:
    """Eigenvalues of M for one drawn W beside the limit spectrum (degree 1 and 2)."""
    exponent, p = _alpha(alpha), integer("degree", degree)
    integer("d", d)
    effort = Effort.of(held=2.0 * integer("v", v) * d + 6.0 * d * d, calls=1, numbers=0.2 * v * d * d + 2.0 * d**3)
    effort += Effort.of(calls=10.0 * p, numbers=5.0 * d * d)
    effort.check(f"a spectrum of {d:,} features in {v:,} dimensions", "lower d or v")
    lam = np.arange(1, v + 1, dtype=np.float64) ** -exponent
    w = np.random.default_rng([integer("seed", seed, 0), 4]).standard_normal((v, d))
    measured = np.linalg.eigvalsh(feature_covariance((w * lam[:, None]).T @ w, p) / d)[::-1]
    most = min(64, d, v if p == 1 else v * (v + 1) // 2)  # as many eigenvalues as both sides have
    ranks = np.unique(np.rint(np.geomspace(1, most, 30)).astype(np.int64))
    # The eigenvalues beyond the head's products of small lambdas do not reach the ranks compared.
    limit = limit_spectrum(lam[:400], p)[ranks - 1] if p <= 2 else None
    return Comparison(
        f"monomial features of degree {p}, alpha={alpha:g}, d={d}",
        "rank",
        "eigenvalue",
        (ComparedCurve("eigenvalues of M", ranks.astype(np.float64), measured[ranks - 1], limit),),
        ("For degree 3 and more no limit is drawn: the proved range is empty at such sizes.",) if p > 2 else (),
    )
