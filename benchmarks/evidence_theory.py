"""The claims of docs/evidence.md about predictions and least squares, and the published numbers beside ours."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from adana.scaling.fits import read_fit
from damping_without_kappa import compared
from evidence_claims import NO, RACE, RESULTS, UNKNOWN, YES, Claim, less, lines, load, span

NUMBERS = {4: "four", 5: "five"}
TABLES = Path(__file__).parents[1] / "src/adana/scaling/tables"
LADDER = "five sizes of 7,872 to 160,320 parameters"


def number_of_sizes(found: dict[str, Any]) -> str:
    return NUMBERS[len(found["searches"][0]["bests"])]


def ladder_setting(found: dict[str, Any]) -> str:
    """What a ladder was measured on."""
    first, *_, last = (best["total_parameters"] for best in found["searches"][0]["bests"])
    seeds, largest = len(found["ladder"]["seeds"]), found["plans"][0]["total_parameters"]
    return f"{number_of_sizes(found)} sizes of {first:,} to {last:,} parameters, then {largest:,}; {seeds} seeds"


def predictions(folder: str, page: str) -> list[Claim]:
    """What a ladder said of its next size, and what came out."""
    found = load(f"{folder}/ladder.json")
    checks, words, on = found["checks"], number_of_sizes(found), ladder_setting(found)
    widths = [check["predicted_interval"][1] - check["predicted_interval"][0] for check in checks]
    errors = [check["error"] for check in checks]
    # An interval that holds the last loss says no more than that nothing might change.
    last = [search["bests"][-1]["loss"] for search in found["searches"]]
    wide = any(low <= loss <= high for loss, check in zip(last, checks) for low, high in [check["predicted_interval"]])
    factors = [check["lr_interval"][1] / check["lr_interval"][0] for check in checks]
    (lead,) = found["differences"]

    def claim(words: str, holds: str, amount: str) -> Claim:
        return Claim(words, holds, amount, on, (f"{folder}/ladder.json",), page)

    return [
        claim(
            f"{words.capitalize()} sizes predict the loss of the next",
            UNKNOWN if wide else YES if all(check["loss_holds"] for check in checks) else NO,
            f"{listed(f'{error:+.3f}' for error in errors)} nats from what was predicted, in intervals "
            f"{listed(f'{width:.2f}' for width in widths)} wide{', which hold the loss of the size before too' * wide}",
        ),
        claim(
            f"{words.capitalize()} sizes predict how far ADana is ahead at the next",
            UNKNOWN,
            f"{lead['predicted']:.3f} nats predicted, {lead['measured']:.3f} measured; one case",
        ),
        claim(
            f"{words.capitalize()} sizes predict the learning rate of the next",
            YES if all(check["lr_holds"] for check in checks) else NO,
            f"no better one at 2/3 and 3/2 of it; the intervals span factors of {listed(f'{x:.2g}' for x in factors)}"
            if all(check["lr_holds"] for check in checks)
            else "a better one at 2/3 or 3/2 of it",
        ),
    ]


def within_form(folder: str, page: str) -> Claim:
    """Whether a ladder's next size ended where its law alone says, with no other form beside it."""
    found = load(f"{folder}/ladder.json")
    laws = read_fit(RESULTS / folder / "loss.json").laws
    ends = [law.fit.within_form(plan["pfh"]) for law, plan in zip(laws, found["plans"], strict=True)]
    measured = [check["measured_loss"] for check in found["checks"]]
    last = [search["bests"][-1]["loss"] for search in found["searches"]]
    assert not any(loss in own for loss, own in zip(last, ends, strict=True)), "an interval that cannot fail"
    errors = [f"{check['error']:+.3f}" for check in found["checks"]]
    widths = [f"{own.high - own.low:.2f}" for own in ends]
    return Claim(
        f"If the law has the right form, {number_of_sizes(found)} sizes predict the loss of the next",
        YES if all(loss in own for loss, own in zip(measured, ends, strict=True)) else NO,
        f"{listed(errors)} nats from what was predicted, in intervals {listed(widths)} wide, "
        "which leave out the loss of the size before",
        ladder_setting(found),
        (f"{folder}/ladder.json", f"{folder}/loss.json"),
        page,
    )


def listed(words: Iterable[str]) -> str:
    return " and ".join(words)


