from __future__ import annotations

import json

import pytest

from adana.cli import main
from adana.train.recipe import read_recipe

KEYS = {
    *("total_parameters", "non_embedding_parameters", "tokens", "steps", "flops_6p", "flops_6n", "flops_m", "pfh"),
    *("pf_days", "lr", "lr_source", "weight_decay", "weight_decay_offset", "damping_scale", "predicted_loss"),
}


def test_a_plan_as_json_has_every_number(capsys):
    assert main(["plan", "--arch", "enoki", "--heads", "40", "--optimizer", "adamw", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= KEYS
    assert found["lr"] == pytest.approx(1.91e-4, rel=0.01)
    assert (found["total_parameters"], found["steps"]) == (2616852480, 798600)
    assert found["damping_scale"] is None


def test_a_plan_as_a_table_has_its_equations_and_says_what_it_cannot(capsys):
    assert main(["plan", "--heads", "40"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("eq. (47)", "3.63e-05", "floor(3 heads / 4)", "217", "fitted on 6 to 24 heads, not 40", "GPU hours"):
        assert part in shown
    assert main(["plan", "--heads", "12", "--kappa", "0.83"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "peak learning rate none" in shown
    assert "not 0.83" in shown


RECIPES = [
    (["--heads", "6"], "13,950"),
    (["--heads", "6", "--variant", "5"], "13,950"),
    (["--heads", "4", "--optimizer", "adamw-dw", "--lr", "1e-3", "--weight-decay", "1", "--arch", "qwen3"], "24,683"),
    (["--heads", "6", "--batch-tokens", "1048576"], "871"),
    (
        [
            *("--heads", "4", "--lr", "0.01", "--head-dim", "16", "--layers", "2", "--vocab-size", "256"),
            *("--seq-len", "128", "--batch-tokens", "512", "--tokens-per-parameter", "10"),
        ],
        "2,560",
    ),
]


@pytest.mark.parametrize(("arguments", "steps"), RECIPES, ids=[" ".join(row[0]) for row in RECIPES])
def test_a_plan_is_a_recipe_that_train_takes_as_it_is(arguments, steps, tmp_path, capsys):
    path = tmp_path / "plans" / "recipe.json"
    assert main(["plan", *arguments, "--recipe", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["train", str(path), "--dry-run"]) == 0
    shown = {" ".join(line.split()[1:3]): line for line in capsys.readouterr().out.splitlines()}
    assert f" {found['steps']:,} " in shown["steps T"]
    assert steps in shown["steps T"]
    assert f" {found['lr']:.4g} " in shown["learning rate"]
    assert f"omega {found['weight_decay']:g} " in shown["weight decay"]
    recipe = read_recipe(path)
    assert recipe.options.get("kappa") == found["kappa"]
    assert recipe.options.get("damping_scale", 1.0) == (found["damping_scale"] or 1.0)
    assert (recipe.model_config().depth, recipe.model_config().width) == (found["layers"], found["width"])
    assert recipe.tokens_per_step == found["batch_tokens"]


def test_data_is_noted_in_the_recipe_and_needs_one(tmp_path, capsys):
    path, data = tmp_path / "recipe.json", tmp_path / "data"
    assert main(["plan", "--heads", "6", "--recipe", str(path), "--data", str(data)]) == 0
    assert read_recipe(path).data == str(data)
    assert f"adana train {path}" in " ".join(capsys.readouterr().out.split())
    assert main(["plan", "--heads", "6", "--data", str(data)]) == 2
    assert "--recipe FILE" in capsys.readouterr().err


NO_RECIPE = [
    (["--heads", "6", "--optimizer", "dana-star"], "no learning rate to write into a recipe (none published"),
    (["--heads", "6", "--head-dim", "16"], "you have heads of 16, not 64): give one with --lr"),
    (["--heads", "6", "--lr", "1e-3", "--batch-tokens", "65537"], "65,537 tokens per step are no whole number"),
    (["--heads", "6", "--lr", "0"], "lr must be above 0, got 0"),
]


@pytest.mark.parametrize(("arguments", "message"), NO_RECIPE, ids=[message for _, message in NO_RECIPE])
def test_a_plan_that_cannot_be_run_writes_no_recipe(arguments, message, tmp_path, capsys):
    path = tmp_path / "recipe.json"
    assert main(["plan", *arguments, "--recipe", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not path.exists()


BAD_ARGUMENTS = [
    (["--heads", "0"], "heads must be a whole number of at least 1, got 0"),
    (["--heads", "6", "--optimizer", "sgd"], "unknown optimizer 'sgd': choose from adamw"),
    (["--heads", "6", "--optimizer", "adamw", "--kappa", "0.85"], "adamw has no kappa"),
    (["--heads", "6", "--batch-tokens", "-1"], "batch_tokens must be above 0, got -1"),
    (["--heads", "6", "--law", "nowhere.json"], "nowhere.json: No such file"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS, ids=[message for _, message in BAD_ARGUMENTS])
def test_bad_arguments_are_one_line_with_exit_code_2(arguments, message, capsys):
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_for_a_recipe_is_one_line_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "plans").mkdir()
    assert main(["plan", "--heads", "6", "--recipe", str(tmp_path / "plans")]) == 2
    assert "plans: a folder: name a file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["plans"]


@pytest.mark.parametrize("name", ["law.json/recipe.json", "law.json/deeper/recipe.json"])
def test_a_recipe_that_cannot_be_written_is_one_line_that_names_it(name, tmp_path, capsys):
    (tmp_path / "law.json").write_text("a file")
    assert main(["plan", "--heads", "6", "--recipe", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"adana plan: error: --recipe {tmp_path / name}: cannot be written there: ")
    assert error.count("\n") == 1


def test_experts_are_refused_by_name(capsys):
    assert main(["plan", "--heads", "6", "--experts", "4"]) == 2
    assert capsys.readouterr().err == "adana plan: error: unknown option --experts\n"


def test_a_law_that_is_not_text_is_one_line(tmp_path, capsys):
    (tmp_path / "law.json").write_bytes(b"\x80\x81")
    assert main(["plan", "--heads", "6", "--law", str(tmp_path / "law.json")]) == 1
    error = capsys.readouterr().err
    assert "law.json cannot be read as a fit (it is not UTF-8 text)" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("text", ["not json", "[1, 2]", '{"law": "damping", "laws": []}', '{"law": "lr"}x'])
def test_a_law_that_is_none_is_one_line(text, tmp_path, capsys):
    path = tmp_path / "law.json"
    path.write_text(text)
    assert main(["plan", "--heads", "6", "--law", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"adana plan: error: {path}")
    assert error.count("\n") == 1
