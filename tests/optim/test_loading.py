"""What load_state_dict takes, what it refuses and says; a refusal changes nothing."""

from __future__ import annotations

import copy
import pathlib
import warnings
from typing import Any

import pytest
import torch

import adana
from adana.catalog import OMEGA
from tests.optim.cases import CLASSES, PLAIN, PLAIN_IDS, STORED, STORED_IDS, T, build
from tests.optim.tensors import assert_same, clones, parameters, set_gradients, state_of, train

COMMITTED = pathlib.Path(__file__).parent / "checkpoint-0.1.0.pt"
family = pytest.mark.parametrize(("name", "options"), STORED, ids=STORED_IDS)


def trained(name: str, params: list[Any], **options: Any) -> Any:
    optimizer = build(name, params, **{"total_steps": T, **options})
    train(optimizer, params, range(3))
    return optimizer


def named(name: str, params: list[Any], order: list[int], **options: Any) -> Any:
    pairs = [(f"layer.{i}", params[i]) for i in order]
    return build(name, pairs, **{"total_steps": T, **options})


def everything(optimizer: Any, params: list[Any]) -> Any:
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return (
        copy.deepcopy((groups, optimizer.defaults)),
        state_of(optimizer, params),
        [p.detach().clone() for p in params],
    )


def assert_refused(optimizer: Any, params: list[Any], state_dict: Any, match: str) -> None:
    before = everything(optimizer, params)
    with pytest.raises(ValueError, match=match):
        optimizer.load_state_dict(state_dict)
    after = everything(optimizer, params)
    assert after[0] == before[0]
    for found, expected in zip(after[1], before[1], strict=True):
        assert found.keys() == expected.keys()
        assert_same(found.values(), expected.values())
    assert_same(after[2], before[2])
    train(optimizer, params, range(3, 4))


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", CLASSES)
@pytest.mark.parametrize("own", CLASSES)
def test_the_checkpoint_of_another_rule_is_refused_and_both_are_named(saved, own):
    if saved == own:
        return
    matrices = parameters("muon")
    state = trained(saved, clones(matrices)).state_dict()
    params = clones(matrices)
    assert_refused(trained(own, params), params, state, f"'{saved}'.*'{own}'")


@pytest.mark.parametrize("saved", [torch.optim.AdamW, torch.optim.Adam])
@pytest.mark.parametrize("own", CLASSES)
def test_the_checkpoint_of_torchs_adamw_is_answered_with_from_adamw(saved, own):
    params = parameters("muon")
    theirs = saved(params, lr=0.01)
    train(theirs, params, range(2))
    assert_refused(trained(own, params), params, theirs.state_dict(), r"torch\.optim\.AdamW.*adana\.from_adamw\(")


def test_what_no_optimizer_of_the_family_saved_is_refused():
    params = parameters("adana")
    sgd = torch.optim.SGD(params, lr=0.1, momentum=0.9)
    train(sgd, params, range(2))
    optimizer = trained("adana", params)
    assert_refused(optimizer, params, sgd.state_dict(), "no optimizer of adana saved this.*'momentum'")
    assert_refused(optimizer, params, {"model": {}}, "no param_groups, state")


def muon_and(fallback: Any, params: list[Any]) -> Any:
    tagged = [{"params": params[:3], "kind": "hidden"}, {"params": params[3:], "kind": "other"}]
    return adana.Muon(tagged, lr=0.01, total_steps=T, fallback=fallback)


def test_the_checkpoint_of_a_muon_brings_its_fallback_and_that_is_said():
    params = [*parameters("muon"), *parameters("adana")[:3]]
    optimizer = muon_and(adana.ADana, params)
    train(optimizer, params, range(2))
    twins = clones(params)
    resumed = muon_and(adana.DanaStarMK4, twins)
    with pytest.warns(UserWarning, match=r"fallback='ADana' \(built with 'DanaStarMK4'\)"):
        resumed.load_state_dict(optimizer.state_dict())
    train(optimizer, params, range(2, 4))
    train(resumed, twins, range(2, 4))
    assert_same(twins, params)


def test_an_option_of_a_fallback_that_the_checkpoint_does_not_know_yet_is_filled():
    params = [*parameters("muon"), *parameters("adana")[:3]]
    state = copy.deepcopy(muon_and(adana.DanaMK4, params).state_dict())
    del state["param_groups"][1]["clip_snr"]
    resumed = muon_and(adana.DanaMK4, clones(params))
    with pytest.warns(UserWarning, match="saved before clip_snr existed"):
        resumed.load_state_dict(state)
    assert resumed.param_groups[1]["clip_snr"] == 2.0


def test_groups_of_other_sizes_are_refused_with_both_sizes():
    params = parameters("adana")
    two = adana.ADana([{"params": clones(params)[:2]}, {"params": clones(params)[2:]}], lr=0.02, total_steps=T)
    assert_refused(trained("adana", params), params, two.state_dict(), "2, 3 parameters .* groups of 5")


