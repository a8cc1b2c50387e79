"""What a run starts from: fresh weights, those of another run, or AdamW's state as well."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from adana import catalog
from adana.optim.convert import from_adamw
from adana.optim.groups import param_groups
from adana.train import checkpoint as checkpoints
from adana.train.checkpoint_index import Checkpoint
from adana.train.distributed import RunningModel, World
from adana.train.folder import CHECKPOINTS
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Recipe
from adana.train.state import Parameters, allocate

__all__ = ["make_optimizer", "source_of"]


def source_of(recipe: Recipe, world: World) -> Checkpoint | None:
    """The checkpoint that ``init_from`` names, or None.

    Raises:
        ValueError: there is none.
        CorruptCheckpoint: it is not whole.
    """
    if recipe.init_from is None:
        return None
    path = Path(recipe.init_from)
    root = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path

    def find() -> Checkpoint:
        if root.is_dir() and checkpoints.checkpoints(root):
            newest = checkpoints.read_newest(root)
            assert newest is not None
            return newest
        return checkpoints.read(root)

    return world.once(find)


def make_optimizer(
    recipe: Recipe, model: RunningModel, parameters: Parameters, source: Checkpoint | None, world: World
) -> torch.optim.Optimizer:
    """The recipe's optimizer over the model, whose weights are the source's where there is one.

    Raises:
        ValueError: the optimizer refuses an option, or the source has other tensors or is not AdamW's.
    """
    assert recipe.lr is not None
    if source is not None:
        weights: dict[str, Tensor] = {f"model.{name}": p.detach() for name, p in parameters.items()}
        checkpoints.load(source, weights, group=world.saving)
    if source is None or recipe.init_optimizer == "fresh":
        return build_optimizer(recipe.optimizer, model.model, lr=recipe.lr, options=recipe.optimizer_options())
    return _from_adamw(recipe, model, parameters, source, world)


def _from_adamw(
    recipe: Recipe, model: RunningModel, parameters: Parameters, source: Checkpoint, world: World
) -> torch.optim.Optimizer:
    """ADana with AdamW's averages and clocks; its schedules go on at AdamW's step."""
    betas = source.facts.get("groups", [{}])[0].get("betas")
    known = catalog.find(recipe.optimizer).goes_on_from
    if betas is None or source.facts["recipe"]["optimizer"] not in known:
        raise ValueError(
            f"init_optimizer='from-adamw': {source.path} was made by {source.facts['recipe']['optimizer']!r}; "
            f"use a checkpoint of {' or '.join(known)}, or init_optimizer='fresh'"
        )
    options = {"total_steps": None, **recipe.optimizer_options()}
    total_steps = (options.pop("total_steps") or recipe.total_steps) + source.step
    omega = options.pop("weight_decay", catalog.PAPER_OMEGA)
    groups, tensors = [], {}
    states: dict[int, dict[str, Tensor]] = {}
    names = {id(p): name for name, p in parameters.items()}
    for group in param_groups(model.model, weight_decay=omega):
        keys = []
        for p in group["params"]:
            key = len(states)
            states[key] = allocate(source, names[id(p)], p)
            tensors.update({f"optimizer.{names[id(p)]}.{name}": x for name, x in states[key].items()})
            keys.append(key)
        groups.append({**group, **options, "params": keys, "lr": recipe.lr, "betas": tuple(betas)})
    checkpoints.load(source, tensors, group=world.saving)
    params = [p for group in param_groups(model.model) for p in group["params"]]
    optimizer = from_adamw(
        {"state": states, "param_groups": groups},
        params=params,
        total_steps=total_steps,
        lr=recipe.lr,
        weight_decay=omega,
        peak_lr=recipe.lr,
    )
    if recipe.anytime:
        for group in optimizer.param_groups:
            group["total_steps"] = None
    return optimizer
