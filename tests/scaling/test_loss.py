from __future__ import annotations

import math

import numpy as np
import pytest

from adana.scaling.laws import LossLaw
from adana.scaling.loss import _Problem, fit_losses, hold_out_largest, outliers
from adana.scaling.published import QWEN3_LOSSES, saturation_fits
from adana.scaling.runs import read_runs
from tests.scaling.ladders import enoki_pfh, losses_of, table_11

BEYOND = 10 * enoki_pfh(40)


@pytest.mark.parametrize("form", ["single", "broken"])
def test_laws_of_table_11_are_found_from_their_losses(form):
    """Without noise: losses to 1e-5, predictions at ten times the compute to 1e-3."""
    laws = table_11(form)
    assert len(laws) == 5
    fits = fit_losses(losses_of(laws), form=form, bootstrap=3)
    for name, law in laws.items():
        assert max(abs(point.residual) for point in fits.fits[name].residuals) < 1e-5
        assert abs(fits.predict(name, BEYOND)[0] - law(BEYOND)) < 1e-3
        assert fits.fits[name].r_squared > 1 - 1e-9
    assert len({fit.law.a for fit in fits.fits.values()}) == 1


def test_noise_of_0_003_hides_the_parameters_and_it_says_so_while_predictions_hold():
    laws = table_11()
    fits = fit_losses(losses_of(laws, noise=0.003), form="broken", bootstrap=60)
    assert fits.noise == pytest.approx(0.003, rel=0.3)
    for name, law in laws.items():
        assert not fits.fits[name].identified["a"]
        assert not fits.fits[name].identified["b"]
        low_high = fits.fits[name].intervals["a"]
        assert low_high.high > 3 * max(low_high.low, 0.106)
        value, band = fits.predict(name, BEYOND)
        assert abs(value - law(BEYOND)) < 0.03
        assert band.high - band.low < 0.1


def test_shared_exponents_are_shared_and_found():
    laws = {name: LossLaw(0.5, e, 0.05, b, 0.2) for name, e, b in (("x", 2.3, 0.4), ("y", 2.2, 0.3))}
    fits = fit_losses(losses_of(laws), form="broken", exponents="shared", bootstrap=3)
    found = [fit.law for fit in fits.fits.values()]
    assert found[0].f == found[1].f == pytest.approx(0.05, rel=1e-3)
    assert found[0].c == found[1].c == pytest.approx(0.2, rel=1e-3)
    assert found[1].e == pytest.approx(2.2, rel=1e-3)
    other = losses_of(laws | {"y": LossLaw(0.5, 2.2, 0.09, 0.3, 0.4)})
    free = fit_losses(other, form="broken", exponents="free", bootstrap=3)
    assert free.fits["y"].law.f == pytest.approx(0.09, rel=1e-3)
    assert fit_losses(other, form="broken", exponents="shared", bootstrap=3).noise > 100 * free.noise


def test_saturation_bounds_a_and_zero_leaves_it_out():
    ladder = losses_of({"adamw": LossLaw(1.5, 1.6, 0.1)})
    assert fit_losses(ladder, bootstrap=3).fits["adamw"].law.a == pytest.approx(1.5)
    bounded = fit_losses(ladder, saturation=0.5, bootstrap=3)
    assert bounded.fits["adamw"].law.a == 0.5
    none = fit_losses(ladder, saturation=0, bootstrap=3)
    assert none.fits["adamw"].law.a == 0
    assert "a" not in none.fits["adamw"].intervals
    assert fit_losses(ladder, bootstrap=3).noise < bounded.noise < none.noise


def test_forcing_a_to_zero_gives_the_exponent_of_table_13():
    """From the losses of Table 11's broken law; the runs themselves are not published."""
    (printed,) = [fit.law for fit in saturation_fits() if (fit.compute, fit.saturation) == ("6n", "0")]
    found = fit_losses(losses_of({"adamw": table_11()["adamw"]}), saturation=0, bootstrap=3).fits["adamw"].law
    assert found.e == pytest.approx(printed.e, rel=0.01)
    assert found.f == pytest.approx(printed.f, rel=0.05)


def test_the_least_squares_answer_is_a_minimum_in_every_direction():
    ladder = losses_of({"adamw": table_11()["adamw"]}, noise=0.003)["adamw"]
    law = fit_losses({"adamw": ladder}, bootstrap=1).fits["adamw"].law

    def squares(a, e, f):
        return sum((a + e * c**-f - loss) ** 2 for c, loss in ladder.items())

    best = squares(law.a, law.e, law.f)
    for i, step in enumerate((1e-3, 1e-3, 1e-4)):
        for sign in (1, -1):
            moved = [law.a, law.e, law.f]
            moved[i] += sign * step
            assert squares(*moved) > best


