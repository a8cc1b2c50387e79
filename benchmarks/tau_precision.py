"""What storing tau of the Star rules in 16 bits costs: errors of the update's factors, and the race's losses.

    python benchmarks/tau_precision.py table    after 2,000, 20,000 and 200,000 steps, against float64
    python benchmarks/tau_precision.py race     DanaStar and DanaStarMK4 at the race's setting, three seeds

Both print JSON and write it to ``results/tau-table.json`` and ``results/tau-race.json``. ``race`` goes on from where
it was stopped, by what is in ``--runs``.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import adana
from adana import rules
from adana.catalog import OPTIMIZERS
from adana.lab.race import tuned
from adana.optim import places, randomness, storage
from adana.train.recipe import Recipe
from adana.train.run import train

DELTA = float(OPTIMIZERS["dana-star"].options["delta"].default)
KAPPA = float(OPTIMIZERS["dana-star"].options["kappa"].default)
PRESENT = (1.0, 0.1, 0.01, 1e-3, 1e-4)  # the share of steps at which an element has a gradient
ELEMENTS = 256  # of each share
HORIZONS = (2_000, 20_000, 200_000)


def packaged(stored: torch.dtype) -> Callable[[Tensor, int, Tensor], Tensor]:
    """As the package stores it."""

    def store(tau: Tensor, step: int, noise: Tensor) -> Tensor:
        kept = {"tau": torch.empty_like(tau, dtype=stored)}
        storage.encode(kept, {"tau": tau}, randomness.Bits(randomness.Randomness(0, step, places.Place(0))))
        return storage.decode(kept, torch.float32)["tau"]

    return store


def fixed_point(tau: Tensor, step: int, noise: Tensor) -> Tensor:
    """65,536 equal steps."""
    return torch.floor(tau * 65536 + noise).clamp(0, 65535) / 65536


def square_law(tau: Tensor, step: int, noise: Tensor) -> Tensor:
    """Steps that grow with the root."""
    levels = 65535.0
    q = tau * levels**2
    below = q.sqrt().floor()
    room = 2 * below + 1
    return (below + ((q - below * below) + room * noise >= room)).clamp(max=levels) ** 2 / levels**2


FORMATS = {
    "float32": packaged(torch.float32),
    "float16": packaged(torch.float16),
    "bfloat16": packaged(torch.bfloat16),
    "fixed point": fixed_point,
    "square law": square_law,
}


def factors(tau: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """What the gradient and the momentum are multiplied by."""
    wide = tau.double()
    root = rules.update_probability(torch, wide, float(step)).sqrt()
    return root, root * (1 + rules.effective_time(torch, wide, float(step))) ** (1 - KAPPA)


def table(horizons: tuple[int, ...]) -> list[dict[str, Any]]:
    """Relative errors of the factors, rms over the elements, in each format; the same gradients for all."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(PRESENT), ELEMENTS)
    share = torch.tensor(PRESENT, dtype=torch.float64)[:, None]
    exact, v = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    taus = {name: torch.zeros(shape) for name in FORMATS}
    rows = []
    for step in range(max(horizons)):
        g = torch.randn(shape, generator=generator, dtype=torch.float64)
        g *= torch.rand(shape, generator=generator, dtype=torch.float64) < share
        noise = (torch.randint(0, 65536, shape, generator=generator) + 0.5) / 65536
        weight = DELTA / (DELTA + step)
        v += weight * (g * g - v)
        presence = g.abs() / (g.abs() + v.sqrt() + 1e-8)
        exact += weight * (presence - exact)
        for name, store in FORMATS.items():
            taus[name] = store((1 - weight) * taus[name] + weight * presence.float(), step, noise)
        if step + 1 in horizons:
            wanted = factors(exact, step)
            for name, tau in taus.items():
                errors = [(x / y - 1).square().mean(1).sqrt().tolist() for x, y in zip(factors(tau, step), wanted)]
                for k, present in enumerate(PRESENT):
                    row = {"step": step + 1, "format": name, "present": present, "tau": float(exact[k].mean())}
                    rows.append({**row, "error_gradient": errors[0][k], "error_momentum": errors[1][k]})
    return rows


def race(seeds: int, runs: Path) -> list[dict[str, Any]]:
    """Final losses at the race's setting and tuned learning rates."""
    found = json.loads((Path(adana.__file__).parent / "lab/tuned.json").read_text())
    setting = Recipe(**found["setting"])
    rows = []
    for seed in range(seeds):
        for name in ("dana-star", "dana-star-mk4"):
            lane = tuned()[name]
            for stored in ("float32", "float16"):
                options = {**lane.options, **({"tau_dtype": stored} if stored != "float32" else {})}
                recipe = replace(setting, optimizer=name, lr=lane.lr, options=options, seed=seed)
                loss = train(recipe, runs / f"{name}-{stored}-{seed}").final_loss
                rows.append({"optimizer": name, "tau": stored, "seed": seed, "loss": loss})
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "race"))
    parser.add_argument("--seeds", type=int, default=3, help="race: how many")
    parser.add_argument("--runs", type=Path, default=Path("runs/tau"), help="race: folder of the runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = table(HORIZONS) if arguments.what == "table" else race(arguments.seeds, arguments.runs)
    result = {
        "command": f"python benchmarks/tau_precision.py {arguments.what}",
        "versions": {"adana": adana.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    out = Path("results") / f"tau-{arguments.what}.json"
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(out)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
