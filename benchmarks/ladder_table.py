"""The tables of docs/ladder.md, from results/ladder*: what was predicted and what came out.

tests/test_published_numbers.py holds the page to them.

python benchmarks/ladder_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
FOLDERS = ("ladder", "ladder-7", "ladder-8")
NUMBERS = {2: "two", 3: "three", 4: "four"}


def span(ends: list[float], form: str) -> str:
    return f"({ends[0]:{form}} to {ends[1]:{form}})"


def table(found: dict[str, Any]) -> str:
    """In Markdown; without what was measured where that has not been run."""
    heads, seeds = found["ladder"]["predict"], NUMBERS[len(found["ladder"]["seeds"])]
    cells = [[f"{heads} heads", "planned lr (95 %)", "predicted loss (95 %)"]]
    if "checks" in found:
        cells[0] += [f"measured, {seeds} seeds", "on one seed: 2/3 of that lr, planned, 3/2"]
    cells.append(["---"] * len(cells[0]))
    for number, plan in enumerate(found["plans"]):
        options = dict(found["searches"][number]["options"])
        betas = options.get("betas")
        row = [
            plan["optimizer"] + (f" (beta2 {betas[1]:g})" if betas else ""),
            f"{plan['lr']:.2g} {span([plan['lr_low'], plan['lr_high']], '.2g')}",
            f"{plan['predicted_loss']:.3f} {span([plan['predicted_loss_low'], plan['predicted_loss_high']], '.3f')}",
        ]
        if "checks" in found:
            check = found["checks"][number]
            below, above = (one["loss"] for one in check["beside"])
            row += [f"{check['measured_loss']:.3f}", f"{below:.3f}, {check['losses'][0]:.3f}, {above:.3f}"]
        cells.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def load(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / folder / "ladder.json").read_text("utf-8"))
    return found


if __name__ == "__main__":
    print("\n\n".join(table(load(folder)) for folder in FOLDERS if (RESULTS / folder).exists()))
