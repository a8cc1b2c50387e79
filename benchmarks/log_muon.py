"""Whether log time helps Muon: each optimizer searched alike, then raced over seeds, at several horizons and texts.

Every optimizer gets the 16 runs of the race's search (seed 100) at each horizon and on each text, and its best point
runs on every seed. Muon with log-time decay is the baseline; it also runs 1.25 and 1.5 times as long, so that compute
multipliers can be read. For each of the others: losses, paired differences with their p-value, compute multiplier.

    python benchmarks/log_muon.py --steps 1500 6000 24000 --seeds 5 --text FILE --out results/log-muon.json

Runs are kept in ``--runs``; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from adana.files import write_json
from adana.lab.cells import SEARCH_SEED
from adana.lab.executors import LocalExecutor
from adana.lab.race import race
from adana.lab.race_result import Lane
from adana.lab.race_search import RUNS, race_search
from adana.train.recipe import Recipe

BASELINE = "muon-dw"
HORIZONS = (1.0, 1.25, 1.5)


def p_value(ahead: list[float]) -> float | None:
    """Two-sided, of a mean difference of 0 over the seeds."""
    from scipy import stats

    return float(stats.ttest_1samp(ahead, 0.0).pvalue) if len(ahead) > 1 and len(set(ahead)) > 1 else None


def measured(setting: Recipe, names: list[str], seeds: int, searches: int, where: Path, how: dict[str, Any]) -> Any:
    """One race at one horizon on one text, searched first."""
    where.mkdir(parents=True, exist_ok=True)
    base = replace(setting, seed=SEARCH_SEED, evaluations=1)
    with LocalExecutor(where / "search-runs", **how) as executor:
        bests = race_search(base, names, executor, where / "search", runs=searches)
    for best in bests:
        print(f"  {best.optimizer}: lr {best.lr:.4g}, {best.options}, {best.final_loss}", flush=True)
    lanes = [Lane(best.optimizer, best.lr, best.options) for best in bests]
    with LocalExecutor(where / "runs", **how) as executor:
        found = race(setting, lanes, executor, seeds=range(seeds), horizons=HORIZONS, baseline=BASELINE)
    theirs = next(row for row in found.rows if row.optimizer == BASELINE).final_losses
    rows = []
    for row in found.rows:
        ahead = [b - a for a, b in zip(row.final_losses, theirs) if a is not None and b is not None]
        bracketed = next(best.bracketed for best in bests if best.optimizer == row.optimizer)
        rows.append(asdict(row) | {"p": p_value(ahead), "bracketed": bracketed})
    return {"baseline_losses": found.baseline_losses, "rows": rows}


def table(found: dict[str, Any]) -> str:
    lines = [
        "| text | steps | optimizer | lr | options | loss | ahead of Muon | p | multiplier |",
        "|---|" + "---|" * 8,
    ]
    for one in found["measured"]:
        for row in one["rows"]:
            number = {name: "" if row[name] is None else f"{row[name]:.4g}" for name in ("ahead", "p", "multiplier")}
            options = ", ".join(f"{key}={value}" for key, value in row["options"].items())
            loss = "diverged" if row["loss"] is None else f"{row['loss']:.4f}"
            lines.append(
                f"| {one['text']} | {one['steps']} | {row['optimizer']} | {row['lr']:.4g} | {options} | {loss} | "
                f"{number['ahead']} | {number['p']} | {number['multiplier']} |"
            )
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", nargs="+", default=[BASELINE, "log-muon", "adana"])
    parser.add_argument("--steps", nargs="+", type=int, default=[1500, 6000, 24000])
    parser.add_argument("--text", nargs="*", default=[], help="texts, each measured apart; default the race's")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--searches", type=int, default=RUNS, help="runs of each search")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/log-muon"))
    parser.add_argument("--out", type=Path, default=Path("results/log-muon.json"))
    options = parser.parse_args(argv)
    names = list(dict.fromkeys([BASELINE, *options.optimizers]))
    command = "python benchmarks/log_muon.py " + shlex.join(argv)
    how = {"workers": options.workers, "command": command}
    found: dict[str, Any] = {"command": command, "optimizers": names, "seeds": options.seeds, "measured": []}
    for steps in options.steps:
        for text in options.text or [None]:
            name = "standard-library" if text is None else Path(text).stem
            print(f"{name}, {steps} steps", flush=True)
            setting = Recipe(steps=steps, text=() if text is None else (str(Path(text).resolve()),))
            where = options.runs / f"{name}-{steps}"
            one = measured(setting, names, options.seeds, options.searches, where, how)
            found["measured"].append({"text": name, "steps": steps, **one})
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(options.out, found)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
