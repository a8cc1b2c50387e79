"""Spectrum of the neural tangent kernel of a two-layer network, by free multiplicative convolution.

``NTK = (1/d) X X' o (1/p) phi(X W/sqrt(d)) D^2 phi(...)'`` with ``phi = sigma'``, X (n, d) and W (d, p) of entries
N(0, 1), D diagonal. In the limit n/(dp) -> gamma_1 its spectrum is Marchenko and Pastur's law convolved with a law nu:
the Stieltjes transform solves ``m(z) = 1/(-z + mean_k tau_k/(1 + (n/(dp)) tau_k m))`` with ``tau ~ nu``.

nu, with Hermite coefficients ``b0 = E phi(Z)``, ``b1 = E Z phi(Z)``, ``kappa = Var phi(Z) - b1^2``: for D = I and
``t = spec(W'W/d)``, r = min(d, p): ``kappa`` and ``kappa + b1^2 (t_i + t_j)`` for i < j <= r,
``kappa + 2 b1^2 t_i``, ``kappa + b1^2 t_j`` d - r times, and kappa for the rest. For general D the eigenvalues of
``A -> A (b1^2 V'V/d + kappa D^2) + (b1^2/d) V A' V`` with ``V = W D``. The second term, which swaps A and A', is
essential: without it the spectrum is wrong.

Status: derived here and checked for odd sigma' (b0 = 0); with b0 != 0 about d eigenvalues leave the bulk. The limit
statement of the paper (Marchenko-Pastur convolved with some nu) is recovered; its own nu was not seen. Source: the
abstract on the two-layer kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from adana.theory.checks import Floats, NotSolved, at_least, integer, positive, vector
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.effort import Effort

__all__ = ["Hermite", "compare", "hermite", "kernel_law", "ntk_matrix", "smoothed_cdf", "stieltjes"]


@dataclass(frozen=True)
class Hermite:
    """``b0 = E phi``, ``b1 = E Z phi`` and ``kappa = Var phi - b1^2`` under a standard Gaussian."""

    b0: float
    b1: float
    kappa: float


def hermite(phi: Callable[[Floats], Floats], nodes: int = 200) -> Hermite:
    """Coefficients by Gauss-Hermite quadrature.

    >>> found = hermite(lambda x: x)
    >>> round(abs(found.b0), 10), round(found.b1, 10), round(abs(found.kappa), 10)
    (0.0, 1.0, 0.0)
    """
    x, weights = np.polynomial.hermite_e.hermegauss(integer("nodes", nodes))
    weights = weights / weights.sum()
    values = np.asarray(phi(x), dtype=np.float64)
    if values.shape != x.shape or not np.isfinite(values).all():
        raise ValueError("phi must give one finite value for each number")
    b0, b1 = float(weights @ values), float(weights @ (x * values))
    return Hermite(b0, b1, float(weights @ (values - b0) ** 2 - b1**2))


def ntk_matrix(x: Floats, w: Floats, diagonal: ArrayLike, phi: Callable[[Floats], Floats]) -> Floats:
    """The kernel matrix, (n, n).

    Args:
        x: data, (n, d).
        w: first layer, (d, p).
        diagonal: of D, (p,).
        phi: the derivative of the activation.
    """
    d, p = w.shape
    features = phi(x @ w / np.sqrt(d)) * vector("diagonal", diagonal, p)
    return np.asarray((x @ x.T / d) * (features @ features.T / p))


def kernel_law(w: Floats, coefficients: Hermite, diagonal: ArrayLike | None = None) -> Floats:
    """nu as d p equally likely values, rising.

    Args:
        w: first layer, (d, p).
        coefficients: of phi.
        diagonal: of D, (p,); None for the identity, in O(d p). Otherwise a dense eigenproblem of size d p <= 1500.
    """
    d, p = w.shape
    b, kappa = coefficients.b1**2, coefficients.kappa
    if diagonal is None:
        r = min(d, p)
        t = np.linalg.svd(w, compute_uv=False)[:r] ** 2 / d
        i, j = np.triu_indices(r, 1)
        law = [np.full(i.size, kappa), kappa + b * (t[i] + t[j]), kappa + 2 * b * t, np.repeat(kappa + b * t, d - r)]
        found = np.concatenate(law)
        return np.sort(np.concatenate([found, np.full(d * p - found.size, kappa)]))
    if d * p > 1500:
        raise ValueError(f"a general D needs d * p <= 1500, got {d * p}")
    scale = vector("diagonal", diagonal, p)
    v = w * scale
    right = b * v.T @ v / d + kappa * np.diag(scale**2)
    swap = b / d * np.einsum("ib,ja->iajb", v, v).reshape(d * p, d * p)
    return np.asarray(np.linalg.eigvalsh(np.kron(np.eye(d), right) + swap))


def stieltjes(z: ArrayLike, law: ArrayLike, ratio: float, *, iterations: int = 4000) -> np.ndarray:
    """``m(z)`` of the convolution, by a damped fixed point.

    Args:
        z: complex, imaginary parts positive.
        law: tau values, >= 0.
        ratio: n/(d p) > 0.
        iterations: at most.

    Raises:
        NotSolved: the iteration has not settled to 1e-10.
    """
    points = np.asarray(z, dtype=np.complex128)
    if (points.imag <= 0).any():
        raise ValueError("z must lie in the upper half plane")
    gamma = positive("ratio", ratio)
    # Equal values are one: nu has few, many times over.
    tau, counts = np.unique(np.maximum(np.asarray(law, dtype=np.float64), 0), return_counts=True)
    weights = counts / counts.sum()
    m = -1 / points
    for _ in range(iterations):
        new = 1 / (-points + (weights * tau / (1 + gamma * tau * m[:, None])).sum(1))
        change = float(np.abs(new - m).max())
        m = 0.5 * (m + new)
        if change < 1e-10:
            return np.asarray(m)
    raise NotSolved(f"the fixed point moves by {change:.1e} after {iterations} iterations: raise Im z")


def smoothed_cdf(grid: Floats, m: np.ndarray) -> Floats:
    """Distribution function of the density ``Im m/pi`` along a rising grid, from 0 at its start."""
    density = m.imag / np.pi
    return np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(grid))])


def compare(
    phi: Callable[[Floats], Floats] = np.tanh,
    *,
    n: int = 1500,
    d: int = 48,
    p: int = 24,
    spread: tuple[float, float] | None = None,
    seed: int = 0,
    points: int = 400,
) -> Comparison:
    """Smoothed distribution of a drawn kernel's eigenvalues beside the convolution and plain Marchenko-Pastur.

    Args:
        phi: the derivative of the activation.
        n: samples.
        d: inputs.
        p: hidden units.
        spread: D uniform on this interval; None for the identity.
        seed: of X, W and D.
        points: of the grid.
    """
    for name, value in (("n", n), ("d", d), ("p", p)):
        integer(name, value)
    hidden = float(min(d, p)) ** 2 / 2 if spread is None else float(d) * p
    effort = Effort.of(
        held=6.0 * n * n + n * (d + p) + 10.0 * d * p, calls=1, numbers=2.0 * n**3 + n * n * (d + p) * 0.2
    )
    effort += Effort.of(held=6.0 * points * hidden, calls=500, numbers=10.0 * points * hidden)
    effort.check(f"a kernel of {n:,} samples, {d:,} inputs and {p:,} hidden units", "lower n, d or p")
    rng = np.random.default_rng([integer("seed", seed, 0), 4])
    x, w = rng.standard_normal((n, d)), rng.standard_normal((d, p))
    scale = np.ones(p) if spread is None else rng.uniform(at_least("spread", spread[0], 0), spread[1], p)
    measured = np.linalg.eigvalsh(ntk_matrix(x, w, scale, phi))
    law = kernel_law(w, hermite(phi), None if spread is None else scale)
    ratio, mean = n / (d * p), float(law.mean())
    width = 0.02 * mean
    grid = np.linspace(-0.5 * mean, 1.15 * measured[-1], points)
    z = grid + 1j * width
    drawn = (1 / (measured - z[:, None])).mean(1)
    cdfs = [smoothed_cdf(grid, m) for m in (drawn, stieltjes(z, law, ratio), stieltjes(z, np.array([mean]), ratio))]
    gap, plain = (float(np.abs(cdfs[0] - other).max()) for other in cdfs[1:])
    return Comparison(
        f"NTK of a two-layer net, n={n}, d={d}, p={p}: smoothed distribution of eigenvalues",
        "eigenvalue",
        "distribution function",
        (
            ComparedCurve("against nu", grid, cdfs[0], cdfs[1]),
            ComparedCurve("against plain Marchenko-Pastur", grid, cdfs[0], cdfs[2]),
        ),
        ("Both sides are smoothed by Im z = 0.02 of the mean. With E phi != 0 about d eigenvalues leave the bulk.",),
        {"distance": gap, "distance_plain": plain},
        logarithmic=False,
    )
