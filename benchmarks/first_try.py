"""What somebody sees who tries ADana for AdamW: small models after GPT-2, Llama and Qwen3, runs of 100 steps and more.

AdamW's learning rate (``torch.optim``, weight decay 0.1 on everything) is searched by factors of 2 on seed 100. ADana
gets ``model.parameters()`` and what ``adana.suggest`` says for that rate: without tokens and parameters (omega is the
default), and with them. Then all run on seeds 0 to 2.

    python benchmarks/first_try.py --out results/first-try.json
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
from adana.suggestions import Suggestion
from literal_swap import SEEDS, adamw, best_rate, trained
from small_models import BATCH, SEQUENCE, made

FIRST, LAST = "adana", "adana, sized"


def trial(found: Suggestion) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: ADana(model.parameters(), **found.options())


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["gpt2", "llama", "qwen3"])
    parser.add_argument("--steps", nargs="+", type=int, default=[100, 300, 1000, 3000])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"runs": []}
    found["command"] = "python benchmarks/first_try.py " + " ".join(argv)
    have = {(run["model"], run["steps"]) for run in found["runs"] if run["optimizer"] == LAST}

    def note(model: str, steps: int, optimizer: str, numbers: dict[str, float], losses: list[float]) -> None:
        run = {"model": model, "steps": steps, "optimizer": optimizer, "options": numbers, "losses": losses}
        found["runs"].append(run)
        print(f"{model:6} {steps:5} {optimizer:12} {numbers}", " ".join(f"{x:.4f}" for x in losses), flush=True)

    for steps in options.steps:
        for name in options.models:
            if (name, steps) in have:  # an interrupted command goes on
                continue
            rate = best_rate(name, steps, adamw, 0.008)
            note(name, steps, "adamw", {"lr": rate}, [trained(name, s, steps, adamw(rate)) for s in SEEDS])
            sizes = {
                "tokens": float(steps * BATCH * SEQUENCE),
                "parameters": float(sum(p.numel() for p in made(name, 0).parameters())),
            }
            for optimizer, more in ((FIRST, {}), (LAST, sizes)):
                said = suggest(lr=rate, total_steps=steps, **more)
                note(name, steps, optimizer, said.options(), [trained(name, s, steps, trial(said)) for s in SEEDS])
            options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
