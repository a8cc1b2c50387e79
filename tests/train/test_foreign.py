"""Somebody else's optimizer: torch's, one from a file of the user's, one that a package offers."""

from __future__ import annotations

import importlib
import json
import linecache
import sys
from dataclasses import replace
from importlib import metadata

import pytest

from adana import catalog, foreign
from adana.cli import main
from adana.lab.cells import at, cells, race_start, start_of
from adana.lab.race_search import RUNS, search
from adana.models.enoki import Enoki
from adana.scaling import plan
from adana.scaling.plans import recipe_fields
from adana.scaling.reading import read_runs
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Recipe
from adana.train.run import Interrupted, read_result, train
from tests.train.tools import CPU, lines, losses, stop_after

NADAM = "torch.optim:NAdam"
LION = '''
import torch


class Lion(torch.optim.Optimizer):
    """Sign of a mix of momentum and gradient; what it keeps beside tensors must survive a stop as well."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        if lr > 1:
            raise ValueError(f"a rate of {lr} is too high")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "calls": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["calls"] += 1
            shrink = 1 / group["calls"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["exp_avg"], state["seen"], state["about"] = torch.zeros_like(p), 0, {"pair": (1, 2.5)}
                state["seen"] += 1
                beta1, beta2 = group["betas"]
                p.mul_(1 - group["lr"] * group["weight_decay"])
                mixed = state["exp_avg"] * beta1 + p.grad * (1 - beta1)
                p.add_(torch.sign(mixed), alpha=-group["lr"] * (1 + shrink) * (1 + 1 / state["seen"]))
                state["exp_avg"].mul_(beta2).add_(p.grad, alpha=1 - beta2)


def matrices_only(params, lr, momentum=0.9):
    groups = list(params)
    if any(p.ndim != 2 for group in groups for p in group["params"]):
        raise AssertionError("only matrices")
    return torch.optim.SGD(groups, lr=lr, momentum=momentum)


def nothing(params, lr=1.0):
    return list(params)


class Late(torch.optim.SGD):
    def step(self, closure=None):
        raise RuntimeError("call train() first")


class Keeps(torch.optim.SGD):
    def state_dict(self):
        return {**super().state_dict(), "more": object()}


number = 3
'''


@pytest.fixture
def lion(tmp_path, monkeypatch):
    """A module in the folder that one works in, which is not on the path."""
    (tmp_path / "mine_of_a_test.py").write_text(LION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != ""])
    for cached in (foreign.load, foreign._entry):
        cached.cache_clear()
    yield "mine_of_a_test:Lion"
    sys.modules.pop("mine_of_a_test", None)
    foreign.load.cache_clear()


def foreign_recipe(tiny, name, **changes):
    return replace(tiny("adana"), optimizer=name, options={}, **changes)


def stopped_and_resumed(recipe, tmp_path):
    whole = train(recipe, tmp_path / "whole", execution=CPU)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut", execution=CPU, should_stop=stop_after(7))
    resumed = train(recipe, tmp_path / "cut", execution=CPU)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert resumed.final_loss == whole.final_loss


@pytest.mark.parametrize("name", [NADAM, "torch.optim:SGD", "torch.optim:Adafactor", "torch.optim:AdamW"])
@pytest.mark.slow
def test_an_optimizer_of_torch_is_trained_and_resumed_bit_for_bit(name, tiny, tmp_path):
    stopped_and_resumed(foreign_recipe(tiny, name), tmp_path)


@pytest.mark.slow
def test_an_optimizer_from_a_file_of_the_user_is_trained_and_resumed_bit_for_bit(lion, tiny, tmp_path):
    stopped_and_resumed(foreign_recipe(tiny, lion, lr=1e-3), tmp_path)
    about = json.loads((tmp_path / "cut" / "run.json").read_text())["optimizer_code"]
    assert about["package"] is None
    assert len(about["sha256"]) == 64


@pytest.mark.parametrize("name", ["Lion", "StableAdamW", "Tiger"])
def test_an_optimizer_of_pytorch_optimizer_is_trained_and_resumed_bit_for_bit(name, tiny, tmp_path):
    pytest.importorskip("pytorch_optimizer")
    stopped_and_resumed(foreign_recipe(tiny, f"pytorch_optimizer:{name}", lr=1e-3), tmp_path)


def test_an_optimizer_of_torch_takes_the_steps_that_torch_takes(tiny, text_file):
    """Its weight decay lies on hidden matrices and the head, in its own unit, and is its own default if not given."""
    model = Enoki(tiny().model_config(), seed=0)
    usual = build_optimizer("torch.optim:AdamW", model, lr=1e-3, options={})
    assert {group["weight_decay"] for group in usual.param_groups} == {0.0, 0.01}
    given = build_optimizer("torch.optim:AdamW", model, lr=1e-3, options={"weight_decay": 0.3, "betas": [0.8, 0.9]})
    decayed = {id(p) for group in given.param_groups if group["weight_decay"] == 0.3 for p in group["params"]}
    for name, p in model.named_parameters():
        assert (id(p) in decayed) == (p.ndim == 2 and "embedding" not in name), name
    assert {group["betas"] for group in given.param_groups} == {(0.8, 0.9)}


