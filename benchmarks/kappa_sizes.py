"""The best kappa at two sizes: ADana, DanaMK4 with two clips (Figures 4 and 8, right, of the paper), log-time Muon.

One-layer Enoki of four and seven heads of 8, 8 sequences of 128 bytes per step, 20 tokens per parameter, omega 2. At
every size, optimizer, clip and kappa learning rates by factors of 2 run on a seed of their own until the best stands
between worse ones; it then runs on seeds 0 to 2.

    python benchmarks/kappa_sizes.py --text gcide.txt --workers 2 --out results/kappa-sizes.json

Runs are kept in ``--runs``; the same command goes on where it was stopped. ``gcide.txt`` comes out of a Debian package:
see ``benchmarks/hilberg_texts.py``.
"""

from __future__ import annotations

import argparse
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

HEADS, KAPPAS = (4, 7), (0.4, 0.55, 0.7, 0.85, 1.0)
LANES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("adana", {}),
    ("dana-mk4", {"clip_snr": 2.0}),
    ("dana-mk4", {"clip_snr": 0.25}),
    ("log-muon", {}),
)
MOST = 7


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", nargs="+", type=int, default=HEADS)
    parser.add_argument("--kappas", nargs="+", type=float, default=KAPPAS)
    parser.add_argument("--text", help="a file; default the standard library's text")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/kappa-sizes"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    found: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    here = surroundings(1, ["torch"])
    found = {**(found or here | {"search_seed": SEARCH_SEED, "rows": []}), "command": here["command"]}
    text = () if options.text is None else (str(Path(options.text).resolve()),)
    quiet = Execution(log_every=None, save_every=None, keep_final=False)
    with LocalExecutor(options.runs, workers=options.workers, execution=quiet) as executor:
        table = Runs(executor)
        for heads in options.heads:
            base = Recipe(**FOUR_HEADS | {"heads": heads}, evaluations=1, text=text, seed=SEARCH_SEED)
            parameters = base.model_config().total_parameters
            base = replace(base, steps=round(CHINCHILLA * parameters / base.tokens_per_step))
            for name, clip in LANES:
                for kappa in options.kappas:
                    about = {"heads": heads, "optimizer": name, **clip, "kappa": kappa}
                    if any(about.items() <= row.items() for row in found["rows"]):  # goes on
                        continue
                    cell = replace(base, optimizer=name, options={"weight_decay": 2.0, "kappa": kappa, **clip})
                    # Where the row before it ended: a learning rate for one kappa is near that of the next.
                    start = found["rows"][-1]["lr"] if found["rows"] else 2.0**-7
                    row = measured(table, cell, start, MOST)
                    found["rows"].append(about | {"parameters": parameters, "steps": cell.steps, **row})
                    print({key: value for key, value in found["rows"][-1].items() if key != "search"}, flush=True)
                    write_json(options.out, found)
    shown = []
    for row in found["rows"]:
        loss = "diverged" if None in row["losses"] else f"{fmean(row['losses']):.4f}"
        named = [row["optimizer"], str(row.get("clip_snr", "")), f"{row['kappa']:g}", f"{row['lr']:.3g}"]
        shown.append([str(row["parameters"]), *named, loss])
    print_table(found, "Kappa at two sizes", ["parameters", "optimizer", "clip", "kappa", "lr", "loss"], shown)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
