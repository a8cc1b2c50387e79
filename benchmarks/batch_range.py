"""ADana and AdamW over a range of batches at equal tokens: at which batch and alpha~ is the gain lost?

At each batch, five lines: AdamW with log-time decay, its beta2 fixed and scaled with the batch (log beta2 ~ B); ADana
with alpha~ = 1, and with alpha~ ~ B^0.33, once 1 at the reference batch and once 1 at 65,536 tokens, as published.
Everything else is the same, the number of tokens too. Learning rates are searched by factors of 2 on a seed of its own,
until a worse point stands on each side of the best; the best then runs on ``--seeds`` seeds.

    python benchmarks/batch_range.py --batches 4 1 16 64 --out results/batch-range

Every run goes to OUT.csv, and OUT.json has the best of each line and batch. Runs are kept in ``--runs``; the same
command goes on where it was stopped. The first search of each line starts at ``--lr``, those at other batches where the
nearest batch before them ended. The race's size is ``--heads 2 --head-dim 64 --seq-len 256 --tokens 1536000``.
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from adana.files import write_json
from adana.lab.cells import SEARCH_SEED
from adana.lab.executors import LocalExecutor
from adana.lab.sweep import Best, Runs, sweep
from adana.scaling.damping import BATCH_EXPONENT, damping_scale
from adana.scaling.intervals import t_interval
from adana.train.recipe import Execution, Recipe

BETA1, BETA2 = 0.9, 0.99

# Name of a line: its optimizer, and its options at a batch that is so many times the reference, of so many tokens.
LINES: dict[str, tuple[str, Callable[[float, int], dict[str, Any]]]] = {
    "AdamW, beta2 fixed": ("adamw-dw", lambda times, tokens: {"betas": [BETA1, BETA2]}),
    "AdamW, beta2 by batch": ("adamw-dw", lambda times, tokens: {"betas": [BETA1, BETA2**times]}),
    "ADana, alpha~ 1": ("adana", lambda times, tokens: {}),
    "ADana, alpha~ by batch": ("adana", lambda times, tokens: {"damping_scale": times**BATCH_EXPONENT}),
    "ADana, alpha~ as published": ("adana", lambda times, tokens: {"damping_scale": damping_scale(tokens)}),
}


def measured(
    base: Recipe,
    lines: list[str],
    batches: list[int],
    reference: int,
    tokens: int,
    seeds: int,
    executor: LocalExecutor,
    out: Path,
) -> list[dict[str, Any]]:
    """The best learning rate of every line at every batch, and the loss of each seed there."""
    runs = Runs(executor, out)
    rows: list[dict[str, Any]] = []
    found: dict[str, dict[int, float]] = {name: {} for name in LINES}
    for batch in batches:
        at = replace(base, batch_size=batch, steps=round(tokens / (batch * base.seq_len)))
        for name in lines:
            optimizer, options = LINES[name]
            own = options(batch / reference, at.tokens_per_step)
            near = min(found[name], key=lambda other: abs(math.log(other / batch)), default=None)
            lr = base.lr if near is None else found[name][near]
            cell = replace(at, optimizer=optimizer, options=base.options | own, lr=lr)
            (best,) = sweep([cell], executor, seeds=(SEARCH_SEED,), fine=None, sides=1, runs=runs)
            found[name][batch] = best.lr
            losses = [one.final_loss for one in runs.run([replace(cell, lr=best.lr, seed=k) for k in range(seeds)])]
            rows.append(row(name, cell, best, losses))
            print(name, batch, cell.steps, best.lr, best.bracketed, losses, flush=True)
    return rows


def row(name: str, cell: Recipe, best: Best, losses: list[float | None]) -> dict[str, Any]:
    finished = [loss for loss in losses if loss is not None]
    interval = t_interval(finished) if len(finished) == len(losses) else None
    return {
        "line": name,
        "batch": cell.batch_size,
        "batch_tokens": cell.tokens_per_step,
        "steps": cell.total_steps,
        "optimizer": cell.optimizer,
        "options": cell.options,
        "lr": best.lr,
        "bracketed": best.bracketed,
        "losses": losses,
        "loss": statistics.fmean(finished) if len(finished) == len(losses) else None,
        "interval": None if interval is None else interval.to_json(),
    }


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=LINES, default=list(LINES), help="lines; default all")
    parser.add_argument("--batches", nargs="+", type=int, required=True, help="sequences per step")
    parser.add_argument("--reference", type=int, default=4, help="sequences at which alpha~ is 1 and beta2 is 0.99")
    parser.add_argument("--tokens", type=int, default=786_432, help="of every run")
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument(
        "--omega", type=float, default=0.5, help="the best of both at this size (results/weight-decay.csv)"
    )
    parser.add_argument("--lr", type=float, default=2.0**-7, help="where the first search of each line starts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/batch-range"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    base = Recipe(
        heads=options.heads,
        layers=options.layers,
        head_dim=options.head_dim,
        seq_len=options.seq_len,
        evaluations=1,
        lr=options.lr,
        options={"weight_decay": options.omega},
    )
    command = shlex.join(["python", "benchmarks/batch_range.py", *argv])
    quiet = Execution(log_every=None, save_every=None, keep_final=False)
    with LocalExecutor(options.runs, workers=options.workers, execution=quiet) as executor:
        rows = measured(
            base, options.only, options.batches, options.reference, options.tokens, options.seeds, executor, options.out
        )
    config = base.model_config()
    found = {
        "command": command,
        "parameters": config.total_parameters,
        "tokens": options.tokens,
        "search_seed": SEARCH_SEED,
        "seeds": list(range(options.seeds)),
        "rows": sorted(rows, key=lambda row: (row["batch"], list(LINES).index(row["line"]))),
    }
    write_json(options.out.with_name(options.out.name + ".json"), found)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
