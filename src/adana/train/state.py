"""What a checkpoint of a run holds: tensors by name, and facts; written and taken up again in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from adana.data.dataset import TokenDataset
from adana.optim.base import FamilyOptimizer
from adana.train import checkpoint as checkpoints
from adana.train import foreign_state
from adana.train.checkpoint_index import Checkpoint, CorruptCheckpoint
from adana.train.distributed import World
from adana.train.folder import differences, in_words, other_data
from adana.train.recipe import Recipe
from adana.typed import from_mapping

__all__ = ["State", "allocate", "check_own", "packed", "restore"]

Parameters = dict[str, torch.nn.Parameter]


@dataclass
class State:
    """Where a run stands, beside its tensors."""

    step: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    train_curve: list[tuple[int, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # since the last evaluation
    logged: list[float] = field(default_factory=list)  # since the last line
    seconds: float = 0.0
    skipped: int = 0


def packed(
    recipe: Recipe,
    state: State,
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    data: TokenDataset,
    world: World,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`restore` takes up again.

    Returns:
        Weights, the optimizer's state, and every rank's random generators; and in facts what the run is, where it
        stands, and every hyper-parameter of the optimizer.
    """
    tensors = {f"model.{name}": p.detach() for name, p in parameters.items()}
    own: dict[str, Any]
    if isinstance(optimizer, FamilyOptimizer):
        for name, p in parameters.items():
            for key, value in optimizer.state.get(p, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value
        own = {"groups": [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]}
    else:
        theirs, rest = foreign_state.pack(optimizer)
        tensors |= theirs
        own = {"optimizer": rest}
    facts = {
        "recipe": recipe.to_json(),
        "data_sha256": data.sha256,
        "state": asdict(state),
        **own,
        "tokens": state.step * recipe.tokens_per_step,
        "ranks": world.ranks,
    }
    return tensors | _generators(world), facts


def check_own(found: Checkpoint, recipe: Recipe, data: TokenDataset) -> None:
    """Refuse a checkpoint of another run, or of this one on other data.

    Raises:
        CorruptCheckpoint: it is not a checkpoint that this run has written.
    """
    try:
        theirs = Recipe.from_json(found.facts["recipe"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptCheckpoint(f"{found.path} does not hold the recipe of its run ({error})") from None
    unlike = differences(recipe, theirs)
    # Until it cools down, an anytime run does not know how long it is to be.
    longer = recipe.anytime and list(unlike) == ["steps"]
    if unlike and not (longer and found.step <= min(theirs.stable_steps, recipe.stable_steps)):
        raise CorruptCheckpoint(
            f"{found.path} is a checkpoint of another run: its {in_words(unlike)}; remove it, or choose another folder"
        )
    if found.facts.get("data_sha256") not in (None, data.sha256):
        raise CorruptCheckpoint(other_data(str(found.path), found.facts["data_sha256"], recipe, data))


def restore(found: Checkpoint, parameters: Parameters, optimizer: torch.optim.Optimizer, world: World) -> State:
    """Fill weights, optimizer and generators from a checkpoint, however many ranks wrote it.

    Raises:
        CorruptCheckpoint: it does not hold what this run's checkpoints do.
        ValueError: a tensor is missing, or of another shape.
    """
    try:
        state = from_mapping(State, found.facts["state"], what="the state")
        if state.step != found.step:
            raise ValueError(f"its state is of step {state.step}")
        take_up = _theirs if "optimizer" in found.facts else _ours
        wanted, finish = take_up(found, parameters, optimizer)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise CorruptCheckpoint(f"{found.path} is corrupt: {error}") from None
    wanted |= {f"model.{name}": p.detach() for name, p in parameters.items()}
    generators = {
        name: torch.zeros(x.shape, dtype=x.dtype) for name, x in _generators(world).items() if name in found.tensors
    }
    checkpoints.load(found, wanted | generators, group=world.saving)
    finish()
    for name, x in generators.items():
        torch.set_rng_state(x) if name.endswith("cpu") else torch.cuda.set_rng_state(x, world.device)
    return state


def _ours(
    found: Checkpoint, parameters: Parameters, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], Callable[[], None]]:
    groups = found.facts["groups"]
    if len(groups) != len(optimizer.param_groups):
        raise ValueError(f"{len(groups)} groups of parameters, not {len(optimizer.param_groups)}")
    saved = [{key: tuple(x) if isinstance(x, list) else x for key, x in group.items()} for group in groups]
    wanted = {}
    for name, p in parameters.items():
        optimizer.state[p] = allocate(found, name, p)
        wanted.update({f"optimizer.{name}.{key}": x for key, x in optimizer.state[p].items()})

    def finish() -> None:
        for group, values in zip(optimizer.param_groups, saved):
            group.update(values)

    return wanted, finish


def _theirs(
    found: Checkpoint, parameters: Parameters, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], Callable[[], None]]:
    rest = found.facts["optimizer"]
    params = [p for group in optimizer.param_groups for p in group["params"]]
    wanted = foreign_state.room(rest, found.tensors, params)
    return wanted, lambda: foreign_state.unpack(optimizer, rest, wanted)


def allocate(source: Checkpoint, name: str, p: Tensor) -> dict[str, Tensor]:
    """Room for a parameter's optimizer state as a checkpoint has it: laid out as the parameter is here."""
    prefix = f"optimizer.{name}."
    state = {}
    for full, spec in source.tensors.items():
        if full.startswith(prefix):
            key = full.removeprefix(prefix)
            alike = key != "step" and spec.shape == tuple(p.shape)
            state[key] = (
                torch.zeros_like(p.detach(), dtype=spec.dtype) if alike else torch.zeros(spec.shape, dtype=spec.dtype)
            )
    return state


def _generators(world: World) -> dict[str, Tensor]:
    found = {f"rng.{world.rank}.cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        found[f"rng.{world.rank}.cuda"] = torch.cuda.get_rng_state(world.device)
    return found
