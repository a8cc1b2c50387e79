"""What goes on inside a run's optimizer: from its log, and from its checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adana.cli import main
from adana.inspect.optimizer import optimizer
from adana.train.recipe import Execution, Recipe
from adana.train.run import train

STEPS = 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of ADana and DanaStarMK4: one with a log, one with its checkpoint alone."""
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 100)
    quiet = Execution(device="cpu", log_every=None)
    for name in ("adana", "dana-star-mk4"):
        sizes = {"heads": 1, "seq_len": 16, "batch_size": 2, "steps": STEPS, "evaluations": 1}
        recipe = Recipe(name, 1e-3, {"weight_decay": 0.5}, text=(str(text),), **sizes)
        train(recipe, folder / f"{name}-logged", execution=replace(quiet, diagnostics_every=4))
        train(recipe, folder / f"{name}-kept", execution=quiet)
    return folder


@pytest.mark.parametrize("name", ["adana", "dana-star-mk4"])
def test_a_checkpoint_gives_what_the_run_logged_at_that_step(name, runs):
    logged, kept = (optimizer(str(runs / f"{name}-{what}")) for what in ("logged", "kept"))
    assert [snapshot.step for snapshot in logged.snapshots] == [4, 8, 12]
    assert [snapshot.step for snapshot in kept.snapshots] == [12]
    assert kept.snapshots[0] == logged.snapshots[-1]


def test_memory_follows_log_time(runs):
    for snapshot in optimizer(str(runs / "adana-logged")).snapshots:
        for kind in snapshot.kinds:  # 1/(1 - beta) = (delta + t)/delta of update t
            assert kind.memory_steps == pytest.approx((8 + snapshot.step - 1) / 8)
            assert kind.memory_tokens == kind.memory_steps * 2 * 16
            assert kind.alpha == pytest.approx(snapshot.step ** (1 - 0.85), rel=0.2)
            assert kind.clipped is None


def test_what_the_clip_leaves_of_alpha_is_at_most_alpha(runs):
    for snapshot in optimizer(str(runs / "dana-star-mk4-logged")).snapshots:
        for kind in snapshot.kinds:
            assert 0 <= kind.clipped <= 1
            assert kind.effective_alpha == pytest.approx(kind.alpha_fac / kind.mfac)
            assert len(kind.tau) == 5
            assert sorted(kind.tau) == kind.tau


def test_the_command_prints_a_table_json_and_a_figure(runs, tmp_path, capsys):
    run = str(runs / "dana-star-mk4-logged")
    assert main(["inspect", "optimizer", run, "--plot", str(tmp_path / "o.svg")]) == 0
    shown = capsys.readouterr().out
    assert "dana-star-mk4 after step 12 of 12" in shown
    assert "embedding" in shown
    assert (tmp_path / "o.svg").stat().st_size > 10_000
    assert main(["inspect", "optimizer", run, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["snapshots"]) == 3


def test_a_run_with_neither_says_what_to_do(runs, tmp_path, capsys):
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "run.json").write_bytes((runs / "adana-kept" / "run.json").read_bytes())
    assert main(["inspect", "optimizer", str(folder)]) == 2
    assert "--diagnostics-every 100" in capsys.readouterr().err
    assert main(["inspect", "optimizer", str(tmp_path / "missing")]) == 2


def test_a_damaged_log_is_named(runs, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.json", "diagnostics.jsonl"):
        (folder / name).write_bytes((runs / "adana-logged" / name).read_bytes())
    with (folder / "diagnostics.jsonl").open("a") as file:
        file.write('{"step": ')
    assert main(["inspect", "optimizer", str(folder)]) == 1
    assert "diagnostics.jsonl" in capsys.readouterr().err
