"""Plans by one's own laws over size, tokens and batch."""

from __future__ import annotations

import json
import math

import pytest

from adana.cli import main
from adana.files import write_json
from adana.models import EnokiConfig
from adana.scaling.fits import OptimizerSizeTokens, PowerLaw, RateBatchLaws, SizeTokensLaw, SizeTokensLaws
from adana.scaling.fits.rate_batch import Best, OptimizerRateBatch
from adana.scaling.fits.size_tokens import SizeTokensPoint

LAW = SizeTokensLaw(1.8, 480.0, 0.35, 2100.0, 0.37)
RATE = PowerLaw(1.8, {"N": -0.71, "D": 0.31}, {}, ((math.log(1.8), -0.71, 0.31),), 0.1, 9, 0)
BATCH = PowerLaw(0.57, {"D": 0.57}, {}, ((math.log(0.57), 0.57),), 0.1, 9, 0)


@pytest.fixture
def laws(tmp_path):
    """A law of AdamW over size and tokens, and one over learning rate and batch, fitted on 10M to 100M parameters."""
    shifted = tuple((LAW.e, LAW.a * x, LAW.alpha, LAW.b / x, LAW.beta) for x in (0.95, 1.0, 1.05))
    points = tuple(SizeTokensPoint("adamw", "", n, 20 * n, LAW(n, 20 * n), 0.0) for n in (1e7, 3e7, 1e8))
    tokens = SizeTokensLaws(
        "total", "both", False, "rows", (), None, 0.01, (6, 6), None, 1.0, 0, 0,
        (OptimizerSizeTokens("adamw", None, LAW, {}, {}, shifted),), points,
    )  # fmt: skip
    cells = tuple(Best(n, 20 * n, 65536.0, 1e-3, "inside", 0.1, 3.0) for n in (1e7, 3e7, 1e8))
    rates = RateBatchLaws("total", (), (OptimizerRateBatch("adamw", None, RATE, RATE, BATCH, cells, ()),))
    paths = [tmp_path / "tokens.json", tmp_path / "rates.json"]
    for path, fit in zip(paths, (tokens, rates)):
        write_json(path, fit.to_json())
    return [str(path) for path in paths]


def test_a_budget_gives_the_size_and_the_tokens_of_ones_own_law(laws, capsys):
    command = ["plan", "--budget", "1e18", "--optimizer", "adamw", "--law", *laws, "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    n, _ = LAW.optimum(1e18)
    assert found["total_parameters"] == pytest.approx(n, rel=0.35)
    assert 6 * found["total_parameters"] * found["tokens"] == pytest.approx(1e18, rel=1e-3)
    assert found["predicted_loss"] == pytest.approx(LAW(found["total_parameters"], found["tokens"]))
    assert found["predicted_loss_low"] < found["predicted_loss"] < found["predicted_loss_high"]
    assert found["lr"] == pytest.approx(1.8 * found["total_parameters"] ** -0.71 * found["tokens"] ** 0.31)
    assert any(said.startswith(f"the best for 1e+18 FLOPs by your law: N {n:.3g}") for said in found["warnings"])


def test_tokens_are_taken_as_they_are_and_each_axis_outside_is_named(laws, capsys):
    command = ["plan", "--heads", "20", "--tokens", "1e10", "--optimizer", "adamw", "--law", *laws]
    assert main([*command, "--batch-tokens", "1048576", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == pytest.approx(1e10)
    assert found["total_parameters"] == EnokiConfig(20).total_parameters
    said = " ".join(found["warnings"])
    for axis in ("lr: outside what it was fitted on in size", "in tokens:", "in tokens per step"):
        assert axis in said
    assert "your law's best batch for 1e+10 tokens is" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optimizer", "adamw"], "name a size with --heads, or a budget with --budget"),
        (["--budget", "1e18", "--tokens", "1e9"], "--tokens and --budget each say how long the run is: name one"),
        (["--budget", "-1"], "--budget must be above 0, got -1"),
        (["--budget", "1e18", "--optimizer", "muon"], "a budget needs a law over size and tokens of muon"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, laws, capsys):
    assert main(["plan", *arguments, "--law", *laws]) == 2
    assert message in capsys.readouterr().err
