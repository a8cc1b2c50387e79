from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.theory import equivalent, phases
from adana.theory.plrf import Plrf
from adana.theory.recursion import Coefficients, coefficients, compare, mean_risk, original_dana
from adana.theory.simulate import Configuration, log_spaced, simulate
from adana.theory.volterra import critical_lr, kernel_norm, limit_risk, sgd_risk, volterra_risk


def linear_family(rho, lr, total_steps, d):
    """SGD, SGD with momentum, DANA-decaying and DANA-constant, away from the edge of stability."""
    kappa = max(1 / (2 * rho), 0.6)
    return [
        Configuration("sgd", lr),
        Configuration("sgd-m", lr / 2, beta=0.9, momentum=0.5),
        Configuration("dana", lr / 2, kappa=kappa, damping_scale=0.2),
        Configuration("dana", lr / 2, kappa=0.0, damping="linear", damping_scale=0.2 / d),
    ]


CASES = [(rho, eta, batch) for rho, eta in ((1.1, 0.6), (0.7, 0.3)) for batch in (1, 4)]
TIMES = np.array([0, 1, 2, 4, 8, 18, 40, 90, 200, 400, 700, 1000])


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "eta", "batch"), CASES)
def test_means_of_400_simulated_runs_match_the_exact_recursion(rho, eta, batch):
    problem = Plrf(rho, eta, v=256, d=64, seed=3)
    family = linear_family(rho, 0.25 * critical_lr(problem.eigenvalues, batch), 1000, 64)
    found = compare(problem, family, total_steps=1000, batch=batch, runs=400, seed=1, record=TIMES)
    for curve in found.curves:
        assert curve.max_z < 5
        assert curve.max_relative < 0.06


def test_the_recursion_holds_for_data_drawn_in_full_dimension():
    """Neither theta*, nor the eigenbasis, nor the split into features and noise enters this simulation."""
    problem = Plrf(1.0, 0.3, v=256, d=64, seed=3, full=True)
    lr = 0.25 * critical_lr(problem.eigenvalues)
    family = [Configuration("sgd", lr), Configuration("dana", lr / 2, kappa=0.6, damping_scale=0.2)]
    record = np.array([0, 5, 20, 60, 200, 600])
    found = compare(problem, family, total_steps=600, runs=200, seed=1, record=record)
    for curve in found.curves:
        assert curve.max_z < 5
        assert curve.max_relative < 0.06


def test_volterra_recursion_and_closed_form_agree():
    problem = Plrf(0.7, 0.3, v=256, d=64, seed=3)
    for batch in (1, 4):
        lr = 0.5 * critical_lr(problem.eigenvalues, batch)
        ones = np.ones(2000)
        sgd = Coefficients(0 * ones, ones, lr * ones, 0 * ones)
        record = np.arange(0, 2001, 50)
        args = (problem.eigenvalues, problem.modes(), problem.p_infinity)
        exact = mean_risk(*args, [sgd], batch=batch, record=record).risk[0]
        np.testing.assert_allclose(volterra_risk(lr, *args, 2000, batch)[record], exact, rtol=1e-12)
        np.testing.assert_allclose(sgd_risk(lr, *args, record, batch), exact, rtol=1e-11)


@pytest.mark.parametrize("batch", [1, 3])
def test_sgd_converges_just_below_the_critical_rate_and_blows_up_just_above(batch):
    problem = Plrf(0.7, 0.3, v=256, d=64, seed=3)
    lam, modes, floor = problem.eigenvalues, problem.modes(), problem.p_infinity
    critical = critical_lr(lam, batch)
    assert kernel_norm(critical, lam, batch) == pytest.approx(1, rel=1e-9)
    below, above = (sgd_risk(x * critical, lam, modes, floor, [0, 1e5, 1e7], batch) for x in (0.97, 1.03))
    assert below[2] == pytest.approx(limit_risk(0.97 * critical, lam, floor, batch), rel=1e-3)
    assert above[2] > 1e6 * above[0]


def test_the_familiar_threshold_is_not_the_critical_rate():
    lam = Plrf(1.1, 0.6, v=256, d=64, seed=0).eigenvalues
    assert kernel_norm(0.9 * 2 / lam.sum(), lam, 1) == np.inf


