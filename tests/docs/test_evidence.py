"""The page of evidence says what the raw files say, and has a line for every default."""

from __future__ import annotations

import csv
import importlib
import inspect
import json
import math
import re
from statistics import fmean

import pytest

from adana import catalog
from adana.scaling.intervals import t_interval
from adana.suggestions import LR_FACTOR
from tests.docs import pages
from tests.docs.pages import ROOT, table
from tests.docs.test_measured_tables import raw

PAGE = "docs/evidence.md"


@pytest.fixture(scope="module")
def script():
    return pages.script("evidence_table")


@pytest.fixture(scope="module")
def rows(script):
    """Of all tables of claims, in the order of the page."""
    return [row for headings, rows in script["tables"]() if headings[0].startswith("claim: ") for row in rows]


@pytest.fixture(scope="module")
def claims(rows):
    """By their words; the first where several settings have the same."""
    return {row[0]: row for row in reversed(rows)}


def test_every_table_is_what_the_raw_files_say(script):
    for headings, rows in script["tables"]():
        assert rows == table(PAGE, " | ".join(headings)), "python benchmarks/evidence_table.py writes the tables"


def test_the_search_with_one_head_was_led_by_one_seed():
    rows = json.loads((ROOT / "results" / "overtraining-one-head.json").read_text())["rows"]
    row, ours = (
        next(one for one in rows if (one["f"], one["optimizer"]) == (4, name)) for name in ("adamw-dw", "adana")
    )
    with (ROOT / "results" / "overtraining-one-head-search.csv").open() as file:
        (first,) = [
            float(run["final_loss"])
            for run in csv.DictReader(file)
            if run["optimizer"] == "adamw-dw"
            and (int(run["steps"]), float(run["lr"]), run["seed"]) == (row["steps"], row["lr"], "100")
            and json.loads(run["options"]) == row["options"]
        ]
    page = " ".join((ROOT / PAGE).read_text().split())
    assert f"reach {first:.3f} on its first seed" in page
    assert f"end at {min(row['losses']):.3f} to {max(row['losses']):.3f}" in page
    assert f"{ours['against adamw-dw']['ahead']:.2f} nats on average, is no measurement" in page


def read(page):
    return " ".join((ROOT / page).read_text().split())


def listed(words):
    return f"{', '.join(words[:-1])} and {words[-1]}"


def below(theirs, ours):
    """How far ours end below theirs on the same seeds: mean and both ends of the interval."""
    gains = [b - a for a, b in zip(ours, theirs, strict=True)]
    return fmean(gains), *t_interval(gains).to_json()


def significant(found):
    _, low, high = found
    return not low <= 0 <= high


def spelt(found, sign=1):
    mean, *ends = (sign * one for one in found)
    return "{:.3f} ({:.3f} to {:.3f})".format(mean, *sorted(ends))


def both_sizes(table_of):
    """Rows of every horizon at which ADana and DanaMK4 ran on the dictionary."""
    rows = [one for text in ("gcide", "gcide-66304") for one in table_of.measured(text).values()]
    return [one for one in rows if {"adana", "dana-mk4"} <= set(one)]


PREDICTED_AT_64 = (
    ("muon-dw", "adana"),
    ("adana", "adamw-dw"),
    ("dana-mk4", "muon-dw"),
    ("dana-mk4", "adana"),
    ("log-muon", "muon-dw"),
)
HORIZONS = {0.25: "1/4", 1: "1", 4: "4", 16: "16", 64: "64"}


