"""Monomial random features and the neural tangent kernel."""

from __future__ import annotations

import numpy as np
import pytest

from adana.theory import monomial, ntk


@pytest.mark.parametrize(("degree", "tolerance"), [(1, 0.02), (2, 0.03), (3, 0.06), (4, 0.10)])
def test_feature_covariances_are_wicks(degree, tolerance):
    s = np.array([[1.0, 0.5, 0.3], [0.5, 2.0, 0.4], [0.3, 0.4, 0.7]])
    y = np.random.default_rng(0).multivariate_normal(np.zeros(3), s, 200_000)
    drawn = (y**degree).T @ (y**degree) / len(y)
    np.testing.assert_allclose(monomial.feature_covariance(s, degree), drawn, rtol=tolerance)


@pytest.mark.parametrize(("alpha", "degree", "tolerance"), [(2.0, 1, 0.15), (2.0, 2, 0.20)])
def test_drawn_spectra_approach_the_limit(alpha, degree, tolerance):
    (curve,) = monomial.compare(alpha, degree, d=800, v=1600).curves
    ratio = curve.simulated / curve.predicted
    assert abs(np.exp(np.log(ratio).mean()) - 1) < 0.05
    assert np.abs(ratio - 1).max() < tolerance


def test_the_limit_of_squares_has_the_right_trace():
    """E (w x)^4 over both draws: sum of the eigenvalues is 3 E|x|_H^4 = 3 (2 tr H^2 + (tr H)^2)."""
    lam = np.arange(1, 31.0) ** -1.5
    assert monomial.limit_spectrum(lam, 2).sum() == pytest.approx(3 * (2 * (lam**2).sum() + lam.sum() ** 2), rel=1e-10)


@pytest.mark.parametrize("alpha", [1.3, 2.0])
def test_products_of_power_laws_carry_the_logarithm(alpha):
    products = monomial.sorted_products(alpha, 20_000)
    ranks = np.arange(1, 20_001.0)

    def drift(law):
        """Of the ratio from rank 100 to 10,000, each averaged over a fifth around it: products come in ties."""
        ratio = np.log(products / law)
        ends = [ratio[(ranks > j / 1.1) & (ranks < j * 1.1)].mean() for j in (1e2, 1e4)]
        return np.exp(abs(ends[1] - ends[0]))

    assert drift((np.log(ranks + 1) / ranks) ** alpha) <= 1.10
    assert drift(ranks**-alpha) >= 2


def test_sorted_products_are_all_there():
    exact = np.sort(np.outer(np.arange(1, 400.0), np.arange(1, 400.0)).ravel())[:390]
    np.testing.assert_allclose(monomial.sorted_products(2.0, 390), exact**-2.0, rtol=1e-12)


@pytest.mark.parametrize(("d", "p"), [(6, 4), (4, 6), (5, 5)])
def test_the_law_of_the_kernel_in_closed_form_is_the_dense_one(d, p):
    w = np.random.default_rng(0).standard_normal((d, p))
    found = ntk.hermite(np.tanh)
    np.testing.assert_allclose(ntk.kernel_law(w, found), ntk.kernel_law(w, found, np.ones(p)), atol=1e-13)


def test_the_ntk_spectrum_is_the_free_convolution_and_not_plain_marchenko_pastur():
    numbers = ntk.compare(d=48, p=24, n=1500).numbers
    assert numbers["distance"] <= 0.02
    assert numbers["distance"] <= numbers["distance_plain"] / 4


def test_the_swap_term_is_essential():
    rng = np.random.default_rng(1)
    w, found = rng.standard_normal((12, 12)), ntk.hermite(np.tanh)
    law = ntk.kernel_law(w, found)
    t = np.linalg.svd(w, compute_uv=False) ** 2 / 12
    without = np.sort(np.repeat(found.kappa + found.b1**2 * t, 12))
    assert law.mean() == pytest.approx(without.mean() + found.b1**2 * t.mean() / 12, rel=1e-10)
    assert np.abs(law - without).max() > 0.1 * law.mean()


@pytest.mark.slow
def test_a_general_second_layer_changes_the_law_as_predicted():
    numbers = ntk.compare(d=40, p=30, n=1500, spread=(0.3, 1.5)).numbers
    assert numbers["distance"] <= 0.03


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: monomial.compare(1.0, 2), "alpha"),
        (lambda: monomial.compare(2.0, 0), "degree"),
        (lambda: monomial.feature_covariance(np.eye(2), 1.5), "degree"),
        (lambda: monomial.limit_spectrum([1.0], 3), "degree 1 and 2"),
        (lambda: monomial.sorted_products(0.9, 5), "alpha"),
        (lambda: ntk.kernel_law(np.ones((60, 60)), ntk.Hermite(0, 1, 0), np.ones(60)), "1500"),
        (lambda: ntk.stieltjes([1.0 + 0j], [1.0], 0.5), "upper half plane"),
        (lambda: ntk.stieltjes([1.0 + 1j], [1.0], -0.5), "ratio"),
    ],
)
def test_bad_numbers_are_refused_by_name(call, match):
    with pytest.raises(ValueError, match=match):
        call()
