"""What weight decay does to a trained model: a small Llama-like model, trained on one text and then on another.

The first text is code (the standard library), the second its comments and docstrings. ADana trains on the first with
omega 1; then each line below trains a copy on the second, with a learning rate that falls by the cosine schedule.

    python benchmarks/fine_tuning.py --out results/fine-tuning.json
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adana import ADana, omega_from_adamw, param_groups, schedules
from small_models import english, library, made, text_batch, validation_loss

MODEL, FIRST, SECOND, LR = "llama", 300, 150, 1e-3
COUPLED = 0.1


def train(model: nn.Module, tokens: Any, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> None:
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(schedules.gamma(step, steps)))
    for step in range(steps):
        model.loss(text_batch(tokens, step=step, seed=seed)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()


def adana(omega: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: ADana(param_groups(model, weight_decay=omega), lr=0.4 * LR, total_steps=SECOND)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=COUPLED)


WAYS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "adamw, weight decay 0.1": adamw,
    "adana, omega 0": adana(0.0),
    "adana, omega 0.015 (AdamW's)": adana(omega_from_adamw(COUPLED, LR, SECOND)),
    "adana, omega 0.5": adana(0.5),
    "adana, omega 1": adana(1.0),
    "adana, omega 4": adana(4.0),
}


def kept(before: list[Tensor], model: nn.Module) -> float:
    """The share of the old weights in the new ones: the projection, over all matrices of the blocks."""
    after = [p.detach() for n, p in model.named_parameters() if n.startswith("blocks") and p.ndim > 1]
    return float(sum((a * b).sum() for a, b in zip(after, before, strict=True)) / sum((b * b).sum() for b in before))


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    old, (new, held_out) = library(), english()
    lines: dict[str, list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        trained = made(MODEL, seed)
        train(trained, old.train, ADana(param_groups(trained, 1.0), lr=0.004, total_steps=FIRST), FIRST, seed)
        start = {"new": validation_loss(MODEL, trained, held_out), "old": validation_loss(MODEL, trained)}
        lines.setdefault("before", []).append({**start, "kept": 1.0})
        before = [p.detach().clone() for n, p in trained.named_parameters() if n.startswith("blocks") and p.ndim > 1]
        for way, build in WAYS.items():
            model = copy.deepcopy(trained)
            train(model, new, build(model), SECOND, seed)
            losses = {"new": validation_loss(MODEL, model, held_out), "old": validation_loss(MODEL, model)}
            lines.setdefault(way, []).append({**losses, "kept": kept(before, model)})
            print(seed, way, {name: round(x, 4) for name, x in lines[way][-1].items()}, flush=True)
        found = {"command": "python benchmarks/fine_tuning.py " + " ".join(argv), "runs": lines}
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
