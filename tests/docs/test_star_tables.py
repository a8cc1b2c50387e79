"""Tables of the Star rules and of the step within the backward pass are the raw results beside them, as rounded."""

from __future__ import annotations

import re
from statistics import median, stdev

import pytest

from tests.docs.pages import table
from tests.docs.test_measured_tables import bare, raw, words

PRECISION, FUSED, OPTIMIZERS = "docs/precision.md", "docs/decisions/0003-fused-kernels.md", "docs/optimizers.md"


def test_the_errors_of_tau():
    found = {(row["format"], row["step"], row["present"]): row for row in raw("tau-table")["rows"]}
    formats = ("float16", "bfloat16", "fixed point", "square law")
    for share, tau, *cells in table(PRECISION, "share of steps with a gradient"):
        present = float(share)
        assert float(tau) == pytest.approx(found["float32", 200_000, present]["tau"], rel=0.06)
        for name, cell in zip(formats, cells, strict=True):
            for number, step in zip(cell.split(", "), (20_000, 200_000), strict=True):
                assert float(number) == pytest.approx(found[name, step, present]["error_momentum"], rel=0.06), name


def test_the_race_with_narrow_tau():
    losses: dict[tuple[str, str], list[float]] = {}
    for row in raw("tau-race")["rows"]:
        losses.setdefault((row["optimizer"], row["tau"]), []).append(row["loss"])
    names = {"DanaStar": "dana-star", "DanaStarMK4": "dana-star-mk4"}
    spread = {row["optimizer"]: stdev(row["final_losses"]) for row in raw("race-all")["rows"]}
    for name, *cells in table(PRECISION, "the race: final losses"):
        wide, narrow = (losses[names[name], kind] for kind in ("float32", "float16"))
        assert cells == [" ".join(f"{x:.6f}" for x in one) for one in (wide, narrow)]
        changed = max(abs(a - b) for a, b in zip(wide, narrow, strict=True))
        assert changed < min(0.00002, spread[names[name]] / 400)
    assert f"deviate by {spread['dana-star']:.3f} and {spread['dana-star-mk4']:.3f}" in words(PRECISION)


@pytest.mark.parametrize(
    ("heading", "file", "threads"),
    [
        ("one thread |", "optimizer-step-xeon", 1),
        ("one thread, quiet", "optimizer-step-quiet", 1),
        ("two threads, quiet", "optimizer-step-quiet", 2),
    ],
)
def test_the_steps_of_the_star_rules(heading, file, threads):
    reports = [one for one in raw(file) if threads in one["options"]["threads"]]
    assert len(reports) == 3, "occasions"
    for name, *cells in table(FUSED, heading):
        label = name if name.startswith("torch") else f"adana {name.replace(', tau', ' tau')} fused"
        for cell, report in zip(cells, reports, strict=True):
            (row,) = (row for row in report["steps"] if (row["contender"], row["threads"]) == (label, threads))
            assert len(row["pairs_ms"]) >= 31
            ratios = sorted(b / a for a, b in row["pairs_ms"])
            quarter = len(ratios) // 4
            assert cell == f"{median(ratios):.2f} ({ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"


def test_the_step_within_the_backward_pass():
    rows = raw("backward-step")["rows"]
    assert len({row["weights"] for row in rows}) == 1, "the weights are equal to the bit"
    ways = {"after the backward pass": "after", "within it": "within"}
    for name, memory, seconds in table(OPTIMIZERS, "step |"):
        own = [row for row in rows if row["way"] == ways[bare(name)]]
        assert memory == f"{median(row['peak_mib'] for row in own):.0f} MiB"
        assert seconds == f"{median(row['seconds'] for row in own):.2f} s"
    (size,) = {row["parameters_mib"] for row in rows}
    assert re.search(rf"{size:.0f} MiB of parameters", words(OPTIMIZERS))
