"""The best omega over tokens per parameter: a learning-rate search of its own for every omega, at small sizes.

Enoki of one layer with heads of 32, on the standard library's text as bytes; 4 sequences of 128 bytes per step. Each
search goes by factors of 2 until one worse point stands on each side of the best. One seed: within a horizon all runs
see the same text in the same order.

    python benchmarks/weight_decay.py --optimizers adana --heads 1 --tokens-per-parameter 1 5 20 --lr 0.008 \\
        --out results/weight-decay

One file of runs, OUT-OPTIMIZER-HEADS-TOKENS.csv, for each search.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from adana.lab.cells import cells
from adana.lab.executors import LocalExecutor
from adana.lab.sweep import sweep
from adana.train.recipe import Execution, Recipe

OMEGAS = (0.0, 0.5, 1.0, 2.0, 4.0)


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", nargs="+", required=True)
    parser.add_argument("--heads", nargs="+", type=int, required=True)
    parser.add_argument("--tokens-per-parameter", nargs="+", type=float, required=True)
    parser.add_argument("--omegas", nargs="+", type=float, default=OMEGAS)
    parser.add_argument("--lr", type=float, required=True, help="where the search of the middle omega starts")
    parser.add_argument("--runs", type=Path, default=Path("runs/weight-decay"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    quiet = Execution(log_every=None, save_every=None, keep_final=False)
    small = Recipe(layers=1, head_dim=32, seq_len=128, batch_size=4, evaluations=1, steps=None, lr=options.lr)
    with LocalExecutor(options.runs, workers=1, execution=quiet) as executor:
        for optimizer in options.optimizers:
            for heads in options.heads:
                for ratio in options.tokens_per_parameter:
                    base = replace(small, heads=heads)
                    steps = round(ratio * base.model_config().total_parameters / base.tokens_per_step)
                    base = replace(base, steps=steps)
                    grid = cells(
                        base, optimizers=[optimizer], heads=[heads], grids={"weight_decay": tuple(options.omegas)}
                    )
                    name = f"{options.out.name}-{optimizer}-{heads}-{ratio:g}"
                    output = options.out.with_name(name)
                    for best in sweep(grid, executor, sides=1, fine=None, output=output):
                        print(optimizer, heads, ratio, steps, best.options, best.lr, best.final_loss, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
