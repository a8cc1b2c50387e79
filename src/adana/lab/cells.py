"""The cells of a sweep: a recipe for every optimizer, size and combination of options, each with its own search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from adana import catalog
from adana.scaling.lookup import VARIANTS, VARIANTS_OF, Found, Sought, published_learning_rate
from adana.train.recipe import Recipe

__all__ = [
    "COUPLED",
    "COUPLED_DECAYS",
    "OMEGAS",
    "SEARCH_SEED",
    "at",
    "cells",
    "published_rate",
    "race_start",
    "start_of",
]

OMEGAS = (1.0, 2.0, 4.0, 8.0)
"""Weight decays of the paper's grid (35), for decay in log time."""

COUPLED_DECAYS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weight decays of the paper's grid (34), for constant decay: coupled values."""

COUPLED = "coupled_weight_decay"
"""An option of a cell in place of ``weight_decay``: omega is this times the learning rate times T."""

SMALLEST_PUBLISHED = 7e6
BETA1 = 0.9
SEARCH_SEED = 100
"""Seed of the race's searches: none of a race's own."""


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
        grids: values by name of :func:`adana.catalog.grids`.
        paper_decays: weight decays of the paper's grids in place of the grid's: (35), for constant decay (34).

    Raises:
        ValueError: a grid that none of the optimizers takes.

    Source: Section F.1.

    >>> found = cells(Recipe(), optimizers=["adana", "adamw"], heads=[2], grids={"kappa": (0.8, 0.85)})
    >>> [(cell.optimizer, cell.options) for cell in found]
    [('adana', {'kappa': 0.8}), ('adana', {'kappa': 0.85}), ('adamw', {})]
    """
    for name in grids:
        if not any(name in catalog.find(optimizer).grids for optimizer in optimizers):
            takers = ", ".join(catalog.grids().get(name, ())) or "none of ours"
            raise ValueError(f"none of {', '.join(optimizers)} takes {name}: it is for {takers}")
    found = []
    for size, optimizer in itertools.product(heads, optimizers):
        taken = catalog.find(optimizer).grids
        mine: dict[str, Sequence[float]] = {name: values for name, values in grids.items() if name in taken}
        if paper_decays:
            form = catalog.decay_form(optimizer, base.options)
            mine.pop("weight_decay", None)
            if form == "constant":
                mine = {COUPLED: COUPLED_DECAYS} | mine
            elif form is not None:
                mine = {"weight_decay": OMEGAS} | mine
        for values in itertools.product(*mine.values()):
            options = dict(base.options)
            for name, value in zip(mine, values):
                options.update(_option(optimizer, name, value, options))
            cell = replace(base, optimizer=optimizer, heads=size, options=options)
            found.append(replace(cell, steps=cell.total_steps))
    return found


def _option(optimizer: str, name: str, value: float, options: Mapping[str, Any]) -> dict[str, Any]:
    taken = catalog.find(optimizer).options
    if name == "beta2" and name not in taken:  # AdamW's second beta, or that of a fallback
        usual = taken["betas"].default if "betas" in taken else (BETA1,)
        return {"betas": (options.get("betas", usual)[0], value)}
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


def race_start(optimizer: str) -> float:
    """Where a search on the race's setting starts.

    >>> race_start("adamw"), race_start("adana")
    (0.00390625, 0.001953125)
    """
    return float(2.0 ** catalog.find(optimizer).start)


def published_rate(recipe: Recipe) -> Found:
    """The published peak learning rate of a recipe, as ``adana plan`` finds it for the same run.

    >>> found = published_rate(Recipe("adamw", heads=40, vocab_size=50304, seq_len=2048, batch_size=32, steps=None))
    >>> f"{found.value:.3g} from {found.source}"
    '0.000191 from eq. (39)'
    """
    config = recipe.model_config()
    variants = [
        name
        for name, keywords in VARIANTS.items()
        if recipe.optimizer == VARIANTS_OF and keywords.items() <= dict(recipe.options).items()
    ]
    return published_learning_rate(
        Sought(
            arch=recipe.arch,
            config=config,
            optimizer=recipe.optimizer,
            kappa=recipe.options.get("kappa", catalog.default_kappa(recipe.optimizer)),
            variant=max(variants, key=lambda name: len(VARIANTS[name]), default=""),
            batch_tokens=recipe.tokens_per_step,
            tokens_per_parameter=recipe.tokens / config.total_parameters,
            seq_len=recipe.seq_len,
        )
    )


def start_of(cell: Recipe) -> float:
    """Where to start the search of a cell about which nothing is known: a power of two, as (32).

    The race's start, or what the published law says (:func:`published_rate`) where that is less. Where there is no law
    the race's falls with the root of the size from the smallest size that was published.

    >>> start_of(Recipe("adamw")), start_of(Recipe("adamw", heads=40))
    (0.00390625, 0.000244140625)
    """
    start, published = race_start(cell.optimizer), published_rate(cell).value
    if published is not None:
        start = min(start, published)
    else:
        start *= min(1.0, math.sqrt(SMALLEST_PUBLISHED / cell.model_config().non_embedding_parameters))
    return float(2.0 ** round(math.log2(start)))