def ladder() -> list[Claim]:
    coverage = {row["law"]: row for row in lines("interval-coverage.csv") if row["table"] == "all"}
    loss, rate = coverage["loss, a free"], coverage["learning rate"]
    return [
        *predictions("ladder", "ladder.md#what-it-showed"),
        *predictions("ladder-8", "ladder.md#a-third-ladder"),
        within_form("ladder-8", "ladder.md#a-third-ladder"),
        Claim(
            "Intervals of predicted losses hold 95 % of what was measured",
            YES if int(loss["held_now"]) >= 0.95 * int(loss["predicted"]) else NO,
            f"{loss['held_now']} of {loss['predicted']}, {float(loss['width_now']):.2f} nats wide in the median",
            "public tables of other people's runs and our first ladder",
            ("interval-coverage.csv",),
            "scaling.md#intervals",
        ),
        Claim(
            "Intervals of predicted learning rates hold 95 % of what was measured",
            YES if int(rate["held_now"]) >= 0.95 * int(rate["predicted"]) else NO,
            f"{rate['held_now']} of {rate['predicted']}",
            "public tables of other people's runs and our first ladder",
            ("interval-coverage.csv",),
            "scaling.md#intervals",
        ),
    ]


def kappa() -> list[Claim]:
    best: dict[tuple[float, int, int], dict[str, Any]] = {}
    for point in load("kappa-map.json")["points"]:
        key = point["rho"], point["batch"], point["horizon"]
        if key not in best or point["risk"] < best[key]["risk"]:
            best[key] = point
    above = [one["best"] - one["predicted"] for one in best.values()]
    ends: dict[float, dict[int, float]] = {}
    for point in load("theory-dana-map-long.json")["points"]:
        ends.setdefault(point["damping_scale"], {})[point["horizon"]] = abs(point["best"] - point["predicted"])
    off = {horizon: [one[horizon] for one in ends.values()] for horizon in (3000, 100_000)}
    nearer = all(late < early for early, late in zip(*off.values()))
    texts = load("hilberg-santa-fe.json")["texts"]
    found = [text["curves"][0]["intervals"][0] for text in texts]
    reads = all(ends["low"] <= text["exponent"] <= ends["high"] for ends, text in zip(found, texts))
    last, fit = found[-1], texts[-1]["curves"][0]["fits"][0]
    sized = compared(load("damping-without-kappa.json")["rows"])
    worst = {arm: max(place[arm] for place in sized.values()) for arm in next(iter(sized.values()))}
    single = min(risk for (rule, _), risk in worst.items() if rule == "kappa")
    return [
        Claim(
            "The best kappa of DANA tends to 1/(2 rho) as the horizon grows",
            YES if nearer else NO,
            f"at rho = 1 off by {', '.join(f'{x:.2f}' for x in off[3000])} after 3,000 steps and by "
            f"{', '.join(f'{x:.2f}' for x in off[100_000])} after 100,000, at three c",
            "exact mean risk",
            ("theory-dana-map-long.json",),
            "kappa-map.md",
        ),
        Claim(
            "The best kappa of ADana is 1/(2 rho)",
            NO if fmean(above) > 0.1 else YES,
            f"{fmean(above):.2f} above it on average ({min(above):.2f} to {max(above):.2f}), both tuned together",
            f"least squares, {len(above)} cases, 2 seeds",
            ("kappa-map.json",),
            "kappa-map.md#adana-simulated",
        ),
        Claim(
            "An alpha sized by the run itself is within 1.5 times the risk of the best kappa",
            YES if worst["alignment", 2.0] <= 1.5 else NO,
            f"{worst['alignment', 2.0]:.2f} times at worst; the best single kappa {single:.2f}",
            f"least squares, {len(sized)} cases, 3 seeds",
            ("damping-without-kappa.json",),
            "ablations.md#damping-without-kappa",
        ),
        Claim(
            "A compressor reads the Hilberg exponent of a text",
            YES if reads else NO,
            f"{fit['exponent']:.2f} ({last['low']:.2f} to {last['high']:.2f}) where {texts[-1]['exponent']:g} is true",
            f"{len(texts)} texts of known exponent, PPM",
            ("hilberg-santa-fe.json",),
            "inspect.md#the-hilberg-exponent-of-a-text",
        ),
    ]


