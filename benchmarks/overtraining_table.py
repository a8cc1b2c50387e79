"""The tables over tokens per parameter of docs/evidence.md, from results/overtraining-*: see evidence_table.py."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path
from statistics import stdev
from typing import Any

from adana.scaling.fits.overtraining import Overtraining, TokenMultiplier
from adana.scaling.grouping import select
from adana.scaling.overtraining import overtraining
from adana.scaling.reading import read_runs
from evidence_claims import RESULTS, Claim, joined, less
from overtraining import paired

TEXTS = {"gcide": "dictionary", "gcide-66304": "dictionary", "library": "library"}
"""Files, by what follows ``overtraining-`` in their names, and what the page calls their texts."""
NAMES = {
    "adamw-dw": "AdamW",
    "adana": "ADana",
    "dana-mk4": "DanaMK4",
    "muon-dw": "Muon",
    "log-muon": "log-time Muon",
}
BASELINES = ("adamw-dw", "muon-dw")

HEADS = {4: "four", 7: "seven"}

STEPS_ROUNDED = 0.02
"""A share of f. Steps are whole, so a horizon is not met exactly; the next horizon is four times as far."""

Row = dict[str, Any]
Horizons = dict[float, dict[str, Row]]
Cells = list[list[str]]


def files(text: str, kind: str) -> list[Path]:
    """Results of a text: the first command's, and those of one that went on from where it had ended."""
    names = (f"overtraining-{text}.{kind}", f"overtraining-{text}-more.{kind}")
    return [path for name in names if (path := RESULTS / name).exists()]


@functools.cache
def model(text: str) -> tuple[int, int]:
    """Parameters and heads of the model that was trained on a text."""
    heads = {run["heads"] for path in files(text, "csv") for run in csv.DictReader(path.open(encoding="utf-8"))}
    (parameters,) = {json.loads(path.read_text("utf-8"))["parameters"] for path in files(text, "json")}
    (only,) = heads
    return parameters, int(only)


def setting(text: str) -> list[str]:
    """The first cells of a row: text and parameters."""
    return [TEXTS[text], f"{model(text)[0]:,}"]


@functools.cache
def measured(text: str) -> Horizons:
    """By horizon and optimizer."""
    found: Horizons = {}
    for path in files(text, "json"):
        for row in json.loads(path.read_text("utf-8"))["rows"]:
            found.setdefault(row["f"], {})[row["optimizer"]] = row
    return dict(sorted(found.items()))


@functools.cache
def fitted(text: str, baseline: str) -> Overtraining:
    """What ``adana fit --law overtraining --searched-kappa --size total`` says."""
    runs = select(read_runs(files(text, "csv")), searched_kappa=True)
    return overtraining(runs, baseline=baseline, size="total", draws=400)


def fits(text: str, baseline: str) -> bool:
    """Whether the baseline was run at two horizons, so that tokens can be told from its losses."""
    return sum(baseline in own for own in measured(text).values()) > 1


def rows(cell: Callable[[Row, Horizons], str], *, but: str = "") -> Cells:
    """A row for every text and horizon, with a cell for every optimizer."""
    names = [name for name in NAMES if name != but]
    return [
        [*setting(text), f"{f:g}", *(cell(own[name], {f: own}) if name in own else "" for name in names)]
        for text in TEXTS
        for f, own in measured(text).items()
    ]


def headings(what: str, *, but: str = "") -> tuple[str, ...]:
    return ("text", "parameters", what, *(said for name, said in NAMES.items() if name != but))


def losses() -> Cells:
    """Mean loss over the seeds and its standard deviation; the least in bold."""

    def cell(row: Row, horizon: Horizons) -> str:
        (own,) = horizon.values()
        if row["loss"] is None:
            return "diverged"
        least = min(other["loss"] for other in own.values() if other["loss"] is not None)
        loss = f"**{row['loss']:.3f}**" if row["loss"] == least else f"{row['loss']:.3f}"
        return f"{loss} ± {stdev(row['losses']):.3f}" if len(row["losses"]) > 1 else loss

    return rows(cell)


def settings() -> Cells:
    """Learning rate, omega and own option; a star where a rate has no worse neighbour on one side."""

    def cell(row: Row, horizon: Horizons) -> str:
        options = dict(row["options"])
        omega = options.pop("weight_decay")
        (own,) = options.values()
        return (
            f"{row['lr']:.2g}{'' if row['bracketed'] else '*'}, {omega:g}, {own[1] if isinstance(own, list) else own:g}"
        )

    return rows(cell)


def ahead(of: str) -> Cells:
    """Nats below another optimizer on the same seeds, 95 % by Student's t, p of a difference of 0."""

    def cell(row: Row, horizon: Horizons) -> str:
        (own,) = horizon.values()
        found = paired(row["losses"], own[of]["losses"]) if of in own and row["optimizer"] != of else None
        if not found or found["ahead"] is None:
            return ""
        if found["interval"] is None:
            return f"{found['ahead']:.3f}"
        low, high = found["interval"]
        return f"{found['ahead']:.3f} ({low:.3f} to {high:.3f}), p {found['p']:.1g}"

    return rows(cell, but=of)