def test_the_code_and_the_version_of_somebody_elses_optimizer_are_noted(tiny, tmp_path):
    train(foreign_recipe(tiny, NADAM, steps=4), tmp_path, execution=CPU)
    about = json.loads((tmp_path / "run.json").read_text())["optimizer_code"]
    assert about == foreign.code_of(NADAM)
    assert (about["package"], about["version"]) == ("torch", metadata.version("torch"))
    last = lines(tmp_path)[-1]
    assert (last["lambda"], last["alpha"], last["beta"]) == (None, None, None)
    train(tiny("dana", steps=4), tmp_path.with_name("own"), execution=CPU)
    assert "optimizer_code" not in json.loads((tmp_path.with_name("own") / "run.json").read_text())


def test_a_run_is_not_resumed_with_other_code(lion, tiny, tmp_path):
    recipe = foreign_recipe(tiny, lion, lr=1e-3)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "run", execution=CPU, should_stop=stop_after(7))
    file = tmp_path / "mine_of_a_test.py"
    file.write_text(LION.replace("1 + shrink", "2 + shrink"))
    sys.modules.pop("mine_of_a_test")
    importlib.invalidate_caches()
    foreign.load.cache_clear()
    linecache.checkcache()
    with pytest.raises(
        ValueError, match=r"run was begun with other code of mine_of_a_test:Lion .*choose another folder"
    ):
        train(recipe, tmp_path / "run", execution=CPU)
    assert read_result(tmp_path / "run") is None