def test_the_limit_risk_is_reached():
    problem = Plrf(1.0, 0.3, v=256, d=64, seed=3)
    lam = problem.eigenvalues
    lr = 0.5 * critical_lr(lam)
    late = sgd_risk(lr, lam, problem.modes(), problem.p_infinity, [1e8])[0]
    assert late == pytest.approx(limit_risk(lr, lam, problem.p_infinity), rel=1e-3)


def test_original_dana_is_the_recursion_of_its_own_form():
    """Equal to the averaged form with delta + 1 and the damping rescaled (see the Nesterov bench)."""
    problem = Plrf(1.0, 0.3, v=64, d=16, seed=3)
    args = (problem.eigenvalues, problem.modes(), problem.p_infinity)
    ours = original_dana(0.1, 300, kappa=0.6, damping_scale=0.3, delta=8.0)
    t = np.arange(300.0)
    weight = 9 / (9 + t)
    averaged = Coefficients(1 - weight, weight, ours.c, ours.k * (9 + t) / 9)
    np.testing.assert_allclose(mean_risk(*args, [ours]).risk, mean_risk(*args, [averaged]).risk, rtol=1e-12)


# --- the deterministic equivalent -----------------------------------------------------------------------

POINTS = [(1.1, 0.6), (0.7, 0.3), (0.4, 0.7), (0.3, 0.3)]


@pytest.mark.parametrize(("rho", "eta"), POINTS)
def test_least_risk_without_drawing_w(rho, eta):
    drawn = np.mean([Plrf(rho, eta, v=1024, d=256, seed=s).p_infinity / 2 for s in range(6)])
    assert equivalent.least_risk(rho, eta, 1024, 256) == pytest.approx(drawn, rel=0.10)


@pytest.mark.slow
def test_least_risk_without_drawing_w_at_a_larger_size():
    j = np.arange(1, 4097.0)
    target = j**-1.7
    least = []
    for seed in range(6):  # the residual alone, by a QR: a problem of this size takes an SVD of five times the time
        q = np.linalg.qr(j[:, None] ** -1.1 * np.random.default_rng(seed).standard_normal((4096, 1024)))[0]
        least.append(np.sum((target - q @ (q.T @ target)) ** 2) / 2)
    assert equivalent.least_risk(1.1, 0.6, 4096, 1024) == pytest.approx(np.mean(least), rel=0.06)


def sum_rules(found, rho, eta, v, d):
    j = np.arange(1, v + 1.0)
    forcing = found.forcing_mass.sum() + found.p_infinity
    assert forcing == pytest.approx(np.sum(j ** (-2 * (rho + eta))), rel=1e-3)
    trace = np.sum(j ** (-4 * rho)) + np.sum(j ** (-2 * rho)) ** 2 / d
    assert found.kernel_mass.sum() == pytest.approx(trace, rel=1e-3)


@pytest.mark.parametrize(("rho", "eta"), [(0.7, 0.3), (0.3, 0.3)])  # at the second most of the mass lies in P_inf
def test_the_equivalent_obeys_its_sum_rules(rho, eta):
    sum_rules(equivalent.equivalent(rho, eta, 256, 64), rho, eta, 256, 64)


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "eta"), POINTS)
def test_forcing_and_kernel_of_drawn_problems(rho, eta):
    times = np.geomspace(1, 3e5, 40)
    found = equivalent.compare(rho, eta, 1024, 256, times=times)
    forcing, kernel = found.curves
    assert forcing.max_relative < 0.10
    early = times < 0.2 / Plrf(rho, eta, 1024, 256, seed=0).eigenvalues[-1]
    assert np.abs(kernel.simulated / kernel.predicted - 1)[early].max() < 0.05


def test_continuous_and_discrete_forms_agree_for_small_steps():
    found = equivalent.equivalent(0.7, 0.3, 128, 32, points=600)
    times = [0.0, 100.0, 1000.0]
    np.testing.assert_allclose(found.forcing(1e-4, times), found.forcing(1e-4, times, batch=1), rtol=1e-4)
    np.testing.assert_allclose(found.kernel(1e-4, times, 1), found.kernel(1e-4, times, 1, continuous=False), rtol=1e-4)


