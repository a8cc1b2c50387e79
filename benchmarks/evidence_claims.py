"""The claims of docs/evidence.md about trained models, each computed from results/: see evidence_table.py."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import batch_table
from adana.scaling.intervals import t_interval

RESULTS = Path(__file__).parents[1] / "results"
YES, NO, UNKNOWN = "**yes**", "**no**", "not known"
RACE, THREE = "the race", "three small decoders"
DICTIONARY = "the race on a dictionary"
PARAMETERS = {"small": "28,672 parameters", "race": "262,144 parameters"}


@dataclass(frozen=True)
class Claim:
    """A line of the table.

    Attributes:
        claim: what could be so.
        holds: whether it is.
        amount: by how much, with its interval.
        on: what was measured, and on how many seeds.
        raw: files in results/.
        page: where it is told at length, relative to docs/.
    """

    claim: str
    holds: str
    amount: str
    on: str
    raw: tuple[str, ...]
    page: str

    def cells(self) -> list[str]:
        files = ", ".join(f"[{Path(name).stem}](../results/{name})" for name in self.raw)
        return [self.claim, self.holds, self.amount, self.on, files, f"[more]({self.page})"]


HEADINGS = ("holds", "by how much (95 %)", "on", "raw data", "page")


def load(name: str) -> Any:
    return json.loads((RESULTS / name).read_text("utf-8"))


def lines(name: str) -> list[dict[str, str]]:
    with (RESULTS / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def less(theirs: Iterable[float], ours: Iterable[float]) -> list[float]:
    """How far below theirs ours are, pair by pair."""
    return [b - a for a, b in zip(ours, theirs, strict=True)]


def span(values: Sequence[float], digits: int = 3) -> str:
    """Mean and interval by Student's t."""
    ends = t_interval(values)
    assert ends is not None
    return f"{fmean(values):.{digits}f} ({ends.low:.{digits}f} to {ends.high:.{digits}f})"


def told(values: Sequence[float]) -> str:
    """Whether a mean is above 0: where the interval holds 0, that is not known."""
    ends = t_interval(values)
    assert ends is not None
    return YES if ends.low > 0 else NO if ends.high < 0 else UNKNOWN


def joined(gains: dict[str, list[float]], where: str) -> tuple[str, str]:
    """Whether a claim holds, and by how much, over several horizons; ``where`` says what they are, as in "f = {}"."""
    at: dict[str, list[str]] = {}
    for horizon, one in gains.items():
        at.setdefault(told(one), []).append(horizon)
    holds = [f"{what} at {where.format(', '.join(at[what]))}" for what in (YES, NO, UNKNOWN) if what in at]
    amounts = ", ".join(span(one) for one in gains.values())
    return "; ".join(holds), f"{amounts} nats at {where.format(', '.join(gains))}"


def below(claim: str, theirs: Sequence[float], ours: Sequence[float], on: str, raw: str, page: str) -> Claim:
    """A claim that losses end below others, on the same seeds."""
    gains = less(theirs, ours)
    return Claim(claim, told(gains), f"{span(gains)} nats", f"{on}, {len(gains)} seeds", (raw,), page)


# --- one function for each part of the table --------------------------------------------------------------


