"""What somebody sees who tries ADana for AdamW: small models after GPT-2, Llama and Qwen3, runs of 100 steps and more.

AdamW's learning rate (``torch.optim``, weight decay 0.1 on everything) is searched by factors of 2 on seed 100. ADana
gets ``model.parameters()`` and what ``adana.suggest`` says for that rate: without tokens and parameters (omega is the
default), and with them; further omegas at the same learning rate. Then all run on seeds 0 to 2.

    python benchmarks/first_try.py --omegas 0 1 --out results/first-try.json
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

from adana import ADana, suggest
from adana.option_checks import Meant
from literal_swap import SEEDS, adamw, best_rate, trained
from small_models import BATCH, SEQUENCE, made


def trial(numbers: dict[str, float]) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: ADana(model.parameters(), **numbers)


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["gpt2", "llama", "qwen3"])
    parser.add_argument("--steps", nargs="+", type=int, default=[100, 300, 1000, 3000])
    parser.add_argument("--omegas", nargs="*", type=float, default=[], help="further omegas, at the same learning rate")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"runs": []}
    found["command"] = "python benchmarks/first_try.py " + " ".join(argv)
    have = {(run["model"], run["steps"], run["optimizer"]) for run in found["runs"]}  # an interrupted command goes on

    def note(model: str, steps: int, optimizer: str, numbers: dict[str, float], losses: list[float]) -> None:
        run = {"model": model, "steps": steps, "optimizer": optimizer, "options": numbers, "losses": losses}
        found["runs"].append(run)
        print(f"{model:6} {steps:5} {optimizer:12} {numbers}", " ".join(f"{x:.4f}" for x in losses), flush=True)

    for steps in options.steps:
        for name in options.models:
            if (name, steps, "adamw") not in have:
                rate = best_rate(name, steps, adamw, 0.008)
                note(name, steps, "adamw", {"lr": rate}, [trained(name, s, steps, adamw(rate)) for s in SEEDS])
            rate = next(
                run["options"]["lr"]
                for run in found["runs"]
                if (run["model"], run["steps"], run["optimizer"]) == (name, steps, "adamw")
            )
            sizes = {
                "tokens": float(steps * BATCH * SEQUENCE),
                "parameters": float(sum(p.numel() for p in made(name, 0).parameters())),
            }
            plain, sized = (suggest(lr=rate, total_steps=steps, **more).options() for more in ({}, sizes))
            trials = {"adana": plain, "adana, sized": sized}
            trials |= {f"adana, omega {omega:g}": plain | {"weight_decay": Meant(omega)} for omega in options.omegas}
            for optimizer, numbers in trials.items():
                if (name, steps, optimizer) not in have:
                    note(name, steps, optimizer, numbers, [trained(name, s, steps, trial(numbers)) for s in SEEDS])
            options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