def test_what_came_of_the_predictions_over_tokens(script):
    table_of = script["overtraining_table"]
    own = {(f, name): row for f, rows in table_of.measured("gcide").items() for name, row in rows.items()}
    page = " ".join((ROOT / PAGE).read_text().split())

    def gaps(ours, theirs, sign=1):
        """By horizon, wherever both ran; and the means as words."""
        found = {
            f: below(own[f, theirs]["losses"], own[f, ours]["losses"])
            for f in HORIZONS
            if {(f, ours), (f, theirs)} <= set(own)
        }
        return found, listed([f"{sign * mean:.3f}" for mean, *_ in found.values()])

    def last(found):
        return HORIZONS[max(found)]

    found, amounts = gaps("adana", "adamw-dw")
    assert f"ADana ends {amounts} below AdamW from `f` = 1/4 to {last(found)}, significant at no horizon" in page
    assert not any(map(significant, found.values()))
    found, amounts = gaps("dana-mk4", "adamw-dw")
    assert f"DanaMK4 ends {amounts} below from 1/4 to {last(found)}, each significantly" in page
    assert all(map(significant, found.values()))
    readme = read("README.md")
    for name, words in (
        ("dana-mk4", "ends {} nats below AdamW from 5 to {:,} tokens per"),
        ("adana", "ADana {}, which is"),
    ):
        means = [mean for mean, *_ in gaps(name, "adamw-dw")[0].values()]
        assert words.format(f"{min(means):.3f} to {max(means):.3f}", 20 * max(found)) in readme
    found, amounts = gaps("adana", "muon-dw", -1)
    assert f"ADana ends {amounts} nats above Muon from `f` = 1/4 to {last(found)}" in page
    assert [significant(one) for one in found.values()] == [f < 16 for f in found]
    found, amounts = gaps("dana-mk4", "muon-dw", -1)
    assert f"DanaMK4 ends {amounts} above it from 1/4 to {last(found)}" in page
    assert [significant(one) for one in found.values()] == [f < 4 for f in found]
    ahead = listed([f"{found[f][0]:.3f}" for f in (16, 64)])
    assert f"There DanaMK4 ends below Muon, by {ahead} nats, not significantly either." in page
    assert f"where DanaMK4 ends {ahead} below it, not significantly either" in read("docs/choosing.md")
    found, amounts = gaps("log-muon", "muon-dw")
    assert f"Log-time Muon ends {amounts} nats below Muon from `f` = 1/4 to {last(found)}, significantly" in page
    assert [significant(one) for one in found.values()] == [f == 4 for f in found]
    assert all(a < b for a, b in zip(own[4, "log-muon"]["losses"], own[4, "muon-dw"]["losses"], strict=True))

    multipliers, exponents, worths = {}, {}, {}
    for headings, rows in script["tables"]():
        if headings[2:3] and headings[2].startswith("f: tokens over"):
            of = headings[2].removeprefix("f: tokens over ")
            for text, size, f, *cells in rows:
                if size == "28,672":
                    multipliers |= {(text, of, name, f): cell.split()[:1] for name, cell in zip(headings[3:], cells)}
                if (text, size, of, f) == ("dictionary", "28,672", "AdamW", "16"):
                    worths = dict(zip(headings[3:], cells))
        if headings[-1] == "f spans a factor of":
            exponents = {(of, name): p for text, size, of, name, p, *_ in reversed(rows) if size == "28,672"}

    def worth(of, name, horizons=("0.25", "1", "4")):
        return listed([cell for f in horizons for cell in multipliers["dictionary", of, name, f]])

    four = ("0.25", "1", "4", "16")
    assert f"ADana is worth {worth('AdamW', 'ADana', four)} times AdamW's tokens from `f` = 1/4 to 16" in page
    assert f"DanaMK4 {worth('AdamW', 'DanaMK4', four)}." in page
    longest = own[64, "adamw-dw"]
    assert f"AdamW ends at {fmean(longest['losses']):.3f} at `f` = 64. At `f` = 16 ADana is" in page
    assert longest["bracketed"]
    assert own[64, "log-muon"]["bracketed"]
    assert not any(own[64, name]["bracketed"] for name in ("adana", "muon-dw", "dana-mk4"))
    late = [spelt(below(own[64, theirs]["losses"], own[64, ours]["losses"])) for ours, theirs in PREDICTED_AT_64]
    assert f"Muon ends {late[0]} nats below ADana at `f` = 64, ADana {late[1]} below AdamW." in page
    assert f"DanaMK4 ends {late[2]} nats below Muon at `f` = 64 and {late[3]} below ADana." in page
    assert f"Log-time Muon ends {late[4]} nats below Muon at `f` = 64." in page
    assert f"ADana is worth {worths['ADana']} times its tokens, Muon {worths['Muon']}, log-time" in page
    assert f"log-time Muon {worths['log-time Muon']}." in page
    assert f"exponents are {exponents['AdamW', 'ADana']} for ADana and {exponents['AdamW', 'DanaMK4']}" in page
    ends = {name: [float(x) for x in re.findall(r"[\d.]+", exponents["AdamW", name])] for name in ("ADana", "DanaMK4")}
    assert ends["ADana"][1] < 1 < 1.15 < ends["ADana"][2]
    assert 1 < ends["DanaMK4"][1] < 1.15 < ends["DanaMK4"][2]
    muon = exponents["AdamW", "Muon"]
    assert (
        f"Muon is worth {worth('AdamW', 'Muon', four)} times AdamW's tokens: constant, with an exponent of {muon}"
        in page
    )
    assert abs(float(muon.split()[0]) - 1) <= 0.05
    assert f"worth {worth('Muon', 'log-time Muon', ('1', '4'))} times Muon at `f` = 1 and 4" in page
    for name, option in (("adamw-dw", "betas"), ("muon-dw", "momentum")):
        assert own[1, name]["options"][option] == own[4, name]["options"][option] == own[16, name]["options"][option]

    omegas = {
        name: listed([f"{own[f, name]['options']['weight_decay']:g}" for f in (0.25, 1, 4, 16)])
        for name in ("dana-mk4", "adana", "adamw-dw")
    }
    said = f"ended at {omegas['dana-mk4']} for DanaMK4, at {omegas['adana']} for ADana and at {omegas['adamw-dw']} for"
    assert said in page
    for name in ("ADana", "DanaMK4"):
        assert f"{name} is worth {worth('AdamW', name, four)} times AdamW's tokens at 5, 20, 80 and 320" in page
    behind = {f: -mean for f, (mean, *_) in gaps("adana", "muon-dw")[0].items()}
    shrinks = (
        f"from {behind[0.25]:.3f} nats at 5 tokens per parameter to {behind[max(behind)]:.3f} at {20 * max(behind):,}"
    )
    assert shrinks in page
    choosing = " ".join((ROOT / "docs" / "choosing.md").read_text().split())
    assert (
        f"ADana is {behind[0.25]:.3f} nats behind Muon at 5 tokens per parameter and not significantly at" in choosing
    )
    assert f"DanaMK4 was worth {worth('AdamW', 'DanaMK4', four)} times AdamW's tokens" in choosing
    leads = [below(row["adana"]["losses"], row["dana-mk4"]["losses"])[0] for row in both_sizes(table_of)]
    assert f"at every horizon and size, by {min(leads):.3f} to {max(leads):.3f} nats" in page
    least = {}
    for row in raw("kappa-sizes")["rows"]:
        if row["heads"] == 4 and row.get("clip_snr", 2.0) == 2.0:
            name = row["optimizer"]
            least[name] = min(least.get(name, math.inf), fmean(row["losses"]))
    assert f"ADana ends at {least['adana']:.3f} and DanaMK4 at {least['dana-mk4']:.3f}" in page
    assert f"rate of its own ended at {least['adana']:.3f}, DanaMK4 at {least['dana-mk4']:.3f}" in choosing
    found, _ = gaps("dana-mk4", "adana")
    apart = [f for f, one in found.items() if significant(one)]
    amounts = listed([f"{found[f][0]:.3f}" for f in apart])
    assert f"significantly at {listed([f'{20 * f:g}' for f in apart])}, by {amounts} nats" in choosing
    race = {row["optimizer"]: row for row in raw("race-all")["rows"]}
    assert f"AdamW would need {race['adana']['multiplier']:.2f} times the compute for ADana's loss" in page
    time = raw("race-time")["time_per_step_over_the_baselines"]["muon-dw"]["median"]
    assert f"at {time:.2f} times AdamW's time per step" in page
    said = " ".join((ROOT / "docs" / "optimizers.md").read_text().split())
    spans = [spelt(one) for f, one in gaps("log-muon", "muon-dw")[0].items() if f >= 1]
    assert f"ends {spans[0]} nats below Muon at 20 tokens per parameter, {spans[1]} at 80, {spans[2]} at 320" in said
    assert f"at 320 and {spans[3]} at 1,280; on source code" in said
    kappas = [row["options"]["kappa"] for (_, name), row in own.items() if name == "log-muon"]
    assert f"kappa of {min(kappas):g} to {max(kappas):g}" in said
    library = table_of.measured("library")
    leads = [below(library[f]["muon-dw"]["losses"], library[f]["log-muon"]["losses"]) for f in (0.25, 1, 4)]
    spans = [spelt(one) for one in leads]
    assert f"On the standard library it ends {listed(spans)} below at `f` = 1/4, 1 and 4, each significantly" in page
    assert all(map(significant, leads))
    assert f"on source code {spans[1]} at 20 and {spans[2]} at 80" in said
    for path in (ROOT / "results").glob("overtraining-*.json"):
        if path.stem == "overtraining-one-head":
            continue
        assert " ".join(json.loads(path.read_text())["command"].split()) in page.replace(" \\ ", " "), path.name


