"""The high-dimensional limits: signSGD, clipped SGD, adaptive rates, SignSVD."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.rules import newton_schulz
from adana.theory import clipping, highline, signsgd, spectral
from adana.theory.clipping import ClippedRun
from adana.theory.highline import Rate
from adana.theory.noise import NOISES, LabelNoise
from adana.theory.spectral import MatrixProblem

LABELS = [
    LabelNoise(),
    LabelNoise("gaussian", 0.5),
    LabelNoise("rademacher", 0.5),
    LabelNoise("student", 0.5, 3.0),
    LabelNoise("cauchy", 0.5),
]
COVARIANCES = {"isotropic": (0.0, False), "diagonal": (0.5, False), "rotated": (0.5, True)}


def sign_problem(d, kind):
    exponent, rotate = COVARIANCES[kind]
    k = signsgd.power_law_covariance(d, exponent, rotate=rotate)
    start = np.random.default_rng(0).standard_normal(d)
    return k, start / np.sqrt(start @ k @ start)


@pytest.mark.parametrize("kind", COVARIANCES)
def test_signsgd_follows_its_limit(kind):
    k, start = sign_problem(200, kind)
    for curve in signsgd.compare(k, start, 0.4, LABELS, 1600, seeds=8).curves:
        assert curve.max_relative < 0.13, curve.label


@pytest.mark.slow
@pytest.mark.parametrize("kind", COVARIANCES)
def test_signsgd_follows_its_limit_more_closely_in_higher_dimension(kind):
    k, start = sign_problem(800, kind)
    for curve in signsgd.compare(k, start, 0.4, LABELS, 6400, seeds=4).curves:
        assert curve.max_relative < 0.10, curve.label


def test_signsgd_settles_at_the_stationary_risk():
    d = 100
    k = signsgd.power_law_covariance(d, 0.5)
    late = signsgd.predict(k, np.ones(d), 0.4, [LabelNoise("gaussian", 0.3)], 6000, record=[6000]).risk[0, 0]
    assert late == pytest.approx(signsgd.stationary_risk(0.4, np.diagonal(k), 0.3), rel=0.01)


def test_heavy_tails_do_signsgd_no_harm():
    k, start = sign_problem(200, "diagonal")
    gaussian, cauchy = (signsgd.predict(k, start, 0.4, [x], 1600).risk[0, -1] for x in (LABELS[1], LABELS[4]))
    assert 1 / 3 < cauchy / gaussian < 3


def test_gaussian_noise_by_quantiles_is_its_closed_form():
    noise = LabelNoise("gaussian", 0.7)
    by_nodes = np.sqrt(2) / (np.pi * np.sqrt(0.3)) * np.mean(np.exp(-(noise.nodes**2) / 1.2))
    assert signsgd.drift(0.3, noise) == pytest.approx(by_nodes, rel=1e-4)


@given(kind=st.sampled_from(NOISES), scale=st.floats(0.1, 3))
def test_every_noise_draws_what_its_quantiles_say(kind, scale):
    noise = LabelNoise(kind, scale)
    drawn = noise.sample(np.random.default_rng(0), (4000,))
    inside = [np.mean(np.abs(x) <= scale * 1.001) for x in (drawn, noise.nodes)]
    assert inside[0] == pytest.approx(inside[1], abs=0.04)


# --- clipping -------------------------------------------------------------------------------------------


def clipped(d, thresholds):
    lam = np.arange(1, d + 1.0) ** -0.4
    modes = np.random.default_rng(0).standard_normal(d) ** 2
    noises = (LabelNoise("gaussian", 0.5), LabelNoise("student", 0.5, 2.5), LabelNoise("cauchy", 0.5))
    settings = [ClippedRun(noise, c) for noise in noises for c in thresholds]
    return clipping.compare(lam, modes / (lam @ modes), 0.5 / d, settings, 6 * d, seeds=6)


@pytest.mark.slow
def test_clipped_sgd_follows_its_limit():
    for curve in clipped(300, (0.3, 1.0, 3.0)).curves:
        assert curve.max_relative < 0.13, curve.label


@pytest.mark.slow
def test_clipped_sgd_follows_its_limit_more_closely_in_higher_dimension():
    for curve in clipped(1000, (1.0,)).curves:
        assert curve.max_relative < 0.07, curve.label


def test_a_clip_that_never_acts_is_sgd():
    lam, modes = np.ones(20), np.full(20, 0.05)
    noise = LabelNoise("gaussian", 0.5)
    runs = clipping.simulate(lam, modes, 0.01, [ClippedRun(noise, 1e12), ClippedRun(noise, np.inf)], 200, seeds=2)[1]
    np.testing.assert_array_equal(runs[0], runs[1])
    lines = clipping.predict(lam, modes, 0.01, [ClippedRun(noise, 1e12), ClippedRun(noise, np.inf)], 200)[1]
    np.testing.assert_allclose(lines[0], lines[1], rtol=1e-12)
    q, wanted = 1.0, []
    for _ in range(201):  # q' = q - 2 eta q + eta^2 tr(K^2) (q + s^2)
        wanted.append(q / 2)
        q += -2 * 0.01 * q + 0.01**2 * 20 * (q + 0.25)
    exact = clipping.predict(lam, modes, 0.01, [ClippedRun(noise, np.inf)], 200, record=range(201))[1][0]
    np.testing.assert_allclose(exact, wanted, rtol=1e-10)


@given(q=st.floats(0.01, 100), scale=st.floats(0.0, 5), c=st.floats(1e-3, 1e3))
def test_clipping_never_helps_gaussian_residuals(q, scale, c):
    mu, v = clipping.clipping_moments(q, c, LabelNoise("gaussian", scale))
    assert mu**2 * (q + scale**2) / v <= 1 + 1e-9


def test_clipping_helps_heavy_tails():
    assert 1.8 <= clipping.benefit(1.0, LabelNoise("student", freedom=2.5)).ratio <= 2.1
    ratios = [clipping.benefit(q, LabelNoise("student", freedom=3.0)).ratio for q in (0.01, 1.0, 10.0)]
    np.testing.assert_allclose(ratios, [1.96, 1.39, 1.04], atol=0.01)
    assert clipping.benefit(1.0, LabelNoise("gaussian")).ratio <= 1 + 1e-9


def test_moments_by_quantiles_are_the_closed_form():
    noise = LabelNoise("gaussian", 0.8)
    rng = np.random.default_rng(0)
    residual = rng.standard_normal(400_000) * np.sqrt(0.5 + 0.64)
    mu, v = clipping.clipping_moments(0.5, 0.9, noise)
    assert mu == pytest.approx(np.mean(np.abs(residual) <= 0.9), abs=4e-3)
    assert v == pytest.approx(np.mean(np.minimum(residual**2, 0.81)), abs=4e-3)
    student = LabelNoise("student", 0.8, 3.0)
    residual = rng.standard_normal(400_000) * np.sqrt(0.5) - student.sample(rng, (400_000,))
    mu, v = clipping.clipping_moments(0.5, 0.9, student)
    assert mu == pytest.approx(np.mean(np.abs(residual) <= 0.9), abs=4e-3)
    assert v == pytest.approx(np.mean(np.minimum(residual**2, 0.81)), abs=4e-3)


# --- the high line --------------------------------------------------------------------------------------

RATES = [Rate("constant", 0.5), Rate("adagrad-norm", 1.0, 1.0), Rate("line-search"), Rate("polyak")]


def deviations(d, noise):
    lam = np.random.default_rng(1).uniform(0.3, 2, d)
    modes = np.random.default_rng(2).standard_normal(d) ** 2
    curves = highline.compare(lam, modes, RATES, np.linspace(0, 10, 41), noise=noise, seeds=3).curves
    worst = {"risk": 0.0, "gamma": 0.0}
    for risk, gamma in zip(curves[::2], curves[1::2]):
        alive = risk.predicted > 1e-3 * risk.predicted[0]
        for what, curve in (("risk", risk), ("gamma", gamma)):
            worst[what] = max(worst[what], np.abs(curve.simulated / curve.predicted - 1)[alive].max())
    return worst


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "bound"), [(0.0, 0.15), (0.5, 0.05)])
def test_adaptive_rates_follow_their_equations(noise, bound):
    worst = deviations(1600, noise)
    assert worst["risk"] < bound
    assert worst["gamma"] < 0.07


def test_adaptive_rates_follow_their_equations_in_lower_dimension():
    worst = deviations(400, 0.0)
    assert worst["risk"] < 0.18
    assert worst["gamma"] < 0.09


@pytest.mark.parametrize(("eta", "offset"), [(1.0, 1.0), (2.0, 0.1), (0.5, 0.3)])
def test_adagrad_norm_settles_at_its_limit(eta, offset):
    lam, modes = np.linspace(0.3, 2, 100), np.ones(100)
    late = highline.predict(lam, modes, Rate("adagrad-norm", eta, offset), [0.0, 1.0, 400.0]).gamma[-1]
    assert late == pytest.approx(highline.adagrad_limit(eta, offset, lam.mean(), 1.0), rel=1e-6)


@pytest.mark.parametrize(
    ("high", "low", "fraction", "gamma", "slowdown"),
    [
        (2.0, 0.5, 0.5, 0.434917, 1.70),
        (1.0, 0.01, 0.5, 0.039992, 81.0),
        (3.0, 1.0, 0.2, 0.552084, 1.11),
        (1.0, 0.001, 0.5, 0.004000, 938.0),
    ],
)
def test_line_search_settles_at_its_limit_and_can_be_arbitrarily_slower(high, low, fraction, gamma, slowdown):
    found = highline.line_search_limit(high, low, fraction)
    assert found.gamma == pytest.approx(gamma, abs=1e-6)
    assert found.slowdown == pytest.approx(slowdown, rel=0.005)


def test_line_search_runs_into_that_limit():
    lam, weights = np.array([2.0, 0.5]), np.array([0.5, 0.5])
    run = highline.predict(lam, [1.0, 1.0], Rate("line-search"), [0.0, 1.0, 20.0], weights=weights)
    assert run.gamma[-1] == pytest.approx(highline.line_search_limit(2.0, 0.5, 0.5).gamma, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("beta", "delta"), [(0.3, 0.3), (0.5, 0.8), (0.3, 1.0)])
def test_adagrads_rate_falls_by_the_power_law(beta, delta):
    edges = np.geomspace(1e-10, 1, 301)
    lam = np.sqrt(edges[1:] * edges[:-1])
    weights = lam ** (1 - beta)
    times = np.append(0, np.geomspace(0.1, 1e8, 60))
    run = highline.predict(lam, lam**-delta, Rate("adagrad-norm"), times, weights=weights / weights.sum())
    late = times > 1e6
    slope = np.polyfit(np.log(times[late]), np.log(run.gamma[late]), 1)[0]
    assert slope == pytest.approx(highline.power_law_exponent(beta, delta), abs=0.025)


def test_predictions_start_exactly_at_the_start():
    lam, modes = np.linspace(0.3, 2, 50), np.ones(50)
    start = 0.5 * lam.mean() + 0.5 * 0.3**2
    assert highline.predict(lam, modes, RATES[0], [0.0, 1.0], noise=0.3).risk[0] == pytest.approx(start, rel=1e-15)
    (run,) = highline.simulate(lam, modes, RATES[:1], [0.0, 1.0], noise=0.3)
    np.testing.assert_allclose(run.risk[:, 0], start, rtol=1e-12)


# --- SignSVD --------------------------------------------------------------------------------------------


def noiseless(outputs, batch):
    lam = np.arange(1, 401.0) ** -0.35
    return MatrixProblem(lam, np.full(400, 1 / lam.sum()), outputs, batch)


@pytest.mark.parametrize(("outputs", "batch"), [(200, 20), (200, 80), (800, 20), (800, 80)])
@pytest.mark.slow
def test_signsvd_and_signsgd_follow_their_recursions_without_noise(outputs, batch):
    problem = noiseless(outputs, batch)
    lr = 0.2 / np.sqrt(batch * problem.eigenvalues.sum())
    found = spectral.compare(problem, {"signsvd": lr, "signsgd": lr / np.sqrt(outputs)}, 100)
    svd, sgn = found.curves
    assert svd.max_relative < 0.06
    assert sgn.max_relative < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("batch", [20, 200, 600])
def test_signsvd_and_signsgd_follow_their_recursions_under_label_noise(batch):
    lam = 1 / np.arange(1, 61.0)
    problem = MatrixProblem(lam, np.full(60, 60 / lam.sum()), 1200, batch, np.sqrt(0.05))
    lr = 0.02 * np.sqrt(60)
    svd, sgn = spectral.compare(problem, {"signsvd": lr, "signsgd": lr / np.sqrt(1200)}, 60).curves
    assert svd.max_relative < 0.06
    assert sgn.max_relative < 0.05


@pytest.mark.parametrize(("batch", "tolerance"), [(10, 0.17), (60, 0.06), (600, 0.01)])
def test_the_gain_is_that_of_the_root_of_a_wishart_matrix(batch, tolerance):
    lam, rng = 1 / np.arange(1, 61.0), np.random.default_rng(0)
    drawn = 0
    for _ in range(60):
        _, s, vt = np.linalg.svd(rng.standard_normal((batch, 60)) * np.sqrt(lam), full_matrices=False)
        drawn = drawn + np.einsum("ij,i,ij->j", vt, s, vt) / 60
    gain, _ = spectral.square_root_gain(lam, batch)
    np.testing.assert_allclose(gain, drawn, rtol=tolerance)
    relative = gain / np.sqrt(batch * lam)
    head_and_tail = {10: (0.86, 0.23), 60: (0.98, 0.76), 600: (0.998, 0.98)}[batch]
    np.testing.assert_allclose(relative[[0, -1]], head_and_tail, atol=0.006)


def test_on_isotropic_data_the_two_match_up_to_a_constant():
    """Label noise leading, many samples: equal but for sqrt(2/pi) in the drift, at learning rates sqrt(m) apart."""
    problem = MatrixProblem(np.ones(20), np.full(20, 0.01), 400, 4000, 1.0)
    svd_gain, svd_spread = spectral._gains(problem, "signsvd")
    sgn_gain, sgn_spread = spectral._gains(problem, "signsgd")
    np.testing.assert_allclose(sgn_spread / 400, svd_spread, rtol=1e-7)
    np.testing.assert_allclose(sgn_gain / svd_gain, np.sqrt(2 / np.pi), rtol=0.01)


def test_the_phase_map_compares_both_at_their_best():
    found = spectral.phase_map((0.25, 1.5), (0.0,), n=40, outputs=60, batch=10, horizons=(30, 100), lrs=12)
    assert found.log_ratio.shape == (2, 1, 2)
    assert np.isfinite(found.log_ratio).all()
    assert {word for row in found.verdict() for word in row} <= {"signsvd", "signsgd", "trade-off"}


@pytest.mark.slow
def test_the_phase_map_has_three_phases():
    found = spectral.phase_map((0.25, 1.75), (0.5, 2.0))
    assert found.verdict() == [["signsvd", "signsgd"], ["signsvd", "trade-off"]]


def test_the_polar_factor_of_a_product_is_that_of_the_whole():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((5, 12)), rng.standard_normal((5, 9))
    u, _, vt = np.linalg.svd(left.T @ right)
    np.testing.assert_allclose(spectral.polar_factor(left, right), u[:, :5] @ vt[:5], atol=1e-10)


def test_newton_schulz_is_near_the_polar_factor_not_at_it():
    singular = np.geomspace(0.003, 1, 40)
    singular /= np.sqrt((singular**2).sum())
    singular = singular[singular >= 0.003]
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.standard_normal((60, singular.size)))[0]
    v = np.linalg.qr(rng.standard_normal((50, singular.size)))[0]
    out = np.linalg.svd(newton_schulz((u * singular) @ v.T, 5), compute_uv=False)[: singular.size]
    assert out.min() > 0.65
    assert out.max() < 1.25
    assert np.abs(out - 1).max() > 0.05


EYE = np.eye(3)
BAD = [
    (lambda: signsgd.predict(np.ones((2, 3)), [1.0, 1.0], 0.1, LABELS, 5), "square"),
    (lambda: signsgd.predict([[1.0, 0.5], [0.4, 1.0]], [1.0, 1.0], 0.1, LABELS, 5), "symmetric"),
    (lambda: signsgd.predict([[0.0, 0.0], [0.0, 1.0]], [1.0, 1.0], 0.1, LABELS, 5), "diagonal"),
    (lambda: signsgd.predict([[1.0, 2.0], [2.0, 1.0]], [1.0, 1.0], 0.1, LABELS, 5), "semi-definite"),
    (lambda: signsgd.predict(EYE, [1.0, 1.0], 0.1, LABELS, 5), "start"),
    (lambda: signsgd.predict(EYE, np.ones(3), 0.0, LABELS, 5), "lr"),
    (lambda: signsgd.predict(EYE, np.ones(3), 0.1, [], 5), "noises"),
    (lambda: signsgd.drift(0.0, LabelNoise()), "risk"),
    (lambda: LabelNoise("laplace"), "laplace"),
    (lambda: LabelNoise("gaussian", -1.0), "scale"),
    (lambda: ClippedRun(LabelNoise(), 0.0), "clip"),
    (lambda: ClippedRun(LabelNoise(), float("nan")), "clip"),
    (lambda: clipping.clipping_moments(0.0, 1.0, LabelNoise()), "q"),
    (lambda: clipping.benefit(1.0, LabelNoise("cauchy")), "infinite variance"),
    (lambda: clipping.predict([1.0, 0.0], [1.0, 1.0], 0.1, [ClippedRun(LabelNoise())], 5), "eigenvalues"),
    (lambda: Rate("adam"), "adam"),
    (lambda: Rate("constant", 0.0), "scale"),
    (lambda: highline.predict([1.0], [1.0], RATES[0], [1.0, 2.0]), "start at 0"),
    (lambda: highline.predict([1.0], [1.0], RATES[0], [0.0, 1.0], weights=[0.5]), "sum to 1"),
    (lambda: highline.line_search_limit(1.0, 2.0, 0.5), "high must exceed low"),
    (lambda: highline.line_search_limit(2.0, 1.0, 1.0), "fraction"),
    (lambda: highline.adagrad_limit(1.0, -1.0, 1.0, 1.0), "offset"),
    (lambda: MatrixProblem(np.ones(4), np.ones(4), 3, 5), "without label noise"),
    (lambda: MatrixProblem(-np.ones(4), np.ones(4), 3, 2), "eigenvalues"),
    (lambda: spectral.predict(MatrixProblem(np.ones(4), np.ones(4), 3, 2), "muon", 0.1, 5), "muon"),
]


@pytest.mark.parametrize(("call", "match"), BAD, ids=[match for _, match in BAD])
def test_bad_numbers_are_refused_by_name(call, match):
    with pytest.raises(ValueError, match=match):
        call()
