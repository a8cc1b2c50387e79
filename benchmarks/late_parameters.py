"""Parameters that get their first gradient late: half of a vocabulary that occurs only in the last fifth of a run.

Enoki of one layer and four heads (28,672 parameters) on the standard library's text as bytes. In the last fifth of the
steps every other sequence has 128 added to its bytes: half of the embedding's rows get their first gradient there, and
half of the head's rows are the byte to predict for the first time. Every optimizer is searched by the race's rule with
the same number of runs on seeds of its own, by the mean of the two validation losses, of bytes as they are and of
shifted ones; the best setting then runs on seeds 0, 1, ... .

    python benchmarks/late_parameters.py --out results/late-parameters.json
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from adana import catalog
from adana.files import write_json
from adana.lab.cells import SEARCH_SEED, race_start
from adana.lab.race_search import RULE, search
from adana.lab.sweep import Best
from adana.models import build
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Recipe, load_data
from measured import print_table, surroundings
from overtraining import FOUR_HEADS

OPTIMIZERS = ("adamw-dw", "adana", "dana-mk4", "dana-star", "dana-star-mk4")
LATE, SHIFT = 0.2, 128


def losses_of(recipe: Recipe) -> tuple[float, float]:
    """Validation losses at the end: of bytes as they are, and of shifted ones; infinite where a loss was."""
    torch.set_num_threads(1)
    assert recipe.lr is not None
    model, data = build(recipe.model_config(), seed=recipe.seed), load_data(recipe)
    optimizer = build_optimizer(
        recipe.optimizer, model, lr=recipe.lr, options=dict(recipe.options), total_steps=recipe.total_steps
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.gamma)
    random = np.random.default_rng(recipe.seed)

    def loss_of(windows: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())

    for step in range(recipe.total_steps):
        starts = random.integers(len(data.train) - recipe.seq_len, size=recipe.batch_size)
        windows = torch.from_numpy(data.train.windows(starts, recipe.seq_len + 1)) % SHIFT
        if step >= (1 - LATE) * recipe.total_steps:
            windows[::2] += SHIFT
        loss = loss_of(windows)
        if not math.isfinite(loss.item()):
            return math.inf, math.inf
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    held = torch.from_numpy(data.validation.windows(np.arange(256) * recipe.seq_len, recipe.seq_len + 1)) % SHIFT
    with torch.no_grad():
        return loss_of(held).item(), loss_of(held + SHIFT).item()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--steps", type=int, default=560)
    parser.add_argument("--runs-each", type=int, default=12, help="of each search")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    base = Recipe(**FOUR_HEADS, steps=options.steps, seed=SEARCH_SEED)
    found: dict[str, Any] = surroundings(1, ["torch", "numpy"]) | {
        "rule": RULE,
        "runs": options.runs_each,
        "steps": options.steps,
        "late": LATE,
        "parameters": base.model_config().total_parameters,
        "rows": [],
    }
    with ProcessPoolExecutor(options.workers) as pool:

        def run(cells: Sequence[Recipe]) -> list[float]:
            return [fmean(both) for both in pool.map(losses_of, cells)]

        for name in options.optimizers:
            cell = replace(base, optimizer=name, lr=race_start(name))
            assert cell.lr is not None
            entry = catalog.find(name)
            usual = {"weight_decay": catalog.OMEGA, **entry.own[len(entry.own) // 2]}
            best = search(
                cell, run, runs=options.runs_each, near=Best(name, usual, cell.lr, None, 0, False, cell.heads)
            )
            at_best = replace(cell, lr=best.lr, options=best.options)
            ends = list(pool.map(losses_of, [replace(at_best, seed=seed) for seed in range(options.seeds)]))
            row = {"optimizer": name, "lr": best.lr, "options": best.options, "bracketed": best.bracketed}
            kept = [[x if math.isfinite(x) else None for x in side] for side in zip(*ends)]
            found["rows"].append(row | {"early": kept[0], "late": kept[1]})
            print(found["rows"][-1], flush=True)
            write_json(options.out, found)

    def mean(losses: Sequence[float | None]) -> str:
        return "diverged" if None in losses else f"{fmean(x for x in losses if x is not None):.3f}"

    shown = [[row["optimizer"], f"{row['lr']:.3g}", mean(row["early"]), mean(row["late"])] for row in found["rows"]]
    print_table(found, "Late parameters", ["optimizer", "lr", "loss of early bytes", "of late bytes"], shown)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