@pytest.mark.parametrize("form", ["single", "broken"])
@pytest.mark.parametrize("exponents", ["free", "shared"])
def test_projected_derivatives_are_those_of_the_projection_where_residuals_vanish(form, exponents):
    """Kaufman's approximation drops a term that the residuals multiply: at a solution it is exact."""
    laws = {"x": LossLaw(0.3, 2.0, 0.05, 0.4, 0.3), "y": LossLaw(0.3, 1.9, 0.05, 0.3, 0.3)}
    if form == "single":
        laws = {name: LossLaw(law.a, law.e, law.f) for name, law in laws.items()}
    ladders = losses_of(laws)
    problem = _Problem(ladders, form, exponents, 2.0)
    y = np.array([loss for ladder in ladders.values() for loss in ladder.values()])
    u = np.log(np.tile([0.05, 0.3][: problem.terms], problem.unknown // problem.terms))
    assert np.abs(problem.solve(u, y)[1]).max() < 1e-12
    analytic = problem.solve(u, y)[2]
    for k in range(len(u)):
        step = np.zeros(len(u))
        step[k] = 1e-5
        numeric = (problem.solve(u + step, y)[1] - problem.solve(u - step, y)[1]) / 2e-5
        np.testing.assert_allclose(analytic[:, k], numeric, atol=1e-6)


def test_the_unit_of_compute_changes_nothing():
    """Tiny ladders live at 1e-9 petaflop-hours."""
    law = LossLaw(1.2, 0.05, 0.2)
    ladder = {1e-9 * c: law(1e-9 * c) for c in (1, 2, 5, 10, 30, 100)}
    found = fit_losses({"x": ladder}, bootstrap=3).fits["x"].law
    assert found(1e-6) == pytest.approx(law(1e-6), abs=1e-6)


def test_the_largest_size_is_held_out_and_its_error_reported():
    ladders = losses_of(table_11("single"), noise=0.002)
    top = max(ladders["adamw"])
    ladders["adamw"][top] += 0.5  # whatever it measured, the prediction must not have seen it
    held = hold_out_largest(ladders, bootstrap=30)
    assert held["adamw"].pfh == top
    assert held["adamw"].error == pytest.approx(-0.5, abs=0.03)
    assert abs(held["muon"].error) < 0.03


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """A small simulation; the large one is benchmarks/fit_coverage.py. Of 24 at 95 %, fewer than 19 has p < 1e-3."""
    law = LossLaw(1.04, 2.16, 0.074)
    heads = (6, 8, 12, 16, 20, 24)
    hits = widths = 0
    for seed in range(24):
        ladders = losses_of({"x": law}, heads, noise=0.003, seed=seed)
        _, band = fit_losses(ladders, bootstrap=60, seed=seed, starts=4).predict("x", enoki_pfh(40))
        hits += law(enoki_pfh(40)) in band
        widths += band.high - band.low
    assert hits >= 19
    assert widths / 24 < 0.1  # and not by being endless


def test_the_unstable_run_of_table_19_is_flagged_and_nothing_else():
    ladders = {}
    for run in read_runs([QWEN3_LOSSES]):
        ladders.setdefault(run.label, {})[run.pfh("6n")] = run.final_loss
    (found,) = outliers(ladders)
    assert (found.label, found.loss) == ("ademamix", 3.226)
    assert found.expected == pytest.approx(2.53, abs=0.03)


@pytest.mark.parametrize("where", [0, 5, 13])
def test_a_planted_outlier_is_flagged_wherever_it_stands(where):
    ladders = losses_of(table_11(), noise=0.003)
    compute = sorted(ladders["muon"])[where]
    ladders["muon"][compute] += 0.2
    assert [(one.label, one.pfh) for one in outliers(ladders)] == [("muon", compute)]


def test_honest_noise_is_no_outlier():
    assert not [one for seed in range(3) for one in outliers(losses_of(table_11(), noise=0.003, seed=seed))]


LADDER = {float(c): 3.0 - 0.1 * c for c in range(1, 8)}
REFUSED = [
    ({}, {}, "no losses"),
    ({"x": {1.0: 3.0, 2.0: 2.9}}, {}, "too few sizes for x: 2"),
    ({"x": {1.0: 3.0, 2.0: 2.9, 3.0: 2.85}}, {}, "too few sizes: 3 losses for the 3 numbers"),
    ({"x": {c: LADDER[c] for c in (1.0, 2.0, 3.0, 4.0)}}, {"form": "broken"}, "needs 5"),
    ({"x": LADDER | {9.0: math.nan}}, {}, "finite and above 0, got 9 and nan"),
    ({"x": LADDER | {9.0: math.inf}}, {}, "finite"),
    ({"x": LADDER | {0.0: 3.0}}, {}, "above 0, got 0"),
    ({"x": LADDER}, {"saturation": 2.9}, "below the least loss 2.3, got 2.9"),
    ({"x": LADDER}, {"saturation": -1.0}, "from 0"),
    ({"x": LADDER}, {"form": "triple"}, "'triple'"),
    ({"x": LADDER}, {"exponents": "own"}, "'own'"),
    ({"x": LADDER}, {"bootstrap": 0}, "bootstrap"),
]


@pytest.mark.parametrize(
    ("ladders", "options", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_cannot_be_fitted_is_refused(ladders, options, message):
    with pytest.raises(ValueError, match=message):
        fit_losses(ladders, **options)


def test_a_fit_that_does_not_converge_is_an_error():
    ladders = losses_of(table_11(), noise=0.003)
    with pytest.raises(ValueError, match="did not converge in 2 steps from any of 3 starts"):
        fit_losses(ladders, form="broken", starts=3, bootstrap=1, evaluations=2)
