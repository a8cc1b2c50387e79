from __future__ import annotations

import json
import os
import sys

import pytest

from adana.cli import main
from adana.train.run import Recipe
from tests.report.folders import Page, ladder_csv, run_folder


def test_a_page_is_written_and_named(tmp_path, capsys, monkeypatch):
    for seed in (0, 1):
        run_folder(tmp_path / "runs" / str(seed), Recipe("adamw", 1e-3, heads=1, steps=80, seed=seed), 2.0 + seed / 100)
    monkeypatch.chdir(tmp_path)
    assert main(["report", "runs", "-o", "page.html", "--title", "A title", "--bootstrap", "2"]) == 0
    assert capsys.readouterr().out == "report: page.html\n"
    page = Page((tmp_path / "page.html").read_text())
    assert page.headings[0] == (1, "A title")
    assert "adana report runs -o page.html --title 'A title' --bootstrap 2" in page.said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "runs"]


def test_json_says_every_fit_or_why_there_is_none(tmp_path, capsys):
    path, out = ladder_csv(tmp_path / "runs.csv", rates=(1.0,)), tmp_path / "page.html"
    arguments = ["report", str(path), "-o", str(out), "--baseline", "adamw", "--bootstrap", "2", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == str(out)
    assert (found["finished"], found["diverged"], found["unfinished"]) == (8, 0, [])
    assert found["lr"] == {}
    assert [law["label"] for law in found["loss"]["fit"]["laws"]] == ["adamw", "adana (kappa 0.85)"]
    assert found["multiplier"]["fit"]["baseline"] == "adamw"
    assert found["seed_noise"] is None


def test_without_an_adamw_the_baseline_is_asked_for(tmp_path, capsys):
    path = ladder_csv(tmp_path / "runs.csv", rates=(1.0,), names=("adana",))
    assert main(["report", str(path), "-o", str(tmp_path / "page.html"), "--bootstrap", "2"]) == 0
    assert "name a baseline with --baseline" in (tmp_path / "page.html").read_text()


def test_runs_that_say_little_are_still_listed_with_what_is_missing(tmp_path):
    (tmp_path / "runs.csv").write_text("optimizer,final_loss,lr\nadamw,3.0,0.001\nadamw,,0.002\n")
    assert main(["report", str(tmp_path / "runs.csv"), "-o", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text())
    assert page.column("runs-table", "loss") == ["3.0000", "diverged"]
    assert "Learning rates: the runs do not say their size; a CSV needs non_embedding_parameters" in page.said
    assert "no token horizon: add the column tokens" in page.said
    assert not page.all("svg")


BAD_ARGUMENTS = [
    ([], "name run folders, or a CSV file"),
    (["nowhere"], "nowhere: no such file or folder"),
    (["runs.csv", "-o", "no/such/page.html"], "cannot write to no/such"),
    (["runs.csv", "-o", "."], "is a folder: name a file"),
    (["runs.csv", "--bootstrap", "0"], "--bootstrap must be at least 1, got 0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS, ids=[message for _, message in BAD_ARGUMENTS])
def test_bad_arguments_are_one_line_with_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    ladder_csv(tmp_path / "runs.csv", heads=(6,), rates=(1.0,))
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]


def test_what_is_not_a_file_is_never_replaced_by_a_page(tmp_path, capsys):
    path = ladder_csv(tmp_path / "runs.csv", heads=(6,), rates=(1.0,))
    os.mkfifo(tmp_path / "pipe")
    assert main(["report", str(path), "-o", str(tmp_path / "pipe"), "--bootstrap", "2"]) == 2
    assert "is not a file, and a page would take its place" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_too_long_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    ladder_csv(tmp_path / "runs.csv", heads=(6,), rates=(1.0,))
    monkeypatch.chdir(tmp_path)
    for name in ("x" * 300, "x" * 250):  # itself, and what it is written under
        assert main(["report", "runs.csv", "-o", name, "--bootstrap", "2"]) == 1
        assert capsys.readouterr().err == f"adana report: error: {name}: File name too long\n"
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]


def test_an_interrupted_report_leaves_nothing_and_no_traceback(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    ladder_csv(tmp_path / "runs.csv", heads=(6,), rates=(1.0,))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "replace", interrupted)
    assert main(["report", "runs.csv", "--bootstrap", "2"]) == 130
    assert capsys.readouterr().err == "adana report: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]


def test_nothing_finished_is_one_line_and_no_page(tmp_path, capsys):
    run_folder(tmp_path / "runs" / "one", Recipe("adamw", 1e-3, steps=10), None, unfinished=True)
    assert main(["report", str(tmp_path / "runs"), "-o", str(tmp_path / "page.html")]) == 1
    assert "no finished run" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_an_unknown_baseline_names_those_there_are(tmp_path, capsys):
    path = ladder_csv(tmp_path / "runs.csv", heads=(6,), rates=(1.0,))
    assert main(["report", str(path), "-o", str(tmp_path / "page.html"), "--baseline", "adam"]) == 1
    assert "no runs of the baseline 'adam': choose one of adamw, adana (kappa 0.85)" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2", "scipy"])
def test_a_missing_extra_says_what_to_install(missing, tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("adana.report", missing))]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("adana.scaling")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    path = ladder_csv(tmp_path / "runs.csv", heads=(6,), rates=(1.0,))
    assert main(["report", str(path), "-o", str(tmp_path / "page.html")]) == 1
    assert f"{missing} is not installed: pip install 'adana[report]'" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