def race(file: str, on: str, page: str) -> list[Claim]:
    rows = {row["optimizer"]: row for row in load(file)["rows"]}
    loss = {name: row["final_losses"] for name, row in rows.items()}

    def one(claim: str, ours: str, theirs: str) -> Claim:
        return below(claim, loss[theirs], loss[ours], on, file, page)

    times = {name: f"{row['multiplier']:.2f}" for name, row in rows.items() if row["multiplier"] is not None}
    ends = rows["adana"]["multiplier_interval"]
    gain = Claim(
        "ADana needs less compute than AdamW for the same loss",
        YES if ends[0] > 1 else UNKNOWN,
        f"AdamW needs {times['adana']} ({ends[0]:.2f} to {ends[1]:.2f}) times as much",
        f"{on}, 5 seeds",
        (file,),
        page,
    )
    muon = rows["muon-dw"]
    counted = [value * muon["multiplier_all"] / muon["multiplier"] for value in muon["multipliers"]]
    gains = less(counted, rows["adana"]["multipliers"])
    flops = Claim(
        "Muon needs less compute than ADana, its own FLOPs counted",
        told(gains),
        f"multipliers of {fmean(counted):.2f} and {rows['adana']['multiplier']:.2f}, {span(gains, 2)} apart",
        f"{on}, 5 seeds",
        (file,),
        "race.md#what-the-columns-mean",
    )
    return [
        one("ADana ends below AdamW, both with decay in log time", "adana", "adamw-dw"),
        gain,
        one("AdEMAMix in log time ends below AdamW", "ademamix-dw", "adamw-dw"),
        one("Decay in log time is better for AdamW than constant decay", "adamw-dw", "adamw"),
        one("Nesterov's momentum alone helps AdamW", "nadamw", "adamw-dw"),
        one("DanaMK4 ends below ADana", "dana-mk4", "adana"),
        one("DanaStarMK4 ends below ADana", "dana-star-mk4", "adana"),
        one("DanaStar ends below ADana", "dana-star", "adana"),
        one("Muon ends below ADana", "muon-dw", "adana"),
        flops,
        *([one("Log-time Muon ends below Muon", "log-muon", "muon-dw")] if "log-muon" in rows else []),
    ]


def races() -> list[Claim]:
    """On both texts; log-time Muon raced on its own on the first."""
    file = "race-muon.json"
    loss = {row["optimizer"]: row["final_losses"] for row in load(file)["rows"]}
    page = "race.md#log-time-muon-on-source-code"
    return [
        *race("race-all.json", RACE, "race.md#what-came-out"),
        below("Log-time Muon ends below Muon", loss["muon-dw"], loss["log-muon"], RACE, file, page),
        *race("race-gcide.json", DICTIONARY, "race.md#on-a-second-text"),
    ]


def time() -> list[Claim]:
    found = load("race-time.json")["time_per_step_over_the_baselines"]
    made = []
    for claim, name in (
        ("A step of ADana takes longer than AdamW's", "adana"),
        ("A step of Muon takes longer than AdamW's", "muon-dw"),
    ):
        ratio = found[name]
        amount = f"{ratio['median']:.2f} times (quartiles {ratio['low']:.2f} to {ratio['high']:.2f})"
        holds = YES if ratio["low"] > 1 else UNKNOWN
        made.append(Claim(claim, holds, amount, f"{RACE}, 21 rounds", ("race-time.json",), "race.md#what-came-out"))
    return made


def unsearched() -> list[Claim]:
    runs = {(run["steps"], run["model"], run["optimizer"]): run["losses"] for run in load("first-try.json")["runs"]}
    cases = sorted({key[:2] for key in runs})
    mean = {(*case, name): fmean(runs[(*case, name)]) for case in cases for name in ("adamw", "adana", "adana, sized")}
    gains = [mean[(*case, "adamw")] - mean[(*case, "adana")] for case in cases]
    sized = [mean[(*case, "adana")] - mean[(*case, "adana, sized")] for case in cases]
    on = f"{THREE}, 100 to 3,000 steps, {len(cases)} cases of 3 seeds"
    vision = load("literal-swap.json")["models"]["vit"]["runs"]
    on_vision = "a small vision transformer, 300 steps"
    made = [
        Claim(
            "With nothing searched (0.4 of AdamW's rate, the defaults) ADana ends below AdamW at its best rate",
            YES if min(gains) > 0 else UNKNOWN,
            f"{min(gains):.3f} to {max(gains):.3f} nats",
            on,
            ("first-try.json",),
            "from-adamw.md#the-first-try-measured",
        ),
        Claim(
            "Omega by size, 2 sqrt(f), is better than the default, 0.5",
            told(sized),
            f"{span(sized)} nats",
            on,
            ("first-try.json",),
            "decisions/0005-omega.md",
        ),
    ]
    for omega, claim in (
        ("0.5", "ADana with the default omega ends below AdamW on pictures"),
        ("0", "ADana without decay ends below AdamW on pictures"),
    ):
        ours = vision[f"param_groups, omega {omega}"]["losses"]
        theirs = vision["adamw"]["losses"]
        made.append(below(claim, theirs, ours, on_vision, "literal-swap.json", "decisions/0004-literal-swap.md"))
    return made


