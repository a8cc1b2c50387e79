from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adana import schedules
from adana.catalog import find, trainable
from adana.data import text
from adana.models.enoki import Enoki
from adana.train.checkpoint import checkpoints
from adana.train.lock import InUse, locked
from adana.train.loop import Loop
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Recipe, load_data
from adana.train.run import Interrupted, read_result, train
from tests.train.tools import CPU, lines, losses, stop_after, validation

RACE = replace(CPU, log_every=None, keep_final=False)  # as adana.lab runs it


def bare_loop(recipe: Recipe) -> list[float]:
    """The race as plainly as it can be written: no folder, no options, nothing of adana.train but its table."""
    corpus = text.text_files(recipe.text)
    model = Enoki(recipe.model_config(), seed=recipe.seed)
    optimizer = build_optimizer(
        recipe.optimizer, model, lr=recipe.lr, options=dict(recipe.options), total_steps=recipe.steps
    )
    found = []
    peaks = [group["lr"] for group in optimizer.param_groups]
    for step in range(recipe.steps):
        for group, peak in zip(optimizer.param_groups, peaks):
            group["lr"] = peak * schedules.gamma(step, recipe.steps)
        windows = torch.from_numpy(
            text.batch(corpus.train, step=step, seed=recipe.seed, batch_size=recipe.batch_size, seq_len=recipe.seq_len)
        )
        loss = F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("optimizer", trainable())
def test_a_run_has_the_losses_of_a_bare_loop_bit_for_bit(optimizer, tiny, tmp_path):
    recipe = tiny(optimizer)
    train(recipe, tmp_path, execution=CPU)
    assert list(losses(tmp_path).values()) == bare_loop(recipe)


@pytest.mark.parametrize("optimizer", trainable())
def test_a_run_stopped_and_resumed_equals_one_that_never_stopped_bit_for_bit(optimizer, tiny, tmp_path):
    recipe = tiny(optimizer)
    whole = train(recipe, tmp_path / "whole", execution=RACE)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut", execution=RACE, should_stop=stop_after(7))
    assert read_result(tmp_path / "cut") is None, "a stopped run must not look finished"
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut", execution=RACE, should_stop=stop_after(6))
    resumed = train(recipe, tmp_path / "cut", execution=RACE)
    assert resumed.final_loss == whole.final_loss
    assert [tuple(point) for point in resumed.curve] == [tuple(point) for point in whole.curve]
    assert [tuple(point) for point in resumed.train_curve] == [tuple(point) for point in whole.train_curve]
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole"), "means over steps before and after a stop"


