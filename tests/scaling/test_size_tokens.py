"""L(N, D): the truth of simulated tables, the published golden, what cannot be told apart, and bad input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adana.cli import main
from adana.scaling.fits import SizeTokensLaw, SizeTokensLaws, from_json
from adana.scaling.reading import read_runs
from adana.scaling.runs import Run
from adana.scaling.size_tokens_fit import size_tokens_law

PUBLIC = Path(__file__).parents[3] / "shared" / "data" / "chinchilla_epoch_svg_extracted.csv"
LAW = SizeTokensLaw(1.8, 480.0, 0.35, 2100.0, 0.37)
NOISE = 0.003
SIZES = tuple(np.geomspace(3e7, 3e9, 7).tolist())


def table(law=LAW, *, optimizer="a", noise=NOISE, seed=0, ratios=(2, 6, 20, 60, 200), sizes=SIZES):
    generator = np.random.default_rng(seed)
    return [
        Run(
            f"{optimizer} {n:g} {r:g}",
            optimizer,
            law(n, r * n) * math.exp(noise * generator.standard_normal()),
            non_embedding_parameters=float(n),
            total_parameters=float(n),
            tokens=float(r * n),
        )
        for n in sizes
        for r in ratios
    ]


def test_a_law_is_found_from_its_losses():
    fit = size_tokens_law(table(noise=0.0), bootstrap=5)
    law = fit.laws[0].law
    for name in ("e", "a", "alpha", "b", "beta"):
        assert getattr(law, name) == pytest.approx(getattr(LAW, name), rel=0.02), name
    assert law.optimum(1e21) == pytest.approx(LAW.optimum(1e21), rel=0.01)


@pytest.mark.parametrize("draw", ["rows", "cells"])
def test_intervals_hold_the_truth_inside_and_beyond_the_table(draw):
    fit = size_tokens_law(table(), bootstrap=120, draw=draw)
    (law,) = fit.laws
    assert all(getattr(LAW, name) in found for name, found in law.intervals.items())
    assert LAW.size_exponent in law.size_exponent
    n, d = LAW.optimum(law.optima[0].flops)
    assert n in law.optima[0].n_interval
    assert d in law.optima[0].tokens_interval
    assert LAW(n, d) in law.optima[0].loss_interval
    assert fit.outside(1e9, 2e10) == []
    assert [said.split(":")[0] for said in fit.outside(1e11, 2e10)] == ["size", "tokens per parameter"]


def test_shared_exponents_give_each_optimizer_its_worth():
    better = SizeTokensLaw(LAW.e, LAW.a, LAW.alpha, LAW.b * 1.3**-LAW.beta, LAW.beta)
    runs = table() + table(better, optimizer="b", seed=1)
    with pytest.raises(ValueError, match="2 optimizers: a, b: choose one with --optimizers, or --exponents shared"):
        size_tokens_law(runs)
    fit = size_tokens_law(runs, shared=True, bootstrap=100)
    first, second = fit.laws
    assert first.worth_tokens is None
    assert 1.3 in second.worth_tokens.interval
    assert 1.0 not in second.worth_tokens.interval
    assert 1.0 in second.worth_parameters.interval
    assert (first.law.e, first.law.alpha, first.law.beta) == (second.law.e, second.law.alpha, second.law.beta)


@pytest.mark.parametrize(
    ("runs", "varies", "warning"),
    [
        (table(ratios=(20,), sizes=np.geomspace(3e7, 3e9, 9)), "size", "alpha and beta cannot be told apart"),
        (table(sizes=[1e8], ratios=np.geomspace(2, 200, 9)), "tokens", "all runs have one size"),
    ],
)
def test_what_the_runs_do_not_tell_apart_is_said_and_the_rest_is_fitted(runs, varies, warning):
    from adana.scaling.presentation import shown

    fit = size_tokens_law(runs, bootstrap=30)
    assert fit.varies == varies
    assert any(warning in said for said in shown(fit).warnings)
    inside = runs[4]
    value, band = fit.predict(fit.laws[0], inside.size, inside.tokens)
    assert value == pytest.approx(inside.final_loss, rel=0.01)
    assert band.low <= value <= band.high


def test_rows_that_decide_the_law_are_named_and_can_be_left_out():
    runs = table(sizes=np.geomspace(3e7, 3e9, 28))
    far = table(seed=1, sizes=[3e7, 4e7, 5e7], ratios=[0.05])
    spoiled = [*(replace(run, final_loss=1.3 * run.final_loss) for run in far), *runs]
    fit = size_tokens_law(spoiled, bootstrap=20)
    (found,) = [one for one in fit.extremes if one.side == "fewest"]
    assert set(found.rows) == {run.where for run in far}
    again = size_tokens_law(spoiled, bootstrap=20, without_extremes=True)
    assert far[0].where not in [point.where for point in again.points]
    assert again.extremes[0].left_out


def test_a_fit_is_written_and_read_back(tmp_path):
    fit = size_tokens_law(table(), bootstrap=10)
    assert from_json(json.loads(json.dumps(fit.to_json()))) == fit
    assert isinstance(fit, SizeTokensLaws)


def test_isoflop_parabolas_agree_with_the_law_and_say_what_an_off_centre_grid_does():
    budgets = np.geomspace(1e19, 1e21, 5)
    runs = []
    for budget in budgets:
        best = LAW.optimum(budget)[0]
        for shift in np.geomspace(0.3, 40, 9):  # more of the sizes are too large
            n = best * shift
            runs.append(
                Run(
                    f"{budget:g} {shift:g}",
                    "a",
                    LAW(n, budget / 6 / n),
                    non_embedding_parameters=n,
                    tokens=budget / 6 / n,
                )
            )
    fit = size_tokens_law(runs, bootstrap=10)
    assert len(fit.isoflops.budgets) == 5
    for one in fit.isoflops.budgets:
        assert one.n / LAW.optimum(one.flops)[0] == pytest.approx(one.bias, rel=0.01)
        assert abs(one.bias - 1) > 0.02


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,3,1e8,2e9", "too few cells of size and tokens: 1"),
        ("a,3,1e8,", "no tokens: add the column tokens"),
        ("a,3,,2e9", "no size: add the column parameters"),
        ("a,3,1e8,-1", "tokens must be a number above 0, got -1"),
        ("a,3,1e8,0", "tokens must be a number above 0, got 0"),
        ("a,,1e8,1e9", "every run diverged"),
    ],
)
def test_a_table_that_cannot_be_fitted_is_one_line(rows, message, tmp_path, capsys):
    path = tmp_path / "runs.csv"
    path.write_text(f"optimizer,final_loss,parameters,tokens\n{rows}\n")
    assert main(["fit", str(path), "--law", "tokens", "--bootstrap", "5"]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.skipif(not PUBLIC.is_file(), reason="the public tables are not here")
def test_chinchilla_as_epoch_read_it():
    """With all rows and without the five of fewest tokens per parameter, against an independent fit."""
    runs = read_runs([PUBLIC])
    (law,) = size_tokens_law(runs, bootstrap=5).laws
    assert law.law.beta == pytest.approx(0.453, abs=0.001)
    fit = size_tokens_law(runs, bootstrap=200, without_extremes=True)
    (one,) = fit.extremes
    assert [row.split("row ")[1] for row in one.rows] == ["1", "2", "3", "4", "5"]
    (law,) = fit.laws
    assert law.law.e == pytest.approx(1.817, abs=0.001)
    assert law.law.alpha == pytest.approx(0.347, abs=0.001)
    assert law.law.beta == pytest.approx(0.367, abs=0.001)
    assert law.law.a == pytest.approx(478, rel=0.01)
    assert law.law.b == pytest.approx(2140, rel=0.01)
    for name, value in (("e", 1.817), ("alpha", 0.348), ("beta", 0.366)):
        assert value in law.intervals[name]
