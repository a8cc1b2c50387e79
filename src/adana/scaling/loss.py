"""Loss laws ``L = a + e C^-f`` and ``L = a + b C^-c + e C^-f``, several optimizers sharing a."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from adana.scaling.fits import Exponents, Form, HoldOut, LossFit, Outlier, Residual, Starts
from adana.scaling.intervals import Interval, interval, noise_of
from adana.scaling.laws import LossLaw

__all__ = ["HoldOut", "LossFit", "LossFits", "Outlier", "fit_losses", "hold_out_largest", "outliers"]

Array = NDArray[np.float64]
EXPONENTS = (0.003, 3.0)
"""Exponents searched; 0.03 to 0.22 are the published ones."""
KNOWN_TO = 3.0
"""A number counts as identified when its interval spans no more than this factor."""
FREE_SATURATION = 0.95
"""A free a stays below this part of the least loss, as in Table 10."""


@dataclass(frozen=True)
class LossFits:
    """Laws of several optimizers fitted together.

    Attributes:
        form: ``single`` or ``broken``.
        exponents: ``free``, one set for each optimizer, or ``shared``.
        saturation: greatest a allowed; 0 where a was held at 0.
        fits: by optimizer.
        noise: standard deviation of a point, from the residuals.
        starts: of the search.
    """

    form: Form
    exponents: Exponents
    saturation: float
    fits: dict[str, LossFit]
    noise: float
    starts: Starts

    def predict(self, optimizer: str, compute: float) -> tuple[float, Interval]:
        """The law's loss at a compute in petaflop-hours, with its 95 % interval."""
        return self.fits[optimizer].predict(compute)


def _nnls(columns: Array, y: Array) -> Array:
    try:
        found: Array = optimize.nnls(columns, y)[0]
    except RuntimeError as error:
        raise ValueError(f"the loss law did not converge: {error}") from None
    return found


