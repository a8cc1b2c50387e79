"""What somebody sees who tries ADana for AdamW: small models after GPT-2, Llama and Qwen3, runs of 100 steps and more.

AdamW's learning rate (``torch.optim``, weight decay 0.1) is searched by factors of 2 on seed 100. ADana gets
``model.parameters()`` and 0.4 of that rate, as ``adana.suggest`` has it, with the default omega and others; then all
run on seeds 0 to 2.

    python benchmarks/first_try.py --steps 100 300 --omegas 1 4 --out results/first-try.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adana import ADana
from literal_swap import SEEDS, adamw, best_rate, trained

FACTOR = 0.4


def literal(omega: float, steps: int, lr: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: ADana(model.parameters(), lr, weight_decay=omega, total_steps=steps)


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["gpt2", "llama", "qwen3"])
    parser.add_argument("--steps", nargs="+", type=int, default=[100, 300])
    parser.add_argument("--omegas", nargs="+", type=float, default=[1.0])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    found: dict[str, Any] = {"command": "python benchmarks/first_try.py " + " ".join(argv), "runs": []}

    def note(model: str, steps: int, optimizer: str, lr: float, losses: list[float]) -> None:
        found["runs"].append({"model": model, "steps": steps, "optimizer": optimizer, "lr": lr, "losses": losses})
        print(f"{model:6} {steps:5} {optimizer:15} {lr:.4f}", " ".join(f"{x:.4f}" for x in losses), flush=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    for steps in options.steps:
        for name in options.models:
            rate = best_rate(name, steps, adamw, 0.008)
            note(name, steps, "adamw", rate, [trained(name, s, steps, adamw(rate)) for s in SEEDS])
            for omega in options.omegas:
                build = literal(omega, steps, FACTOR * rate)
                note(
                    name,
                    steps,
                    f"adana omega {omega:g}",
                    FACTOR * rate,
                    [trained(name, s, steps, build) for s in SEEDS],
                )
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
