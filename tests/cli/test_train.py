from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import pytest
import torch

from adana.cli import main
from adana.cli import train as command
from adana.train.checkpoint import checkpoints
from adana.train.folder import read_result, read_run, write_result
from adana.train.lock import locked
from adana.train.run import Interrupted
from tests.train.tools import losses

SMALL = ["--heads", "1", "--layers", "1", "--seq-len", "32", "--batch-size", "2", "--steps", "24", "--device", "cpu"]


def arguments(text_file, out, *more, lr="3e-3"):
    given = ["--lr", lr] if lr else []
    rest = ["--text", str(text_file), "--out", str(out), "--log-every", "1", "--set", "weight_decay=1"]
    return ["train", "small", *SMALL, *given, *rest, *more]


def test_a_run_says_what_it_derives_and_how_it_goes_and_that_it_is_finished(text_file, tmp_path, capsys):
    assert main(arguments(text_file, tmp_path / "run")) == 0
    said = capsys.readouterr().out
    for equation in ("(13)", "(16)", "(17)", "(36)", "(F.2)", "(3.3)", "lambda(t) = 1 / (2.4 + t)"):
        assert equation in said
    result = read_result(tmp_path / "run")
    assert f"finished: validation loss {result.final_loss:.4f} nats per token" in said
    last = next(line for line in said.splitlines() if line.strip().startswith("24/24"))
    for part in ("100.0 %", "loss", "val", "lr", "|g|", "ms", "tokens/s", "GiB"):
        assert part in last
    assert main(arguments(text_file, tmp_path / "run")) == 0
    assert "was finished already" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "run.json").read_text())["command"].startswith("adana train small --heads 1")


def test_a_run_folder_given_back_repeats_the_run_and_options_change_it(text_file, tmp_path, capsys):
    assert main(arguments(text_file, tmp_path / "first")) == 0
    assert main(["train", str(tmp_path / "first"), "--out", str(tmp_path / "again"), "--log-every", "1"]) == 0
    assert losses(tmp_path / "again") == losses(tmp_path / "first")
    file = tmp_path / "first" / "run.json"
    other = ["train", str(file), "--out", str(tmp_path / "other"), "--seed", "1", "--set", "kappa=0.7", "--json"]
    capsys.readouterr()
    assert main(other) == 0
    assert json.loads(capsys.readouterr().out)["final_loss"] == read_result(tmp_path / "other").final_loss
    recipe = json.loads((tmp_path / "other" / "run.json").read_text())["recipe"]
    assert (recipe["seed"], recipe["options"]) == (1, {"weight_decay": 1, "kappa": 0.7})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], ids=lambda n: n.name)
