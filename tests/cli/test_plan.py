from __future__ import annotations

import json

import pytest

from adana.cli import main

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


@pytest.mark.parametrize("text", ["not json", "[1, 2]", '{"law": "damping", "laws": []}', '{"law": "lr"}x'])
def test_a_law_that_is_none_is_one_line(text, tmp_path, capsys):
    path = tmp_path / "law.json"
    path.write_text(text)
    assert main(["plan", "--heads", "6", "--law", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