class _Problem:
    """The sum of squares as a function of the exponents alone.

    For given exponents the law is linear in a and every b and e, all at least 0; those are solved for exactly
    (variable projection), and the exponents, as logarithms, are what is searched.
    """

    def __init__(self, ladders: Mapping[str, Mapping[float, float]], form: Form, exponents: Exponents, most: float):
        self.terms = 2 if form == "broken" else 1
        self.optimizers = len(ladders)
        self.shared = exponents == "shared"
        self.most = most
        self.owner = np.repeat(np.arange(self.optimizers), [len(ladder) for ladder in ladders.values()])
        compute = np.array([c for ladder in ladders.values() for c in ladder])
        # Around the middle of the ladder the terms are of the size of the losses, whatever the unit.
        self.unit = float(np.exp(np.mean(np.log(compute))))
        self.log_c = np.log(compute / self.unit)
        self.unknown = self.terms * (1 if self.shared else self.optimizers)
        self.linear = self.terms * self.optimizers + (most > 0)

    def _columns(self, u: Array) -> tuple[Array, Array]:
        """Columns of the linear problem and their derivatives by their own u = log exponent."""
        n = len(self.log_c)
        exponent = np.exp(u).reshape(-1, self.terms)[np.zeros(n, dtype=int) if self.shared else self.owner]
        powers = np.exp(-exponent * self.log_c[:, None])
        columns, slopes = np.zeros((n, self.linear)), np.zeros((n, self.linear))
        if self.most > 0:
            columns[:, -1] = 1.0
        for term in range(self.terms):
            columns[np.arange(n), self.owner * self.terms + term] = powers[:, term]
            slopes[np.arange(n), self.owner * self.terms + term] = -exponent[:, term] * self.log_c * powers[:, term]
        return columns, slopes

    def solve(self, u: Array, y: Array) -> tuple[Array, Array, Array]:
        """Linear parameters, residuals ``fitted - y`` and their derivatives by u (Kaufman's approximation)."""
        columns, slopes = self._columns(u)
        beta = _nnls(columns, y)
        free = beta > 0
        if self.most > 0 and beta[-1] > self.most:
            rest = _nnls(columns[:, :-1], y - self.most)
            beta, free = np.append(rest, self.most), np.append(rest > 0, False)
        residuals = columns @ beta - y
        moved = slopes * beta
        jacobian = np.zeros((len(y), self.unknown))
        for column in range(self.terms * self.optimizers):
            jacobian[:, column % self.terms if self.shared else column] += moved[:, column]
        if free.any():
            q, _ = np.linalg.qr(columns[:, free])
            jacobian -= q @ (q.T @ jacobian)
        return beta, residuals, jacobian

    def tangent(self, u: Array, beta: Array) -> Array:
        """Derivatives of the fitted values by all parameters that are free to move."""
        columns, slopes = self._columns(u)
        moved = slopes * beta
        by_u = np.zeros((len(columns), self.unknown))
        for column in range(self.terms * self.optimizers):
            by_u[:, column % self.terms if self.shared else column] += moved[:, column]
        return np.concatenate([columns, by_u], axis=1)

    def search(
        self, start: Array, y: Array, evaluations: int, *, tolerance: float = 1e-12
    ) -> tuple[float, Array, bool]:
        """Sum of squares and exponents (as logarithms) at the end of one start, and whether it converged."""
        low, high = np.log(EXPONENTS)
        cache: dict[bytes, tuple[Array, Array, Array]] = {}

        def at(u: Array) -> tuple[Array, Array, Array]:
            key = u.tobytes()
            if key not in cache:
                cache.clear()
                cache[key] = self.solve(u, y)
            return cache[key]

        found = optimize.least_squares(
            lambda u: at(u)[1],
            np.clip(start, low + 1e-6, high - 1e-6),
            jac=lambda u: at(u)[2],
            bounds=(low, high),
            xtol=100 * tolerance,
            ftol=tolerance,
            gtol=1e-14,
            max_nfev=evaluations,
        )
        return float(2 * found.cost), found.x, bool(found.success)

    def laws(self, u: Array, beta: Array) -> list[LossLaw]:
        exponents = np.exp(u).reshape(-1, self.terms)
        found = []
        for j in range(self.optimizers):
            own = exponents[0 if self.shared else j]
            factors = beta[j * self.terms : (j + 1) * self.terms]
            a = float(beta[-1]) if self.most > 0 else 0.0
            # C/unit -> C; the smaller exponent is called f.
            pairs = sorted((float(x), float(factor * self.unit**x)) for x, factor in zip(own, factors))
            found.append(LossLaw(a, pairs[0][1], pairs[0][0], *((pairs[1][1], pairs[1][0]) if len(pairs) > 1 else ())))
        return found


