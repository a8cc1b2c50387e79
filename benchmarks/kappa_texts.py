"""The best kappa of ADana on texts whose Hilberg exponent is known: is it at least the exponent?

Santa Fe texts (``adana.data.santa_fe``) as bytes, one-layer Enoki of 28,672 parameters, 4 sequences of 128 bytes per
step, omega 0.5. At every exponent and kappa three learning rates run on a seed of their own, and one more as long as
the best is at an end; the best then runs on seeds 0 to 2.

    python benchmarks/kappa_texts.py --out results/kappa-texts.json

Runs and texts are kept in ``--runs``; the same command goes on where it was stopped.
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

from adana import catalog
from adana.data.santa_fe import SantaFe
from adana.files import replacing, write_json
from adana.lab.cells import SEARCH_SEED, race_start
from adana.lab.executors import LocalExecutor
from adana.lab.search import bracketed_minimum
from adana.lab.sweep import Runs
from adana.train.recipe import Execution, Recipe
from measured import print_table, surroundings

EXPONENTS, KAPPAS, SEEDS = (0.5, 0.7, 0.88), (0.55, 0.7, 0.85, 1.0), (0, 1, 2)
BASE = Recipe(
    "adana", heads=1, layers=1, head_dim=32, seq_len=128, batch_size=4, evaluations=1, validation_tokens=16_384
)
MOST = 5


def text(folder: Path, exponent: float, size: int) -> Path:
    """A Santa Fe text of so many bytes, made where it is not there yet."""
    path = folder / f"santa-fe-{exponent:g}.txt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        left = size
        with replacing(path) as file:
            for piece in SantaFe(exponent=exponent, count=10**9).pieces():
                file.write(piece.text[:left])
                left -= min(left, len(piece.text))
                if not left:
                    break
    return path


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--megabytes", type=float, default=4.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/kappa-texts"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    here = surroundings(1, ["torch", "numpy"])
    found: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    if not found:
        about = {"steps": options.steps, "tokens_per_step": BASE.tokens_per_step, "megabytes": options.megabytes}
        found = here | about | {"search_seed": SEARCH_SEED, "rows": []}
    found["command"] = here["command"]
    quiet = Execution(log_every=None, save_every=None, keep_final=False)
    with LocalExecutor(options.runs, workers=1, execution=quiet) as executor:
        table = Runs(executor)
        for exponent, kappa in itertools.product(EXPONENTS, KAPPAS):
            if any((row["exponent"], row["kappa"]) == (exponent, kappa) for row in found["rows"]):  # goes on
                continue
            path = text(options.runs / "texts", exponent, int(options.megabytes * 2**20))
            setting = {"weight_decay": catalog.OMEGA, "kappa": kappa}
            cell = replace(BASE, steps=options.steps, options=setting, text=(str(path.resolve()),), seed=SEARCH_SEED)
            found["rows"].append(
                {"exponent": exponent, "kappa": kappa, **measured(table, cell, 2 * race_start("adana"))}
            )
            print({key: value for key, value in found["rows"][-1].items() if key != "search"}, flush=True)
            write_json(options.out, found)
    shown = [[f"{row['exponent']:g}", f"{row['kappa']:g}", f"{fmean(row['losses']):.4f}"] for row in found["rows"]]
    print_table(found, "Kappa on Santa Fe texts", ["exponent", "kappa", "loss"], shown)
    return 0


def measured(table: Runs, cell: Recipe, start: float, most: int = MOST, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """The learning rate searched, then the best one on the seeds."""
    tried: dict[float, float] = {}
    seconds = 0.0

    def run_all(cells: Sequence[Recipe]) -> list[float | None]:
        nonlocal seconds
        done = table.run(cells)
        seconds += sum(one.seconds for one in done)
        return [one.final_loss for one in done]

    def losses(lrs: Sequence[float]) -> list[float]:
        ends = [math.inf if loss is None else loss for loss in run_all([replace(cell, lr=lr) for lr in lrs])]
        tried.update(zip(lrs, ends))
        return ends

    lr, _, bracketed = bracketed_minimum(losses, start, 2.0, sides=1, most=most)
    ends = run_all([replace(cell, lr=lr, seed=seed) for seed in seeds])
    search = [{"lr": one, "loss": loss if math.isfinite(loss) else None} for one, loss in tried.items()]
    return {"lr": lr, "bracketed": bracketed, "losses": ends, "seconds": seconds, "search": search}


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