@pytest.mark.slow
def test_kill_9_at_a_random_step_then_the_same_losses_bit_for_bit(tiny, tmp_path):
    """Over every optimizer of the family and both forms, with a checkpoint every four steps."""
    names = [*trainable(), "adana released"]
    recipes = {}
    for name in names:
        optimizer, _, form = name.partition(" ")
        recipes[name] = tiny(optimizer, steps=12)
        if form:
            recipes[name] = replace(recipes[name], options=recipes[name].options | {"form": form})
    execution = replace(CPU, save_every=4)
    jobs = [
        {
            "recipe": recipes[name].to_json(),
            "execution": asdict(execution),
            "folder": str(tmp_path / name),
            "at": random.Random(name).randint(5, 11),
        }
        for name in names
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "jobs.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, job in zip(names, jobs):
        folder = tmp_path / name
        assert list(checkpoints(folder / "checkpoints")) == [4] if job["at"] <= 8 else [4, 8]
        resumed = train(recipes[name], folder, execution=replace(CPU, keep_final=False))
        whole = train(recipes[name], tmp_path / "whole" / name, execution=replace(CPU, keep_final=False))
        assert losses(folder) == losses(tmp_path / "whole" / name), name
        assert resumed.final_loss == whole.final_loss, name


@pytest.mark.parametrize(
    "changes",
    [
        {"arch": "qwen3", "head_dim": 64},
        {"experts": 4, "active": 2},
        {"order": "permuted", "seed": 3},
        {"anytime": True, "warmup_steps": 3},
    ],
    ids=["qwen3", "experts", "permuted", "anytime"],
)
def test_every_kind_of_recipe_resumes_bit_for_bit(changes, tiny, tmp_path):
    recipe = tiny("adana", **changes)
    train(recipe, tmp_path / "whole", execution=CPU)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut", execution=CPU, should_stop=stop_after(11))
    train(recipe, tmp_path / "cut", execution=CPU)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert validation(tmp_path / "cut") == validation(tmp_path / "whole")


def test_a_run_learns(tiny, tmp_path):
    result = train(tiny(steps=60), tmp_path / "run", execution=RACE)
    assert result.curve[0][1] - result.final_loss > 0.3
    assert result.final_loss < math.log(256) - 2
    assert result.bits_per_byte == pytest.approx(result.final_loss / math.log(2))


def test_the_folder_says_what_ran_and_the_race_keeps_no_checkpoint_once_finished(tiny, tmp_path):
    recipe = tiny()
    result = train(recipe, tmp_path / "run", execution=RACE, command="adana race")
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == [".lock", "metrics.jsonl", "result.json", "run.json"]
    saved = json.loads((tmp_path / "run" / "run.json").read_text())
    assert Recipe.from_json(saved["recipe"]) == recipe
    assert saved["command"] == "adana race"
    assert saved["seed"] == recipe.seed
    assert set(saved["versions"]) == {"adana", "torch", "python"}
    assert lines(tmp_path / "run")[-1]["validation_loss"] == result.final_loss
    assert lines(tmp_path / "run")[-1]["tokens"] == recipe.tokens
    assert len(lines(tmp_path / "run")) == recipe.evaluations, "the race writes at its evaluations only"


def test_a_run_of_its_own_keeps_its_last_checkpoint(tiny, tmp_path):
    train(tiny(), tmp_path, execution=replace(CPU, save_every=4, keep_last=2, keep_every=8))
    assert list(checkpoints(tmp_path / "checkpoints")) == [8, 16, 20, 24]


def test_a_finished_run_is_read_and_not_repeated(tiny, tmp_path):
    first = train(tiny(), tmp_path / "run", execution=RACE)
    again = train(tiny(), tmp_path / "run", execution=RACE, report=lambda progress: pytest.fail("it ran again"))
    assert again.final_loss == first.final_loss


def test_a_run_killed_between_its_last_checkpoint_and_its_result_only_writes_the_result(tiny, tmp_path):
    first = train(tiny(), tmp_path, execution=CPU)
    (tmp_path / "result.json").unlink()
    again = train(tiny(), tmp_path, execution=CPU, report=lambda progress: pytest.fail("it trained"))
    assert again.final_loss == first.final_loss


def test_a_folder_is_not_shared_by_two_recipes(tiny, tmp_path):
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path / "run", execution=CPU, should_stop=lambda: True)
    with pytest.raises(ValueError, match=r"another recipe.*lr is 0.003, not 0.001.*another folder"):
        train(tiny(lr=1e-3), tmp_path / "run", execution=CPU)


