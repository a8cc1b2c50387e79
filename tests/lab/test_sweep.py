from __future__ import annotations

import csv
import json
import math
from concurrent.futures import Future
from dataclasses import asdict, replace

import pytest

from adana.lab.cells import COUPLED, cells
from adana.lab.executors import RunLost, Update, run_name
from adana.lab.executors.base import EXECUTION
from adana.lab.sweep import MedianRule, sweep
from adana.scaling.curvature import curvature
from adana.scaling.fitting import learning_rate_law
from adana.scaling.reading import read_runs
from adana.train.folder import Result
from adana.train.recipe import Recipe
from adana.train.run import Progress
from tests.lab.engines import Answers, ThreadExecutor, save_after
from tests.report.folders import run_folder

OPTIMA = {"adana": 2.0**-10 * 1.25, "adamw": 2.0**-8, "muon": 2.0**-13}


def ideal(recipe: Recipe) -> float:
    """Parabolas with known best learning rates and curvature, best at omega 2; one unlucky seed."""
    omega = recipe.options.get("weight_decay", 4.0)
    loss = 3 + 0.02 * math.log(recipe.lr / OPTIMA[recipe.optimizer]) ** 2 + 0.1 * math.log2(max(omega, 0.1) / 2) ** 2
    return loss + (0.01 if recipe.seed == 1 else 0.0)


def test_every_cell_ends_at_its_best_learning_rate_with_curvature_and_bracket():
    found = cells(Recipe(), optimizers=["adana", "adamw"], heads=[2], grids={"weight_decay": (1.0, 2.0, 4.0)})
    executor = Answers(ideal)
    bests = sweep(found, executor, seeds=(0, 1))
    assert [(best.optimizer, best.options, best.heads) for best in bests] == [
        (cell.optimizer, cell.options, cell.heads) for cell in found
    ]
    for best in bests:
        assert best.lr == pytest.approx(OPTIMA[best.optimizer])
        assert best.bracketed
        assert best.seeds == 2
        assert best.curvature == pytest.approx(0.02)
        recipes = [replace(Recipe(best.optimizer), lr=best.lr, options=best.options, seed=seed) for seed in (0, 1)]
        assert best.final_loss == pytest.approx(sum(map(ideal, recipes)) / 2)
    assert len({run_name(recipe) for recipe in executor.asked}) == len(executor.asked), "no run is asked for twice"


def test_a_coupled_decay_follows_the_learning_rate():
    """omega = coupled * lr * T at every point: the runs say so, and the best says which cell it was."""
    executor = Answers(ideal)
    (best,) = sweep([Recipe("adamw", options={COUPLED: 0.3}, steps=1500)], executor)
    for recipe in executor.asked:
        assert recipe.options == {"weight_decay": pytest.approx(0.3 * recipe.lr * 1500)}
    assert best.coupled == 0.3
    assert best.options["weight_decay"] == pytest.approx(0.3 * best.lr * 1500)


def test_cells_start_where_their_middle_neighbour_ended_whatever_is_done_already():
    found = cells(Recipe(), optimizers=["muon"], heads=[2], grids={"weight_decay": (1.0, 2.0, 4.0)})
    executor = Answers(ideal)
    sweep(found, executor)
    asked = {omega: [r.lr for r in executor.asked if r.options["weight_decay"] == omega] for omega in (1.0, 2.0, 4.0)}
    assert asked[2.0][2] == 2.0**-6, "the middle one starts where muon does"
    for omega in (1.0, 4.0):
        assert sorted(asked[omega][:5]) == [2.0**k for k in range(-15, -10)]
        assert len(asked[omega]) < len(asked[2.0])


def test_a_learning_rate_that_is_given_starts_the_search():
    executor = Answers(ideal)
    sweep([Recipe("adana", lr=3e-3)], executor)
    assert executor.asked[2].lr == 3e-3


