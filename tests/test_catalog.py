"""What the catalogue says of an optimizer is what its torch class and its Optax function do, and all that is needed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from adana import catalog, rules, schedules
from adana.catalog import OPTIMIZERS, REQUIRED, Optimizer, Option, Range, trainable
from adana.lab.cells import at, cells, start_of
from adana.optim.base import FamilyOptimizer
from adana.scaling import plan
from adana.scaling.plans import recipe_fields
from adana.train.optimizers import build_optimizer, optimizer_class
from adana.train.recipe import Recipe
from adana.train.run import Interrupted, train
from tests.train.tools import CPU, lines, losses, stop_after


def signature(function: Callable[..., Any]) -> dict[str, Any]:
    """Keywords with their defaults, without what is no option: parameters and learning rate."""
    found = inspect.signature(function).parameters
    defaults = {name: p.default for name, p in found.items() if name not in ("params", "lr", "learning_rate")}
    return {name: REQUIRED if default is inspect.Parameter.empty else default for name, default in defaults.items()}


def stated(entry: Optimizer) -> dict[str, Any]:
    return {name: option.default for name, option in entry.options.items()}


def beyond(entry: Optimizer, function: Callable[..., Any]) -> dict[str, Any]:
    """What a function takes beside its catalogue's options."""
    return {name: default for name, default in signature(function).items() if name not in entry.options}


@pytest.mark.parametrize("name", trainable())
def test_a_torch_class_has_the_options_and_defaults_of_the_catalogue(name):
    entry, kind = OPTIMIZERS[name], optimizer_class(name)
    assert {key: value for key, value in signature(kind).items() if key in entry.options} == stated(entry)
    assert kind.rule_name == entry.rule
    # What a class has besides is the same in all of them, but for the fallback of a rule that takes matrices alone and
    # how tau is stored where there is one.
    common = beyond(OPTIMIZERS["adana"], optimizer_class("adana"))
    more = {key: value for key, value in beyond(entry, kind).items() if key not in common}
    assert {key: beyond(entry, kind)[key] for key in common} == common
    expected = {"fallback": optimizer_class(entry.fallback), "fallback_lr": None} if entry.fallback else {}
    if "tau" in rules.rule(entry.rule).state(entry.defaults()):
        expected["tau_dtype"] = None
    assert more == expected


def test_every_torch_class_is_in_the_catalogue():
    import adana.optim

    assert set(adana.optim.__all__) == {entry.torch_class for entry in OPTIMIZERS.values() if entry.torch}


def test_every_rule_has_an_optimizer_and_every_optimizer_a_rule_and_a_class():
    assert {name for name, _ in rules.RULES} == {entry.rule for entry in OPTIMIZERS.values() if entry.rule}
    for entry in OPTIMIZERS.values():
        assert entry.rule
        assert entry.torch


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_are_in_their_range(name):
    for key, option in OPTIMIZERS[name].options.items():
        value, wanted = option.default, option.range
        if wanted is None or value is None or value is REQUIRED:
            continue
        if wanted.choices:
            assert value in wanted.choices, key
        else:
            assert all(wanted.holds(x) for x in (value if wanted.pair else (value,))), key


def test_the_lanes_of_the_race_are_the_catalogues():
    assert catalog.BASELINE == "adamw-dw"
    assert catalog.DEFAULT == ("adamw-dw", "adana", "dana-mk4")
    assert len(set(catalog.FULL)) == 9
    assert set(catalog.FULL) <= set(trainable())


# --- a rule of one's own --------------------------------------------------------------------------------


def signum(xp: Any, g: Any, state: dict[str, Any], s: Any) -> tuple[Any, dict[str, Any]]:
    m = (1 - s["weight"]) * state["exp_avg"] + s["weight"] * g
    return xp.sign(m), {"exp_avg": m}


class Signum(FamilyOptimizer):
    """``u = sign(m')``."""

    rule_name = "signum"

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        total_steps: float | None = None,
        beta2: float = 0.9,
        kappa: float = 0.85,
        weight_decay: float = 1.0,
        weight_decay_offset: float | None = None,
        decay: str = "log",
        peak_lr: float | None = None,
        state_dtype: torch.dtype | str | None = None,
        param_rounding: str = "stochastic",
        rounding_seed: int = 0,
        foreach: bool | None = None,
        fused: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {key: value for key, value in locals().items() if key not in ("self", "params", "__class__")}
        super().__init__(params, defaults)


@pytest.fixture
def own_rule(monkeypatch):
    """A rule and its entry, and no line elsewhere."""
    rule = rules.Rule(
        lambda o: ("exp_avg",), lambda t, o: {"weight": 1 - o["beta2"], "momentum": (1 + t) ** (1 - o["kappa"])}, signum
    )
    fraction = Range(least=0.0, below=1.0)
    entry = Optimizer(
        "signum",
        "signum",
        {"beta2": Option(0.9, fraction), "kappa": Option(0.85, Range(least=0.0)), **horizon_and_decay()},
        torch=f"{__name__}:Signum",
        optax="signum",
        grids=("weight_decay", "beta2", "kappa"),
        start=-12,
        lane="full",
    )
    monkeypatch.setitem(rules.RULES, ("signum", "paper"), rule._replace(alpha=lambda s, o, time: s["momentum"]))
    monkeypatch.setitem(OPTIMIZERS, "signum", entry)
    monkeypatch.setitem(
        OPTIMIZERS, "signum-constant", replace(entry, name="signum-constant", fixed={"decay": "constant"})
    )
    return entry