def test_what_came_of_the_predictions_for_the_library(script):
    page, choosing = (" ".join((ROOT / name).read_text().split()) for name in (PAGE, "docs/choosing.md"))
    rows = script["overtraining_table"].measured("library")
    found = {
        name: [below(rows[f]["adamw-dw"]["losses"], rows[f][name]["losses"]) for f in (0.25, 1, 4)]
        for name in ("adana", "dana-mk4")
    }
    for gains in found.values():
        assert all(map(significant, gains))
        assert gains[2][0] < gains[1][0]
    ours, clipped = (listed([spelt(one) for one in found[name]]) for name in found)
    assert f"On the library ADana ends {ours} nats below AdamW at `f` = 1/4, 1 and 4, DanaMK4 {clipped}." in page
    means = {name: listed([f"{one[0]:.3f}" for one in gains]) for name, gains in found.items()}
    assert f"on the second text ({means['adana']} nats at 5, 20 and 80), not on the smaller" in page
    assert (
        f"On source code ADana ended {means['adana']} nats below AdamW at 5, 20 and 80, DanaMK4 {means['dana-mk4']}."
        in (choosing)
    )
    between = [below(rows[f]["adana"]["losses"], rows[f]["dana-mk4"]["losses"]) for f in (0.25, 1, 4)]
    assert [significant(one) for one in between] == [True, False, False]
    assert f"DanaMK4 ends {-between[0][0]:.3f} nats above ADana at `f` = 1/4" in page
    assert f"above it on source code at 5, by {-between[0][0]:.3f}" in choosing
    assert [rows[f]["adana"]["options"]["kappa"] for f in (0.25, 1, 4)] == [0.7, 0.7, 0.7]
    assert [rows[f]["dana-mk4"]["options"]["kappa"] for f in (0.25, 1, 4)] == [0.85, 0.85, 0.85]
    tokens = {
        (cells[0], cells[2]): [cell.split()[0] for cell in cells[3:] if cell]
        for headings, made in script["tables"]()
        if headings[2:3] == ("f: tokens over AdamW",)
        for cells in made
    }
    (early, late) = (tokens["library", f] for f in ("0.25", "1"))
    assert (
        f"ADana is worth {early[0]} and {late[0]} times AdamW at 1/4 and 1, DanaMK4 {early[1]} and {late[1]}." in page
    )
    growth = {
        cells[3]: cells[4]
        for headings, made in script["tables"]()
        if headings[-1] == "f spans a factor of"
        for cells in made
        if (cells[0], cells[2]) == ("library", "AdamW")
    }
    assert f"can be read: {listed([early[2], late[2]])} times, an exponent of {growth['Muon']}." in page
    assert f"ADana's is {growth['ADana']} there and DanaMK4's {growth['DanaMK4']}." in page


