"""Spectra of a run: of the activations and gradients that its model has, at every step that it kept."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adana.cli import main
from adana.inspect.activations import gather, layers
from adana.inspect.context import loss_by_position, rates_by_context
from adana.inspect.gradients import chosen_matrices, gradient_spectra, per_sample_gradients
from adana.inspect.hilberg import hilberg
from adana.inspect.runs import open_run
from adana.inspect.spectrum import spectrum, subspace_overlap
from adana.models import architecture
from adana.models.enoki import Enoki, EnokiConfig
from adana.models.qwen3 import Qwen3, Qwen3Config
from adana.train.recipe import Execution, Recipe
from adana.train.run import train

SEQ_LEN = 128
MODELS = {
    "enoki": lambda: Enoki(EnokiConfig(heads=1, layers=2, vocab_size=256)),
    "mixture": lambda: Enoki(EnokiConfig(heads=1, layers=1, vocab_size=256, experts=2)),
    "qwen3": lambda: Qwen3(Qwen3Config(heads=1, layers=1, vocab_size=256, head_dim=32)),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four steps that kept two checkpoints."""
    folder = tmp_path_factory.mktemp("spectrum")
    (folder / "text.txt").write_bytes(Path(argparse.__file__).read_bytes()[:60_000])
    sizes = {"heads": 1, "seq_len": SEQ_LEN, "batch_size": 2, "steps": 4, "evaluations": 1}
    recipe = Recipe("adana", 1e-3, {"weight_decay": 0.0}, text=(str(folder / "text.txt"),), **sizes)
    kept = Execution(device="cpu", log_every=None, save_every=2, keep_every=2)
    train(recipe, folder / "run", execution=kept)
    return folder / "run"


@pytest.fixture(scope="module")
def windows():
    return np.random.default_rng(0).integers(0, 256, size=(16, SEQ_LEN + 1))


# --- activations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_what_is_gathered_is_what_goes_through_the_model(name, windows):
    model = MODELS[name]()
    seen = []
    handle = model.head.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(0, 1)))
    with torch.no_grad():
        model(torch.from_numpy(windows[:, :-1]))
    handle.remove()
    moments = gather(model, windows, batch=3)
    assert list(moments) == list(layers(model))
    x = torch.cat(seen).double()
    truth = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    torch.testing.assert_close(moments["head"].eigen().values, truth, rtol=1e-4, atol=1e-6)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_way_of_wide_layers_agrees_with_the_exact_one(windows):
    model = MODELS["enoki"]()
    exact, randomised = gather(model, windows), gather(model, windows, exact_up_to=64, modes=64)
    name = "blocks.0.mlp.down"
    values, found = exact[name].eigen().values[:32], randomised[name].eigen()
    assert randomised["head"].passes == 1
    for value, error in zip(found.values.tolist(), found.errors.tolist()):
        assert (exact[name].eigen().values - value).abs().min() <= error + 1e-6
    torch.testing.assert_close(found.values[:4], values[:4], rtol=0.05, atol=0)


# --- gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_mean_of_per_sequence_gradients_is_the_gradient_of_the_mean_loss(name, windows):
    model = MODELS[name]()
    names = chosen_matrices(model, ("down.weight", "out.weight"))
    parts = list(per_sample_gradients(model, windows[:4], names))
    batch = torch.from_numpy(windows[:4])
    F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).backward()
    parameters = dict(model.named_parameters())
    for matrix in names:
        mean = torch.stack([part[matrix] for part in parts]).mean(0)
        torch.testing.assert_close(mean, parameters[matrix].grad, rtol=1e-3, atol=1e-6)
    assert all(p.requires_grad for p in model.parameters())


def test_a_gradient_of_two_tokens_has_two_modes(windows):
    model = MODELS["enoki"]()
    parts = list(per_sample_gradients(model, windows[:1, :3], ["blocks.0.mlp.up.weight"]))
    values = torch.linalg.svdvals(parts[0]["blocks.0.mlp.up.weight"])
    assert values[1] > 1e-4 * values[0]
    assert values[2] < 1e-5 * values[0]


def test_gradient_spectra_summarise_head_and_tail(windows):
    model = MODELS["enoki"]()
    (one,) = gradient_spectra(model, windows[:6], ["blocks.1.mlp.down.weight"])
    shares = []
    for part in per_sample_gradients(model, windows[:6], [one.matrix]):
        squares = np.linalg.svd(part[one.matrix].numpy(), compute_uv=False).astype(float) ** 2
        shares.append(squares / squares.sum())
    assert one.shape == (64, 256)
    assert one.top == pytest.approx(np.mean([share[0] for share in shares]), rel=1e-4)
    assert one.head == pytest.approx(np.mean([share[:8].sum() for share in shares]), rel=1e-4)
    assert one.stable_rank == pytest.approx(np.mean([1 / share[0] for share in shares]), rel=1e-4)
    assert one.interval.low <= one.law.exponent <= one.interval.high


@pytest.mark.parametrize(
    ("sequences", "words"), [(3, "at least 4 sequences, got 3"), (0, "at least 4 sequences, got 0")]
)
def test_too_few_gradients_are_refused(sequences, words, windows):
    with pytest.raises(ValueError, match=words):
        gradient_spectra(MODELS["enoki"](), windows[:sequences], ["head.weight"])


def test_a_matrix_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"no matrix ends in 'downs': there are .*blocks\.0\.mlp\.down\.weight"):
        chosen_matrices(MODELS["enoki"](), ("downs",))


