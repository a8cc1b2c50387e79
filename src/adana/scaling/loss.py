"""Loss laws ``L = a + e C^-f`` and ``L = a + b C^-c + e C^-f``, several optimizers sharing a."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adana.scaling import forms
from adana.scaling.fits import Exponents, Form, FormTest, HoldOut, LossFit, OtherForm, Residual, Starts
from adana.scaling.intervals import Interval, interval, missed_by, noise_of
from adana.scaling.outliers import outliers
from adana.scaling.power_laws import PowerLaws
from adana.scaling.progress import told

__all__ = ["LossFits", "fit_losses", "hold_out_largest", "hold_outs", "outliers"]

KNOWN_TO = 3.0
"""A number counts as identified when its interval spans no more than this factor."""
FEWEST_HELD = 3
"""Sizes that predict the others, at least."""
HOLD_OUTS = 5
"""Hold-outs of one table at most."""
HELD_SAMPLES = 40
FREE_SATURATION = 0.95
"""A free a stays below this part of the least loss, as in Table 10."""
AGREED = 1e-6
"""Searches whose sums of squares differ by less than this share have come to one fit."""


@dataclass(frozen=True)
class LossFits:
    """Laws of several optimizers fitted together.

    Attributes:
        form: ``single`` or ``broken``.
        exponents: ``free``, one set for each optimizer, or ``shared``.
        saturation: greatest a allowed; 0 where a was held at 0.
        fits: by optimizer.
        noise: standard deviation of a point, from the residuals.
        freedom: degrees of freedom that the noise rests on.
        starts: of the search.
        form_test: a single power law against two; None where they were not compared.
        trend: whether the residuals follow compute; None where there are too few points.
    """

    form: Form
    exponents: Exponents
    saturation: float
    fits: dict[str, LossFit]
    noise: float
    freedom: float
    starts: Starts
    form_test: FormTest | None
    trend: FormTest | None

    def predict(self, optimizer: str, compute: float) -> tuple[float, Interval]:
        """The law's loss at a compute in petaflop-hours, with the 95 % interval of a new run's."""
        return self.fits[optimizer].predict(compute)


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
    compare: bool = True,
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
        compare: whether other forms are fitted beside the law, and its intervals reach to what those predict
            (:mod:`adana.scaling.forms`). Where every optimizer has five sizes a single power law is tested against two.

    Raises:
        ValueError: too few sizes, losses or computes that are not finite and above 0, losses that do not fall with
            compute, or no convergence.

    Example:
        >>> from adana.scaling.laws import LossLaw
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
    problem = PowerLaws(ladders, form, exponents, most)
    y = np.array([loss for ladder in ladders.values() for loss in ladder.values()])
    generator = np.random.default_rng(seed)
    ends = problem.ends(y, starts, generator, evaluations)
    best, u, converged = ends[0]
    # Towards an exponent's bound a search may only creep; where a second start comes to the same sum, it is found.
    agreed = len(ends) > 1 and ends[1][0] <= best * (1 + AGREED)
    if not (converged or agreed):
        raise ValueError(
            f"the loss law did not converge in {evaluations} steps from any of {starts} starts: "
            "fewer parameters (--form single, --exponents shared, --saturation 0) or more sizes"
        )
    beta, residuals, _ = problem.solve(u, y)
    tangent = problem.tangent(u, beta)
    noise = noise_of(-residuals, tangent)
    drawn = noise.draw(generator, bootstrap, len(y))
    resampled = problem.resampled(ends, y + residuals + drawn, evaluations)

    names = ("a", "e", "f", "b", "c")[: 3 if form == "single" else 5]
    numbers = problem.linear + problem.unknown
    form_test: FormTest | None = None
    every: dict[str, forms.OtherForms] = {}
    fits = {}
    for j, (name, law) in enumerate(zip(ladders, problem.laws(u, beta))):
        own = problem.owner == j
        samples = tuple(tuple(getattr(laws[j], key) for key in names) for laws in resampled)
        intervals = {key: interval(column) for key, column in zip(names, zip(*samples)) if most > 0 or key != "a"}
        squares = float(np.sum(residuals[own] ** 2))
        alike: tuple[OtherForm, ...] = ()
        if compare:
            each = numbers if problem.optimizers == 1 else problem.terms * 2 + (most > 0)
            name_of = forms.name_of(form, most)
            saturation_of = FREE_SATURATION * min(ladders[name].values())
            few = min(bootstrap, forms.BOOTSTRAP)
            every[name], alike = forms.other_forms(ladders[name], name_of, saturation_of, squares, each, few, seed)
        total = float(np.sum((y[own] - np.mean(y[own])) ** 2))
        fits[name] = LossFit(
            law=law,
            r_squared=1 - squares / total if total > 0 else None,
            intervals=intervals,
            identified={key: found.low > 0 and found.high <= KNOWN_TO * found.low for key, found in intervals.items()},
            residuals=tuple(
                Residual(c, loss, off) for (c, loss), off in zip(ladders[name].items(), (-residuals[own]).tolist())
            ),
            samples=samples,
            others=alike,
            noise=noise.half_width,
        )
    if compare and form == "single" and all(len(ladder) >= forms.SIZES for ladder in ladders.values()):
        form_test = forms.better_with_two(best, numbers, every, len(y))
    close = sum(end[0] <= 1.01 * best + 1e-12 for end in ends)
    return LossFits(
        form,
        exponents,
        most,
        fits,
        noise.sigma,
        noise.freedom,
        Starts(starts, close),
        form_test,
        forms.trend_of(-residuals, tangent, problem.log_c, problem.owner),
    )


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
    compare: bool = True,
) -> dict[str, HoldOut]:
    """Fit without each optimizer's largest compute and predict its loss.

    The interval is that of a new measurement: of the law, and of the noise of one more point.

    Raises:
        ValueError: as :func:`fit_losses`, of the smaller sizes.
    """
    largest = {name: max(ladder) for name, ladder in ladders.items()}
    rest = {name: {c: x for c, x in ladder.items() if c != largest[name]} for name, ladder in ladders.items()}
    fits = fit_losses(
        rest,
        form=form,
        exponents=exponents,
        saturation=saturation,
        starts=starts,
        bootstrap=bootstrap,
        seed=seed,
        compare=compare,
    )
    return {
        name: HoldOut(compute, ladders[name][compute], *fits.predict(name, compute))
        for name, compute in largest.items()
    }


def hold_outs(
    ladders: Mapping[str, Mapping[float, float]],
    *,
    form: Form = "single",
    exponents: Exponents = "free",
    saturation: float | None = None,
    seed: int = 0,
) -> list[float]:
    """By which factor intervals must be widened to hold losses that are predicted from the sizes below them.

    The smallest sizes, and more of them step by step, predict all that are larger; empty where there are too few.
    """
    options: dict[str, Any] = {"form": form, "exponents": exponents, "saturation": saturation, "seed": seed}
    needed: list[float] = []
    most = max(len(ladder) for ladder in ladders.values())
    first = min(most, FEWEST_HELD)
    cuts = sorted({*np.linspace(first, most - 1, HOLD_OUTS).round().astype(int).tolist()})
    for cut in told("hold-outs", cuts):
        below = {name: dict(sorted(ladder.items())[:cut]) for name, ladder in ladders.items()}
        try:
            fits = fit_losses(below, starts=6, bootstrap=HELD_SAMPLES, **options)
        except ValueError:  # too few of some, or one that does not fall yet
            continue
        for name, ladder in ladders.items():
            needed += [missed_by(loss, *fits.predict(name, c)) for c, loss in ladder.items() if c > max(below[name])]
    return needed
