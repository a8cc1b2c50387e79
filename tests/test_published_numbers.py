"""Numbers in the pages stand beside the raw files that they came from."""

from __future__ import annotations

import csv
import json
import re
import runpy
from statistics import fmean

import pytest
from scipy import stats

from adana import catalog
from adana.lab.race_result import optimizer_flops
from adana.scaling.fits import read_fit
from adana.scaling.intervals import t_interval
from adana.scaling.multiplier import compute_multiplier
from adana.train.recipe import Recipe
from tests.docs.pages import ROOT, table

RACE, DICTIONARY, MUON = (
    json.loads((ROOT / "results" / f"race-{name}.json").read_text()) for name in ("all", "gcide", "muon")
)
TIME = json.loads((ROOT / "results" / "race-time.json").read_text())["time_per_step_over_the_baselines"]


def multipliers(row: dict, race: dict = RACE) -> list[float]:
    found = []
    for seed, loss in enumerate(row["final_losses"]):
        line = [losses[seed] for losses in race["baseline_losses"]]
        found.append(compute_multiplier(race["horizons"], line, 1.0, loss).multiplier)
    return found


PAGES_WITH_THE_DICTIONARY = ("README.md", "docs/evidence.md", "docs/optimizers.md", "docs/choosing.md")
LINES = [
    pytest.param(race, cells, id=f"{first}-{cells[0]}")
    for race, first in ((RACE, "optimizer"), (DICTIONARY, "on a dictionary"), (MUON, "on source code"))
    for cells in table("docs/race.md", first)
]


@pytest.mark.parametrize(("race", "cells"), LINES)
def test_the_races_page_says_what_the_committed_races_measured(race, cells):
    name, lr, decay, _, loss, loss_ends, multiplier, ends, with_own, by_time, alike = cells
    rows = {row["optimizer"]: row for row in race["rows"]}
    row = rows[name.split()[0]]
    losses = row["final_losses"]
    assert float(lr) == float(f"{row['lr']:.3g}")
    assert float(decay) == row["options"]["weight_decay"]
    assert loss == f"{fmean(losses):.3f}"
    found = t_interval(losses)
    assert loss_ends == f"{found.low:.3f} to {found.high:.3f}"
    apart = {
        other
        for other, theirs in rows.items()
        if (found := t_interval([b - a for a, b in zip(losses, theirs["final_losses"])]))
        and not found.low <= 0 <= found.high
    }
    assert set(filter(None, alike.split(", "))) == set(rows) - apart - {row["optimizer"]}
    if row["optimizer"] == race["baseline"]:
        return
    mean = fmean(multipliers(row, race))
    found = t_interval(multipliers(row, race))
    assert multiplier.strip("*") == f"{mean:.2f}"
    assert ends == f"{found.low:.2f} to {found.high:.2f}"
    share = optimizer_flops(Recipe(row["optimizer"], row["lr"], row["options"]))
    assert with_own.strip("*") == f"{mean / (1 + share):.2f}"
    time = TIME.get(row["optimizer"])
    assert by_time.strip("*") == (f"{mean / time['median']:.2f}" if time else "")


def test_the_ladders_tables_are_what_their_files_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks/ladder_table.py"))
    page = (ROOT / "docs" / "ladder.md").read_text()
    for folder in script["FOLDERS"]:
        for line in script["table"](script["load"](folder)).splitlines():
            if not line.startswith("| ---"):
                assert line in page
    found = script["load"]("ladder-7")
    ends = [search["bests"][-1]["loss"] for search in found["searches"]]
    said = " ".join(page.split())
    assert f"The largest of the five ended at {ends[0]:.3f} and {ends[1]:.3f}" in said
    for loss, plan in zip(ends, found["plans"], strict=True):
        assert plan["predicted_loss_low"] < loss - 0.5 < loss + 0.5 < plan["predicted_loss_high"]
    steps = [best["steps"] for best in found["searches"][0]["bests"]]
    assert f"they train for {steps[0]} to {steps[-1]} steps" in said