def test_a_second_process_on_the_same_folder_is_refused_and_says_who_is_there(tiny, tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib\nfrom adana.train.lock import locked\n"
            "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InUse, match=f"in use by another process .process {holder.pid} on"):
            train(tiny(), tmp_path, execution=CPU)
        assert not (tmp_path / "run.json").exists(), "who is refused must not write"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(tmp_path):  # the lock died with its holder
        pass


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_a_diverging_run_says_at_which_step_and_why(lr, tiny, tmp_path):
    result = train(tiny("adana", lr), tmp_path / "run", execution=CPU)
    assert result.final_loss is None
    assert 0 < result.diverged_at < 24
    assert "loss" in result.reason or "gradient" in result.reason
    assert read_result(tmp_path / "run").diverged_at == result.diverged_at
    assert lines(tmp_path / "run")[-1]["diverged"] is True


def poison(monkeypatch, steps, what):
    """Make the loss or one parameter's gradient of some steps NaN."""
    true = Loop._backward

    def poisoned(self, should_stop):
        loss, stop = true(self, should_stop)
        if self.state.step in steps:
            if what == "loss":
                return math.nan, stop
            self.parameters["blocks.0.mlp.up.weight"].grad[0, 0] = math.inf
        return loss, stop

    monkeypatch.setattr(Loop, "_backward", poisoned)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run_and_says_where(what, monkeypatch, tiny, tmp_path):
    poison(monkeypatch, {9}, what)
    result = train(tiny(), tmp_path, execution=replace(CPU, save_every=4))
    assert (result.final_loss, result.diverged_at) == (None, 9)
    assert result.reason == (
        "the loss is nan" if what == "loss" else "the gradient norm is inf (in blocks.0.mlp.up.weight)"
    )
    assert list(checkpoints(tmp_path / "checkpoints")) == [4, 8], "the last good ones stay"


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_by_option_a_step_that_is_not_finite_is_skipped_and_moves_no_clock(what, monkeypatch, tiny, tmp_path):
    poison(monkeypatch, {9, 10}, what)
    stopped = train(tiny(), tmp_path, execution=replace(CPU, save_every=4))
    assert stopped.diverged_at == 9
    result = train(tiny(), tmp_path, execution=replace(CPU, save_every=4, non_finite="skip"))
    assert result.skipped == 2
    assert math.isfinite(result.final_loss)
    assert [line["step"] for line in lines(tmp_path) if line.get("skipped")] == [9, 10]
    beta = {line["step"]: line["beta"] for line in lines(tmp_path) if "beta" in line}
    assert beta[24] == pytest.approx(schedules.beta(21)), "22 updates were made"


def test_weights_that_are_not_finite_are_not_skipped_for_ever(monkeypatch, tiny, tmp_path):
    poison(monkeypatch, range(1000), "loss")
    result = train(tiny(steps=40), tmp_path, execution=replace(CPU, non_finite="skip"))
    assert result.diverged_at == 20


def test_neither_the_global_generator_nor_its_state_decides_a_run(tiny, tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(tiny(), tmp_path / "a", execution=RACE)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert train(tiny(), tmp_path / "b", execution=RACE).final_loss == first.final_loss
    assert train(tiny(seed=1), tmp_path / "c", execution=RACE).final_loss != first.final_loss


def test_the_generator_goes_on_where_it_stood(tiny, tmp_path):
    torch.manual_seed(1)
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path, execution=CPU, should_stop=lambda: True)
    stood = torch.get_rng_state()
    torch.manual_seed(2)
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path, execution=CPU, should_stop=lambda: True)
    assert torch.equal(torch.get_rng_state(), stood)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_neither_loss_nor_validation_depends_on_micro_batches(rows, tiny, tmp_path):
    recipe = tiny(batch_size=4, steps=12)
    train(recipe, tmp_path / "whole", execution=CPU)
    train(recipe, tmp_path / "parts", execution=replace(CPU, micro_batch_size=rows))
    # Sums in another order, and what twelve steps make of the difference.
    ours, theirs = losses(tmp_path / "parts"), losses(tmp_path / "whole")
    assert ours == pytest.approx(theirs, abs=2e-5)
    assert dict(validation(tmp_path / "parts")) == pytest.approx(dict(validation(tmp_path / "whole")), abs=2e-5)


