"""The JAX example is the torch race's run: same model, same losses, and an interruption leaves no trace."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch

from adana.models.enoki import Enoki, EnokiConfig
from adana.train import run as torch_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "jax_enoki.py"
SIZES = {"heads": 2, "layers": 1, "seq_len": 16, "batch_size": 4, "steps": 24, "seed": 3}
LR = 1e-3


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("jax_enoki", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["jax_enoki"] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["jax_enoki"]


@pytest.fixture
def recipe(example, text_file):
    return example.Recipe(lr=LR, text=(str(text_file),), **SIZES)


@pytest.fixture
def torch_recipe(text_file):
    return torch_run.Recipe("adana", LR, {"weight_decay": 1.0}, text=(str(text_file),), **SIZES)


def weights(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def spread_norms(model: torch.nn.Module) -> None:
    """Norms that are not all one, so that a forgotten or exchanged one shows."""
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        if p.ndim == 1:
            p.data = 1 + 0.3 * torch.randn(p.shape, generator=generator)


def same(a, b) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_the_forward_pass_is_torchs(example):
    model = Enoki(EnokiConfig(heads=2, layers=2, vocab_size=256), seed=1)
    spread_norms(model)
    tokens = np.random.default_rng(0).integers(0, 256, (2, 16))
    with torch.no_grad():
        expected = model(torch.from_numpy(tokens)).numpy()
    logits = jax.jit(example.forward)(example.from_torch(weights(model)), tokens.astype(np.int32))
    # Logits of up to 4 from sums of 128 and 512 float32 products, added in another order: 3e-6 apart when measured.
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_initial_weights_have_torchs_shapes_and_spreads(example, recipe, torch_recipe):
    ours = jax.device_get(example.init(recipe))
    theirs = jax.device_get(example.from_torch(weights(Enoki(torch_recipe.model_config(), seed=0))))
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, theirs)
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs)):
        name = jax.tree_util.keystr(path)
        assert np.mean(a) == pytest.approx(np.mean(b), abs=4e-3), name
        assert np.std(a) == pytest.approx(np.std(b), rel=0.03), name


@pytest.mark.slow
def test_from_the_same_weights_the_losses_are_torchs(example, recipe, torch_recipe, tmp_path):
    start = example.from_torch(weights(Enoki(torch_recipe.model_config(), seed=SIZES["seed"])))
    _, ours = example.train(recipe, tmp_path / "jax", params=start)
    theirs = torch_run.train(torch_recipe, tmp_path / "torch", execution=torch_run.Execution(device="cpu"))
    expected = [(step, train, held) for (step, held), (_, train) in zip(theirs.curve, theirs.train_curve)]
    assert ours["final_loss"] == ours["curve"][-1][2]
    # Measured: 1.3e-7, and as much between two torch runs whose weights start one rounding (6e-8) apart. At three
    # times this learning rate that rounding grows to 4e-5 within these steps: nothing could be told from it.
    np.testing.assert_allclose(ours["curve"], expected, rtol=1e-6)


@pytest.mark.slow
def test_a_run_stopped_by_ctrl_c_without_torch_goes_on_bit_for_bit(example, recipe, tmp_path):
    whole: list[float] = []
    params, result = example.train(recipe, tmp_path / "whole", report=lambda p: whole.append(p.loss))

    # A process of its own, in which torch cannot be imported and Ctrl-C comes after a known step.
    folder = tmp_path / "cut"
    code = f"""
import signal, sys
class WithoutTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("no torch here")
sys.meta_path.insert(0, WithoutTorch())
sys.path.insert(0, {str(EXAMPLE.parent)!r})
import jax_enoki
def report(recipe, progress):
    if progress.step == 11:
        signal.raise_signal(signal.SIGINT)
jax_enoki.print_line = report
jax_enoki.tyro.cli(jax_enoki.main)
"""
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in SIZES.items()]
    command = [sys.executable, "-c", code, *sizes, f"--lr={LR}", "--text", *recipe.text, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "stopped" in done.stdout
    assert not (folder / "result.json").exists(), "a stopped run must not look finished"

    # A crash loses what came after the last checkpoint, and nothing else.
    def crash(progress):
        if progress.step == 19:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        example.train(recipe, folder, save_every=8, report=crash)
    losses: dict[int, float] = {}
    resumed, again = example.train(recipe, folder, report=lambda p: losses.update({p.step: p.loss}))
    assert losses == {step: whole[step - 1] for step in range(17, SIZES["steps"] + 1)}
    assert again["curve"] == result["curve"]
    assert same(resumed, params)
    assert json.loads((folder / "result.json").read_text())["final_loss"] == result["final_loss"]

    finished, same_result = example.train(recipe, folder, report=lambda p: pytest.fail("it ran again"))
    assert same(finished, params)
    assert same_result["curve"] == again["curve"]
    with pytest.raises(ValueError, match="another folder"):
        example.train(example.Recipe(**(vars(recipe) | {"lr": 2e-3})), folder)


def test_bad_input_is_a_clear_error(example, recipe, tmp_path):
    for changes, message in [
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"seq_len": 10**6}, "the text is too short"),
        ({"lr": -1.0}, "-1"),
    ]:
        with pytest.raises(ValueError, match=message):
            example.train(example.Recipe(**(vars(recipe) | changes)), tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_so(example, recipe, tmp_path):
    params = example.init(recipe)
    params["head"] = params["head"].at[0, 0].set(np.nan)
    with pytest.raises(FloatingPointError, match=r"nan at step 0: try a learning rate below 0\.001"):
        example.train(recipe, tmp_path, params=params)