def test_parameters_of_other_shapes_are_refused_with_both_shapes():
    state = trained("adana", [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))]).state_dict()
    params = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]
    assert_refused(trained("adana", params), params, state, r"exp_avg has shape \(3,\) and its parameter \(2,\)")


@family
def test_an_average_never_begins_in_mid_run(name, options):
    params = parameters(name)
    optimizer = trained(name, params, **options)
    kept = [key for key in optimizer.state[params[-1]] if key != "step"]
    for lost in kept:
        state = copy.deepcopy(optimizer.state_dict())
        del state["state"][len(params) - 1][lost]
        assert_refused(optimizer, params, state, f"no {lost} at step")


def test_what_is_no_tensor_where_one_belongs_is_refused():
    params = parameters("adana")
    optimizer = trained("adana", params)
    state = copy.deepcopy(optimizer.state_dict())
    state["state"][2]["exp_avg"] = [0.0] * 7
    assert_refused(optimizer, params, state, "exp_avg .*must be a tensor, got list")
    state = copy.deepcopy(optimizer.state_dict())
    state["state"][2]["step"] = None
    assert_refused(optimizer, params, state, r"shape \(7,\) has no step")


# --- what is taken ------------------------------------------------------------------------------------


@family
@pytest.mark.parametrize("form", [float, torch.tensor, lambda x: torch.tensor(x, dtype=torch.float64)])
def test_a_step_is_taken_as_a_number_or_a_tensor_of_any_dtype(name, options, form):
    params = parameters(name)
    optimizer = trained(name, params, **options)
    state = copy.deepcopy(optimizer.state_dict())
    for each in state["state"].values():
        each["step"] = form(float(each["step"]))
    twins = clones(params)
    resumed = build(name, twins, **options)
    resumed.load_state_dict(state)
    assert {resumed.state[p]["step"].dtype for p in twins} == {torch.int64}
    train(optimizer, params, range(3, 5))
    train(resumed, twins, range(3, 5))
    assert_same(twins, params)


@family
def test_options_that_a_checkpoint_does_not_know_yet_are_the_constructors_and_said_once(name, options):
    params = parameters(name)
    state = copy.deepcopy(trained(name, params, **options).state_dict())
    for group in state["param_groups"]:
        for key in ("rounding_seed", "rule", "param_rounding"):
            del group[key]
    twins = clones(params)
    resumed = build(name, twins, rounding_seed=7, param_rounding="nearest", **options)
    with pytest.warns(UserWarning, match="param_rounding, rounding_seed, rule") as caught:
        resumed.load_state_dict(state)
    assert len(caught) == 1
    assert [resumed.param_groups[0][key] for key in ("rounding_seed", "param_rounding")] == [7, "nearest"]
    train(resumed, twins, range(3, 4))


@pytest.mark.parametrize("name", ["adana", "dana-star-mk4"])
def test_parameters_in_another_order_are_matched_by_name(name):
    params = parameters(name)
    optimizer = named(name, params, [0, 1, 2, 3, 4])
    train(optimizer, params, range(3))
    twins = clones(params)
    resumed = named(name, twins, [3, 1, 4, 0, 2])
    resumed.load_state_dict(optimizer.state_dict())
    for p, q in zip(params, twins):
        assert_same(resumed.state[q].values(), optimizer.state[p].values())
    assert resumed.param_groups[0]["param_names"] == [f"layer.{i}" for i in (3, 1, 4, 0, 2)]
    train(optimizer, params, range(3, 5))
    train(resumed, twins, range(3, 5))
    assert_same(twins, params)


def test_groups_in_another_order_are_matched_by_their_names_with_their_options():
    params = parameters("adana")
    first, second = [("a", params[2]), ("b", params[3])], [("c", params[4])]
    optimizer = adana.ADana([{"params": first, "lr": 0.1}, {"params": second}], lr=0.02, total_steps=T)
    resumed = adana.ADana([{"params": second}, {"params": first[::-1], "lr": 0.1}], lr=0.02, total_steps=T)
    train(optimizer, params, range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in resumed.param_groups] == [0.02, 0.1]
    assert_same(resumed.state[params[3]].values(), optimizer.state[params[3]].values())


def test_names_that_do_not_fit_are_refused_by_name():
    params = parameters("adana")
    state = named("adana", params, [0, 1, 2]).state_dict()
    assert_refused(named("adana", params, [0, 1, 3]), params, state, r"no parameter 'layer\.3'")
    fewer = adana.ADana([("layer.0", params[0])], lr=0.02, total_steps=T)
    assert_refused(fewer, params, state, "holds other parameters than any group")
    regrouped = adana.ADana(
        [{"params": [("layer.0", params[0])]}, {"params": [("layer.1", params[1]), ("layer.2", params[2])]}],
        lr=0.02,
        total_steps=T,
    )
    assert_refused(regrouped, params, state, "'layer.0' was in group 0")


