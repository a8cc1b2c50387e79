"""SignSVD, the limit of Muon, against signSGD on a matrix least-squares problem.

``E = W - W*`` (m, n), batch X (B, n) with rows N(0, K), ``Y = X E' + s N(0, 1)`` (B, m). SignSVD:
``E' = E - eta polar(Y'X)``, the polar factor on the rank min(B, m, n); signSGD: ``E' = E - eta sign(Y'X)``. In K's
eigenbasis, with ``r_j = (E'E)_jj`` and ``R = sum_j lambda_j r_j + m s^2`` (twice the risk, noise included):

SignSVD: ``r' = r - 2 eta f r/sqrt(R + f^2 r) + eta^2 Pi``, where f holds the eigenvalues of ``E (X'X)^(1/2)``,
``f = (2/pi) int_0^inf lambda/(lambda + kappa(t^2)) dt`` with ``kappa(z) (B - sum lambda/(lambda + kappa)) = z``, and
``Pi = lambda/(lambda + kappa(0+))`` if B < n, else 1. So f is near ``sqrt(B lambda)``, square-root preconditioning,
for lambda well above kappa(0+), and proportional to lambda, as in SGD, below.

signSGD, for K in a generic basis Q:
``r' = r - 2 eta c (lambda/sqrt(k)) r/sqrt(R/m)/saturation + eta^2 m [Q'K_s Q]_jj``,
``k = tr K/n``, ``c = sqrt(2/pi) E chi_B``, ``saturation = sqrt(1 + (c^2 pi/2) sum lambda^2 r/(n k R))``,
``K_s = (2/pi) arcsin`` of K's correlations: no preconditioning at any batch.

Status: derived here, partly: the published phase boundaries in the (alpha, beta) plane are not recovered; the phase
map below is numerical, and shows the abstract's three phases. Checked in two regimes. Noiseless with large intrinsic
dimension (m = 800 and 200, n = 400, lambda = j^-.35, B = 20..80); label noise (s^2 = .05, m = 1200, n = 60, lambda =
1/j, B = 20, 200, 600). Not valid without noise at B > n, where the signal dominates: refused. Source: the abstract on
stochastic spectral optimizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gammaln

from adana.theory.checks import Floats, at_least, finite, integer, positive, vector
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.effort import Effort

__all__ = [
    "METHODS",
    "MatrixProblem",
    "PhaseMap",
    "compare",
    "phase_map",
    "polar_factor",
    "predict",
    "simulate",
    "spectral_effort",
    "square_root_gain",
]

METHODS = ("signsvd", "signsgd")


@dataclass(frozen=True)
class MatrixProblem:
    """A matrix least-squares problem.

    Args:
        eigenvalues: of K, positive, (n,).
        modes: ``r_j(0) >= 0``, (n,).
        outputs: m.
        batch: B.
        noise: s, the label noise's standard deviation, >= 0.
        seed: of the generic basis and of the start, ``E_0 = sqrt(r_j/m) N(0, 1)`` in K's eigenbasis.

    Raises:
        ValueError: a number out of range, or B > n without noise.
    """

    eigenvalues: Floats
    modes: Floats
    outputs: int
    batch: int
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        lam = vector("eigenvalues", self.eigenvalues)
        if (lam <= 0).any():
            raise ValueError(f"eigenvalues must be positive, got {lam.min():g}")
        object.__setattr__(self, "eigenvalues", lam)
        object.__setattr__(self, "modes", vector("modes", self.modes, lam.size, least=0))
        integer("outputs", self.outputs)
        integer("batch", self.batch)
        at_least("noise", self.noise, 0)
        if self.batch > lam.size and self.noise == 0:
            raise ValueError(
                f"batch {self.batch} exceeds n = {lam.size} without label noise: the signal dominates and the "
                "recursions do not hold; add noise or lower the batch"
            )

    @property
    def basis(self) -> Floats:
        """K's eigenvectors as signSGD sees them: a random rotation, (n, n)."""
        n = self.eigenvalues.size
        return np.asarray(np.linalg.qr(np.random.default_rng([self.seed, 4]).standard_normal((n, n)))[0])