def test_the_third_ladder_predicts_within_the_form_of_its_law(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    found = runpy.run_path(str(ROOT / "benchmarks/ladder_table.py"))["load"]("ladder-8")
    page = " ".join((ROOT / "docs" / "ladder.md").read_text().split())
    laws = read_fit(ROOT / "results" / "ladder-8" / "loss.json").laws
    ends = {search["optimizer"]: [best["loss"] for best in search["bests"]] for search in found["searches"]}
    for law, planned in zip(laws, found["plans"], strict=True):
        name = planned["optimizer"]
        losses, said = ends[name], catalog.find(name).torch.partition(":")[2]
        assert f"{', '.join(f'{loss:.3f}' for loss in losses)} for {said}" in page
        own = law.fit.within_form(planned["pfh"])
        assert f"| {name} | {planned['predicted_loss']:.3f} ({own.low:.3f} to {own.high:.3f}) |" in page
        assert planned["predicted_loss_low"] < losses[-1] < planned["predicted_loss_high"]
        assert losses[-1] > own.high
        assert all(abs(one.residual) < 0.014 for one in law.fit.residuals)
        (check,) = [one for one in found["checks"] if one["optimizer"] == name]
        assert own.low < check["measured_loss"] < own.high
        assert check["lr_holds"]
        assert f"{said} ended at {check['measured_loss']:.3f} ({-check['error']:.3f} below" in page
    first, second = (planned["predicted_loss"] for planned in found["plans"])
    (lead,) = found["differences"]
    assert f"predicted as {lead['predicted']:.3f} nats and measured as {lead['measured']:.3f}" in page
    assert f"{round(found['cpu_seconds']):,} for the sixth size" in page
    assert f"the lead of ADana there, {first - second:.3f} nats" in page
    assert f"at the largest of the five it is {ends['adamw-dw'][-1] - ends['adana'][-1]:.3f}" in page


def test_what_came_of_the_predictions_for_the_second_text():
    text = " ".join((ROOT / "docs" / "race.md").read_text().split())
    losses = {row["optimizer"]: row["final_losses"] for row in DICTIONARY["rows"]}
    rows = {row["optimizer"]: row for row in DICTIONARY["rows"]}

    def apart(ours, theirs, sign=1):
        gains = [sign * (b - a) for a, b in zip(losses[ours], losses[theirs], strict=True)]
        found = t_interval(gains)
        return f"{fmean(gains):.3f} ({found.low:.3f} to {found.high:.3f})", not found.low <= 0 <= found.high

    def said(words, ours, theirs, told, sign=1):
        amount, is_told = apart(ours, theirs, sign)
        assert words.format(amount) in text
        assert is_told is told

    said("ADana ends {} nats below AdamW", "adana", "adamw-dw", True)
    ends = rows["adana"]["multiplier_interval"]
    assert f"worth {rows['adana']['multiplier']:.2f} ({ends[0]:.2f} to {ends[1]:.2f}) times the compute" in text
    said("DanaMK4 ends {} below ADana", "dana-mk4", "adana", False)
    said("DanaStarMK4 ends {} above ADana", "dana-star-mk4", "adana", True, -1)
    said("DanaStar ends {} above DanaMK4", "dana-star", "dana-mk4", True, -1)
    assert not apart("dana-star", "adana")[1]
    said("Muon ends {} below ADana", "muon-dw", "adana", True)
    said("Log-time Muon ends {} below Muon", "log-muon", "muon-dw", True)
    assert all(a < b for a, b in zip(losses["log-muon"], losses["muon-dw"], strict=True))
    said("AdamW with log-time decay ends {} below the one with constant decay", "adamw-dw", "adamw", False)
    assert " ".join(DICTIONARY["command"].partition(" --json")[0].split()) in text.replace(" \\ ", " ")
    quoted = {page: " ".join((ROOT / page).read_text().split()) for page in PAGES_WITH_THE_DICTIONARY}
    lead, worth = apart("adana", "adamw-dw")[0], rows["adana"]["multiplier"]
    assert f"it ends {lead.replace(' (', ' below (')}, worth {worth:.2f} times the compute" in quoted["README.md"]
    assert f"for ADana's loss, and {worth:.2f} times on a dictionary" in quoted["docs/evidence.md"]
    assert f"and {apart('log-muon', 'muon-dw')[0]} on the dictionary, on every one" in quoted["docs/optimizers.md"]
    times = [f"{rows[name]['multiplier']:.2f}" for name in ("adana", "dana-mk4", "dana-star-mk4")]
    assert f"{times[0]}, {times[1]} and {times[2]} times, and DanaStarMK4 ends" in quoted["docs/choosing.md"]
    with (ROOT / "results" / "race-gcide-search.csv").open() as file:
        searches = [row for row in csv.DictReader(file) if row["optimizer"] == "muon-dw"]
    assert len(searches) >= 16
    best = min((row for row in searches if row["seed"] == "100"), key=lambda row: float(row["final_loss"]))
    assert float(best["lr"]) == rows["muon-dw"]["lr"]
    assert json.loads(best["options"]).items() <= rows["muon-dw"]["options"].items()
    stars = [row["optimizer"] for row in DICTIONARY["rows"] if row["extrapolated"]]
    assert {"adana", "dana-mk4", "muon-dw", "log-muon"} <= set(stars)


def test_what_came_of_log_time_muon_on_source_code():
    text = " ".join((ROOT / "docs" / "race.md").read_text().split()).partition("## Log-time Muon on source code")[2]
    rows = {row["optimizer"]: row for row in MUON["rows"]}
    losses = {name: row["final_losses"] for name, row in rows.items()}
    gains = [b - a for a, b in zip(losses["log-muon"], losses["muon-dw"], strict=True)]
    ends = t_interval(gains)
    lead = f"{fmean(gains):.3f} ({ends.low:.3f} to {ends.high:.3f})"
    assert ends.low > 0
    assert min(gains) > 0
    assert f"ends {lead} nats below Muon, on every seed (p = {stats.ttest_1samp(gains, 0).pvalue:.1g})" in text
    assert f"and {fmean(losses['adana']) - fmean(losses['log-muon']):.3f} below ADana" in text
    over = [
        fmean(a / b for a, b in zip(*(multipliers(by[name], race) for name in ("log-muon", "muon-dw")), strict=True))
        for race, by in ((race, {row["optimizer"]: row for row in race["rows"]}) for race in (MUON, DICTIONARY))
    ]
    assert f"its multiplier is {over[0]:.2f} times Muon's here and {over[1]:.2f} times on the dictionary" in text
    assert all(rows[name]["extrapolated"] for name in ("log-muon", "muon-dw"))
    said = " ".join((ROOT / "docs" / "optimizers.md").read_text().split())
    assert f"At the race's size it ends {lead} below Muon on source code" in said
    assert " ".join(MUON["command"].partition(" --json")[0].split()) in text


def test_the_readme_says_what_the_committed_race_measured():
    rows = {row["optimizer"]: row for row in RACE["rows"]}
    text = " ".join((ROOT / "README.md").read_text().split())
    ahead = [b - a for a, b in zip(rows["adana"]["final_losses"], rows["adamw-dw"]["final_losses"])]
    found = t_interval(ahead)
    assert f"ends {fmean(ahead):.3f} nats per byte below" in text
    assert f"below AdamW with the same decay ({found.low:.3f} to {found.high:.3f})" in text
    for name in ("adana", "muon-dw"):
        ends = t_interval(multipliers(rows[name]))
        mean = fmean(multipliers(rows[name]))
        assert re.search(rf"{mean:.2f} (times the compute )?\({ends.low:.2f} to {ends.high:.2f}\)", text), name
    assert f"{mean / TIME['muon-dw']['median']:.2f} by measured time" in text
    earlier = json.loads((ROOT / "results" / "race-time-earlier.json").read_text())["time_per_step_over_the_baselines"]
    assert f"({mean / earlier['muon-dw']['median']:.2f} in an earlier, less noisy measurement)" in text


def test_the_page_on_choices_says_what_the_two_places_of_eps_gave():
    found = json.loads((ROOT / "results" / "eps-placement.json").read_text())
    rows = dict(zip(("outside", "inside"), table("docs/choices.md", "eps | learning rate")))
    losses = {way: list(found["ways"][way]["final_losses"].values()) for way in rows}
    for way, (_, lr, each, mean) in rows.items():
        assert float(lr) == float(f"{found['ways'][way]['lr']:.3g}")
        assert each == " ".join(f"{loss:.4f}" for loss in losses[way])
        assert mean == f"{fmean(losses[way]):.4f}"
    text = " ".join((ROOT / "docs" / "choices.md").read_text().split())
    apart = [b - a for a, b in zip(losses["outside"], losses["inside"])]
    ends = t_interval(apart)
    assert f"ends {fmean(apart):.3f} higher (95 % interval {ends.low:.3f} to {ends.high:.3f}" in text
    small = found["share_of_roots_below_1e-4"]["outside"]
    shares = {name.removeprefix("optimizer.").removesuffix(".exp_avg_sq"): share for name, share in small.items()}
    assert f"{shares.pop('embedding.weight'):.0%} of the".replace("%", " %") in text
    assert f"{shares.pop('head.weight'):.0%} of the head's".replace("%", " %") in text
    assert max(shares.values()) <= 0.01


def test_the_page_on_the_first_try_says_what_was_measured():
    runs = json.loads((ROOT / "results" / "first-try.json").read_text())["runs"]
    found = {(run["steps"], run["model"], run["optimizer"]): run for run in runs}
    gaps: dict[str, list[float]] = {"adana": [], "adana, sized": []}
    rows = table("docs/from-adamw.md", "steps | model")
    assert len(rows) * 5 == len(runs)
    for steps, model, lr, adamw, our_lr, adana, omega, sized in rows:
        three = [found[int(steps.replace(",", "")), model, name] for name in ("adamw", "adana", "adana, sized")]
        assert (lr, our_lr) == tuple(f"{run['options']['lr']:g}" for run in three[:2])
        assert omega == f"{three[2]['options']['weight_decay']:.2f}"
        assert [adamw, adana, sized] == [" ".join(f"{loss:.3f}" for loss in run["losses"]) for run in three]
        for name, run in zip(gaps, three[1:]):
            gaps[name].append(fmean(three[0]["losses"]) - fmean(run["losses"]))
    text = " ".join((ROOT / "docs" / "from-adamw.md").read_text().split())
    assert f"by {min(gaps['adana']):.3f} to {max(gaps['adana']):.3f} nats with omega 0.5" in text
    assert f"by {min(gaps['adana, sized']):.3f} to {max(gaps['adana, sized']):.3f} with omega by" in text
    assert min(map(min, gaps.values())) > 0


def test_the_page_on_hilbergs_exponent_and_the_command_say_what_known_texts_gave():
    texts = json.loads((ROOT / "results" / "hilberg-santa-fe.json").read_text())["texts"]
    said = []
    for text, row in zip(texts, table("docs/inspect.md", "exponent | stretched")):
        curve = text["curves"][0]
        cells = [f"{text['exponent']:g}"]
        for law, ends in zip(curve["fits"], curve["intervals"]):
            cells += [f"{law['exponent']:.3f}", f"{ends['low']:.3f} to {ends['high']:.3f}"]
        assert row == cells
        said.append(f"{curve['fits'][0]['exponent']:.2f}")
    source = " ".join((ROOT / "src/adana/inspect/hilberg_shown.py").read_text().replace('"', "").split())
    assert f"PPM gives {said[0]}, {said[1]} and {said[2]}" in source


def test_the_decision_on_the_literal_swap_says_what_was_measured():
    models = json.loads((ROOT / "results" / "literal-swap.json").read_text())["models"]
    page = "docs/decisions/0004-literal-swap.md"
    ways = {
        "`ADana(model.parameters())` and `param_groups`": "ADana(model.parameters())",
        "all matrices, embeddings too": "all matrices",
        "everything": "everything",
    }
    omegas = (0, 0.5, 1, 4)
    rows = table(page, "model | what decays")
    assert len(rows) == 4 * len(models)
    for model, what, *cells in rows:
        runs = models[model]["runs"]
        names = [f"{ways[what]}, omega {omega}" for omega in omegas] if what in ways else ["adamw"]
        assert [cell for cell in cells if cell] == [" ".join(f"{x:.3f}" for x in runs[k]["losses"]) for k in names]
        for omega in omegas:
            literal, groups = (f"{way}, omega {omega}" for way in ("ADana(model.parameters())", "param_groups"))
            assert runs[literal]["losses"] == runs[groups]["losses"]
    text = " ".join((ROOT / page).read_text().split())
    for way, begin in (("everything", "Decay of everything costs"), ("all matrices", "other matrices, costs them")):
        said = []
        for omega in (0.5, 4):
            costs = [
                fmean(models[name]["runs"][f"{way}, omega {omega}"]["losses"])
                - fmean(models[name]["runs"][f"param_groups, omega {omega}"]["losses"])
                for name in ("gpt2", "llama", "qwen3")
            ]
            said.append(rf"{min(costs):.2f} to {max(costs):.2f}[^.]* at omega {omega}")
        assert re.search(f"{begin} {said[0]},? and {said[1]}", text), said


def test_the_decision_on_omega_says_what_short_runs_gave():
    found = {}
    for run in json.loads((ROOT / "results" / "first-try.json").read_text())["runs"]:
        found[run["steps"], run["model"], run["optimizer"]] = fmean(run["losses"])
    behind: dict[str, list[float]] = {"short": [], "long": []}
    for steps, model, _, *cells in table("docs/decisions/0005-omega.md", "steps | model"):
        names = ("adana, omega 0", "adana", "adana, omega 1", "adana, sized")
        losses = [found[int(steps.replace(",", "")), model, name] for name in names]
        assert [cell.strip("*").split(" ")[0].strip("*") for cell in cells] == [f"{loss:.3f}" for loss in losses]
        assert [cell.startswith("**") for cell in cells].index(True) == losses.index(min(losses))
        if steps == "3,000":
            behind["long"].append(losses[0] - losses[2])
        else:
            behind["short"].append(losses[0] - min(losses))
    assert max(behind["short"]) < 0.04
    assert 0.01 < min(behind["long"]) <= max(behind["long"]) < 0.03


def test_the_page_on_data_says_what_builds_of_a_gigabyte_took():
    builds = json.loads((ROOT / "results" / "data-memory.json").read_text())["builds"]
    shown = table("docs/data.md", "stored as")
    assert len(shown) == len(builds) == 6
    stored, tokens = (
        {"text": "one file", "jsonl": "JSON lines"},
        {"bytes": "bytes", "train": "BPE trained", "bpe": "BPE, "},
    )
    for build, (how, what, peak, seconds) in zip(builds, shown):
        assert build["megabytes"] == 1000
        assert how == stored[build["source"]]
        assert what.startswith(tokens[build["tokenizer"]])
        assert peak == f"{build['peak_rss_mb']:.0f} MB"
        assert seconds == f"{build['cpu_seconds']:.0f} s"