def multipliers(of: str) -> Cells:
    """Tokens that a baseline would need for the same loss, over those used; a star where its losses do not reach it."""
    points: dict[tuple[str, str, float], TokenMultiplier] = {
        (text, law.label, round(row.f, 3)): row
        for text in TEXTS
        if fits(text, of)
        for law in fitted(text, of).laws
        for row in law.rows
    }
    names = [name for name in NAMES if name != of]
    return [
        [*setting(text), f"{f:g}", *(_multiplier(points.get((text, name, _close(points, text, f)))) for name in names)]
        for text in TEXTS
        for f in measured(text)
    ]


def _close(points: dict[tuple[str, str, float], TokenMultiplier], text: str, f: float) -> float:
    """The horizon of a text that is f but for the rounding of its steps to whole ones; f itself where there is none."""
    near = [own for of, _, own in points if of == text and abs(own / f - 1) < STEPS_ROUNDED]
    return min(near, key=lambda own: abs(own / f - 1), default=f)


def _multiplier(row: TokenMultiplier | None) -> str:
    if row is None or row.multiplier is None or row.interval is None:
        return ""
    high = "..." if row.interval.high == float("inf") else f"{row.interval.high:.2f}"
    return f"{row.multiplier:.2f}{'*' if row.extrapolated else ''} ({row.interval.low:.2f} to {high})"


def exponents() -> Cells:
    """The exponent p of ``L_B(f) = L_A(c f^p)``."""
    return [
        [
            *setting(text),
            NAMES[of],
            NAMES[law.label],
            f"{law.exponent:.2f} ({law.interval.low:.2f} to {law.interval.high:.2f})",
            f"{law.points}",
            f"{law.span:g}",
        ]
        for text in TEXTS
        for of in BASELINES
        if fits(text, of)
        for law in fitted(text, of).laws
        if law.exponent is not None and law.interval is not None
    ]


EXPONENT_HEADINGS = ("text", "parameters", "over", "optimizer", "p (95 %)", "horizons", "f spans a factor of")


PAIRS = (
    ("adana", "adamw-dw", "ADana ends below AdamW, both searched at every horizon"),
    ("dana-mk4", "adamw-dw", "DanaMK4 ends below AdamW, both searched at every horizon"),
    ("dana-mk4", "adana", "DanaMK4 ends below ADana, both searched at every horizon"),
    ("log-muon", "muon-dw", "Muon in log time ends below Muon, both searched at every horizon"),
    ("muon-dw", "adana", "Muon ends below ADana, both searched at every horizon"),
)


def claims() -> list[Claim]:
    """Each pair of optimizers at every horizon of a text."""
    made = []
    for text, said in TEXTS.items():
        if not measured(text):
            continue
        parameters, heads = model(text)
        for ours, theirs, words in PAIRS:
            gains = {
                f: less(own[theirs]["losses"], own[ours]["losses"])
                for f, own in measured(text).items()
                if ours in own and theirs in own
            }
            if not gains:
                continue
            holds, amount = joined({f"{f:g}": one for f, one in gains.items()}, "f = {}")
            seeds = " or ".join(f"{n}" for n in sorted({len(one) for one in gains.values()}))
            on = f"{parameters:,} parameters in {HEADS[heads]} heads, the {said}, {seeds} seeds"
            page = "evidence.md#over-the-number-of-tokens"
            made.append(Claim(words, holds, amount, on, tuple(path.name for path in files(text, "json")), page))
    return made


def one_head() -> Cells:
    """The losses of the seeds of the first try, with one head."""
    return [
        [f"{f:g}", NAMES[name], *(f"{loss:.3f}" for loss in row["losses"])]
        for f, own in measured("one-head").items()
        for name, row in own.items()
    ]


ONE_HEAD_HEADINGS = ("f, one head", "optimizer", *(f"seed {k}" for k in range(5)))


def tables() -> list[tuple[tuple[str, ...], Cells]]:
    """Those for which there are results."""
    made = [
        (ONE_HEAD_HEADINGS, one_head()),
        (headings("f: loss"), losses()),
        (headings("f: rate, omega, own option"), settings()),
        *((headings(f"f: ahead of {NAMES[of]}", but=of), ahead(of)) for of in BASELINES),
        *((headings(f"f: tokens over {NAMES[of]}", but=of), multipliers(of)) for of in BASELINES),
        (EXPONENT_HEADINGS, exponents()),
    ]
    return [(heads, body) for heads, body in made if body]


if __name__ == "__main__":
    for heads, body in tables():
        print("\n".join("| " + " | ".join(row) + " |" for row in [heads, ["---"] * len(heads), *body]), end="\n\n")
