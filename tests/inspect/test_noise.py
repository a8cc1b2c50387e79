"""The gradient noise scale: on gradients of known noise, and along a run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.cli import main
from adana.inspect.gradient_noise import Gradients, average_weights, noise_scale
from adana.inspect.noise import noise
from adana.scaling.damping import damping_scale
from adana.train.recipe import Execution, Recipe
from adana.train.run import train

STEPS = 12


def gradients(seed: int, signal: float, noise: float, units: int, elements: int) -> np.ndarray:
    """Gradients whose expectation has the squared norm ``signal`` and whose covariance has the trace ``noise``."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(elements)
    mean = direction * np.sqrt(signal) / np.linalg.norm(direction)
    return mean + rng.standard_normal((units, elements)) * np.sqrt(noise / elements)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    signal=st.floats(1e-3, 1e3),
    scale=st.floats(0.1, 300),
    elements=st.integers(2, 200),
    units=st.integers(64, 512),
)
def test_signal_and_noise_are_those_that_were_put_in(seed, signal, scale, elements, units):
    noise_in = signal * scale
    found = noise_scale(gradients(seed, signal, noise_in, units, elements))
    of_noise = noise_in * np.sqrt(2 / (units * elements))
    of_signal = np.sqrt(4 * signal * noise_in / elements / units + 2 * noise_in**2 / elements / units**2)
    assert abs(found.noise - noise_in) < 7 * of_noise
    assert abs(found.signal - signal) < 7 * of_signal


@pytest.mark.slow
def test_the_interval_holds_the_scale_as_often_as_it_says():
    found = [noise_scale(gradients(seed, 1.0, 30.0, 256, 40)) for seed in range(200)]
    inside = np.mean([one.low <= 30 <= one.high for one in found])
    assert 0.9 < inside < 0.99
    assert np.mean([one.noise for one in found]) == pytest.approx(30, rel=0.01)
    assert np.mean([one.signal for one in found]) == pytest.approx(1, rel=0.03)


def test_without_a_signal_the_scale_has_no_upper_end():
    found = [noise_scale(gradients(seed, 0.0, 1.0, 64, 20)) for seed in range(40)]
    assert np.mean([one.high is None for one in found]) > 0.9
    assert any(one.scale is None for one in found)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), unit=st.integers(1, 8), units=st.integers(8, 40))
def test_units_of_several_sequences_give_the_estimator_of_two_batch_sizes(seed, unit, units):
    small = gradients(seed, 1.0, 20.0, units, 30)
    found = noise_scale(small, unit=unit, groups=4)
    b, whole = unit, unit * units
    at_b, at_whole = np.square(small).sum(axis=1).mean(), np.square(small.mean(axis=0)).sum()
    assert found.signal == pytest.approx((whole * at_whole - b * at_b) / (whole - b))
    assert found.noise == pytest.approx((at_b - at_whole) / (1 / b - 1 / whole))


def test_a_group_without_a_gradient_is_refused():
    with pytest.raises(ValueError, match="4 of 4 groups have no gradient"):
        Gradients(4).products()
    with pytest.raises(ValueError, match="at least 16 units"):
        noise_scale(np.zeros((15, 3)))


