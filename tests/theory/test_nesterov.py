from __future__ import annotations

import numpy as np
import pytest

from adana.theory import nesterov
from adana.theory.nesterov import accumulated_noise, ademamix_memory, averaged_dana, original_dana, run

T, D = 400, 20
RNG = np.random.default_rng(0)
CURVATURE, START, NOISE = 1 / np.arange(1, D + 1.0), RNG.standard_normal(D), 0.1 * RNG.standard_normal((T, D))
DAMPED = (1 + np.arange(float(T))) ** -0.6


def gradient(x, t):
    return CURVATURE * x + NOISE[t]


@pytest.mark.parametrize("alpha", [None, DAMPED], ids=["standard", "damped"])
def test_the_forms_are_one_method_under_the_maps_of_tables_22_and_23(alpha):
    extra, ahead, two = (
        run(form, gradient, START, 0.05, T, alpha) for form in ("extra-gradient", "look-ahead", "two-sequence")
    )
    scale = np.abs(extra.points).max()
    for other in (ahead, two):
        assert np.abs(other.points - extra.points).max() < 1e-10 * scale
        assert np.abs(other.theta - extra.theta).max() < 1e-10 * scale


@pytest.mark.parametrize("alpha", [None, DAMPED], ids=["standard", "damped"])
def test_one_averaged_form_is_exact_and_the_printed_one_is_not(alpha):
    extra, averaged, printed = (
        run(form, gradient, START, 0.05, T, alpha) for form in ("extra-gradient", "averaged", "averaged-printed")
    )
    assert np.abs(averaged.points - extra.points).max() < 1e-10 * np.abs(extra.points).max()
    assert np.abs(printed.points - extra.points).max() > 1e-6


def test_original_dana_is_the_packages_dana_with_delta_one_larger():
    original = original_dana(gradient, START, 0.05, T, DAMPED, delta=8.0)
    exact, printed = (averaged_dana(gradient, START, 0.05, T, DAMPED, delta=delta) for delta in (9.0, 8.0))
    assert np.abs(exact - original).max() < 1e-10 * np.abs(original).max()
    assert np.abs(printed - original).max() > 1e-6


def test_standard_nesterov_is_the_textbook_method():
    two = run("two-sequence", gradient, START, 0.05, 5)
    theta, y = START, START
    for t in range(5):
        new = y - 0.05 * gradient(y, t)
        y, theta = new + t / (t + 3) * (new - theta), new
        np.testing.assert_allclose(two.points[t + 1], y, rtol=1e-12)


def test_noise_accumulates_as_derived():
    np.testing.assert_allclose(accumulated_noise(500), (np.arange(1, 501) + 3) / 4, rtol=1e-12)


def test_ademamixs_warmup_runs_in_log_time():
    t = [10, 1e2, 1e3, 1e4, 1e5]
    np.testing.assert_allclose(ademamix_memory(t, 100_000), [0.111, 0.556, 0.927, 0.993, 1.0], atol=6e-4)
    np.testing.assert_allclose(ademamix_memory(t, 100_000, beta3=0.5), [0.388, 0.865, 0.985, 0.9986, 1.0], atol=6e-4)


def test_the_comparison_tells_exact_from_approximate():
    deviations = nesterov.compare(total_steps=100).numbers["largest_deviation"]
    approximate = {"averaged-printed", "original DANA, averaged with delta"}
    assert {name for name, x in deviations.items() if x > 1e-6} == approximate


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: run("heavy-ball", gradient, START, 0.1, 5), "heavy-ball"),
        (lambda: run("extra-gradient", gradient, START, 0.0, 5), "lr"),
        (lambda: run("extra-gradient", gradient, START, 0.1, 5, [0.1]), "alpha"),
        (lambda: run("two-sequence", gradient, START, 0.1, 2, [-1.0, 0.1]), "delta_t"),
        (lambda: original_dana(gradient, START, 0.1, 5, np.ones(5), delta=-1.0), "delta"),
    ],
)
def test_bad_numbers_are_refused_by_name(call, match):
    with pytest.raises(ValueError, match=match):
        call()
