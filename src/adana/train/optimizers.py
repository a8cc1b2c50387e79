"""Optimizers by their command-line names."""

from __future__ import annotations

import importlib
import inspect
from functools import partial
from typing import Any

import torch
from torch import nn

from adana import catalog, foreign
from adana.optim.components import component_groups
from adana.optim.groups import param_groups

__all__ = ["build_optimizer", "optimizer_class", "try_optimizer"]


def optimizer_class(name: str) -> Any:
    """The torch class behind a name.

    Raises:
        ValueError: there is no optimizer of that name.
    """
    entry = catalog.find(name)
    if entry.foreign:
        return foreign.load(name)
    return getattr(importlib.import_module(entry.torch_module), entry.torch_class)


def build_optimizer(
    name: str, model: nn.Module, *, lr: float, options: dict[str, Any], total_steps: float | None = None
) -> torch.optim.Optimizer:
    """The named optimizer over ``param_groups(model)``: decay on hidden matrices and the head only.

    Args:
        name: one of :func:`adana.catalog.trainable`, or somebody else's as ``package.module:Class``.
        model: what to train.
        lr: peak learning rate.
        options: further constructor keywords; ``betas`` of a Muon go to its fallback, which may be given by its name
            on the command line. ``components`` are the factors of :func:`adana.component_groups`.
        total_steps: horizon T, where the options do not say.

    Raises:
        ValueError: unknown name, or an option value the optimizer refuses.
        TypeError: an option the optimizer does not have.
    """
    entry = catalog.find(name)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    if entry.foreign:
        return _build_foreign(entry, model, lr, options)
    kind = optimizer_class(name)
    options.setdefault("total_steps", total_steps)
    components = options.pop("components", entry.components)
    omega = options.pop("weight_decay", catalog.PAPER_OMEGA) if entry.decay else 0.0
    groups = component_groups(model, *components, weight_decay=omega) if components else param_groups(model, omega)
    if not entry.decay:
        groups = _without_decay(groups)
    if entry.fallback:
        fallback = options.get("fallback", entry.fallback)
        if fallback in catalog.trainable():
            options["fallback"] = fallback = optimizer_class(fallback)
        if "betas" in options:
            options["fallback"] = partial(fallback, betas=options.pop("betas"))
    _check_names(options, [key for key in inspect.signature(kind).parameters if key not in ("params", "lr")])
    optimizer: torch.optim.Optimizer = kind(groups, lr=lr, **{**entry.fixed, **options})
    return optimizer


def try_optimizer(
    name: str, *, lr: float, options: dict[str, Any], total_steps: float | None = None
) -> torch.optim.Optimizer:
    """Make the optimizer of a small model, so that what it refuses is refused before anything runs.

    Somebody else's takes a step as well: some refuse a parameter no earlier.

    Raises:
        ValueError, TypeError: as :func:`build_optimizer`; or it cannot take a step.
    """
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(name, model, lr=lr, options=options, total_steps=total_steps)
    if catalog.find(name).foreign:
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        try:
            optimizer.step()
        except Exception as error:
            raise ValueError(f"{name} cannot take a step: {_said(error)}") from None
    return optimizer


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _build_foreign(
    entry: catalog.Optimizer, model: nn.Module, lr: float, options: dict[str, Any]
) -> torch.optim.Optimizer:
    """Somebody else's optimizer: its weight decay, in its own unit, is on the groups that decay here, and 0 on others.

    Raises:
        ValueError: it refuses a value or the model's parameters, or what it makes is no optimizer.
        TypeError: an option that it does not have.
    """
    if not entry.more_options:
        _check_names(options, list(entry.options))
    decay = entry.options.get("weight_decay")
    groups = param_groups(model, weight_decay=options.pop("weight_decay", decay.default if decay else 0.0))
    if decay is None and not any(group["weight_decay"] for group in groups):
        groups = _without_decay(groups)
    try:
        optimizer = foreign.load(entry.name)(groups, lr=lr, **options)
    except Exception as error:  # whatever somebody's constructor raises
        raise ValueError(f"{entry.name} refuses lr={lr:g} and {options or 'no options'}: {_said(error)}") from None
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(f"{entry.name} is no optimizer: it made a {type(optimizer).__name__}")
    return optimizer


def _without_decay(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]


def _check_names(options: dict[str, Any], taken: list[str]) -> None:
    for key in options:
        if key not in taken:
            raise TypeError(f"no option {key!r}: choose from {', '.join(taken)}")
