"""A ladder reaches its end whoever climbs it: with a kappa that is not the default, and with another's optimizer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adana import foreign
from adana.lab.ladder import climb
from adana.train.recipe import read_recipe
from tests.lab.pretend import LOSS, LR, Pretend
from tests.lab.test_ladder import LADDER

NAMES = ("ademamix-dw", "dana", "log-muon", "torch.optim:NAdam")


@pytest.mark.slow
def test_a_ladder_with_another_kappa_ends_with_a_plan_of_everybody(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.setitem(LR, name, LR["adana"])
        monkeypatch.setitem(LOSS, name, LOSS["adana"])
    grids = {"kappa": (0.75,), "weight_decay": (1.0, 4.0)}
    ladder = replace(LADDER, optimizers=NAMES, heads=(1, 2, 3), tune=2, predict=4, grids=grids, seeds=(0,))
    result = climb(ladder, Pretend(tmp_path / "runs"), tmp_path, command="adana ladder")
    kappas = {check["optimizer"]: check["kappa"] for check in result["checks"]}
    assert kappas == {"ademamix-dw": 0.75, "dana": 0.75, "log-muon": 0.75, "torch.optim:NAdam": None}
    for check in result["checks"]:
        assert check["predicted_loss"] == pytest.approx(check["measured_loss"], abs=0.02)
    foreign.allow("torch.optim:NAdam")
    recipes = {name: read_recipe(tmp_path / f"recipe-{name.replace(':', '.')}.json") for name in NAMES}
    assert recipes["ademamix-dw"].options == {"kappa": 0.75, "weight_decay": 4.0}
    assert recipes["torch.optim:NAdam"].options == {"weight_decay": 4.0}, "in its own unit, as its runs had it"
    assert "weight_decay" not in recipes["dana"].options
