"""What a batch changes at equal tokens: alpha~ and the token multiplier of simulated tables, and bad input."""

from __future__ import annotations

import csv
import itertools
import json
import math

import numpy as np
import pytest

from adana.cli import main
from adana.scaling.batch import batch_law
from adana.scaling.describe import described
from adana.scaling.fits import KINDS, from_json
from adana.scaling.reading import read_runs

ETA, BATCHES = 0.33, (32768, 65536, 131072, 262144)


def worth(batch):
    """ADana's equivalent tokens: less at a large batch."""
    return 1.4 * (batch / 65536) ** -0.1


def table(path, *, scales=(0.5, 1.0, 2.0, 4.0), batches=BATCHES, noise=0.0, seeds=(0,)):
    generator = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["optimizer", "final_loss", "seed", "parameters", "tokens", "batch_tokens", "lr", "options"])
        for d, batch, seed in itertools.product((1e9, 2e9, 4e9), batches, seeds):
            loss = 2 + 2000 * d**-0.35 + noise * generator.standard_normal()
            writer.writerow(["adamw", loss, seed, 1e8, d, batch, 1e-3, "{}"])
            for scale in scales:
                best = (batch / 65536) ** ETA
                loss = 2 + 2000 * (worth(batch) * d) ** -0.35 + 0.01 * math.log(scale / best) ** 2
                loss += noise * generator.standard_normal()
                writer.writerow(["adana", loss, seed, 1e8, d, batch, 1e-3, json.dumps({"damping_scale": scale})])
    return path


def test_alpha_over_the_batch_and_the_multiplier_at_equal_tokens_are_found(tmp_path):
    fit = batch_law(read_runs([table(tmp_path / "runs.csv")]))
    adamw, adana = sorted(fit.laws, key=lambda law: law.label)
    assert adamw.exponent is None
    assert adana.exponent == pytest.approx(ETA, abs=1e-6)
    inside = [row for row in adana.rows if row.multiplier is not None and not row.extrapolated]
    assert len(inside) >= 4
    for row in inside:
        # Lines straight in tokens lie above the curve, and so give a little more.
        assert worth(row.batch_tokens) * 0.95 < row.multiplier < worth(row.batch_tokens) * 1.15
    same = [row for row in inside if row.tokens == 1e9]
    assert [row.multiplier for row in same] == sorted((row.multiplier for row in same), reverse=True)
    assert from_json(json.loads(json.dumps(fit.to_json()))) == fit


def test_intervals_from_seeds_hold_the_exponent(tmp_path):
    fit = batch_law(read_runs([table(tmp_path / "runs.csv", noise=1e-4, seeds=(0, 1))]))
    law = next(law for law in fit.laws if law.exponent is not None)
    assert ETA in law.interval
    assert law.interval.high - law.interval.low < 0.2
    assert any(row.interval is not None for row in law.rows)


def test_the_command_prints_it(tmp_path, capsys):
    assert main(["fit", str(table(tmp_path / "runs.csv")), "--law", "batch"]) == 0
    printed = capsys.readouterr().out
    assert "alpha~ = k B^0.330" in printed
    assert main(["fit", str(table(tmp_path / "runs.csv")), "--law", "batch", "--optimizers", "adana", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["law"] == "batch"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,3,1e8,2e9,1e5\nb,3,1e8,2e9,1e5", "one batch at every size and number of tokens"),
        ("a,3,1e8,2e9,", "no batch: add the column batch_tokens"),
        ("a,3,1e8,,1e5", "no tokens: add the column tokens"),
        ("a,3,,2e9,1e5", "no size: add the column parameters"),
    ],
)
def test_a_table_that_cannot_be_compared_is_one_line(rows, message, tmp_path, capsys):
    path = tmp_path / "runs.csv"
    path.write_text(f"optimizer,final_loss,parameters,tokens,batch_tokens\n{rows}\n")
    assert main(["fit", str(path), "--law", "batch"]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_what_is_missing_is_said(tmp_path, capsys):
    runs = table(tmp_path / "runs.csv", scales=(1.0,))
    assert main(["fit", str(runs), "--law", "batch", "--baseline", "muon"]) in (0, 1)
    printed = capsys.readouterr()
    assert "no baseline" in printed.out + printed.err


def test_a_description_says_of_every_law_whether_it_can_be_fitted(tmp_path):
    found = described([table(tmp_path / "runs.csv")], [])
    assert {one.law for one in found.laws} == set(KINDS)
    assert {one.law: one.missing for one in found.laws}["batch"] == ""
    one_batch = described([table(tmp_path / "runs.csv", batches=(65536,))], [])
    missing = {one.law: one.missing for one in one_batch.laws}["batch"]
    assert missing == "two batches at one size and number of tokens"
