from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.theory.mixture import MoePlrf, zipf
from adana.theory.plrf import Plrf
from adana.theory.recursion import coefficients, compare, mean_risk
from adana.theory.simulate import Configuration, simulate
from adana.theory.volterra import critical_lr

TIMES = np.array([0, 10, 100, 500, 1500])


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8])
def test_every_experts_mean_risk_matches_the_exact_recursion(batch):
    base = Plrf(1.0, 0.3, v=160, d=40, seed=1)
    problem = MoePlrf(base, 8)
    lr = 0.15 * critical_lr(base.eigenvalues, batch)
    family = [
        Configuration("sgd", lr),
        Configuration("dana", lr, kappa=0.5, damping_scale=0.04 if batch == 1 else 0.2),
    ]
    settings = {"total_steps": 1500, "batch": batch, "runs": 100, "seed": 1, "record": TIMES}
    done = simulate(problem, family, observe=problem.expert_risk, dtype="float64", **settings)
    exact = mean_risk(
        base.eigenvalues,
        base.modes(),
        base.p_infinity,
        [coefficients(one, 1500) for one in family],
        batch=batch,
        record=TIMES,
        probabilities=problem.probabilities,
    ).risk.transpose(2, 0, 1)
    mean, error = done.observed.mean(1), done.observed.std(1, ddof=1) / 10
    assert np.abs((mean - exact)[1:] / error[1:]).max() < 5
    mixture = exact @ problem.probabilities
    assert np.abs(done.mean_risk.T / mixture - 1).max() < 0.03


def test_one_expert_is_plrf_bit_for_bit():
    base = Plrf(1.0, 0.3, v=64, d=16, seed=3)
    family = [Configuration(name, 0.01) for name in ("sgd", "adana", "dana-star-mk4", "ademamix")]
    settings = {"total_steps": 150, "batch": 1, "seed": 4}
    alone, mixed = simulate(base, family, **settings), simulate(MoePlrf(base, 1), family, **settings)
    np.testing.assert_array_equal(mixed.parameters[:, :, 0], alone.parameters)


def test_an_unrouted_expert_still_steps():
    base = Plrf(1.0, 0.3, v=64, d=16, seed=3)
    problem = MoePlrf(base, 2, zeta=3.0)
    draw = problem.stream(4, 1, 1, np.dtype(np.float64))
    experts = draw(40).experts[:, 0, 0]
    seen = int(np.flatnonzero(experts == 1)[0])
    after = next(t for t in range(seen + 1, 40) if experts[t] == 0)
    parameters = [
        simulate(problem, [Configuration("adamw", 0.01)], total_steps=t, seed=4).parameters[0, 0, 1]
        for t in (seen, after, after + 1)
    ]
    assert (parameters[0] == 0).all()
    assert (parameters[1] != parameters[2]).all()


def test_gradients_are_divided_by_the_batch_not_by_the_number_routed():
    base = Plrf(1.0, 0.3, v=64, d=16, seed=3)
    problem = MoePlrf(base, 3, zeta=0.5)
    features, targets, experts = problem.stream(4, 1, 5, np.dtype(np.float64))(1)
    done = simulate(problem, [Configuration("sgd", 0.1)], total_steps=1, batch=5, seed=4, dtype="float64")
    wanted = np.zeros((3, 16))
    for x, y, expert in zip(features[0, 0], targets[0, 0], experts[0, 0]):
        wanted[expert] += 0.1 * y * x / 5
    np.testing.assert_allclose(done.parameters[0, 0], wanted, rtol=1e-12)


def test_the_mixture_on_a_torch_device():
    problem = MoePlrf(Plrf(1.0, 0.3, v=64, d=16, seed=3), 5)
    family = [Configuration(name, 0.01) for name in ("sgd", "adana", "dana-star-mk4", "ademamix")]
    settings = {"total_steps": 60, "batch": 4, "runs": 2, "seed": 4, "dtype": "float64"}
    ours, theirs = simulate(problem, family, **settings), simulate(problem, family, device="cpu", **settings)
    np.testing.assert_allclose(theirs.parameters, ours.parameters, rtol=1e-8, atol=1e-10)


def test_the_comparison_predicts_the_mixture():
    problem = MoePlrf(Plrf(1.0, 0.3, v=64, d=16, seed=3), 4)
    found = compare(
        problem, [Configuration("sgd", 0.1), Configuration("adana", 0.01)], total_steps=300, batch=4, runs=60
    )
    sgd, adana = found.curves
    assert sgd.max_z < 5
    assert adana.predicted is None
    document = found.document()
    assert document["curves"][0]["predicted"][0] == pytest.approx(document["numbers"]["start"])


@given(experts=st.integers(1, 500), zeta=st.floats(0, 5))
def test_routing_probabilities_fall_and_sum_to_one(experts, zeta):
    p = zipf(experts, zeta)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert (np.diff(p) <= 0).all()
    assert (p > 0).all()


@pytest.mark.parametrize(("experts", "zeta", "match"), [(0, 1.0, "experts"), (3, -0.5, "zeta"), (3, np.nan, "zeta")])
def test_bad_numbers_are_refused_by_name(experts, zeta, match):
    with pytest.raises(ValueError, match=match):
        MoePlrf(Plrf(1.0, 0.3, v=64, d=16), experts, zeta)


@pytest.mark.parametrize("p", [[0.5, 0.4], [1.5], [-0.1, 1.1]])
def test_probabilities_out_of_range_are_refused(p):
    one = coefficients(Configuration("sgd", 0.1), 5)
    with pytest.raises(ValueError, match="probabilities"):
        mean_risk([1.0], [1.0], 0.0, [one], probabilities=p)
