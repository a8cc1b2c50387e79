from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from adana.cli import main
from adana.models import EnokiConfig, horizon
from adana.scaling.laws import LearningRateLaw, LossLaw
from adana.scaling.published import QWEN3_LOSSES
from tests.scaling.ladders import enoki_pfh, losses_of, sweeps_of

LAW = LearningRateLaw(22.5, 0.0, -0.618)
LOSS = LossLaw(1.04, 2.12, 0.075)
HEADS = (6, 8, 12, 16, 20, 24)


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture
def sweeps(tmp_path):
    """A swept ladder of ADana whose laws are known."""
    rows = [
        {"arch": "enoki", "heads": h, "optimizer": "adana", "kappa": 0.85, "lr": lr, "tokens_per_parameter": 20}
        | {"final_loss": LOSS(enoki_pfh(h)) + loss - 2.5, "batch_tokens": 65536}
        for h, sweep in zip(HEADS, sweeps_of(LAW, HEADS, seed=0, noise=0.0).values())
        for lr, loss in sweep.items()
    ]
    return write(tmp_path / "sweeps.csv", rows)


def test_a_learning_rate_law_is_fitted_stored_and_planned_with(sweeps, tmp_path, capsys):
    out = tmp_path / "fits" / "lr.json"
    assert main(["fit", sweeps, "--law", "lr", "--bootstrap", "100", "--json", "--output", str(out)]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload == json.loads(out.read_text())
    assert payload["horizon"] == "20 tokens per total parameter"
    (law,) = payload["laws"]
    assert law["d"] == pytest.approx(-0.618, abs=0.02)
    assert [row["source"] for row in law["published"]] == ["(47)", "(71)", "H.3, Figure 25"]
    costs = {cost["of"]: cost for cost in law["sensitivity"]["costs"]}
    assert costs["an error of 50 %"]["loss"] == pytest.approx(0.0193 * math.log(1.5) ** 2, rel=0.05)
    slope = LOSS.slope(enoki_pfh(24))
    assert costs["an error of 50 %"]["compute"] == pytest.approx(costs["an error of 50 %"]["loss"] / slope, rel=0.1)

    assert main(["plan", "--heads", "32", "--law", str(out), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    size = EnokiConfig(32).non_embedding_parameters
    assert plan["lr"] == pytest.approx(law["a"] * (law["b"] + size) ** law["d"])
    assert plan["lr"] == pytest.approx(LAW(size), rel=0.1)
    assert plan["lr_source"].startswith("your fit")
    assert any("lr is extrapolated" in warning for warning in plan["warnings"])


def test_a_loss_law_takes_the_best_of_each_sweep_and_plans(sweeps, tmp_path, capsys):
    out = tmp_path / "loss.json"
    assert main(["fit", sweeps, "--law", "loss", "--bootstrap", "40", "--json", "--output", str(out)]) == 0
    payload = json.loads(capsys.readouterr().out)
    (law,) = payload["laws"]
    assert law["f"] == pytest.approx(0.075, abs=0.01)
    assert abs(law["hold_out"]["error"]) < 0.01
    assert len(payload["literature"]) == 18
    assert main(["plan", "--heads", "24", "--law", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predicted_loss"] == pytest.approx(LOSS(enoki_pfh(24)), abs=0.003)


@pytest.mark.slow
def test_tables_say_what_is_not_identified_and_what_is_far_off(tmp_path, capsys):
    ladders = losses_of({"adamw": LOSS, "muon": LossLaw(1.04, 2.0, 0.08)}, noise=0.003)
    ladders["muon"][enoki_pfh(28)] = 3.226
    rows = [
        {"optimizer": name, "flops_6n": 3.6e18 * compute, "total_parameters": total, "tokens": 20 * total}
        | {"final_loss": loss}
        for name, ladder in ladders.items()
        for compute, loss in ladder.items()
        for total in [1e6 * compute]
    ]
    path = write(tmp_path / "losses.csv", rows)
    assert main(["fit", path, "--law", "loss", "--form", "broken", "--bootstrap", "5"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "muon: 3.226 at 29.67 PFH is an outlier" in shown
    assert "--without-outliers leaves it out" in shown
    assert "not identified" in shown
    out = tmp_path / "fit.json"
    assert main(["fit", path, "--law", "loss", "--bootstrap", "5", "--without-outliers", "--output", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "(left out)" in shown
    assert "Hoffmann et al. (2022)" in shown
    assert "The largest size of each, predicted from the others" in shown
    _, muon = json.loads(out.read_text())["laws"]
    assert 3.226 not in [row["loss"] for row in muon["residuals"]]
    assert muon["r_squared"] > 0.99


def test_multipliers_of_table_19_with_marks(capsys):
    command = ["fit", str(QWEN3_LOSSES), "--law", "multiplier", "--seed-noise", "0.003"]
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 42
    outlier = [row for row in rows if row["outlier"]]
    assert [(row["label"], row["loss"]) for row in outlier] == [("ademamix (kappa 0.85)", 3.226)]
    assert all(row["interval"][0] < row["multiplier"] < row["interval"][1] for row in rows)
    assert {row["extrapolated"] for row in rows} == {True, False}
    assert main([*command, "--optimizers", "adamw", "adana"]) == 0
    shown = capsys.readouterr().out
    assert "1.325*" in shown
    assert "* extrapolated" in shown
    assert "dana-mk4" not in shown


def test_a_baseline_goes_by_its_name_and_need_not_be_among_the_optimizers_chosen(capsys):
    command = ["fit", str(QWEN3_LOSSES), "--law", "multiplier", "--json"]
    assert main([*command, "--optimizers", "dana-mk4", "--baseline", "adana"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["baseline"] == "adana (kappa 0.85)"
    assert found["horizon"] == "20 tokens per total parameter"
    assert {row["label"] for row in found["rows"]} == {"dana-mk4 (kappa 0.75)", "dana-mk4 (kappa 0.85)"}
    assert main([*command, "--baseline", "dana-mk4"]) == 1
    assert "several kappas of the baseline 'dana-mk4': choose one of adamw, adana" in capsys.readouterr().err


def test_a_loss_that_no_compute_reaches_is_printed_without_a_multiplier(tmp_path, capsys):
    rows = [
        {"optimizer": name, "flops_6n": flops, "final_loss": loss}
        for name, ladder in {"adamw": {1e18: 3.0, 2e18: 2.9, 3e18: 2.95}, "muon": {1e18: 2.5}}.items()
        for flops, loss in ladder.items()
    ]
    command = ["fit", write(tmp_path / "runs.csv", rows), "--law", "multiplier", "--seed-noise", "0.001"]
    assert main([*command, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["multiplier"], row["interval"]) == (None, None)
    assert main(command) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "muon 0.2778 2.5000 \N{EN DASH}" in shown
    assert "no budget gives adamw the loss of muon at 0.2778 PFH: no multiplier" in shown


def test_the_runs_that_a_ladder_leaves_are_fitted_as_they_are(capsys):
    """The searches leave kappa at its default, the runs at the plan name it: one law, with its settings."""
    runs = str(Path(__file__).parents[2] / "results" / "ladder" / "runs.csv")
    assert main(["fit", runs, "--law", "lr", "--bootstrap", "5", "--json"]) == 0
    laws = json.loads(capsys.readouterr().out)["laws"]
    assert [law["label"] for law in laws] == ["adamw-dw", "adana (kappa 0.85)"]
    assert laws[1]["options"] == {"weight_decay": 1.0, "kappa": 0.85}


def test_a_damping_law_from_a_csv(tmp_path, capsys):
    rows = [
        {"optimizer": "adana", "heads": h, "arch": "enoki", "steps": t, "batch_tokens": b, "linear_damping": c}
        | {"final_loss": 3 + 0.02 * math.log(c * t**0.85 / (b / 65536) ** 0.33) ** 2}
        for h, t, b in [(6, 2000, 65536), (6, 8000, 65536), (8, 2000, 65536), (6, 2000, 524288), (8, 30000, 524288)]
        for c in [2.0**-k for k in range(4, 16)]
    ]
    path = write(tmp_path / "damping.csv", rows)
    assert main(["fit", path, "--law", "damping", "--json"]) == 0
    (law,) = json.loads(capsys.readouterr().out)["laws"]
    assert law["kappa"] == pytest.approx(0.85, abs=1e-6)
    assert law["batch_exponent"] == pytest.approx(0.33, abs=1e-6)
    assert law["size_exponent"] == pytest.approx(0, abs=1e-6)
    assert main(["fit", path, "--law", "damping"]) == 0
    assert "batch exponent" in capsys.readouterr().out


SIZES = {h: EnokiConfig(h).non_embedding_parameters for h in HEADS}


def ladder_rows(heads=HEADS, lrs=(1e-3, 2e-3, 4e-3), **more):
    return [
        {"arch": "enoki", "heads": h, "optimizer": "adamw", "lr": lr, "tokens": horizon(EnokiConfig(h))}
        | {"final_loss": 4 - 0.05 * h + 0.01 * i**2}
        | more
        for h in heads
        for i, lr in enumerate(lrs)
    ]


REFUSED = [
    ("lr", ladder_rows(HEADS[:2]), "too few sizes for a learning-rate law: 7.08e+06, 1.89e+07; it needs 3"),
    ("lr", ladder_rows(lrs=(1e-3,)), "one finished learning rate at 7.08e+06 parameters"),
    ("lr", ladder_rows(final_loss="nan"), "row 1: final_loss is NaN"),
    ("lr", ladder_rows() + ladder_rows((28,), tokens=1e12), "mixed horizons: 20 to"),
    ("lr", ladder_rows(lr=""), "no learning rate: add the column lr"),
    ("lr", ladder_rows(batch_tokens=65536) + ladder_rows((28,), batch_tokens=131072), "mixed batches: 65536, 131072"),
    ("lr", [{"loss": 3}], "has no column optimizer and no column final_loss; it has loss"),
    ("loss", ladder_rows(HEADS[:2]), "too few sizes for adamw: 2"),
    ("loss", ladder_rows(final_loss=""), "too few sizes for adamw: 0"),
    ("loss", ladder_rows(final_loss=3.0), "the losses of adamw do not fall with compute (3 at 0.0402 PFH, 3 at"),
    ("loss", [row | {"final_loss": row["heads"]} for row in ladder_rows()], "the losses of adamw do not fall with"),
    ("loss", ladder_rows(tokens=""), "no token horizon"),
    ("loss", [{"optimizer": "adamw", "final_loss": 3, "tokens": 1e9}], "no compute by formula 6n: add the column"),
    ("multiplier", ladder_rows(optimizer="adana"), "no runs of the baseline 'adamw': choose one of adana"),
    ("multiplier", ladder_rows(HEADS[:1]), "the baseline adamw has 1 finished size"),
    ("multiplier", ladder_rows(), "no other optimizer than the baseline adamw has finished"),
    ("lr", ladder_rows(HEADS[:4], lrs=(1e-300, 1e-3, 1e300)), "ran out of the range of numbers"),
    ("damping", ladder_rows(), "a damping law needs the column linear_damping"),
]


@pytest.mark.parametrize(("law", "rows", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_runs_that_cannot_be_fitted_are_one_line_with_exit_code_1(law, rows, message, tmp_path, capsys):
    rows = [{key: row.get(key, "") for key in rows[0]} for row in rows]
    path = write(tmp_path / "runs.csv", rows)
    assert main(["fit", path, "--law", law, "--bootstrap", "10", "--json"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


BAD_ARGUMENTS = [
    (["--law", "lr"], "name run folders, or a CSV file"),
    (["nowhere.csv", "--law", "lr"], "nowhere.csv: no such file or folder"),
    ([str(QWEN3_LOSSES), "--law", "loss", "--saturation", "high"], "--saturation high: write free, 0, or"),
    ([str(QWEN3_LOSSES), "--law", "loss", "--saturation", "-1"], "--saturation -1"),
    ([str(QWEN3_LOSSES), "--law", "loss", "--bootstrap", "0"], "--bootstrap must be at least 1, got 0"),
    ([str(QWEN3_LOSSES), "--law", "loss", "--predict", "0"], "--predict must be above 0, got 0"),
    ([str(QWEN3_LOSSES), "--law", "loss", "--seed", "-1"], "--seed must be at least 0, got -1"),
    ([str(QWEN3_LOSSES), "--law", "multiplier", "--seed-noise", "-1"], "--seed-noise must be a number of at least 0"),
    ([str(QWEN3_LOSSES), "--law", "loss", "--tokens-per-parameter", "nan"], "--tokens-per-parameter must be above 0"),
    ([str(QWEN3_LOSSES), "--law", "multiplier", "--output", "."], "--output .: a folder: name a file"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS, ids=[message for _, message in BAD_ARGUMENTS])
def test_bad_arguments_are_one_line_with_exit_code_2(arguments, message, capsys):
    assert main(["fit", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    command = ["fit", str(QWEN3_LOSSES), "--law", "multiplier", "--output", str(tmp_path / "file" / "fit.json")]
    assert main(command) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_fit_that_cannot_be_put_in_place_leaves_nothing(tmp_path, capsys, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("adana.train.folder.os.replace", full)
    assert main(["fit", str(QWEN3_LOSSES), "--law", "multiplier", "--output", str(tmp_path / "fit.json")]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_fit_of_different_models_says_so(sweeps, tmp_path, capsys):
    more = {"optimizer": "adana", "kappa": 0.85, "vocab_size": 256}
    other = write(tmp_path / "other.csv", ladder_rows((2, 4), tokens="", tokens_per_parameter=20, **more))
    assert main(["fit", sweeps, other, "--law", "lr", "--bootstrap", "5"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "different models together: enoki with a vocabulary of 256 and enoki with a vocabulary of 50,304" in shown


def test_multipliers_over_another_model_say_so(tmp_path, capsys):
    more = {"optimizer": "muon", "tokens": "", "tokens_per_parameter": 20, "vocab_size": 256}
    other = write(tmp_path / "other.csv", ladder_rows((6, 8), **more))
    assert main(["fit", write(tmp_path / "runs.csv", ladder_rows()), other, "--law", "multiplier"]) == 0
    assert "different models together: enoki with a vocabulary of 256" in " ".join(capsys.readouterr().out.split())


def test_help_names_every_column(capsys):
    from adana.scaling.reading import COLUMNS

    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert all(name in printed for name in COLUMNS)
