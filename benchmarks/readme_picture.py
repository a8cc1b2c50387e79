"""The README's picture: final loss against training compute, AdamW and ADana, from the committed ladder of sizes.

python benchmarks/readme_picture.py          # reads results/ladder/, writes docs/loss-against-compute.svg
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import matplotlib

ROOT = Path(__file__).parents[1]
LADDER = ROOT / "results" / "ladder"
OUT = ROOT / "docs" / "loss-against-compute.svg"
SHOWN = {"adamw-dw": ("AdamW, decay in log time", "#1f6feb", "o"), "adana": ("ADana", "#b84600", "s")}


def losses() -> dict[str, dict[float, list[float]]]:
    """Final losses at each size's best learning rate, by optimizer and compute, on the seeds that no search saw."""
    seeds = json.loads((LADDER / "ladder.json").read_text())["ladder"]["seeds"]
    runs: dict[tuple[str, float, str], list[float]] = defaultdict(list)
    with (LADDER / "runs.csv").open() as file:
        for row in csv.DictReader(file):
            if int(row["seed"]) in seeds and row["final_loss"]:
                runs[row["optimizer"], float(row["flops_6n"]), row["lr"]].append(float(row["final_loss"]))
    found: dict[str, dict[float, list[float]]] = defaultdict(dict)
    for (name, compute, _), values in runs.items():
        if len(values) == len(seeds):  # a rate that ran once is a neighbour of the best one
            found[name][compute] = values
    return found


def draw() -> None:
    """Write the picture."""
    matplotlib.use("svg")
    from matplotlib import pyplot

    style = {"svg.hashsalt": "adana", "svg.fonttype": "none", "font.size": 11, "axes.spines.top": False}
    with matplotlib.rc_context(style | {"axes.spines.right": False}):
        figure, axes = pyplot.subplots(figsize=(7.2, 3.8))
        for name, (label, colour, marker) in SHOWN.items():
            points = sorted(losses()[name].items())
            for compute, values in points:
                axes.plot([compute] * len(values), values, marker, color=colour, alpha=0.35, markersize=5)
            means = [fmean(values) for _, values in points]
            axes.plot([compute for compute, _ in points], means, marker + "-", color=colour, label=label)
        axes.set_xscale("log")
        axes.set_xlabel("training compute (FLOP)")
        axes.set_ylabel("validation loss (nats per byte)")
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(frameon=False)
        figure.tight_layout()
        figure.savefig(OUT, metadata={"Date": None})


if __name__ == "__main__":
    draw()
    print(OUT.relative_to(ROOT))
