"""What each piece of ADana is worth: the race's setting with one piece taken out at a time (Figures 3, 6, 7, 10).

Every line of the table is searched over learning rates by factors of 2 on a seed of its own, until a worse point stands
on each side of the best, and its best then runs on the other seeds. A search in which every run diverged says so. Cost:
4 to 6 runs of the search per line and horizon, and one per seed.

    python benchmarks/ablations.py --steps 1500 --seeds 3 --out results/ablations.json
    python benchmarks/ablations.py --steps 6000 --seeds 3 --near results/ablations.json \\
        --out results/ablations-6000.json

A search begins where the same line's ended at the nearest horizon, of this command or of the results in ``--near``.

``--size small`` is a model of 28,672 parameters at omega 2, 8 sequences of 128 bytes per step:

    python benchmarks/ablations.py --size small --steps 140 560 --seeds 3 --out results/ablations-small.json

Runs are kept in ``--runs``; the same command goes on where it was stopped. ``--only NAME...`` takes some of the lines.
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from adana.files import read_json, write_json
from adana.lab.cells import SEARCH_SEED, race_start
from adana.lab.executors import LocalExecutor
from adana.lab.sweep import Runs, sweep
from adana.train.recipe import Execution, Recipe
from overtraining import FOUR_HEADS, paired

QUIET = Execution(log_every=None, save_every=None, keep_final=False)

# Name of a line: what it is, its optimizer and what differs from ADana's defaults.
LINES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adana": ("log time everywhere, power damping, gradient term, eps outside the root", "adana", {}),
    "beta1": ("beta1 = 0.9, constant", "adana", {"beta1": 0.9}),
    "beta1-slow": ("beta1 = 0.99, constant", "adana", {"beta1": 0.99}),
    "beta2": ("beta2 = 0.999, constant", "adana", {"beta2": 0.999}),
    "betas": ("both constant, 0.9 and 0.999", "adana", {"beta1": 0.9, "beta2": 0.999}),
    "decay": ("constant weight decay", "adana", {"decay": "constant"}),
    "linear": ("linear damping", "adana", {"damping": "linear"}),
    "undamped": ("no damping: alpha = (delta + t)/delta", "adana", {"damping": "nesterov"}),
    "alpha-one": ("alpha = 1: kappa 1", "adana", {"kappa": 1.0}),
    "no-gradient": ("no gradient term", "adana", {"gradient_term": False}),
    "no-gradient-alpha-one": ("no gradient term and alpha = 1: log-time AdamW", "log-adamw", {}),
    "short": ("short average (0.9) for the gradient", "adana", {"beta3": 0.9}),
    "eps-inside": ("eps inside the root", "adana", {"eps": 0.0, "eps_root": 1e-8}),
    "cooldown": ("momentum cooldown over the last fifth", "adana", {"cooldown": 0.2}),
    "adamw": ("AdamW, log-time decay, beta2 = 0.99", "adamw-dw", {"betas": [0.9, 0.99]}),
    "adamw-constant": ("AdamW, constant decay, beta2 = 0.99", "adamw", {"betas": [0.9, 0.99]}),
}

# Name of a size: what differs from the race's setting, and omega.
SIZES: dict[str, tuple[dict[str, Any], float]] = {
    "race": ({}, 1.0),
    "small": (FOUR_HEADS, 2.0),
}


def nearest(known: list[dict[str, Any]], name: str, steps: int) -> float:
    """The best learning rate of a line at the nearest horizon that was measured, or the race's start."""
    found = {
        abs(math.log(one["steps"] / steps)): row["lr"] for one in known for row in one["rows"] if row["name"] == name
    }
    return found[min(found)] if found else race_start(LINES[name][1])


def measured(
    names: list[str],
    setting: Recipe,
    seeds: int,
    folder: Path,
    workers: int,
    command: str,
    known: list[dict[str, Any]],
) -> Any:
    """Every line at one horizon: its best learning rate and the loss of each seed there."""
    cells = []
    for name in names:
        _, optimizer, changes = LINES[name]
        start = nearest(known, name, setting.total_steps)
        cells.append(replace(setting, optimizer=optimizer, options={**setting.options, **changes}, lr=start))
    rows = []
    with LocalExecutor(folder, workers=workers, execution=QUIET, command=command) as executor:
        runs = Runs(executor)
        bests = sweep(cells, executor, seeds=(SEARCH_SEED,), fine=None, sides=1, runs=runs)
        final = [replace(cell, lr=best.lr, seed=seed) for cell, best in zip(cells, bests) for seed in range(seeds)]
        losses = [result.final_loss for result in runs.run(final)]
    for index, (name, cell, best) in enumerate(zip(names, cells, bests)):
        own = losses[index * seeds : (index + 1) * seeds]
        finished = [x for x in own if x is not None]
        rows.append(
            {
                "name": name,
                "optimizer": cell.optimizer,
                "options": cell.options,
                "lr": best.lr,
                "bracketed": best.bracketed,
                "losses": own,
                "loss": statistics.fmean(finished) if len(finished) == seeds else None,
            }
        )
        print(f"  {name}: lr {best.lr:.4g}, {'diverged' if None in own else own}", flush=True)
    return rows


def table(found: dict[str, Any]) -> str:
    """In Markdown: loss, and how far behind ADana seed by seed, with 95 % by Student's t and p of a difference of 0."""
    lines = ["| what differs | steps | lr | loss | behind ADana: mean, 95 % interval, p |", "|---|---|---|---|---|"]
    for one in found["measured"]:
        plain = next((row for row in one["rows"] if row["name"] == "adana"), None)
        for row in one["rows"]:
            loss = "diverged" if row["loss"] is None else f"{row['loss']:.3f}"
            lr = f"{row['lr']:.3g}{'' if row['bracketed'] else '*'}"
            lines.append(f"| {LINES[row['name']][0]} | {one['steps']:,} | {lr} | {loss} | {behind(row, plain)} |")
    return "\n".join(lines)


def behind(row: dict[str, Any], plain: dict[str, Any] | None) -> str:
    if plain is None or row is plain or row["loss"] is None or plain["loss"] is None:
        return ""
    found = paired(plain["losses"], row["losses"])
    if found["interval"] is None:
        return f"{found['ahead']:+.3f}"
    low, high = found["interval"]
    return f"{found['ahead']:+.3f}, {low:+.3f} to {high:+.3f}, p = {found['p']:.2g}"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=LINES, default=list(LINES), metavar="NAME")
    parser.add_argument("--steps", nargs="+", type=int, default=[1500, 6000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", choices=SIZES, default="race")
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--near", type=Path, help="results of other horizons, whose learning rates begin the searches")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--out", type=Path, default=Path("results/ablations.json"))
    options = parser.parse_args(argv)
    command = "python benchmarks/ablations.py " + shlex.join(argv)
    shape, omega = SIZES[options.size]
    found: dict[str, Any] = {"command": command, "size": options.size, "seeds": options.seeds, "measured": []}
    known = [] if options.near is None else read_json(options.near)["measured"]
    text = tuple(str(Path(path).resolve()) for path in options.text)
    for steps in options.steps:
        print(f"{steps} steps", flush=True)
        setting = Recipe(options={"weight_decay": omega}, steps=steps, text=text, evaluations=1, **shape)
        folder = options.runs / options.size / str(steps)
        folder.mkdir(parents=True, exist_ok=True)
        earlier = [*known, *found["measured"]]
        rows = measured(options.only, setting, options.seeds, folder, options.workers, command, earlier)
        found["measured"].append({"steps": steps, "weight_decay": omega, "rows": rows})
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, found)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