def spectral_effort(inputs: int, outputs: int, batch: int, total_steps: int) -> Effort:
    """Of :func:`compare`."""
    n, m, b = float(inputs), float(outputs), float(batch)
    low = min(n, m)
    polar = 0.5 * m * n * b + 2 * (m + n) * b**2 + 20 * b**3 if b < low else 20 * m * n * low
    algebra = Effort.of(held=4 * n * n + 2e4 * n, calls=1, numbers=5 * n**3 + 6e4 * n)
    drawn = Effort.of(
        held=6 * m * n + 4 * b * (m + n), calls=30.0 * total_steps, numbers=(polar + m * n * (n + b)) / 30
    )
    return algebra + drawn + Effort.of(held=total_steps, calls=40.0 * total_steps, numbers=n)


def square_root_gain(eigenvalues: ArrayLike, batch: int) -> tuple[Floats, Floats]:
    """f and Pi of SignSVD: what ``E (X'X)^(1/2)`` and the projection on X's rows do to each eigenvector.

    >>> f, pi = square_root_gain([1.0, 1.0], 1000)
    >>> bool(np.allclose(f, 1000**0.5, rtol=0.01)), pi.tolist()
    (True, [1.0, 1.0])
    """
    lam = vector("eigenvalues", eigenvalues)
    b, n = integer("batch", batch), lam.size

    def room(kappa: float) -> float:
        return b - float(np.sum(lam / (lam + kappa)))

    low, ones = 0.0, np.ones(n)
    if b < n:
        # kappa(0+) > 0 makes the room vanish; it lies below tr K / B.
        low = float(np.exp(brentq(lambda x: room(np.exp(x)), np.log(lam.min() / n) - 40, np.log(lam.sum() / b) + 1)))
        ones = lam / (lam + low)
    scale = max(low, lam.min() / (10 * max(b, 1)))
    kappa = low + scale * np.geomspace(1e-12, 1e12 * lam.max() / scale, 6000)
    z = kappa * (b - (lam / (lam + kappa[:, None])).sum(1))
    t = np.sqrt(np.maximum(z, 0))
    shrink = lam / (lam + kappa[:, None])
    # Trapezoids, with the constant start before the grid and the lambda B/t^2 tail after it.
    f = np.sum(0.5 * (shrink[1:] + shrink[:-1]) * np.diff(t)[:, None], axis=0)
    f = f + shrink[0] * t[0] + shrink[-1] * t[-1]
    return np.asarray(2 / np.pi * f), np.asarray(ones)


def predict(problem: MatrixProblem, method: str, lr: float, total_steps: int) -> Floats:
    """``R`` at every step 0..T by the recursion of ``"signsvd"`` or ``"signsgd"``."""
    positive("lr", lr)
    integer("total_steps", total_steps)
    gain, spread = _gains(problem, method)
    return np.asarray(_recursion(problem, method, np.array([lr]), total_steps, gain, spread)[0])


def _gains(problem: MatrixProblem, method: str) -> tuple[Floats, Floats]:
    lam, b, n = problem.eigenvalues, problem.batch, problem.eigenvalues.size
    if method == "signsvd":
        return square_root_gain(lam, b)
    if method != "signsgd":
        raise ValueError(f"unknown method {method!r}: choose from {', '.join(METHODS)}")
    q = problem.basis
    k = (q * lam) @ q.T
    scale = np.diagonal(k) ** -0.5
    signs = 2 / np.pi * np.arcsin(np.clip(scale[:, None] * k * scale, -1, 1))
    chi = np.sqrt(2) * np.exp(gammaln((b + 1) / 2) - gammaln(b / 2))
    c = np.sqrt(2 / np.pi) * chi
    mean = lam.sum() / n
    return np.asarray(c * lam / np.sqrt(mean)), np.asarray(problem.outputs * np.einsum("ij,ik,kj->j", q, signs, q))


