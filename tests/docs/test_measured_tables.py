"""Tables of measurements on the pages are the raw results beside them, as rounded."""

from __future__ import annotations

import csv
import json
import re
from statistics import fmean, stdev
from typing import Any

import pytest

from adana.catalog import OMEGA
from tests.docs.pages import ROOT, table

RESULTS = ROOT / "results"


def raw(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def bare(cell: str) -> str:
    return re.sub(r"[*`\"]", "", cell)


def words(page: str) -> str:
    return " ".join((ROOT / page).read_text().split())


# --- precision.md ---------------------------------------------------------------------------------------

FORMATS = {
    "bfloat16, rounded to nearest": "bfloat16-nearest",
    "bfloat16 rounded to nearest": "bfloat16-nearest",
    "bfloat16, stochastic": "bfloat16",
    "int16 blocks of m, 16-bit v": "int16 blocks of m",
    "int16: blocks of r, 16-bit v": "int16",
    "int8 blocks of r, 16-bit v": "int8 blocks of r, 16-bit v",
    "int8 blocks of m, 8-bit v": "int8 blocks of m, 8-bit v",
}


def test_the_errors_of_stored_averages():
    found = {(row["format"], row["step"]): row for row in raw("precision-table")["rows"]}
    for name, size, *cells in table("docs/precision.md", "| bytes"):
        first, last = (found[FORMATS[bare(name)], step] for step in (20_000, 200_000))
        assert float(size) == pytest.approx(first["bytes"], abs=0.005)
        for cell, value in zip(
            cells[:4], (first["error_m"], last["error_m"], first["error_ratio"], last["error_ratio"])
        ):
            assert float(cell) == pytest.approx(value, rel=0.06, abs=5e-6), name
        for cell, row in zip(cells[4:], (first, last)):
            assert cell == ", ".join(f"{row[f'root_v_{which}']:.3f}" for which in ("least", "median", "most"))


def test_the_risks_with_narrow_state():
    rows = raw("precision-plrf")["rows"]
    for name, risk in table("docs/precision.md", "least squares on power-law"):
        kind = FORMATS.get(bare(name), bare(name))
        assert risk == f"{fmean(row['loss'] for row in rows if row['format'] == kind):.6f}"


@pytest.mark.parametrize(
    ("first", "name", "key"),
    [
        ("the race's default model", "precision-race", "final_loss"),
        ("the same, 20,000", "precision-race-20000", "loss"),
        ("28,672 parameters, 8,960 steps", "precision-axis", "loss"),
    ],
)
def test_the_races_losses_with_narrow_state(first, name, key):
    losses: dict[str, list[float]] = {}
    for row in sorted(raw(name)["rows"], key=lambda row: row["seed"]):
        losses.setdefault(row["format"], []).append(row[key])
    for what, *cells, apart in table("docs/precision.md", first):
        mine = losses[FORMATS.get(bare(what), bare(what))]
        assert cells == [f"{loss:.4f}" for loss in mine]
        if apart:
            gaps = [a - b for a, b in zip(mine, losses["float32"])]
            mean, spread = map(float, apart.split(", "))
            assert mean == pytest.approx(fmean(gaps), abs=6e-5)
            assert spread == pytest.approx(stdev(gaps), abs=6e-5)


# --- scaling.md, fine-tuning.md, the decision on omega --------------------------------------------------


def test_the_coverage_of_intervals_where_the_form_is_not_known():
    with (RESULTS / "fit-coverage-forms.csv").open() as file:
        found = {(row["setting"], row["interval"]): row for row in csv.DictReader(file)}
    intervals = (
        "loss at 40 heads, interval of one law",
        "loss at 40 heads, interval of a new run",
        "held-out loss, interval of one law",
        "held-out loss, interval of a new run",
    )
    rows = table("docs/scaling.md", "what made the losses")
    assert len(rows) == 6
    for made, *cells, rejected in rows:
        what, sizes, noise = made.split(", ")
        setting = f"{what} power law{'s' * (what == 'two')} made the losses, one is fitted, {sizes}, {noise}"
        for interval, cell in zip(intervals, cells, strict=True):
            row = found[setting, interval]
            assert cell == f"{row['held']}, {float(row['median_width']):.3f}"
        assert rejected == found[setting, "one power law rejected (no coverage)"]["held"]


def test_the_coverage_of_intervals_on_measured_tables():
    with (RESULTS / "interval-coverage.csv").open() as file:
        found = {row["law"]: row for row in csv.DictReader(file) if row["table"] == "all"}
    rows = table("docs/scaling.md", "law | predicted")
    assert {row[0] for row in rows} == set(found)
    for law, predicted, before, now, widths in rows:
        row = found[law]
        assert predicted == row["predicted"]
        for cell, held in ((before, row["held_before"]), (now, row["held_now"])):
            assert cell == f"{held} ({100 * int(held) / int(predicted):.0f} %)"
        assert int(row["held_now"]) >= 0.9 * int(predicted)
        old, new = float(row["width_before"]), float(row["width_now"])
        if law.startswith("loss"):
            assert widths == f"{old:.3f}, {new:.3f} nats"
        elif law == "size and tokens":
            assert widths == f"{100 * old:.1f} %, {100 * new:.1f} % of the loss"
        else:
            assert old == new
            assert widths == f"a factor of {old:.0f}, the same"


def test_what_decay_does_to_trained_weights():
    runs = raw("fine-tuning")["runs"]
    for name, *cells in table("docs/fine-tuning.md", "fine-tuned with"):
        for key, cell in zip(("new", "old", "kept"), cells):
            assert cell == ", ".join(f"{run[key]:.2f}" for run in runs[name])


def test_the_best_loss_at_every_omega():
    best: dict[tuple[str, str, str, float], float] = {}
    with (RESULTS / "weight-decay.csv").open() as file:
        for row in csv.DictReader(file):
            if row["final_loss"]:
                omega = float(json.loads(row["options"])["weight_decay"])
                key = (row["optimizer"], row["total_parameters"], row["steps"], omega)
                best[key] = min(best.get(key, 9.0), float(row["final_loss"]))
    page, omegas = "docs/decisions/0005-omega.md", (0.0, 0.5, 1.0, 2.0, 4.0)
    for parameters, steps, _, _, *cells in table(page, "parameters | steps")[:-1]:
        size, length = parameters.replace(",", ""), steps.replace(",", "")
        assert [bare(cell) for cell in cells] == [f"{best['adana', size, length, omega]:.3f}" for omega in omegas]
    behind: dict[str, list[float]] = {}
    for optimizer, parameters, ratio, *cells in table(page, "optimizer | parameters"):
        size = parameters.replace(",", "")
        losses = [best[optimizer, size, str(int(size) * int(ratio) // 512), omega] for omega in omegas]
        assert [bare(cell) for cell in cells] == [f"{loss:.3f}" for loss in losses]
        assert [cell.startswith("**") for cell in cells].index(True) == losses.index(min(losses))
        behind.setdefault(optimizer, []).append(losses[omegas.index(OMEGA)] - min(losses))
    assert len(behind["adamw-dw"]) == 5
    assert max(behind["adamw-dw"]) < 0.035
    assert len(behind["muon-dw"]) == 5
    assert max(behind["muon-dw"]) < 0.045


# --- speed ----------------------------------------------------------------------------------------------

CONTENDERS = {
    "AdEMAMix (36 bytes per parameter against 28)": "AdEMAMix fused",
    "AdEMAMix (36 bytes against 28)": "AdEMAMix fused",
    "ADana with beta3 (36 bytes)": "ADana beta3 fused",
    "DanaStar (36 bytes)": "DanaStar fused",
    "DanaStarMK4 (36 bytes)": "DanaStarMK4 fused",
    "ADana, bfloat16 state": "ADana bfloat16 fused",
    "ADana, int16 state": "ADana int16 fused",
    "ADana, bfloat16 parameters": "ADana bfloat16 parameters fused",
    "ADana, bfloat16 parameters and state": "ADana bfloat16 parameters bfloat16 fused",
    "ADana, bfloat16 parameters, int16 state": "ADana bfloat16 parameters int16 fused",
    "ADana, foreach": "ADana foreach",
}


def ratios(name: str) -> list[str]:
    """The contenders of a row."""
    if name == "ADana, bfloat16 parameters and state; Kahan; int16 state":
        return [f"adana ADana bfloat16 parameters {kind} fused" for kind in ("bfloat16", "kahan", "int16")]
    if name.startswith("torch AdamW fused") or name.startswith("torch's fused AdamW"):
        return ["torch AdamW fused"]
    if name == "torch AdamW foreach; loop":
        return ["torch AdamW foreach", "torch AdamW loop"]
    if name == "torch's foreach AdamW":
        return ["torch AdamW foreach"]
    if name.startswith("torch Muon"):
        return ["torch Muon (hidden matrices only)"]
    if name.startswith("torchao"):
        return ["torchao AdamW8bit"]
    if name.startswith(("pytorch_optimizer", "heavyball")):
        return [f"{name.split()[0]} {kind}" for kind in ("AdamW", "AdEMAMix")]
    return [f"adana {CONTENDERS.get(name, f'{name} fused')}"]


def test_the_times_of_a_step_on_the_cpu():
    found = {(row["contender"], row["threads"]): row for row in raw("optimizer-step")["steps"]}
    for name, *cells in table("docs/decisions/0003-fused-kernels.md", "| one thread"):
        for threads, cell in zip((1, 2), cells):
            values = cell.partition("(")[0].split(";")
            for value, contender in zip(values, ratios(bare(name)), strict=True):
                ratio = found[contender, threads]["ratio"]
                assert float(value) == pytest.approx(ratio, rel=0.012, abs=0.0051), (name, threads)
            if "(" in cell:
                row = found[ratios(bare(name))[0], threads]
                assert cell.partition("(")[2] == f"{row['least']:.2f} to {row['greatest']:.2f})"


def test_the_times_of_a_step_on_a_gpu():
    sittings = raw("optimizer-step-h100")
    found = {
        (sitting["title"].split(":")[0], sitting["options"]["graph"], row["contender"]): row
        for sitting in sittings
        for row in sitting["steps"]
    }
    for name, *cells in table("docs/decisions/0003-fused-kernels.md", "| Enoki-12"):
        (contender,) = ratios(bare(name))
        for size, (replayed, copy, called) in zip(("Enoki-12", "Enoki-24"), (cells[:3], cells[3:])):
            graph, bare_call = found[size, True, contender], found[size, False, contender]
            assert float(replayed) == pytest.approx(graph["ratio"], abs=0.0051), name
            assert float(called) == pytest.approx(bare_call["ratio"], abs=0.0051), name
            if copy:
                assert copy == f"{graph['bandwidth']:.0%}".replace("%", " %")


def test_the_hosts_part_of_a_step():
    sittings = [{row["optimizer"]: row for row in one["rows"]} for one in raw("host-part")]
    for name, *cells in table("docs/decisions/0003-fused-kernels.md", "| again, ms"):
        for (least, ratio), rows in zip((cells[:2], cells[2:]), sittings, strict=True):
            torchs = rows["torch AdamW on the CPU"]["median_milliseconds"]
            assert least == f"{rows[name]['least_milliseconds']:.2f}"
            assert ratio == f"{rows[name]['median_milliseconds'] / torchs:.2f}"
            assert rows[name]["launches"] == 4


def test_the_step_of_a_sharded_muon_beside_torchs():
    found = raw("muon-sharded")
    rows = {(row["optimizer"].partition(".")[0], row["sharded"]): row for row in found["rows"]}
    time = {key: row["milliseconds"] for key, row in rows.items()}
    said = words("docs/optimizers.md")
    assert f"{found['parameters'] / 1e6:.1f}M parameters, 21 rounds in turn" in said
    ratio = "{:.2f} (quartiles {:.2f} to {:.2f})".format(
        rows["adana", True]["ratio"], *rows["adana", True]["quartiles"]
    )
    assert f"a step takes {ratio} of the time of torch's Muon" in said
    assert f"takes {time['adana', True] / time['adana', False]:.2f} of the time of our own step" in said
    assert f"there torch's takes {time['torch', False] / time['adana', False]:.2f} of ours" in said
    assert found["command"] in said


def test_the_times_of_an_update_in_jax_and_of_training():
    found = {(row["way"], row["optimizer"]): row for row in raw("optax-update")["rows"]}
    text = words("docs/jax.md")
    for name, *cells in table("docs/jax.md", "| a step | an update alone"):
        for cell, way in zip(cells, ("step", "update"), strict=True):
            row = found[way, bare(name)]
            assert cell == "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["quartiles"])
        assert found["step", bare(name)]["memory_between"] < 0.01
    losses = [run["final_loss"] for run in raw("jax-enoki")["runs"] if run["initial_weights"] == "jax"]
    assert f"ends at {fmean(losses):.3f} ± {(max(losses) - min(losses)) / 2:.3f}" in text
    overhead = raw("train-overhead")
    wall, cpu = overhead["overhead_wall"], overhead["overhead_cpu"]
    quartiles = f"(quartiles of a pair {100 * wall['low']:.1f} to {100 * wall['high']:.1f} %)"
    time = f"{100 * cpu['median']:.2f} % more CPU time; a checkpoint {overhead['checkpoint_seconds']:.3f} s"
    assert f"took {100 * wall['median']:.2f} % more by the clock {quartiles} and {time}" in words("docs/train.md")