def test_a_line_of_metrics_has_every_number_with_the_value_its_formula_gives(tiny, tmp_path):
    recipe = tiny("adana", options={"kappa": 0.8, "weight_decay": 1.0})
    train(recipe, tmp_path, execution=CPU)
    for line in lines(tmp_path):
        t = line["step"] - 1  # the update just made was number t
        assert line["tokens"] == line["step"] * 64
        assert line["gamma"] == pytest.approx(schedules.gamma(t, 24))
        assert line["lr"] == pytest.approx(3e-3 * line["gamma"])
        assert line["lambda"] == pytest.approx(1 / (2.4 + t))
        assert line["alpha"] == pytest.approx((1 + t) ** 0.2)
        assert line["beta"] == pytest.approx(t / (8 + t))
        assert line["grad_norm"] > 0
        assert line["tokens_per_second"] > 0
        assert line["memory"] > 1e7
        assert "mfu" not in line, "a CPU's peak is not known"


@pytest.mark.parametrize("optimizer", trainable())
def test_lambda_alpha_and_beta_are_there_for_whoever_has_them(optimizer, tiny, tmp_path):
    train(tiny(optimizer, steps=12), tmp_path, execution=CPU)
    last = lines(tmp_path)[-1]
    rates = {"log": 1 / 12.2, "constant": 1 / 12, None: None}
    assert last["lambda"] == pytest.approx(rates[find(optimizer).decay])
    without = ("adamw", "adamw-dw", "nadamw", "nadamw-dw", "muon", "muon-dw", "log-adamw", "amcs", "amcs-dw")
    assert (last["alpha"] is None) == (optimizer in without)
    assert 0 < last["beta"] < 1