@pytest.mark.parametrize(("rho", "eta"), [(0.7, 0.3), (1.1, 0.6), (1.5, 0.3), (0.8, 0.3)])
def test_asymptotic_pieces_have_the_right_slopes(rho, eta):
    d, v = 600, 2400
    problem = Plrf(rho, eta, v=v, d=d, seed=0)
    times = np.geomspace(30, 0.1 * d ** (2 * rho), 30)
    lam = problem.eigenvalues
    decay = np.exp(-2 * np.outer(times, lam))
    forcing, kernel = decay @ (lam * problem.modes()), decay @ lam**2
    pieces = phases.loss_terms(rho, eta, d, times)

    def slope(values):
        return np.polyfit(np.log(times), np.log(values), 1)[0]

    assert slope(kernel) == pytest.approx(slope(pieces.noise), abs=0.1)
    assert slope(forcing) == pytest.approx(slope(pieces.forcing), abs=0.1)


# --- phases ---------------------------------------------------------------------------------------------


def test_the_table_equals_the_linear_program():
    rng = np.random.default_rng(0)
    seen = set()
    for rho, eta in zip(rng.uniform(0.02, 1.6, 5000), rng.uniform(-0.4, 1.6, 5000)):
        if 2 * (rho + eta) <= 1:
            continue
        table, program = phases.exponents(rho, eta), phases.linear_program(rho, eta)
        assert table.loss == pytest.approx(program.loss, abs=1e-6)
        assert table.model_size == pytest.approx(program.model_size, abs=1e-5)
        seen.add(table.phase)
    assert seen == set(phases.PHASES)


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "eta"), [(1.0, 0.3), (0.7, 0.2), (1.2, 0.7)])
def test_the_frontier_has_the_tables_exponent(rho, eta):
    numbers = phases.frontier(rho, eta).numbers
    assert numbers["epsilon"] == pytest.approx(numbers["epsilon_predicted"], abs=0.1)


@pytest.mark.parametrize(("rho", "eta"), [(0.2, 0.3), (0.5, 0.0), (0.4, -0.1)])
def test_there_is_no_phase_where_the_target_has_no_norm(rho, eta):
    with pytest.raises(ValueError, match="no power-law phase"):
        phases.exponents(rho, eta)


# --- simulation -----------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_the_global_generator_is_left_alone():
    problem = Plrf(1.0, 0.3, v=64, d=16, seed=3)
    family = [Configuration("adana", 0.01), Configuration("dana-star-mk4", 0.01)]
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    first, second = (simulate(problem, family, total_steps=200, seed=4) for _ in range(2))
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.testing.assert_array_equal(first.parameters, second.parameters)
    np.testing.assert_array_equal(first.risk, second.risk)
    other = simulate(problem, family, total_steps=200, seed=5)
    assert (first.parameters != other.parameters).any()
    np.testing.assert_array_equal(Plrf(1.0, 0.3, v=64, d=16, seed=3).A, problem.A)


def test_configurations_do_not_depend_on_their_company():
    problem = Plrf(1.0, 0.3, v=64, d=16, seed=3)
    family = [Configuration("adamw", 0.01), Configuration("dana-mk4", 0.01), Configuration("adana", 0.02, kappa=0.6)]
    together = simulate(problem, family, total_steps=100, seed=4, dtype="float64")
    for i, one in enumerate(family):
        alone = simulate(problem, [one], total_steps=100, seed=4, dtype="float64")
        np.testing.assert_allclose(together.risk[i], alone.risk[0], rtol=1e-9)


def test_divergence_is_data_with_the_first_step_it_shows():
    problem = Plrf(1.0, 0.3, v=64, d=16, seed=3)
    lr = 3 * critical_lr(problem.eigenvalues)
    family = [Configuration("sgd", lr), Configuration("sgd", lr / 10)]
    record = np.arange(0, 1501)
    done = simulate(problem, family, total_steps=1500, seed=4, record=record)
    bad, good = done.risk[0, 0], done.risk[1, 0]
    assert done.diverged.tolist() == [[True], [False]]
    first = int(done.diverged_at[0, 0])
    over = ~(bad <= 1e6 * bad[0])
    assert first == record[over][0]
    assert not np.isfinite(bad[-1])
    assert np.isfinite(good).all()
    assert done.diverged_at[1, 0] == -1


def test_the_recursion_reports_divergence_as_data():
    found = mean_risk([1.0, 0.5], [1.0, 1.0], 0.1, [coefficients(Configuration("sgd", 5.0), 400)])
    assert 0 < found.diverged_at[0] < 400
    assert not np.isfinite(found.risk[0, -1])


