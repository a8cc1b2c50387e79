from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana import schedules
from adana.catalog import OPTIMIZERS, find
from adana.models import count
from adana.train.recipe import RECIPES, Execution, Recipe, enoki, qwen3, read_recipe, small

OTHERWISE = {
    "optimizer": "adana",
    "lr": 2e-3,
    "options": {"weight_decay": 1.0},
    "arch": "qwen3",
    "heads": 3,
    "layers": 2,
    "head_dim": 32,
    "embedding_dim": 96,
    "mlp_dim": 200,
    "vocab_size": 300,
    "experts": 4,
    "active": 2,
    "balance": 0.02,
    "seq_len": 128,
    "batch_size": 8,
    "steps": 100,
    "anytime": True,
    "warmup_steps": 7,
    "cooldown": 0.3,
    "clip_norm": 1.0,
    "seed": 1,
    "data": "folder",
    "text": ("file.txt",),
    "order": "permuted",
    "evaluations": 3,
    "validation_tokens": 512,
    "init_from": "other",
    "init_optimizer": "from-adamw",
}
"""Another value of every field of a recipe."""


@pytest.mark.parametrize("make", RECIPES.values(), ids=RECIPES.keys())
def test_a_recipe_survives_json(make):
    recipe = make(lr=1e-3, options={"kappa": 0.8, "betas": [0.9, 0.99]}, text=("a.txt", "b.txt"), heads=3)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@settings(max_examples=50)
@given(
    st.builds(
        Recipe,
        lr=st.floats(1e-9, 1.0),
        heads=st.integers(1, 40),
        steps=st.none() | st.integers(1, 10**7),
        seed=st.integers(0, 2**31),
        text=st.lists(st.text()).map(tuple),
        clip_norm=st.floats(1e-3, math.inf),
    )
)
def test_any_recipe_survives_json_digit_for_digit(recipe):
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_a_new_field_of_a_recipe_tells_runs_apart_unless_it_is_taken_out_by_name():
    assert set(OTHERWISE) == {one.name for one in fields(Recipe)}
    base = Recipe("adamw", 1e-3)
    for name, value in OTHERWISE.items():
        other = replace(base, **{name: value})
        assert (other.identity() == base.identity()) == (name in ("lr", "seed")), name
        assert other.digest() != base.digest(), name
        assert other.digest(name) == base.digest(name), name


def test_how_a_value_is_written_tells_no_runs_apart():
    base = Recipe("adamw", 1.0, {"weight_decay": 1.0, "betas": (0.0, 0.95), "ns_steps": 5}, clip_norm=1.0)
    other = Recipe("adamw", 1, {"ns_steps": 5.0, "betas": [0, 0.95], "weight_decay": 1}, clip_norm=1)
    assert base.identity() == other.identity()
    assert base.digest() == other.digest()
    assert replace(other, options={**other.options, "ns_steps": 6}).digest() != base.digest()


def test_a_default_that_follows_from_something_else_is_the_same_setting_as_its_value():
    plain = Recipe("adana", 1e-3, heads=3, steps=None)
    given = replace(plain, layers=2, head_dim=64, embedding_dim=192, mlp_dim=768, vocab_size=256, steps=19200)
    assert given.total_steps == plain.total_steps
    assert plain.resolved().identity() == given.resolved().identity()
    assert replace(plain, steps=1500).resolved() == replace(plain, steps=1500, warmup_steps=30).resolved()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_option_that_is_given_its_default_is_the_same_setting_as_none(optimizer):
    """A sweep's table, a fit and a report take the two for seeds of one another."""
    defaults = find(optimizer).in_recipes()
    without = Recipe(optimizer, 1e-3).resolved().identity()
    for name, value in defaults.items():
        assert Recipe(optimizer, 1e-3, {name: value}).resolved().identity() == without, name
    assert without["options"].get("weight_decay") == defaults.get("weight_decay"), "omega is always said"
    for name in {"weight_decay", "eps"} & set(defaults):
        assert Recipe(optimizer, 1e-3, {name: 0.5}).resolved().identity() != without, name


