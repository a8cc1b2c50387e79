"""An architecture that the package has never heard of: one entry, here, and every command knows it."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, EntryPoints

import pytest
import torch
from torch import Tensor, nn

from adana.cli import main
from adana.models import (
    Architecture,
    Decoder,
    DecoderConfig,
    EnokiConfig,
    Equations,
    architecture,
    architectures,
    build,
    count,
    flops_per_token,
    model_name,
    printed_equations,
    register,
)
from adana.scaling.planning import plan
from adana.scaling.reading import read_runs
from adana.train.recipe import Recipe


@dataclass(frozen=True)
class AverageConfig(DecoderConfig):
    """Every token sees the mean of those before it; no attention."""

    head_dim: int = 16

    @property
    def depth(self) -> int:
        return self.heads + 1 if self.layers is None else self.layers

    @property
    def hidden(self) -> int:
        return 2 * self.width if self.mlp_dim is None else self.mlp_dim

    @property
    def parameters_per_layer(self) -> int:
        return 2 * self.width * self.hidden


@dataclass(frozen=True)
class WrongConfig(AverageConfig):
    @property
    def parameters_per_layer(self) -> int:
        return 12 * self.width**2


class AverageBlock(nn.Module):
    def __init__(self, config: AverageConfig) -> None:
        super().__init__()
        self.mlp_norm = nn.LayerNorm(config.width, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        past = x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]
        return x + self.down(self.up(self.mlp_norm(past)).relu())


class Average(Decoder):
    def make_block(self) -> nn.Module:
        return AverageBlock(self.config)

    def make_norm(self) -> nn.Module:
        return nn.LayerNorm(self.config.width, bias=False)


AVERAGE = Architecture(
    "average",
    AverageConfig,
    Average,
    Equations(
        layers="heads + 1",
        hidden="2 width",
        non_embedding_parameters="4 width^2 layers, without norms",
        matrices="24 layers width^2",
    ),
    norms_counted=False,
)
NAME = f"{__name__}:AVERAGE"
TINY = ["--seq-len", "16", "--batch-size", "2", "--steps", "50", "--evaluations", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(architectures, "_known", dict(architectures._known))


def test_train_takes_it_by_its_importable_name(text_file, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "small", "--arch", NAME, "--heads", "1", "--text", str(text_file), *TINY]
    assert main([*command, "--lr", "1e-3", "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "layers 2 heads + 1" in said
    assert "4 width^2 layers, without norms" in said
    assert json.loads((out / "run.json").read_text())["recipe"]["arch"] == NAME
    (run,) = read_runs([out])
    assert run.model == "average with a vocabulary of 256"
    assert run.non_embedding_parameters == AverageConfig(1, vocab_size=256).non_embedding_parameters


@pytest.mark.slow
def test_sweep_takes_it_and_its_workers_know_it_too(text_file, tmp_path):
    """By a name registered here: a worker is another process, that has not run this test."""
    register(AVERAGE)
    places = ["--text", str(text_file), "--out", str(tmp_path / "runs"), "--output", str(tmp_path / "sweep")]
    command = ["sweep", "--arch", "average", "--heads", "1", "--optimizers", "adana", "--fine", "None", *TINY, *places]
    assert main([*command, "--workers", "1"]) == 0
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["arch"] for row in rows} == {"average"}
    size = AverageConfig(1, vocab_size=256).non_embedding_parameters
    assert {int(row["non_embedding_parameters"]) for row in rows} == {size}
    assert all(float(row["final_loss"]) > 0 for row in rows)
    assert {run.model for run in read_runs([tmp_path / "sweep.csv"])} == {"average with a vocabulary of 256"}


def test_plan_takes_it_and_writes_a_recipe_that_trains(tmp_path, capsys):
    recipe = tmp_path / "recipe.json"
    given = ["--heads", "3", "--batch-tokens", "4096", "--seq-len", "128", "--vocab-size", "256", "--lr", "1e-3"]
    assert main(["plan", "--arch", NAME, *given, "--recipe", str(recipe)]) == 0
    *_, command = capsys.readouterr().out.strip().splitlines()
    assert main([*shlex.split(command)[2:], "--dry-run"]) == 0
    capsys.readouterr()
    assert main(["plan", "--arch", NAME, *given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    config = AverageConfig(3, vocab_size=256)
    assert found["layers"] == 4
    assert found["head_dim"] == 16
    assert found["total_parameters"] == config.total_parameters
    assert found["equations"]["hidden"] == "2 width"
    assert found["equations"]["flops_6p"] == "24 layers width^2 x tokens (28)"
    assert found["flops_6p"] == 24 * 4 * config.width**2 * found["tokens"]


def test_a_plan_says_that_no_law_was_published_for_it(capsys):
    register(AVERAGE)
    found = plan(3, "adana", arch="average")
    assert found.lr is None
    assert "no learning-rate law for adana on average" in found.lr_source


@pytest.mark.parametrize("of", ["recipe", "table"])
def test_a_name_in_a_file_never_has_a_module_imported(of, tmp_path, monkeypatch, capsys):
    """Else whoever sends a run folder has code run: only what is written on the command line is imported."""
    (tmp_path / "planted.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    if of == "recipe":
        file = tmp_path / "recipe.json"
        file.write_text(json.dumps(Recipe(lr=1e-3, arch="planted:X").to_json()))
        assert main(["train", str(file), "--dry-run"]) == 2
        assert "arch 'planted:X' is not imported: name it with --arch" in capsys.readouterr().err
    else:
        file = tmp_path / "runs.csv"
        file.write_text("optimizer,final_loss,arch,heads,lr\nadana,3,planted:X,6,0.1\n")
        with pytest.raises(ValueError, match="'planted:X' is not imported"):
            read_runs([file])
    assert "planted" not in sys.modules


def test_a_table_that_says_its_sizes_needs_no_architecture(tmp_path):
    file = tmp_path / "runs.csv"
    columns = "optimizer,final_loss,arch,heads,non_embedding_parameters,total_parameters,tokens,flops_6n"
    file.write_text(f"{columns}\nadana,3,mamba:X,6,1e6,2e6,4e7,1e15\n")
    (run,) = read_runs([file])
    assert (run.model, run.non_embedding_parameters, run.pfh("6n")) == ("mamba:X", 1e6, 1e15 / 3.6e18)


def test_one_in_the_current_folder_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_alone.py").write_text(f"from {__name__} import AVERAGE as MINE\n")
    assert main(["plan", "--arch", "mine_alone:MINE", "--heads", "2", "--lr", "1e-3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"] == 3
    del sys.modules["mine_alone"]


def test_a_package_offers_one_through_an_entry_point(monkeypatch):
    points = EntryPoints([EntryPoint("sideways", NAME, architectures.GROUP)])
    monkeypatch.setattr(architectures, "entry_points", lambda **given: points.select(**given))
    assert architectures.names() == ("enoki", "qwen3", "sideways")
    assert architecture("sideways") is AVERAGE
    assert Recipe(arch="sideways", heads=1).model_config() == AverageConfig(1, vocab_size=256)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gpt", "unknown architecture 'gpt': choose from enoki, qwen3, or your own as package.module:NAME"),
        ("no_such_module_here:GPT", "cannot be imported .ModuleNotFoundError"),
        (f"{__name__}:NOBODY", "unknown architecture"),
        (f"{__name__}:TINY", "must be an adana.models.Architecture, got list"),
        ("tests.models.tables:TABLE_1", "must be an adana.models.Architecture, got list"),
        (":", "cannot be imported"),
    ],
)
@pytest.mark.parametrize("command", [["plan", "--heads", "2"], ["train", "small", "--dry-run"], ["sweep"], ["ladder"]])
def test_what_is_no_architecture_is_refused_in_one_line(command, name, told, capsys):
    assert main([*command, "--arch", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"adana {command[0]}: error: ")
    with pytest.raises(ValueError, match=told):
        architectures.load(name)


def test_an_entry_is_checked_when_it_is_made():
    with pytest.raises(ValueError, match="letters, digits, - and _ only, got 'a/b'"):
        replace(AVERAGE, name="a/b")
    with pytest.raises(TypeError, match="config must be a subclass of DecoderConfig"):
        replace(AVERAGE, config=dict)
    with pytest.raises(TypeError, match="model must make a Decoder"):
        replace(AVERAGE, model="Average")


def test_a_name_has_one_architecture():
    register(AVERAGE)
    assert register(AVERAGE) is AVERAGE
    with pytest.raises(ValueError, match="another architecture 'enoki'"):
        register(replace(AVERAGE, name="enoki"))


def test_a_formula_that_is_not_the_models_is_refused():
    """Steps and learning rates come from the configuration's number: a wrong one would plan another run."""
    register(Architecture("wrong", WrongConfig, Average))
    wrong = WrongConfig(2, vocab_size=256)
    with pytest.raises(ValueError, match=r"non_embedding_parameters gives 36,864, but the model .* 'wrong' has 12,416"):
        count(wrong)


