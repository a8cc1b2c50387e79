"""Token multipliers over f = D / 20 N, and the exponent p of L_B(f) = L_A(c f^p)."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from adana.cli import main
from adana.scaling.fits import from_json
from adana.scaling.grouping import select
from adana.scaling.overtraining import overtraining
from adana.scaling.presentation import shown
from adana.scaling.runs import Run

SIZES = (1e8, 3e8)
RATIOS = (0.5, 1, 2, 4, 8, 16, 32)


def base(n, f):
    return 1.5 + (n / 1e8) ** -0.1 + f**-0.2


def table(p=1.15, c=1.2, *, noise=0.0, seeds=(0,), ratios=RATIOS):
    generator = np.random.default_rng(1)

    def run(name, n, f, loss, seed):
        loss = loss + noise * generator.standard_normal()
        return Run(f"{name} {n:g} {f:g} {seed}", name, loss, seed=seed, non_embedding_parameters=n, tokens=20 * n * f)

    return [
        run(name, n, f, base(n, f if name == "adamw" else c * f**p), seed)
        for n in SIZES
        for f in ratios
        for name in ("adamw", "better")
        for seed in seeds
    ]


def test_the_exponent_and_the_factor_are_found():
    (law,) = overtraining(table()).laws
    assert law.exponent == pytest.approx(1.15, abs=0.01)
    assert dict(law.factors)[1e8] == pytest.approx(1.2, rel=0.03)
    inside = [row for row in law.rows if not row.extrapolated]
    for row in inside:
        assert row.joined_in_log == pytest.approx(1.2 * row.f**0.15, rel=0.03)
        assert row.multiplier > row.joined_in_log * 0.999, "straight lines in tokens lie above a convex curve"


def test_intervals_from_seeds_hold_the_exponent():
    (law,) = overtraining(table(noise=0.003, seeds=(0, 1, 2)), draws=300).laws
    assert 1.15 in law.interval
    assert 1.0 not in law.interval
    assert all(row.interval.low < row.multiplier < row.interval.high for row in law.rows if not row.extrapolated)


def test_a_constant_advantage_has_an_exponent_of_one():
    (law,) = overtraining(table(p=1.0, c=1.4, noise=0.003), seed_noise=0.003, draws=300).laws
    assert 1.0 in law.interval


def test_a_short_span_is_said():
    fit = overtraining(table(ratios=(1, 2, 4)), seed_noise=0.001, draws=50)
    assert fit.laws[0].span == pytest.approx(2)
    assert any("f spans too little for an exponent" in said for said in shown(fit).warnings)


def test_a_fit_is_written_and_read_back():
    fit = overtraining(table(), seed_noise=0.001, draws=20)
    assert from_json(json.loads(json.dumps(fit.to_json()))) == fit


def test_the_command_takes_a_table(tmp_path, capsys):
    path = tmp_path / "runs.csv"
    rows = [f"{run.optimizer},{run.final_loss},{run.size},{run.tokens}" for run in table()]
    path.write_text("\n".join(["optimizer,final_loss,parameters,tokens", *rows]) + "\n")
    assert main(["fit", str(path), "--law", "overtraining", "--bootstrap", "20"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "p above 1: the advantage grows with training" in said


def test_a_searched_kappa_is_a_setting_and_the_best_counts_at_every_point():
    def at(kappa, worse):
        return [
            replace(run, kappa=kappa, final_loss=run.final_loss + worse(run.tokens / (20 * run.size)))
            for run in table()
            if run.optimizer == "better"
        ]

    baseline = [run for run in table() if run.optimizer == "adamw"]
    runs = [*baseline, *at(0.7, lambda f: 0.1 * (f > 4)), *at(0.85, lambda f: 0.1 * (f <= 4))]
    assert len(overtraining(runs).laws) == 2
    (law,) = overtraining(select(runs, searched_kappa=True)).laws
    assert (law.label, law.exponent) == ("better", pytest.approx(1.15, abs=0.01))


@pytest.mark.parametrize(
    ("runs", "baseline", "message"),
    [
        (table(), "muon", "no runs of the baseline 'muon': choose one of adamw, better"),
        (table(ratios=(1,)), "adamw", "has at no size two numbers of tokens"),
        ([run for run in table() if run.optimizer == "adamw"], "adamw", "there is nothing to compare"),
    ],
)
def test_what_cannot_be_compared_is_said(runs, baseline, message):
    with pytest.raises(ValueError, match=message):
        overtraining(runs, baseline=baseline)
