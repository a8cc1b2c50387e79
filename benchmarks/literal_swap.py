"""What decays where an optimizer is given ``model.parameters()``: the literal swap and others, on four small models.

Each model's learning rates are searched by factors of 2, two on each side of the best, on seed 100: AdamW's
(``torch.optim``, weight decay 0.1 on all parameters) and ADana's at every omega (``param_groups``). Then every way is
run at ADana's on seeds 0 to 2.

    python benchmarks/literal_swap.py --omegas 0 1 4 --out results/literal-swap.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adana import ADana, param_groups, schedules
from adana.lab.search import bracketed_minimum
from small_models import MODELS, made, training_batch, validation_loss

SEEDS = (0, 1, 2)
Groups = list[dict[str, Any]]
Build = Callable[[nn.Module], torch.optim.Optimizer]


def _split(model: nn.Module, spared: Callable[[torch.Tensor], bool], omega: float) -> Groups:
    params = list(model.parameters())
    return [
        {"params": [p for p in params if not spared(p)], "weight_decay": omega},
        {"params": [p for p in params if spared(p)], "weight_decay": 0.0},
    ]


def everything(model: nn.Module, omega: float) -> Groups:
    return [{"params": list(model.parameters()), "weight_decay": omega}]


def all_matrices(model: nn.Module, omega: float) -> Groups:
    return _split(model, lambda p: p.ndim < 2, omega)


WAYS: dict[str, Callable[[nn.Module, float], Groups]] = {
    "param_groups": lambda model, omega: param_groups(model, omega),
    "everything": everything,
    "all matrices": all_matrices,
}

LITERAL = "ADana(model.parameters())"


def trained(name: str, seed: int, steps: int, build: Build) -> float:
    """Validation loss at the end: the paper's schedule, gradients clipped to a norm of 1."""
    model = made(name, seed)
    optimizer = build(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(schedules.gamma(step, steps)))
    for step in range(steps):
        model.loss(training_batch(name, step, seed)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    loss = validation_loss(name, model)
    return loss if loss == loss else float("inf")


def adamw(lr: float) -> Build:
    return lambda model: torch.optim.AdamW(model.parameters(), lr, weight_decay=0.1)


def adana(way: str, omega: float, steps: int, lr: float) -> Build:
    if way == LITERAL:
        return lambda model: ADana(model.parameters(), lr, weight_decay=omega, total_steps=steps)
    return lambda model: ADana(WAYS[way](model, omega), lr, total_steps=steps)


def best_rate(name: str, steps: int, build: Callable[[float], Build], start: float) -> float:
    def losses(lrs: Sequence[float]) -> list[float]:
        return [trained(name, 100, steps, build(lr)) for lr in lrs]

    return bracketed_minimum(losses, start, 2.0, sides=2)[0]


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--omegas", nargs="+", type=float, default=(0.5,))
    parser.add_argument("--ways", nargs="+", choices=[LITERAL, *WAYS], default=[LITERAL, *WAYS])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    steps = options.steps
    found: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"models": {}}
    found |= {"command": "python benchmarks/literal_swap.py " + " ".join(argv)}
    for name in options.models:
        if name in found["models"]:  # an interrupted command goes on
            continue
        began = time.monotonic()
        count = sum(p.numel() for p in made(name, 0).parameters())
        rate = best_rate(name, steps, adamw, 0.008)
        lines: dict[str, Any] = {"adamw": {"lr": rate, "losses": [trained(name, s, steps, adamw(rate)) for s in SEEDS]}}
        for omega in options.omegas:
            rate = best_rate(name, steps, partial(adana, "param_groups", omega, steps), 0.004)
            for way in options.ways:
                losses = [trained(name, s, steps, adana(way, omega, steps, rate)) for s in SEEDS]
                lines[f"{way}, omega {omega:g}"] = {"lr": rate, "losses": losses}
        found["models"][name] = {"parameters": count, "runs": lines}
        for way, line in lines.items():
            print(f"{name:6} {way:50} {line['lr']:.4f}", " ".join(f"{x:.4f}" for x in line["losses"]), flush=True)
        print(f"{name}: {count} parameters, {time.monotonic() - began:.0f} s", flush=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
