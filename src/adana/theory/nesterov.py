"""Nesterov's method in its four forms, and the exact maps between them.

All forms see the same stochastic gradients ``g_t`` (at the extrapolated point), with ``mu_t = t/(t + 3)``,
``mu_(-1) = 0`` and a damping alpha_t (``alpha_t = mu_t`` is Nesterov's own), ``delta_t = 1 + alpha_t - mu_t``:

* extra-gradient (104, 106): ``m' = mu_(t-1) m + g``, ``Phi' = Phi - gamma (g + alpha_t m')``;
* look-ahead (101, 108): ``v' = mu_(t-1) v - gamma g`` at ``theta + mu_(t-1) v``, ``theta' = theta + delta_t v'``;
* two sequences (100, 109): ``theta' = (1-delta_t) theta + delta_t (y - gamma g)``,
  ``y' = theta' + (mu_t/delta_t)(theta' - theta)``;
* averaged (105, 110): ``p' = mu_(t-1) p + (1 - mu_(t-1)) g``, ``Phi' = Phi - gamma (g + alpha_t/(1 - mu_(t-1)) p')``.

The first three are one method: ``v = -gamma m``, ``theta = Phi + gamma mu_(t-1) m``, ``y = Phi``. The averaged form as
printed is an approximation. Two averaged forms are exact:

* with weight ``w_t = 4/(t + 3)``: ``p' = (1 - w_t) p + w_t g``, ``Phi' = Phi - gamma (g + alpha_t ((t + 3)/4) p')``
  is the extra-gradient form (at t = 0 the weight 4/3 acts on p = 0);
* DANA as first published, ``m' = (1 - delta/(delta + t)) m + g``, ``theta' = theta - gamma (g + alpha_t m')``, is the
  averaged form with ``delta' = delta + 1`` and ``alpha(t) = alpha_t (delta' + t)/delta'``. With delta itself, as the
  paper has it, the two only come close.

LabelNoise adds up: a constant gradient 1 makes ``m = (t + 3)/4`` after t steps counted from the second.

Status: algebraic identities, exact; verified to rounding on quadratics with gradient noise. The exact averaged forms
are derived here. Source: Sections L.1.2 and O, Tables 22 and 23.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from adana import rules, schedules
from adana.theory.checks import Floats, integer, positive, vector
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.effort import Effort

__all__ = [
    "FORMS",
    "Paths",
    "accumulated_noise",
    "ademamix_memory",
    "averaged_dana",
    "compare",
    "original_dana",
    "run",
]

FORMS = ("extra-gradient", "look-ahead", "two-sequence", "averaged", "averaged-printed")

Gradient = Callable[[Floats, int], Floats]


@dataclass(frozen=True)
class Paths:
    """What one form does.

    Attributes:
        points: where gradients are taken (Phi, y, or ``theta + mu v``), (T + 1, d).
        theta: the second sequence, mapped by the form's own relation, (T + 1, d); the averaged forms have none
            and repeat ``points``.
    """

    points: Floats
    theta: Floats


def _mu(t: int) -> float:
    return t / (t + 3) if t >= 0 else 0.0


def _alphas(alpha: ArrayLike | None, total_steps: int) -> Floats:
    if alpha is None:
        return np.array([_mu(t) for t in range(total_steps)])
    return vector("alpha", alpha, total_steps)


def run(
    form: str, gradient: Gradient, start: ArrayLike, lr: float, total_steps: int, alpha: ArrayLike | None = None
) -> Paths:
    """One form along ``total_steps`` gradients.

    Args:
        form: one of ``FORMS``.
        gradient: of the point and the step t = 0, 1, ...; the same noise at the same step for every form.
        start: (d,).
        lr: gamma, > 0.
        total_steps: T.
        alpha: damping, (T,); default mu_t, Nesterov's own.

    Raises:
        ValueError: an unknown form, or ``delta_t = 0`` in a form that divides by it.
    """
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}: choose from {', '.join(FORMS)}")
    x, gamma = vector("start", start), positive("lr", lr)
    a = _alphas(alpha, integer("total_steps", total_steps))
    deltas = 1 + a - np.array([_mu(t) for t in range(total_steps)])
    if form in ("two-sequence", "look-ahead") and (deltas == 0).any():
        raise ValueError(f"delta_t = 1 + alpha_t - mu_t is zero at t = {int(np.argmax(deltas == 0))}: change alpha")
    points, theta, m = [x], [x], np.zeros_like(x)
    for t in range(total_steps):
        before, now, g = _mu(t - 1), _mu(t), gradient(points[-1], t)
        if form == "extra-gradient":
            m = before * m + g
            points.append(points[-1] - gamma * (g + a[t] * m))
            theta.append(points[-1] + gamma * now * m)
        elif form == "look-ahead":
            m = before * m - gamma * g
            theta.append(theta[-1] + deltas[t] * m)
            points.append(theta[-1] + now * m)
        elif form == "two-sequence":
            theta.append((1 - deltas[t]) * theta[-1] + deltas[t] * (points[-1] - gamma * g))
            points.append(theta[-1] + now / deltas[t] * (theta[-1] - theta[-2]))
        else:
            weight, gain = 4 / (t + 3), (t + 3) / 4
            if form == "averaged-printed":
                weight, gain = 1 - before, 1 / (1 - before)
            m = (1 - weight) * m + weight * g
            points.append(points[-1] - gamma * (g + a[t] * gain * m))
            theta.append(points[-1])
    return Paths(np.stack(points), np.stack(theta))


def original_dana(
    gradient: Gradient, start: ArrayLike, lr: float, total_steps: int, alpha: ArrayLike, delta: float = 8.0
) -> Floats:
    """Points of DANA as first published, (T + 1, d)."""
    x, gamma = vector("start", start), positive("lr", lr)
    a = _alphas(alpha, integer("total_steps", total_steps))
    points, m = [x], np.zeros_like(x)
    for t in range(total_steps):
        g = gradient(points[-1], t)
        m = schedules.beta(t, positive("delta", delta)) * m + g
        points.append(points[-1] - gamma * (g + a[t] * m))
    return np.stack(points)


def averaged_dana(
    gradient: Gradient, start: ArrayLike, lr: float, total_steps: int, alpha: ArrayLike, delta: float = 8.0
) -> Floats:
    """Points of the package's DANA rule, momentum coefficient ``alpha_t (delta + t)/delta``, (T + 1, d).

    With ``delta`` one larger than in :func:`original_dana` the points are the same.
    """
    x, gamma = vector("start", start), positive("lr", lr)
    a = _alphas(alpha, integer("total_steps", total_steps))
    state, points = {"exp_avg": np.zeros_like(x)}, [x]
    for t in range(total_steps):
        scalars = {
            "weight": schedules.average_weight(t, positive("delta", delta)),
            "momentum": a[t] * schedules.alpha(t, damping="nesterov", delta=delta),
        }
        direction, state = rules.dana(np, gradient(points[-1], t), state, scalars)
        points.append(rules.descend(points[-1], direction, lr=gamma, decay=0.0))
    return np.stack(points)


def accumulated_noise(steps: int) -> Floats:
    """m after each step of the extra-gradient form under the constant gradient 1, from step t = 1 on.

    The first gradient, which ``mu_0 = 0`` forgets, is not counted; what remains is ``(t + 3)/4`` exactly.

    >>> accumulated_noise(3).tolist()
    [1.0, 1.25, 1.5]
    """
    m, rows = 0.0, []
    for t in range(1, integer("steps", steps) + 1):
        m = _mu(t - 1) * m + 1
        rows.append(m)
    return np.array(rows)


def ademamix_memory(t: ArrayLike, total_steps: int, *, beta3: float = 0.9, delta: float = 8.0) -> Floats:
    """``(1 - beta(t)) t/delta`` of AdEMAMix's warm-up: near 1 once it runs in log time (Lemma J.1).

    >>> ademamix_memory([1e3], 100_000).round(3).tolist()
    [0.927]
    """
    steps = vector("t", t, least=0)
    beta = schedules.ademamix_beta1(steps, integer("total_steps", total_steps), delta=delta, beta3=beta3)
    return np.asarray((1 - beta) * steps / delta)


def compare(
    *, d: int = 20, total_steps: int = 400, lr: float = 0.05, damping: float | None = 0.6, seed: int = 0
) -> Comparison:
    """Every form on one quadratic with gradient noise: its loss, beside the extra-gradient form's.

    Args:
        d: dimension; eigenvalues 1/j.
        total_steps: T.
        lr: gamma.
        damping: ``alpha_t = (1 + t)^-damping``; None for Nesterov's own.
        seed: of start and noise.
    """
    effort = Effort.of(
        held=20.0 * integer("d", d) * integer("total_steps", total_steps), calls=50.0 * total_steps, numbers=d
    )
    effort.check(f"{total_steps:,} steps in {d:,} dimensions", "lower the steps or d")
    rng = np.random.default_rng([integer("seed", seed, 0), 9])
    curvature = 1 / np.arange(1, d + 1, dtype=np.float64)
    start, noise = rng.standard_normal(d), 0.1 * rng.standard_normal((total_steps, d))

    def gradient(x: Floats, t: int) -> Floats:
        return np.asarray(curvature * x + noise[t])

    t = np.arange(total_steps, dtype=np.float64)
    alpha = None if damping is None else (1 + t) ** -damping
    paths = {form: run(form, gradient, start, lr, total_steps, alpha) for form in FORMS}
    original = original_dana(gradient, start, lr, total_steps, _alphas(alpha, total_steps))
    exact, printed = (
        averaged_dana(gradient, start, lr, total_steps, _alphas(alpha, total_steps), delta) for delta in (9.0, 8.0)
    )

    def loss(points: Floats) -> Floats:
        return np.asarray(0.5 * points[1:] ** 2 @ curvature)

    steps, reference = t + 1, loss(paths["extra-gradient"].points)
    curves = [ComparedCurve(form, steps, loss(path.points), reference) for form, path in paths.items()]
    curves.append(ComparedCurve("original DANA", steps, loss(original), loss(exact)))
    deviations = {
        form: float(np.abs(path.points - paths["extra-gradient"].points).max()) for form, path in paths.items()
    }
    deviations |= {
        "original DANA, averaged with delta + 1": float(np.abs(original - exact).max()),
        "original DANA, averaged with delta": float(np.abs(original - printed).max()),
    }
    return Comparison(
        "Nesterov's method in its forms, on the same gradients",
        "step",
        "loss",
        tuple(curves),
        ("averaged-printed is an approximation, as the paper says; all others are one method.",),
        {"largest_deviation": deviations},
    )
