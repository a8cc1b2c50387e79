"""Which variant holds where gradients are rare: rare experts, rare tokens, and a dense model beside them.

One-layer Enoki on the Python standard library's text, few tokens per step. ``dense``: bytes. ``experts``: the same with
a mixture of 32 experts, one per token, for its feed-forward part. ``tokens``: a vocabulary of 2,048 made of that text.
Every optimizer is searched by the race's rule with the same number of runs on seeds of their own, from omega 0.5; the
best setting then runs on seeds 0, 1, ... . Along a run of AdamW the rows and experts without a gradient are counted.

    python benchmarks/sparse_gradients.py --out results/sparse-gradients.json

Runs and the tokens are kept in ``--runs``; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from adana import catalog
from adana.cli import main
from adana.files import write_json
from adana.lab.cells import SEARCH_SEED, race_start
from adana.lab.executors import LocalExecutor
from adana.lab.race_search import RULE, search
from adana.lab.sweep import Best, Runs
from adana.models.architectures import build
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Execution, Recipe, load_data
from measured import print_table, surroundings

OPTIMIZERS = ("adamw-dw", "adana", "dana-mk4", "dana-star-mk4")
BASE = Recipe(heads=1, layers=1, head_dim=32, seq_len=64, batch_size=1, evaluations=1, validation_tokens=8_192)
SETTINGS = {
    "dense": BASE,
    "experts": replace(BASE, experts=32, mlp_dim=32),
    "tokens": replace(BASE, head_dim=16, seq_len=128, vocab_size=2048),
}


def without_gradient(recipe: Recipe) -> dict[str, float]:
    """Shares of the embedding's rows and of the experts that have no gradient in a step, the mean over a run."""
    model, data = build(recipe.model_config(), seed=recipe.seed), load_data(recipe).train
    assert recipe.lr is not None
    optimizer = build_optimizer(
        recipe.optimizer, model, lr=recipe.lr, options=dict(recipe.options), total_steps=recipe.total_steps
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.gamma)
    random = np.random.default_rng(recipe.seed)
    shares: dict[str, list[float]] = {"rows": [], "experts": []}
    for _ in range(recipe.total_steps):
        starts = random.integers(len(data) - recipe.seq_len, size=recipe.batch_size)
        windows = torch.from_numpy(data.windows(starts, recipe.seq_len + 1))
        balance: Any = 0.0
        if recipe.experts is None:
            logits = model(windows[:, :-1])
        else:
            logits, balance = model(windows[:, :-1], balance_loss=True)
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        (loss + recipe.balance * balance).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            if name == "embedding.weight":
                shares["rows"].append(float((p.grad == 0).all(1).float().mean()))
            elif ".experts." in name and name.endswith("down.weight"):
                shares["experts"].append(float(not p.grad.any()))
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return {name: fmean(values) for name, values in shares.items() if values}


def vocabulary(folder: Path, size: int) -> str:
    """The standard library's text in tokens of a vocabulary of its own, made where it is not there yet."""
    out = folder / f"tokens-{size}"
    if not out.exists():
        made = main(["data", "build", "--tokenizer", "train", "--vocabulary", str(size), "--out", str(out)])
        assert made == 0
    return str(out)


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs-each", type=int, default=6, help="of each search")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/sparse-gradients"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    here = surroundings(1, ["torch", "numpy", "tokenizers"])
    if not found:
        found = here | {"rule": RULE, "runs": options.runs_each, "steps": options.steps, "settings": {}, "rows": []}
    found["command"] = here["command"]
    quiet = Execution(log_every=None, save_every=None, keep_final=False)
    with LocalExecutor(options.runs, workers=1, execution=quiet) as executor:
        table = Runs(executor)
        for setting, name in itertools.product(options.settings, options.optimizers):
            if any((row["setting"], row["optimizer"]) == (setting, name) for row in found["rows"]):  # goes on
                continue
            cell = replace(
                SETTINGS[setting], optimizer=name, steps=options.steps, lr=race_start(name), seed=SEARCH_SEED
            )
            if cell.vocab_size is not None:
                cell = replace(cell, data=vocabulary(options.runs, cell.vocab_size))
            row = measured(table, cell, runs=options.runs_each, seeds=options.seeds)
            found["rows"].append({"setting": setting, **row})
            at_best = replace(cell, lr=row["lr"], options=row["options"], seed=0)
            if setting not in found["settings"]:
                about = {"parameters": cell.model_config().total_parameters, "tokens_per_step": cell.tokens_per_step}
                found["settings"][setting] = about | {"without gradient": without_gradient(at_best)}
            print(setting, name, row["lr"], row["options"], row["losses"], flush=True)
            write_json(options.out, found)
    columns = ["setting", "optimizer", "lr", "loss"]
    shown = [[row["setting"], row["optimizer"], f"{row['lr']:.3g}", mean(row["losses"])] for row in found["rows"]]
    print_table(found, "Rare gradients", columns, shown)
    return 0


def measured(table: Runs, cell: Recipe, *, runs: int, seeds: int) -> dict[str, Any]:
    """One optimizer searched, then its best setting on seeds 0, 1, ... ."""
    tried: list[dict[str, Any]] = []
    seconds = 0.0

    def results(cells: Sequence[Recipe]) -> list[float | None]:
        nonlocal seconds
        done = table.run(cells)
        seconds += sum(one.seconds for one in done)
        return [one.final_loss for one in done]

    def losses(cells: Sequence[Recipe]) -> list[float]:
        ends = results(cells)
        for one, loss in zip(cells, ends):
            tried.append({"lr": one.lr, "options": one.options, "seed": one.seed, "loss": loss})
        return [math.inf if loss is None else loss for loss in ends]

    entry = catalog.find(cell.optimizer)
    usual = {"weight_decay": catalog.OMEGA, **entry.own[len(entry.own) // 2]}
    assert cell.lr is not None
    best = search(cell, losses, runs=runs, near=Best(cell.optimizer, usual, cell.lr, None, 0, False, cell.heads))
    ends = results([replace(cell, lr=best.lr, options=best.options, seed=seed) for seed in range(seeds)])
    found = {"optimizer": cell.optimizer, "lr": best.lr, "options": best.options, "bracketed": best.bracketed}
    return {**found, "losses": ends, "seconds": seconds, "search": tried}


def mean(losses: Sequence[float | None]) -> str:
    finished = [loss for loss in losses if loss is not None]
    return f"{fmean(finished):.4f}" if len(finished) == len(losses) else "diverged"


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
