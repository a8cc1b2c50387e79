from __future__ import annotations

import csv
import json

from adana.cli import main


def test_a_small_sweep_writes_its_runs_and_its_best_and_reads_them_back(text_file, tmp_path, capsys):
    command = ["sweep", "--optimizers", "dana-mk4", "--heads", "1", "--layers", "1", "--seq-len", "16"]
    command += ["--batch-size", "1", "--steps", "10", "--workers", "1", "--text", str(text_file)]
    command += ["--out", str(tmp_path / "runs"), "--output", str(tmp_path / "results" / "sweep"), "--json"]
    assert main(command) == 0
    (best,) = json.loads(capsys.readouterr().out)
    saved = json.loads((tmp_path / "results" / "sweep.json").read_text())
    assert saved["best"] == [best]
    assert saved["command"].startswith("adana sweep --optimizers dana-mk4")
    with (tmp_path / "results" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["final_loss"]) for row in rows if row["final_loss"]]
    assert abs(min(losses) - best["final_loss"]) < 1e-5
    runs = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}
    assert len(runs) == len(rows)
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == [best]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")} == runs


def test_an_unknown_optimizer_is_refused(capsys):
    assert main(["sweep", "--optimizers", "sgdd"]) == 2
    assert "'sgdd'" in capsys.readouterr().err