def least_squares() -> list[Claim]:
    made = []
    for claim, setting, rule, page in (
        ("ADana ends below AdamW on least squares", "figure-8-left", "adana", "dense-gradients"),
        (
            "LogAdamW, memory in log time alone, ends below AdamW on least squares",
            "figure-8-left",
            "log-adamw",
            "dense-gradients",
        ),
        (
            "LogNAdamW, without damping, ends below AdamW on least squares",
            "figure-8-left",
            "log-nadamw",
            "dense-gradients",
        ),
        (
            "DanaStarMK4 ends below AdamW under sparse gradients, rho = 1",
            "figure-8-centre",
            "dana-star-mk4",
            "sparse-gradients",
        ),
        (
            "DanaStarMK4 ends below AdamW under sparse gradients, rho = 1.5",
            "figure-9",
            "dana-star-mk4",
            "sparse-gradients",
        ),
    ):
        ranking = load(f"theory-{setting}.json")["ranking"]
        ratio = next(one for one in ranking["rules"] if one["label"] == rule)["held_out_ratio"]
        made.append(
            Claim(
                claim,
                YES if ratio["high"] < 1 else NO if ratio["low"] > 1 else UNKNOWN,
                f"{ratio['mean']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}) of AdamW's risk",
                f"least squares, {len(ranking['held_out_seeds'])} problems that the search had not seen",
                (f"theory-{setting}.json",),
                f"theory.md#{page}",
            )
        )
    return made


def spectra() -> list[Claim]:
    summary = load("spectra-claims.json")["summary"]
    loss, *tails = summary["forecasts"]
    hidden = all(tail["interval"][0] <= 0 <= tail["interval"][1] for tail in tails)
    size = [abs(tail["correlation"]) for tail in tails]
    on = f"a model of one head, {loss['settings']} settings of 3 seeds"
    raw, page = ("spectra-claims.json",), "inspect.md#two-claims-put-to-the-test"
    return [
        Claim(
            "The spectrum's tail early in a run forecasts the final loss",
            UNKNOWN if hidden else YES,
            f"rank correlations of {min(size):.2f} to {max(size):.2f} in size, every interval holds 0; of the loss "
            f"at that step {loss['correlation']:.2f} ({loss['interval'][0]:.2f} to {loss['interval'][1]:.2f})",
            on,
            raw,
            page,
        )
    ]


# --- published numbers ------------------------------------------------------------------------------------

PUBLISHED_HEADINGS = ("quantity", "published", "here", "what differs")
SCALE = "45M to 2.6B parameters on FineWeb there, 262,144 on source code here"
UNIT = "nats per token there, per byte here; 176M to 2.47B parameters, Qwen3"