def test_a_point_with_a_diverged_seed_is_none():
    (best,) = sweep(
        [Recipe("adana")],
        Answers(lambda recipe: math.inf if recipe.seed == 1 and recipe.lr > 2.0**-10 else ideal(recipe)),
        seeds=(0, 1),
    )
    assert best.lr == pytest.approx(2.0**-10)
    assert best.bracketed


def test_where_every_run_diverges_the_best_says_so():
    (best,) = sweep([Recipe("adana")], Answers(lambda recipe: math.inf))
    assert (best.final_loss, best.bracketed, best.curvature) == (None, False, None)


def test_results_are_written_whole_after_every_run(tmp_path):
    output = tmp_path / "results" / "sweep.v2"
    seen = []

    def check(recipe, result):
        with (tmp_path / "results" / "sweep.v2.csv").open() as file:
            rows = [(row["optimizer"], float(row["lr"]), row["final_loss"]) for row in csv.DictReader(file)]
        # Searches run side by side: other runs may have ended since.
        seen.append(((recipe.optimizer, recipe.lr, f"{result.final_loss:.6f}") in rows, len(rows)))

    finished = []
    bests = sweep(
        cells(Recipe(), optimizers=["adana", "adamw"], heads=[2], grids={}),
        Answers(ideal),
        output=output,
        command="adana sweep",
        on_run=check,
        on_best=lambda cell, best, last: finished.append((cell, best)) if last else None,
    )
    assert all(written for written, _ in seen)
    assert max(count for _, count in seen) == len(seen)
    saved = json.loads((tmp_path / "results" / "sweep.v2.json").read_text())
    assert saved["command"] == "adana sweep"
    assert saved["finished"]
    assert saved["best"] == [asdict(best) | {"finished": True} for best in bests]
    assert [best for _, best in sorted(finished, key=lambda one: one[0])] == bests
    assert sorted(path.name for path in output.parent.iterdir()) == ["sweep.v2.csv", "sweep.v2.json"]


def test_a_sweep_does_not_write_over_the_results_of_another_and_goes_on_with_its_own(tmp_path):
    output = tmp_path / "results" / "sweep"
    first, other = Recipe("adana", 0.01, steps=20), Recipe("adamw", 0.01, steps=20)
    sweep([first], Answers(lambda recipe: 3.0 + recipe.lr), output=output, command="adana sweep --workers 1")
    before = {name: output.with_name(name).read_text() for name in ("sweep.csv", "sweep.json")}
    for cells_, more in (([other], {}), ([replace(first, clip_norm=1.0)], {}), ([first], {"seeds": (1,)})):
        with pytest.raises(ValueError, match=r"sweep.json holds the results of another search \(adana sweep --work"):
            sweep(cells_, Answers(lambda recipe: 2.0), output=output, **more)
    assert before == {name: output.with_name(name).read_text() for name in before}
    sweep([first], Answers(lambda recipe: 3.0 + recipe.lr), output=output, command="adana sweep --workers 2")
    output.with_name("sweep.json").unlink()
    with pytest.raises(ValueError, match=r"sweep.csv is there, of a search that cannot be told"):
        sweep([first], Answers(lambda recipe: 3.0), output=output)


def test_adana_fit_reads_a_sweeps_table(tmp_path):
    """Sizes, horizon, batch and curvature come through, and a law is fitted to the learning rates."""

    def loss(recipe):
        best = 0.02 * (recipe.model_config().non_embedding_parameters / 1e5) ** -0.5
        return 3 + 0.02 * math.log(recipe.lr / best) ** 2

    base = Recipe("adana", seq_len=64, batch_size=8, steps=None, vocab_size=256)
    found = cells(base, optimizers=["adana"], heads=[2, 3, 4], grids={"kappa": (0.8,)})
    bests = sweep(found, Answers(loss), output=tmp_path / "ladder")
    runs = read_runs([tmp_path / "ladder.csv"])
    for cell, best in zip(found, bests):
        config = cell.model_config()
        mine = [run for run in runs if run.size == config.non_embedding_parameters]
        assert {run.total_parameters for run in mine} == {config.total_parameters}
        assert {run.tokens for run in mine} == {cell.tokens}
        assert {run.kappa for run in mine} == {0.8}
        assert min(mine, key=lambda run: run.final_loss).lr == best.lr
        near = {run.lr: run.final_loss for run in mine if abs(math.log2(run.lr / best.lr)) <= 2 + 1e-9}
        assert curvature(near).curvature == pytest.approx(best.curvature, rel=1e-2)
    law = learning_rate_law(runs, bootstrap=50).laws[0]
    assert law.label == "adana (kappa 0.8)"
    assert law.fit.law.d == pytest.approx(-0.5, abs=0.1)


