"""Optimizers by their command-line names."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from torch import nn

from adana import optim
from adana.optim.groups import param_groups

__all__ = ["OPTIMIZERS", "build_optimizer"]

# A plain name of a baseline is its usual form with constant decay; "-dw" decays weights in log time.
OPTIMIZERS: dict[str, Any] = {
    "adamw": partial(optim.AdamW, decay="constant"),
    "adamw-dw": optim.AdamW,
    "nadamw": partial(optim.AdamW, nesterov=True, decay="constant"),
    "nadamw-dw": partial(optim.AdamW, nesterov=True),
    "ademamix": partial(optim.AdEMAMix, decay="constant"),
    "ademamix-dw": optim.AdEMAMix,
    "muon": partial(optim.Muon, decay="constant"),
    "muon-dw": optim.Muon,
    "log-muon": partial(optim.Muon, log_time=True),
    "log-adamw": optim.LogAdamW,
    "log-nadamw": optim.LogNAdamW,
    "adana": optim.ADana,
    "dana-mk4": optim.DanaMK4,
    "dana-star": optim.DanaStar,
    "dana-star-mk4": optim.DanaStarMK4,
}


def build_optimizer(
    name: str, model: nn.Module, *, lr: float, options: dict[str, Any], total_steps: float | None = None
) -> torch.optim.Optimizer:
    """The named optimizer over ``param_groups(model)``: decay on hidden matrices and the head only.

    Args:
        name: one of ``OPTIMIZERS``.
        model: what to train.
        lr: peak learning rate.
        options: further constructor keywords; ``betas`` of a Muon go to its AdamW fallback.
        total_steps: horizon T, where the options do not say.

    Raises:
        ValueError: unknown name, or an option value the optimizer refuses.
        TypeError: an option the optimizer does not have.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}: choose from {', '.join(OPTIMIZERS)}")
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    options.setdefault("total_steps", total_steps)
    groups = param_groups(model, weight_decay=options.pop("weight_decay", 4.0))
    if "muon" in name and "betas" in options:
        options["fallback"] = partial(optim.AdamW, betas=options.pop("betas"))
    taken = [key for key in inspect.signature(OPTIMIZERS[name]).parameters if key not in ("params", "lr")]
    for key in options:
        if key not in taken:
            raise TypeError(f"no option {key!r}: choose from {', '.join(taken)}")
    optimizer: torch.optim.Optimizer = OPTIMIZERS[name](groups, lr=lr, **options)
    return optimizer