def test_its_parts_are_counted_by_name():
    register(AVERAGE)
    config = AverageConfig(2, vocab_size=256)
    counts = count(config)
    assert counts.model_parameters == sum(p.numel() for p in build(config).parameters())
    assert (counts.attention, counts.mlp, counts.block_norms) == (0, 3 * 4 * 32**2, 3 * 32)
    assert flops_per_token(config, formula="6P") == 24 * 3 * 32**2


def test_sizes_that_it_does_not_take_are_refused_by_name():
    register(AVERAGE)
    with pytest.raises(ValueError, match=r"average has no experts: .*that has it \(enoki\)"):
        Recipe(arch="average", experts=4).check()


def test_equations_of_the_ladder_are_not_printed_beside_other_shapes():
    assert printed_equations(EnokiConfig(6))["matrices"] == "72 layers width^2"
    for shape in ({"experts": 4}, {"mlp_dim": 64}, {"embedding_dim": 64}):
        found = printed_equations(EnokiConfig(6, **shape))
        assert found["matrices"] == Equations().matrices
        assert "width^2" not in found["non_embedding_parameters"]
    assert model_name(EnokiConfig(2, vocab_size=256, experts=4)).endswith("4 experts of which a token uses 1")


def test_help_names_every_architecture_that_is_built_in(capsys):
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"Architecture: {', '.join(architectures.names())}, or your own" in said
