"""A run that goes on: past 2^24 steps, past its horizon, above its peak. None of it ends a run."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

import adana
from adana.catalog import OMEGA
from tests.optim.cases import PLAIN, PLAIN_IDS, STORED, STORED_IDS, T, build
from tests.optim.tensors import MATRIX_RULES, assert_same, clones, parameters, set_gradients, train

FAR = 2**24
family = pytest.mark.parametrize(("name", "options"), STORED, ids=STORED_IDS)
DECAYING = [(case, id_) for case, id_ in zip(PLAIN, PLAIN_IDS) if case[0] != "dana"]
decaying = pytest.mark.parametrize(("name", "options"), [c for c, _ in DECAYING], ids=[i for _, i in DECAYING])
WAYS: dict[str, dict[str, Any]] = {
    "loop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "capturable": {"capturable": True, "foreach": False, "fused": False},
    "capturable foreach": {"capturable": True, "foreach": True},
}


def far_on(optimizer: Any, params: list[Any], step: int) -> None:
    train(optimizer, params, range(1))
    for p in params:
        optimizer.state[p]["step"].fill_(step)


@pytest.mark.filterwarnings("ignore:update .* is beyond total_steps")
@pytest.mark.parametrize("way", WAYS)
@family
def test_steps_count_on_past_2_to_the_24(name, options, way):
    if name in MATRIX_RULES and "fused" in way:
        return
    params = parameters(name)
    optimizer = build(name, params, **WAYS[way], **options)
    far_on(optimizer, params, FAR - 2)
    train(optimizer, params, range(1, 6))
    assert {int(optimizer.state[p]["step"]) for p in params} == {FAR + 3}


@pytest.mark.filterwarnings("ignore:update .* is beyond total_steps")
@pytest.mark.slow
def test_compiled_steps_count_on_past_2_to_the_24():
    params = parameters("adana")[2:4]
    optimizer = build("adana", params, total_steps=T)
    far_on(optimizer, params, FAR - 1)
    compiled = torch.compile(optimizer.step, backend="eager")
    for step in range(3):
        set_gradients(params, step)
        compiled()
    assert {int(optimizer.state[p]["step"]) for p in params} == {FAR + 2}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("start", [20_000, FAR, 2**31 + 5], ids=["20,000", "2^24", "2^31"])
def test_rounding_bits_of_late_steps_differ_so_that_the_mean_is_right(way, start):
    """Forty updates, each a fortieth of a spacing, move the weights on average as far as float32 would."""
    p = torch.nn.Parameter(torch.ones(20_000, dtype=torch.bfloat16))
    optimizer = adana.AdamW([p], lr=1e-4, weight_decay=0.0, rounding_seed=0, **WAYS[way])
    p.grad = torch.ones_like(p)
    optimizer.step()
    p.data.fill_(1.0)
    state = optimizer.state[p]
    state["step"].fill_(start)
    for _ in range(40):
        for key in ("exp_avg", "exp_avg_sq"):
            state[key].fill_(1.0)
        p.grad = torch.ones_like(p)
        optimizer.step()
    moved = 1 - p.detach().float()
    assert moved.mean() == pytest.approx(40 * 1e-4, rel=0.05)
    assert len(moved.unique()) > 3, "with the same bits at every step a weight moves always or never"


# --- the horizon ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [way for way in WAYS if "capturable" not in way])
@decaying
def test_the_clock_passing_total_steps_is_said_once(name, options, way):
    if name in MATRIX_RULES and way == "fused":
        return
    params = parameters(name)
    optimizer = build(name, params, **WAYS[way], **{**options, "total_steps": 41})
    far_on(optimizer, params, 39)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(optimizer, params, range(2))
    with pytest.warns(UserWarning, match=r"update 42 is beyond total_steps=41.*set_horizon\(total_steps\)") as caught:
        train(optimizer, params, range(2, 5))
    assert len(caught) == 1


@pytest.mark.parametrize(
    "options", [{"weight_decay": 0.0}, {"weight_decay_offset": 5.0}], ids=["no decay", "a given offset"]
)
def test_a_horizon_that_nothing_depends_on_may_be_passed(options):
    params = parameters("adana")
    optimizer = build("adana", params, total_steps=10, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(optimizer, params, range(15))


def test_a_cooldown_depends_on_the_horizon():
    params = parameters("adana")
    optimizer = build("adana", params, total_steps=10, weight_decay=0.0, cooldown=0.5)
    with pytest.warns(UserWarning, match="beyond total_steps=10"):
        train(optimizer, params, range(11))


@decaying
def test_set_horizon_is_what_the_longer_run_would_have_from_there_on(name, options):
    params = parameters(name, torch.float64)
    optimizer = build(name, params, **options)
    train(optimizer, params, range(3))
    twins = clones(params)
    longer = build(name, twins, **{**options, "total_steps": 10 * T})
    with pytest.warns(UserWarning, match="total_steps=60"):
        longer.load_state_dict(optimizer.state_dict())
    for group in longer.param_groups:
        group["total_steps"] = 10 * T
    optimizer.set_horizon(10 * T)
    train(optimizer, params, range(3, 6))
    train(longer, twins, range(3, 6))
    assert_same(params, twins)
    kind = {"kind": "hidden"} if name in MATRIX_RULES else {}
    optimizer.add_param_group({"params": parameters(name), **kind})
    assert {group["total_steps"] for group in optimizer.param_groups} == {10 * T}


def test_set_horizon_silences_the_clock_until_the_new_horizon():
    params = parameters("adana")
    optimizer = build("adana", params, total_steps=41)
    far_on(optimizer, params, 41)
    with pytest.warns(UserWarning, match="beyond total_steps=41"):
        train(optimizer, params, range(1))
    optimizer.set_horizon(43)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(optimizer, params, range(1))
    with pytest.warns(UserWarning, match="update 44 is beyond total_steps=43"):
        train(optimizer, params, range(1))


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "100", None])
def test_a_bad_horizon_is_refused_and_changes_nothing(bad):
    optimizer = build("adana", parameters("adana"), total_steps=T)
    with pytest.raises(ValueError, match="total_steps must be a finite number above 0"):
        optimizer.set_horizon(bad)
    assert optimizer.param_groups[0]["total_steps"] == T


def test_a_horizon_that_one_groups_schedules_cannot_have_changes_none():
    params = parameters("ademamix")
    optimizer = adana.AdEMAMix([{"params": params[:2], "delta": 2.0}, {"params": params[2:]}], lr=0.02, total_steps=T)
    with pytest.raises(ValueError, match="above delta"):
        optimizer.set_horizon(5)
    assert [group["total_steps"] for group in optimizer.param_groups] == [T, T]


# --- the peak -------------------------------------------------------------------------------------------


def lightning_swa(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        group["initial_lr"] = 0.01
        group["lr"] = 0.05


def learning_rate_finder(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] = 1e-8


def swa(optimizer: Any) -> None:
    SWALR(optimizer, swa_lr=0.1, anneal_epochs=1).step()


def cyclic(optimizer: Any) -> None:
    lr_scheduler.CyclicLR(optimizer, 0.001, 0.02, cycle_momentum=False)


@pytest.mark.parametrize("change", [lightning_swa, learning_rate_finder, swa, cyclic])
@pytest.mark.parametrize("when", [0, 3], ids=["at the first step", "in mid-run"])
@decaying
def test_an_unclear_peak_is_said_once_and_ends_no_run(name, options, change, when):
    params = parameters(name)
    optimizer = build(name, params, **options)
    train(optimizer, params, range(when))
    change(optimizer)
    with pytest.warns(UserWarning, match=r"peak learning rate is unclear.*peak_lr=0\.02: pass peak_lr") as caught:
        train(optimizer, params, range(when, when + 3))
    assert len([each for each in caught if "peak" in str(each.message)]) == 1


@pytest.mark.filterwarnings("ignore:the peak learning rate is unclear")
@pytest.mark.parametrize("way", WAYS)
def test_a_rate_above_the_peak_scales_the_update_and_leaves_the_decay_at_its_full_strength(way):
    """Without a gradient's direction only the decay acts: gamma(t) is capped at 1."""
    p = torch.nn.Parameter(torch.ones(5, 1, dtype=torch.float64))
    lr = torch.tensor(0.02, dtype=torch.float64) if "capturable" in way else 0.02
    optimizer = adana.ADana([p], lr=lr, total_steps=T, **WAYS[way])
    optimizer.param_groups[0]["lr"] = 5 * lr
    p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.full_like(p, 1 - OMEGA / (T / 10)).detach())


# --- gradients that never come --------------------------------------------------------------------------


@family
def test_an_optimizer_whose_parameters_never_have_a_gradient_says_so_once(name, options):
    params = parameters(name)
    optimizer = build(name, params, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()  # one may be meant: to quiet a scheduler, for one
    said = f"no parameter of this {type(optimizer).__name__} has had a gradient"
    with pytest.warns(UserWarning, match=said):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()


def test_a_step_without_gradients_after_others_is_nothing_to_talk_about():
    params = parameters("adana")
    optimizer = build("adana", params, total_steps=T)
    train(optimizer, params, range(1))
    optimizer.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            optimizer.step()