def batches(size: str) -> list[Claim]:
    rows = batch_table.measured(size)
    found: dict[str, list[tuple[int, list[float]]]] = {"adamw": [], "law": [], "published": []}
    for batch, own in batch_table.by_batch(rows).items():
        plain = own["ADana, alpha~ 1"]["losses"]
        adamw = min((row for name, row in own.items() if name.startswith("AdamW")), key=lambda row: row["loss"])
        found["adamw"].append((batch, less(adamw["losses"], plain)))
        for key, line in (("law", "ADana, alpha~ by batch"), ("published", "ADana, alpha~ as published")):
            if line in own and own[line]["losses"] != plain:  # at the batch where alpha~ is 1 they are the same runs
                found[key].append((batch, less(plain, own[line]["losses"])))

    def claim(words: str, key: str) -> Claim:
        means = [fmean(gains) for _, gains in found[key]]
        at: dict[str, list[str]] = {}
        for batch, gains in found[key]:
            at.setdefault(told(gains), []).append(f"{batch}")
        holds = "; ".join(f"{what} at {', '.join(at[what])}" for what in (YES, NO, UNKNOWN) if what in at)
        where = ", ".join(f"{batch}" for batch, _ in found[key])
        amount = f"{', '.join(f'{mean:.3f}' for mean in means)} nats at {where} sequences"
        fixed = any(row["line"] == "AdamW, beta2 fixed" for row in rows)
        on = f"{PARAMETERS[size]}, equal tokens, {'' if fixed else 'beta2 of AdamW by batch alone, '}3 seeds"
        return Claim(words, holds, amount, on, tuple(f"{name}.json" for name in batch_table.FILES[size]), "batch.md")

    words = {
        "adamw": "ADana with alpha~ 1 ends below AdamW at every batch",
        "law": "alpha~ by B^0.33 from a batch where 1 is good ends below alpha~ 1",
        "published": "The published law of alpha~, far below its batches, ends below alpha~ 1",
    }
    return [claim(words[key], key) for key, gains in found.items() if gains]


def decay() -> list[Claim]:
    best: dict[tuple[str, int, int], dict[float, float]] = {}
    for row in lines("weight-decay.csv"):
        if row["final_loss"]:
            key = row["optimizer"], int(row["total_parameters"]), int(row["steps"])
            omega = float(json.loads(row["options"])["weight_decay"])
            losses = best.setdefault(key, {})
            losses[omega] = min(losses.get(omega, 9.0), float(row["final_loss"]))
    adana = {key: losses for key, losses in best.items() if key[0] == "adana"}

    tried: dict[tuple[str, int], dict[float, float]] = {}
    for run in load("first-try.json")["runs"]:
        if run["optimizer"].startswith("adana") and run["optimizer"] != "adana, sized":
            omega = float(run["options"]["weight_decay"])
            tried.setdefault((run["model"], run["steps"]), {})[omega] = fmean(run["losses"])

    def behind(omega: float) -> list[float]:
        cases = [*adana.values(), *tried.values()]
        return [losses[omega] - min(losses.values()) for losses in cases if omega in losses]

    tuned = load("fine-tuning.json")["runs"]
    new = {name: [run["new"] for run in runs] for name, runs in tuned.items()}
    made = [
        Claim(
            f"Omega {omega:g} is within 0.05 nats of the best omega",
            YES if max(behind(omega)) < 0.05 else NO,
            f"{min(behind(omega)):.3f} to {max(behind(omega)):.3f} nats behind it",
            f"ADana at 1 to 80 tokens per parameter, {len(behind(omega))} cases, 1 or 3 seeds",
            ("weight-decay.csv", "first-try.json") if omega == 0.5 else ("weight-decay.csv",),
            "decisions/0005-omega.md",
        )
        for omega in (0.5, 4.0)
    ]
    made.append(
        below(
            "The default omega, 0.5, suits fine-tuning (against none)",
            new["adana, omega 0"],
            new["adana, omega 0.5"],
            "a small decoder on new text",
            "fine-tuning.json",
            "fine-tuning.md",
        )
    )
    models = load("literal-swap.json")["models"]
    every: list[float] = []
    for name in ("gpt2", "llama", "qwen3"):
        spared, all_of_it = (models[name]["runs"][f"{way}, omega 0.5"] for way in ("param_groups", "everything"))
        every += less(all_of_it["losses"], spared["losses"])
    made.append(
        Claim(
            "Sparing norms, biases and embeddings from decay is better than decay of everything",
            told(every),
            f"{span(every)} nats",
            f"{THREE}, 300 steps, 3 seeds each",
            ("literal-swap.json",),
            "decisions/0004-literal-swap.md",
        )
    )
    return made


