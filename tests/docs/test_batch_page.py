"""The page about batches says what was measured."""

from __future__ import annotations

import csv
import json
import runpy

import pytest

from tests.docs.pages import ROOT, table

PAGE = "docs/batch.md"


def test_the_noise_along_a_run_is_what_was_measured():
    found = json.loads((ROOT / "results" / "noise-small.json").read_text())
    rows = table(PAGE, "step | loss | noise scale, all")
    assert len(rows) == len(found["snapshots"])
    for snapshot, row in zip(found["snapshots"], rows):
        kinds = {kind["kind"]: kind for kind in snapshot["kinds"]}
        hidden, whole = kinds["hidden"], kinds["all"]
        scales = [f"{kinds[name]['scale']:.3g}" for name in ("hidden", "embedding", "head", "other")]
        forms = {"momentum_batches": ".3g", "momentum_snr": ".2f", "momentum_cosine": ".2f"}
        momentum = ["" if hidden[name] is None else format(hidden[name], form) for name, form in forms.items()]
        span = f"{whole['low']:.3g} to {whole['high']:.3g}"
        assert row == [
            f"{snapshot['step']:,}", f"{snapshot['loss']:.3f}", f"{whole['scale']:.3g}", span, *scales, *momentum
        ]  # fmt: skip
    batch = found["batch_size"]
    assert all(one["kinds"][0]["scale"] > 5 * batch for one in found["snapshots"][1:])


@pytest.fixture(scope="module")
def shown():
    return runpy.run_path(str(ROOT / "benchmarks" / "batch_table.py"))


SECTIONS = {"small": "## Measured, at a small size", "race": "## Measured, at the race's size"}


@pytest.mark.parametrize("size", SECTIONS)
def test_the_tables_over_the_batch_are_the_raw_results(shown, size):
    assert set(shown["FILES"]) == set(SECTIONS)
    rows = shown["measured"](size)
    assert table(PAGE, "batch | tokens per step", SECTIONS[size]) == shown["losses"](rows)
    assert table(PAGE, "batch | ADana", SECTIONS[size]) == shown["ahead"](rows)


def test_what_the_page_says_of_the_races_size_holds(shown):
    rows = shown["measured"]("race")
    page = " ".join((ROOT / PAGE).read_text().split())
    gains = [float(row[1].split()[0]) for row in shown["ahead"](rows)]
    assert f"ends {min(gains):.2f} to {max(gains):.2f} nats ahead of AdamW" in page
    scaled = dict(shown["of_alpha"](rows, "ADana, alpha~ by batch"))
    assert f"ends {scaled[64]:.2f} and {scaled[256]:.2f} nats ahead of alpha~ 1" in page
    own = shown["by_batch"](rows)
    assert f"which is {own[256]['AdamW, beta2 by batch']['options']['betas'][1]:.2f} at 256 sequences" in page
    small = shown["by_batch"](shown["measured"]("small"))[256]
    better = small["AdamW, beta2 by batch"]["loss"] - small["AdamW, beta2 fixed"]["loss"]
    assert f"there, by {better:.2f} nats" in page
    for batch in (64, 256):
        assert own[batch]["ADana, alpha~ by batch"]["lr"] == own[batch]["ADana, alpha~ 1"]["lr"] / 2
    assert all(row["bracketed"] for row in rows)


@pytest.mark.parametrize("name", ["batch-range", "batch-range-1", "batch-range-race"])
def test_the_losses_over_the_batch_are_those_of_the_runs(name):
    measured = json.loads((ROOT / "results" / f"{name}.json").read_text())
    with (ROOT / "results" / f"{name}.csv").open() as file:
        runs = list(csv.DictReader(file))
    key = lambda batch, optimizer, lr, seed, options: (int(batch), optimizer, float(lr), int(seed), str(options))  # noqa: E731
    found = {
        key(run["batch_size"], run["optimizer"], run["lr"], run["seed"], json.loads(run["options"])): run
        for run in runs
    }
    for row in measured["rows"]:
        # A run that was given a default is one that was not.
        options = {
            name: value for name, value in sorted(row["options"].items()) if (name, value) != ("damping_scale", 1)
        }
        for seed, loss in zip(measured["seeds"], row["losses"]):
            run = found[key(row["batch"], row["optimizer"], row["lr"], seed, options)]
            assert float(run["final_loss"]) == pytest.approx(loss, abs=1e-6)
            assert abs(int(run["tokens"]) - measured["tokens"]) <= int(run["batch_tokens"]) / 2
        searched = [
            float(run["final_loss"])
            for where, run in found.items()
            if where[:2] == (row["batch"], row["optimizer"]) and where[3:] == (measured["search_seed"], str(options))
        ]
        assert min(searched) == float(found[key(row["batch"], row["optimizer"], row["lr"], 100, options)]["final_loss"])


def test_what_the_page_says_of_the_tables_holds(shown):
    rows = shown["measured"]("small")
    page = " ".join((ROOT / PAGE).read_text().split())
    ahead = [float(row[1].split()[0]) for row in shown["ahead"](rows)]
    assert f"at every one, by {min(ahead):.2f} to {max(ahead):.2f} nats" in page
    by_batch, published = (
        dict(shown["of_alpha"](rows, f"ADana, alpha~ {how}")) for how in ("by batch", "as published")
    )
    at = [f"{abs(by_batch[batch]):.2f}" for batch in (1, 16, 64, 256)]
    assert max(by_batch[1], by_batch[16]) < 0 < min(by_batch[64], by_batch[256])
    assert (
        f"{at[0]} and {at[1]} behind alpha~ 1 at 1 and 16 sequences, and {at[2]} and {at[3]} ahead of it at 64" in page
    )
    assert f"ends {-max(published.values()):.2f} to {-min(published.values()):.2f} behind alpha~ 1" in page
    noise = json.loads((ROOT / "results" / "noise-small.json").read_text())["snapshots"][-1]["kinds"][0]["scale"]
    batches = [row["batch"] for row in rows]
    assert f"from {min(batches) / noise:.2g} to {max(batches) / noise:.2g} times the noise scale" in page
    assert all(row["bracketed"] for row in rows)
