from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from adana import catalog
from adana.catalog import FULL, OPTIMIZERS
from adana.lab.race import tuned
from adana.lab.race_search import RUNS, race_search, search, tuned_from
from adana.train.recipe import Recipe
from tests.lab.engines import Answers

OWN = {name: entry.own for name, entry in OPTIMIZERS.items() if len(entry.own) > 1}


def ideal(recipe: Recipe) -> float:
    """A loss surface with a known best: lr 2^-6.5, omega 1, beta2 0.95, kappa 0.7."""
    options = recipe.options
    loss = (math.log2(recipe.lr) + 6.5) ** 2 + 0.1 * math.log2(options["weight_decay"]) ** 2
    return loss + abs(options.get("betas", (0.9, 0.95))[1] - 0.95) + abs(options.get("kappa", 0.7) - 0.7)


def searched(base: Recipe, loss, **keywords):
    ran = []
    best = search(base, lambda recipes: [ran.append(r) or loss(r) for r in recipes], **keywords)
    return best, ran


@pytest.mark.parametrize("optimizer", ["adamw-dw", "adana", "log-adamw"])
def test_the_search_finds_a_known_optimum_within_its_budget(optimizer):
    best, ran = searched(Recipe(optimizer, 2.0**-8, seed=100), ideal)
    assert len(ran) <= RUNS
    assert len(set(map(repr, ran))) == len(ran), "no run is asked for twice"
    assert best.seeds == 3
    assert best.bracketed
    assert best.lr == pytest.approx(2.0**-6.5)
    assert best.final_loss == pytest.approx(0)


def test_every_optimizer_spends_the_same_budget_on_a_rugged_surface():
    """Noise never lets the search run out of neighbours, so that all of the budget is spent."""

    def rugged(recipe: Recipe) -> float:
        return (hash((recipe.lr, repr(sorted(recipe.options.items())))) % 1000) / 1000 - math.log2(recipe.lr)

    spent = {name: len(searched(Recipe(name, 2.0**-8, seed=100), rugged)[1]) for name in OWN}
    assert set(spent.values()) == {RUNS}


def test_every_option_of_its_own_has_three_values_with_the_default_or_usual_one_in_the_middle():
    assert {len(values) for values in OWN.values()} == {3}
    assert set(FULL) <= set(OWN)


def test_one_lucky_seed_does_not_decide_a_search():
    """The best point of the first seed is by luck; the two further seeds show it."""
    lucky = Recipe("adana", 2.0**-8, {"weight_decay": 2.0, "kappa": 0.85}, seed=100)

    def loss(recipe):
        return ideal(recipe) - (3 if recipe == lucky else 0)

    best, ran = searched(Recipe("adana", 2.0**-7, seed=100), loss)
    assert lucky in ran, "the search sees the lucky run"
    assert (best.lr, best.options) != (lucky.lr, lucky.options)
    assert best.final_loss == pytest.approx(ideal(Recipe("adana", best.lr, best.options)))


def test_a_search_whose_runs_all_diverge_says_so():
    best, ran = searched(Recipe("adana", 1.0, seed=100), lambda recipe: math.inf)
    assert best.final_loss is None
    assert not best.bracketed
    assert len(ran) <= RUNS


def test_a_budget_too_small_to_search_is_refused():
    with pytest.raises(ValueError, match=r"at least 3 runs, .*; got 2"):
        search(Recipe("adana", 1.0), lambda recipes: [0.0 for _ in recipes], runs=2)


def test_a_small_budget_is_a_point_and_its_neighbours():
    best, ran = searched(Recipe("adana", 2.0**-8, seed=100), ideal, runs=3)
    assert [math.log2(recipe.lr) for recipe in ran] == [-8, -9, -7]
    assert (best.lr, best.seeds, best.bracketed) == (2.0**-7, 1, False)


@pytest.mark.parametrize("optimizer", ["adamw-dw", "adana", "muon-dw", "adamw"])
def test_a_search_begins_where_another_ended(optimizer):
    first, _ = searched(Recipe(optimizer, 2.0**-8, seed=100), ideal)
    again, ran = searched(Recipe(optimizer, 2.0**-8, seed=100), ideal, runs=7, near=first)
    assert (ran[0].lr, ran[0].options) == (first.lr, first.options)
    assert (again.lr, again.options) == (first.lr, first.options)


def test_a_race_search_writes_every_run_once_and_the_best_points_with_the_command(tmp_path):
    ended, found = [], []
    output = tmp_path / "results" / "s.1"
    bests = race_search(
        Recipe("adamw", 1.0),
        ["adamw-dw", "adana"],
        Answers(ideal),
        output,
        command="adana sweep --rule race",
        on_run=lambda recipe, result: ended.append(recipe),
        on_best=found.append,
    )
    with (tmp_path / "results" / "s.1.csv").open() as file:
        rows = list(csv.DictReader(file))
    keys = [(row["optimizer"], row["lr"], row["options"], row["kappa"], row["seed"]) for row in rows]
    assert len(set(keys)) == len(keys) == len(ended) > 20
    saved = json.loads((tmp_path / "results" / "s.1.json").read_text())
    assert (saved["command"], saved["runs"]) == ("adana sweep --rule race", RUNS)
    assert [best["optimizer"] for best in saved["best"]] == ["adamw-dw", "adana"]
    assert sorted(map(repr, found)) == sorted(map(repr, bests))
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["s.1.csv", "s.1.json"]
    assert set(tuned_from(tmp_path / "results" / "s.1.json")["lanes"]) == {"adamw-dw", "adana"}


RESULTS = Path(__file__).parents[2] / "results" / "race-sweep.json"


def test_the_race_runs_at_what_the_committed_search_found():
    expected = tuned_from(RESULTS)["lanes"]
    assert {name: (lane.lr, lane.options) for name, lane in tuned().items()} == {
        name: (lane["lr"], lane["options"]) for name, lane in expected.items()
    }


def test_the_committed_search_searched_every_optimizer_as_often():
    with RESULTS.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["optimizer"] for row in rows} == set(FULL)
    for name in FULL:
        mine = [row for row in rows if row["optimizer"] == name]
        assert len(mine) == RUNS, name
        kept = [{**json.loads(row["options"]), "kappa": row["kappa"]} for row in mine]
        tried = {str([options[key] for key in catalog.find(name).own[0]]) for options in kept}
        assert len(tried) == len(catalog.find(name).own) == 3, name
    assert {row["seed"] for row in rows} == {"100", "101", "102"}
