"""Optimizers by their command-line names."""

from __future__ import annotations

import importlib
import inspect
from functools import partial
from typing import Any

import torch
from torch import nn

from adana import catalog
from adana.optim.groups import param_groups

__all__ = ["build_optimizer", "optimizer_class"]


def optimizer_class(name: str) -> Any:
    """The torch class behind a name.

    Raises:
        ValueError: there is no optimizer of that name, or it can be planned only.
    """
    entry = catalog.find(name)
    if not entry.torch:
        raise ValueError(f"{name} can be planned only, not trained yet: choose from {', '.join(catalog.trainable())}")
    return getattr(importlib.import_module(entry.torch_module), entry.torch_class)


def build_optimizer(
    name: str, model: nn.Module, *, lr: float, options: dict[str, Any], total_steps: float | None = None
) -> torch.optim.Optimizer:
    """The named optimizer over ``param_groups(model)``: decay on hidden matrices and the head only.

    Args:
        name: one of :func:`adana.catalog.trainable`.
        model: what to train.
        lr: peak learning rate.
        options: further constructor keywords; ``betas`` of a Muon go to its AdamW fallback.
        total_steps: horizon T, where the options do not say.

    Raises:
        ValueError: unknown name, or an option value the optimizer refuses.
        TypeError: an option the optimizer does not have.
    """
    kind, entry = optimizer_class(name), catalog.find(name)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    options.setdefault("total_steps", total_steps)
    groups = param_groups(model, weight_decay=options.pop("weight_decay", 4.0) if entry.decay else 0.0)
    if not entry.decay:
        groups = [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]
    if entry.fallback and "betas" in options:
        fallback = optimizer_class(entry.fallback)
        options["fallback"] = partial(fallback, betas=options.pop("betas"))
    taken = [key for key in inspect.signature(kind).parameters if key not in ("params", "lr")]
    for key in options:
        if key not in taken:
            raise TypeError(f"no option {key!r}: choose from {', '.join(taken)}")
    optimizer: torch.optim.Optimizer = kind(groups, lr=lr, **{**entry.fixed, **options})
    return optimizer