@pytest.mark.parametrize(
    ("name", "options"),
    [("adana", {}), *(("adana", {"kappa": kappa}) for kappa in (0.0, 0.8, 0.85)), ("adamw", {"weight_decay": 2.0})],
)
def test_a_table_says_of_a_run_what_its_folder_says(tmp_path, name, options):
    recipe = Recipe(name, 0.01, options, heads=2, head_dim=16, layers=1, seq_len=64, vocab_size=256, steps=20)
    sweep([recipe], Answers(lambda recipe: 3.0 + recipe.lr), output=tmp_path / "table")
    run_folder(tmp_path / "run", recipe, 3.0)
    from_table = next(run for run in read_runs([tmp_path / "table.csv"]) if run.lr == recipe.lr)
    (from_folder,) = read_runs([tmp_path / "run"])
    for field in ("label", "kappa", "model", "size", "total_parameters", "tokens", "steps", "batch_tokens", "flops"):
        assert getattr(from_table, field) == getattr(from_folder, field), field


class Breaks(Answers):
    def submit(self, recipe):
        future = super().submit(recipe)
        if recipe.optimizer == "adamw":
            broken: Future = Future()
            broken.set_exception(RunLost("adamw-lr1: its worker died 3 times"))
            return broken
        return future


def test_a_run_that_is_lost_stops_the_sweep_and_is_named():
    executor = Breaks(ideal)
    with pytest.raises(RunLost, match="adamw-lr1"):
        sweep(cells(Recipe(), optimizers=["adana", "adamw"], heads=[2], grids={}), executor)
    assert executor.stopped


class Stops(Answers):
    def submit(self, recipe):
        future: Future = Future()
        future.set_result(None)
        return future


def test_a_stopped_run_interrupts_the_sweep():
    with pytest.raises(KeyboardInterrupt):
        sweep(cells(Recipe(), optimizers=["adana", "adamw"], heads=[2], grids={}), Stops(ideal))


@pytest.mark.parametrize(("some", "seeds"), [([], (0,)), ([Recipe("adana")], ()), ([Recipe("adana")], (0, 0))])
def test_a_sweep_of_nothing_is_refused(some, seeds):
    with pytest.raises(ValueError, match="needs cells and different seeds"):
        sweep(some, Answers(ideal), seeds=seeds)


# --- the median rule ------------------------------------------------------------------------------------


class GivesUp(Answers):
    """Remembers whom it was told to give up."""

    def __init__(self):
        super().__init__(ideal)
        self.given_up = {}

    def give_up(self, recipe, step, loss, reason):
        self.given_up[recipe.lr] = (step, loss, reason)


def tell(rule, recipe, step, loss):
    line = {"validation_loss": loss}
    rule.update(Update(run_name(recipe), Progress(step, 40, 1.0, loss, 1.0, line)))


@pytest.fixture
def judged():
    executor = GivesUp()
    rule = MedianRule(executor)
    recipes = [Recipe("adana", lr=float(k)) for k in range(1, 6)]
    rule.enter(0, recipes)
    return executor, rule, recipes


