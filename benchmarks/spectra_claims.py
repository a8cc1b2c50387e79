"""Two claims of the abstract on spectral diagnostics, put to the test on the smallest runs of this package.

1. The tail of the activations' covariance, early in training, forecasts token efficiency.
2. Batch size changes spectra at equal loss.

python benchmarks/spectra_claims.py --out results/spectra-claims.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from adana.files import write_json
from adana.inspect.activations import gather
from adana.inspect.context import held_out_windows, loss_by_position
from adana.inspect.power_law import slope
from adana.inspect.runs import open_run
from adana.models.layers import Decoder
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
BATCHES = ((1, 2000, 0.5), (4, 1000, 0.5), (4, 1000, 1.0), (4, 1000, 2.0), (16, 500, 2.0))
BASE_RATE = {"adamw": 2e-3, "adana": 1e-3}
CHECKPOINTS = 25


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


def held_out(recipe: Recipe) -> np.ndarray:
    return held_out_windows(load_data(recipe, verify=False).validation, recipe.seq_len, TOKENS)


def path(optimizer: str, batch: int, steps: int, factor: float, seed: int) -> dict[str, Any]:
    """Held-out loss and tails along a run at a constant learning rate."""
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
        kept, windows = open_run(folder), held_out(recipe)
        points = []
        for step in range(4 * every, steps, every):  # the last, after the cool-down, is left out
            model = kept.model(step)
            points.append({"step": step, "loss": held_out_loss(model, windows), "tails": tails(model, windows)})
    return {"optimizer": optimizer, "batch": batch, "factor": factor, "seed": seed, "points": points}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"forecasts": [], "paths": []}
    found["command"] = "python benchmarks/spectra_claims.py --out results/spectra-claims.json"

    def have(kind: str, **settings: object) -> bool:  # an interrupted command goes on
        return any(all(one[name] == value for name, value in settings.items()) for one in found[kind])

    for seed in SEEDS:
        for optimizer, rates in RATES.items():
            for lr in rates:
                if not have("forecasts", optimizer=optimizer, lr=lr, seed=seed):
                    found["forecasts"].append(forecast(optimizer, lr, seed))
                    write_json(options.out, found)
                    print(optimizer, lr, seed, found["forecasts"][-1]["final_loss"], flush=True)
    for optimizer in BASE_RATE:
        for seed in SEEDS:
            for batch, steps, factor in BATCHES:
                if not have("paths", optimizer=optimizer, batch=batch, factor=factor, seed=seed):
                    found["paths"].append(path(optimizer, batch, steps, factor, seed))
                    write_json(options.out, found)
                    print(optimizer, batch, factor, seed, found["paths"][-1]["points"][-1]["loss"], flush=True)


if __name__ == "__main__":
    main()
