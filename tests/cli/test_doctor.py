"""``adana doctor`` and ``adana export-optimizer``."""

from __future__ import annotations

import json

import pytest

from adana.cli import main
from adana.single_file import FILES, source

MODEL = """
from torch import nn
def make():
    return nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9))
def fails():
    raise KeyError("no weights")
made = make()
number = 3
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    (tmp_path / "doctor_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)


def test_versions_devices_and_fast_paths_are_listed(capsys):
    assert main(["doctor", "--json"]) == 0
    found = {one["what"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert {"Python", "torch", "device cpu", "fused step on cpu", "foreach step on cpu"} <= set(found)
    assert found["fused step on cpu"]["value"] in ("on", "off")


def test_why_a_fast_path_is_off_is_said(capsys, monkeypatch):
    monkeypatch.setattr("adana.cli.doctor.missing", lambda device: "llvmlite is not installed: pip install it")
    assert main(["doctor", "--json"]) == 0
    found = {one["what"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["fused step on cpu"] == {
        "what": "fused step on cpu",
        "value": "off",
        "note": "llvmlite is not installed: pip install it",
    }


@pytest.mark.parametrize("name", ["make", "made"])
def test_the_groups_of_a_model_are_shown(name, model, capsys):
    assert main(["doctor", f"doctor_model:{name}"]) == 0
    printed = capsys.readouterr().out
    assert "hidden" in printed
    assert "1.weight" in printed
    assert main(["doctor", f"doctor_model:{name}", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert {group["kind"]: group["params"] for group in groups}["hidden"] == [[4, 4]]


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("doctor_model", 2, "package.module:name"),
        ("doctor_model:number", 2, "is a int"),
        ("doctor_model:absent", 2, "absent"),
        ("no_such_module:x", 2, "no_such_module"),
        ("doctor_model:fails", 1, "no weights"),
        ("builtins:list", 2, "made a list"),
    ],
)
def test_what_is_no_model_is_one_line(name, code, said, model, capsys):
    assert main(["doctor", name]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize("name", FILES)
def test_an_optimizer_is_printed_as_its_file(name, capsys):
    assert main(["export-optimizer", name]) == 0
    assert capsys.readouterr().out == source(name)
    assert main(["export-optimizer", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == source(name)


def test_another_optimizer_has_no_file(capsys):
    assert main(["export-optimizer", "muon"]) == 2
    assert "choose from adana, adamw-dw" in capsys.readouterr().err
