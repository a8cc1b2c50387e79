"""The schedules' properties, and the same answers for every kind of number."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adana import schedules

steps = st.integers(0, 10**7)
deltas = st.floats(0.5, 100)
horizons = st.integers(10, 10**6)
kappas = st.floats(0, 1)
omegas = st.floats(0.01, 20)


@given(steps, deltas)
def test_beta_stays_in_zero_to_one_and_makes_the_weights_whole(t, delta):
    beta = schedules.beta(t, delta)
    assert 0 <= beta < 1
    assert schedules.average_weight(t, delta) == pytest.approx(1 - beta, rel=1e-12, abs=1e-15)


@given(deltas)
def test_the_first_average_is_the_first_value(delta):
    assert schedules.beta(0, delta) == 0
    assert schedules.average_weight(0, delta) == 1


@given(steps, deltas)
def test_the_average_remembers_ever_longer(t, delta):
    assert schedules.average_weight(t + 1, delta) < schedules.average_weight(t, delta)


def test_the_newest_weight_does_not_cancel_far_into_a_run():
    assert schedules.average_weight(1e17, 8.0) == 8e-17
    assert 1 - schedules.beta(1e17, 8.0) == 0, "what subtracting would have given"


@given(steps, kappas, st.floats(0.1, 10))
def test_alpha_starts_at_its_scale_and_grows_as_a_power(t, kappa, scale):
    assert schedules.alpha(0, kappa=kappa, damping_scale=scale) == scale
    now = schedules.alpha(t, kappa=kappa, damping_scale=scale)
    assert now == pytest.approx(scale * math.exp((1 - kappa) * math.log1p(t)), rel=1e-9)
    assert schedules.alpha(t + 1, kappa=kappa, damping_scale=scale) >= now


@given(steps, horizons, kappas)
def test_the_other_dampings_are_straight_lines(t, total, kappa):
    linear = schedules.alpha(t, damping="linear", kappa=kappa, total_steps=total)
    assert linear == pytest.approx(t * total**-kappa)
    nesterov = schedules.alpha(t, damping="nesterov", delta=8.0)
    assert nesterov == pytest.approx(1 / schedules.average_weight(t, 8.0))


@given(horizons, st.floats(0.01, 0.99))
def test_the_cooled_clock_turns_once_and_ends_at_a_tenth_of_where_it_turned(total, cooldown):
    turn = (1 - cooldown) * total
    assert schedules.cooled(0.9 * turn, cooldown, total) == 0.9 * turn
    assert schedules.cooled((turn + total) / 2, cooldown, total) == pytest.approx(0.55 * turn, rel=1e-6)
    for late in (total, total + 1, 10 * total):
        assert schedules.cooled(late, cooldown, total) == pytest.approx(turn / 10, rel=1e-6)


@given(steps, horizons, omegas)
def test_log_time_decay_falls_and_starts_at_ten_omega_over_the_horizon(t, total, omega):
    options: dict[str, Any] = {"weight_decay": omega, "total_steps": total}
    assert schedules.lambda_(0, **options) == pytest.approx(10 * omega / total)
    assert schedules.lambda_(t + 1, **options) < schedules.lambda_(t, **options)


@given(horizons, omegas)
def test_both_decays_shrink_by_as_much_over_a_run_as_their_formulas_say(total, omega):
    """In log time the sum is omega ln 11: more than the constant decay's omega, and most of it early."""
    t = np.arange(min(total, 10**5), dtype=np.float64) * (total / min(total, 10**5))
    width = total / len(t)
    log_time = float(np.sum(schedules.lambda_(t + width / 2, weight_decay=omega, total_steps=total)) * width)
    assert log_time == pytest.approx(omega * math.log(11), rel=0.02)
    constant = schedules.lambda_(0, weight_decay=omega, total_steps=total, decay="constant") * total
    assert constant == pytest.approx(omega)


