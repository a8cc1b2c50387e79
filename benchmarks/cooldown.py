"""Does a momentum cooldown pay, and does it pay more in longer runs? ADana, DanaMK4 and log-time Muon.

Without a cooldown the settings and losses are those that ``benchmarks/overtraining.py`` found (``--from``: its OUT,
with the table of its runs). With a cooldown over the last fifth, or half, of a run the same search goes on from
there: learning rate, omega and kappa, with ``--plan`` as F:RUNS:SEEDS. A line runs on the seeds that the other ran
on, and is compared with it seed by seed.

    python benchmarks/cooldown.py --from results/overtraining-gcide --text gcide.txt --plan 0.25:6:5 1:6:5 4:5:5 \\
        --workers 2 --out results/cooldown

OUT.csv has the runs of the best points, OUT-search.csv those of the searches, OUT.json the best points and the
differences. Runs are kept in ``--runs``; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adana.files import read_json, write_json
from adana.lab.cells import SEARCH_SEED
from adana.lab.executors import LocalExecutor
from adana.lab.race_search import search
from adana.lab.sweep import Best, Runs
from adana.scaling.overtraining import CHINCHILLA
from adana.train.recipe import Execution, Recipe
from overtraining import FOUR_HEADS, Horizon, paired

OPTIMIZERS = ("adana", "dana-mk4", "log-muon")
COOLDOWNS = (0.2, 0.5)


def searched(table: Runs, base: Recipe, near: Best, cooldown: float, runs: int) -> Best:
    """The race's search with every run cooled down."""

    def run(recipes: Sequence[Recipe]) -> list[float]:
        cooled = [replace(one, options=one.options | {"cooldown": cooldown}) for one in recipes]
        return [math.inf if done.final_loss is None else done.final_loss for done in table.run(cooled)]

    return search(base, run, runs=runs, near=near)


def table(found: dict[str, Any]) -> str:
    """In Markdown: settings, mean loss, and how far ahead of the optimizer without a cooldown, seed by seed."""
    lines = [
        "| f | optimizer | cooldown over | lr, omega, kappa | loss | ahead of none: mean, 95 % interval, p |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        options, against = row["options"], row["against none"]
        lr = f"{row['lr']:.2g}{'' if row['bracketed'] else '*'}, {options['weight_decay']:g}, {options['kappa']:g}"
        low, high = against["interval"]
        ahead = f"{against['ahead']:+.3f}, {low:+.3f} to {high:+.3f}, p = {against['p']:.2g}"
        share = f"the last {row['cooldown']:.0%}".replace("%", " %")
        lines.append(f"| {row['f']:g} | {row['optimizer']} | {share} | {lr} | {row['loss']:.3f} | {ahead} |")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", nargs="+", type=Horizon.parse, required=True, help="F:RUNS:SEEDS")
    parser.add_argument("--from", dest="without", type=Path, required=True, help="OUT of benchmarks/overtraining.py")
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--cooldowns", nargs="+", type=float, default=COOLDOWNS)
    parser.add_argument("--text", help="a file; default the standard library's text")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/cooldown"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    text = () if options.text is None else (str(Path(options.text).resolve()),)
    base = Recipe(**FOUR_HEADS, evaluations=1, text=text)
    parameters = base.model_config().total_parameters
    known = read_json(options.without.with_name(options.without.name + ".json"))["rows"]
    rows: list[dict[str, Any]] = []
    quiet = Execution(log_every=None, save_every=None, keep_final=False)
    with LocalExecutor(options.runs, workers=options.workers, execution=quiet) as executor:
        searches = Runs(executor, options.out.with_name(options.out.name + "-search"))
        final = Runs(executor, options.out)
        for horizon in options.plan:
            steps = round(horizon.f * CHINCHILLA * parameters / base.tokens_per_step)
            for name in options.optimizers:
                without = next(row for row in known if (row["f"], row["optimizer"]) == (horizon.f, name))
                near = Best(name, without["options"], without["lr"], None, 1, True, base.heads)
                for cooldown in options.cooldowns:
                    cell = replace(base, optimizer=name, steps=steps, lr=near.lr, seed=SEARCH_SEED)
                    best = searched(searches, cell, near, cooldown, horizon.runs)
                    at_best = replace(cell, lr=best.lr, options=best.options | {"cooldown": cooldown})
                    results = final.run([replace(at_best, seed=seed) for seed in range(horizon.seeds)])
                    losses = [one.final_loss for one in results]
                    finished = [loss for loss in losses if loss is not None]
                    rows.append(
                        {
                            "f": horizon.f,
                            "optimizer": name,
                            "steps": steps,
                            "cooldown": cooldown,
                            "lr": best.lr,
                            "options": best.options,
                            "bracketed": best.bracketed,
                            "losses": losses,
                            "loss": statistics.fmean(finished) if len(finished) == len(losses) else None,
                            "against none": paired(losses, without["losses"][: horizon.seeds]),
                        }
                    )
                    print(rows[-1], flush=True)
                    write_json(
                        options.out.with_name(options.out.name + ".json"),
                        {
                            "command": shlex.join(["python", "benchmarks/cooldown.py", *argv]),
                            "parameters": parameters,
                            "tokens_per_step": base.tokens_per_step,
                            "search_seed": SEARCH_SEED,
                            "rows": rows,
                        },
                    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
