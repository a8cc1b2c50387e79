"""What goes on inside the optimizer of a run: memory, momentum, clipping and tau, by kind of parameter."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adana.files import damaged, parse_json, read_bytes
from adana.models.architectures import architecture
from adana.train import checkpoint as checkpoints
from adana.train.checkpoint_index import Checkpoint
from adana.train.diagnostics import QUANTILES, diagnose
from adana.train.distributed import World
from adana.train.folder import CHECKPOINTS
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Recipe, read_recipe
from adana.train.state import allocate

__all__ = ["Kind", "OptimizerState", "Snapshot", "logged", "optimizer", "with_state"]

LOG = "diagnostics.jsonl"


@dataclass(frozen=True)
class Kind:
    """One kind of parameter at one step; None is what the rule does not have.

    Attributes:
        kind: hidden, embedding, head or other.
        momentum_norm: of all of its momentum together.
        memory_steps: 1/(1 - beta) of the momentum, in optimizer steps.
        memory_tokens: the same in tokens.
        alpha: weight of the momentum by the schedule.
        mfac: mean of ``|m| / (sqrt(v) + eps)`` (over tau~ in the Star rules): how much of the gradients' size the
            momentum keeps. Noise alone gives little, a steady gradient 1.
        alpha_fac: mean of ``min(alpha mfac, clip)``.
        effective_alpha: ``alpha_fac / mfac``: what is left of alpha after clipping.
        clipped: share of entries where the clip cuts.
        tau: quantiles (1, 10, 50, 90, 99 %) of how often an entry has a gradient.
    """

    kind: str
    momentum_norm: float
    memory_steps: float | None = None
    memory_tokens: float | None = None
    alpha: float | None = None
    mfac: float | None = None
    alpha_fac: float | None = None
    effective_alpha: float | None = None
    clipped: float | None = None
    tau: list[float] | None = None


@dataclass(frozen=True)
class Snapshot:
    """All kinds of parameters after one step."""

    step: int
    kinds: list[Kind]


@dataclass(frozen=True)
class OptimizerState:
    """What :func:`optimizer` found.

    Attributes:
        run: its folder.
        optimizer: its name.
        total_steps: of the run.
        tokens_per_step: of the run.
        quantiles: which ones tau has.
        snapshots: in the order of steps.
    """

    run: str
    optimizer: str
    total_steps: int
    tokens_per_step: int
    quantiles: tuple[float, ...]
    snapshots: list[Snapshot]


def optimizer(run: str) -> OptimizerState:
    """Memory, momentum, clipping and tau of a run's optimizer, by kind of parameter.

    From the lines that the run logged (adana train --diagnostics-every STEPS) and from its newest checkpoint, where it
    has one; nothing is trained.

    Args:
        run: Folder of a run of adana train.

    Returns:
        A snapshot for each logged step, and one for the checkpoint.

    Raises:
        ValueError: no run, or neither a log nor a checkpoint.
        OSError: a file cannot be read.

    Source: Section N.2, Figures 36 and 37.
    """
    folder = Path(run)
    recipe = read_recipe(folder, to_run=False)
    log = logged(folder)
    found = {} if log is None else {snapshot.step: snapshot for snapshot in log.snapshots}
    newest = checkpoints.read_newest(folder / CHECKPOINTS)
    if newest is not None and newest.step not in found:
        found[newest.step] = _snapshot({"step": newest.step, **_of(newest, recipe)}, recipe)
    if not found:
        raise ValueError(
            f"{run} has no checkpoint and no {LOG}: train with --diagnostics-every 100, or with checkpoints "
            "(adana race and sweep keep none)"
        )
    return _state(run, recipe, found)


def logged(folder: Path) -> OptimizerState | None:
    """What a run logged of its optimizer; None where it logged nothing.

    Raises:
        ValueError: a line that is damaged, or a folder without a recipe.
        OSError: a file cannot be read.
    """
    lines = _lines(folder / LOG)
    if not lines:
        return None
    recipe = read_recipe(folder, to_run=False)
    return _state(str(folder), recipe, {line["step"]: _snapshot(line, recipe) for line in lines})


def _state(run: str, recipe: Recipe, found: Mapping[int, Snapshot]) -> OptimizerState:
    snapshots = [found[step] for step in sorted(found)]
    return OptimizerState(run, recipe.optimizer, recipe.total_steps, recipe.tokens_per_step, QUANTILES, snapshots)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(read_bytes(path).splitlines(), 1):
        try:
            line = parse_json(text)
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                raise ValueError("no step")
            lines.append(line)
        except ValueError as error:
            raise damaged(path, f"line {number}: {error}") from None
    return lines


def _of(found: Checkpoint, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The numbers of a checkpoint, worked out from its averages."""
    model = architecture(recipe.arch).model(recipe.model_config(), seed=recipe.seed)
    return diagnose(with_state(found, recipe, model), World(torch.device("cpu")))


def with_state(found: Checkpoint, recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a run over a model, with the averages of a checkpoint."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run has had them
        made = build_optimizer(
            recipe.optimizer,
            model,
            lr=recipe.lr or 1.0,
            options=recipe.optimizer_options(),
            total_steps=recipe.total_steps,
        )
    tensors: dict[str, torch.Tensor] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            made.state[p] = allocate(found, name, p)
            tensors |= {f"optimizer.{name}.{key}": x for key, x in made.state[p].items()}
    checkpoints.load(found, tensors)
    return made


def _snapshot(line: Mapping[str, Any], recipe: Recipe) -> Snapshot:
    kinds = []
    for kind, numbers in line.items():
        if kind == "step" or not isinstance(numbers, Mapping) or "momentum_norm" not in numbers:
            continue
        memory, mfac, alpha_fac = (numbers.get(name) for name in ("memory", "mfac", "alpha_fac"))
        kinds.append(
            Kind(
                kind,
                numbers["momentum_norm"],
                memory_steps=memory,
                memory_tokens=None if memory is None else memory * recipe.tokens_per_step,
                alpha=numbers.get("alpha"),
                mfac=mfac,
                alpha_fac=alpha_fac,
                effective_alpha=alpha_fac / mfac if alpha_fac is not None and mfac else None,
                clipped=numbers.get("clipped"),
                tau=numbers.get("tau"),
            )
        )
    return Snapshot(line["step"], kinds)