def table(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def apart(ours: str, theirs: str) -> str:
    """How far below another an optimizer ends in Table 19, least and most over the sizes."""
    losses: dict[str, dict[str, float]] = {}
    for row in table("qwen3_losses.csv"):
        if not row["note"] and row["kappa"] in ("", "0.85"):
            losses.setdefault(row["optimizer"], {})[row["heads"]] = float(row["final_loss"])
    gains = [loss - losses[ours][heads] for heads, loss in losses[theirs].items() if heads in losses[ours]]
    return f"{min(gains):.3f} to {max(gains):.3f} nats (Table 19)"


def published() -> list[list[str]]:
    rows = {row["optimizer"]: row for row in load("race-all.json")["rows"]}
    loss = {name: row["final_losses"] for name, row in rows.items()}

    def ahead(ours: str, theirs: str) -> str:
        return f"{span(less(loss[theirs], loss[ours]))} nats"

    def multiplier(name: str) -> str:
        ends = rows[name]["multiplier_interval"]
        return f"{rows[name]['multiplier']:.2f} ({ends[0]:.2f} to {ends[1]:.2f})"

    (measured,) = load("ablations.json")["measured"]
    pieces = {row["name"]: row["losses"] for row in measured["rows"]}
    laws = {row["optimizer"]: row for row in table("loss_laws.csv") if (row["compute"], row["a"]) == ("6n", "1.042")}
    ours = [(one["f"], one["intervals"]["f"]) for one in load("ladder/loss.json")["laws"]]
    exponents = " and ".join(f"{f:.3f} ({low:.3f} to {high:.3f})" for f, (low, high) in ours)
    runs = {(run["steps"], run["model"], run["optimizer"]): run["losses"] for run in load("first-try.json")["runs"]}
    sized = [fmean(runs[(*key[:2], "adana")]) - fmean(found) for key, found in runs.items() if key[2] == "adana, sized"]
    return [
        [
            "compute that AdamW needs for ADana's loss, decay in log time for both",
            "over 1.3 times at the largest sizes (Figure 4)",
            f"{multiplier('adana')} times",
            SCALE,
        ],
        ["ADana below AdamW with constant decay", apart("adana", "adamw"), ahead("adana", "adamw"), UNIT],
        ["DanaMK4 below ADana", apart("dana-mk4", "adana"), ahead("dana-mk4", "adana"), UNIT],
        ["DanaStarMK4 below ADana", apart("dana-star-mk4", "adana"), ahead("dana-star-mk4", "adana"), UNIT],
        [
            "ADana below AdEMAMix",
            apart("adana", "ademamix"),
            ahead("adana", "ademamix-dw"),
            f"{UNIT}; AdEMAMix decays in log time here",
        ],
        [
            "decay in log time alone, AdamW",
            "about 10 % of compute (Figure 7, centre)",
            f"AdamW with constant decay is worth {multiplier('adamw')} of it",
            SCALE,
        ],
        [
            "the best omega over sizes",
            "the same at all (Figure 7, left); all runs at 4",
            "0.5 to 1 for ADana ([table](decisions/0005-omega.md))",
            "14,000 steps and more there, 56 to 4,480 here",
        ],
        [
            "Muon against AdamW over sizes",
            "an advantage that shrinks (Figure 1)",
            f"a multiplier of {multiplier('muon-dw')} at one size",
            SCALE,
        ],
        [
            "the best kappa of ADana",
            "0.85 at every size (Figure 4)",
            kappas("adana"),
            "one seed here, learning rates not searched at every kappa",
        ],
        [
            "DanaMK4 depends less on kappa",
            "nearly flat with a clip of 0.25 (Figure 8, right)",
            kappas("dana-mk4"),
            "a clip of 2 here; others were not run on text",
        ],
        [
            "kappa too small, least squares with dense gradients",
            "ADana diverges, DanaMK4 with a clip of 0.25 does not (Figure 8, left)",
            dense(),
            "5,000 features there, 200 here, learning rates searched",
        ],
        [
            "least squares with sparse gradients",
            "ADana, AdEMAMix and DanaMK4 diverge, DanaStarMK4 is stable (Figure 8, centre)",
            "the same at one learning rate for all with kappa = 1/(2 rho); each rule at its own kappa and rate, none "
            "diverges and a Star rule ends lowest on most problems ([more](theory.md#sparse-gradients))",
            "1,000 experts there, 100 and 200 here",
        ],
        [
            "the exponent of the loss law, AdamW and ADana",
            f"{laws['adamw']['f']} and {laws['adana']['f']} with a = 1.042 (Table 11)",
            exponents,
            f"{LADDER} here, by which no exponent is identified",
        ],
        [
            "ADana with beta2 = 0.999 in place of log time",
            "alike at small sizes, diverges at 36 heads (Figure 6)",
            f"{span(less(pieces['beta2'], pieces['adana']))} nats behind after 1,500 steps",
            f"{SCALE}, three seeds of the ablations",
        ],
        [
            "omega by tokens per parameter, 2 sqrt(f), in log time",
            "the best (arXiv 2609.04577)",
            f"{span(sized)} nats below omega 0.5",
            "51M to 253M parameters there, 39,344 to 54,672 here",
        ],
        [
            "ADana over AdamW by tokens: the exponent of f",
            "1.15 to 1.20 (arXiv 2609.04577)",
            "[over the number of tokens](#over-the-number-of-tokens)",
            "f from 1 to 256 there",
        ],
    ]


def kappas(optimizer: str) -> str:
    """The best loss at every kappa that the race's search tried."""
    best: dict[float, float] = {}
    for row in lines("race-sweep.csv"):
        if row["optimizer"] == optimizer and row["final_loss"] and row["seed"] == "100":
            best[float(row["kappa"])] = min(best.get(float(row["kappa"]), 9.0), float(row["final_loss"]))
    listed = ", ".join(f"{loss:.3f}" for _, loss in sorted(best.items()))
    return f"losses {listed} at kappa {', '.join(f'{x:g}' for x in sorted(best))} (the search for {RACE})"


def dense() -> str:
    """Largest over least risk for kappa up to 0.7, each at its best learning rate."""
    values = load("theory-figure-8-left.json")["ranking"]["values"]

    def factor(label: str) -> float:
        risks = [one["risk"]["mean"] for one in values if one["label"] == label and one["value"] <= 0.7]
        return max(risks) / min(risks)

    return (
        f"for kappa from 0 to 0.7 ADana's risks span a factor of {factor('adana'):,.0f}, DanaMK4's "
        f"{factor('dana-mk4 clip 0.25'):.2f}"
    )
