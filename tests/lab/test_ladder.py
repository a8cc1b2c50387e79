from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adana import catalog
from adana.lab.executors import LocalExecutor
from adana.lab.executors.base import EXECUTION
from adana.lab.ladder import Ladder, climb, sized
from adana.scaling import fitting, plan
from adana.scaling.fits import read_fit
from adana.scaling.laws import PETAFLOP_HOUR
from adana.scaling.reading import read_runs
from adana.train.recipe import Recipe, read_recipe
from tests.lab.pretend import LOSS, LR, Pretend
from tests.lab.test_cells import VALUES

# One climb for all that only look at it, not one in each test process.
pytestmark = pytest.mark.xdist_group("ladder")

BASE = Recipe(head_dim=16, seq_len=128, batch_size=4, vocab_size=256, evaluations=2)
LADDER = Ladder(
    BASE,
    optimizers=("adamw-dw", "adana"),
    heads=(1, 2, 3, 4),
    predict=5,
    tune=3,
    tokens_per_parameter=8,
    grids={"beta2": (0.95, 0.99, 0.999), "weight_decay": (1.0, 4.0)},
    bootstrap=8,
)


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    """A whole ladder whose laws are known."""
    out = tmp_path_factory.mktemp("ladder")
    executor = Pretend(out / "runs")
    return climb(LADDER, executor, out, command="adana ladder"), out, executor


@pytest.mark.slow
def test_the_next_size_is_predicted_by_the_laws_and_measured(climbed):
    result, _, _ = climbed
    target = sized(BASE, 5, 8)
    for check, name in zip(result["checks"], LADDER.optimizers):
        assert check["lr"] == pytest.approx(LR[name](target.model_config().non_embedding_parameters), rel=0.15)
        assert check["predicted_loss"] == pytest.approx(LOSS[name](target.flops / PETAFLOP_HOUR), abs=0.02)
        assert check["error"] == pytest.approx(check["measured_loss"] - check["predicted_loss"])
        assert check["steps"] == target.steps
        assert len(check["losses"]) == 3
        assert check["lr_holds"]
    (difference,) = result["differences"]
    assert difference["measured"] > 0
    assert {row["label"] for row in result["multipliers"]["rows"]} == {"adana (kappa 0.85)"}
    assert result["finished"]


@pytest.mark.slow
def test_options_are_chosen_at_one_size_and_the_baseline_has_its_beta2(climbed):
    result, _, _ = climbed
    adamw, adana = result["searches"]
    assert (adamw["options"], len(adamw["tuned"])) == ({"betas": (0.9, 0.99), "weight_decay": 4.0}, 6)
    assert (adana["options"], len(adana["tuned"])) == ({"weight_decay": 4.0}, 2)
    assert {best["heads"] for best in adamw["tuned"]} == {3}
    assert [best["heads"] for best in adamw["bests"]] == [1, 2, 3, 4]
    assert all(best["bracketed"] for one in result["searches"] for best in one["bests"])


@pytest.mark.slow
def test_losses_that_are_fitted_are_of_seeds_the_search_never_saw(climbed):
    _, out, executor = climbed
    searched = {recipe.lr for recipe in executor.submitted if recipe.seed == LADDER.search_seed}
    confirmed = [
        recipe for recipe in executor.submitted if recipe.seed in LADDER.seeds and recipe.heads in (1, 2, 3, 4)
    ]
    assert len(confirmed) == 2 * 4 * 3
    assert {recipe.lr for recipe in confirmed} <= searched
    assert len(read_runs([out / "runs.csv"])) == len(executor.submitted)


@pytest.mark.slow
def test_its_files_are_what_the_other_commands_read(climbed):
    result, out, _ = climbed
    lr, loss = (read_fit(out / f"{name}.json") for name in ("lr", "loss"))
    for check in result["checks"]:
        recipe = read_recipe(out / f"recipe-{check['optimizer']}.json")
        found = plan(
            5,
            check["optimizer"],
            head_dim=16,
            vocab_size=256,
            seq_len=128,
            batch_tokens=512,
            tokens_per_parameter=8,
            laws=[lr, loss],
        )
        assert (recipe.lr, recipe.total_steps) == (found.lr, found.steps) == (check["lr"], check["steps"])
        assert found.predicted_loss == check["predicted_loss"]
        known = ("extrapolated", "too few sizes to test the form", "other forms of law")
        assert not [warning for warning in found.warnings if not any(part in warning for part in known)]
    from_table = fitting.learning_rate_law(
        [run for run in read_runs([out / "runs.csv"]) if run.seed == LADDER.search_seed], bootstrap=1
    )
    assert {law.optimizer for law in from_table.laws} == set(LADDER.optimizers)
    assert json.loads((out / "ladder.json").read_text())["checks"] == json.loads(json.dumps(result["checks"]))


