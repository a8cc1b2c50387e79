"""The pictures of the pages, drawn by the package's own schedules and rules and from committed results.

python benchmarks/pictures.py                # writes the SVG files into docs/
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np

from adana import schedules

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LADDER = ROOT / "results" / "ladder"
SHOWN = {"adamw-dw": ("AdamW, decay in log time", "#1f6feb", "o"), "adana": ("ADana", "#b84600", "s")}
BLUE, ORANGE, GREY = "#1f6feb", "#b84600", "#777777"


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


def loss_against_compute(axes: Any) -> None:
    """Final loss against training compute, AdamW and ADana, from the committed ladder of sizes."""
    for name, (label, colour, marker) in SHOWN.items():
        points = sorted(losses()[name].items())
        for compute, values in points:
            axes.plot([compute] * len(values), values, marker, color=colour, alpha=0.35, markersize=5)
        means = [fmean(values) for _, values in points]
        axes.plot([compute for compute, _ in points], means, marker + "-", color=colour, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("training compute (FLOP)")
    axes.set_ylabel("validation loss (nats per byte)")
    axes.legend(frameon=False)


def memory_weights(steps: int, beta: float | None) -> np.ndarray:
    """Weight of the gradient of every step in the average after ``steps`` steps; log time without a ``beta``."""
    weights = np.zeros(steps)
    for t in range(steps):
        kept = schedules.beta(t) if beta is None else beta
        weights *= kept
        weights[t] = 1 - kept
    return weights


def memory(axes: Any, steps: int = 10_000) -> None:
    """How much of the average comes from the last x steps: constant coefficients, and log time."""
    age = np.arange(1, steps + 1)
    for beta, colour, style in ((0.9, GREY, "--"), (0.99, GREY, "-."), (0.999, GREY, ":"), (None, ORANGE, "-")):
        label = f"constant, beta = {beta}" if beta else "log time, beta = t/(8 + t)"
        axes.plot(age, np.cumsum(memory_weights(steps, beta)[::-1]), style, color=colour, label=label)
    axes.set_xscale("log")
    axes.set_xlabel(f"the last x steps, at step {steps:,}")
    axes.set_ylabel("their share of the average")
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def memory_grows(axes: Any) -> None:
    """How many steps the average remembers, over training."""
    t = np.logspace(1, 5.3, 200)
    axes.plot(t, [1 / (1 - schedules.beta(x)) for x in t], color=ORANGE, label="log time: (8 + t)/8 steps")
    for beta, style in ((0.9, "--"), (0.99, "-."), (0.999, ":")):
        axes.plot(t, np.full_like(t, 1 / (1 - beta)), style, color=GREY, label=f"beta = {beta}: {1 / (1 - beta):,.0f}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("step t")
    axes.set_ylabel("steps that the average remembers")
    axes.legend(frameon=False)


def anatomy(axes: Any, steps: int = 10_000, signal: float = 0.1, seeds: int = 400) -> None:
    """The parts of an update of one weight whose gradient is a small signal in noise of size 1."""
    noise = np.random.default_rng(0).standard_normal((steps, seeds))
    m, v = np.zeros(seeds), np.zeros(seeds)
    at, shown = set(np.unique(np.logspace(0, np.log10(steps - 1), 80).astype(int))), []
    for t in range(steps):
        g = signal + noise[t]
        kept = schedules.beta(t)
        m, v = kept * m + (1 - kept) * g, kept * v + (1 - kept) * g * g
        if t in at:
            part = schedules.alpha(t, kappa=0.85) * m / np.sqrt(v)
            shown.append((t, (g / np.sqrt(v)).std(), part.mean(), part.std()))
    t, gradient, mean, spread = map(np.array, zip(*shown))
    axes.plot(t, gradient, color=GREY, label="gradient term: noise")
    axes.plot(t, np.full_like(t, signal, dtype=float), "--", color=GREY, label="gradient term: signal")
    axes.plot(t, spread, color=ORANGE, label="momentum term: noise")
    axes.plot(t, mean, "--", color=ORANGE, label="momentum term: signal")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("step t")
    axes.set_ylabel("size in the update, times lr")
    axes.legend(frameon=False, ncols=2, fontsize=9)


PICTURES = {
    "loss-against-compute": loss_against_compute,
    "idea-memory": memory,
    "idea-memory-grows": memory_grows,
    "idea-anatomy": anatomy,
}


def draw(name: str) -> Path:
    """Write one picture into docs/."""
    matplotlib.use("svg")
    from matplotlib import pyplot

    style = {"svg.hashsalt": "adana", "svg.fonttype": "none", "font.size": 11, "axes.spines.top": False}
    with matplotlib.rc_context(style | {"axes.spines.right": False}):
        figure, axes = pyplot.subplots(figsize=(7.2, 3.8))
        PICTURES[name](axes)
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.tight_layout()
        out = DOCS / f"{name}.svg"
        figure.savefig(out, metadata={"Date": None})
        pyplot.close(figure)
    return out


if __name__ == "__main__":
    for name in PICTURES:
        print(draw(name).relative_to(ROOT))
