"""Whether eps stands inside or outside the root: ADana on the race's setting, both ways, each at its own learning rate.

The paper prints both ``sqrt(v) + eps`` (equation 1, Algorithms 9 to 11) and ``sqrt(v + eps)`` (Algorithms 1 to 4, 6,
12). With eps = 1e-8 the second is about ``sqrt(v) + 1e-4`` where the root of v is small, so it matters wherever
gradients are below 1e-4. Each way is searched over learning rates by factors of the root of 2 on seed 100, until the
best is not at an end, and then runs on seeds 0 to 2.

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

from adana import rules
from adana.train.recipe import Execution, Recipe
from adana.train.run import train

SEEDS = (0, 1, 2)


def inside(xp: Any, g: Any, state: Any, s: Any) -> tuple[Any, Any]:
    """ADana's direction with eps under the root."""
    new = rules._moments(g, state, s)
    denominator = xp.sqrt(new["exp_avg_sq"] / s["correction_sq"] + s["eps"])
    return (s["gradient"] * g + s["momentum"] * new["exp_avg"]) / denominator, new


def choose(way: str) -> None:
    """Have every optimizer made from now on compute ADana this way."""
    plain = rules.RULES["adana", "paper"]
    rules.RULES["adana", "paper"] = plain._replace(direction=inside if way == "inside" else rules.adana)


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", type=float, required=True, help="where both searches start")
    parser.add_argument("--weight-decay", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    found: dict[str, Any] = {"command": "python benchmarks/eps_placement.py " + " ".join(argv), "ways": {}}
    quiet = Execution(log_every=None, save_every=None, keep_final=False)

    def loss(lr: float, seed: int) -> float:
        recipe = Recipe("adana", lr, {"weight_decay": options.weight_decay}, steps=options.steps, seed=seed)
        folder = Path(tempfile.mkdtemp())
        try:
            result = train(recipe, folder / "run", execution=quiet)
        finally:
            shutil.rmtree(folder)
        return float("inf") if result.final_loss is None else result.final_loss

    for way in ("outside", "inside"):
        choose(way)
        searched: dict[int, float] = {}
        wanted = [-1, 0, 1]
        while wanted:
            searched.update({k: loss(options.lr * 2 ** (k / 2), 100) for k in wanted})
            best = min(searched, key=lambda k: searched[k])
            wanted = [k for k in (best - 1, best + 1) if k not in searched]
        lr = options.lr * 2 ** (best / 2)
        finals = [loss(lr, seed) for seed in SEEDS]
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
