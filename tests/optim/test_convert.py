from __future__ import annotations

import copy
import statistics

import pytest
import torch
import torch.nn.functional as F

from adana import from_adamw, param_groups
from adana.data import text
from adana.models.enoki import Enoki, EnokiConfig


def trained(steps=4, dtype=torch.float64, amsgrad=False):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).to(dtype)
    adamw = torch.optim.AdamW(
        [
            {"params": list(model[0].parameters()), "weight_decay": 0.1, "tag": "first"},
            {"params": list(model[1].parameters()), "weight_decay": 0.0, "lr": 4e-3},
        ],
        lr=1e-3,
        betas=(0.8, 0.9),
    )
    for _ in range(steps):
        adamw.zero_grad()
        model(torch.randn(5, 3, dtype=dtype)).square().mean().backward()
        adamw.step()
    return model, adamw


@pytest.mark.parametrize("as_state_dict", [False, True])
def test_moments_are_bias_corrected_and_steps_kept(as_state_dict):
    model, adamw = trained()
    source, params = (adamw.state_dict(), model.parameters()) if as_state_dict else (adamw, None)
    optimizer = from_adamw(source, params=params, total_steps=100, lr=1e-3)
    for p in model.parameters():
        old, new = adamw.state[p], optimizer.state[p]
        assert float(new["step"]) == 4
        torch.testing.assert_close(new["exp_avg"], old["exp_avg"] / (1 - 0.8**4))
        torch.testing.assert_close(new["exp_avg_sq"], old["exp_avg_sq"] / (1 - 0.9**4))


def test_the_old_optimizer_is_left_as_it_is():
    model, adamw = trained()
    before = copy.deepcopy(adamw.state_dict())
    optimizer = from_adamw(adamw, total_steps=100, lr=1e-3)
    model(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    optimizer.step()
    for key, state in adamw.state_dict()["state"].items():
        for name, value in state.items():
            assert torch.equal(value, before["state"][key][name]), name
    assert adamw.state_dict()["param_groups"] == before["param_groups"]


def test_groups_are_kept_and_omega_is_coupled_decay_times_peak_times_horizon():
    _, adamw = trained()
    optimizer = from_adamw(adamw, total_steps=1000, lr=5e-4)
    first, second = optimizer.param_groups
    assert first["weight_decay"] == pytest.approx(0.1 * 1e-3 * 1000)
    assert second["weight_decay"] == 0
    assert first["tag"] == "first"
    assert (first["lr"], second["lr"]) == (5e-4, 5e-4)
    assert (first["peak_lr"], second["peak_lr"]) == (pytest.approx(5e-4), pytest.approx(5e-4))


def test_the_peak_comes_from_the_scheduler_where_there_was_one():
    _, adamw = trained()
    scheduler = torch.optim.lr_scheduler.LinearLR(adamw, start_factor=0.5, total_iters=10)
    adamw.step()
    scheduler.step()
    (first, _) = from_adamw(adamw, total_steps=1000, lr=1e-4).param_groups
    assert first["peak_lr"] == pytest.approx(1e-4 * 1e-3 / adamw.param_groups[0]["lr"])
    assert first["weight_decay"] == pytest.approx(0.1 * 1e-3 * 1000)


def test_without_lr_the_measured_factor_is_used_and_printed(capsys):
    from adana.optim.convert import LR_FACTOR

    _, adamw = trained()
    optimizer = from_adamw(adamw, total_steps=1000)
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(x * LR_FACTOR) for x in (1e-3, 4e-3)]
    assert f"{LR_FACTOR:g}" in capsys.readouterr().out


def test_the_factor_lies_between_the_ratio_of_the_races_search_and_the_published_ones():
    from adana.lab.race import tuned
    from adana.optim.convert import LR_FACTOR

    lanes = tuned()
    assert 1 / 2.9 < LR_FACTOR < lanes["adana"].lr / lanes["adamw-dw"].lr


def test_named_parameters_keep_their_names():
    model = torch.nn.Linear(2, 2)
    adamw = torch.optim.AdamW(model.named_parameters(), lr=1e-3)
    model(torch.ones(1, 2)).sum().backward()
    adamw.step()
    optimizer = from_adamw(adamw, total_steps=10, lr=1e-3)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda m: from_adamw(3, total_steps=10), TypeError, "int"),
        (lambda m: from_adamw(trained()[1].state_dict(), total_steps=10), ValueError, "params"),
        (lambda m: from_adamw(trained()[1].state_dict(), params=[], total_steps=10), ValueError, "4 parameters"),
        (lambda m: from_adamw(torch.optim.SGD(m.parameters(), lr=0.1), total_steps=10), ValueError, "betas"),
        (
            lambda m: from_adamw(torch.optim.Adam(m.parameters(), lr=0.1, weight_decay=0.1), total_steps=10),
            ValueError,
            "L2",
        ),
        (lambda m: from_adamw(torch.optim.AdamW(m.parameters(), lr=0.0), total_steps=10, lr=1e-3), ValueError, "peak"),
        (lambda m: from_adamw(torch.optim.AdamW(m.parameters(), lr=0.1), total_steps=-1), ValueError, "-1"),
    ],
)
def test_what_is_not_adamw_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make(torch.nn.Linear(2, 2))


@pytest.mark.slow
def test_taking_over_a_running_adamw_the_loss_does_not_jump():
    """A real model on real text: AdamW for 150 steps, then AdamW going on beside ADana taking over."""
    corpus = text.standard_library()
    size = {"seed": 0, "batch_size": 8, "seq_len": 64}
    torch.set_num_threads(1)

    def run(model, optimizer, steps):
        losses = []
        for step in steps:
            windows = torch.from_numpy(text.batch(corpus.train, step=step, **size))
            loss = F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
        return losses

    model = Enoki(EnokiConfig(heads=1, vocab_size=256), seed=0)
    groups = [{"params": g["params"], "weight_decay": 0.1 if g["weight_decay"] else 0.0} for g in param_groups(model)]
    adamw = torch.optim.AdamW(groups, lr=4e-3)
    before = run(model, adamw, range(150))
    other = copy.deepcopy(model)
    adana = from_adamw(adamw.state_dict(), params=[p for g in _same_groups(other) for p in g], total_steps=400)
    going_on = run(model, adamw, range(150, 200))
    taken_over = run(other, adana, range(150, 200))
    assert statistics.fmean(before[-20:]) < before[0] - 1, "AdamW must have been running well"
    # Same batches on both sides, so the difference is the optimizer's: no spike at any step, no loss on average.
    assert max(b - a for a, b in zip(going_on, taken_over)) < 0.15
    assert statistics.fmean(taken_over) < statistics.fmean(going_on) + 0.02


def _same_groups(model):
    return [group["params"] for group in param_groups(model)]