def test_a_multiplier_is_of_a_run_that_was_made():
    """A horizon's row once repeated the one before it where only the baseline had run."""
    losses = {tuple(row[:3]): row for row in table(PAGE, "text | parameters | f: loss")}
    names = ["AdamW", "ADana", "DanaMK4", "Muon", "log-time Muon"]
    for of in ("AdamW", "Muon"):
        others = [name for name in names if name != of]
        for row in table(PAGE, f"text | parameters | f: tokens over {of}"):
            for name, cell in zip(others, row[3:], strict=True):
                assert not cell or losses[tuple(row[:3])][3 + names.index(name)], (of, row[:3], name)


def test_what_came_of_the_predictions_for_the_second_size():
    page = " ".join((ROOT / PAGE).read_text().split())
    first, second = (
        {(row["f"], row["optimizer"]): row for row in raw(name)["rows"]}
        for name in ("overtraining-gcide", "overtraining-gcide-66304")
    )
    assert " ".join(raw("overtraining-gcide-66304")["command"].split()) in page.replace(" \\ ", " ")

    def shown(ours, theirs, digits_only=False):
        found = [second[f, ours][f"against {theirs}"] for f in (0.25, 1)]
        assert all(one["interval"][0] > 0 for one in found)
        spans = ["{:.3f} ({:.3f} to {:.3f})".format(one["ahead"], *one["interval"]) for one in found]
        return " and ".join(span.split()[0] if digits_only else span for span in spans)

    assert f"DanaMK4 ends {shown('dana-mk4', 'adamw-dw')} nats below AdamW, ADana {shown('adana', 'adamw-dw')}" in page
    assert f"log-time Muon {shown('log-muon', 'muon-dw')} below Muon. Each is significant" in page
    behind = [second[f, "adana"]["against muon-dw"] for f in (0.25, 1)]
    assert all(one["interval"][1] < 0 for one in behind)
    assert "Muon {:.3f} and {:.3f} below ADana".format(*(-one["ahead"] for one in behind)) in page
    leads = [[rows[f, "adana"]["against adamw-dw"]["ahead"] for f in (0.25, 1)] for rows in (first, second)]
    more = [late - early for early, late in zip(*leads)]
    assert f"lead is {more[0]:.3f} and {more[1]:.3f} nats larger than at the first size" in page
    short = page[page.index("## In short") : page.index("## What holds")]
    assert f"larger of the two ({shown('adana', 'adamw-dw', True)} nats at 5 and 20) and on" in short
    choosing, optimizers = (
        " ".join((ROOT / "docs" / f"{name}.md").read_text().split()) for name in ("choosing", "optimizers")
    )
    assert f"ADana ended {shown('adana', 'adamw-dw', True)} nats below AdamW at 5 and 20" in choosing
    assert "on 66,304 it is {:.3f} and {:.3f} behind at 5 and 20".format(*(-one["ahead"] for one in behind)) in choosing
    assert f"{shown('log-muon', 'muon-dw').replace(' and', ' at 5 and')} at 20. At the race's size" in optimizers


