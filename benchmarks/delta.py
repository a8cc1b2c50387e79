"""Is delta = 8 a good default? The learning rate searched at every delta, on a text of which nothing repeats.

One-layer Enoki of four heads of 8 (28,672 parameters), 8 sequences of 128 bytes per step, omega 2, kappa 0.85; f is
tokens over 20 per parameter. At every horizon, optimizer and delta learning rates by factors of 2 run on a seed of
their own until the best stands between worse ones; it then runs on five seeds.

    python benchmarks/delta.py --text gcide.txt --workers 2 --out results/delta.json

Runs are kept in ``--runs``; the same command goes on where it was stopped. ``gcide.txt`` comes out of a Debian package:
see ``benchmarks/hilberg_texts.py``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from adana.files import write_json
from adana.lab.cells import SEARCH_SEED
from adana.lab.executors import LocalExecutor
from adana.lab.sweep import Runs
from adana.scaling.overtraining import CHINCHILLA
from adana.train.recipe import Execution, Recipe
from kappa_texts import measured
from measured import print_table, surroundings
from overtraining import FOUR_HEADS

HORIZONS, DELTAS = (0.25, 1.0), (2.0, 4.0, 8.0, 16.0, 32.0)
STARTS = {"adana": 2.0**-6, "log-muon": 2.0**-4}
"""Optimizers, and a learning rate where the first search begins; the next begins where the one before it ended."""
MOST, SEEDS = 7, (0, 1, 2, 3, 4)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horizons", nargs="+", type=float, default=HORIZONS)
    parser.add_argument("--optimizers", nargs="+", choices=STARTS, default=tuple(STARTS))
    parser.add_argument("--text", help="a file; default the standard library's text")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/delta"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    here = surroundings(1, ["torch"])
    found: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    found = {**(found or here | {"search_seed": SEARCH_SEED, "rows": []}), "command": here["command"]}
    text = () if options.text is None else (str(Path(options.text).resolve()),)
    base = Recipe(**FOUR_HEADS, evaluations=1, text=text, seed=SEARCH_SEED)
    parameters = base.model_config().total_parameters
    quiet = Execution(log_every=None, save_every=None, keep_final=False)
    with LocalExecutor(options.runs, workers=options.workers, execution=quiet) as executor:
        table = Runs(executor)
        for f, name in itertools.product(options.horizons, options.optimizers):
            start = STARTS[name]
            for delta in DELTAS:
                about = {"f": f, "optimizer": name, "delta": delta}
                done = [row for row in found["rows"] if about.items() <= row.items()]
                if not done:
                    steps = round(f * CHINCHILLA * parameters / base.tokens_per_step)
                    setting = {"weight_decay": 2.0, "delta": delta}
                    cell = replace(base, optimizer=name, steps=steps, options=setting)
                    row = about | {"parameters": parameters, "steps": steps}
                    done = [row | measured(table, cell, start, MOST, SEEDS)]
                    found["rows"] += done
                    print({key: value for key, value in done[0].items() if key != "search"}, flush=True)
                    write_json(options.out, found)
                start = done[0]["lr"]
    shown = []
    for row in found["rows"]:
        loss = "diverged" if None in row["losses"] else f"{fmean(row['losses']):.4f}"
        shown.append([f"{row['f']:g}", row["optimizer"], f"{row['delta']:g}", f"{row['lr']:.3g}", loss])
    print_table(found, "Delta", ["f", "optimizer", "delta", "lr", "loss"], shown)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
