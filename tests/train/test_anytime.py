"""Runs without a horizon, runs made longer, and runs that start from another's weights."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from adana import ADana, schedules
from adana.catalog import find, trainable
from adana.train import run
from adana.train.checkpoint import checkpoints, load, read_newest
from adana.train.distributed import World
from adana.train.loop import Loop
from adana.train.recipe import Recipe, load_data
from adana.train.run import Interrupted, read_result, train
from adana.train.start import source_of
from tests.train.tools import CPU, lines, losses, stop_after, validation

HORIZON_FREE = [
    name
    for name in trainable()
    if name not in ("adamw", "nadamw", "muon", "ademamix", "ademamix-dw", "amcs", "amcs-dw")
]


@pytest.fixture
def endless(tiny):
    def make(optimizer="adana", steps=20, **changes):
        options = {"weight_decay": 1.0, "weight_decay_offset": 5.0} if find(optimizer).decay else {}
        return tiny(optimizer, **{"anytime": True, "warmup_steps": 2, "steps": steps, "options": options} | changes)

    return make


@pytest.mark.parametrize("optimizer", ["adana", "muon-dw"])
@pytest.mark.slow
def test_a_finished_run_made_longer_equals_one_that_was_asked_for_it_from_the_start(optimizer, endless, tmp_path):
    short, long = endless(optimizer), endless(optimizer, steps=30)
    first = train(short, tmp_path / "grown", execution=CPU)
    train(long, tmp_path / "grown", execution=CPU)
    train(long, tmp_path / "whole", execution=CPU)
    assert losses(tmp_path / "grown") == losses(tmp_path / "whole")
    assert validation(tmp_path / "grown")[-1] == validation(tmp_path / "whole")[-1]
    # What the shorter run came to is kept whole: its result, its metrics, its cooled-down weights.
    aside = tmp_path / "grown" / "horizon-20"
    assert read_result(aside).final_loss == first.final_loss
    assert losses(aside).keys() == set(range(1, 21))
    assert list(checkpoints(aside / "checkpoints")) == [20]
    assert json.loads((aside / "run.json").read_text())["recipe"]["steps"] == 20
    assert json.loads((tmp_path / "grown" / "run.json").read_text())["recipe"]["steps"] == 30


@pytest.mark.slow
def test_a_run_stopped_before_or_in_its_cool_down_can_be_made_longer_too(endless, tmp_path):
    train(endless(steps=30), tmp_path / "whole", execution=CPU)
    for stop in (10, 18):
        with pytest.raises(Interrupted):
            train(endless(), tmp_path / str(stop), execution=CPU, should_stop=stop_after(stop))
        train(endless(steps=30), tmp_path / str(stop), execution=CPU)
        assert losses(tmp_path / str(stop)) == losses(tmp_path / "whole"), stop


@pytest.mark.slow
def test_making_a_run_longer_survives_a_crash_between_any_two_of_its_moves(endless, monkeypatch, tmp_path):
    import os

    train(endless(steps=30), tmp_path / "whole", execution=CPU)
    true = os.replace
    for crash in range(1, 4):
        folder = tmp_path / str(crash)
        train(endless(), folder, execution=CPU)
        calls = iter(range(1, 100))

        def fail(a, b, calls=calls, crash=crash):
            if next(calls) == crash:
                raise OSError("the power went")
            true(a, b)

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="the power went"):
            train(endless(steps=30), folder, execution=CPU)
        monkeypatch.setattr(os, "replace", true)
        train(endless(steps=30), folder, execution=CPU)
        assert losses(folder) == losses(tmp_path / "whole"), crash
        assert read_result(folder / "horizon-20") is not None, crash


def test_a_run_with_a_horizon_is_not_made_longer_and_none_is_made_shorter(endless, tiny, tmp_path):
    train(tiny(steps=12), tmp_path / "cosine", execution=CPU)
    with pytest.raises(ValueError, match=r"steps is 12, not 24"):
        train(tiny(steps=24), tmp_path / "cosine", execution=CPU)
    train(endless(), tmp_path / "endless", execution=CPU)
    with pytest.raises(ValueError, match="20 steps: it can be made longer, not shorter"):
        train(endless(steps=10), tmp_path / "endless", execution=CPU)


@pytest.mark.parametrize("optimizer", HORIZON_FREE)
def test_before_the_cool_down_nothing_depends_on_the_horizon(optimizer, endless, tmp_path):
    for steps in (10, 14):
        train(endless(optimizer, steps=steps, evaluations=1), tmp_path / str(steps), execution=CPU)
    assert list(losses(tmp_path / "10").items())[:8] == list(losses(tmp_path / "14").items())[:8]
    assert lines(tmp_path / "10")[9]["gamma"] < lines(tmp_path / "14")[9]["gamma"] == 1
    decay = [line["lambda"] for line in lines(tmp_path / "10")]
    if find(optimizer).decay is None:
        assert decay == [None] * 10
    else:
        assert decay == pytest.approx([1 / (5 + t) for t in range(10)]), "the offset alone decides the decay"


@pytest.mark.parametrize("optimizer", ["adamw", "ademamix-dw"])
def test_what_needs_a_horizon_cannot_run_without_one(optimizer, endless, tmp_path):
    with pytest.raises(ValueError, match="total_steps"):
        train(endless(optimizer), tmp_path, execution=CPU)


def test_the_schedule_warms_up_stays_and_cools_down_to_nothing():
    gammas = [schedules.wsd(t, 100, warmup=10, stable=80) for t in range(101)]
    assert gammas[0] == 0.01
    assert gammas[:11] == sorted(gammas[:11])
    assert set(gammas[10:81]) == {1.0}
    assert gammas[80:] == sorted(gammas[80:], reverse=True)
    assert gammas[85] == pytest.approx(0.5)
    assert gammas[100] == 0


def test_unset_warm_up_and_offset_follow_from_the_size_and_not_from_the_steps():
    recipes = [Recipe("adana", 1e-3, anytime=True, steps=steps) for steps in (10_000, 50_000)]
    assert {recipe.warmup for recipe in recipes} == {0.02 * recipes[0].ladder_steps}
    assert {recipe.optimizer_options()["weight_decay_offset"] for recipe in recipes} == {0.1 * recipes[0].ladder_steps}
    assert {recipe.optimizer_options()["total_steps"] for recipe in recipes} == {None}


# --- starting from another run's weights ----------------------------------------------------------------


@pytest.fixture(scope="module")
def adamw(text_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adamw")
    sizes = {"heads": 1, "layers": 1, "seq_len": 32, "batch_size": 2, "steps": 24}
    recipe = Recipe("adamw", 3e-3, {"weight_decay": 1.0}, text=(str(text_file),), **sizes)
    train(recipe, folder, execution=CPU)
    return folder


def test_a_run_from_another_runs_weights_starts_at_its_loss(adamw, tiny, tmp_path):
    recipe = tiny("dana-mk4", init_from=str(adamw))
    train(recipe, tmp_path, execution=CPU)
    before = validation(adamw)[-1][1]
    assert losses(tmp_path)[1] < before + 0.3
    assert lines(tmp_path)[0]["beta"] == 0, "the optimizer is fresh"


@pytest.mark.parametrize("stop", [None, 9])
def test_adana_takes_over_where_adamw_stood_and_resumes_without_it(stop, adamw, tiny, tmp_path, monkeypatch):
    options = {"kappa": 0.8, "weight_decay": 1.0}
    source = str(adamw / "checkpoints" / "step-00000024")
    recipe = tiny("adana", init_from=source, init_optimizer="from-adamw", options=options)
    if stop is not None:
        with pytest.raises(Interrupted):
            train(recipe, tmp_path, execution=CPU, should_stop=stop_after(stop))
        monkeypatch.setattr(run, "source_of", lambda *_: pytest.fail("a resumed run needs no source"))
    train(recipe, tmp_path, execution=CPU)
    for line in lines(tmp_path):
        t = 24 + line["step"] - 1  # AdamW's 24 steps count
        assert line["beta"] == pytest.approx(t / (8 + t))
        assert line["alpha"] == pytest.approx((1 + t) ** 0.2)
        assert line["lambda"] == pytest.approx(1 / (4.8 + t)), "T is AdamW's steps and ours"
    # The averages are AdamW's over their bias corrections; by hand for one parameter at the first step.
    if stop is None:
        found, name = read_newest(adamw / "checkpoints"), "optimizer.head.weight.exp_avg"
        raw = torch.empty(found.tensors[name].shape)
        load(found, {name: raw})
        run_optimizer = take_over(recipe, tmp_path / "again")
        assert isinstance(run_optimizer, ADana)
        head = next(g["params"][0] for g in run_optimizer.param_groups if g["kind"] == "head")
        assert torch.allclose(run_optimizer.state[head]["exp_avg"], raw / (1 - 0.9**24), rtol=1e-6)


def take_over(recipe, folder):
    world = World(torch.device("cpu"))
    loop = Loop(recipe, folder, CPU, world, load_data(recipe))
    loop.start(source_of(recipe, world), None)
    return loop.optimizer


def test_what_cannot_be_taken_over_is_refused_and_named(adamw, tiny, tmp_path):
    train(tiny(steps=12), tmp_path / "adana", execution=CPU)
    taken = {"init_optimizer": "from-adamw"}
    with pytest.raises(ValueError, match=r"was made by 'adana'"):
        train(tiny(init_from=str(tmp_path / "adana"), **taken), tmp_path / "a", execution=CPU)
    with pytest.raises(ValueError, match=r"embedding.weight of shape .256, 128. is wanted, the checkpoint has shape"):
        train(tiny(heads=2, init_from=str(adamw)), tmp_path / "b", execution=CPU)
    with pytest.raises(ValueError, match="is not a checkpoint"):
        train(tiny(init_from=str(tmp_path)), tmp_path / "c", execution=CPU)
    with pytest.raises(ValueError, match="from-adamw"):
        replace(tiny(), init_optimizer="from-adamw").check()
