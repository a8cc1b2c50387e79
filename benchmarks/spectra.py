"""What ``adana inspect spectrum`` says of the race's model: where it began, after a tenth, and at its end.

python benchmarks/spectra.py --optimizers adana --out results/spectra-race.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adana.files import write_json
from adana.inspect.spectrum import Spectra, spectrum
from adana.train.recipe import Execution, small
from adana.train.run import train

SEEDS = (0, 1, 2)
STEPS = (0, 150, 1500)
RUNS = {  # learning rate and omega of the race
    "adana": (0.0014, {"weight_decay": 1.0}),
    "adamw-dw": (0.0028, {"weight_decay": 1.0, "betas": [0.9, 0.95]}),
}


def looked_at(optimizer: str, seed: int) -> dict[str, Any]:
    lr, options = RUNS[optimizer]
    recipe = small(optimizer=optimizer, lr=lr, options=options, seed=seed, evaluations=1)
    with tempfile.TemporaryDirectory() as folder:
        quiet = Execution(device="cpu", log_every=None, save_every=STEPS[1], keep_every=STEPS[1])
        result = train(recipe, Path(folder), execution=quiet)
        return {
            "optimizer": optimizer,
            "seed": seed,
            "final_loss": result.final_loss,
            **short(spectrum(folder, steps=STEPS)),
        }


def short(found: Spectra) -> dict[str, Any]:
    """Without the eigenvalues themselves."""
    whole = asdict(found)
    for snapshot in whole["snapshots"]:
        for layer in snapshot["layers"].values():
            layer["eigenvalues"] = layer["eigenvalues"][:8]
        for matrix in snapshot["gradients"]:
            matrix["shares"] = matrix["shares"][:8]
    return {name: whole[name] for name in ("tokens", "snapshots", "movements")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", nargs="+", choices=tuple(RUNS), default=list(RUNS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"runs": []}
    found["command"] = "python benchmarks/spectra.py " + " ".join(sys.argv[1:])
    for optimizer in options.optimizers:
        for seed in SEEDS:
            if not any((run["optimizer"], run["seed"]) == (optimizer, seed) for run in found["runs"]):
                found["runs"].append(looked_at(optimizer, seed))
                write_json(options.out, found)
                print(optimizer, seed, found["runs"][-1]["final_loss"], flush=True)


if __name__ == "__main__":
    main()
