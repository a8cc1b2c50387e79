"""What a race makes of its runs."""

from __future__ import annotations

import pytest

from adana.lab.race_result import Lane, optimizer_flops, summarize
from adana.train.folder import Result
from adana.train.recipe import Recipe

SETTING = Recipe("adamw-dw", 1e-3, steps=100)
SEEDS = [0, 1, 2]
# Optimizer, horizon: final loss and seconds of each seed. One run in each line was held up by other work.
RUNS = {
    ("adamw-dw", 1.0): [(2.0, 10.0), (2.1, 10.0), (2.2, 55.0)],
    ("adamw-dw", 1.5): [(1.8, 15.0), (1.9, 15.0), (2.0, 15.0)],
    ("adana", 1.0): [(1.9, 99.0), (2.0, 12.5), (2.1, 13.0)],
    ("muon-dw", 1.0): [(1.8, 20.0), (1.9, 60.0), (2.0, 60.0)],
}


@pytest.fixture(scope="module")
def rows():
    results = {
        (name, seed, horizon): Result(loss, None, [(100, loss)], [], seconds, "ab")
        for (name, horizon), runs in RUNS.items()
        for seed, (loss, seconds) in zip(SEEDS, runs)
    }
    lanes = [Lane(name, 1e-3, {}) for name in ("adamw-dw", "adana", "muon-dw")]
    race = summarize(SETTING, lanes, results, SEEDS, [1.0, 1.5], "adamw-dw", text="a text", tuned=False)
    return {row.optimizer: row for row in race.rows}


def test_a_multiplier_is_read_from_each_seeds_own_line_of_the_baseline(rows):
    assert rows["adana"].multipliers == pytest.approx([1.25] * 3)  # halfway between the losses at 1 and 1.5 budgets
    assert rows["muon-dw"].multiplier == pytest.approx(1.5)
    assert rows["adamw-dw"].multiplier == 1.0


def test_differences_are_paired_over_seeds(rows):
    assert rows["adana"].ahead == pytest.approx(0.1)
    assert rows["adana"].ahead_interval == pytest.approx((0.1, 0.1), abs=1e-9)  # though the seeds differ by 0.2
    assert rows["adana"].alike == []


def test_the_multiplier_by_time_takes_the_fastest_run_of_each_optimizer(rows):
    assert rows["adana"].multiplier_time == pytest.approx(1.25 * 10.0 / 12.5)
    assert rows["muon-dw"].multiplier_time == pytest.approx(1.5 * 10.0 / 20.0)


def test_muons_own_products_are_counted(rows):
    share = optimizer_flops(Recipe("muon-dw", 1e-3, steps=100))
    assert share == pytest.approx(0.446, abs=0.001)
    assert rows["muon-dw"].multiplier_all == pytest.approx(1.5 / (1 + share))
    assert rows["adana"].multiplier_all == rows["adana"].multiplier
