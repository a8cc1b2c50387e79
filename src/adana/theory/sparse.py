"""The sparse-gradient oracle: how far Adam moves a parameter between two gradients it sees.

Gradients ``g_t = B_t X_t`` with ``B_t ~ Bernoulli(p)`` and X of second moment 1;
``m_t = beta1(t) m + (1 - beta1(t)) g``, v likewise, t = 1, 2, ...; ``Y_t = m_t/(sqrt(v_t) + eps)``, taken as 0 before
the first gradient. With T_l the time of the l-th nonzero gradient, ``Z_l = sum_{t=T_l}^{T_(l+1)-1} Y_t`` must stay
bounded as p falls (equation 84).

* Constant coefficients with beta1^2 < beta2 (Theorem L.3):
  ``E|Z_l| <= (1-beta1)/(sqrt(1-beta2) (1-beta1/sqrt(beta2))^2)``.
* Both in log time (Theorem L.4): ``E|Z_l| <= C/sqrt(p)``.
* Log-time beta1 with any other monotone beta2 (Theorem L.1): unbounded. ``beta2 = 1 - 1/(1+t)^2`` gives ``1/p``; a
  constant beta2 grows like ``e^(T (1 - beta2)/2)`` in the gap T, once T is well beyond ``1/(1 - beta2)``.
* The estimator of DanaStar settles, for gradients of fixed size, at ``tau = p/(1 + sqrt(p))``, not ``p/(1 + p)``.

The theorems write log time as ``1 - delta/(t + 1)`` or ``1 - delta/t``, which is negative for small t; here it is
``1 - delta/(delta + t)``, as in the algorithms.

Status: bounds from the paper (Theorems L.1, L.3, L.4, proofs in Section P); the limit of tau derived and verified.
Checked for p from 1 to .001.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adana import rules, schedules
from adana.theory.checks import Floats, at_least, finite, integer
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.effort import Effort

__all__ = [
    "SCHEDULES",
    "SparseStatistics",
    "between_two_gradients",
    "compare",
    "constant_bound",
    "simulate",
    "sparse_effort",
    "tau_limit",
    "update_probability",
]

Schedule = Callable[[Floats], Floats]
_GRADIENTS = ("gaussian", "sign")


def _log_time(delta: float) -> Schedule:
    return lambda t: np.asarray(schedules.beta(t, delta))


# Pairs (beta1, beta2) by name, with delta = 8 and the constants of the paper's figures.
SCHEDULES: dict[str, tuple[Schedule, Schedule]] = {
    "constant": (lambda t: np.full(np.shape(t), 0.9), lambda t: np.full(np.shape(t), 0.999)),
    "log-time": (_log_time(8.0), _log_time(8.0)),
    "fast beta2": (_log_time(8.0), lambda t: 1 - 1 / (1 + t) ** 2),
    "constant beta2": (_log_time(8.0), lambda t: np.full(np.shape(t), 0.999)),
}


def _probability(p: float) -> float:
    if not 0 < finite("p", p) <= 1:
        raise ValueError(f"p must be a probability in (0, 1], got {p!r}")
    return float(p)


def _coefficients(schedule: Schedule, t: Floats, name: str) -> Floats:
    beta = np.broadcast_to(np.asarray(schedule(t), dtype=np.float64), t.shape)
    if not ((beta >= 0) & (beta < 1)).all():
        bad = beta[~((beta >= 0) & (beta < 1))][0]
        raise ValueError(f"{name} must lie in [0, 1), got {bad:g}: write log time as 1 - delta/(delta + t)")
    return beta


def constant_bound(beta1: float, beta2: float) -> float:
    """Theorem L.3's bound on E|Z_l| for constant coefficients.

    Raises:
        ValueError: beta1^2 >= beta2, where there is no bound.

    >>> round(constant_bound(0.9, 0.999), 1)
    319.1
    """
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 < beta < 1:
            raise ValueError(f"{name} must lie in (0, 1), got {beta!r}")
    if beta1**2 >= beta2:
        raise ValueError(f"the bound needs beta1^2 < beta2, got beta1={beta1!r} and beta2={beta2!r}")
    return float((1 - beta1) / (np.sqrt(1 - beta2) * (1 - beta1 / np.sqrt(beta2)) ** 2))


@dataclass(frozen=True)
class SparseStatistics:
    """Moves between gradients.

    Attributes:
        p: probability of a gradient.
        mean: E|Z_l| for l = 1..count, (count,).
        standard_error: of each, (count,).
    """

    p: float
    mean: Floats
    standard_error: Floats

    @property
    def largest(self) -> float:
        """max over l of E|Z_l|."""
        return float(self.mean.max())


def between_two_gradients(beta1: Schedule, beta2: Schedule, first: int, second: int) -> float:
    """``|Z_1|`` in closed form when the first two gradients come at these times, for eps = 0.

    ``sum_{t=T1}^{T2-1} (1 - beta1(T1)) A_t / sqrt((1 - beta2(T1)) B_t)`` with A_t and B_t the products of the
    coefficients over (T1, t]; the size of the gradient cancels.
    """
    if integer("second", second) <= integer("first", first):
        raise ValueError(f"second must exceed first, got {first} and {second}")
    t = np.arange(first, second, dtype=np.float64)
    one, two = _coefficients(beta1, t, "beta1"), _coefficients(beta2, t, "beta2")
    with np.errstate(divide="ignore"):
        log_a, log_b = np.cumsum(np.log(one[1:])), np.cumsum(np.log(two[1:]))
    ratio = np.exp(np.concatenate([[0.0], log_a - 0.5 * log_b]))
    return float((1 - one[0]) / np.sqrt(1 - two[0]) * ratio.sum())


def simulate(
    beta1: Schedule,
    beta2: Schedule,
    p: float,
    *,
    count: int = 20,
    seeds: int = 400,
    seed: int = 0,
    gradients: str = "gaussian",
    eps: float = 0.0,
) -> SparseStatistics:
    """E|Z_l| by simulation, stepping every parameter until each has seen ``count + 1`` gradients.

    Args:
        beta1: of t = 1, 2, ...; values in [0, 1).
        beta2: likewise.
        p: probability of a nonzero gradient, in (0, 1].
        count: largest l.
        seeds: independent parameters.
        seed: of the gradients.
        gradients: ``"gaussian"`` or ``"sign"``, values of second moment 1.
        eps: of Adam.
    """
    probability = _probability(p)
    integer("count", count)
    integer("seeds", seeds)
    at_least("eps", eps, 0)
    if gradients not in _GRADIENTS:
        raise ValueError(f"unknown gradients {gradients!r}: choose from {', '.join(_GRADIENTS)}")
    rng = np.random.default_rng([integer("seed", seed, 0), 8])
    m, v = np.zeros(seeds), np.zeros(seeds)
    seen = np.zeros(seeds, dtype=np.int64)
    moves = np.zeros((count + 1, seeds))
    columns = np.arange(seeds)
    done, chunk = 0, 4096
    while (seen <= count).any():
        t = np.arange(done + 1, done + chunk + 1, dtype=np.float64)
        one, two = _coefficients(beta1, t, "beta1"), _coefficients(beta2, t, "beta2")
        drawn = rng.random((chunk, seeds)) < probability
        values = rng.standard_normal((chunk, seeds))
        if gradients == "sign":
            values = np.where(values < 0, -1.0, 1.0)
        values *= drawn
        for i in range(chunk):
            g = values[i]
            m += (1 - one[i]) * (g - m)
            v += (1 - two[i]) * (g * g - v)
            seen += drawn[i]
            root = np.sqrt(v) + eps
            inside = (seen > 0) & (seen <= count) & (root > 0)
            moves[seen[inside], columns[inside]] += m[inside] / root[inside]
        done += chunk
    size = np.abs(moves[1:])
    error = size.std(axis=1, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.zeros(count)
    return SparseStatistics(probability, np.asarray(size.mean(axis=1)), np.asarray(error))


def sparse_effort(p: float, count: int, seeds: int) -> Effort:
    """Of :func:`simulate`, by the steps until the slowest parameter has seen ``count + 1`` gradients."""
    steps = 4096 + (count + 5 * np.sqrt(count) + 3 * np.log(seeds) + 10) / p
    return Effort.of(held=4.0 * 4096 * seeds + float(count) * seeds, calls=25 * steps, numbers=seeds)


def tau_limit(p: float) -> float:
    """Where DanaStar's tau settles for gradients of fixed size seen with probability p: ``p/(1 + sqrt(p))``.

    ``sqrt(v)`` settles at ``sqrt(p)`` in units of the gradient, so that ``|g|/(|g| + sqrt(v))`` averages to that.

    >>> tau_limit(1.0)
    0.5
    """
    p = _probability(p)
    return float(p / (1 + np.sqrt(p)))


def update_probability(p: float, total_steps: int, *, seeds: int = 200, seed: int = 0) -> tuple[float, float]:
    """Mean tau and tau~ of the package's DanaStar rule after gradients +-1 with probability p.

    Returns:
        tau and tau~, averaged over seeds and over the last half of the steps.
    """
    probability = _probability(p)
    integer("total_steps", total_steps, 2)
    rng = np.random.default_rng([integer("seed", seed, 0), 8])
    rule = rules.rule("dana-star")
    options = {"kappa": 0.85, "damping_scale": 1.0, "delta": 8.0, "eps": 1e-8, "damping": "power"}
    state = {name: np.zeros(integer("seeds", seeds)) for name in rule.state(options)}
    taus, tildes, counted = 0.0, 0.0, 0
    for t in range(total_steps):
        g = np.where(rng.random(seeds) < probability, 1.0, 0.0) * np.where(rng.random(seeds) < 0.5, -1.0, 1.0)
        _, state = rule.direction(np, g, state, rule.scalars(float(t), options))
        if t >= total_steps // 2:
            tau = state["tau"]
            clipped = np.minimum(tau, 0.5)
            taus += float(tau.mean())
            tildes += float(np.maximum(clipped / (1 - clipped), 1 / (1 + t)).mean())
            counted += 1
    return taus / counted, tildes / counted


def compare(
    probabilities: Sequence[float] = (0.3, 0.1, 0.03, 0.01, 0.003),
    *,
    names: Sequence[str] = ("constant", "log-time", "fast beta2"),
    count: int = 5,
    seeds: int = 400,
    seed: int = 0,
    gradients: str = "sign",
) -> Comparison:
    """max over l of E|Z_l| against p for several schedules, beside the growth the theorems allow.

    Args:
        probabilities: p, falling or rising.
        names: of ``SCHEDULES``.
        count: largest l.
        seeds: independent parameters.
        seed: of the gradients.
        gradients: ``"gaussian"`` or ``"sign"``.
    """
    if not probabilities:
        raise ValueError("probabilities is empty: pass at least one")
    effort = Effort()
    for p in probabilities:
        effort += sparse_effort(_probability(p), integer("count", count), integer("seeds", seeds)) * len(names)
    effort.check(
        f"{seeds:,} parameters at probabilities down to {min(probabilities):g}", "raise them, or lower the seeds"
    )
    ps = np.array(sorted(_probability(p) for p in probabilities))
    curves = []
    laws: dict[str, Callable[[Floats], Floats] | None] = {
        "constant": lambda p: np.full(p.shape, constant_bound(0.9, 0.999)),
        "log-time": lambda p: p**-0.5,
        "fast beta2": lambda p: p**-1.0,
    }
    for name in names:
        if name not in SCHEDULES:
            raise ValueError(f"unknown schedule {name!r}: choose from {', '.join(SCHEDULES)}")
        one, two = SCHEDULES[name]
        found = [simulate(one, two, p, count=count, seeds=seeds, seed=seed, gradients=gradients) for p in ps]
        values = np.array([x.largest for x in found])
        law = laws.get(name)
        predicted = None if law is None else law(ps)
        if predicted is not None and name != "constant":
            predicted = predicted * values[-1] / predicted[-1]
        curves.append(ComparedCurve(name, ps, values, predicted))
    return Comparison(
        "move between two gradients, max over l of E|Z_l|",
        "probability of a gradient",
        "E|Z|",
        tuple(curves),
        (
            "constant: the prediction is Theorem L.3's upper bound, not an estimate.",
            "log-time and fast beta2: the law p^-1/2 and 1/p through the largest p.",
        ),
        {"tau_limit": {f"{p:g}": tau_limit(float(p)) for p in ps}},
        laws=True,
    )
