"""Command lines made of optimizer classes, as LightningCLI's."""

from __future__ import annotations

import pytest
import torch

import adana
from adana.optim.base import FamilyOptimizer


def _below(kind):
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def test_no_class_of_ours_is_found_by_a_name_that_torch_has():
    _ = adana.ADana, adana.Muon
    ours = {kind.__name__ for kind in _below(FamilyOptimizer)}
    assert {"ADana", "DanaStarMK4", "LogMuon", "LogAdamW"} <= ours
    assert not {name for name in ours if hasattr(torch.optim, name)}


@pytest.mark.parametrize(
    ("name", "module"),
    [("AdamW", "torch.optim"), ("Muon", "torch.optim"), ("ADana", "adana"), ("adana.AdamW", "adana")],
)
def test_a_short_name_means_what_it_meant_before_adana_was_imported(name, module):
    jsonargparse = pytest.importorskip("jsonargparse")
    if not hasattr(torch.optim, name.rpartition(".")[2]) and name == "Muon":
        pytest.skip("torch has no Muon yet")
    _ = adana.ADana, adana.Muon
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(torch.optim.Optimizer, "optimizer", skip={"params"})
    path = parser.parse_args([f"--optimizer={name}", "--optimizer.lr=1e-3"]).optimizer.class_path
    assert path.startswith(module), path
