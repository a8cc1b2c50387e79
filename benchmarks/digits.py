"""A task that is not text: handwritten digits (scikit-learn's 1,797 pictures of 8 x 8), a small convolutional network.

Three fifths of the pictures train, one fifth chooses the settings, one fifth is the test. Every optimizer is searched
by the race's rule with the race's number of runs (learning rate, weight decay, one option of its own), from omega 0.5,
by the loss on the second fifth. The best setting then runs on seeds of its own; a seed decides the first weights and
the batches.

    pip install scikit-learn
    python benchmarks/digits.py --out results/digits.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adana import catalog, schedules
from adana.files import write_json
from adana.lab.cells import SEARCH_SEED, race_start
from adana.lab.race_search import RULE, RUNS, search
from adana.lab.sweep import Best
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Recipe
from measured import print_table, surroundings

OPTIMIZERS = ("adamw", "adamw-dw", "adana", "dana-mk4", "muon-dw")
BATCH, SEEDS = 32, 10
Data = tuple[Tensor, Tensor]


def pictures() -> list[Data]:
    """Training, validation and test: pictures (n, 1, 8, 8) with values from 0 to 1, and digits."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(found.images, dtype=torch.float32)[order, None] / 16
    y = torch.tensor(found.target)[order]
    ends = [0, len(y) * 3 // 5, len(y) * 4 // 5, len(y)]
    return [(x[a:b], y[a:b]) for a, b in itertools.pairwise(ends)]


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    convolutions = [
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10))


def trained(data: Data, cell: Recipe) -> nn.Module:
    """The network at the end: the paper's schedule of the learning rate, gradients clipped to a norm of 1."""
    x, y = data
    model, steps = network(cell.seed), cell.total_steps
    assert cell.lr is not None
    optimizer = build_optimizer(cell.optimizer, model, lr=cell.lr, options=dict(cell.options), total_steps=steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(schedules.gamma(step, steps)))
    generator = torch.Generator().manual_seed(cell.seed)
    for _ in range(steps):
        batch = torch.randint(len(y), (BATCH,), generator=generator)
        F.cross_entropy(model(x[batch]), y[batch]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    return model


@torch.no_grad()
def scored(model: nn.Module, data: Data) -> tuple[float, float]:
    """Loss in nats per picture and share of errors; an infinite loss where it is not finite."""
    scores = model(data[0])
    loss = float(F.cross_entropy(scores, data[1]))
    return loss if math.isfinite(loss) else math.inf, float((scores.argmax(1) != data[1]).float().mean())


def measured(name: str, steps: int, data: Sequence[Data], *, runs: int, seeds: int) -> dict[str, Any]:
    """One optimizer searched, then its best setting on seeds 0, 1, ... ."""
    training, validation, test = data
    began = time.process_time()
    tried: list[dict[str, Any]] = []

    def losses(cells: Sequence[Recipe]) -> list[float]:
        found = [scored(trained(training, cell), validation)[0] for cell in cells]
        for cell, loss in zip(cells, found):
            known = loss if math.isfinite(loss) else None
            tried.append({"lr": cell.lr, "options": cell.options, "seed": cell.seed, "validation_loss": known})
        return found

    start = Recipe(name, lr=race_start(name), steps=steps, seed=SEARCH_SEED)
    entry = catalog.find(name)
    usual = {"weight_decay": catalog.OMEGA, **entry.own[len(entry.own) // 2]}
    best = search(start, losses, runs=runs, near=Best(name, usual, race_start(name), None, 0, False, start.heads))
    models = [trained(training, replace(start, lr=best.lr, options=best.options, seed=s)) for s in range(seeds)]
    scores = [scored(model, test) for model in models]
    return {
        "optimizer": name,
        "steps": steps,
        "lr": best.lr,
        "options": best.options,
        "bracketed": best.bracketed,
        "losses": [loss for loss, _ in scores],
        "errors": [error for _, error in scores],
        "training_losses": [scored(model, training)[0] for model in models],
        "cpu_seconds": time.process_time() - began,
        "search": tried,
    }


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", type=int, default=[150, 500])
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each search")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    data = pictures()
    found: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    if not found:
        found = surroundings(1, ["torch", "numpy", "scikit-learn"])
        found |= {"rule": RULE, "runs": options.runs, "batch": BATCH, "pictures": [len(y) for _, y in data]}
        found |= {"parameters": sum(p.numel() for p in network(0).parameters()), "rows": []}
    for steps, name in itertools.product(options.steps, options.optimizers):
        if any((row["steps"], row["optimizer"]) == (steps, name) for row in found["rows"]):  # goes on
            continue
        row = measured(name, steps, data, runs=options.runs, seeds=options.seeds)
        found["rows"].append(row)
        print(steps, name, row["lr"], row["options"], f"{fmean(row['losses']):.4f}", flush=True)
        write_json(options.out, found)
    columns = ["optimizer", "steps", "lr", "test loss", "errors"]
    shown = [
        [row["optimizer"], f"{row['steps']}", f"{row['lr']:.3g}", f"{fmean(row['losses']):.4f}", *errors(row)]
        for row in found["rows"]
    ]
    print_table(found, "Digits", columns, shown)
    return 0


def errors(row: dict[str, Any]) -> list[str]:
    return [f"{100 * fmean(row['errors']):.2f} %"]


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