# --- movement -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modes", [1, 3, 8])
def test_overlap_is_of_subspaces_and_not_of_bases(modes):
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(20, 2 * modes, generator=generator)).Q
    turn = torch.linalg.qr(torch.randn(modes, modes, generator=generator)).Q
    assert subspace_overlap(basis[:, :modes], basis[:, :modes] @ turn) == pytest.approx(1, abs=1e-5)
    assert subspace_overlap(basis[:, :modes], basis[:, modes:]) == pytest.approx(0, abs=1e-5)


# --- a run ----------------------------------------------------------------------------------------------


def test_a_run_is_looked_at_where_it_began_and_wherever_it_kept_a_checkpoint(run):
    lines: list[str] = []
    found = spectrum(str(run), gradients=4, progress=lines.append)
    assert [one.step for one in found.snapshots] == [0, 2, 4]
    assert found.kappa == 0.85
    recipe = open_run(str(run)).recipe
    fresh = architecture(recipe.arch).model(recipe.model_config(), seed=recipe.seed)
    text = open_run(str(run)).model(0)
    assert all(torch.equal(p, q) for p, q in zip(fresh.parameters(), text.parameters()))
    assert {(one.begin, one.end) for one in found.movements} == {(0, 2), (2, 4), (0, 4)}
    assert all(0 <= one.overlap <= 1 + 1e-9 for one in found.movements)
    later, earlier = (
        next(one.overlap for one in found.movements if (one.begin, one.end, one.layer) == (begin, end, "head"))
        for begin, end in ((2, 4), (0, 4))
    )
    assert later >= earlier
    assert any(line.startswith("step 4: gradients of 4") for line in lines)


def test_a_checkpoint_by_itself_gives_what_its_run_gives_there(run):
    at = spectrum(str(run / "checkpoints" / "step-00000002"), gradients=0)
    assert [one.step for one in at.snapshots] == [0, 2]
    assert at.snapshots == spectrum(str(run), steps=[0, 2], gradients=0).snapshots


def test_the_command_prints_tables_json_and_a_figure(run, tmp_path, capsys):
    argv = ["inspect", "spectrum", str(run), "--gradients", "4", "--steps", "0", "4"]
    assert main([*argv, "--plot", str(tmp_path / "s.svg")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "activations after step 4 of 4" in shown
    assert "Do not set kappa by 1/(2 rho)" in shown or "No power law in" in shown
    assert (tmp_path / "s.svg").stat().st_size > 10_000
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["snapshots"][0]["layers"]) == {"embedding", "blocks.0.mlp.down", "blocks.0", "head"}
    law = found["snapshots"][1]["layers"]["head"]["law"]
    assert law["first"] < law["last"] <= 32


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--tokens", "2000"], "at least 2,048 tokens in whole sequences of 128; there are 2,000"),
        (["--tokens", "20000000"], "the held-out text has 3,000 tokens"),
        (["--steps", "3"], "no checkpoint of step 3: it has 0, 2, 4"),
        (["--gradients", "2"], "gradients must be 0, for none, or at least 4 sequences, got 2"),
        (["--head", "0"], "head must be at least 1, got 0"),
        (["--modes", "4"], "modes must be at least 32"),
        (["--device", "nowhere"], "device 'nowhere' cannot be used"),
        (["--matrices", "x"], "no matrix ends in 'x'"),
    ],
)
def test_too_little_and_odd_options_are_one_line(more, words, run, capsys):
    assert main(["inspect", "spectrum", str(run), *more]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_run_without_checkpoints_says_what_to_do(run, tmp_path, capsys):
    (tmp_path / "run.json").write_bytes((run / "run.json").read_bytes())
    assert main(["inspect", "spectrum", str(tmp_path)]) == 2
    assert "--keep-every" in capsys.readouterr().err
    assert main(["inspect", "spectrum", str(tmp_path / "nowhere")]) == 2


# --- loss by position in the context --------------------------------------------------------------------


def test_loss_by_position_is_the_cross_entropy_of_each_token(windows):
    model = MODELS["enoki"]()
    found = np.concatenate(list(loss_by_position(model, windows, batch=5)))
    with torch.no_grad():
        chances = model(torch.from_numpy(windows[:, :-1])).log_softmax(-1)
    truth = -chances.gather(-1, torch.from_numpy(windows[:, 1:, None]))[..., 0]
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-5)
    lengths, rates = rates_by_context(model, windows, places=2, bytes_per_token=4.0)
    assert lengths == [1, 2, 4, 8, 16, 32, 64, 128]
    assert rates[1][3] == pytest.approx(float(truth[8:, :8].mean()) / np.log(2) / 4, rel=1e-4)


def test_a_run_stands_beside_the_compressors(run, capsys):
    alone = hilberg(run=str(run), starts=2)
    assert [one.compressor for one in alone.curves] == [str(run)]
    assert alone.curves[0].lengths[-1] == SEQ_LEN
    assert len(alone.curves[0].rates) == 2
    text = str(run.parent / "text.txt")
    assert main(["inspect", "hilberg", text, "--run", str(run), "--least", "256", "--starts", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["compressor"] for one in found["curves"]] == ["ppm", str(run)]
    assert found["curves"][1]["rates"] == alone.curves[0].rates


def test_a_context_that_is_too_short_says_how_long_it_must_be(windows):
    with pytest.raises(ValueError, match=r"context of 64 tokens is too short.* a context of 128 tokens"):
        rates_by_context(MODELS["enoki"](), windows[:, :65], places=2)
    with pytest.raises(ValueError, match="20 places need as many sequences, got 16"):
        rates_by_context(MODELS["enoki"](), windows, places=20)
