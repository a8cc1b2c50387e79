"""The report's section on what went on inside the optimizers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adana.report.runs import write_report
from adana.train.run import Recipe
from tests.report.folders import Page, run_folder

KINDS = ("hidden", "embedding")
STAR = {"memory": 1.5, "alpha": 1.4, "mfac": 0.5, "alpha_fac": 0.35, "clipped": 0.25, "tau": [0.1, 0.2, 0.5, 0.8, 1.0]}


def log(folder: Path, numbers: dict) -> None:
    lines = [{"step": step} | {kind: {"momentum_norm": step / 8, **numbers} for kind in KINDS} for step in (20, 40, 80)]
    (folder / "diagnostics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def page_of(root: Path) -> Page:
    write_report([root / "runs"], root / "report.html", bootstrap=2)
    return Page((root / "report.html").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of a Star rule and one of AdamW with logs, one without."""
    root = tmp_path_factory.mktemp("inside")
    for name, loss in (("dana-star-mk4", 1.9), ("adamw", 2.0), ("adana", 2.1)):
        run_folder(root / "runs" / name, Recipe(name, 1e-3, {"weight_decay": 1.0}, heads=1, steps=80), loss)
    log(root / "runs" / "dana-star-mk4", STAR)
    log(root / "runs" / "adamw", {"memory": 10.0, "mfac": 0.4})
    return root


@pytest.mark.slow
def test_what_a_run_logged_of_its_optimizer_is_on_its_page(runs):
    page = page_of(runs)
    assert page.misplaced == []
    table = page.tables["inside-numbers"]
    assert len(table) == 1 + 2 * len(KINDS)
    row = dict(zip(table[0], next(row for row in table if "dana-star-mk4" in row)))
    assert row["memory (steps)"] == "1.5"
    assert row["memory (tokens)"] == "1.54k"  # of 4 sequences of 256 tokens
    assert (row["alpha"], row["alpha after clipping"], row["clipped"]) == ("1.4", "0.7", "25.0 %")
    assert [row[f"tau, {which}"] for which in ("10 %", "median", "90 %")] == ["0.2", "0.5", "0.8"]
    assert page.said.count("over 80 steps, by kind of parameter") == 6 + 3  # alpha once, before and after clipping
    assert "adamw: share clipped" not in page.said


def test_a_damaged_log_is_named_and_the_page_is_written(runs, tmp_path):
    root = tmp_path
    run_folder(root / "runs" / "adana", Recipe("adana", 1e-3, heads=1, steps=80), 2.0)
    log(root / "runs" / "adana", {"memory": 10.0})
    run_folder(root / "runs" / "adamw", Recipe("adamw", 1e-3, heads=1, steps=80), 2.0)
    (root / "runs" / "adamw" / "diagnostics.jsonl").write_text('{"step": ')
    said = page_of(root).said
    assert "Not read:" in said
    assert "diagnostics.jsonl" in said
    assert "Inside the optimizer" in said


def test_without_a_log_one_sentence_says_how_to_have_one(tmp_path):
    run_folder(tmp_path / "runs" / "adamw", Recipe("adamw", 1e-3, heads=1, steps=80), 2.0)
    assert "no run here logged its optimizer; adana train --diagnostics-every 100 does" in page_of(tmp_path).said
