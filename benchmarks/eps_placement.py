"""Whether eps stands inside or outside the root: ADana on the race's setting, both ways, each at its own learning rate.

The paper prints both ``sqrt(v) + eps`` (equation 1, Algorithms 9 to 11) and ``sqrt(v + eps)`` (Algorithms 1 to 4, 6,
12). With eps = 1e-8 the second is about ``sqrt(v) + 1e-4`` where the root of v is small, so it matters wherever
gradients are below 1e-4. Each way is searched over learning rates by factors of the root of 2 on seed 100, until the
best is not at an end, and then runs on seeds 0 to 2. The file also has the share of entries whose root of v is below
1e-4 at the end of a run, by tensor.

    python benchmarks/eps_placement.py --lr 0.00125 --out results/eps-placement.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from adana.train.checkpoint import checkpoints, load
from adana.train.checkpoint_index import read
from adana.train.recipe import Execution, Recipe
from adana.train.run import train

SEEDS = (0, 1, 2)
WAYS: dict[str, dict[str, float]] = {"outside": {}, "inside": {"eps": 0.0, "eps_root": 1e-8}}
SMALL = 1e-4  # about the square root of eps: below it the two ways differ by more than a factor of 2


def shares_of_small(folder: Path) -> dict[str, float]:
    """Share of entries whose root of the second moment is below :data:`SMALL` at the end of a run, by tensor."""
    saved = read(next(iter(checkpoints(folder).values())))
    names = [name for name in saved.tensors if name.endswith("exp_avg_sq")]
    tensors = {name: torch.empty(saved.tensors[name].shape, dtype=saved.tensors[name].dtype) for name in names}
    load(saved, tensors)
    return {name: float((tensor.sqrt() < SMALL).float().mean()) for name, tensor in tensors.items()}


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", type=float, required=True, help="where both searches start")
    parser.add_argument("--weight-decay", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    found: dict[str, Any] = {"command": "python benchmarks/eps_placement.py " + " ".join(argv), "ways": {}}
    found["share_of_roots_below_1e-4"] = {}
    quiet = Execution(log_every=None, save_every=None)

    def loss(way: str, lr: float, seed: int) -> float:
        recipe = Recipe("adana", lr, {"weight_decay": options.weight_decay} | WAYS[way], steps=options.steps, seed=seed)
        folder = Path(tempfile.mkdtemp())
        try:
            result = train(recipe, folder / "run", execution=quiet)
            if seed == SEEDS[0]:
                found["share_of_roots_below_1e-4"][way] = shares_of_small(folder / "run" / "checkpoints")
        finally:
            shutil.rmtree(folder)
        return float("inf") if result.final_loss is None else result.final_loss

    for way in WAYS:
        searched: dict[int, float] = {}
        wanted = [-1, 0, 1]
        while wanted:
            searched.update({k: loss(way, options.lr * 2 ** (k / 2), 100) for k in wanted})
            best = min(searched, key=lambda k: searched[k])
            wanted = [k for k in (best - 1, best + 1) if k not in searched]
        lr = options.lr * 2 ** (best / 2)
        finals = [loss(way, lr, seed) for seed in SEEDS]
        found["ways"][way] = {
            "search": {f"{options.lr * 2 ** (k / 2):.6g}": searched[k] for k in sorted(searched)},
            "lr": lr,
            "final_losses": dict(zip(map(str, SEEDS), finals)),
            "mean": fmean(finals),
        }
        print(way, json.dumps(found["ways"][way]), flush=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
