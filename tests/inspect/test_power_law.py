"""The power law of a spectrum: found where there is one, and not claimed where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.inspect.power_law import LEAST_SPAN, TOLERANCE, fit_power_law, slope

RANKS = np.arange(1, 201, dtype=float)


@given(exponent=st.floats(0.15, 4.0), count=st.integers(16, 600), scale=st.floats(1e-6, 1e6))
def test_a_power_law_is_found_over_the_longest_range(exponent, count, scale):
    law = fit_power_law(scale * np.arange(1, count + 1.0) ** -exponent)
    assert law.holds
    assert (law.first, law.last) == (1, count // 2)
    assert law.exponent == pytest.approx(exponent, rel=1e-6)
    assert law.kappa == pytest.approx(1 / exponent, rel=1e-6)
    assert law.r_squared == pytest.approx(1)


@given(exponent=st.floats(0.3, 2.0), cut=st.integers(16, 60))
def test_a_range_ends_where_the_law_does(exponent, cut):
    values = np.where(cut >= RANKS, RANKS**-exponent, cut**-exponent * np.exp(-(RANKS - cut)))
    law = fit_power_law(values)
    assert law.holds
    assert law.last <= cut + 4
    assert law.exponent == pytest.approx(exponent, rel=0.25)


@pytest.mark.parametrize(
    "values",
    [np.exp(-RANKS / 5), np.exp(-RANKS / 50), np.ones(200), 1 - RANKS / 400, np.exp(-(np.log(RANKS) ** 2))],
    ids=["exponential", "slow exponential", "flat", "line", "log-normal"],
)
def test_what_is_no_power_law_is_not_called_one(values):
    law = fit_power_law(values)
    assert not law.holds
    assert law.kappa is None
    assert law.last >= LEAST_SPAN * law.first


def test_the_order_of_values_does_not_matter():
    values = RANKS**-1.1
    assert fit_power_law(values[::-1]) == fit_power_law(values)


def test_a_given_range_is_taken_and_judged_by_the_same_rule():
    values = RANKS**-1.0 * np.where(RANKS > 20, 20 / RANKS, 1.0) ** 2
    inside, across = fit_power_law(values, first=1, last=20), fit_power_law(values, first=4, last=100)
    assert inside.holds
    assert inside.exponent == pytest.approx(1)
    assert not across.holds
    assert across.halves[1] - across.halves[0] > TOLERANCE * across.exponent
    assert across.halves == pytest.approx((slope(values, 4, 20), slope(values, 20, 100)))


def test_the_leading_part_of_a_longer_spectrum_is_fitted_to_its_end():
    assert fit_power_law(RANKS**-1.0, most=200).last == 200


@pytest.mark.parametrize(
    ("values", "range_", "words"),
    [
        (np.ones(15), {}, "at least 16 values"),
        ([*np.ones(20), 0], {}, "finite and above 0"),
        ([*np.ones(20), np.nan], {}, "finite and above 0"),
        (np.ones(20), {"first": 0}, "1 <= first"),
        (np.ones(20), {"first": 4, "last": 6}, "first . 3 <= last"),
        (np.ones(20), {"last": 21}, "last <= 20"),
    ],
)
def test_what_is_no_spectrum_or_no_range_is_refused(values, range_, words):
    with pytest.raises(ValueError, match=words):
        fit_power_law(values, **range_)