def test_the_weights_of_an_average_in_log_time_add_up_to_one():
    keeps = [1 - 8 / (8 + t) for t in range(200)]
    total, squares = average_weights((one, 1 - one) for one in keeps)
    weights = np.array([(1 - keeps[t]) * np.prod(keeps[t + 1 :]) for t in range(200)])
    assert total == pytest.approx(1)
    assert squares == pytest.approx(np.square(weights).sum())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of ADana, of AdamW with 16-bit state and of a model with experts, with checkpoints along the way."""
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "text.txt"
    text.write_bytes(np.random.default_rng(0).integers(32, 64, 6000, dtype=np.uint8).tobytes())
    recipe = Recipe(
        "adana",
        1e-3,
        {"weight_decay": 0.5},
        heads=1,
        head_dim=8,
        layers=1,
        seq_len=16,
        batch_size=2,
        steps=STEPS,
        text=(str(text),),
        evaluations=1,
    )
    (folder / "recipe.json").write_text(json.dumps(recipe.to_json()))
    keeping = Execution(device="cpu", log_every=None, save_every=6, keep_last=3)
    train(recipe, folder / "adana", execution=keeping)
    codes = recipe.options | {"state_dtype": "int16"}
    train(replace(recipe, optimizer="dana-mk4", options=codes), folder / "codes", execution=keeping)
    train(replace(recipe, experts=2), folder / "experts", execution=keeping)
    return folder


def test_every_checkpoint_is_looked_at_from_the_start_on(runs):
    found = noise(str(runs / "adana"), sequences=64)
    assert [one.step for one in found.snapshots] == [0, 6, 12]
    for snapshot in found.snapshots:
        whole, *kinds = snapshot.kinds
        assert whole.kind == "all"
        assert whole.parameters == sum(kind.parameters for kind in kinds)
        assert whole.noise == pytest.approx(sum(kind.noise for kind in kinds))
        assert whole.signal == pytest.approx(sum(kind.signal for kind in kinds))
        assert all((kind.momentum_cosine is not None) == (snapshot.step > 0) for kind in kinds if kind.signal > 0)
    assert found.snapshots[-1].loss < found.snapshots[0].loss


def test_gradients_of_single_sequences_and_of_batches_have_the_same_mean(runs):
    single, pairs = (noise(str(runs / "adana"), sequences=64, unit=unit, steps=[12]) for unit in (1, 2))
    assert single.snapshots[0].loss == pytest.approx(pairs.snapshots[0].loss, rel=1e-5)
    for one, other in zip(single.snapshots[0].kinds, pairs.snapshots[0].kinds):
        # |mean|^2 = signal + noise / sequences, exactly, whatever the units.
        assert one.signal + one.noise / 64 == pytest.approx(other.signal + other.noise / 64, rel=1e-4)


def test_momentum_in_codes_is_read_as_what_it_stands_for(runs):
    found = noise(str(runs / "codes"), sequences=64, steps=[12])
    for kind in found.snapshots[0].kinds[1:]:
        assert -1 <= kind.momentum_snr < 1000


def test_a_model_with_experts_takes_batches_and_says_so(runs):
    with pytest.raises(ValueError, match="--unit 2"):
        noise(str(runs / "experts"), sequences=64, steps=[12])
    assert noise(str(runs / "experts"), sequences=64, unit=2, steps=[12]).snapshots[0].kinds[0].noise > 0


def test_advice_follows_the_law_and_says_where_it_was_measured(runs):
    found = noise(str(runs / "adana"), sequences=64, steps=[0], batch_tokens=[32, 64 * 32])
    assert [one.damping_scale for one in found.advice] == pytest.approx([1, 64**0.33])
    assert [one.extrapolated for one in found.advice] == [False, True]
    assert damping_scale(64 * 65536) == pytest.approx(64**0.33)


@pytest.mark.slow
def test_a_recipe_is_trained_where_that_is_asked_for(runs):
    recipe = str(runs / "recipe.json")
    assert [one.step for one in noise(recipe, sequences=64).snapshots] == [0]
    trained = noise(recipe, sequences=64, train=6)
    assert [one.step for one in trained.snapshots][-1] == 6
    kept = noise(str(runs / "adana"), sequences=64, steps=[6])
    assert trained.snapshots[-1].kinds == kept.snapshots[0].kinds


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sequences", "400"], "need 6,401 tokens"),
        (["--sequences", "12"], "at least 16"),
        (["--groups", "2"], "groups at least 4"),
        (["--batch-tokens", "0"], "batch_tokens must be at least 1"),
        (["--steps", "7"], "no checkpoint of step 7"),
        (["--train", "3"], "is for a recipe's file"),
    ],
)
def test_what_cannot_be_says_what_is_needed(arguments, words, runs, capsys):
    assert main(["inspect", "noise", str(runs / "adana"), *arguments]) in (1, 2)
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_the_command_prints_tables_json_and_a_figure(runs, tmp_path, capsys):
    run = [str(runs / "adana"), "--sequences", "64"]
    assert main(["inspect", "noise", *run, "--plot", str(tmp_path / "noise.svg")]) == 0
    shown = capsys.readouterr().out
    assert "adana after step 12" in shown
    assert "extrapolated" in shown
    assert (tmp_path / "noise.svg").stat().st_size > 10_000
    assert main(["inspect", "noise", *run, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["snapshots"]) == 3
