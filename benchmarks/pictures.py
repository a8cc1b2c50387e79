"""The pictures of the pages, drawn by the package's own schedules and rules and from committed results.

python benchmarks/pictures.py                # writes the SVG files into docs/
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import overtraining_table
from adana import catalog, schedules
from adana.drawing import COLOURS, save
from adana.scaling.intervals import t_interval
from evidence_claims import less, load

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


def spread(axes: Any, x: float, gains: list[float], upright: bool = True, **style: Any) -> None:
    """A mean with its 95 % interval by Student's t."""
    ends = t_interval(gains)
    assert ends is not None
    mean = fmean(gains)
    beside = [[mean - ends.low], [ends.high - mean]]
    at = {"x": x, "y": mean, "yerr": beside} if upright else {"x": mean, "y": x, "xerr": beside}
    axes.errorbar(**at, capsize=2.5, **style)


def below_over_tokens(*panels: Any) -> None:
    """How far each optimizer ends below AdamW over tokens per parameter, with 95 %, for every size and text."""
    texts, baseline = overtraining_table.TEXTS, "adamw-dw"
    names = [name for name in overtraining_table.NAMES if name != baseline]
    for axes, (file, text) in zip(panels, texts.items(), strict=True):
        for place, name in enumerate(names):
            points = {
                f * 20: less(own[baseline]["losses"], own[name]["losses"])
                for f, own in overtraining_table.measured(file).items()
                if name in own and baseline in own
            }
            at = [tokens * 1.1 ** (place - 1.5) for tokens in points]  # side by side, so that intervals can be told
            style = {"color": COLOURS[place], "marker": "osD^"[place], "markersize": 4}
            for x, gains in zip(at, points.values()):
                spread(axes, x, gains, **style)
            axes.plot(at, [fmean(gains) for gains in points.values()], label=overtraining_table.NAMES[name], **style)
        axes.axhline(0, color=GREY, linewidth=0.9)
        axes.set_xscale("log")
        axes.set_xlim(3.5, 20 * 64 * 1.4)
        ticks = [20 * 4**k for k in (-1, 0, 1, 2, 3)]
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axes.minorticks_off()
        axes.set_title(f"{text}, {overtraining_table.model(file)[0]:,} parameters", fontsize=9)
        axes.set_xlabel("tokens per parameter", fontsize=9)
        axes.tick_params(labelsize=8)
    panels[0].set_ylabel("nats below AdamW", fontsize=9)
    panels[0].legend(frameon=False, fontsize=8)


def below_in_the_race(*panels: Any) -> None:
    """How far each optimizer ends below AdamW in the race, with 95 %, on both texts."""
    baseline, texts = "adamw-dw", {"the standard library": ("race-all", "race-muon"), "a dictionary": ("race-gcide",)}
    found = {
        text: {row["optimizer"]: row["final_losses"] for file in files for row in load(f"{file}.json")["rows"]}
        for text, files in texts.items()
    }
    first = next(iter(found.values()))
    names = sorted(set(first) - {baseline}, key=lambda name: -fmean(first[name]))
    for axes, (text, losses_) in zip(panels, found.items(), strict=True):
        for place, name in enumerate(names):
            options = catalog.OPTIMIZERS[name].options
            log_time = "delta" in options and ("log_time" not in options or bool(options["log_time"].default))
            style = {"color": ORANGE, "marker": "s"} if log_time else {"color": BLUE, "marker": "o"}
            spread(axes, place, less(losses_[baseline], losses_[name]), upright=False, markersize=5, **style)
        axes.axvline(0, color=GREY, linewidth=0.9)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(-0.05, 0.2)
        axes.set_title(text, fontsize=9)
        axes.set_xlabel("nats below AdamW (adamw-dw)", fontsize=9)
        axes.tick_params(labelsize=8)


PICTURES = {
    "loss-against-compute": (loss_against_compute, 1),
    "idea-memory": (memory, 1),
    "idea-memory-grows": (memory_grows, 1),
    "idea-anatomy": (anatomy, 1),
    "evidence-tokens": (below_over_tokens, 3),
    "evidence-race": (below_in_the_race, 2),
}
"""What draws a picture, and into how many panels beside each other."""


def drawn(name: str) -> Figure:
    """One picture."""
    draw, panels = PICTURES[name]
    style = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.2 if panels == 1 else 9.0, 3.8), layout="tight")
        axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        draw(*axes)
        for one in axes:
            one.grid(True, color="#dddddd", linewidth=0.6)
            one.set_axisbelow(True)
    return figure


def numbers(figure: Figure) -> str:
    """A hash of all points of a picture's lines, which is the same under every version of matplotlib."""
    points = [
        [[f"{x:.6g}" for x in np.asarray(values, dtype=float)] for values in line.get_data()]
        for axes in figure.axes
        for line in axes.lines
    ]
    return hashlib.sha256(json.dumps(points).encode()).hexdigest()


if __name__ == "__main__":
    for name in PICTURES:
        figure, out = drawn(name), DOCS / f"{name}.svg"
        save(figure, out, description=numbers(figure))
        print(out.relative_to(ROOT))
