"""ADana at several kappas against alpha sized by alignment, on a small language model, without weight decay.

Each line of the table has its own learning rate, searched by factors of 2 on one seed until a worse point stands on
both sides of the best; the best then runs on all seeds.

    python benchmarks/damping_race.py      writes results/damping-race.json, and prints the table of docs/ablations.md

Runs are kept in ``--runs``; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from adana import foreign
from adana.files import write_json
from adana.lab.cells import SEARCH_SEED
from adana.lab.executors import LocalExecutor
from adana.lab.sweep import Runs, sweep
from adana.train.recipe import Execution, Recipe
from overtraining import paired

ALIGNED = "contenders:AlignedADana"
LINES = [
    *(("adana", {"kappa": kappa}, 2.0**-7) for kappa in (0.55, 0.7, 0.85, 1.0)),
    (ALIGNED, {"gain": 2.0}, 2.0**-10),
]
SETTING = Recipe(heads=1, layers=1, head_dim=32, seq_len=128, batch_size=8, evaluations=1, order="permuted")


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown: every line, and how far alignment is ahead of it on the same seeds."""
    lines = [
        "| alpha | lr | losses of the seeds | mean | alignment ahead: mean, 95 % interval |",
        "|---|---|---|---|---|",
    ]
    aligned = next(row["losses"] for row in rows if row["optimizer"] == ALIGNED)
    for row in rows:
        name, ahead = "alignment, gain 2", ""
        if row["optimizer"] != ALIGNED:
            name, found = f"kappa {row['options']['kappa']:g}", paired(aligned, row["losses"])
            low, high = found["interval"]
            ahead = f"{found['ahead']:+.3f}, {low:+.3f} to {high:+.3f}"
        losses = ", ".join(f"{loss:.3f}" for loss in row["losses"])
        lines.append(f"| {name} | {row['lr']:.3g} | {losses} | {statistics.fmean(row['losses']):.3f} | {ahead} |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=280)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/damping-race"))
    parser.add_argument("--out", type=Path, default=Path("results/damping-race.json"))
    options = parser.parse_args(argv)
    foreign.allow(ALIGNED)
    cells = [
        replace(
            SETTING, optimizer=name, lr=lr, steps=options.steps, seed=SEARCH_SEED, options={**own, "weight_decay": 0.0}
        )
        for name, own, lr in LINES
    ]
    found = {
        "command": shlex.join(["python", "benchmarks/damping_race.py", *argv]),
        "parameters": SETTING.model_config().total_parameters,
        "tokens_per_step": SETTING.tokens_per_step,
        "steps": options.steps,
    }
    rows = []
    with LocalExecutor(options.runs, workers=1, execution=Execution(save_every=None, keep_final=False)) as executor:
        runs = Runs(executor)
        bests = sweep(cells, executor, seeds=(SEARCH_SEED,), fine=None, sides=1, runs=runs)
        for cell, best in zip(cells, bests):
            results = runs.run([replace(cell, lr=best.lr, seed=seed) for seed in range(options.seeds)])
            row = {"optimizer": cell.optimizer, "options": cell.options, "lr": best.lr, "bracketed": best.bracketed}
            rows.append(row | {"losses": [one.final_loss for one in results]})
            print(rows[-1], flush=True)
            write_json(options.out, found | {"rows": rows})
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
