from __future__ import annotations

import json
import sys
import types
from dataclasses import replace

import pytest
import torch

from adana.models import EnokiConfig
from adana.train.metrics import JSONLines, Mirrors, Speed, peak, training_flops_per_token
from adana.train.run import train
from tests.train.tools import CPU, lines


@pytest.fixture
def recorders(monkeypatch):
    """Stand-ins for the three packages, with the calls that theirs document."""
    calls: dict[str, list] = {"tensorboard": [], "wandb": [], "trackio": []}

    class SummaryWriter:
        def __init__(self, folder):
            calls["tensorboard"].append(("open", folder))

        def add_text(self, name, text):
            calls["tensorboard"].append((name, text))

        def add_scalar(self, name, value, step):
            calls["tensorboard"].append((name, value, step))

        def close(self):
            calls["tensorboard"].append("close")

    def recorder(name):
        run = types.SimpleNamespace(
            log=lambda numbers, step: calls[name].append((step, numbers)), finish=lambda: calls[name].append("close")
        )
        init = lambda **options: calls[name].append(options) or run  # noqa: E731
        return types.SimpleNamespace(init=init, log=run.log, finish=run.finish)

    board = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    for name in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, recorder(name))
    return calls


def test_the_mirrors_show_what_metrics_jsonl_holds(recorders, tiny, tmp_path):
    train(tiny(steps=12), tmp_path / "run", execution=replace(CPU, log=("tensorboard", "wandb", "trackio")))
    truth = {line["step"]: line["loss"] for line in lines(tmp_path / "run")}
    assert {e[2]: e[1] for e in recorders["tensorboard"] if e[0] == "loss"} == truth
    for name in ("wandb", "trackio"):
        options, *logged = recorders[name]
        assert (options["project"], options["name"], options["resume"]) == ("adana", "run", "allow")
        assert options["config"]["optimizer"] == "adana"
        assert {step: numbers["loss"] for step, numbers in logged[:-1]} == truth
    assert all(calls[-1] == "close" for calls in recorders.values())


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_mirror_that_is_not_installed_says_what_to_install(name, monkeypatch, tmp_path):
    for module in ("torch.utils.tensorboard", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"--log {name} needs a package .*pip install 'adana\[log\]'"):
        Mirrors((name,), tmp_path, {})


def test_no_mirror_is_imported_unless_asked_for(tiny, tmp_path, monkeypatch):
    for module in ("torch.utils.tensorboard", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, module, None)
    train(tiny(steps=12), tmp_path, execution=CPU)


def test_lines_of_steps_to_be_done_again_and_half_a_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 8)) + '{"step": 8, "lo')
    file = JSONLines(path, 5)
    file.write({"step": 6, "new": True})
    file.close()
    assert [json.loads(line) for line in path.read_text().splitlines()][-2:] == [{"step": 5}, {"step": 6, "new": True}]


def test_evaluations_and_checkpoints_are_no_part_of_the_speed(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("adana.train.metrics.time.perf_counter", lambda: now[0])
    speed = Speed(1000)
    now[0] = 1.0
    with speed.paused():
        now[0] = 9.0
    now[0] = 10.0
    assert speed(3000) == 1000.0


def test_utilisation_counts_every_matrix_and_the_attention():
    config, seq_len = EnokiConfig(heads=6), 2048
    by_hand = 6 * (12 * 384**2 * 4 + 384 * 50304) + 12 * 4 * 384 * seq_len
    assert training_flops_per_token(config, seq_len) == by_hand


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("Tesla T4", None),
    ],
)
def test_the_peak_is_that_of_the_device_or_not_known(name, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak(torch.device("cuda")) == expected
    assert peak(torch.device("cpu")) is None
