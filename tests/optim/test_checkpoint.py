"""A checkpoint holds the whole optimizer: resuming changes nothing, whatever the new one was built with."""

from __future__ import annotations

import inspect
import io
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

import adana
from adana.catalog import OMEGA
from tests.optim.cases import CASES, CLASSES, IDS, PLAIN, PLAIN_IDS, STORED, STORED_IDS, T, build
from tests.optim.tensors import (
    MATRIX_RULES,
    assert_agree,
    assert_same,
    clones,
    parameters,
    set_gradients,
    state_of,
    train,
)

PEAK = 0.02
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
family = pytest.mark.parametrize(("name", "options"), STORED, ids=STORED_IDS)
# As far from any case as each class allows, down to the dtype of the state and where the step lives.
OTHER: dict[str, Any] = {
    "total_steps": 500,
    "kappa": 0.3,
    "delta": 3.0,
    "eps": 0.1,
    "weight_decay": 1.5,
    "weight_decay_offset": 77.0,
    "decay": "constant",
    "damping_scale": 7.0,
    "clip_snr": 9.0,
    "betas": (0.5, 0.6),
    "beta2": 0.31,
    "beta3": 0.41,
    "momentum": 0.2,
    "ns_steps": 1,
    "rms": 1.0,
    "peak_lr": 0.5,
    "state_dtype": torch.bfloat16,
    "param_rounding": "kahan",
    "rounding_seed": 5,
    "foreach": True,
    "maximize": True,
    "capturable": True,
}


def built_otherwise(name: str, params: list[Any]) -> Any:
    takes = inspect.signature(CLASSES[name]).parameters
    options = {key: value for key, value in OTHER.items() if key in takes}
    if "form" in takes and "beta2" not in takes:  # the released code has no beta2
        options["form"] = "released"
    return build(name, params, lr=0.9, **options)


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def sometimes(params: Any, step: int) -> None:
    """The first parameter misses every third gradient, so that clocks differ."""
    set_gradients(params, step)
    if step % 3 == 1:
        params[0].grad = None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@every_case
def test_resume_continues_bit_for_bit(name, options, dtype):
    params = parameters(name, dtype)
    optimizer = build(name, params, **options)
    train(optimizer, params, range(4), sometimes)
    saved = through_a_file(optimizer.state_dict())
    resumed_params = clones(params)
    resumed = built_otherwise(name, resumed_params)
    resumed.load_state_dict(saved)
    for p, q in zip(params, resumed_params):
        assert_same(resumed.state[q].values(), optimizer.state[p].values())
    for each in (optimizer, resumed):
        each.param_groups[0]["lr"] = 0.013
    train(optimizer, params, range(4, 9), sometimes)
    train(resumed, resumed_params, range(4, 9), sometimes)
    assert_same(resumed_params, params)
    for p, q in zip(params, resumed_params):
        assert_same(resumed.state[q].values(), optimizer.state[p].values())


@family
@pytest.mark.parametrize(
    ("dtype", "state_dtype", "expected"),
    [
        (torch.bfloat16, None, torch.float32),
        (torch.float16, None, torch.float32),
        (torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.float64, torch.float64),
        (torch.float64, torch.float32, torch.float32),
    ],
)
def test_loading_keeps_the_dtype_of_the_state(name, options, dtype, state_dtype, expected):
    params = parameters(name, dtype)
    optimizer = build(name, params, state_dtype=state_dtype, **options)
    train(optimizer, params, range(2))
    resumed_params = clones(params)
    resumed = build(name, resumed_params, **options)
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    train(resumed, resumed_params, range(2, 4))
    for p in resumed_params:
        kept = {key: value.dtype for key, value in resumed.state[p].items()}
        assert kept.pop("step") == torch.int64
        if "tau_dtype" in options:
            assert kept.pop("tau") == torch.float16
        assert set(kept.values()) == {expected}


@family
def test_loading_shares_no_memory_with_what_was_loaded(name, options):
    params = parameters(name)
    optimizer = build(name, params, **options)
    train(optimizer, params, range(2))
    before = state_of(optimizer, params)
    resumed_params = clones(params)
    resumed = build(name, resumed_params, **options)
    resumed.load_state_dict(optimizer.state_dict())
    train(resumed, resumed_params, range(2, 4))
    for p, state in zip(params, before):
        assert_same(optimizer.state[p].values(), state.values())


@family
def test_a_new_group_after_loading_uses_the_defaults_of_the_new_optimizer(name, options):
    """torch keeps them apart: the saved groups are the checkpoint's, what is added is the constructor's."""
    params = parameters(name)
    optimizer = build(name, params, **options)
    resumed = built_otherwise(name, clones(params))
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    kind = {"kind": "hidden"} if name in MATRIX_RULES else {}
    resumed.add_param_group({"params": parameters(name, seed=1), **kind})
    assert [group["lr"] for group in resumed.param_groups] == [PEAK, 0.9]
    assert [group["lr_when_added"] for group in resumed.param_groups] == [PEAK, 0.9]