def test_late_parameters(script):
    rows = {row["optimizer"]: row for row in raw("late-parameters")["rows"]}
    (made,) = [rows_ for headings, rows_ in script["tables"]() if "late bytes" in headings]
    late = {row[0]: [float(x) for x in re.findall(r"-?[\d.]+", row[-1])] for row in made if row[-1]}
    assert [name for name, (_, low, high) in late.items() if not low < 0 < high] == ["dana-star-mk4"]
    assert f"significantly above AdamW on late bytes, by {-late['dana-star-mk4'][0]:.3f} nats" in " ".join(
        (ROOT / PAGE).read_text().split()
    )
    early = {name: fmean(row["early"]) for name, row in rows.items()}
    assert max(early["adana"], early["dana-mk4"]) < min(early["dana-star"], early["dana-star-mk4"])
    assert max(early["dana-star"], early["dana-star-mk4"]) < early["adamw-dw"]


def test_every_claim_is_made_once_and_names_raw_files_whose_command_is_known(rows):
    readme = (ROOT / "results" / "README.md").read_text()
    assert len({(row[0], row[3]) for row in rows}) == len(rows)
    for row in rows:
        files = re.findall(r"\(\.\./results/([^)]+)\)", row[4])
        assert files
        for file in files:
            assert (ROOT / "results" / file).is_file()
            assert f"`{file}`" in readme or f"`{file.split('/')[0]}/`" in readme, file


