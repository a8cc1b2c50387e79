"""Is the form right? Other forms beside the one that is fitted, and whether its residuals follow compute.

A single law ``a + e C^-f`` fits nearly anything inside the data: where two power laws made the losses, its R2 was
0.99995 and its 95 % interval at 13 times the compute held the truth 0 to 25 times in 100. So

1. a power law ``e C^-f``, a saturating one ``a + e C^-f`` and two ``b C^-c + e C^-f`` are fitted to the same losses of
   each optimizer, those with no more numbers than losses;
2. an F-test says whether two power laws fit better than a single one by more than chance;
3. an interval of a prediction reaches to what each form predicts that the losses do not reject: few sizes reject none;
4. another F-test looks for what is left of a trend in the residuals of whichever form was fitted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adana.scaling.fits import Form, FormName, FormTest, OtherForm
from adana.scaling.fits.losses import REJECTED
from adana.scaling.intervals import noise_of
from adana.scaling.laws import LossLaw
from adana.scaling.power_laws import PowerLaws

__all__ = ["BOOTSTRAP", "NUMBERS", "SIZES", "OtherForms", "better_with_two", "name_of", "other_forms", "trend_of"]

Array = NDArray[np.float64]
OtherForms = dict[FormName, tuple[LossLaw, float]]
"""Law and sum of squares of each form."""

NUMBERS: dict[FormName, int] = {"power": 2, "saturating": 3, "two powers": 4}
SIZES = 5
"""Sizes of each optimizer from which on the form is tested."""
STARTS = 8
BOOTSTRAP = 200
"""Samples of the two power laws at most."""
EVALUATIONS = 400


def name_of(form: Form, saturation: float) -> FormName | None:
    """Which of the forms a law has; None for two power laws with a."""
    if form == "single":
        return "saturating" if saturation > 0 else "power"
    return None if saturation > 0 else "two powers"


def other_forms(
    ladder: Mapping[float, float],
    own: FormName | None,
    most: float,
    squares: float,
    numbers: int,
    bootstrap: int,
    seed: int,
) -> tuple[OtherForms, tuple[OtherForm, ...]]:
    """The other forms through the losses of one optimizer: all of them, and those that the losses do not reject.

    A form with fewer numbers than the law's is left out where an F-test rejects it. One with more is kept: that it
    fits little better does not say that it predicts no better.

    Args:
        ladder: final loss by compute, ascending.
        own: form of the law.
        most: greatest a.
        squares: sum of squares of the law.
        numbers: its parameters.
        bootstrap: samples of two power laws, where there are more losses than they have numbers; the distance of one
            line to another says too little of how far that form may be.
        seed: of the starts and the bootstrap.
    """
    y, found, kept = np.array(list(ladder.values())), {}, []
    for name, count in NUMBERS.items():
        if name == own or len(y) < count:
            continue
        problem = PowerLaws(
            {"": ladder},
            "broken" if name == "two powers" else "single",
            "free",
            most if name == "saturating" else 0.0,
        )
        generator = np.random.default_rng([seed, 2])
        ends = problem.ends(y, STARTS, generator, EVALUATIONS)
        u = ends[0][1]
        beta, residuals, _ = problem.solve(u, y)
        (law,) = problem.laws(u, beta)
        found[name] = law, float(np.sum(residuals**2))
        simpler = count < numbers < len(y)
        if not simpler or _f_test(found[name][1], squares, count, numbers, len(y)).p >= REJECTED:
            samples: tuple[tuple[float, ...], ...] = ()
            if name == "two powers" and len(y) > count:
                drawn = noise_of(-residuals, problem.tangent(u, beta)).draw(generator, bootstrap, len(y))
                again = problem.resampled(ends, y + residuals + drawn, EVALUATIONS)
                samples = tuple((one.a, one.e, one.f, one.b, one.c) for (one,) in again)
            kept.append(OtherForm(name, law, samples))
    return found, tuple(kept)


def better_with_two(squares: float, numbers: int, others: Mapping[str, OtherForms], points: int) -> FormTest:
    """Whether two power laws fit better than single ones, of all optimizers together.

    ``F = ((S1 - S2) / (k2 - k1)) / (S2 / (n - k2))``, S the sums of squares and k the numbers of parameters. Two power
    laws hold the single law at the end of their range, where F falls short of its distribution: the test rejects a
    single law less often than it says, never more.
    """
    two = sum(found["two powers"][1] for found in others.values())
    return _f_test(squares, two, numbers, NUMBERS["two powers"] * len(others), points)


def trend_of(residuals: Array, tangent: Array, log_c: Array, owner: NDArray[np.int_]) -> FormTest | None:
    """Whether residuals follow compute in a way that the fitted numbers cannot take up.

    For each optimizer one column is added to the derivatives of the fit: the power of log C that follows those which
    its numbers already make. The F-test is of all these columns together.

    Args:
        residuals: measured minus fitted.
        tangent: derivatives of the fitted values by the parameters.
        log_c: log of compute of each point.
        owner: number of the optimizer of each point.

    Returns:
        The test, or None where there are too few points for it.
    """
    n, parameters = tangent.shape
    optimizers = int(owner.max()) + 1
    if n - parameters - optimizers < 1:
        return None
    scale = np.linalg.norm(tangent, axis=0)
    basis = tangent / np.where(scale > 0, scale, 1.0)
    extra = np.zeros((n, optimizers))
    for j in range(optimizers):
        own = owner == j
        x = log_c[own] - log_c[own].mean()
        power = int(np.linalg.matrix_rank(basis[own]))
        extra[own, j] = (x / np.abs(x).max()) ** power

    def squares(columns: Array) -> float:
        return float(np.sum((residuals - columns @ np.linalg.lstsq(columns, residuals, rcond=None)[0]) ** 2))

    return _f_test(
        squares(basis), squares(np.concatenate([basis, extra], axis=1)), parameters, parameters + optimizers, n
    )


def _f_test(smaller: float, larger: float, few: int, many: int, points: int) -> FormTest:
    """F of two nested fits from their sums of squares and numbers of parameters."""
    extra, rest = many - few, points - many
    if larger <= 1e-24 * points:  # both fit exactly: nothing is left to explain
        return FormTest(0.0, (extra, rest), 1.0)
    statistic = max(0.0, (smaller - larger) / extra) / (larger / rest)
    return FormTest(float(statistic), (extra, rest), float(stats.f.sf(statistic, extra, rest)))