def _recursion(
    problem: MatrixProblem, method: str, lrs: Floats, total_steps: int, gain: Floats, spread: Floats
) -> Floats:
    """R, (learning rates, steps + 1)."""
    lam, m, n = problem.eigenvalues, problem.outputs, problem.eigenvalues.size
    eta = lrs[:, None]
    r = np.repeat(problem.modes[None], len(lrs), axis=0)
    floor = m * problem.noise**2
    mean = lam.sum() / n
    if method == "signsgd":
        c_squared = (gain[0] * np.sqrt(mean) / lam[0]) ** 2
    rows = np.empty((total_steps + 1, len(lrs)))
    with np.errstate(all="ignore"):  # a diverging learning rate overflows, which is the answer
        for t in range(total_steps + 1):
            total = r @ lam + floor
            rows[t] = total
            total = np.maximum(total, 1e-300)[:, None]
            if method == "signsvd":
                pull = gain * r / np.sqrt(total + gain**2 * r)
            else:
                saturation = np.sqrt(1 + c_squared * np.pi / 2 * (r @ lam**2)[:, None] / (n * mean * total))
                pull = gain * r / np.sqrt(total / m) / saturation
            r = np.maximum(r - 2 * eta * pull + eta**2 * spread, 0)
    return np.asarray(rows.T)


def polar_factor(left: Floats, right: Floats) -> Floats:
    """Polar factor of ``left' right`` for left (B, m), right (B, n), on its rank, without forming it first."""
    if left.shape[0] >= min(left.shape[1], right.shape[1]):
        u, _, vt = np.linalg.svd(left.T @ right, full_matrices=False)
        return np.asarray(u @ vt)
    q1, r1 = np.linalg.qr(left.T)
    q2, r2 = np.linalg.qr(right.T)
    u, _, vt = np.linalg.svd(r1 @ r2.T)
    return np.asarray(q1 @ (u @ vt) @ q2.T)


def simulate(problem: MatrixProblem, method: str, lr: float, total_steps: int) -> Floats:
    """``R`` at every step 0..T of the method itself, one run."""
    positive("lr", lr)
    integer("total_steps", total_steps)
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose from {', '.join(METHODS)}")
    lam, m, b = problem.eigenvalues, problem.outputs, problem.batch
    data, labels = (np.random.default_rng([problem.seed, i]) for i in (5, 6))
    start = np.random.default_rng([problem.seed, 7]).standard_normal((m, lam.size)) * np.sqrt(problem.modes / m)
    # SignSVD is invariant under rotations, so it runs in K's eigenbasis; signSGD is not.
    q = problem.basis if method == "signsgd" else np.eye(lam.size)
    e, floor = start @ q.T, m * problem.noise**2
    rows = np.empty(total_steps + 1)
    for t in range(total_steps + 1):
        rows[t] = np.sum((e @ q) ** 2 @ lam) + floor
        if t == total_steps:
            break
        x = (data.standard_normal((b, lam.size)) * np.sqrt(lam)) @ q.T
        y = x @ e.T + problem.noise * labels.standard_normal((b, m))
        e = e - lr * (polar_factor(y, x) if method == "signsvd" else np.sign(y.T @ x))
    return rows


def compare(problem: MatrixProblem, lrs: dict[str, float], total_steps: int) -> Comparison:
    """Both methods, simulated beside their recursions.

    Args:
        problem: the problem.
        lrs: learning rate by method.
        total_steps: T.
    """
    steps = np.arange(total_steps + 1, dtype=np.float64)
    curves = [
        ComparedCurve(
            method, steps, simulate(problem, method, lr, total_steps), predict(problem, method, lr, total_steps)
        )
        for method, lr in lrs.items()
    ]
    return Comparison(
        f"SignSVD and signSGD, m={problem.outputs}, n={problem.eigenvalues.size}, B={problem.batch}",
        "step",
        "R (twice the risk)",
        tuple(curves),
        ("Single runs. Valid in high intrinsic dimension without noise, or where label noise dominates.",),
        {"learning_rates": dict(lrs)},
        logarithmic=False,
    )