def test_a_claim_holds_only_where_its_interval_does(rows):
    """By the words of the row alone: an interval with 0 in it is not known, one above is yes."""
    judged = 0
    for row in rows:
        found = re.fullmatch(r"(-?[\d.]+) \((-?[\d.]+) to (-?[\d.]+)\) nats", row[2])
        if found and "costs less" not in row[0]:
            _, low, high = map(float, found.groups())
            assert row[1] == ("**yes**" if low > 0 else "**no**" if high < 0 else "not known"), row
            judged += 1
    assert judged > 10


def shown(default: object) -> str:
    if default is inspect.Parameter.empty:
        return "must be given"
    return default.__name__ if isinstance(default, type) else repr(default)


def defaults() -> dict[tuple[str, str], set[str]]:
    """Every option of the classes in the catalogue: its default, and whose."""
    found: dict[tuple[str, str], set[str]] = {}
    for entry in catalog.OPTIMIZERS.values():
        if not entry.torch:
            continue
        kind = getattr(importlib.import_module(entry.torch_module), entry.torch_class)
        for option in inspect.signature(kind).parameters.values():
            if option.name != "params":
                found.setdefault((option.name, shown(option.default)), set()).add(entry.torch_class)
    return found


def test_every_default_has_a_line_with_its_evidence_or_says_that_it_is_not_measured():
    derived = set(defaults()) | {("lr", f"{LR_FACTOR}"), ("weight_decay", f"{catalog.PAPER_OMEGA}")}
    listed = [
        (name, default.strip("`"))
        for names, default, _, _ in table(PAGE, "option | default")
        for name in re.findall(r"`(\w+)`", names)
    ]
    assert len(listed) == len(set(listed))
    assert set(listed) == derived
    for _, _, _, reason in table(PAGE, "option | default"):
        assert "](" in reason or reason.startswith(("not measured here: ", "no choice: ")), reason


def test_what_the_defaults_quote_of_the_race_is_what_came_out(claims):
    lower = claims["Decay in log time is better for AdamW than constant decay"][2].split()[0]
    assert f"AdamW ends {lower} nats lower" in (ROOT / PAGE).read_text()


def test_what_the_page_says_of_digits_is_what_came_out():
    page = " ".join((ROOT / PAGE).read_text().split())
    rows = {(row[0], row[1]): row for row in table(PAGE, "steps | optimizer")}
    below = {key: row[6].split()[0].lstrip("-") for key, row in rows.items() if row[6]}
    assert f"ADana and DanaMK4 end {below['150', 'adana']} and {below['150', 'dana-mk4']} nats below AdamW" in page
    assert f"DanaMK4 ends {below['500', 'dana-mk4']} nats above it" in page
    assert f"Muon ends {below['150', 'muon-dw']} nats below AdamW at 150 steps" in page
    found = json.loads((ROOT / "results" / "digits.json").read_text())
    loss = {(row["steps"], row["optimizer"]): fmean(row["training_losses"]) for row in found["rows"]}
    early, late = ((loss[steps, "adana"], loss[steps, "adamw-dw"]) for steps in (150, 500))
    assert f"their loss is {early[0]:.3f} against AdamW's {early[1]:.3f} after 150 steps" in page
    assert f"and {late[0]:.4f} against {late[1]:.4f} after 500" in page
    assert f"of which {found['pictures'][0]:,} train, {found['pictures'][1]} choose" in page
    assert f"network of {found['parameters']:,} parameters, {found['batch']} pictures per step" in page


