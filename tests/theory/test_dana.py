from __future__ import annotations

import numpy as np
import pytest

from adana.theory.dana import best_kappa, dana_constant, kappa_curves, population_spectrum, risk_exponent, slope
from adana.theory.recursion import mean_risk

pytestmark = pytest.mark.xdist_group("dana's curves")  # computed once, not once in each test process


@pytest.fixture(scope="module")
def curves():
    return kappa_curves()


@pytest.mark.slow
def test_slopes_over_kappa_are_those_predicted(curves):
    for i, kappa in enumerate(curves.kappas):
        if kappa in (0.5, 0.6, 0.75, 1.0, None):
            assert curves.slopes[i] == pytest.approx(curves.predicted[i], abs=0.06)
            assert curves.diverged_at[i] == -1


@pytest.mark.slow
def test_the_best_kappa_is_one_over_two_rho_and_below_it_dana_diverges(curves):
    assert curves.best_kappa == best_kappa(1.0) == 0.5
    assert [curves.diverged_at[curves.kappas.index(kappa)] > 0 for kappa in (0.2, 0.35)] == [True, True]
    assert curves.comparison().numbers["best_kappa"] == 0.5


def test_dana_constant_falls_faster_than_sgd_once_t_exceeds_d():
    eigenvalues, modes = population_spectrum(1.0, 0.3, 300)
    method = dana_constant(0.3, 12000, scale=0.25, d=300)
    found = mean_risk(eigenvalues, modes, 0.0, [method], record=np.array([600, 1200, 2500, 5000, 9000, 12000]))
    assert -1.6 < slope(found.steps, found.risk[0], 600, 12000) < -0.9


def test_exponents_join_sgd_at_kappa_one_and_end_at_the_stable_edge():
    assert risk_exponent(1.0, 0.3, 1.0) == risk_exponent(1.0, 0.3, None) == risk_exponent(1.0, 0.3, 1.4)
    assert risk_exponent(1.0, 0.3, 0.49) is None
    assert best_kappa(0.5) is None
    assert risk_exponent(0.45, 0.3, 0.9) is None


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: best_kappa(-1.0), "rho"),
        (lambda: risk_exponent(1.0, 0.3, -0.1), "kappa"),
        (lambda: risk_exponent(0.2, 0.2, 0.5), "no power-law phase"),
        (lambda: kappa_curves(kappas=()), "kappas"),
        (lambda: slope([1.0, 2.0], [1.0, 1.0], 1, 2), "fewer than 3"),
    ],
)
def test_bad_numbers_are_refused_by_name(call, match):
    with pytest.raises(ValueError, match=match):
        call()