def test_diagnostics_of_somebody_elses_optimizer_are_the_momentum_norm(tiny, tmp_path):
    train(foreign_recipe(tiny, NADAM, steps=8), tmp_path, execution=replace(CPU, diagnostics_every=4))
    found = [json.loads(line) for line in (tmp_path / "diagnostics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in found] == [4, 8]
    assert found[-1]["hidden"].keys() == {"momentum_norm"}
    assert found[-1]["hidden"]["momentum_norm"] > 0


def test_what_a_checkpoint_cannot_hold_is_said(lion, tiny, tmp_path):
    with pytest.raises(ValueError, match=r"mine_of_a_test:Keeps keeps a object in its state dict \(more\)"):
        train(foreign_recipe(tiny, "mine_of_a_test:Keeps", steps=4), tmp_path / "run", execution=CPU)


REFUSED = [
    ("nowhere_at_all:Lion", [], "nowhere_at_all cannot be imported: No module named 'nowhere_at_all'"),
    ("torch.optim:Lionn", [], "torch.optim has no Lionn"),
    ("torch.nn:Linear", [], "is no torch.optim.Optimizer, and no function that makes one"),
    ("torch.optim:Optimizer", [], "is the base class of optimizers"),
    ("mine_of_a_test:number", [], "is no torch.optim.Optimizer, and no function that makes one"),
    ("mine_of_a_test:nothing", [], "mine_of_a_test:nothing is no optimizer: it made a list"),
    ("mine_of_a_test:matrices_only", [], "mine_of_a_test:matrices_only refuses lr=0.001 and no options: only matrices"),
    ("mine_of_a_test:Late", [], "mine_of_a_test:Late cannot take a step: call train() first"),
    (
        "mine_of_a_test:Lion",
        ["--lr", "2"],
        "mine_of_a_test:Lion refuses lr=2 and no options: a rate of 2.0 is too high",
    ),
    (NADAM, ["--set", "kappa=0.8"], "no option 'kappa': choose from betas, eps, weight_decay, momentum_decay"),
    (NADAM, ["--set", "betas=1"], "torch.optim:NAdam refuses lr=0.001 and {'betas': 1}"),
    ("torch.optim:", [], "write package.module:Class"),
    ("lion", [], "unknown optimizer 'lion': choose from adamw"),
]


@pytest.mark.parametrize(("name", "more", "message"), REFUSED, ids=[f"{row[0]} {row[2][:20]}" for row in REFUSED])
def test_what_is_no_optimizer_or_refuses_an_option_is_one_line(name, more, message, lion, text_file, tmp_path, capsys):
    sizes = ["--heads", "1", "--layers", "1", "--seq-len", "32", "--batch-size", "2", "--steps", "6", "--device", "cpu"]
    command = ["train", "small", "--optimizer", name, "--lr", "1e-3", "--text", str(text_file), *sizes]
    assert main([*command, *more, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_somebody_elses_optimizer_is_swept_over_what_its_signature_has(lion):
    grids = {"weight_decay": (0.0, 0.1), "beta2": (0.9, 0.99), "momentum_decay": (0.004,), "kappa": (0.8,)}
    found = cells(Recipe(steps=100), optimizers=["adana", NADAM], heads=[2], grids=grids)
    theirs = [cell.options for cell in found if cell.optimizer == NADAM]
    assert theirs == [
        {"weight_decay": decay, "betas": (0.9, beta2), "momentum_decay": 0.004}
        for decay in (0.0, 0.1)
        for beta2 in (0.9, 0.99)
    ]
    assert all("momentum_decay" not in cell.options for cell in found if cell.optimizer == "adana")
    assert at(found[-1], 0.01, 3).options == found[-1].options
    assert start_of(found[-1]) == race_start(NADAM) == 2.0**-9, "the power of two nearest its own default, 2e-3"
    with pytest.raises(ValueError, match="takes clip_snr"):
        cells(Recipe(), optimizers=[NADAM], heads=[2], grids={"clip_snr": (1.0,)})


@pytest.mark.parametrize(("name", "decays"), [(NADAM, {0.0, 0.05, 0.1}), ("torch.optim:AdamW", {0.01, 0.02, 0.04})])
def test_somebody_elses_optimizer_is_searched_by_the_same_rule_and_budget(name, decays):
    ran = []

    def loss(recipe):
        ran.append(recipe)
        return abs(recipe.lr - 0.005) - recipe.options["weight_decay"]

    best = search(Recipe(name, race_start(name), seed=100), lambda recipes: [loss(recipe) for recipe in recipes])
    assert len(ran) <= RUNS
    assert decays <= {recipe.options["weight_decay"] for recipe in ran}
    assert min(recipe.options["weight_decay"] for recipe in ran) >= 0
    assert best.seeds == 3


def test_an_own_law_plans_somebody_elses_optimizer_with_its_memory(lion):
    found = plan(6, NADAM, lr=1e-3)
    assert found.state_bytes["float32"] == 8 * found.model_parameters
    assert (found.weight_decay, found.kappa, found.damping_scale) == (None, None, None)
    assert found.equations["weight_decay"] == "in its own unit, among its options"
    assert recipe_fields(found)["options"] == {}
    assert plan(6, lion, lr=1e-3).state_bytes["float32"] == 4 * found.model_parameters


class _Offered:
    name, value = "lion-of-a-test", "mine_of_a_test:Lion"


def test_a_name_that_a_package_offers_is_an_optimizer(lion, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: [_Offered] if group == foreign.GROUP else [])
    assert catalog.find(_Offered.name).foreign
    train(foreign_recipe(tiny, _Offered.name, lr=1e-3, steps=6), tmp_path / "run", execution=CPU)
    with pytest.raises(ValueError, match=r"choose from adamw.*lion-of-a-test"):
        catalog.find("lion")


def test_a_recipe_file_alone_does_not_import_what_it_names(text_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted_module.py").write_text("open('ran', 'w').close()\n")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"optimizer": "planted_module:Lion", "lr": 1e-3, "text": [str(text_file)]}))
    assert main(["train", str(recipe), "--dry-run"]) == 2
    assert "write --optimizer planted_module:Lion to allow it" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert main(["train", str(recipe), "--optimizer", "planted_module:Lion", "--dry-run"]) == 2
    assert (tmp_path / "ran").exists(), "who types the name asks for its code"


def test_grids_of_somebody_elses_options_are_read_from_the_command_line(tmp_path, monkeypatch, capsys):
    from adana.cli.sweep import _cells, _parse

    command = [
        "small",
        "--optimizers",
        "adamw-dw",
        NADAM,
        "--beta2",
        "0.9",
        "0.99",
        "--grid",
        "momentum_decay=0.002,0.004",
    ]
    _, found = _cells(_parse(command))
    theirs = [cell.options["momentum_decay"] for cell in found if cell.optimizer == NADAM]
    assert (len(found), theirs) == (6, [0.002, 0.004, 0.002, 0.004])
    monkeypatch.chdir(tmp_path)
    for grid, message in (("momentum_decay", "write NAME=VALUE,VALUE"), ("speed=1,2", "takes speed")):
        assert main(["sweep", "small", "--optimizers", NADAM, "--grid", grid]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_finished_runs_are_fitted_and_reported_without_importing_their_code(lion, tiny, tmp_path, capsys):
    for seed in (0, 1):
        train(foreign_recipe(tiny, lion, lr=1e-3, seed=seed, steps=6), tmp_path / "runs" / str(seed), execution=CPU)
    (tmp_path / "mine_of_a_test.py").write_text("raise RuntimeError('imported')")
    sys.modules.pop("mine_of_a_test")
    foreign.load.cache_clear()
    (run, other) = read_runs([tmp_path / "runs" / "0", tmp_path / "runs" / "1"])
    assert run.optimizer == other.optimizer == lion
    assert main(["report", str(tmp_path / "runs"), "-o", str(tmp_path / "page.html")]) == 0
    assert lion in (tmp_path / "page.html").read_text()
    assert "mine_of_a_test" not in sys.modules
