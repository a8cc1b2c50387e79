"""From AdamW's numbers to ADana's: each with a reason, or "cannot know"; and what a computed decay is spared."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any

import pytest
import torch

import adana
from adana.catalog import OMEGA
from adana.suggestions import LR_BAND, LR_FACTOR, PUBLISHED_BAND, omega_of

GIVEN = {"lr": 3e-3, "weight_decay": 0.1, "total_steps": 10_000, "tokens": 1e6, "parameters": 1e5}


def numbers(**given: Any) -> dict[str, Any]:
    return {one.name: one for one in adana.suggest(**given).numbers}


@pytest.mark.parametrize(
    "without", [(), ("lr",), ("total_steps",), ("tokens",), ("parameters",), ("lr", "total_steps", "tokens")]
)
def test_every_number_has_a_reason_and_what_cannot_be_known_says_so(without):
    found = adana.suggest(**{name: value for name, value in GIVEN.items() if name not in without})
    assert [one.name for one in found.numbers] == ["lr", "weight_decay", "total_steps", "kappa"]
    for one in found.numbers:
        assert one.reason.endswith(".")
        assert ("cannot know" in str(one)) == (one.value is None) == (one.name in without)
        if one.low is not None and one.value is not None:
            assert one.low <= one.value <= one.high
        assert str(one) in str(found)


def test_what_is_suggested_can_be_passed_without_a_warning():
    options = adana.suggest(**{**GIVEN, "tokens": 1e5}).options()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adana.ADana(torch.nn.Linear(3, 3).parameters(), **options)


def test_the_rate_is_that_of_the_race_for_small_models_and_that_of_the_paper_for_large_ones():
    small, large = numbers(**GIVEN)["lr"], numbers(**{**GIVEN, "parameters": 1e8})["lr"]
    assert small.value == pytest.approx(LR_FACTOR * 3e-3)
    assert (large.low, large.high) == (pytest.approx(PUBLISHED_BAND[0] * 3e-3), pytest.approx(PUBLISHED_BAND[1] * 3e-3))


def test_the_band_of_the_rate_holds_what_the_ladder_found():
    """The parabola's minima of results/ladder/runs.csv, at every size that both optimizers were searched at."""
    import csv
    import pathlib

    from adana.scaling.curvature import curvature

    rows: dict[tuple[str, str], dict[float, list[float]]] = {}
    with (pathlib.Path(__file__).parents[1] / "results/ladder/runs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["final_loss"]:
                cell = rows.setdefault((row["optimizer"], row["heads"]), {})
                cell.setdefault(float(row["lr"]), []).append(float(row["final_loss"]))
    best = {}
    for key, cell in rows.items():
        points = {lr: sum(losses) / len(losses) for lr, losses in cell.items()}
        centre = min(points, key=points.__getitem__)
        near = {lr: loss for lr, loss in points.items() if centre / 4.1 <= lr <= 4.1 * centre}
        found = curvature(near)
        assert found is not None
        best[key] = found.best_lr
    ratios = [best["adana", heads] / best["adamw-dw", heads] for heads in "12345"]
    assert [round(ratio, 2) for ratio in ratios] == [0.35, 0.42, 0.32, 0.36, 0.21]
    assert all(LR_BAND[0] <= ratio <= LR_BAND[1] for ratio in ratios)


def test_omega_follows_tokens_per_parameter_and_stays_between_its_ends():
    assert [omega_of(ratio * 1e6, 1e6) for ratio in (0.1, 5.0, 20.0, 1000.0)] == [0.5, 1.0, 2.0, 4.0]
    assert numbers(lr=1e-3, total_steps=100)["weight_decay"].value == OMEGA
    assert numbers(lr=1e-3, weight_decay=0.0, total_steps=100)["weight_decay"].value == 0.0


def test_trained_weights_are_kept():
    assert numbers(**GIVEN, pretrained=True)["weight_decay"].value == pytest.approx(0.1 * 3e-3 * 10_000)
    assert numbers(lr=1e-5, pretrained=True)["weight_decay"].value == 0.0


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", GIVEN)
def test_a_number_that_cannot_be_is_shown(name, bad):
    with pytest.raises(ValueError, match=f"{name} must be a finite number.*got"):
        adana.suggest(**{**GIVEN, name: bad})


# --- a computed omega -----------------------------------------------------------------------------------


def test_a_converted_omega_is_never_warned_about():
    omega = adana.omega_from_adamw(0.1, 2e-5, 2000)
    assert omega == 0.004
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = [
            adana.ADana(model.parameters(), lr=1e-3, total_steps=2000, weight_decay=omega),
            adana.ADana(adana.param_groups(model, weight_decay=omega), lr=1e-3, total_steps=2000),
        ]
    for optimizer in made:
        assert type(optimizer.param_groups[0]["weight_decay"]) is float, "a checkpoint holds plain numbers"
        assert pickle.loads(pickle.dumps(optimizer.state_dict()))["param_groups"][0]["weight_decay"] == 0.004
    with pytest.warns(UserWarning, match="coupled"):
        adana.ADana(model.parameters(), lr=1e-3, total_steps=2000, weight_decay=0.004)


def test_a_constant_decay_converted_is_adamws_own():
    """At every step: lambda = omega / T = weight_decay * lr."""
    omega = adana.omega_from_adamw(0.1, 2e-3, 500)
    assert adana.schedules.lambda_(7, weight_decay=omega, decay="constant", total_steps=500) == pytest.approx(
        0.1 * 2e-3
    )


@pytest.mark.parametrize("given", [(-0.1, 1e-3, 10), (0.1, math.nan, 10), (0.1, 1e-3, 0)])
def test_an_omega_of_nothing_is_refused(given):
    with pytest.raises(ValueError, match="must be a finite number of at least"):
        adana.omega_from_adamw(*given)
