from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.lab.search import bracketed_minimum, search_learning_rate


@settings(max_examples=200)
@given(centre=st.floats(-9.0, 0.0), start=st.integers(-8, -1), factor=st.sampled_from([2.0, 1.25]))
def test_the_search_ends_at_the_best_grid_point_with_worse_ones_on_each_side(centre, start, factor):
    seen = {}

    def evaluate(points):
        for x in points:
            seen[x] = (math.log2(x) - centre) ** 2
        return [seen[x] for x in points]

    best, loss, bracketed = bracketed_minimum(evaluate, 2.0**start, factor, most=200)
    assert bracketed
    assert loss == min(seen.values())
    assert sum(x < best for x in seen) >= 2
    assert sum(x > best for x in seen) >= 2
    assert abs(math.log2(best) - centre) <= math.log2(factor) / 2 + 1e-9


def test_diverged_runs_bracket_a_minimum_but_are_never_one():
    best, loss, bracketed = bracketed_minimum(lambda xs: [math.inf if x > 1 else -x for x in xs], 1.0, 2.0)
    assert (best, loss, bracketed) == (1.0, -1.0, True)
    _, loss, bracketed = bracketed_minimum(lambda xs: [math.inf] * len(xs), 1.0, 2.0, most=9)
    assert loss == math.inf
    assert not bracketed


def test_a_minimum_that_runs_away_ends_unbracketed():
    _, _, bracketed = bracketed_minimum(lambda xs: list(xs), 1.0, 2.0, most=9)
    assert not bracketed


class Parabola:
    """Losses with a known best and curvature; remembers what it was asked."""

    def __init__(self, best: float, zeta: float = 0.02, unstable_from: float = math.inf) -> None:
        self.best, self.zeta, self.unstable_from = best, zeta, unstable_from
        self.asked: list[float] = []

    def __call__(self, lrs):
        self.asked += lrs
        return [math.inf if lr >= self.unstable_from else 3 + self.zeta * math.log(lr / self.best) ** 2 for lr in lrs]


@settings(max_examples=100)
@given(best=st.floats(-11.0, -3.0), start=st.integers(-12, -2))
def test_the_papers_search_ends_within_half_a_fine_step_and_asks_for_no_point_twice(best, start):
    losses = Parabola(2.0**best)
    found = search_learning_rate(losses, 2.0**start, most=40)
    assert found.bracketed
    assert abs(math.log(found.lr / losses.best)) <= math.log(1.25) / 2 + 1e-9
    assert found.curvature == pytest.approx(0.02)
    assert len(set(losses.asked)) == len(losses.asked) == len(found.points)
    assert found.points == tuple(sorted(found.points))
    for factor in (2.0, 1.25):  # two points on each side of the best, on both grids
        near = [lr for lr, _ in found.points if abs(math.log(lr / found.lr)) <= 2 * math.log(factor) + 1e-9]
        assert sum(lr < found.lr for lr in near) >= 2
        assert sum(lr > found.lr for lr in near) >= 2


def test_the_curvature_is_that_of_the_neighbourhood_and_not_of_a_far_start():
    """Far from its best a loss is no parabola: a start there must not bend the one that is reported."""

    def losses(lrs):
        return [3 + min(0.02 * math.log(lr / 2.0**-8) ** 2, 0.1) for lr in lrs]

    near, far = search_learning_rate(losses, 2.0**-8), search_learning_rate(losses, 2.0**-13, most=20)
    assert far.lr == near.lr == 2.0**-8
    assert far.curvature == near.curvature == pytest.approx(0.02)


def test_diverged_points_stand_on_a_side_and_are_left_out_of_the_curvature():
    found = search_learning_rate(Parabola(2.0**-6, unstable_from=2.0**-5.9), 2.0**-6)
    assert (found.lr, found.bracketed) == (2.0**-6, True)
    assert found.curvature == pytest.approx(0.02)
    assert dict(found.points)[2.0**-5] == math.inf


def test_where_every_run_diverges_there_is_no_best():
    found = search_learning_rate(Parabola(1.0, unstable_from=0.0), 2.0**-6)
    assert (found.lr, found.loss, found.bracketed, found.curvature) == (2.0**-6, None, False, None)
    assert len(found.points) == 13


def test_a_coarse_grid_without_a_minimum_is_not_refined():
    losses = Parabola(1e6)
    found = search_learning_rate(losses, 2.0**-6, most=9)
    assert not found.bracketed
    assert {round(math.log2(lr), 9) % 1 for lr in losses.asked} == {0.0}


def test_a_search_may_end_with_the_coarse_grid():
    found = search_learning_rate(Parabola(2.0**-6), 2.0**-6, fine=None)
    assert [lr for lr, _ in found.points] == [2.0**k for k in range(-8, -3)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"start": 0.0}, "start must be a finite number above 0, got 0.0"),
        ({"start": math.nan}, "got nan"),
        ({"coarse": 1.0}, "coarse must be a factor above 1, got 1.0"),
        ({"fine": 0.8}, "fine must be a factor above 1, got 0.8"),
        ({"sides": 0}, "sides must be at least 1, got 0"),
        ({"most": 4}, "most must be at least 5"),
    ],
)
def test_an_impossible_search_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        search_learning_rate(lambda lrs: list(lrs), **({"start": 1.0} | wrong))


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        search_learning_rate(lambda lrs: [math.nan] * len(lrs), 1.0)