def horizon_and_decay() -> dict[str, Option]:
    names = ("total_steps", "weight_decay", "weight_decay_offset", "decay")
    return {name: OPTIMIZERS["adana"].options[name] for name in names}


def test_a_rule_added_from_a_test_is_trained_resumed_measured_and_diagnosed(own_rule, tiny, tmp_path):
    recipe = tiny("signum", options={"weight_decay": 1.0, "beta2": 0.8})
    train(recipe, tmp_path / "whole", execution=replace(CPU, diagnostics_every=8))
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut", execution=CPU, should_stop=stop_after(7))
    train(recipe, tmp_path / "cut", execution=CPU)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    last = lines(tmp_path / "whole")[-1]
    assert (last["alpha"], last["beta"]) == (pytest.approx(24**0.15), pytest.approx(0.8))
    assert last["lambda"] == pytest.approx(1 / (2.4 + 23))
    assert (tmp_path / "whole" / "diagnostics.jsonl").read_text().count("momentum_norm") == 3 * 4


def test_a_rule_added_from_a_test_is_checked_by_its_own_ranges(own_rule):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"beta2 must be a number in \[0, 1\), got 1.5"):
        build_optimizer("signum", model, lr=1e-3, total_steps=10, options={"beta2": 1.5})
    with pytest.raises(ValueError, match=r"beta2 must be a number in \[0, 1\), got None"):
        build_optimizer("signum", model, lr=1e-3, total_steps=10, options={"beta2": None})
    with pytest.raises(TypeError, match="no option 'beta1'"):
        build_optimizer("signum", model, lr=1e-3, total_steps=10, options={"beta1": 0.5})


def test_a_rule_added_from_a_test_is_swept_with_the_grids_that_it_takes(own_rule):
    grids = {"weight_decay": (1.0, 4.0), "beta2": (0.9, 0.99), "kappa": (0.8,)}
    found = cells(Recipe(steps=100), optimizers=["signum"], heads=[2], grids=grids)
    assert [cell.options for cell in found] == [
        {"weight_decay": omega, "beta2": beta2, "kappa": 0.8} for omega in (1.0, 4.0) for beta2 in (0.9, 0.99)
    ]
    assert start_of(found[0]) == 2.0**-12
    assert "signum" in catalog.grids()["beta2"]
    constant = cells(Recipe(steps=100), optimizers=["signum-constant"], heads=[2], grids={}, paper_decays=True)
    assert at(constant[1], 0.01, 0).options["weight_decay"] == pytest.approx(0.01 * 0.01 * 100), "coupled values"


def test_a_rule_added_from_a_test_is_planned_with_its_memory_and_kappa(own_rule):
    found = plan(6, "signum", lr=1e-3)
    assert found.kappa == 0.85
    assert found.state_bytes["float32"] == 4 * found.model_parameters
    assert found.weight_decay_offset == found.steps / 10
    assert found.warnings == ()
    assert recipe_fields(found)["options"] == {"kappa": 0.85, "weight_decay": 4.0}
    assert plan(6, "signum-constant").weight_decay_offset is None


def test_a_rule_added_from_a_test_has_its_kernel_and_its_fused_step(own_rule):
    from adana.optim.kernels.generate import graphs, source

    assert "signum" in graphs()
    assert "def signum(" in source()
    pytest.importorskip("llvmlite")
    steps = {}
    for how in ("fused", "foreach", "loop"):  # the rule has no foreach kernel: the loop takes its place
        p = torch.nn.Parameter(torch.linspace(-1, 1, 64).reshape(8, 8))
        optimizer = Signum(
            [p], lr=0.01, total_steps=100, weight_decay=1.0, fused=how == "fused", foreach=how == "foreach"
        )
        for step in range(3):
            p.grad = torch.sin(p.detach() + step)
            optimizer.step()
        steps[how] = p.detach().clone()
    torch.testing.assert_close(steps["fused"], steps["loop"])
    assert torch.equal(steps["foreach"], steps["loop"])


def test_a_rule_added_from_a_test_is_simulated(own_rule):
    from adana.theory.plrf import Plrf
    from adana.theory.simulate import Configuration, simulate

    problem = Plrf(1.0, 0.5, v=20, d=6, seed=0)
    done = simulate(problem, [Configuration("signum", 0.003)], total_steps=60)
    assert done.mean_risk[0, -1] < done.mean_risk[0, 0]


def test_a_name_of_the_command_line_is_enough_to_train_it(own_rule, text_file, tmp_path: Path, capsys):
    from adana.cli import main

    sizes = ["--heads", "1", "--layers", "1", "--seq-len", "32", "--batch-size", "2", "--steps", "6", "--device", "cpu"]
    command = ["train", "small", "--optimizer", "signum", "--lr", "1e-3", "--text", str(text_file), *sizes]
    assert main([*command, "--set", "beta2=0.5", "weight_decay=0.5", "--out", str(tmp_path / "run")]) == 0
    assert schedules.decay_formula(weight_decay=0.5, decay="log", total_steps=6) in capsys.readouterr().out
    assert main([*command, "--set", "beta2=2", "--out", str(tmp_path / "none")]) == 2
    assert "beta2 must be a number in [0, 1), got 2" in capsys.readouterr().err