def fit_losses(
    ladders: Mapping[str, Mapping[float, float]],
    *,
    form: Form = "single",
    exponents: Exponents = "free",
    saturation: float | None = None,
    starts: int = 24,
    bootstrap: int = 400,
    seed: int = 0,
    evaluations: int = 400,
) -> LossFits:
    """Fit loss laws to the final losses of one or more optimizers, with one saturation for all.

    Minimised is the sum of squared residuals in nats. The bootstrap gives every point a residual drawn with
    replacement and fits again.

    Args:
        ladders: final loss by compute in petaflop-hours, by optimizer.
        form: ``single`` for ``a + e C^-f``, ``broken`` for ``a + b C^-c + e C^-f``.
        exponents: ``free`` for an optimizer's own, ``shared`` for one set.
        saturation: greatest a; 0 holds a at 0, None lets it reach 0.95 of the least loss.
        starts: starts of the search over exponents.
        bootstrap: samples.
        seed: of the starts and the bootstrap.
        evaluations: steps at most of one start.

    Raises:
        ValueError: too few sizes, losses or computes that are not finite and above 0, losses that do not fall with
            compute, or no convergence.

    Example:
        >>> law = LossLaw(1.04, 2.16, 0.074)
        >>> fits = fit_losses({"adamw": {c: law(c) for c in (0.04, 0.5, 2, 13, 60, 200)}}, bootstrap=50)
        >>> found = fits.fits["adamw"].law
        >>> f"{found.a:.3f} {found.e:.3f} {found.f:.3f}"
        '1.040 2.160 0.074'

    Source: Sections E.1 (27) and E.4 (31); the bounds on a of Table 10.
    """
    ladders = {name: dict(sorted(ladder.items())) for name, ladder in ladders.items()}
    most = _check(ladders, form, exponents, saturation)
    if starts < 1 or bootstrap < 1:
        raise ValueError(f"starts and bootstrap must be at least 1, got {starts} and {bootstrap}")
    problem = _Problem(ladders, form, exponents, most)
    y = np.array([loss for ladder in ladders.values() for loss in ladder.values()])
    generator = np.random.default_rng(seed)

    ends = []
    for k in range(starts):
        # The published exponents first; then as wide as ladders have shown.
        small, large = (0.03, 0.2) if k == 0 else np.exp(generator.uniform(np.log([0.01, 0.1]), np.log([0.3, 1.0])))
        start = np.log([small, large][: problem.terms] if problem.terms == 2 else [small if k else 0.07])
        ends.append(problem.search(np.tile(start, problem.unknown // problem.terms), y, evaluations))
    ends.sort(key=lambda end: end[0])
    best, u, converged = ends[0]
    if not converged:
        raise ValueError(
            f"the loss law did not converge in {evaluations} steps from any of {starts} starts: "
            "fewer parameters (--form single, --exponents shared, --saturation 0) or more sizes"
        )
    beta, residuals, _ = problem.solve(u, y)
    fitted = y + residuals
    laws = problem.laws(u, beta)

    noise = noise_of(-residuals, problem.tangent(u, beta))
    drawn = noise.draw(generator, bootstrap, len(y))
    samples: dict[str, list[tuple[float, ...]]] = {name: [] for name in ladders}
    # Where the starts ended in several valleys, a sample may find its own best in another one.
    sorted_u = np.sort(u.reshape(-1, problem.terms))
    valleys = [
        end[1]
        for end in ends[1:]
        if end[2] and np.abs(np.sort(end[1].reshape(-1, problem.terms)) - sorted_u).max() > 0.05
    ][:3]
    for k in range(bootstrap):
        target = fitted + drawn[k]
        others = [valleys[k % len(valleys)]] if valleys else []
        end = min(
            (problem.search(start, target, evaluations, tolerance=1e-6) for start in (u, *others)),
            key=lambda end: end[0],
        )
        for name, law in zip(ladders, problem.laws(end[1], problem.solve(end[1], target)[0])):
            samples[name].append((law.a, law.e, law.f, law.b, law.c)[: 3 if form == "single" else 5])

    names = ("a", "e", "f", "b", "c")[: 3 if form == "single" else 5]
    fits = {}
    for j, (name, ladder) in enumerate(ladders.items()):
        own = problem.owner == j
        intervals = {
            parameter: interval(column)
            for parameter, column in zip(names, zip(*samples[name]))
            if most > 0 or parameter != "a"
        }
        total = float(np.sum((y[own] - np.mean(y[own])) ** 2))
        fits[name] = LossFit(
            law=laws[j],
            r_squared=1 - float(np.sum(residuals[own] ** 2)) / total if total > 0 else None,
            intervals=intervals,
            identified={key: found.low > 0 and found.high <= KNOWN_TO * found.low for key, found in intervals.items()},
            residuals=tuple(Residual(c, ladder[c], off) for c, off in zip(ladder, (-residuals[own]).tolist())),
            samples=tuple(samples[name]),
        )
    close = sum(end[0] <= 1.01 * best + 1e-12 for end in ends)
    return LossFits(form, exponents, most, fits, noise.sigma, Starts(starts, close))


def _check(
    ladders: Mapping[str, Mapping[float, float]], form: Form, exponents: Exponents, saturation: float | None
) -> float:
    """Refuse what cannot be fitted; returns the greatest a."""
    if form not in ("single", "broken"):
        raise ValueError(f"unknown form {form!r}: choose from 'single', 'broken'")
    if exponents not in ("free", "shared"):
        raise ValueError(f"unknown exponents {exponents!r}: choose from 'free', 'shared'")
    if not ladders:
        raise ValueError("no losses to fit")
    for name, ladder in ladders.items():
        for compute, loss in ladder.items():
            if not (0 < compute < math.inf and 0 < loss < math.inf):
                raise ValueError(f"{name}: compute and loss must be finite and above 0, got {compute:g} and {loss:g}")
    own = {"single": 2, "broken": 4}[form]
    need = own + (1 if exponents == "free" else 0)
    for name, ladder in ladders.items():
        if len(ladder) < need:
            raise ValueError(
                f"too few sizes for {name}: {len(ladder)}; a {form} power law with {exponents} exponents needs "
                f"{need} of each optimizer"
            )
    for name, ladder in ladders.items():
        slope = float(np.polyfit(np.log(list(ladder)), list(ladder.values()), 1)[0])
        if slope > -1e-9:
            first, last = min(ladder), max(ladder)
            raise ValueError(
                f"the losses of {name} do not fall with compute ({ladder[first]:.4g} at {first:.3g} PFH, "
                f"{ladder[last]:.4g} at {last:.3g} PFH): no power law can be fitted to them"
            )
    least = min(loss for ladder in ladders.values() for loss in ladder.values())
    most = FREE_SATURATION * least if saturation is None else saturation
    if not 0 <= most < least:
        raise ValueError(f"the saturation must be from 0 to below the least loss {least:.4g}, got {saturation}")
    points = sum(len(ladder) for ladder in ladders.values())
    numbers = (own * len(ladders) if exponents == "free" else own // 2 * (len(ladders) + 1)) + (most > 0)
    if points <= numbers:
        raise ValueError(
            f"too few sizes: {points} losses for the {numbers} numbers of a {form} power law; add sizes, or fewer "
            "numbers with --form single, --exponents shared or --saturation 0"
        )
    return float(most)


def hold_out_largest(
    ladders: Mapping[str, Mapping[float, float]],
    *,
    form: Form = "single",
    exponents: Exponents = "free",
    saturation: float | None = None,
    starts: int = 24,
    bootstrap: int = 400,
    seed: int = 0,
) -> dict[str, HoldOut]:
    """Fit without each optimizer's largest compute and predict its loss.

    Raises:
        ValueError: as :func:`fit_losses`, of the smaller sizes.
    """
    largest = {name: max(ladder) for name, ladder in ladders.items()}
    rest = {name: {c: x for c, x in ladder.items() if c != largest[name]} for name, ladder in ladders.items()}
    fits = fit_losses(
        rest, form=form, exponents=exponents, saturation=saturation, starts=starts, bootstrap=bootstrap, seed=seed
    )
    return {
        name: HoldOut(compute, ladders[name][compute], *fits.predict(name, compute))
        for name, compute in largest.items()
    }


def outliers(ladders: Mapping[str, Mapping[float, float]], *, least: float = 0.03, times: float = 8.0) -> list[Outlier]:
    """Losses that a single power law through the optimizer's other losses misses by far.

    Far is ``times`` the standard deviation of the others around their own law, and ``least`` nats at the least. The
    worst is set aside first, then the rest are looked at again, while five or more are left.

    Args:
        ladders: final loss by compute, by optimizer.
        least: smallest miss in nats that counts.
        times: smallest miss in standard deviations.

    >>> law = LossLaw(1.04, 2.16, 0.074)
    >>> ladder = {c: law(c) for c in (1.0, 3.0, 10.0, 30.0, 60.0, 130.0)} | {195.0: 3.226}
    >>> [(found.pfh, found.loss) for found in outliers({"ademamix": ladder})]
    [(195.0, 3.226)]
    """
    found = []
    for name, ladder in ladders.items():
        left = dict(sorted(ladder.items()))
        while len(left) >= 5:
            worst: tuple[float, Outlier] | None = None
            for compute, loss in left.items():
                rest = {c: x for c, x in left.items() if c != compute}
                problem = _Problem({name: rest}, "single", "free", FREE_SATURATION * min(rest.values()))
                y = np.array(list(rest.values()))
                squares, u, _ = problem.search(np.log([0.07]), y, 100)
                expected = problem.laws(u, problem.solve(u, y)[0])[0](compute)
                spread = math.sqrt(squares / max(1, len(rest) - 3))
                ratio = abs(loss - expected) / max(times * spread, least)
                if ratio > 1 and (worst is None or ratio > worst[0]):
                    worst = (ratio, Outlier(name, compute, loss, expected))
            if worst is None:
                break
            found.append(worst[1])
            del left[worst[1].pfh]
    return found