def test_names_that_a_wrapper_changed_throughout_leave_it_to_the_order():
    params = parameters("adana")
    optimizer = named("adana", params, [0, 1, 2])
    train(optimizer, params, range(2))
    wrapped = adana.ADana([(f"module.layer.{i}", params[i]) for i in range(3)], lr=0.02, total_steps=T)
    wrapped.load_state_dict(optimizer.state_dict())
    assert_same(wrapped.state[params[2]].values(), optimizer.state[params[2]].values())


# --- what is said -------------------------------------------------------------------------------------


def test_options_that_differ_from_the_constructors_are_named_in_one_warning():
    params = parameters("adana")
    state = trained("adana", params).state_dict()
    resumed = build("adana", clones(params), lr=0.01, total_steps=120, weight_decay=2.0, kappa=0.7)
    with pytest.warns(UserWarning, match="checkpoint's options count") as caught:
        resumed.load_state_dict(state)
    assert len(caught) == 1
    message = str(caught[0].message)
    for part in (
        "lr=0.02 (built with 0.01)",
        "total_steps=60 (built with 120)",
        f"weight_decay={OMEGA:g} (built with 2)",
        "kappa=0.85 (built with 0.7)",
        "optimizer.set_horizon(total_steps)",
    ):
        assert part in message
    assert (resumed.param_groups[0]["total_steps"], resumed.param_groups[0]["kappa"]) == (T, 0.85)
    resumed.set_horizon(120)
    assert f"lambda(t) = {OMEGA:g} / (12 + t)" in repr(resumed)


def test_an_optimizer_built_alike_is_loaded_without_a_word_whatever_its_schedule_did():
    params = parameters("adana")
    optimizer = build("adana", params, total_steps=T)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for step in range(4):
        set_gradients(params, step)
        optimizer.step()
        scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build("adana", clones(params), total_steps=T).load_state_dict(optimizer.state_dict())


def test_a_warning_that_is_made_an_error_changes_nothing():
    params = parameters("adana")
    state = trained("adana", params).state_dict()
    twins = clones(params)
    other = build("adana", twins, total_steps=2 * T)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="total_steps"):
            other.load_state_dict(state)
    assert other.param_groups[0]["total_steps"] == 2 * T
    assert not other.state


# --- checkpoints of earlier versions --------------------------------------------------------------------


LATER = ("amcs", "log-muon")  # rules that 0.1.0 did not have


def committed_cases() -> list[tuple[str, str, dict[str, Any]]]:
    cases = [(id_, name, options) for (name, options), id_ in zip(PLAIN, PLAIN_IDS) if name not in LATER]
    narrow = [("bfloat16", "kahan"), ("int16", "stochastic")]
    return cases + [
        (f"adana-{state}-{rounding}", "adana", {"total_steps": T, "state_dtype": state, "param_rounding": rounding})
        for state, rounding in narrow
    ]


def committed_parameters(name: str, options: dict[str, Any]) -> list[Any]:
    dtype = torch.bfloat16 if options.get("state_dtype") else torch.float32
    return parameters(name, dtype)[-2:]


@pytest.mark.parametrize(("id_", "name", "options"), committed_cases(), ids=[case[0] for case in committed_cases()])
def test_the_checkpoint_of_version_0_1_0_loads_for_ever_after(id_, name, options):
    """Made by ``python -m tests.optim.test_loading`` in 0.1.0; never made again."""
    saved = torch.load(COMMITTED, weights_only=True)[id_]
    params = committed_parameters(name, options)
    for p, value in zip(params, saved["before"]):
        p.data.copy_(value)
    default_then = {} if name == "dana" else {"weight_decay": 4.0}
    optimizer = build(name, params, foreach=False, fused=False, **{**default_then, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "the checkpoint was saved before .* existed")  # options of later versions
        optimizer.load_state_dict(saved["optimizer"])
    train(optimizer, params, range(3, 5))
    for p, value in zip(params, saved["after"], strict=True):
        torch.testing.assert_close(p.detach(), value.view_as(p), rtol=1e-5, atol=1e-6)
        assert float(optimizer.state[p]["step"]) == 5.0


def _make_committed() -> None:
    found = {}
    for id_, name, options in committed_cases():
        params = committed_parameters(name, options)
        optimizer = build(name, params, foreach=False, fused=False, **options)
        train(optimizer, params, range(3))
        before, state = [p.detach().clone() for p in params], copy.deepcopy(optimizer.state_dict())
        train(optimizer, params, range(3, 5))
        found[id_] = {"before": before, "optimizer": state, "after": [p.detach().clone() for p in params]}
    torch.save(found, COMMITTED)


if __name__ == "__main__":
    _make_committed()
