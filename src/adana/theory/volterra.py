"""One-pass SGD as a discrete Volterra equation: forcing, kernel, stability, limit risk.

With ``q_j = 1 - 2 gamma lambda_j + gamma^2 lambda_j^2 (B+1)/B``,

    ``P(t) = F(t) + sum_{s<t} K(t-1-s) P(s)``,
    ``F(t) = P_inf + sum_j lambda_j r_j(0) q_j^t``, ``K(k) = (gamma^2/B) sum_j lambda_j^2 q_j^k``.

The sum of the kernel is ``|K| = (gamma/B) sum_j lambda_j/(2 - gamma lambda_j (B+1)/B)``. SGD converges if and
only if every ``q_j < 1`` and ``|K| < 1``, and then ``P(inf) = P_inf/(1 - |K|)``. The familiar threshold
``gamma < 2/tr(H)`` is not exact: where the first eigenvalue dominates it is too large by the factor (B+1)/B.

The same curve has a closed form: ``r' = M r + (gamma^2/B) P_inf lambda`` with the constant symmetric matrix
``M = diag(q) + (gamma^2/B) lambda lambda'``, so one eigendecomposition gives any time.

Status: exact for SGD. Checked: equal to the mode recursion to 1e-12; 0.97 and 1.03 times the critical rate
converge and blow up for B = 1 and 3. Source: the structure of arXiv 2405.15074, derived here at finite size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from adana.theory.checks import Floats, at_least, integer, positive, vector

__all__ = ["critical_lr", "kernel_norm", "limit_risk", "sgd_risk", "volterra_risk"]


def _spectrum(eigenvalues: ArrayLike, batch: int) -> tuple[Floats, int]:
    lam = vector("eigenvalues", eigenvalues, least=0)
    if not lam.any():
        raise ValueError("eigenvalues must not all be zero")
    return lam, integer("batch", batch)


def kernel_norm(lr: float, eigenvalues: ArrayLike, batch: int = 1) -> float:
    """``|K|``; infinite where some q_j >= 1, so that SGD converges exactly where it is below 1.

    >>> round(kernel_norm(0.5, [1.0], 1), 3)
    0.5
    """
    lam, batch = _spectrum(eigenvalues, batch)
    room = 2 - positive("lr", lr) * lam * (batch + 1) / batch
    return float(lr / batch * np.sum(lam / room)) if (room > 0).all() else float("inf")


def critical_lr(eigenvalues: ArrayLike, batch: int = 1) -> float:
    """The learning rate at which ``|K| = 1``.

    >>> round(critical_lr([1.0], 1), 6)  # one mode: 2/(1 + 2/B)
    0.666667
    """
    lam, batch = _spectrum(eigenvalues, batch)
    highest = 2 * batch / ((batch + 1) * lam.max())
    # |K| rises from 0 to infinity over this interval.
    root = brentq(
        lambda x: kernel_norm(x, lam, batch) - 1, 1e-12 * highest, highest * (1 - 1e-12), xtol=1e-15 * highest
    )
    return float(root)


def limit_risk(lr: float, eigenvalues: ArrayLike, p_infinity: float, batch: int = 1) -> float:
    """Risk after infinitely many steps, ``(P_inf/(1 - |K|))/2``; infinite where SGD does not converge."""
    norm = kernel_norm(lr, eigenvalues, batch)
    return 0.5 * at_least("p_infinity", p_infinity, 0) / (1 - norm) if norm < 1 else float("inf")


def volterra_risk(
    lr: float, eigenvalues: ArrayLike, modes: ArrayLike, p_infinity: float, total_steps: int, batch: int = 1
) -> Floats:
    """Mean risk of SGD at every step 0..T by the Volterra equation; O(T^2), for T up to some thousands.

    Args:
        lr: gamma, > 0.
        eigenvalues: lambda_j, (d,).
        modes: r_j(0), (d,).
        p_infinity: label noise variance.
        total_steps: T >= 0.
        batch: B.

    >>> volterra_risk(0.1, [1.0], [1.0], 0.0, 2).round(4).tolist()
    [0.5, 0.415, 0.3445]
    """
    lam, batch = _spectrum(eigenvalues, batch)
    r0 = vector("modes", modes, lam.size, least=0)
    total_steps = integer("total_steps", total_steps, 0)
    gamma, floor = positive("lr", lr), at_least("p_infinity", p_infinity, 0)
    q = 1 - 2 * gamma * lam + gamma**2 * lam**2 * (batch + 1) / batch
    forcing, kernel = np.empty(total_steps + 1), np.empty(total_steps + 1)
    power = np.ones_like(q)
    twice = np.empty(total_steps + 1)
    with np.errstate(all="ignore"):  # above the critical rate the sums overflow, which is the answer
        for t in range(total_steps + 1):
            forcing[t] = floor + (lam * r0) @ power
            kernel[t] = gamma**2 / batch * (lam**2 @ power)
            power *= q
        for t in range(total_steps + 1):
            twice[t] = forcing[t] + kernel[:t][::-1] @ twice[:t]
    return np.asarray(0.5 * twice)


def sgd_risk(
    lr: float, eigenvalues: ArrayLike, modes: ArrayLike, p_infinity: float, times: ArrayLike, batch: int = 1
) -> Floats:
    """Mean risk of SGD at any times, in O(d^3 + d times) whatever the times are.

    Args:
        lr: gamma, > 0.
        eigenvalues: lambda_j, (d,).
        modes: r_j(0), (d,).
        p_infinity: label noise variance.
        times: numbers of updates, >= 0.
        batch: B.

    >>> sgd_risk(0.1, [1.0], [1.0], 0.0, [0, 2]).round(4).tolist()
    [0.5, 0.3445]
    """
    lam, batch = _spectrum(eigenvalues, batch)
    r0 = vector("modes", modes, lam.size, least=0)
    t = vector("times", times, least=0)
    gamma, floor = positive("lr", lr), at_least("p_infinity", p_infinity, 0)
    # 1 - M: its eigenvalues near zero, which decide late times, keep their digits this way.
    gap = np.diag(2 * gamma * lam - gamma**2 * lam**2 * (batch + 1) / batch) - gamma**2 / batch * np.outer(lam, lam)
    loss, vectors = np.linalg.eigh(gap)
    start, push, read = r0 @ vectors, gamma**2 / batch * floor * (lam @ vectors), lam @ vectors
    with np.errstate(all="ignore"):  # above the critical rate the powers overflow, which is the answer
        powers = t[:, None] * np.log1p(-loss)
        summed = np.where(loss == 0, t[:, None], -np.expm1(powers) / np.where(loss == 0, 1, loss))
        twice = np.exp(powers) @ (start * read) + summed @ (push * read) + floor
    return np.asarray(0.5 * twice)
