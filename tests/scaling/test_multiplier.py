from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.scaling.multiplier import budget_multipliers, compute_multiplier, pooled_spread
from adana.scaling.published import QWEN3_LOSSES
from adana.scaling.reading import read_runs


def test_a_run_as_good_as_the_baseline_between_two_budgets_is_read_off_the_line():
    found = compute_multiplier([1.0, 1.5, 2.0], [3.0, 2.8, 2.7], 1.0, 2.75)
    assert found.multiplier == pytest.approx(1.75)
    assert found.efficiency == pytest.approx(0.75)
    assert not found.extrapolated


@pytest.mark.parametrize(("loss", "multiplier"), [(2.6, 2.5), (3.2, 0.5)])
def test_outside_the_measured_losses_the_outer_slopes_serve_and_it_says_so(loss, multiplier):
    found = compute_multiplier([1.0, 1.5, 2.0], [3.0, 2.8, 2.7], 1.0, loss)
    assert found.multiplier == pytest.approx(multiplier)
    assert found.extrapolated


def test_a_loss_no_compute_reaches_has_no_multiplier():
    assert compute_multiplier([1.0, 2.0], [3.0, 3.0], 1.0, 2.9) is None
    assert compute_multiplier([1.0, 2.0], [3.0, 2.0], 1.0, 9.0) is None  # at negative compute


@given(
    losses=st.lists(st.floats(1.0, 5.0), min_size=2, max_size=6, unique=True).map(lambda x: sorted(x, reverse=True)),
    budget=st.floats(0.1, 10.0),
    where=st.floats(0.0, 1.0),
)
def test_it_inverts_the_line_it_is_read_from(losses, budget, where):
    compute = [1.0 + i for i in range(len(losses))]
    i = min(int(where * (len(losses) - 1)), len(losses) - 2)
    share = where * (len(losses) - 1) - i
    loss = losses[i] + share * (losses[i + 1] - losses[i])
    loss = min(max(loss, losses[-1]), losses[0])
    found = compute_multiplier(compute, losses, budget, loss)
    at = found.multiplier * budget
    j = min(int(at - 1.0), len(losses) - 2)
    assert losses[j] + (at - compute[j]) * (losses[j + 1] - losses[j]) == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(
    ("compute", "losses"),
    [([1.0], [2.0]), ([1.0, 2.0], [2.0]), ([2.0, 1.0], [2.0, 1.9]), ([1.0, 2.0], [2.0, float("nan")])],
)
def test_a_baseline_that_is_no_line_is_refused(compute, losses):
    with pytest.raises(ValueError, match=r"baseline|finite"):
        compute_multiplier(compute, losses, 1.0, 1.95)


def table_19():
    ladders = {}
    for run in read_runs([QWEN3_LOSSES]):
        ladders.setdefault(run.label, {})[run.pfh("6n")] = [run.final_loss]
    return ladders


def second_computation(budgets, losses, compute, loss):
    """C.2.1 again, by another way: NumPy's interpolation of compute over loss, and lines through the outer pairs."""
    budgets, losses = np.array(budgets), np.array(losses)
    if losses[-1] <= loss <= losses[0]:
        return float(np.interp(loss, losses[::-1], budgets[::-1])) / compute
    pair = slice(0, 2) if loss > losses[0] else slice(-2, None)
    slope, intercept = np.polyfit(budgets[pair], losses[pair], 1)
    return float((loss - intercept) / slope) / compute


def test_multipliers_of_table_19_agree_with_a_second_computation():
    ladders = table_19()
    budgets = sorted(ladders["adamw"])
    line = [ladders["adamw"][c][0] for c in budgets]
    rows = budget_multipliers(ladders, "adamw")
    assert len(rows) == 6 * 7
    for row in rows:
        again = second_computation(budgets, line, row.compute, row.loss)
        assert row.found.multiplier == pytest.approx(again, rel=1e-9), row
        assert row.found.extrapolated == (not line[-1] <= row.loss <= line[0])
    best = {round(row.compute, 1): row.found.multiplier for row in rows if row.optimizer == "dana-mk4 (kappa 0.85)"}
    assert best[64.7] == pytest.approx(1.674, abs=1e-3)
    assert best[194.8] == pytest.approx(1.350, abs=1e-3)  # beyond AdamW's losses


def test_without_seeds_or_a_noise_there_is_no_interval():
    assert all(row.low is None and row.high is None for row in budget_multipliers(table_19(), "adamw"))


def test_an_interval_from_seed_noise_covers_the_multiplier_without_noise():
    """Of 60 ladders at 95 %, fewer than 51 has p < 1e-3."""
    generator = np.random.default_rng(0)
    line = {1.0: 3.0, 2.0: 2.8, 4.0: 2.65, 8.0: 2.55}
    truth = compute_multiplier(list(line), list(line.values()), 2.0, 2.72).multiplier
    hits, widths = 0, []
    for seed in range(60):
        ladders = {
            "adamw": {c: (loss + 0.005 * generator.standard_normal(3)).tolist() for c, loss in line.items()},
            "adana": {2.0: (2.72 + 0.005 * generator.standard_normal(3)).tolist()},
        }
        (row,) = budget_multipliers(ladders, "adamw", draws=400, seed=seed)
        hits += row.low <= truth <= row.high
        widths.append(row.high - row.low)
    assert hits >= 51
    assert max(widths) < 0.5


def test_more_seeds_narrow_the_interval_and_a_given_noise_needs_none():
    line = {1.0: [3.0], 2.0: [2.8], 4.0: [2.65]}

    def width(seeds):
        ladders = {"adamw": {c: losses * seeds for c, losses in line.items()}, "adana": {1.0: [2.9] * seeds}}
        (row,) = budget_multipliers(ladders, "adamw", seed_noise=0.01)
        return row.high - row.low

    assert width(1) == pytest.approx(2 * width(4), rel=0.1)


def test_a_loss_that_noise_may_put_out_of_reach_has_an_interval_without_end():
    ladders = {"adamw": {1.0: [3.0], 2.0: [2.99]}, "adana": {2.0: [2.9]}}
    (row,) = budget_multipliers(ladders, "adamw", seed_noise=0.02)
    assert row.high == float("inf")


def test_a_baseline_that_did_not_run_is_named():
    with pytest.raises(ValueError, match=r"'sgd'.*adamw"):
        budget_multipliers(table_19(), "sgd")
    with pytest.raises(ValueError, match="seed noise"):
        budget_multipliers(table_19(), "adamw", seed_noise=-1)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=4), min_size=1, max_size=5))
def test_pooled_spread_is_the_root_of_the_mean_variance_inside_groups(groups):
    found = pooled_spread(groups)
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        assert found is None
    else:
        squares = sum(np.var(group) * len(group) for group in groups)
        assert found[0] == pytest.approx((squares / freedom) ** 0.5, abs=1e-9)
        assert found[1] == freedom
