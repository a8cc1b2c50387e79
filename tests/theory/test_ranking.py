"""Rules compared over several problems: means, intervals, choices."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from adana.theory import ranking
from adana.theory.comparison import compact
from adana.theory.experiments import EXPERIMENTS
from adana.theory.ranking import by_value, geometric_mean, rank
from adana.theory.sweeps import SWEEPS, run_sweep

LRS = (1e-3, 2e-3, 4e-3)
SETTING = replace(
    SWEEPS["figure-8-left"],
    v=30,
    d=8,
    total_steps=20,
    lrs=LRS,
    extend=0,
    kappas=(0.5, 1.0),
    betas=((0.9, 0.99), (0.9, 0.999)),
    optimizers=("adana", "dana-star"),
    plain=("adamw",),
)


def made(seed, start=1.0, **risk):
    """A finished sweep with these risks, (values, rates) by rule."""
    one = run_sweep(SETTING, seed=seed, records=2)
    tables = {name.replace("_", "-"): np.array(table, dtype=float) for name, table in risk.items()}
    return replace(one, risk=tables, start=start)


FIRST = made(
    1,
    adamw=[[4.0, 3.0, 5.0], [6.0, 6.0, 6.0]],
    adana=[[9.0, np.nan, np.inf], [2.0, 2.5, 8.0]],
    dana_star=[[3.0, 1.0, 7.0], [2.0, 2.0, 2.0]],
)
SECOND = made(
    2,
    start=2.0,
    adamw=[[9.0, 12.0, 15.0], [16.0, 16.0, 16.0]],
    adana=[[9.0, 9.0, 9.0], [8.0, 2.0, 9.0]],
    dana_star=[[9.0, 4.0, 9.0], [9.0, 9.0, 9.0]],
)


def test_each_rule_is_compared_at_its_own_best_rate():
    found = rank([FIRST, SECOND])
    adamw, adana, star = (found.rule(label) for label in ("adamw", "adana", "dana-star"))
    assert star.risk.mean == pytest.approx(2.0)  # of 1 and 4
    assert adana.risk.mean == pytest.approx(2.0)  # of 2 and 2
    assert adamw.risk.mean == pytest.approx(np.sqrt(27))
    assert star.bests == ((0.5, 2e-3), (0.5, 2e-3))
    assert adana.bests == ((1.0, 1e-3), (1.0, 2e-3))
    assert [one.inside for one in (adamw, adana, star)] == [1, 1, 2]
    assert [one.wins for one in (adamw, adana, star)] == [0, 1, 1]
    assert {one.runs for one in found.rules} == {6}
    # Pairs: 1/3 and 4/9 of AdamW's on the same problem.
    assert star.ratio.mean == pytest.approx(np.sqrt(4 / 27))
    assert adamw.ratio == replace(adamw.ratio, mean=1.0, low=1.0, high=1.0)


def test_one_choice_for_all_problems_is_the_best_mean():
    found = rank([FIRST, SECOND])
    adana = found.rule("adana")
    assert (adana.value, adana.lr) == (1.0, 2e-3)  # sqrt(2.5 * 2) is the least
    assert adana.chosen_risk.mean == pytest.approx(np.sqrt(5))


def test_the_choice_is_measured_on_problems_that_it_has_not_seen():
    found = rank([FIRST, SECOND], held_out_seeds=(7, 8, 9))
    alone = [run_sweep(SETTING, seed=seed) for seed in (7, 8, 9)]
    for label in ("adamw", "adana", "dana-star"):
        one = found.rule(label)
        expected = geometric_mean([sweep.risk_at(label, one.value, one.lr) for sweep in alone])
        assert one.held_out_risk.mean == pytest.approx(expected.mean, rel=1e-4)
    assert sum(one.held_out_wins for one in found.rules) == 3
    with pytest.raises(ValueError, match="were searched"):
        rank([FIRST, SECOND], held_out_seeds=(2, 3))


def test_risk_over_kappa_has_the_best_rate_of_each_problem():
    rows = {(row.label, row.value): row for row in by_value([FIRST, SECOND])}
    star = rows["dana-star", 1.0]
    assert star.risk.mean == pytest.approx(np.sqrt(2 * 9))
    assert star.to_start.mean == pytest.approx(np.sqrt(2 / 1 * 9 / 2))
    assert rows["adana", 0.5].lrs == (1e-3, 1e-3)
    assert rows["adana", 1.0].lrs == (1e-3, 2e-3)


def test_a_rule_that_never_converges_is_ranked_last_without_an_interval():
    broken = [replace(one, risk={**one.risk, "adana": np.full((2, 3), np.nan)}) for one in (FIRST, SECOND)]
    found = rank(broken)
    assert found.rules[-1].label == "adana"
    assert (found.rules[-1].risk.mean, found.rules[-1].risk.low) == (np.inf, None)
    assert found.rules[-1].wins == 0


@pytest.mark.parametrize("count", [2, 3, 12])
def test_the_interval_is_student_t_of_the_logarithm(count):
    values = np.random.default_rng(count).lognormal(size=count)
    found = geometric_mean(values)
    low, high = stats.t.interval(0.95, count - 1, np.log(values).mean(), stats.sem(np.log(values)))
    assert (found.mean, found.low, found.high) == pytest.approx(tuple(np.exp([np.log(values).mean(), low, high])))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).lognormal(mean=1.0, sigma=0.7, size=(2000, 4))
    inside = [found.low < np.e < found.high for found in map(geometric_mean, draws)]
    assert 0.935 < np.mean(inside) < 0.965


def test_a_result_as_json_has_all_that_its_ranking_needs():
    result = EXPERIMENTS["sweep"](setting="figure-9", steps=10, seeds=2, lrs=(1e-3, 1e-2), extend=0, held_out=1)
    document = json.loads(compact(result.document()))
    assert document["setting"]["name"] == "figure-9"
    assert [sweep["seed"] for sweep in document["sweeps"]] == [1, 2]
    assert document["ranking"]["held_out_seeds"] == [3]
    for rule in document["ranking"]["rules"]:
        tables = [np.array(sweep["risk"][rule["label"]], dtype=float) for sweep in document["sweeps"]]
        assert rule["risk"]["mean"] == pytest.approx(geometric_mean([t.min() for t in tables]).mean, rel=1e-3)
        assert rule["runs"] == tables[0].size


def test_the_baseline_must_be_there():
    with pytest.raises(ValueError, match="no 'muon' in this sweep"):
        rank([FIRST], baseline="muon")
    with pytest.raises(ValueError, match="no 'muon' in this ranking"):
        rank([FIRST]).rule("muon")
    assert ranking.geometric_mean([3.0]) == ranking.GeometricMean(pytest.approx(3.0))
