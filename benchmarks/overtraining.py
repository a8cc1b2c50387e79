"""Does the gain grow with tokens per parameter? Optimizers searched alike at horizons f = tokens / (20 parameters).

Enoki of one layer; 8 sequences of 128 bytes per step if nothing else is said, each place of the text read once. At
every horizon all optimizers get the same number of runs: learning rate, omega and one option of their own (AdamW's
beta2, Muon's momentum, kappa) are searched on seeds of their own, from where the search of the nearest horizon before
it in the plan ended.
With ``--near OUT`` the horizons of another command's OUT.json count as searched before.
Each best point then runs on the seeds. ``--plan`` names the horizons as F:RUNS:SEEDS, or F:RUNS:SEEDS:NAME,NAME where
only some of the optimizers go that far: a baseline must go further than the others for their losses to be on its curve.
With one head, seeds of one setting can end 0.2 nats apart, and a search on one seed tells little: take more heads.

    python benchmarks/overtraining.py --heads 4 --head-dim 8 --plan 1:16:5 4:16:5 16:5:4 64:3:4:adamw-dw \\
        --text gcide.txt --workers 2 --out results/overtraining-gcide
    adana fit results/overtraining-gcide.csv --law overtraining --baseline adamw-dw --searched-kappa --size total

OUT.csv has the runs of the best points, OUT-search.csv all runs of the searches, OUT.json the best points, the losses
and their paired differences to both baselines. Runs are kept in ``--runs``; the same command goes on where it was
stopped. ``gcide.txt`` comes out of a Debian package: see ``benchmarks/hilberg_texts.py``.
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adana.files import read_json, write_json
from adana.lab.cells import SEARCH_SEED, race_start
from adana.lab.executors import LocalExecutor
from adana.lab.race_search import search
from adana.lab.sweep import Best, Runs
from adana.scaling.intervals import t_interval
from adana.scaling.overtraining import CHINCHILLA
from adana.train.recipe import Execution, Recipe

OPTIMIZERS = ("adamw-dw", "adana", "muon-dw", "log-muon", "dana-mk4")
BASELINES = ("adamw-dw", "muon-dw")

FOUR_HEADS: dict[str, Any] = {
    "heads": 4,
    "head_dim": 8,
    "layers": 1,
    "seq_len": 128,
    "batch_size": 8,
    "order": "permuted",
}
"""The model of 28,672 parameters whose seeds end close together, 1,024 bytes per step."""

Found = dict[tuple[float, str], tuple[Best, Recipe, list[float | None]]]
"""By horizon and optimizer: the best point, its recipe, the losses of the seeds."""


@dataclass(frozen=True)
class Horizon:
    """Tokens per parameter over 20, runs of each search, seeds of each best point, and whose; empty for all."""

    f: float
    runs: int
    seeds: int
    only: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Horizon:
        f, runs, seeds, *only = text.split(":")
        return cls(float(f), int(runs), int(seeds), tuple(only[0].split(",")) if only else ())


def paired(mine: list[float | None], theirs: list[float | None]) -> dict[str, Any]:
    """How far behind ``theirs`` are, on the same seeds: mean, 95 % by Student's t, p of a mean of 0."""
    from scipy import stats

    ahead = [b - a for a, b in zip(mine, theirs) if a is not None and b is not None]
    interval = t_interval(ahead)
    return {
        "ahead": statistics.fmean(ahead) if ahead else None,
        "interval": None if interval is None else interval.to_json(),
        "p": float(stats.ttest_1samp(ahead, 0.0).pvalue) if len(ahead) > 1 and len(set(ahead)) > 1 else None,
    }


def nearest(ended: Mapping[tuple[float, str], Best], f: float, optimizer: str) -> Best | None:
    """Where the search at the nearest horizon ended, the first of two as near; None at the first."""
    done = [(abs(math.log(f / other)), best) for (other, name), best in ended.items() if name == optimizer]
    return min(done, key=lambda one: one[0])[1] if done else None


def ended(out: Path | None) -> dict[tuple[float, str], Best]:
    """Where the searches of an OUT.json ended, by horizon and optimizer."""
    rows = [] if out is None else read_json(out.with_name(out.name + ".json"))["rows"]
    return {
        (row["f"], row["optimizer"]): Best(
            row["optimizer"], row["options"], row["lr"], row["loss"], 1, row["bracketed"], heads=1
        )
        for row in rows
    }


def rows_of(found: Found) -> list[dict[str, Any]]:
    rows = []
    for (f, optimizer), (best, cell, losses) in found.items():
        finished = [loss for loss in losses if loss is not None]
        row = {
            "f": f,
            "optimizer": optimizer,
            "steps": cell.total_steps,
            "lr": best.lr,
            "options": best.options,
            "bracketed": best.bracketed,
            "losses": losses,
            "loss": statistics.fmean(finished) if len(finished) == len(losses) else None,
        }
        against = [name for name in BASELINES if name != optimizer and (f, name) in found]
        rows.append(row | {f"against {name}": paired(losses, found[f, name][2]) for name in against})
    return rows


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", nargs="+", type=Horizon.parse, required=True, help="F:RUNS:SEEDS[:NAME,...]")
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--text", help="a file; default the standard library's text")
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--near", type=Path, help="OUT of another command, where searches begin")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/overtraining"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    base = Recipe(
        heads=options.heads,
        layers=1,
        head_dim=options.head_dim,
        seq_len=options.seq_len,
        batch_size=options.batch_size,
        evaluations=1,
        order="permuted",
        text=() if options.text is None else (str(Path(options.text).resolve()),),
    )
    parameters = base.model_config().total_parameters
    command = shlex.join(["python", "benchmarks/overtraining.py", *argv])
    quiet = Execution(log_every=None, save_every=None, keep_final=False)
    found: Found = {}
    before = ended(options.near)
    with LocalExecutor(options.runs, workers=options.workers, execution=quiet) as executor:
        searched = Runs(executor, options.out.with_name(options.out.name + "-search"))
        final = Runs(executor, options.out)
        for horizon in options.plan:
            steps = round(horizon.f * CHINCHILLA * parameters / base.tokens_per_step)
            for optimizer in horizon.only or options.optimizers:
                cell = replace(base, optimizer=optimizer, steps=steps, lr=race_start(optimizer), seed=SEARCH_SEED)
                best = search(
                    cell,
                    lambda recipes: [math.inf if (x := r.final_loss) is None else x for r in searched.run(recipes)],
                    runs=horizon.runs,
                    near=nearest(before, horizon.f, optimizer),
                )
                at_best = replace(cell, lr=best.lr, options=best.options)
                results = final.run([replace(at_best, seed=seed) for seed in range(horizon.seeds)])
                found[horizon.f, optimizer] = best, at_best, [one.final_loss for one in results]
                before[horizon.f, optimizer] = best
                print(
                    horizon.f, optimizer, steps, best.lr, best.options, best.bracketed, *found[horizon.f, optimizer][2:]
                )
                sys.stdout.flush()
                write_json(
                    options.out.with_name(options.out.name + ".json"),
                    {
                        "command": command,
                        "parameters": parameters,
                        "tokens_per_step": base.tokens_per_step,
                        "search_seed": SEARCH_SEED,
                        "rows": rows_of(found),
                    },
                )
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
