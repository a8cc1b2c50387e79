from __future__ import annotations

import json

import pytest

from adana.cli import ladder as command
from adana.cli import main
from tests.lab.pretend import Pretend
from tests.report.folders import Page

write_report = command._write_report
SMALL = ["--heads", "1", "2", "3", "--predict", "4", "--beta2", "0.99", "--weight-decay", "4", "--bootstrap", "4"]


@pytest.fixture
def pretend(monkeypatch):
    """Runs that end at once; the stop comes after so many. No page, which takes seconds."""
    left = [float("inf")]
    monkeypatch.setattr(command, "LocalExecutor", lambda root, **others: Pretend(root, runs=left[0]))
    monkeypatch.setattr(command, "_write_report", lambda runs, page, result: "no page")
    return left


@pytest.mark.slow
def test_a_ladder_is_interrupted_goes_on_and_says_what_held(pretend, tmp_path, capsys):
    out = tmp_path / "ladder"
    pretend[0] = 15
    assert main(["ladder", *SMALL, "--out", str(out)]) == 130
    assert "The same command goes on" in capsys.readouterr().out
    pretend[0] = float("inf")
    assert main(["ladder", *SMALL, "--out", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("Best learning rates", "gamma* = a (b + P)^d", "L = a + e C^-f", "4 heads, predicted and measured"):
        assert part in shown
    assert "adana below adamw-dw" in shown
    assert "not fitted" in shown
    result = json.loads((out / "ladder.json").read_text())
    assert result["finished"]
    assert result["command"].startswith("adana ladder --heads 1 2 3")
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        *("ladder.json", "runs.csv", "lr.json", "loss.json", "recipe-adana.json", "recipe-adamw-dw.json")
    }


@pytest.mark.slow
def test_a_prediction_can_be_put_on_record_before_its_run(pretend, tmp_path, capsys):
    out = tmp_path / "ladder"
    assert main(["ladder", *SMALL, "--plan-only", "--out", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "What the laws predict of 4 heads" in shown
    assert "without --plan-only this command runs it" in shown
    planned = json.loads((out / "ladder.json").read_text())
    assert not planned["finished"]
    assert "checks" not in planned
    assert not any(json.loads((run / "recipe.json").read_text())["heads"] == 4 for run in (out / "runs").glob("*/"))
    assert main(["ladder", *SMALL, "--out", str(out)]) == 0
    checked = json.loads((out / "ladder.json").read_text())
    assert checked["finished"]
    assert checked["plans"] == planned["plans"]


@pytest.mark.slow
def test_the_result_is_json_on_standard_output_alone(pretend, tmp_path, capsys):
    assert main(["ladder", *SMALL, "--optimizers", "adana", "--out", str(tmp_path / "ladder"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [check["optimizer"] for check in found["checks"]] == ["adana"]
    assert found["laws"][1]["saturation"] == 0
    assert found["cpu_seconds"] > 0


@pytest.mark.slow
def test_the_report_begins_with_what_was_predicted_and_what_came_out(pretend, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "_write_report", write_report)
    # A baseline that has a kappa goes by another name in the report.
    optimizers = ["--optimizers", "adana", "adamw-dw"]
    assert main(["ladder", *SMALL, *optimizers, "--out", str(tmp_path / "ladder"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    page = Page((tmp_path / "ladder" / "report.html").read_text())
    assert page.misplaced == []
    assert page.headings[1] == (2, "Predicted and measured")
    checks = result["checks"]
    for heading, name, form in (
        ("predicted", "predicted_loss", ".4f"),
        ("measured", "measured_loss", ".4f"),
        ("measured - predicted", "error", "+.4f"),
    ):
        assert page.column("predicted-loss", heading) == [format(check[name], form) for check in checks]
    assert page.column("predicted-loss", "holds") == ["yes" if check["loss_holds"] else "no" for check in checks]
    assert page.column("predicted-lr", "planned lr") == [f"{check['lr']:.4g}" for check in checks]
    assert page.column("predicted-lr", "at lr * 1.5") == [f"{check['beside'][1]['loss']:.4f}" for check in checks]
    assert page.column("predicted-lr", "holds") == ["yes" if check["lr_holds"] else "no" for check in checks]
    (difference,) = result["differences"]
    assert f"adamw-dw below adana: {difference['predicted']:+.4f} nats predicted" in page.said
    assert "Compute saved against adana (kappa 0.85)" in page.said


@pytest.mark.slow
def test_a_report_that_cannot_be_written_is_said_after_the_ladder_is_kept(pretend, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "_write_report", write_report)
    (tmp_path / "ladder" / "report.html").mkdir(parents=True)
    assert main(["ladder", *SMALL, "--optimizers", "adana", "--out", str(tmp_path / "ladder")]) == 0
    assert "no HTML page: " in capsys.readouterr().out
    assert json.loads((tmp_path / "ladder" / "ladder.json").read_text())["report"] is None


REFUSED = [
    (["--heads", "1", "2"], "3 different sizes or more, ascending, got 1, 2"),
    (["--heads", "0", "1", "2"], "--heads must be at least 1, got 0 1 2"),
    (["--optimizers", "adam"], "unknown optimizer 'adam': choose from"),
    (["--optimizers", "adamw", "--kappa", "0.8"], "--kappa: none of adamw has one"),
    (["--predict", "3"], "predict must be another size than those searched, got 3"),
    (["--tokens-per-parameter", "0.1"], "1 heads make 1 steps, fewer than 50"),
    (["--head-dim", "3"], "head_dim must be even for rotary embeddings, got 3"),
    (["--seeds", "100"], "seeds must leave out 100"),
    (["--beta2", "1.5"], "betas[1] must be a number in [0, 1), got 1.5"),
    (["--text", "nowhere.txt"], "nowhere.txt"),
    (["--workers", "0"], "--workers must be at least 1, got 0"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_bad_arguments_are_one_line_with_exit_code_2_and_leave_nothing(arguments, message, tmp_path, capsys):
    assert main(["ladder", *arguments, "--out", str(tmp_path / "ladder")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "ladder").exists()
