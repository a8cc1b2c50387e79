"""The tables of docs/batch.md from results/batch-range*.json: losses, and how far ADana is ahead of AdamW.

python benchmarks/batch_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from adana.scaling.intervals import t_interval

RESULTS = Path(__file__).parents[1] / "results"
FILES = {"small": ("batch-range", "batch-range-1"), "race": ("batch-range-race",)}
"""Files of each size of the model."""


def measured(size: str) -> list[dict[str, Any]]:
    """The rows of a size's files; what is in two of them is there once."""
    files = [json.loads((RESULTS / f"{name}.json").read_text()) for name in FILES[size]]
    return list({(row["line"], row["batch"]): row for one in files for row in one["rows"]}.values())


def losses(rows: list[dict[str, Any]]) -> list[list[str]]:
    """By batch: mean loss of every line over seeds, and its learning rate; the least in bold."""
    made = []
    for batch, own in by_batch(rows).items():
        least = min(row["loss"] for row in own.values() if row["loss"] is not None)
        cells = [cell(own.get(name), least) for name in lines(rows)]
        some = next(iter(own.values()))
        made.append([f"{batch}", f"{some['batch_tokens']:,}", f"{some['steps']:,}", *cells])
    return made


def cell(row: dict[str, Any] | None, least: float) -> str:
    if row is None or row["loss"] is None:
        return "not run" if row is None else "diverged"
    loss = f"{row['loss']:.3f}"
    mark = "" if row["bracketed"] else "*"
    return f"{f'**{loss}**' if row['loss'] == least else loss} ({row['lr']:.2g}{mark})"


def ahead(rows: list[dict[str, Any]]) -> list[list[str]]:
    """By batch: AdamW's loss less ADana's, the better AdamW and the same seeds, with 95 % by Student's t."""
    made = []
    for batch, own in by_batch(rows).items():
        baseline = min((row for name, row in own.items() if name.startswith("AdamW")), key=lambda row: row["loss"])
        cells = []
        for name in lines(rows):
            if name.startswith("AdamW"):
                continue
            if name not in own or own[name]["loss"] is None:
                cells.append("")
                continue
            gains = [base - loss for base, loss in zip(baseline["losses"], own[name]["losses"])]
            interval = t_interval(gains)
            span = "" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})"
            cells.append(f"{fmean(gains):.3f}{span}")
        made.append([f"{batch}", *cells])
    return made


def of_alpha(rows: list[dict[str, Any]], other: str, base: str = "ADana, alpha~ 1") -> list[tuple[int, float]]:
    """By batch: the loss at alpha~ 1 less that of another line, on the same seeds."""
    every = by_batch(rows)
    return [
        (batch, fmean(own[base]["losses"]) - fmean(own[other]["losses"]))
        for batch, own in every.items()
        if other in own
    ]


def by_batch(rows: list[dict[str, Any]]) -> dict[int, dict[str, dict[str, Any]]]:
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["batch"], {})[row["line"]] = row
    return dict(sorted(found.items()))


def lines(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["line"] for row in rows))


def shown(headings: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [headings, ["---"] * len(headings), *rows])


if __name__ == "__main__":
    for size in FILES:
        found = measured(size)
        names = lines(found)
        print(f"{size}\n")
        print(shown(["batch", "tokens per step", "steps", *names], losses(found)), end="\n\n")
        print(shown(["batch", *(name for name in names if name.startswith("ADana"))], ahead(found)), end="\n\n")
