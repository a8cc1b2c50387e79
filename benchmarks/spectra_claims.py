"""Two claims of the abstract on spectral diagnostics, put to the test on the smallest runs of this package.

1. The tail of the activations' covariance, early in training, forecasts token efficiency.
2. Batch size changes spectra at equal loss.

python benchmarks/spectra_claims.py --out results/spectra-claims.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from adana.files import write_json
from adana.inspect.activations import gather
from adana.inspect.context import held_out_windows, loss_by_position
from adana.inspect.power_law import slope
from adana.inspect.runs import open_run
from adana.models.layers import Decoder
from adana.scaling.intervals import interval, t_interval
from adana.train.recipe import Execution, Recipe, load_data, small
from adana.train.run import train

SEEDS = (0, 1, 2)
TOKENS = 32_768
HEAD = 8  # the tail begins after it
FORECAST_STEPS, EARLY = 600, 60
RATES = {
    "adamw-dw": (1e-3, 2e-3, 4e-3, 8e-3),
    "adana": (0.5e-3, 1e-3, 2e-3, 4e-3),
    "muon-dw": (4e-3, 8e-3, 16e-3, 32e-3),
}
OMEGA = {"weight_decay": 1.0}
# Batch, steps, and the factor of the learning rate: by the root of the batch, and at one batch by itself.
BATCHES = ((1, 800, 0.5), (16, 200, 2.0), (4, 400, 0.5), (4, 400, 2.0))
BASE_RATE = {"adamw-dw": 2e-3}
CHECKPOINTS = 16
LEVELS = (2.6, 2.4, 2.2)
"""Held-out losses, in nats per byte, at which runs are compared."""


def tails(model: Decoder, windows: np.ndarray) -> dict[str, dict[str, float]]:
    """By layer: the exponent from rank 8 to half the width, and the share of the variance after the first 8 modes."""
    found = {}
    for name, moments in gather(model, windows).items():
        values = moments.eigen().values.numpy()
        share = 1 - values[:HEAD].sum() / moments.total()
        found[name] = {"exponent": slope(values, HEAD, moments.width // 2), "share": float(share)}
    return found


def held_out_loss(model: Decoder, windows: np.ndarray) -> float:
    return float(np.mean([losses.mean() for losses in loss_by_position(model, windows)]))


def forecast(optimizer: str, lr: float, seed: int) -> dict[str, Any]:
    """The tail after a tenth of a run, the held-out loss there, and the loss at its end."""
    recipe = small(optimizer=optimizer, lr=lr, seed=seed, heads=1, steps=FORECAST_STEPS, evaluations=1, options=OMEGA)
    with tempfile.TemporaryDirectory() as folder:
        quiet = Execution(device="cpu", log_every=None, save_every=EARLY, keep_every=EARLY)
        final = train(recipe, Path(folder), execution=quiet).final_loss
        windows = held_out(recipe)
        model = open_run(folder).model(EARLY)
        early = {"loss": held_out_loss(model, windows), "tails": tails(model, windows)}
    return {"optimizer": optimizer, "lr": lr, "seed": seed, "early": early, "final_loss": final}


def held_out(recipe: Recipe, tokens: int = TOKENS) -> np.ndarray:
    return held_out_windows(load_data(recipe, verify=False).validation, recipe.seq_len, tokens)


def path(optimizer: str, batch: int, steps: int, factor: float, seed: int) -> dict[str, Any]:
    """Held-out loss along a run at a constant learning rate, and the tails on both sides of every level."""
    every = steps // CHECKPOINTS
    recipe = small(
        optimizer=optimizer,
        lr=BASE_RATE[optimizer] * factor,
        seed=seed,
        heads=1,
        steps=steps,
        batch_size=batch,
        evaluations=1,
        anytime=True,
        warmup_steps=every,
        cooldown=1 / CHECKPOINTS,
        options=OMEGA,
    )
    with tempfile.TemporaryDirectory() as folder:
        quiet = Execution(device="cpu", log_every=None, save_every=every, keep_every=every)
        train(recipe, Path(folder), execution=quiet)
        kept, windows = open_run(folder), held_out(recipe, TOKENS // 4)
        steps_kept = range(every, steps, every)  # the last, after the cool-down, is left out
        losses = [held_out_loss(kept.model(step), windows) for step in steps_kept]
        looked_at = set()
        for level in LEVELS:
            crossing = next((i for i, pair in enumerate(pairwise(losses)) if pair[1] <= level < pair[0]), None)
            looked_at |= set() if crossing is None else {crossing, crossing + 1}
        found = {steps_kept[i]: tails(kept.model(steps_kept[i]), windows) for i in sorted(looked_at)}
    return {
        "optimizer": optimizer,
        "batch": batch,
        "factor": factor,
        "seed": seed,
        "losses": dict(zip(steps_kept, losses)),
        "tails": found,
    }


# --- what it comes to -----------------------------------------------------------------------------------

LAYERS = ("blocks.0.mlp.down", "blocks.0", "head")
MEASURES = ("exponent", "share")
SAMPLES = 4000


def forecasts_found(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rank correlation of what was known early with the final loss, over settings (means of their seeds).

    The interval is a bootstrap over settings. ``beyond_loss`` is the partial correlation, the early loss held.
    """
    settings = sorted({(run["optimizer"], run["lr"]) for run in runs})
    groups = [[run for run in runs if (run["optimizer"], run["lr"]) == one] for one in settings]

    def mean(of: Callable[[dict[str, Any]], float]) -> np.ndarray:
        return np.array([np.mean([of(run) for run in group]) for group in groups])

    final, loss = mean(lambda run: run["final_loss"]), mean(lambda run: run["early"]["loss"])
    known = {("", "loss"): loss}
    for layer in LAYERS:
        for measure in MEASURES:
            known[layer, measure] = mean(lambda run, a=layer, b=measure: run["early"]["tails"][a][b])
    draws = np.random.default_rng(0).integers(0, len(groups), size=(SAMPLES, len(groups)))
    found = []
    for (layer, measure), x in known.items():
        ends = interval([value for at in draws if np.isfinite(value := correlation(x[at], final[at]))])
        beyond = None if measure == "loss" else partial(x, final, loss)
        found.append(
            {
                "layer": layer,
                "measure": measure,
                "settings": len(groups),
                "correlation": correlation(x, final),
                "interval": ends.to_json(),
                "beyond_loss": beyond,
                "by_optimizer": {
                    name: correlation(
                        x[[one[0] == name for one in settings]], final[[one[0] == name for one in settings]]
                    )
                    for name in RATES
                },
            }
        )
    return found


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's."""
    if len(set(x)) < 3 or len(set(y)) < 3:
        return float("nan")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def partial(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    xy, xz, yz = correlation(x, y), correlation(x, given), correlation(y, given)
    return (xy - xz * yz) / float(np.sqrt((1 - xz**2) * (1 - yz**2)))


def at_level(run: dict[str, Any], level: float, layer: str, measure: str) -> float | None:
    """Between the checkpoints on both sides of a loss, linear in the loss; None where the run does not get there."""
    points = sorted((int(step), loss) for step, loss in run["losses"].items())
    for (a, above), (b, below) in pairwise(points):
        if below <= level < above:
            weight = (above - level) / (above - below)
            first, second = (run["tails"][str(step)][layer][measure] for step in (a, b))
            return float(first + weight * (second - first))
    return None


def batches_found(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At equal loss: 16 sequences against 1, the learning rate by the root of the batch; and 4 times that rate alone.

    Differences of runs of one seed; intervals by Student's t over seeds.
    """
    pairs = {"batch": ((16, 2.0), (1, 0.5)), "learning rate": ((4, 2.0), (4, 0.5))}
    found = []
    for optimizer in BASE_RATE:
        by = {(run["batch"], run["factor"], run["seed"]): run for run in runs if run["optimizer"] == optimizer}
        for level in LEVELS:
            for layer in LAYERS:
                for measure in MEASURES:
                    row: dict[str, Any] = {"optimizer": optimizer, "loss": level, "layer": layer, "measure": measure}
                    for name, (large, small_one) in pairs.items():
                        ends = [
                            tuple(at_level(by[(*one, seed)], level, layer, measure) for one in (large, small_one))
                            for seed in SEEDS
                            if (*large, seed) in by and (*small_one, seed) in by
                        ]
                        if len(ends) < len(SEEDS) or any(None in pair for pair in ends):
                            break
                        differences = [a - b for a, b in ends]
                        spread = t_interval(differences)
                        row[name] = {
                            "large": float(np.mean([a for a, _ in ends])),
                            "small": float(np.mean([b for _, b in ends])),
                            "difference": float(np.mean(differences)),
                            "interval": None if spread is None else spread.to_json(),
                        }
                    else:
                        found.append(row)
    return found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    return {"forecasts": forecasts_found(found["forecasts"]), "batches": batches_found(found["paths"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("forecasts", "paths"), help="one claim; default both")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"forecasts": [], "paths": []}
    found["command"] = "python benchmarks/spectra_claims.py --out results/spectra-claims.json"

    def have(kind: str, **settings: object) -> bool:  # an interrupted command goes on
        return any(all(one[name] == value for name, value in settings.items()) for one in found[kind])

    for seed in SEEDS if options.only != "paths" else ():
        for optimizer, rates in RATES.items():
            for lr in rates:
                if not have("forecasts", optimizer=optimizer, lr=lr, seed=seed):
                    found["forecasts"].append(forecast(optimizer, lr, seed))
                    write_json(options.out, found)
                    print(optimizer, lr, seed, found["forecasts"][-1]["final_loss"], flush=True)
    for optimizer in BASE_RATE if options.only != "forecasts" else ():
        for seed in SEEDS:
            for batch, steps, factor in BATCHES:
                if not have("paths", optimizer=optimizer, batch=batch, factor=factor, seed=seed):
                    found["paths"].append(path(optimizer, batch, steps, factor, seed))
                    write_json(options.out, found)
                    print(optimizer, batch, factor, seed, min(found["paths"][-1]["losses"].values()), flush=True)
    if found["forecasts"] and found["paths"]:
        found["summary"] = summary(json.loads(json.dumps(found)))
        write_json(options.out, found)


if __name__ == "__main__":
    main()
