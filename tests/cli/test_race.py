from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from adana.cli import main

# One race for all that only look at it: in one process, not one in each.
pytestmark = pytest.mark.xdist_group("race")

SMALL = ["--heads", "1", "--layers", "1", "--seq-len", "32", "--batch-size", "2", "--steps", "48", "--workers", "1"]


def arguments(text_file, out, *more):
    return ["race", *SMALL, "--text", str(text_file), "--out", str(out), *more]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A run whose threads wait for one another on a busy machine takes half a second a step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_THREAD_LIMIT", "1")
        yield


@pytest.fixture(scope="module")
def finished(text_file, tmp_path_factory):
    """One small race of three optimizers over two seeds, run once for all that only look at it."""
    out = tmp_path_factory.mktemp("race")
    assert main(arguments(text_file, out, "--seeds", "2")) == 0
    return out, json.loads((out / "result.json").read_text())


@pytest.mark.slow
def test_the_table_holds_every_optimizer_and_the_baseline_trained_longer(finished):
    _, result = finished
    assert {row["optimizer"] for row in result["rows"]} == {"adamw-dw", "adana", "dana-mk4"}
    assert [row["loss"] for row in result["rows"]] == sorted(row["loss"] for row in result["rows"])
    assert result["horizons"] == [1.0, 1.5]
    assert result["baseline_losses"][1][0] < result["baseline_losses"][0][0]
    assert all(len(row["final_losses"]) == 2 for row in result["rows"])
    steps = {curve["points"][-1][0] for curve in result["curves"] if curve["horizon"] == 1.5}
    assert steps == {72}


@pytest.mark.slow
def test_multipliers_follow_from_the_losses_by_c_2_1(finished):
    """Worked out here by hand from the two budgets, seed by seed."""
    _, result = finished
    for row in result["rows"]:
        for seed, (loss, multiplier) in enumerate(zip(row["final_losses"], row["multipliers"])):
            one, longer = (losses[seed] for losses in result["baseline_losses"])
            by_hand = 1 + 0.5 * (one - loss) / (one - longer)
            assert multiplier == pytest.approx(by_hand)
        assert row["efficiency"] == pytest.approx(row["multiplier"] - 1)


@pytest.mark.slow
def test_intervals_are_students_over_the_seeds_and_paired_for_differences(finished):
    """Worked out here by hand for two seeds: t(0.975, 1) = 12.706, standard error |a - b| / 2."""
    _, result = finished
    rows = {row["optimizer"]: row for row in result["rows"]}
    base = rows["adamw-dw"]["final_losses"]

    def by_hand(a, b):
        half = 12.7062 * abs(a - b) / 2
        return pytest.approx(((a + b) / 2 - half, (a + b) / 2 + half), rel=1e-4)

    for name, row in rows.items():
        assert tuple(row["loss_interval"]) == by_hand(*row["final_losses"])
        if name != "adamw-dw":
            assert tuple(row["ahead_interval"]) == by_hand(*(b - a for a, b in zip(row["final_losses"], base)))
        for other in rows.keys() - {name}:
            low, high = by_hand(*(b - a for a, b in zip(row["final_losses"], rows[other]["final_losses"]))).expected
            assert (other in row["alike"]) == (low <= 0 <= high)


@pytest.mark.slow
def test_a_value_outside_the_baselines_losses_says_it_is_extrapolated(finished):
    _, result = finished
    for row in result["rows"]:
        outside = [
            not min(line) <= loss <= max(line) for loss, *line in zip(row["final_losses"], *result["baseline_losses"])
        ]
        assert row["extrapolated"] == (any(outside) and row["optimizer"] != "adamw-dw")


@pytest.mark.slow
def test_the_same_command_again_reads_what_is_done(finished, text_file, capsys):
    out, result = finished
    runs = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")}
    assert len(runs) == 8
    assert main(arguments(text_file, out, "--seeds", "2", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"] == result["rows"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")} == runs


@pytest.mark.slow
def test_the_page_opens_offline_and_shows_the_numbers(finished):
    out, result = finished
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 2
    for row in result["rows"]:
        assert f"{row['loss']:.4f}" in page
    for outside in ("<script", "<link", "<img", "@import", "url(http"):
        assert outside not in page


