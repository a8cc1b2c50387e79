from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from statistics import fmean

import pytest

from adana.cli import main
from adana.lab.cells import COUPLED_DECAYS
from adana.lab.race_search import RULE, RUNS
from adana.train.recipe import Recipe

# One sweep for all that only look at it, not one in each test process.
pytestmark = pytest.mark.xdist_group("sweep")

SMALL = ["--heads", "1", "--layers", "1", "--seq-len", "32", "--batch-size", "4", "--steps", "10"]
SMALL += ["--evaluations", "1"]
CPU = ["--device", "cpu", "--workers", "1"]


def arguments(text_file, folder, *more):
    places = ["--text", str(text_file), "--out", str(folder / "runs"), "--output", str(folder / "results" / "sweep")]
    return ["sweep", *more, *SMALL, *CPU, *places]


def rows_of(folder):
    with (folder / "results" / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(text_file, tmp_path_factory):
    """One small sweep, run once for all that only look at it."""
    folder = tmp_path_factory.mktemp("sweep")
    more = ["--optimizers", "adana", "adamw", "--weight-decay", "1", "--fine", "None", "--beta2", "0.95", "0.999"]
    command = arguments(text_file, folder, *more)
    assert main(command) == 0
    return folder, command


@pytest.mark.slow
def test_a_sweep_writes_its_runs_and_its_best_and_reads_them_back(finished, capsys):
    folder, command = finished
    saved = json.loads((folder / "results" / "sweep.json").read_text())
    assert saved["finished"]
    assert saved["command"].startswith("adana sweep --optimizers adana adamw")
    assert [(best["optimizer"], best["options"].get("betas")) for best in saved["best"]] == [
        ("adana", None),
        ("adamw", [0.9, 0.95]),
        ("adamw", [0.9, 0.999]),
    ]
    rows = rows_of(folder)
    for best in saved["best"]:
        told = Recipe(best["optimizer"], 1.0, best["options"]).resolved().options  # a default is not told
        mine = [row for row in rows if (row["optimizer"], json.loads(row["options"])) == (best["optimizer"], told)]
        losses = {float(row["lr"]): float(row["final_loss"]) for row in mine if row["final_loss"]}
        assert min(losses, key=losses.get) == best["lr"]
        assert losses[best["lr"]] == pytest.approx(best["final_loss"], abs=1e-6)
    runs = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")}
    assert len(runs) == len(rows)
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == [
        {name: value for name, value in best.items() if name != "finished"} for best in saved["best"]
    ]
    assert f"{len(rows)}/{len(rows)} " in captured.err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")} == runs


@pytest.mark.slow
def test_adana_fit_takes_the_sweeps_table(finished, capsys):
    folder, _ = finished
    assert main(["fit", str(folder / "results" / "sweep.csv"), "--law", "lr"]) == 1
    assert "it needs 3" in capsys.readouterr().err, "the one thing it lacks is sizes"


@pytest.mark.slow
def test_the_races_search_is_a_rule_of_its_own(text_file, tmp_path, capsys):
    assert main(arguments(text_file, tmp_path, "--rule", "race", "--optimizers", "dana-mk4", "--json")) == 0
    (best,) = json.loads(capsys.readouterr().out)
    saved = json.loads((tmp_path / "results" / "sweep.json").read_text())
    assert (saved["rule"], saved["best"]) == (RULE, [best])
    assert saved["setting"]["seed"] == 100
    rows = rows_of(tmp_path)
    assert len(rows) == saved["runs"] == RUNS
    assert {1.0, 2.0, 4.0} <= {json.loads(row["options"])["weight_decay"] for row in rows}
    assert {float(row["kappa"]) for row in rows} == {0.7, 0.85, 1.0}
    here = {"lr": repr(best["lr"]), "options": json.dumps({"weight_decay": best["options"]["weight_decay"]})}
    mine = [row for row in rows if here.items() <= row.items() and float(row["kappa"]) == best["options"]["kappa"]]
    assert {row["seed"] for row in mine} == {"100", "101", "102"}
    assert fmean(float(row["final_loss"]) for row in mine) == pytest.approx(best["final_loss"], abs=1e-6)


def test_the_papers_weight_decays_are_swept(text_file, tmp_path, capsys, monkeypatch):
    """What is searched, without running it."""
    asked = []

    def searched(cells, executor, **options):
        asked.extend(cells)
        raise KeyboardInterrupt

    monkeypatch.setattr("adana.cli.sweep.sweep", searched)
    more = ["--optimizers", "adamw", "adana", "--weight-decay", "paper", "--set", "eps=1e-9"]
    assert main(arguments(text_file, tmp_path, *more)) == 130
    assert "goes on from here" in " ".join(capsys.readouterr().out.split())
    adamw = [cell for cell in asked if cell.optimizer == "adamw"]
    assert [cell.options["coupled_weight_decay"] for cell in adamw] == list(COUPLED_DECAYS)
    assert [cell.options["weight_decay"] for cell in asked if cell.optimizer == "adana"] == [1, 2, 4, 8]
    assert {cell.options["eps"] for cell in asked} == {1e-9}
    assert {cell.steps for cell in asked} == {10}


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_same_command_ends_as_if_never_stopped(finished, text_file, tmp_path):
    whole, command = finished
    more = command[1 : command.index("--heads")]
    mine = arguments(text_file, tmp_path, *more)
    process = subprocess.Popen(
        [sys.executable, "-m", "adana", *mine],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell starts its background jobs with Ctrl-C ignored, and tests run by one would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 600
    while not list(tmp_path.rglob("result.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 130, output
    assert "goes on from here" in " ".join(output.split())
    assert "Traceback" not in output
    assert not json.loads((tmp_path / "results" / "sweep.json").read_text())["finished"]
    assert main(mine) == 0
    saved = [json.loads((folder / "results" / "sweep.json").read_text()) for folder in (whole, tmp_path)]
    assert saved[0]["best"] == saved[1]["best"]


BAD = {
    "an unknown optimizer": (["--optimizers", "sgdd"], "'sgdd'"),
    "no optimizer": (["--optimizers"], "--optimizers"),
    "a grid without values": (["--optimizers", "adana", "--kappa"], "--kappa has no values"),
    "weight decays without values": (["--weight_decay", "--optimizers", "adana"], "--weight-decay has no values"),
    "no seeds": (["--seeds"], "--seeds has no values"),
    "a learning rate below 0": (["--lr", "-0.1"], "-0.1"),
    "an unknown recipe": (["medium"], "'medium'"),
    "a grid that nobody takes": (["--optimizers", "adamw", "--kappa", "0.8"], "takes kappa"),
    "a value the optimizer refuses": (["--optimizers", "adana", "--damping-scale", "-1"], "damping_scale"),
    "a weight decay that is no number": (["--weight-decay", "much"], "write numbers, or paper"),
    "a negative weight decay": (["--weight-decay", "-1"], "at least 0"),
    "a seed twice": (["--seeds", "1", "1"], "--seeds"),
    "a fine factor of 1": (["--fine", "1"], "--fine"),
    "no workers": (["--workers", "0"], "--workers"),
    "no steps": (["--steps", "0"], "steps must be at least 1"),
    "a start of 0": (["--lr", "0"], "lr must be"),
    "no heads": (["--heads", "0"], "heads"),
    "an unknown option": (["--set", "kapa=1", "--optimizers", "adana"], "no option 'kapa': choose from total_steps"),
    "an option without a value": (["--set", "kappa"], "NAME=VALUE"),
    "the median rule without evaluations": (["--stop-hopeless", "--evaluations", "1"], "--evaluations"),
    "SLURM's parameters elsewhere": (["--slurm", "timeout_min=5"], "--engine slurm"),
    "no SLURM": (["--engine", "slurm"], "sbatch"),
    "a grid in the race's search": (["--rule", "race", "--kappa", "0.8"], "--rule race"),
    "a file that is not there": (["--text", "no/such/file.txt"], "no/such/file.txt"),
    "an unknown device": (["--device", "abacus"], "abacus"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_clear_line_with_exit_code_2(what, text_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What is let through must not train for an hour before it is found out.
    monkeypatch.setattr("adana.cli.sweep.sweep", lambda *arguments, **options: [])
    more, words = BAD[what]
    if "--text" not in more:
        more = [*more, "--text", str(text_file)]
    assert main(["sweep", *more]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_engine_that_is_not_installed_says_how_to_install_it(text_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for engine, package in (("ray", "ray"), ("slurm", "submitit")):
        assert main(arguments(text_file, tmp_path, "--engine", engine)) == 2
        assert f"needs {package}: pip install 'adana[{engine}]'" in capsys.readouterr().err


@pytest.mark.slow
def test_help_loads_neither_ray_nor_submitit():
    code = "import sys\nfrom adana.cli import main\ntry: main(['sweep', '--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'ray', 'submitit', 'scipy'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "--stop-hopeless" in done.stdout