@pytest.mark.parametrize("seen_as", ["changed in place", "returned"])
def test_hooks_of_the_user_keep_their_say(seen_as):
    params = parameters("adana", torch.bfloat16)
    optimizer = build("adana", params, total_steps=T)
    train(optimizer, params, range(2))
    twins = clones(params)
    resumed = build("adana", twins, total_steps=T)
    after = []

    def double(_: Any, state_dict: Any) -> Any:
        state = {key: {**value, "exp_avg": 2 * value["exp_avg"]} for key, value in state_dict["state"].items()}
        if seen_as == "returned":
            return {**state_dict, "state": state}
        state_dict["state"] = state
        return None

    resumed.register_load_state_dict_pre_hook(double)
    resumed.register_load_state_dict_post_hook(lambda o: after.append(o.state[twins[0]]["exp_avg"].dtype))
    resumed.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(optimizer.state_dict())
    for p, q in zip(params, twins):
        assert_same([resumed.state[q]["exp_avg"]], [2 * optimizer.state[p]["exp_avg"]])
    assert after == [torch.float32, torch.float32], "a post hook sees the state as it will be used"


def test_a_state_dict_of_the_wrong_size_is_refused_and_changes_nothing():
    params = parameters("adana")
    optimizer = build("adana", params, total_steps=T)
    train(optimizer, params, range(2))
    before = state_of(optimizer, params)
    with pytest.raises(ValueError, match="group"):
        optimizer.load_state_dict(build("adana", params[:2], total_steps=T).state_dict())
    for p, state in zip(params, before):
        assert_same(optimizer.state[p].values(), state.values())
    train(optimizer, params, range(2, 3))


@family
@pytest.mark.parametrize("kind", ["OneCycleLR", "CosineAnnealingLR"])
def test_resume_with_its_scheduler_continues_bit_for_bit(name, options, kind):
    def scheduler_of(optimizer: Any) -> Any:
        if kind == "OneCycleLR":
            return lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=12, cycle_momentum=False)
        return lr_scheduler.CosineAnnealingLR(optimizer, 10)

    def steps(optimizer: Any, scheduler: Any, params: list[Any], which: range) -> None:
        for step in which:
            set_gradients(params, step)
            optimizer.step()
            scheduler.step()

    params = parameters(name, torch.bfloat16)
    optimizer = build(name, params, **options)
    scheduler = scheduler_of(optimizer)
    steps(optimizer, scheduler, params, range(5))
    saved = through_a_file({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()})
    twins = clones(params)
    resumed = built_otherwise(name, twins)
    resumed_scheduler = scheduler_of(resumed)
    resumed_scheduler.load_state_dict(saved["scheduler"])
    resumed.load_state_dict(saved["optimizer"])
    steps(optimizer, scheduler, params, range(5, 10))
    steps(resumed, resumed_scheduler, twins, range(5, 10))
    assert_same(twins, params)


HORIZON_FREE = [case for case in zip(PLAIN, PLAIN_IDS) if case[0][0] not in ("dana", "ademamix", "amcs")]


@pytest.mark.parametrize(("name", "options"), [c for c, _ in HORIZON_FREE], ids=[i for _, i in HORIZON_FREE])
@pytest.mark.parametrize("decay", ["log", "constant"])
def test_a_longer_run_changes_the_decay_from_that_step_on_and_nothing_else(name, options, decay):
    """Power damping: neither the averages nor the direction know the horizon."""
    released = options.get("form") == "released"
    params = parameters(name, torch.float64)
    optimizer = build(name, params, decay=decay, **options)
    train(optimizer, params, range(6))
    twins = clones(params)
    longer = build(name, twins, decay=decay, **options)
    longer.load_state_dict(optimizer.state_dict())
    longer.param_groups[0]["total_steps"] = 10 * T
    old = clones(params)
    train(optimizer, params, range(6, 7))
    train(longer, twins, range(6, 7))
    t = 7 if released else 6
    before, after = (1 / T, 1 / (10 * T)) if decay == "constant" else (1 / (T / 10 + t), 1 / (T + t))
    before, after = OMEGA * before, OMEGA * after
    for p, q, theta in zip(params, twins, old):
        assert_same(longer.state[q].values(), optimizer.state[p].values())
        # As released, the decay acts on the new parameter.
        expected = p / (1 - before) * (1 - after) if released else p + (before - after) * theta
        assert_agree([q.detach()], [expected.detach()], 1e-13)
        assert not torch.equal(p, q) or not p.numel()


def test_a_longer_run_leaves_the_past_as_it_was():
    """The other way to extend: from the start with the longer horizon, which is another run."""
    params = parameters("adana", torch.float64)
    twins = clones(params)
    extended, always = build("adana", params, total_steps=T), build("adana", twins, total_steps=10 * T)
    for step in range(3):
        set_gradients(params, step)
        set_gradients(twins, step)
        extended.step()
        always.step()
    extended.param_groups[0]["total_steps"] = 10 * T
    assert f"lambda(t) = {OMEGA:g} / (60 + t)" in repr(extended)
    for p, q in zip(params, twins):
        assert_same([extended.state[p]["exp_avg"]], [always.state[q]["exp_avg"]])
        assert not torch.equal(p, q) or not p.numel()


def test_muon_resumes_with_its_fallback_whole():
    params = [*parameters("muon"), *parameters("adana")[:3]]

    def muon(members: list[Any], fallback: Any, **options: Any) -> Any:
        tagged = [{"params": members[:3], "kind": "hidden"}, {"params": members[3:], "kind": "other"}]
        return adana.Muon(tagged, fallback=fallback, **options)

    optimizer = muon(params, adana.ADana, lr=PEAK, total_steps=T, fallback_lr=0.01)
    train(optimizer, params, range(4))
    twins = clones(params)
    resumed = muon(twins, adana.DanaStarMK4, lr=0.5, total_steps=999, fallback_lr=0.7)
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    train(optimizer, params, range(4, 8))
    train(resumed, twins, range(4, 8))
    assert_same(twins, params)
    assert repr(resumed) == repr(optimizer)
