from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.scaling.multiplier import compute_multiplier


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