@given(st.integers(0, 2 * 10**6), horizons, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_gamma_stays_between_its_ends(t, total, warmup, start, final):
    value = schedules.gamma(t, total, warmup_fraction=warmup, start=start, final=final)
    assert min(start, final) - 1e-12 <= value <= 1 + 1e-12


@given(horizons, st.floats(0.001, 0.9))
def test_gamma_is_continuous_at_the_end_of_the_warm_up_and_flat_after_the_run(total, warmup):
    end = warmup * total
    options: dict[str, Any] = {"warmup_fraction": warmup}
    assert schedules.gamma(end * (1 - 1e-9), total, **options) == pytest.approx(1, abs=1e-6)
    assert schedules.gamma(end * (1 + 1e-9), total, **options) == pytest.approx(1, abs=1e-6)
    assert schedules.gamma(total, total, **options) == pytest.approx(0.1)
    assert schedules.gamma(3 * total, total, **options) == pytest.approx(0.1)


@given(horizons)
def test_gamma_never_falls_in_the_warm_up_and_never_rises_after_it(total):
    values = [schedules.gamma(total * i / 500, total) for i in range(501)]
    rising = values[: 500 // 50 + 1]
    assert rising == sorted(rising)
    assert values[500 // 50 :] == sorted(values[500 // 50 :], reverse=True)


@given(steps, st.floats(0, 0.99999))
def test_a_corrected_average_of_ones_is_one(t, beta):
    t = t % 300
    average = 0.0
    for _ in range(t + 1):
        average = beta * average + (1 - beta)
    assert average / schedules.bias_correction(t, beta) == pytest.approx(1, rel=1e-6)


@given(steps, horizons, st.floats(0.5, 0.99))
def test_ademamix_beta1_warms_up_and_never_passes_its_target(t, total, beta3):
    target = 1 - 8 / total
    beta1 = schedules.ademamix_beta1(t, total, beta3=beta3)
    assert 0 <= beta1 <= target
    assert schedules.ademamix_beta1(0, total, beta3=beta3) == pytest.approx(min(beta3, target))
    assert schedules.ademamix_weight(t, total, beta3=beta3) == pytest.approx(1 - beta1, rel=1e-9, abs=1e-15)
    if target > beta3:
        assert schedules.ademamix_beta1(total, total, beta3=beta3) == pytest.approx(target)
        assert schedules.ademamix_beta1(t + 1, total, beta3=beta3) >= beta1 - 1e-12


@given(steps, horizons, kappas)
def test_ademamix_alpha_rises_to_what_adanas_is_at_the_end(t, total, kappa):
    alpha = schedules.ademamix_alpha(t, total, kappa=kappa)
    assert 0 <= alpha <= total ** (1 - kappa) * (1 + 1e-12)
    assert schedules.ademamix_alpha(0, total, kappa=kappa) == 0
    assert schedules.ademamix_alpha(2 * total, total, kappa=kappa) == pytest.approx(total ** (1 - kappa))


@given(steps, st.floats(0, 100))
def test_at_least_is_the_larger(t, bound):
    assert schedules.at_least(t, bound) == max(t, bound)


T = 1000
SCHEDULES = {
    "beta": lambda t: schedules.beta(t, 8.0),
    "average_weight": lambda t: schedules.average_weight(t, 8.0),
    "alpha-power": lambda t: schedules.alpha(t, kappa=0.85),
    "alpha-linear": lambda t: schedules.alpha(t, damping="linear", total_steps=T),
    "alpha-nesterov": lambda t: schedules.alpha(t, damping="nesterov"),
    "lambda-log": lambda t: schedules.lambda_(t, total_steps=T),
    "lambda-offset": lambda t: schedules.lambda_(t, weight_decay_offset=30),
    "gamma": lambda t: schedules.gamma(t, T),
    "gamma-no-warm-up": lambda t: schedules.gamma(t, T, warmup_fraction=0.0),
    "gamma-all-warm-up": lambda t: schedules.gamma(t, T, warmup_fraction=1.0),
    "cooled": lambda t: schedules.cooled(t, 0.3, T),
    "bias_correction": lambda t: schedules.bias_correction(t, 0.999),
    "ademamix_beta1": lambda t: schedules.ademamix_beta1(t, T),
    "ademamix_weight": lambda t: schedules.ademamix_weight(t, T),
    "ademamix_alpha": lambda t: schedules.ademamix_alpha(t, T),
    "at_least": lambda t: schedules.at_least(t, 5.0),
}
POINTS = [0.0, 1.0, 7.0, 19.0, 20.0, 21.0, 500.0, 999.0, 1000.0, 1001.0, 5000.0]
ARRAYS = {
    "numpy": lambda values: np.array(values, dtype=np.float64),
    "torch": lambda values: torch.tensor(values, dtype=torch.float64),
    "torch-parameter": lambda values: torch.nn.Parameter(torch.tensor(values, dtype=torch.float64)),
    "jax": lambda values: jnp.asarray(values, dtype=jnp.float64),
}
KINDS = {"numpy": np.ndarray, "torch": torch.Tensor, "torch-parameter": torch.Tensor, "jax": jax.Array}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_arrays_get_the_answers_of_python_numbers_in_their_own_kind(name, kind):
    expected = [SCHEDULES[name](t) for t in POINTS]
    with jax.enable_x64(True):
        found = SCHEDULES[name](ARRAYS[kind](POINTS))
        assert isinstance(found, KINDS[kind])
        assert str(found.dtype).endswith("float64")
        values = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
        np.testing.assert_allclose(values, expected, rtol=1e-14, atol=1e-15)
        single = SCHEDULES[name](ARRAYS[kind](POINTS[6]))
        assert single.item() == pytest.approx(expected[6], rel=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_compiles_and_keeps_its_digits_in_float32(name):
    """As JAX computes it without x64: the whole number of the step in, rounding of the last digits out."""
    found = jax.jit(jax.vmap(SCHEDULES[name]))(jnp.asarray(POINTS, dtype=jnp.int32))
    expected = [SCHEDULES[name](t) for t in POINTS]
    np.testing.assert_allclose(np.asarray(found), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_whole_and_numpy_numbers_do_as_well_as_floats(name):
    for t in POINTS:
        expected = SCHEDULES[name](t)
        assert SCHEDULES[name](int(t)) == pytest.approx(expected, rel=1e-14)
        assert float(SCHEDULES[name](np.float64(t))) == pytest.approx(expected, rel=1e-14)
        assert float(SCHEDULES[name](np.int64(t))) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedules.alpha(1, damping="heavy"), r"'heavy'.*power, linear, nesterov"),
        (lambda: schedules.alpha(1, damping="linear"), "pass total_steps"),
        (lambda: schedules.lambda_(1, decay="cosine"), r"'cosine'.*log, constant"),
        (lambda: schedules.lambda_(1), r"pass total_steps .*or weight_decay_offset"),
        (lambda: schedules.lambda_(1, decay="constant"), "pass total_steps"),
        (lambda: schedules.lambda_(1, decay="constant", weight_decay_offset=5), "pass total_steps"),
        (lambda: schedules.decay_offset(None, None), "weight_decay_offset"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_what_to_pass(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"weight_decay": 4.0, "total_steps": 1000}, "lambda(t) = 4 / (100 + t)"),
        ({"weight_decay": 2.5, "weight_decay_offset": 7.5}, "lambda(t) = 2.5 / (7.5 + t)"),
        ({"weight_decay": 4.0, "decay": "constant", "total_steps": 1000}, "lambda = 4 / 1000"),
        ({"weight_decay": 0.0}, "none"),
    ],
)
def test_the_decay_in_force_is_said_in_words(options, text):
    assert schedules.decay_formula(**options) == text
