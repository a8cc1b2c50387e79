"""The page about choosing says what the results say."""

from __future__ import annotations

import csv
import json

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def page():
    return " ".join((ROOT / "docs" / "choosing.md").read_text().split())


def test_the_race_is_quoted_as_it_came_out(page):
    rows = {row["optimizer"]: row for row in json.loads((ROOT / "results" / "race-all.json").read_text())["rows"]}
    found = [f"{rows[name]['multiplier']:.2f}" for name in ("adana", "dana-mk4", "dana-star-mk4")]
    assert f"worth {min(found)} to {max(found)} times AdamW's compute" in page
    muon = rows["muon-dw"]
    own = f"a multiplier of {muon['multiplier']:.2f}), less once its own FLOPs count ({muon['multiplier_all']:.2f})"
    assert own in page


def test_table_19_is_quoted_as_printed(page):
    losses: dict[tuple[str, str], dict[int, float]] = {}
    with (ROOT / "src/adana/scaling/tables/qwen3_losses.csv").open() as file:
        for row in csv.DictReader(file):
            losses.setdefault((row["optimizer"], row["kappa"]), {})[int(row["heads"])] = float(row["final_loss"])
    adamw, adana, mk4, lower = (
        losses[key] for key in (("adamw", ""), ("adana", "0.85"), ("dana-mk4", "0.85"), ("dana-mk4", "0.75"))
    )
    apart = max(abs(adana[size] - mk4[size]) for size in adamw)
    below = [adamw[size] - one[size] for one in (adana, mk4) for size in adamw]
    lost = [lower[size] - mk4[size] for size in adamw]
    assert f"within {apart:.3f} nats of one another" in page
    assert f"{min(below):.3f} to {max(below):.3f} below AdamW" in page
    assert f"DanaMK4 loses {min(lost):.3f} to {max(lost):.3f} nats" in page


def test_hilbergs_exponent_is_quoted_as_measured(page):
    texts = json.loads((ROOT / "results" / "hilberg-santa-fe.json").read_text())["texts"]
    last = texts[-1]
    assert f"reads {last['curves'][0]['fits'][0]['exponent']:.2f} on a text where {last['exponent']:g} is true" in page