@dataclass(frozen=True)
class PhaseMap:
    """Which method is ahead where, each at its own best learning rate, by the recursions.

    Attributes:
        alphas: data exponents, ``lambda_j = j^-alpha``.
        betas: target exponents, ``r_j(0) ~ j^-beta``.
        steps: horizons.
        log_ratio: ``log10(R_signsgd/R_signsvd)``, (alphas, betas, horizons): positive where SignSVD is ahead.
    """

    alphas: Floats
    betas: Floats
    steps: NDArray[np.int64]
    log_ratio: Floats

    def verdict(self, tolerance: float = 0.05) -> list[list[str]]:
        """``"signsvd"``, ``"signsgd"`` or ``"trade-off"`` at each point: ahead at every horizon, or not."""
        return [
            [
                "signsvd" if (cell > -tolerance).all() else "signsgd" if (cell < tolerance).all() else "trade-off"
                for cell in row
            ]
            for row in self.log_ratio
        ]


def phase_map(
    alphas: Sequence[float] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    betas: Sequence[float] = (-0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5),
    *,
    n: int = 100,
    outputs: int = 200,
    batch: int = 25,
    noise: float = 0.0,
    horizons: Sequence[int] = (30, 100, 300),
    lrs: int = 25,
) -> PhaseMap:
    """Numerical phase map. The published boundaries are not known here; none is drawn.

    Without noise and at large alpha, where few eigenvalues carry the trace, the recursions have not been checked.

    Args:
        alphas: data exponents, >= 0.
        betas: target exponents.
        n: inputs.
        outputs: m.
        batch: B <= n, unless there is noise.
        noise: s.
        horizons: increasing; each method's learning rate is tuned for each.
        lrs: points of the coarse learning-rate grid, at least 2.
    """
    if not alphas or not betas or not horizons:
        raise ValueError("alphas, betas and horizons must not be empty")
    steps = np.array([integer("horizons", h) for h in horizons])
    j = np.arange(1, integer("n", n) + 1, dtype=np.float64)
    grid = np.empty((len(alphas), len(betas), len(steps)))
    for a, alpha in enumerate(alphas):
        lam = j ** -at_least("alpha", alpha, 0)
        for b, beta in enumerate(betas):
            modes = j ** -finite("beta", beta)
            problem = MatrixProblem(lam, modes / (lam @ modes), outputs, batch, noise)
            ours, theirs = (_best_risk(problem, method, steps, lrs) for method in METHODS)
            grid[a, b] = np.log10(theirs / ours)
    return PhaseMap(np.array(alphas, dtype=float), np.array(betas, dtype=float), steps, grid)


def _best_risk(problem: MatrixProblem, method: str, steps: NDArray[np.int64], lrs: int) -> Floats:
    """Least R at each horizon over learning rates: a coarse grid, then a fine one around each horizon's best."""
    gain, spread = _gains(problem, method)
    # A step of this size crosses the whole distance at once; the grid reaches five orders of magnitude below it.
    coarse = np.sqrt(problem.modes.sum() / spread.sum()) * np.geomspace(1e-5, 3, lrs)

    def risks(grid: Floats) -> Floats:
        found = _recursion(problem, method, grid, int(steps.max()), gain, spread)[:, steps]
        return np.where(np.isfinite(found), found, np.inf)

    ratio = coarse[1] / coarse[0]
    centres = coarse[risks(coarse).argmin(axis=0)]
    fine = (centres[:, None] * ratio ** np.linspace(-1, 1, 15)).ravel()
    return np.asarray(risks(fine).min(axis=0))
