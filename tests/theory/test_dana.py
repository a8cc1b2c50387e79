from __future__ import annotations

import numpy as np
import pytest

from adana.theory.dana import (
    best_kappa,
    dana_constant,
    grouped_spectrum,
    kappa_curves,
    population_spectrum,
    risk_exponent,
    slope,
)
from adana.theory.dana_map import dana_map
from adana.theory.experiments import EXPERIMENTS
from adana.theory.recursion import coefficients, mean_risk
from adana.theory.simulate import Configuration

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
def test_of_six_kappas_one_over_two_rho_is_the_best_and_smaller_ones_diverge(curves):
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


@pytest.mark.parametrize("rho", [0.75, 1.0, 1.5])
def test_grouped_modes_have_the_risk_of_single_ones(rho):
    methods = [coefficients(Configuration("dana", 0.3, kappa=k, damping_scale=0.25), 400) for k in (0.5, 0.7, 1.0)]
    whole = mean_risk(*population_spectrum(rho, 0.3, 3000), 0.0, methods).risk
    lam, modes, counts = grouped_spectrum(rho, 0.3, 3000)
    assert len(lam) < 300
    np.testing.assert_allclose(mean_risk(lam, modes, 0.0, methods, counts=counts).risk, whole, rtol=1e-3)


def test_the_map_finds_the_best_kappa_that_single_curves_show():
    kappas = tuple(np.round(np.arange(0.4, 0.91, 0.1), 1).tolist())
    found = dana_map(
        rhos=(1.0,), lrs=(0.3,), damping_scales=(0.25, 1.0), horizons=(200, 1000), kappas=kappas, modes=300
    )
    assert [(p.damping_scale, p.horizon) for p in found.points] == [(0.25, 200), (0.25, 1000), (1.0, 200), (1.0, 1000)]
    for point in found.points:
        curves = kappa_curves(
            1.0, 0.3, kappas=kappas, damping_scale=point.damping_scale, total_steps=point.horizon, count=300
        )
        final = curves.risk[:-1, -1]
        assert point.risk == pytest.approx(final.min(), rel=1e-3)
        assert abs(point.best - kappas[int(final.argmin())]) <= 0.1
        if curves.diverged_at[1] < 0:
            assert point.risk_at_predicted == pytest.approx(final[1] / final.min(), rel=1e-3)
        else:
            assert point.risk_at_predicted is None
        assert point.at_edge == (int(final.argmin()) in (0, len(kappas) - 1))


def test_the_map_tells_where_dana_has_diverged():
    point = dana_map(
        rhos=(1.0,), lrs=(0.3,), damping_scales=(0.25,), horizons=(4000,), kappas=(0.0, 0.1, 0.6, 0.8), modes=300
    ).points[0]
    assert point.smallest_stable == 0.6
    assert 0.6 <= point.best <= 0.8


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"rhos": ()}, "rhos"),
        ({"rhos": (0.5,)}, "above 0.5"),
        ({"kappas": (0.5, 0.6)}, "three"),
        ({"horizons": (200, 100)}, "horizons"),
        ({"horizons": (50,)}, "horizons"),
        ({"lrs": (0.0,)}, "lrs"),
    ],
)
def test_bad_maps_are_refused_by_name(change, match):
    with pytest.raises(ValueError, match=match):
        EXPERIMENTS["dana-map"](**change)
