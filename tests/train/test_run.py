from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from adana.models.enoki import Enoki
from adana.train.optimizers import OPTIMIZERS, build_optimizer
from adana.train.run import Interrupted, Recipe, _evaluate, load_corpus, read_result, train


def stop_after(steps: int):
    """A `should_stop` that stops once, after that many calls."""
    calls = iter(range(1, 10**9))
    return lambda: next(calls) == steps


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_stopped_and_resumed_equals_one_that_never_stopped_bit_for_bit(optimizer, tiny, tmp_path):
    recipe = tiny(optimizer)
    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut", should_stop=stop_after(7))
    assert read_result(tmp_path / "cut") is None, "a stopped run must not look finished"
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut", should_stop=stop_after(6))
    resumed = train(recipe, tmp_path / "cut")
    assert resumed.final_loss == whole.final_loss
    assert [tuple(point) for point in resumed.curve] == [tuple(point) for point in whole.curve]
    assert [tuple(point) for point in resumed.train_curve] == [tuple(point) for point in whole.train_curve]


def test_a_run_learns(tiny, tmp_path):
    result = train(tiny(steps=60), tmp_path / "run")
    assert result.curve[0][1] - result.final_loss > 0.3
    assert result.final_loss < math.log(256) - 2


def test_the_folder_says_what_ran_and_keeps_no_checkpoint_once_finished(tiny, tmp_path):
    recipe = tiny()
    result = train(recipe, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["metrics.jsonl", "result.json", "run.json"]
    saved = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert Recipe(**(saved | {"text": tuple(saved["text"])})) == recipe
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation_loss"] == result.final_loss
    assert lines[-1]["tokens"] == recipe.tokens


def test_a_finished_run_is_read_and_not_repeated(tiny, tmp_path):
    first = train(tiny(), tmp_path / "run")
    again = train(tiny(), tmp_path / "run", report=lambda progress: pytest.fail("it ran again"))
    assert again.final_loss == first.final_loss


def test_a_folder_is_not_shared_by_two_recipes(tiny, tmp_path):
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path / "run", should_stop=lambda: True)
    with pytest.raises(ValueError, match="another recipe"):
        train(tiny(lr=1e-3), tmp_path / "run")


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_a_diverging_run_says_at_which_step(lr, tiny, tmp_path):
    result = train(tiny("adana", lr), tmp_path / "run")
    assert result.final_loss is None
    assert 0 < result.diverged_at < 24
    assert read_result(tmp_path / "run") == result or read_result(tmp_path / "run").diverged_at == result.diverged_at


def test_neither_the_global_generator_nor_its_state_decides_a_run(tiny, tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(tiny(), tmp_path / "a")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert train(tiny(), tmp_path / "b").final_loss == first.final_loss
    assert train(tiny(seed=1), tmp_path / "c").final_loss != first.final_loss


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_validation_loss_does_not_depend_on_the_batch_size(batch_size, tiny):
    from adana.data import text

    recipe = tiny()
    windows = torch.from_numpy(text.validation_windows(load_corpus(recipe).held_out, seq_len=recipe.seq_len))
    model = Enoki(recipe.model_config(), seed=0)
    assert _evaluate(model, windows, batch_size) == pytest.approx(_evaluate(model, windows, 7), abs=1e-6)


def test_text_too_short_for_one_sequence_is_refused_with_the_numbers(tiny, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("too short")
    with pytest.raises(ValueError, match=r"too short.*33"):
        load_corpus(replace(tiny(), text=(str(short),)))


def test_decay_is_on_hidden_matrices_and_the_head_only():
    model = Enoki(Recipe("adana", 1e-3).model_config())
    optimizer = build_optimizer("adana", model, lr=1e-3, total_steps=100, options={"weight_decay": 3.0})
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, p in model.named_parameters():
        assert (id(p) in decayed) == (p.ndim == 2 and "embedding" not in name), name
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 3.0}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_with_dw_decay_in_log_time_and_plain_baselines_constantly(name):
    optimizer = build_optimizer(name, torch.nn.Linear(2, 2), lr=1e-3, total_steps=100, options={})
    constant = name in ("adamw", "nadamw", "ademamix", "muon")
    assert {group["decay"] for group in optimizer.param_groups} == {"constant" if constant else "log"}


def test_an_unknown_optimizer_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"'sgdd'.*adana"):
        build_optimizer("sgdd", torch.nn.Linear(2, 2), lr=1e-3, total_steps=10, options={})
