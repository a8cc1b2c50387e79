from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.scaling.damping import damping_scale, fit_damping
from tests.scaling.ladders import damping_sweeps

GRID = [2.0**-k for k in range(2, 22)]


def sweeps_of(best, where):
    """Parabolas in log c around the best one."""
    return {key: {c: 3 + 0.02 * math.log(c / best(*key)) ** 2 for c in GRID} for key in where}


WHERE = [(p, t, b) for p in (7e6, 2e7) for t in (3e3, 1e4, 4e4) for b in (65536, 1048576)]


@settings(max_examples=20, deadline=None)
@given(kappa=st.floats(0.6, 0.95), eta=st.floats(0.0, 0.5), rho=st.floats(-0.1, 0.1), scale=st.floats(0.5, 2.0))
def test_exponents_of_horizon_batch_and_size_are_found(kappa, eta, rho, scale):
    middle = math.sqrt(7e6 * 2e7)

    def best(p, t, b):
        return scale * t**-kappa * (b / 65536) ** eta * (p / middle) ** rho

    fit = fit_damping(sweeps_of(best, WHERE), bootstrap=20)
    assert fit.kappa == pytest.approx(kappa, abs=1e-6)
    assert fit.batch_exponent == pytest.approx(eta, abs=1e-6)
    assert fit.size_exponent == pytest.approx(rho, abs=1e-6)
    assert fit.scale == pytest.approx(scale, rel=1e-5)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """A small simulation; the large one is benchmarks/fit_coverage.py. Of 60 at 95 %, fewer than 51 has p < 1e-3."""
    hits, widths = dict.fromkeys(("scale", "kappa", "batch_exponent", "size_exponent"), 0), []
    truth = {"scale": 1.0, "kappa": 0.85, "batch_exponent": 0.33, "size_exponent": 0.0}
    for seed in range(60):
        found = fit_damping(damping_sweeps(WHERE, seed=seed), bootstrap=100, seed=seed).intervals
        for name, value in truth.items():
            hits[name] += value in found[name]
        widths.append(found["kappa"].high - found["kappa"].low)
    assert min(hits.values()) >= 51
    assert max(widths) < 0.5  # and not by being endless


def test_what_was_not_varied_is_not_fitted():
    fit = fit_damping(sweeps_of(lambda p, t, b: t**-0.85, [(7e6, t, 65536) for t in (2e3, 5e3, 2e4)]), bootstrap=20)
    assert fit.batch_exponent is None
    assert fit.size_exponent is None
    assert set(fit.intervals) == {"scale", "kappa"}
    assert [point.kappa for point in fit.points] == pytest.approx([0.85] * 3)


def test_the_scale_for_a_batch_is_the_papers():
    assert damping_scale(65536) == 1
    assert damping_scale(16 * 65536) == pytest.approx(2.5, rel=0.01)  # Section H.1
    with pytest.raises(ValueError, match="-1"):
        damping_scale(-1)


def test_a_best_damping_at_the_edge_is_marked():
    grid = {c: c for c in (0.1, 0.2, 0.4)}
    fit = fit_damping({(7e6, t, 65536): grid for t in (2e3, 5e3, 2e4)}, bootstrap=5)
    assert not any(point.bracketed for point in fit.points)


SWEEP = {0.1: 3.1, 0.2: 3.0, 0.4: 3.1}
REFUSED = [
    ({(7e6, 2e3, 65536): SWEEP, (2e7, 2e3, 65536): SWEEP}, "two horizons or more, got 1"),
    ({(7e6, 2e3, 65536): SWEEP, (7e6, 4e3, 65536): SWEEP}, "too few sweeps"),
    ({(7e6 * k, 2e3 * k, 65536): SWEEP for k in (1, 2, 4, 8)}, "vary together"),
    ({(7e6, 2e3, 65536): {0.1: 3.0, 0.2: math.inf}}, "1 finished"),
    ({(7e6, 2e3, 65536): {0.1: math.nan}}, "NaN"),
    ({(7e6, 2e3, 65536): {-0.1: 3.0}}, "above 0"),
]


@pytest.mark.parametrize(("sweeps", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_be_fitted_is_refused(sweeps, message):
    with pytest.raises(ValueError, match=message):
        fit_damping(sweeps)