@pytest.mark.parametrize("optimizer", ["adana", "dana-mk4", "dana-star", "dana-star-mk4", "muon-dw"])
def test_diagnostics_are_written_and_never_enter_a_checkpoint(optimizer, tiny, tmp_path):
    recipe = tiny(optimizer)
    train(recipe, tmp_path / "with", execution=replace(CPU, diagnostics_every=6))
    train(recipe, tmp_path / "without", execution=CPU)
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    found = [json.loads(line) for line in (tmp_path / "with" / "diagnostics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in found] == [6, 12, 18, 24]
    hidden = found[-1]["hidden"]
    assert set(found[-1]) == {"step", "hidden", "embedding", "head", "other"}
    assert hidden["momentum_norm"] > 0
    assert ("alpha_fac" in hidden) == ("mk4" in optimizer)
    assert ("tau" in hidden) == ("star" in optimizer)
    if "star" in optimizer:
        assert hidden["tau"] == sorted(hidden["tau"])
        assert all(0 <= tau <= 1 for tau in hidden["tau"])
    files = [tmp_path / name / "checkpoints" / "step-00000024" / "checkpoint.json" for name in ("with", "without")]
    stored = [json.loads(file.read_text()) for file in files]
    assert stored[0]["tensors"].keys() == stored[1]["tensors"].keys()
    assert stored[0]["facts"].keys() == stored[1]["facts"].keys()
    assert not any("diagnos" in name or "mfac" in name for name in stored[0]["tensors"])


def test_mfac_and_the_momentum_norm_are_what_the_state_says(tiny, tmp_path):
    from adana.train.diagnostics import diagnose
    from adana.train.distributed import World

    model = Enoki(tiny().model_config(), seed=0)
    optimizer = build_optimizer("dana-mk4", model, lr=1e-3, options={}, total_steps=100)
    for step in range(3):
        model(torch.full((1, 8), step)).square().sum().backward()
        optimizer.step()
    found = diagnose(optimizer, World(torch.device("cpu")))
    hidden = [optimizer.state[p] for p in optimizer.param_groups[0]["params"]]
    moments = [(s["exp_avg"].double().numpy().ravel(), s["exp_avg_sq"].double().numpy().ravel()) for s in hidden]
    m, v = (np.concatenate(part) for part in zip(*moments))
    mfac = np.abs(m) / (np.sqrt(v) + 1e-8)
    assert found["hidden"]["momentum_norm"] == pytest.approx(np.sqrt((m**2).sum()), rel=1e-5)
    assert found["hidden"]["mfac"] == pytest.approx(mfac.mean(), rel=1e-5)
    assert found["hidden"]["alpha_fac"] == pytest.approx(np.minimum(2**0.15 * mfac, 2).mean(), rel=1e-5)


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int16"])
def test_narrow_state_is_described_as_what_it_stands_for(state_dtype, tiny):
    from adana.train.diagnostics import diagnose
    from adana.train.distributed import World

    found = []
    for options in ({}, {"state_dtype": state_dtype}):
        model = Enoki(tiny().model_config(), seed=0)
        optimizer = build_optimizer("dana-star-mk4", model, lr=1e-3, options=options, total_steps=100)
        for step in range(3):
            model(torch.full((1, 8), step)).square().sum().backward()
            optimizer.step()
        found.append(diagnose(optimizer, World(torch.device("cpu"))))
    for kind, numbers in found[0].items():
        for name in ("momentum_norm", "mfac", "alpha_fac"):
            assert found[1][kind][name] == pytest.approx(numbers[name], rel=0.03), (kind, name)


def test_text_too_short_for_one_sequence_is_refused_with_the_numbers(tiny, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("too short")
    with pytest.raises(ValueError, match=r"too short.*33"):
        load_data(replace(tiny(), text=(str(short),)))


def test_a_run_without_a_learning_rate_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="learning rate"):
        train(replace(tiny(), lr=None), tmp_path, execution=CPU)


def test_decay_is_on_hidden_matrices_and_the_head_only():
    model = Enoki(Recipe("adana", 1e-3).model_config())
    optimizer = build_optimizer("adana", model, lr=1e-3, total_steps=100, options={"weight_decay": 3.0})
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, p in model.named_parameters():
        assert (id(p) in decayed) == (p.ndim == 2 and "embedding" not in name), name
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 3.0}


@pytest.mark.parametrize("name", trainable())
def test_names_with_dw_decay_in_log_time_and_plain_baselines_constantly(name):
    optimizer = build_optimizer(name, torch.nn.Linear(2, 2), lr=1e-3, total_steps=100, options={})
    constant = name in ("adamw", "nadamw", "ademamix", "muon", "amcs")
    form = None if name == "dana" else "constant" if constant else "log"  # Dana has no decay at all
    assert {group.get("decay") for group in optimizer.param_groups} == {form}
    assert find(name).decay == form


def test_an_unknown_optimizer_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"'sgdd'.*adana"):
        build_optimizer("sgdd", torch.nn.Linear(2, 2), lr=1e-3, total_steps=10, options={})


@pytest.mark.parametrize(("options", "rule"), [
    ({}, "adamw"), ({"fallback": "adana"}, "adana"), ({"fallback": "DanaStarMK4"}, "dana-star-mk4"),
    ({"fallback": "adamw", "betas": [0.9, 0.95]}, "adamw"),
])  # fmt: skip
def test_a_recipe_names_the_fallback_of_muon_and_its_learning_rate(options, rule):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3), torch.nn.Linear(3, 2))
    for name in ("muon", "log-muon"):
        optimizer = build_optimizer(name, model, lr=0.02, total_steps=9, options={**options, "fallback_lr": 0.004})
        other = optimizer.param_groups[-1]
        assert (other["rule"], other["lr"]) == (rule, 0.004)
        assert other.get("betas", (0.9, 0.95))[1] == (0.95 if "betas" in options else other.get("betas", (0, 0.95))[1])


def test_betas_are_refused_of_a_fallback_without_them():
    options = {"fallback": "adana", "betas": [0.9, 0.95]}
    with pytest.raises(ValueError, match="ADana has no option betas"):
        build_optimizer("log-muon", torch.nn.Linear(2, 2), lr=1e-3, total_steps=10, options=options)