def test_no_steps_give_the_starting_risk():
    problem = Plrf(1.0, 0.3, v=64, d=16, seed=3)
    done = simulate(problem, [Configuration("adana", 0.01)], total_steps=0)
    assert done.steps.tolist() == [0]
    assert done.risk[0, 0, 0] == pytest.approx(problem.b_hat @ problem.b_hat / 2)
    assert done.parameters.shape == (1, 1, 16)


def test_the_risk_never_exceeds_the_bound_that_watches_for_divergence():
    problem = Plrf(0.7, 0.3, v=64, d=16, seed=3)
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((200, 16)) * np.geomspace(1e-3, 1e3, 200)[:, None]
    assert (problem.risk(theta) <= problem.risk_bound((theta**2).sum(-1))).all()


@given(total=st.integers(1, 10**7), count=st.integers(2, 100))
def test_log_spaced_records_begin_at_0_and_end_at_the_horizon(total, count):
    steps = log_spaced(total, count)
    assert steps[0] == 0
    assert steps[-1] == total
    assert (np.diff(steps) > 0).all()


BAD = [
    (lambda: Plrf(0.0, 0.3, 64, 16), "rho"),
    (lambda: Plrf(float("nan"), 0.3, 64, 16), "rho"),
    (lambda: Plrf(1.0, float("inf"), 64, 16), "eta"),
    (lambda: Plrf(1.0, 0.3, 16, 16), "v must exceed d"),
    (lambda: Plrf(1.0, 0.3, 64, 0), "d must be"),
    (lambda: Plrf(1.0, 0.3, 64.0, 16), "v must be an integer"),
    (lambda: Configuration("adana", -1.0), "lr"),
    (lambda: Configuration("adana", 1.0, kappa=-0.1), "kappa"),
    (lambda: Configuration("adana", 1.0, kappa=float("nan")), "kappa"),
    (lambda: Configuration("adana", 1.0, delta=0.0), "delta"),
    (lambda: Configuration("dana-mk4", 1.0, clip_snr=0.0), "clip_snr"),
    (lambda: Configuration("muon", 1.0), "muon"),
    (lambda: Configuration("adamw", 1.0, form="released"), "form"),
    (lambda: kernel_norm(0.0, [1.0]), "lr"),
    (lambda: kernel_norm(0.1, [-1.0]), "eigenvalues"),
    (lambda: volterra_risk(0.1, [1.0], [1.0, 2.0], 0.0, 5), "modes"),
    (lambda: volterra_risk(0.1, [1.0], [1.0], -0.1, 5), "p_infinity"),
    (lambda: volterra_risk(0.1, [1.0], [1.0], 0.1, -5), "total_steps"),
    (lambda: mean_risk([1.0], [1.0], 0.0, []), "methods"),
    (lambda: mean_risk([1.0], [1.0], 0.0, [coefficients(Configuration("sgd", 0.1), 5)], batch=0), "batch"),
    (lambda: coefficients(Configuration("adana", 0.1), 5), "adana"),
    (lambda: equivalent.equivalent(1.0, 0.3, 16, 16), "v must exceed d"),
    (lambda: phases.loss_terms(1.0, 0.3, 16, [0.0]), "times"),
]


@pytest.mark.parametrize(("call", "match"), BAD, ids=[match for _, match in BAD])
def test_bad_numbers_are_refused_by_name(call, match):
    with pytest.raises(ValueError, match=match):
        call()


SETTINGS = [
    ({"total_steps": -1}, "total_steps"),
    ({"total_steps": 1.5}, "total_steps"),
    ({"batch": 0}, "batch"),
    ({"runs": 0}, "runs"),
    ({"start": np.zeros(3)}, "start"),
    ({"start": np.full(16, np.nan)}, "start"),
    ({"record": [5, 2]}, "record"),
    ({"record": [0, 99]}, "record"),
    ({"dtype": "float16"}, "dtype"),
]


@pytest.mark.parametrize(("change", "match"), SETTINGS, ids=[str(change) for change, _ in SETTINGS])
def test_bad_settings_of_a_simulation_are_refused_by_name(change, match):
    problem = Plrf(1.0, 0.3, v=64, d=16, seed=3)
    with pytest.raises(ValueError, match=match):
        simulate(problem, [Configuration("sgd", 0.1)], **{"total_steps": 10, **change})