@pytest.mark.slow
def test_an_interrupted_ladder_goes_on_and_repeats_nothing(climbed, tmp_path):
    whole, _, straight = climbed
    taken = 0
    for runs in (20, 60, 10_000):
        executor = Pretend(tmp_path / "runs", runs=runs)
        try:
            result = climb(LADDER, executor, tmp_path, command="adana ladder")
        except KeyboardInterrupt:
            assert runs < 10_000
        taken += len(executor.submitted)
    assert taken == len(straight.submitted)
    assert result == whole


@pytest.mark.slow
def test_a_run_that_diverges_at_the_predicted_size_is_a_miss_and_not_a_number(tmp_path):
    executor = Pretend(tmp_path / "runs", diverges=lambda recipe: recipe.heads == 5 and recipe.optimizer == "adana")
    result = climb(LADDER, executor, tmp_path)
    adamw, adana = result["checks"]
    assert (adana["measured_loss"], adana["loss_holds"], adana["lr_holds"]) == (None, False, False)
    assert adamw["loss_holds"]
    json.dumps(result, allow_nan=False)


@pytest.mark.slow
def test_a_size_at_which_every_run_diverges_ends_the_ladder_by_name(tmp_path):
    executor = Pretend(tmp_path / "runs", diverges=lambda recipe: recipe.optimizer == "adana")
    with pytest.raises(ValueError, match="adana: every run diverged at 3 heads"):
        climb(LADDER, executor, tmp_path)


REFUSED = [
    ({"heads": (1, 2)}, "3 different sizes or more, ascending, got 1, 2"),
    ({"predict": 3}, "predict must be another size than those searched, got 3"),
    ({"tune": 7}, "tune must be one of heads 1, 2, 3, 4, got 7"),
    ({"seeds": (0, 0)}, "seeds must be different numbers of at least 0, got 0, 0"),
    ({"seeds": (100,)}, "seeds must leave out 100"),
    ({"optimizers": ("adana", "adana")}, "optimizers must be different names"),
    ({"tokens_per_parameter": 0.5}, "1 heads make 11 steps, fewer than 50"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_ladder_that_cannot_be_climbed_is_refused_before_anything_runs(changes, message, tmp_path):
    executor = Pretend(tmp_path / "runs")
    with pytest.raises(ValueError, match=message):
        climb(replace(LADDER, **changes), executor, tmp_path)
    assert not executor.submitted


@pytest.mark.slow
def test_a_tiny_ladder_of_real_runs(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 200)
    base = Recipe(
        head_dim=4, seq_len=16, batch_size=1, vocab_size=256, evaluations=1, validation_tokens=64, text=(str(text),)
    )
    ladder = Ladder(
        base,
        optimizers=("adana",),
        heads=(1, 2, 3),
        predict=4,
        tune=2,
        tokens_per_parameter=0.4,
        grids={"weight_decay": (1.0,)},
        seeds=(0,),
        coarse=4.0,
        fine=None,
        sides=1,
        bootstrap=5,
    )
    with LocalExecutor(tmp_path / "runs", workers=1, execution=replace(EXECUTION, device="cpu")) as executor:
        result = climb(ladder, executor, tmp_path)
    (check,) = result["checks"]
    assert check["measured_loss"] < 6
    assert result["seed_noise"] is None
    assert check["lr_holds"] is None
    assert len(read_runs([tmp_path / "runs"])) == len(read_runs([tmp_path / "runs.csv"]))


@pytest.mark.parametrize("optimizer", catalog.trainable())
def test_what_a_ladder_would_end_with_is_tried_before_its_first_run(optimizer):
    """Every optimizer with every option it takes can be planned and made a recipe, whichever is chosen."""
    grids = {name: VALUES[name] for name in catalog.find(optimizer).grids}
    ladder = replace(LADDER, optimizers=(optimizer,), grids=grids)
    ladder.check()
    for cell in ladder.candidates(optimizer):
        found = ladder.plan(optimizer, cell.options, lr=1e-3)
        assert found.kappa == cell.options.get("kappa", catalog.default_kappa(optimizer))
        assert ladder.planned(found).total_steps == ladder.sized(ladder.predict).total_steps


def test_a_ladder_that_could_not_be_planned_runs_nothing(tmp_path):
    executor = Pretend(tmp_path / "runs")
    with pytest.raises(ValueError, match=r"a plan of 5 heads has .* parameters, and the ladder's model"):
        climb(replace(LADDER, base=replace(BASE, experts=2)), executor, tmp_path)
    assert not executor.submitted