def test_a_signal_saves_and_exits_0_with_a_word_and_the_same_command_goes_on(
    number, text_file, tmp_path, capsys, monkeypatch
):
    true, before = command.line, signal.getsignal(number)

    def strike(progress):
        if progress.step == 9:
            os.kill(os.getpid(), number)
        return true(progress)

    monkeypatch.setattr(command, "line", strike)
    assert main(arguments(text_file, tmp_path / "cut")) == 0
    assert f"stopped by {number.name}: saved in" in capsys.readouterr().out
    assert signal.getsignal(number) is before
    assert list(checkpoints(tmp_path / "cut" / "checkpoints")) == [9]
    monkeypatch.undo()
    assert main(arguments(text_file, tmp_path / "cut")) == 0
    assert main(arguments(text_file, tmp_path / "whole")) == 0
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_a_signal_to_another_rank_alone_is_what_a_run_says_it_was_stopped_by(text_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("adana.train.run.train", mock.Mock(side_effect=Interrupted))
    assert main(arguments(text_file, tmp_path / "run")) == 0
    assert "stopped by a signal to another of its processes: saved in" in capsys.readouterr().out


def test_a_result_without_bits_per_byte_is_said_without_them(text_file, tmp_path, capsys):
    assert main(arguments(text_file, tmp_path)) == 0
    _, recipe = read_run(tmp_path)
    write_result(tmp_path, recipe, replace(read_result(tmp_path), bits_per_byte=None))
    capsys.readouterr()
    assert main(arguments(text_file, tmp_path)) == 0
    assert re.search(r"was finished already: validation loss [\d.]+ nats per token; ", capsys.readouterr().out)


def test_a_dry_run_writes_nothing(text_file, tmp_path):
    assert main(arguments(text_file, tmp_path / "run", "--dry-run")) == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--vocab-size", "5"], "a model of vocab_size=5 does not know them all"),
        (["--batch-size", "4", "--micro-batch-size", "3"], "cannot be taken 3 at a time"),
        (["--device", "cuda"], "device 'cuda' cannot be used"),
        (["--init-from", "nowhere"], "nowhere is not a checkpoint"),
        (["--seed", "999999999999999999999"], "seed"),
    ],
)
@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry", "real"])
def test_a_dry_run_refuses_what_a_run_refuses_and_neither_leaves_a_folder(
    more, message, dry, text_file, tmp_path, capsys
):
    if torch.cuda.is_available() and "cuda" in more:
        pytest.skip("there is a GPU")
    command = [word for word in arguments(text_file, tmp_path / "run") if word not in ("--device", "cpu")]
    assert main([*command, *more, *dry]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_a_model_for_another_machine_says_that_this_one_is_too_small(text_file, tmp_path, capsys):
    command = [*arguments(text_file, tmp_path / "run"), "--heads", "900", "--layers", "9"]
    assert main([*command, "--dry-run"]) == 0
    assert "on this machine the run would be refused: " in capsys.readouterr().out
    assert main(command) == 2
    assert "choose a smaller model or --micro-batch-size" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_default_folder_is_the_recipes_and_stays_when_an_anytime_run_grows(text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = ["train", "small", *SMALL, "--lr", "3e-3", "--text", str(text_file)]
    endless = ["--anytime", "--warmup-steps", "2", "--set", "weight_decay=1", "weight_decay_offset=5"]
    assert main([*base, "--set", "weight_decay=1"]) == 0
    assert main([*base, *endless]) == 0
    assert main([*base, *endless, "--steps", "30"]) == 0
    folders = sorted((tmp_path / "runs" / "train").iterdir())
    assert len(folders) == 2
    assert all(re.fullmatch(r"enoki-1-adana-[0-9a-f]{8}", folder.name) for folder in folders)
    assert {json.loads((f / "run.json").read_text())["recipe"]["steps"] for f in folders} == {24, 30}


# --- the learning rate from a published law -------------------------------------------------------------


def test_the_learning_rate_is_the_published_laws_and_says_where_it_stands(capsys):
    given = ["train", "enoki", "--heads", "40", "--vocab-size", "50304", "--dry-run", "--optimizer"]
    assert main([*given, "adamw"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"learning rate +0\.0001906 +1\.28e1 \(1\.67e4 \+ P\)\^-0\.515, eq\. \(39\)", said)
    assert main([*given, "adana", "--batch-size", "256"]) == 0
    said = capsys.readouterr().out
    assert (
        "no published law is for 524,288 tokens per step; the nearest in ratio, H.3, Figure 25, is for 1,048,576"
        in said
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--optimizer", "dana-star"], "the paper has no learning-rate law for dana-star on enoki: give one with --lr"),
        (
            ["--set", "kappa=0.7"],
            "adana on enoki has laws for kappa 0.75, 0.8, 0.85, 0.9, not 0.7: give one with --lr",
        ),
        (
            ["--arch", "qwen3", "--optimizer", "muon"],
            "the paper has no learning-rate law for muon on qwen3: give one with",
        ),
        (["--head-dim", "32"], "the laws are of the paper's sizes: you have heads of 32, not 64: give one with --lr"),
        (["--experts", "2"], "the laws are of the paper's sizes: you have 2 experts: give one with --lr"),
    ],
)
def test_where_there_is_no_law_a_learning_rate_is_asked_for(more, message, capsys):
    assert main(["train", "small", "--dry-run", *more]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_name_is_not_taken_for_an_optimizer_without_a_law(capsys):
    assert main(["train", "small", "--dry-run", "--optimizer", "adam-w"]) == 2
    assert "unknown optimizer 'adam-w': choose from adamw, " in capsys.readouterr().err


# --- faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--heads", "0"], "heads must be a whole number of at least 1, got 0"),
        (["--optimizer", "sgdd"], "unknown optimizer 'sgdd'"),
        (["--set", "kapa=0.8"], "kapa"),
        (["--set", "kappa=-1"], "kappa must be a finite number of at least 0"),
        (["--set", "kappa"], "write NAME=VALUE"),
        (["--seq-len", "50000"], "needs 50,001"),
        (["--micro-batch-size", "3"], "cannot be taken 3 at a time"),
        (["--device", "quantum"], "device 'quantum' cannot be used"),
        (["--parallel", "fsdp"], "torchrun --nproc-per-node 2"),
        (["--data", "nowhere"], "nowhere is not a dataset"),
        (["--vocab-size", "100"], "up to a vocabulary of 256"),
        (["--save-every", "0"], "save_every must be at least 1"),
        (["--init-from", "nowhere"], "nowhere is not a checkpoint"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(more, message, text_file, tmp_path, capsys):
    base = arguments(text_file, tmp_path / "run")
    if "--data" in more:
        at = base.index("--text")
        del base[at : at + 2]
    assert main([*base, *more]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("adana train: error: ")
    assert said.count("\n") == 1, said


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name a recipe first: small, enoki, qwen3"),
        (["--lr", "1"], "name a recipe first"),
        (["gpt4"], "no recipe 'gpt4': choose from small, enoki, qwen3"),
    ],
)
def test_no_recipe_or_one_there_is_not_is_one_clear_line(argv, message, capsys):
    assert main(["train", *argv]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path, capsys):
    argv = ["train", "small", "--lr", "1e-3", "--text", str(tmp_path / "no.txt"), "--out", str(tmp_path / "run")]
    assert main(argv) == 2
    assert f"{tmp_path / 'no.txt'}: No such file" in capsys.readouterr().err


def test_a_folder_in_use_and_a_corrupt_checkpoint_are_one_line_and_exit_code_1(text_file, tmp_path, capsys):
    argv = arguments(text_file, tmp_path / "run")
    with locked(tmp_path / "run"):
        assert main(argv) == 1
    assert "is in use by another process" in capsys.readouterr().err
    assert main(argv) == 0
    (tmp_path / "run" / "result.json").unlink()
    next((tmp_path / "run" / "checkpoints").glob("*/*.distcp")).write_bytes(b"")
    assert main(argv) == 1
    assert "is corrupt or truncated" in capsys.readouterr().err


def test_a_diverged_run_exits_1_with_where_and_what_to_do(text_file, tmp_path, capsys):
    assert main(arguments(text_file, tmp_path / "run", lr="1e30")) == 1
    said = capsys.readouterr().err
    assert re.search(r"diverged at step \d+: the (loss|gradient norm) .*smaller --lr, or --non-finite skip", said)


def test_more_processes_than_gpus_is_one_clear_line(text_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert main([*arguments(text_file, tmp_path / "run"), "--device", "cuda"]) == 2
    assert "process number 1 on this machine, which has 1 GPUs" in capsys.readouterr().err


@pytest.mark.slow
def test_under_torchrun_a_sharded_run_ends_at_the_same_loss(text_file, tmp_path):
    assert main(arguments(text_file, tmp_path / "alone")) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "adana"]
    argv = [*torchrun, *arguments(text_file, tmp_path / "fsdp", "--parallel", "fsdp")]
    done = subprocess.run(argv, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished: validation loss") == 1, "one rank speaks"
    assert losses(tmp_path / "fsdp") == pytest.approx(losses(tmp_path / "alone"), abs=2e-5)