def test_what_the_page_says_of_sparse_gradients_is_what_came_out(claims):
    page = " ".join((ROOT / PAGE).read_text().split())

    def amount(claim: str) -> str:
        return claims[claim][2].removesuffix(" nats")

    def short(claim: str) -> str:
        return amount(claim).split()[0]

    lead = [short(f"ADana ends below AdamW {where}") for where in ("on a dense model", "with rare experts")]
    smaller = amount("ADana's lead over AdamW is smaller with rare experts than on the dense model")
    assert f"is {lead[0]} nats on the dense model and {lead[1]} with rare experts: smaller by {smaller}" in page
    above = [
        short(f"DanaStarMK4 ends below {other} {where}").removeprefix("-")
        for other, where in (
            ("ADana", "with rare tokens"),
            ("DanaMK4", "with rare tokens"),
            ("DanaMK4", "on a dense model"),
        )
    ]
    assert f"ends {above[0]} nats above ADana and {above[1]} above DanaMK4; so it does by {above[2]}" in page
    choosing = " ".join((ROOT / "docs" / "choosing.md").read_text().split())
    assert f"DanaStarMK4 ended {float(above[0]):.2f} nats above ADana" in choosing
    starred = [row for row in table(PAGE, "model | optimizer") if row[2].endswith("*")]
    assert len(starred) == 7


def test_what_the_page_says_of_kappa_on_known_texts_is_what_came_out(script, claims):
    page = " ".join((ROOT / PAGE).read_text().split())
    (headings, rows), *_ = [one for one in script["tables"]() if one[0][0] == "Hilberg exponent"]
    means = [[float(cell.split()[0].strip("*")) for cell in row[1:]] for row in rows]
    best = [headings[1 + row.index(min(row))].removeprefix("kappa ") for row in means]
    assert f"The best are {best[0]}, {best[1]} and {best[2]}" in page
    assert f"differ by {max(max(row) - min(row) for row in means):.3f} nats at most" in page
    claim = claims["Kappa 1 ends below 0.55 on a text of Hilberg exponent 0.88"]
    mean, low, high = (-float(x) for x in re.findall(r"-?\d+\.\d+", claim[2]))
    assert f"ends {mean:.3f} nats above it ({high:.3f} to {low:.3f})" in page
    assert claims["Kappa 0.7 ends below 0.55 on a text of Hilberg exponent 0.7"][1] == "not known"


def test_what_the_page_says_of_delta_is_what_came_out():
    page = " ".join((ROOT / PAGE).read_text().split())
    page = page[page.index("## Delta") :]
    losses = {(row["f"], row["optimizer"], row["delta"]): row["losses"] for row in raw("delta")["rows"]}
    rates = {(row["f"], row["optimizer"], row["delta"]): row["lr"] for row in raw("delta")["rows"]}
    deltas = sorted({delta for _, _, delta in losses})

    def above(f, name, delta):
        """How far a delta ends above the default, seed by seed: mean and interval."""
        found = [b - a for a, b in zip(losses[f, name, 8.0], losses[f, name, delta], strict=True)]
        return fmean(found), *t_interval(found).to_json()

    def shown(found):
        return "{:.3f} ({:.3f} to {:.3f})".format(*found)

    for f in (0.25, 1.0):
        assert all(above(f, "adana", delta)[1] <= 0 <= above(f, "adana", delta)[2] for delta in (4.0, 16.0))
    assert above(0.25, "adana", 32.0)[1] > 0
    assert above(1.0, "adana", 2.0)[1] > 0
    assert f"Delta 2 ends {shown(above(1.0, 'adana', 2.0))} nats above 8" in page
    choosing = " ".join((ROOT / "docs" / "choosing.md").read_text().split())
    assert f"2 ended {above(1.0, 'adana', 2.0)[0]:.3f} nats above it at 20" in choosing
    assert f"32 ended {above(0.25, 'adana', 32.0)[0]:.3f} above it at 5" in choosing
    assert above(1.0, "log-muon", 16.0)[1] > 0
    assert f"log-time Muon with delta 16 ends {shown(above(1.0, 'log-muon', 16.0))} nats above 8" in page
    assert rates[1.0, "log-muon", 16.0] == 0.25 == 8 * rates[1.0, "log-muon", 32.0]
    means = {
        (f, name): {delta: fmean(losses[f, name, delta]) for delta in deltas} for f, name in {k[:2] for k in losses}
    }
    spans = {key: f"{max(own.values()) - min(own.values()):.3f}" for key, own in means.items()}
    muon, ours = ([spans[f, name] for f in (0.25, 1.0)] for name in ("log-muon", "adana"))
    assert f"losses span {' and '.join(muon)} nats over delta at the two horizons, ADana's {' and '.join(ours)}" in page
    best = {key: min(own, key=own.get) for key, own in means.items()}
    assert f"its best is {best[0.25, 'adana']:g} at 1/4 and {best[1.0, 'adana']:g} at 1" in page
    assert f"True for log-time Muon: {best[0.25, 'log-muon']:g} and {best[1.0, 'log-muon']:g}." in page