def test_the_median_rule_gives_up_what_is_worse_than_the_median_of_three_others(judged):
    executor, rule, recipes = judged
    for recipe, loss in zip(recipes, (3.0, 3.1, 3.2)):
        tell(rule, recipe, 10, loss)
    assert not executor.given_up, "with two others nobody is judged"
    tell(rule, recipes[3], 10, 3.11)
    reason = "at step 10 its best loss of 3.1100 was above 3.1000, the median of the others"
    assert executor.given_up == {4.0: (10, 3.11, reason)}
    tell(rule, recipes[4], 10, 3.05)
    assert set(executor.given_up) == {4.0}, "better than the median"
    tell(rule, recipes[3], 20, 9.0)
    assert executor.given_up[4.0][0] == 10, "once is enough"


def test_the_median_rule_goes_by_the_best_so_far_and_spares_the_last_evaluation(judged):
    executor, rule, recipes = judged
    for step, losses in ((10, (3.0, 3.1, 3.2, 2.9)), (40, (2.0, 2.1, 2.2, 9.0))):
        for recipe, loss in zip(recipes, losses):
            tell(rule, recipe, step, loss)
    assert not executor.given_up
    tell(rule, recipes[0], 20, 2.95), tell(rule, recipes[1], 20, 2.95), tell(rule, recipes[2], 20, 2.95)
    executor.given_up.clear()
    tell(rule, recipes[3], 20, 5.0)  # 2.9 before: still better than the median
    assert not executor.given_up


def test_cells_are_judged_apart_and_by_runs_that_were_read_back(judged):
    executor, rule, recipes = judged
    others = [replace(recipe, optimizer="adamw") for recipe in recipes]
    rule.enter(1, others)
    for recipe in recipes[:4]:
        rule.ended(0, recipe, Result(3.0, None, [(10, 3.0), (40, 2.0)], [], 1.0, ""))
    tell(rule, others[4], 10, 5.0)
    assert not executor.given_up
    tell(rule, recipes[4], 10, 5.0)
    assert set(executor.given_up) == {5.0}


def test_a_sweep_that_gives_up_runs_never_has_them_as_best_and_resumes_alike(tiny, tmp_path):
    """Real runs: some are far too hot or cold. Without the rule those that were given up are trained to the end."""
    cell = replace(tiny(steps=24, evaluations=4), lr=2.0**-8)
    common = {"fine": None, "output": tmp_path / "sweep", "most": 9}

    def go(*, stop_hopeless, slow=()):
        ended = {}
        with ThreadExecutor(
            tmp_path / "runs", workers=5, execution=replace(EXECUTION, device="cpu"), keep_stopped=stop_hopeless
        ) as executor:
            bests = sweep(
                [cell],
                executor,
                stop_hopeless=stop_hopeless,
                on_run=lambda recipe, result: ended.update({recipe.lr: result}),
                **common,
            )
        return bests, ended

    # The file of a run that was given up, as the rule leaves it: whichever were, the rest must hold.
    hopeless = replace(cell, lr=2.0**-10)
    with ThreadExecutor(tmp_path / "runs", workers=1, execution=replace(EXECUTION, device="cpu")) as executor:

        def given_up(job):
            save_after(10)(job)
            executor.give_up(hopeless, 10, 1.0, "at step 10 its best loss of 1.0000 was above 0.9000")

        executor.with_goes(given_up).submit(hopeless).result()
    (best,), ended = go(stop_hopeless=True)
    assert ended[hopeless.lr].reason.startswith("at step 10")
    given_up = [lr for lr, result in ended.items() if result.final_loss is None and result.diverged_at is None]
    assert best.lr not in given_up, "a loss of 1.0 would have been the best"
    with (tmp_path / "sweep.csv").open() as file:
        rows = {float(row["lr"]): row for row in csv.DictReader(file)}
    assert rows[hopeless.lr]["stopped_at"] == "10"
    assert float(rows[hopeless.lr]["final_loss"]) == 1.0
    assert hopeless.lr not in {run.lr for run in read_runs([tmp_path / "sweep.csv"])}, "fits leave it out"
    again, _ = go(stop_hopeless=True)
    assert again == [best]
    _, whole = go(stop_hopeless=False)
    assert all(result.final_loss is not None for result in whole.values())