@pytest.mark.slow
def test_a_diverging_optimizer_is_reported_with_its_step_and_stops_nobody(text_file, tmp_path, capsys):
    assert main(arguments(text_file, tmp_path, "--optimizers", "adana", "--lr", "adana=1e9")) == 0
    printed = " ".join(capsys.readouterr().out.split())
    result = json.loads((tmp_path / "result.json").read_text())
    rows = {row["optimizer"]: row for row in result["rows"]}
    ((seed, step),) = rows["adana"]["diverged"]
    assert seed == 0
    assert f"diverged at step {step}" in printed
    assert rows["adana"]["loss"] is None
    assert rows["adamw-dw"]["loss"] < 5
    assert result["rows"][-1]["optimizer"] == "adana", "who diverged comes last"


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_same_command_ends_as_if_never_stopped(finished, text_file, tmp_path):
    _, whole = finished
    command = [sys.executable, "-m", "adana", *arguments(text_file, tmp_path, "--seeds", "2")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        # A shell starts its background jobs with Ctrl-C ignored, and tests run by one would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 600
    # The limits only end a hang: a busy machine may take minutes to start three Pythons.
    # Interrupted once a run is under way, so that a checkpoint and not only finished runs must carry it on.
    while not list(tmp_path.rglob("metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 130, output
    assert "goes on from here" in " ".join(output.split())
    assert "Traceback" not in output
    assert not (tmp_path / "result.json").exists()
    assert main(arguments(text_file, tmp_path, "--seeds", "2")) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["final_losses"] for row in result["rows"]] == [row["final_losses"] for row in whole["rows"]]


BAD = {
    "a file that is not there": (["--text", "no/such/file.txt"], "no/such/file.txt"),
    "a folder for a file": (["--text", "."], "is a folder, not a file"),
    "an unknown optimizer": (["--optimizers", "sgdd"], "'sgdd'"),
    "an unknown name in --lr": (["--lr", "sgdd=1"], "'sgdd'"),
    "a name in --lr that does not race": (["--lr", "muon=1"], "muon"),
    "no value in --lr": (["--lr", "adana"], "NAME=VALUE"),
    "no number in --lr": (["--lr", "adana=fast"], "NAME=VALUE"),
    "lr 0": (["--lr", "adana=0"], "above 0"),
    "negative lr": (["--lr", "adana=-1"], "above 0"),
    "lr nan": (["--lr", "adana=nan"], "above 0"),
    "a class that is no optimizer": (["--optimizers", "torch.nn:Linear"], "no torch.optim.Optimizer"),
    "a class that is not there": (["--optimizers", "torch.optim:Fast"], "torch.optim has no Fast"),
    "an lr that somebody else's refuses": (
        ["--optimizers", "torch.optim:SGD", "--lr", "torch.optim:SGD"],
        "NAME=VALUE",
    ),
    "no seeds": (["--seeds", "0"], "--seeds"),
    "no horizon 1": (["--horizons", "2"], "--horizons"),
    "a search of two runs": (["--search", "2"], "at least 3 runs"),
    "no steps": (["--steps", "0"], "--steps"),
    "no heads": (["--heads", "0"], "--heads"),
    "no layers": (["--layers", "0"], "--layers"),
    "no workers": (["--workers", "0"], "--workers"),
    "an unknown device": (["--device", "abacus"], "abacus"),
    "an option that does not exist": (["--fast"], "fast"),
    "a number that is none": (["--steps", "many"], "many"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_clear_line_with_exit_code_2(what, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more, words = BAD[what]
    assert main(["race", *more]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == [], "nothing may be written"


@pytest.mark.slow
def test_an_optimizer_without_a_tuned_rate_is_searched_by_everybodys_rule_first(text_file, tmp_path, capsys):
    """Somebody else's with one command, on the budget that everybody's search had; a second race searches no more."""
    from adana.lab.race_search import RUNS

    out, name = tmp_path / "out", "torch.optim:NAdam"
    command = [*arguments(text_file, out, "--optimizers", "adamw-dw", name, "--steps", "12"), "--horizons", "1"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"searching {name}: {RUNS} runs" in said
    (best,) = json.loads((out / "search.json").read_text())["best"]
    rows = {row["optimizer"]: row for row in json.loads((out / "result.json").read_text())["rows"]}
    assert rows.keys() == {"adamw-dw", name}
    assert (rows[name]["lr"], rows[name]["options"]) == (best["lr"], best["options"])
    folders = sorted(path.name for path in out.glob("*/*-lr*"))
    assert len([folder for folder in folders if folder.startswith("torch.optim.NAdam")]) <= RUNS + 1
    assert main(command) == 0
    assert sorted(path.name for path in out.glob("*/*-lr*")) == folders
    assert name in (out / "report.html").read_text()


@pytest.mark.slow
def test_a_race_searches_every_optimizer_on_the_text_that_it_is_given(text_file, tmp_path, capsys):
    """From the tuned settings on, with equal budgets; the baseline at its longer horizon too; --lr is left alone."""
    out = tmp_path / "out"
    command = [*arguments(text_file, out, "--optimizers", "adamw-dw", "adana", "muon-dw", "--steps", "6")]
    assert main([*command, "--lr", "muon-dw=0.004", "--search", "3"]) == 0
    said = capsys.readouterr().out
    assert "searching adamw-dw, adana: 3 runs" in said
    assert "searching adamw-dw: 3 runs each, 9 steps" in said
    assert "were searched at the default setting" not in said
    bests = {best["optimizer"]: best for best in json.loads((out / "search-tuned.json").read_text())["best"]}
    (longer,) = json.loads((out / "search-1.5.json").read_text())["best"]
    result = json.loads((out / "result.json").read_text())
    rates = {row["optimizer"]: row["lr"] for row in result["rows"]}
    assert rates == {name: best["lr"] for name, best in bests.items()} | {"muon-dw": 0.004}
    assert [lane["lr"] for lane in result["baseline_lanes"]] == [bests["adamw-dw"]["lr"], longer["lr"]]
    searched = (out / "search-tuned.csv").read_text().splitlines()[1:]
    assert sorted(line.split(",")[0] for line in searched) == ["adamw-dw"] * 3 + ["adana"] * 3


def test_text_too_short_for_a_batch_is_refused(tmp_path, capsys):
    (tmp_path / "short.txt").write_text("short")
    assert main(["race", "--text", str(tmp_path / "short.txt"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "too short" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["short.txt"]


def test_a_folder_that_cannot_be_written_is_refused(text_file, tmp_path, capsys):
    """A file stands where the folder should be: the one refusal that even root meets."""
    (tmp_path / "taken").write_text("")
    assert main(arguments(text_file, tmp_path / "taken" / "out")) == 2
    error = capsys.readouterr().err
    assert "cannot write" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_full_race_and_the_default_have_a_tuned_learning_rate_each():
    from adana.catalog import DEFAULT, FULL
    from adana.lab.race import tuned

    assert set(DEFAULT) <= set(FULL) <= set(tuned())
