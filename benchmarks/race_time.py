"""Time per training step of every optimizer of the race, turn by turn in one process.

A round gives each optimizer some steps of the race's model (forward, backward, clipping, update); what counts is the
ratio to the baseline within a round, of which the median and the quartiles are kept. A second baseline in the round
shows what the machine's noise is worth. CPU time of one thread, so that other work counts as little as it can.

    OMP_NUM_THREADS=1 python benchmarks/race_time.py --race results/race-gcide.json --out results/race-time.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from adana.catalog import BASELINE
from adana.files import read_json, write_json
from adana.lab.race import tuned
from adana.lab.race_result import Lane
from adana.train.recipe import Recipe
from measured import print_table, surroundings
from train_overhead import BareLoop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--steps", type=int, default=20, help="steps in a turn")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--race", type=Path, help="a result of adana race, for its optimizers; default the tuned ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = surroundings(1, ["torch"])
    again = f"{BASELINE} again"
    lanes = tuned()
    if options.race is not None:
        rows = read_json(options.race)["rows"]
        lanes = {row["optimizer"]: Lane(row["optimizer"], row["lr"], row["options"]) for row in rows}
    loops = {
        name: BareLoop(Recipe(lane.optimizer, lane.lr, lane.options), torch.device("cpu"))
        for name, lane in ({BASELINE: lanes[BASELINE], again: lanes[BASELINE]} | lanes).items()
    }
    times: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(-1, options.rounds):  # the first round builds kernels and state
        for name, loop in loops.items():
            began = time.process_time()
            for _ in range(options.steps):
                loop()
            if turn >= 0:
                times[name].append((time.process_time() - began) / options.steps)
    ratios = {
        name: statistics.quantiles([a / b for a, b in zip(found, times[BASELINE])], n=4)
        for name, found in times.items()
        if name != BASELINE
    }
    found = {
        **about,
        "baseline": BASELINE,
        "baseline_milliseconds_per_step": 1e3 * statistics.median(times[BASELINE]),
        "time_per_step_over_the_baselines": {
            name: {"median": middle, "low": low, "high": high} for name, (low, middle, high) in ratios.items()
        },
    }
    write_json(options.out, found)
    print_table(
        found,
        f"Time per training step, {options.rounds} rounds of {options.steps} steps",
        ("optimizer", f"x {BASELINE}", "quartiles"),
        ((name, f"{middle:.3f}", f"{low:.3f} to {high:.3f}") for name, (low, middle, high) in ratios.items()),
    )


if __name__ == "__main__":
    main()