def test_names_of_run_folders_stay_what_they_were():
    """The first digits of a hash over the recipe as JSON: a folder of a run that is not finished must be found."""
    options = {"weight_decay": 4.0, "betas": (0.9, 0.95), "form": "released"}
    for recipe in (Recipe("adamw", 1e-3), enoki(6, lr=1e-3), Recipe("adana", 2e-3, options, text=("/a",), seed=3)):
        whole = json.dumps(asdict(recipe), sort_keys=True)
        assert recipe.digest() == hashlib.sha256(whole.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"headz": 3}, "no 'headz': do you mean 'heads'"),
        ({"zebra": 3}, "no 'zebra'$"),
        ({"heads": 2.5}, "heads must be a whole number, got 2.5"),
        ({"heads": True}, "heads must be a whole number, got True"),
        ({"lr": "fast"}, "lr must be a number or null, got 'fast'"),
        ({"arch": "gpt"}, "unknown architecture 'gpt': choose from enoki, qwen3"),
        ({"text": "file.txt"}, "text must be a list of strings, got 'file.txt'"),
        ({"options": [1]}, "options must be an object"),
        ({"anytime": 1}, "anytime must be true or false, got 1"),
    ],
)
def test_a_recipe_file_with_unknown_or_mistyped_values_is_refused_by_name(changes, message, tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(Recipe().to_json() | changes))
    with pytest.raises(ValueError, match=message):
        read_recipe(file)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[1, 2]", b"", b"__import__('os')"])
def test_what_is_not_a_recipe_is_refused_and_named(content, tmp_path):
    file = tmp_path / "recipe.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"recipe\.json is not a recipe"):
        read_recipe(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0}, "lr must be a finite number above 0, got 0.0"),
        ({"lr": math.nan}, "lr must be"),
        ({"heads": 0}, "heads must be a whole number of at least 1, got 0"),
        ({"head_dim": 33}, "even"),
        ({"seq_len": 0}, "seq_len must be at least 1, got 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
        ({"batch_size": 10**30}, r"batch_size must be less than 2\^63, got 10{30}$"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"cooldown": 1.0}, "cooldown"),
        ({"data": "a", "text": ("b",)}, "exclude one another"),
        (
            {"arch": "qwen3", "experts": 4},
            "qwen3 has no experts: .* that has it .enoki",
        ),
        ({"active": 2}, "experts"),
        ({"warmup_steps": 1500}, "warm-up of 1500 steps leaves none before the end of 1500"),
        ({"anytime": True, "warmup_steps": 1200}, "before the cool-down"),
    ],
)
def test_an_impossible_recipe_is_refused_with_its_value(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(Recipe(), **changes).check()


@pytest.mark.parametrize("name", ["micro_batch_size", "log_every", "save_every", "keep_last", "keep_every"])
def test_an_impossible_execution_is_refused_with_its_value(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Execution(**{name: 0}).check()


def test_the_papers_recipes_have_the_papers_numbers():
    recipe = enoki(heads=6, vocab_size=50304)
    assert (recipe.batch_size, recipe.seq_len, recipe.clip_norm, recipe.total_steps) == (32, 2048, 0.5, 13950)
    assert recipe.warmup == 13950 / 50
    assert recipe.gamma(0) == 0.01
    assert recipe.gamma(279) == 1.0
    assert recipe.gamma(13950) == pytest.approx(0.1)
    assert qwen3(heads=6, vocab_size=50304).model_config().total_parameters == 176379648
    assert enoki(heads=6, vocab_size=50304, batch_size=256).total_steps == 1743


def test_compute_counts_the_experts_a_token_meets():
    dense = Recipe(heads=4, mlp_dim=512, steps=10)
    mixture = replace(dense, mlp_dim=None, experts=8, active=2)
    config = mixture.model_config()
    met = count(config).active_matrices + config.vocab_size * config.width
    assert mixture.flops == 6 * mixture.tokens * met
    assert mixture.flops < 6 * mixture.tokens * config.non_embedding_parameters
    assert dense.flops == 6 * dense.tokens * (dense.model_config().non_embedding_parameters + 256 * config.width)


def test_the_small_recipe_is_the_races():
    assert small() == Recipe()
    assert (small().heads, small().seq_len, small().batch_size, small().steps) == (2, 256, 4, 1500)


@given(steps=st.integers(1, 5000), at=st.floats(0, 1))
def test_without_a_warm_up_of_its_own_a_recipes_schedule_is_the_papers(steps, at):
    step = round(at * steps)
    assert Recipe(steps=steps).gamma(step) == schedules.gamma(step, steps)
