"""The tables of docs/race.md, from the races in results/ and results/race-time.json.

tests/test_published_numbers.py holds the page to them.

python benchmarks/race_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from adana.lab.race_result import optimizer_flops
from adana.scaling.intervals import t_interval
from adana.train.recipe import Recipe

RESULTS = Path(__file__).parents[1] / "results"
TIME = json.loads((RESULTS / "race-time.json").read_text())["time_per_step_over_the_baselines"]
HEADINGS = (
    "{} | lr | weight decay | own option | loss | 95 % | multiplier | 95 % | with the optimizer's FLOPs | "
    "by time | no significant difference from"
)
FIRST = {"race-all.json": "optimizer", "race-gcide.json": "on a dictionary", "race-muon.json": "on source code"}
"""Files, and the heading of the first column of each one's table."""


def own(options: dict[str, Any]) -> str:
    """The option that a search chose besides the weight decay."""
    names = {"betas": lambda value: f"beta2 {value[1]}", "fallback_betas": lambda value: f"fallback beta2 {value[1]}"}
    shown = [(key, value) for key, value in options.items() if key != "weight_decay"]
    return ", ".join(names.get(key, lambda v, k=key: f"{k} {v}")(value) for key, value in shown)


def row(one: dict[str, Any], race: dict[str, Any]) -> str:
    """One optimizer's line of a race."""
    losses = one["final_losses"]
    ends = t_interval(losses)
    alike = [
        other["optimizer"]
        for other in race["rows"]
        if other is not one
        and (found := t_interval([b - a for a, b in zip(losses, other["final_losses"])])).low <= 0 <= found.high
    ]
    name, mark = one["optimizer"], "*" if one["extrapolated"] else ""
    cells = [f"{name} (baseline)" if name == race["baseline"] else name, f"{one['lr']:.3g}"]
    cells += [f"{one['options']['weight_decay']:g}", own(one["options"])]
    cells += [f"{fmean(losses):.3f}", f"{ends.low:.3f} to {ends.high:.3f}"]
    if name == race["baseline"]:
        cells += ["1", "", "1", "1"]
    else:
        mean, range_ = fmean(one["multipliers"]), t_interval(one["multipliers"])
        share = optimizer_flops(Recipe(name, one["lr"], one["options"]))
        cells += [f"{mean:.2f}{mark}", f"{range_.low:.2f} to {range_.high:.2f}", f"{mean / (1 + share):.2f}{mark}"]
        cells.append(f"{mean / TIME[name]['median']:.2f}{mark}" if name in TIME else "")
    return "| " + " | ".join([*cells, ", ".join(alike)]) + " |"


def table(file: str) -> str:
    """In Markdown."""
    race = json.loads((RESULTS / file).read_text())
    lines = [f"| {HEADINGS.format(FIRST[file])} |", "|---" * (HEADINGS.count("|") + 1) + "|"]
    return "\n".join([*lines, *(row(one, race) for one in race["rows"])])


if __name__ == "__main__":
    print("\n\n".join(map(table, FIRST)))
