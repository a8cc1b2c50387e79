from __future__ import annotations

import itertools
import math

import pytest
import torch

from adana import catalog
from adana.lab.cells import COUPLED, COUPLED_DECAYS, OMEGAS, at, cells, published_rate, race_start, start_of
from adana.scaling import plan
from adana.scaling.lookup import VARIANTS
from adana.scaling.plans import recipe_fields
from adana.scaling.published import learning_rate_laws
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Recipe, enoki

VALUES = {
    "weight_decay": (1.0, 8.0),
    "kappa": (0.6, 0.9),
    "clip_snr": (1e-3, 2.0),
    "damping_scale": (0.5, 3.0),
    "beta2": (0.5, 0.999),
}


def trained(optimizer, options):
    """Weights after a few steps of a small model with a hidden matrix, an embedding and a head."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 5))
    built = build_optimizer(optimizer, model, lr=0.01, options=dict(options), total_steps=100)
    tokens = torch.arange(5)
    for step in range(6):
        loss = torch.nn.functional.cross_entropy(model(tokens), (tokens + step) % 5)
        built.zero_grad()
        loss.backward()
        built.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("name", catalog.grids())
@pytest.mark.parametrize("optimizer", catalog.trainable())
def test_an_optimizer_takes_the_grids_that_change_what_it_does_and_no_others(optimizer, name):
    """But beta2 of the log-time family, which its clock gives: with one it is another optimizer."""
    if optimizer in catalog.grids()[name]:
        base = Recipe(lr=0.01, steps=100)
        runs = [
            trained(optimizer, cell.options)
            for cell in cells(base, optimizers=[optimizer], heads=[2], grids={name: VALUES[name]})
        ]
        assert len(runs) == 2
        assert any(not torch.equal(x, y) for x, y in zip(*runs))
        return
    if name == "beta2":
        assert optimizer in ("log-adamw", "log-nadamw", "adana", "dana-mk4", "dana-star", "dana-star-mk4", "dana")
        return
    try:
        runs = [trained(optimizer, {name: value}) for value in VALUES[name]]
    except TypeError:
        return
    assert all(torch.equal(x, y) for x, y in zip(*runs))


def test_a_grid_is_every_combination_of_what_an_optimizer_takes_at_every_size():
    grids = {"weight_decay": (1.0, 4.0), "kappa": (0.8, 0.85, 0.9), "beta2": (0.95, 0.99)}
    found = cells(Recipe(), optimizers=["adana", "adamw"], heads=[2, 3], grids=grids)
    assert len(found) == 2 * (2 * 3 + 2 * 2)
    adana = [cell.options for cell in found if cell.optimizer == "adana" and cell.heads == 3]
    assert {tuple(sorted(options)) for options in adana} == {("kappa", "weight_decay")}
    assert len({tuple(options.values()) for options in adana}) == 6
    adamw = [cell.options for cell in found if cell.optimizer == "adamw" and cell.heads == 2]
    assert {options["betas"] for options in adamw} == {(0.9, 0.95), (0.9, 0.99)}


def test_every_size_has_its_own_horizon():
    found = cells(enoki(vocab_size=256), optimizers=["adana"], heads=[2, 3], grids={})
    assert [cell.steps for cell in found] == [enoki(heads, vocab_size=256).total_steps for heads in (2, 3)]


def test_the_papers_decays_are_35_in_log_time_and_34_coupled_for_constant_decay():
    found = cells(Recipe(steps=1000), optimizers=["adamw-dw", "adamw"], heads=[2], grids={}, paper_decays=True)
    assert [cell.options for cell in found[:4]] == [{"weight_decay": omega} for omega in (1, 2, 4, 8)]
    assert OMEGAS == (1, 2, 4, 8)
    assert COUPLED_DECAYS == (0, 0.01, 0.03, 0.1, 0.3, 1)
    assert [cell.options for cell in found[4:]] == [{COUPLED: coupled} for coupled in COUPLED_DECAYS]
    for coupled, cell in zip(COUPLED_DECAYS, found[4:]):
        for lr in (0.001, 0.004):
            assert at(cell, lr, 7).options == {"weight_decay": pytest.approx(coupled * lr * 1000)}
            assert (at(cell, lr, 7).lr, at(cell, lr, 7).seed) == (lr, 7)


def test_constant_decay_by_option_has_the_grid_of_constant_decay():
    base = Recipe(options={"decay": "constant"})
    assert len(cells(base, optimizers=["adana"], heads=[2], grids={}, paper_decays=True)) == 6


def test_a_grid_that_nobody_takes_is_refused():
    with pytest.raises(ValueError, match="none of adamw, muon takes clip_snr: it is for dana-mk4, dana-star-mk4"):
        cells(Recipe(), optimizers=["adamw", "muon"], heads=[2], grids={"clip_snr": (1.0,)})


@pytest.mark.parametrize("heads", [2, 6, 12, 24, 40])
@pytest.mark.parametrize("optimizer", catalog.trainable())
def test_searches_start_at_a_power_of_two_near_what_is_known(optimizer, heads):
    cell = enoki(heads, optimizer=optimizer, vocab_size=50304)
    start = start_of(cell)
    assert math.log2(start) == round(math.log2(start))
    size = cell.model_config().non_embedding_parameters
    size = cell.model_config().non_embedding_parameters
    laws = [law for law in learning_rate_laws() if law.law and not law.variant and law.kappa in (0.85, None)]
    laws = [law.law(size) for law in laws if (law.arch, law.optimizer) == (cell.arch, optimizer)]
    if laws and heads >= 6:  # below, the laws are far from what the race found
        assert min(abs(math.log2(start / lr)) for lr in laws) <= 2.0


BATCHES = (4, 32, 100, 128, 256, 512, 4096)


@pytest.mark.parametrize("arch", ["enoki", "qwen3"])
@pytest.mark.parametrize("optimizer", catalog.trainable())
def test_a_plan_a_run_and_a_search_find_the_same_published_learning_rate(optimizer, arch):
    """For every batch, kappa and shape, and where there is none, for the same reason."""
    kappas = (0.75, 0.85, 0.83) if catalog.default_kappa(optimizer) is not None else (None,)
    found = []
    for sequences, kappa, shape in itertools.product(BATCHES, kappas, ({}, {"head_dim": 32}, {"layers": 2})):
        options = {} if kappa is None else {"kappa": kappa}
        recipe = Recipe(
            optimizer, None, options, arch=arch, heads=10, vocab_size=50304, seq_len=2048, batch_size=sequences,
            steps=None, **shape,
        )  # fmt: skip
        planned = plan(10, optimizer, arch=arch, kappa=kappa, batch_tokens=2048 * sequences, **shape)
        looked_up = published_rate(recipe)
        assert (looked_up.value, looked_up.source) == (planned.lr, planned.lr_source)
        assert set(looked_up.warnings) <= set(planned.warnings)
        if planned.lr is not None:
            start = min(race_start(optimizer), planned.lr)
            assert start_of(recipe) == 2.0 ** round(math.log2(start))
        found.append(planned.lr)
    if optimizer in {law.optimizer for law in learning_rate_laws() if law.arch == arch}:
        assert len(set(found)) > 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_of_table_9_is_known_by_its_options(variant):
    planned = plan(10, "adana", variant=variant)
    recipe = Recipe.from_json(recipe_fields(planned) | {"lr": None})
    assert published_rate(recipe).value == planned.lr