def test_what_the_page_says_of_kappa_on_a_dictionary():
    page = " ".join((ROOT / PAGE).read_text().split())
    sizes: dict[int, dict[str, dict[float, list[float]]]] = {}
    for row in raw("kappa-sizes")["rows"]:
        name = f"{row['optimizer']} {row.get('clip_snr', '')}".strip()
        sizes.setdefault(row["heads"], {}).setdefault(name, {})[row["kappa"]] = row["losses"]
    means = {
        heads: {name: {kappa: fmean(own) for kappa, own in rows.items()} for name, rows in found.items()}
        for heads, found in sizes.items()
    }

    def apart(heads, name, kappa):
        """How far a kappa ends below the default, seed by seed."""
        rows = sizes[heads][name]
        return [a - b for a, b in zip(rows[0.85], rows[kappa], strict=True)]

    def shown(values, sign=1):
        ends = sorted((sign * t_interval(values).low, sign * t_interval(values).high))
        return f"{sign * fmean(values):.3f} ({ends[0]:.3f} to {ends[1]:.3f})"

    def significant(values):
        return not t_interval(values).low <= 0 <= t_interval(values).high

    below = [apart(heads, "adana", 0.55) for heads in (4, 7)]
    assert f"it ends {shown(below[0])} and {shown(below[1])} nats below" in page
    assert not any(map(significant, below))
    assert f"of both together, which was not planned, say {shown([*below[0], *below[1]])}" in page
    assert all(min(means[heads]["adana"], key=means[heads]["adana"].get) == 0.55 for heads in (4, 7))
    choosing = " ".join((ROOT / "docs" / "choosing.md").read_text().split())
    assert f"it ended {fmean(below[0]):.3f} and {fmean(below[1]):.3f} nats below 0.85" in choosing
    above = [apart(heads, "adana", 1.0) for heads in (4, 7)]
    assert f"Kappa 1 ends {shown(above[0], -1)} and {shown(above[1], -1)} above 0.85" in page
    assert [significant(one) for one in above] == [True, False]

    def span(heads, name):
        losses = [loss for kappa, loss in means[heads][name].items() if kappa >= 0.55]
        return max(losses) - min(losses)

    spans = {name: [f"{span(heads, name):.3f}" for heads in (4, 7)] for name in sizes[4]}
    assert f"losses span {' and '.join(spans['dana-mk4 2.0'])} nats with a clip of 2" in page
    assert f"{' and '.join(spans['dana-mk4 0.25'])} with one of 0.25; ADana's {' and '.join(spans['adana'])}" in page
    assert all(span(heads, "adana") > span(heads, f"dana-mk4 {clip}") for heads in (4, 7) for clip in (2.0, 0.25))
    assert all(
        means[heads]["dana-mk4 2.0"][kappa] < means[heads]["dana-mk4 0.25"][kappa]
        for heads in (4, 7)
        for kappa in (0.55, 0.7, 0.85)
    )
    assert t_interval(apart(7, "adana", 0.4)).high < 0
    best = [min(means[heads]["log-muon"], key=means[heads]["log-muon"].get) for heads in (4, 7)]
    assert best == [0.7, 0.85]
    assert f"best at kappa 0.7 at the smaller size, {shown(apart(4, 'log-muon', 0.7))} nats below 0.85" in page
    assert not any(
        significant(apart(heads, "log-muon", kappa))
        for heads in (4, 7)
        for kappa in sizes[heads]["log-muon"]
        if kappa != 0.85
    )