def forms() -> list[Claim]:
    ways = load("eps-placement.json")["ways"]
    outside, inside = (list(ways[way]["final_losses"].values()) for way in ("outside", "inside"))
    losses: dict[str, list[float]] = {}
    for row in lines("race-forms.csv"):
        losses.setdefault(row["form"], []).append(float(row["final_loss"]))
    return [
        below("eps outside the root ends below eps inside", inside, outside, RACE, "eps-placement.json", "choices.md"),
        below(
            "The printed form ends below the released code",
            losses["released"],
            losses["paper"],
            f"{RACE}, one learning rate",
            "race-forms.csv",
            "choices.md#the-released-code",
        ),
    ]


def precision() -> list[Claim]:
    made = []
    for name, key, steps, model in (
        ("precision-race", "final_loss", "5,000", f"{RACE}'s model"),
        ("precision-race-20000", "loss", "20,000", f"{RACE}'s model"),
        ("precision-axis", "loss", "8,960", "28,672 parameters in four heads, f = 16"),
    ):
        losses: dict[str, list[float]] = {}
        for row in sorted(load(f"{name}.json")["rows"], key=lambda row: row["seed"]):
            losses.setdefault(row["format"], []).append(row[key])
        cost = less(losses["int16"], losses["float32"])
        ends = t_interval(cost)
        assert ends is not None
        made.append(
            Claim(
                f"State in 4 bytes (int16) costs less than 0.005 nats in {steps} steps",
                YES if ends.high < 0.005 else UNKNOWN,
                f"{span(cost, 4)} nats",
                f"{model}, {len(cost)} seeds",
                (f"{name}.json",),
                "precision.md",
            )
        )
    risks: dict[str, list[float]] = {}
    for row in sorted(load("precision-plrf.json")["rows"], key=lambda row: row["seed"]):
        risks.setdefault(row["format"], []).append(row["loss"])
    ratios = [a / b - 1 for a, b in zip(risks["bfloat16-nearest"], risks["float32"], strict=True)]
    made.append(
        Claim(
            "State in bfloat16, rounded to nearest, costs risk",
            told(ratios),
            f"{span([100 * x for x in ratios], 1)} % more",
            f"least squares, 50,000 steps, {len(ratios)} seeds",
            ("precision-plrf.json",),
            "precision.md",
        )
    )
    taus: dict[tuple[str, int], dict[str, float]] = {}
    for row in load("tau-race.json")["rows"]:
        taus.setdefault((row["optimizer"], row["seed"]), {})[row["tau"]] = row["loss"]
    most = max(abs(one["float16"] - one["float32"]) for one in taus.values())
    made.append(
        Claim(
            "tau in float16 changes what the Star rules reach by less than 0.001 nats",
            YES if most < 0.001 else NO,
            f"{most:.5f} nats at most",
            f"{RACE}, 3 seeds",
            ("tau-race.json",),
            "precision.md#tau-in-16-bits",
        )
    )
    return made
