"""The cells of a sweep: a recipe for every optimizer, size and combination of options, each with its own search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from adana.scaling.published import nearest_learning_rate_law
from adana.train.optimizers import OPTIMIZERS
from adana.train.recipe import Recipe

__all__ = ["COUPLED", "COUPLED_DECAYS", "OMEGAS", "STARTS", "TAKES", "at", "cells", "decays_constantly", "start_of"]

OMEGAS = (1.0, 2.0, 4.0, 8.0)
"""Weight decays of the paper's grid (35), for decay in log time."""

COUPLED_DECAYS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weight decays of the paper's grid (34), for constant decay: coupled values."""

COUPLED = "coupled_weight_decay"
"""An option of a cell in place of ``weight_decay``: omega is this times the learning rate times T."""

_MUONS = ("muon", "muon-dw", "log-muon")
_ADAMS = ("adamw", "adamw-dw", "nadamw", "nadamw-dw")
_ADEMAMIX = ("ademamix", "ademamix-dw")
_MK4 = ("dana-mk4", "dana-star-mk4")
_FAMILY = ("adana", "dana-star", *_MK4)

TAKES: dict[str, tuple[str, ...]] = {
    "weight_decay": tuple(OPTIMIZERS),
    "kappa": (*_FAMILY, *_ADEMAMIX, "log-muon"),
    "clip_snr": _MK4,
    "damping_scale": (*_FAMILY, "log-muon"),
    "beta2": (*_ADAMS, *_MUONS, *_ADEMAMIX),
}
"""Which optimizers a grid's option is for. beta2 is the baselines' (Muon's AdamW's): the family's follows the clock."""

# Where searches start, as powers of two, from the race's (2 heads, 1,500 steps); they move wherever the minimum is.
STARTS = {"adamw-dw": -8, "adamw": -8, "nadamw-dw": -8, "nadamw": -8, "muon-dw": -6, "muon": -6, "log-muon": -6}
START = -9
SMALLEST_PUBLISHED = 7e6
BETA1 = 0.9


def decays_constantly(optimizer: str, options: Mapping[str, Any]) -> bool:
    """Whether weight decay is omega/T and not in log time.

    >>> decays_constantly("adamw", {}), decays_constantly("adamw-dw", {}), decays_constantly("adana", {})
    (True, False, False)
    """
    return str(options.get("decay", getattr(OPTIMIZERS[optimizer], "keywords", {}).get("decay", "log"))) == "constant"


def cells(
    base: Recipe,
    *,
    optimizers: Sequence[str],
    heads: Sequence[int],
    grids: Mapping[str, Sequence[float]],
    paper_decays: bool = False,
) -> list[Recipe]:
    """Every optimizer at every size with every combination of the options it takes.

    Args:
        base: what all cells share; its ``lr``, where given, starts every search.
        optimizers: names.
        heads: sizes.
        grids: values by name of :data:`TAKES`.
        paper_decays: weight decays of the paper's grids in place of the grid's: (35), for constant decay (34).

    Raises:
        ValueError: a grid that none of the optimizers takes.

    Source: Section F.1.

    >>> found = cells(Recipe(), optimizers=["adana", "adamw"], heads=[2], grids={"kappa": (0.8, 0.85)})
    >>> [(cell.optimizer, cell.options) for cell in found]
    [('adana', {'kappa': 0.8}), ('adana', {'kappa': 0.85}), ('adamw', {})]
    """
    for name in grids:
        if not set(TAKES[name]) & set(optimizers):
            raise ValueError(f"none of {', '.join(optimizers)} takes {name}: it is for {', '.join(TAKES[name])}")
    found = []
    for size, optimizer in itertools.product(heads, optimizers):
        mine: dict[str, Sequence[float]] = {name: grids[name] for name in grids if optimizer in TAKES[name]}
        if paper_decays:
            constant = decays_constantly(optimizer, base.options)
            mine.pop("weight_decay", None)
            mine = {COUPLED: COUPLED_DECAYS} | mine if constant else {"weight_decay": OMEGAS} | mine
        for values in itertools.product(*mine.values()):
            options = dict(base.options)
            for name, value in zip(mine, values):
                options.update(_option(optimizer, name, value, options))
            cell = replace(base, optimizer=optimizer, heads=size, options=options)
            found.append(replace(cell, steps=cell.total_steps))
    return found


def _option(optimizer: str, name: str, value: float, options: Mapping[str, Any]) -> dict[str, Any]:
    if name == "beta2" and optimizer not in _ADEMAMIX:
        return {"betas": (options.get("betas", (BETA1,))[0], value)}
    return {name: value}


def at(cell: Recipe, lr: float, seed: int) -> Recipe:
    """A cell's run at a learning rate.

    >>> at(Recipe("adamw", options={COUPLED: 0.1}, steps=1000), 0.004, 0).options
    {'weight_decay': 0.4}
    """
    options = dict(cell.options)
    coupled = options.pop(COUPLED, None)
    if coupled is not None:
        options["weight_decay"] = coupled * lr * cell.total_steps
    return replace(cell, lr=lr, seed=seed, options=options)


def start_of(cell: Recipe) -> float:
    """Where to start the search of a cell about which nothing is known: a power of two, as (32).

    The race's start, or what the published law says where that is less. Where there is no law the race's falls with
    the root of the size from the smallest size that was published.

    >>> start_of(Recipe("adamw")), start_of(Recipe("adamw", heads=40))
    (0.00390625, 0.000244140625)
    """
    size = cell.model_config().non_embedding_parameters
    start = 2.0 ** STARTS.get(cell.optimizer, START)
    law = nearest_learning_rate_law(
        cell.arch, cell.optimizer, cell.options.get("kappa", 0.85), batch_tokens=cell.tokens_per_step
    )
    if law is not None and law.law is not None:
        start = min(start, law.law(size))
    else:
        start *= min(1.0, math.sqrt(SMALLEST_PUBLISHED / size))
    return float(2.0 ** round(math.log2(start)))
