from __future__ import annotations

import numpy as np
import pytest

from adana.theory import sparse
from adana.theory.sparse import (
    SCHEDULES,
    between_two_gradients,
    constant_bound,
    simulate,
    tau_limit,
    update_probability,
)


def test_constant_coefficients_keep_the_bound_and_saturate():
    largest = {p: simulate(*SCHEDULES["constant"], p, count=20, seeds=400).largest for p in (1.0, 0.3, 0.1, 0.03, 0.01)}
    assert max(largest.values()) <= constant_bound(0.9, 0.999)
    assert largest[0.01] / largest[0.03] < 1.3


@pytest.mark.slow
def test_log_time_moves_grow_like_the_inverse_root_of_p():
    p = np.array([0.1, 0.03, 0.01, 0.003, 0.001])
    largest = np.array([simulate(*SCHEDULES["log-time"], x, seeds=400, gradients="sign").largest for x in p])
    scaled = largest * np.sqrt(p)
    assert (scaled > 0.5).all()
    assert (scaled < 0.8).all()
    assert np.polyfit(np.log(p), np.log(largest), 1)[0] == pytest.approx(-0.5, abs=0.05)


def test_a_fast_second_moment_moves_like_the_inverse_of_p():
    for p in (0.1, 0.03, 0.01):
        mean = simulate(*SCHEDULES["fast beta2"], p, count=1, seeds=1500, gradients="sign").mean[0]
        assert 0.8 < p * mean < 1.15
    for t in (100, 400, 1600):
        assert 1.14 <= between_two_gradients(*SCHEDULES["fast beta2"], t, 3 * t) / t <= 1.16


def test_log_time_moves_are_a_constant_times_the_root_of_the_gap():
    ratios = [between_two_gradients(*SCHEDULES["log-time"], t, 3 * t) / np.sqrt(t) for t in (100, 400, 1600)]
    assert max(ratios) / min(ratios) < 1.03


def test_a_constant_second_moment_diverges_once_the_gap_is_long():
    moves = [between_two_gradients(*SCHEDULES["constant beta2"], t, 3 * t) for t in (100, 400, 1600, 20_000, 40_000)]
    np.testing.assert_allclose(moves[:3], [36.4, 37.4, 41.8], atol=0.06)
    assert moves[3] > 1e5
    assert moves[4] > 1e5 * moves[3]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("first", "second"), [(1, 2), (7, 40), (300, 900)])
def test_the_closed_form_is_what_stepping_gives(name, first, second):
    beta1, beta2 = SCHEDULES[name]
    m = v = total = 0.0
    for t in range(1, second):
        g = 1.7 if t == first else 0.0
        one, two = float(beta1(np.array([t]))[0]), float(beta2(np.array([t]))[0])
        m, v = one * m + (1 - one) * g, two * v + (1 - two) * g * g
        total += m / np.sqrt(v) if t >= first else 0.0
    assert between_two_gradients(beta1, beta2, first, second) == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize(("p", "steps"), [(1.0, 400), (0.5, 2000), (0.1, 4000)])
def test_tau_settles_where_derived(p, steps):
    tau, tilde = update_probability(p, steps)
    assert tau == pytest.approx(tau_limit(p), rel=0.03)
    assert 0.8 <= tilde / p <= 1.01
    if p == 0.1:
        assert abs(tau / (p / (1 + p)) - 1) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("p", "steps"), [(0.01, 20_000), (0.003, 60_000)])
def test_tau_settles_where_derived_for_rare_gradients(p, steps):
    tau, tilde = update_probability(p, steps, seeds=400)
    assert tau == pytest.approx(tau_limit(p), rel=0.03)
    assert 0.8 <= tilde / p <= 1.01


def test_the_comparison_puts_each_schedule_beside_its_law():
    found = sparse.compare((0.3, 0.1), names=("constant", "log-time"), count=2, seeds=200)
    assert [curve.label for curve in found.curves] == ["constant", "log-time"]
    constant = found.curves[0]
    assert (constant.simulated < constant.predicted).all()


def as_printed(t):
    return 1 - 8 / (t + 1)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: constant_bound(0.99, 0.9), "beta1\\^2 < beta2"),
        (lambda: constant_bound(1.0, 0.9), "beta1"),
        (lambda: simulate(*SCHEDULES["constant"], 0.0), "p must be a probability"),
        (lambda: simulate(*SCHEDULES["constant"], 1.5), "p must be a probability"),
        (lambda: simulate(as_printed, as_printed, 0.5), "beta1 must lie in"),
        (lambda: between_two_gradients(*SCHEDULES["log-time"], 5, 5), "second must exceed"),
        (lambda: simulate(*SCHEDULES["constant"], 0.5, gradients="cauchy"), "cauchy"),
        (lambda: sparse.compare(names=("nothing",)), "nothing"),
        (lambda: tau_limit(-0.1), "p must be a probability"),
    ],
)
def test_bad_numbers_are_refused_by_name(call, match):
    with pytest.raises(ValueError, match=match):
        call()
