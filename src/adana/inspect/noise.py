"""How noisy a run's gradients are: the gradient noise scale, what momentum makes of it, and alpha~ at other batches.

The noise scale is that of :mod:`adana.inspect.gradient_noise`, for each kind of parameter along a run's checkpoints.
"""

import contextlib
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adana import catalog, rules
from adana.inspect.gradient_noise import average_weights, check_enough
from adana.inspect.model_noise import Kind, of_model
from adana.inspect.optimizer import with_state
from adana.inspect.runs import Kept, open_run
from adana.optim.base import FamilyOptimizer
from adana.optim.storage import readable
from adana.scaling.damping import BATCH_EXPONENT, BATCH_TOKENS
from adana.train import checkpoint as checkpoints
from adana.train.loop import Interrupted
from adana.train.recipe import Execution, Recipe, load_data, read_recipe
from adana.train.run import train as train_run

__all__ = ["Advice", "KindNoise", "NoiseScales", "NoiseSnapshot", "noise"]

MEASURED = (BATCH_TOKENS, 16 * BATCH_TOKENS)
"""Tokens per step between which the paper measured the damping scale (Section H.1)."""
CHECKPOINTS_KEPT = 4


@dataclass(frozen=True)
class KindNoise:
    """Signal and noise of one kind of parameter at one step; None is what cannot be told, or is not there.

    Attributes:
        kind: hidden, embedding, head or other; all for all of them together.
        parameters: how many.
        signal: squared norm of the expected gradient.
        noise: trace of the covariance of one sequence's gradient.
        scale: noise / signal, in sequences: the batch whose noise is as large as the gradient.
        low: end of its 95 % interval.
        high: the other end; None where the signal may be 0.
        scale_tokens: the scale in tokens.
        batch_snr: squared signal-to-noise ratio of the gradient of one step, ``batch_size / scale``.
        momentum_batches: independent batches that the momentum is worth: squared sum of its weights over the sum of
            their squares.
        momentum_snr: squared signal-to-noise ratio of the momentum: its squared norm over that of the noise in it, less
            1. The noise is that of now, and the clipping of gradients too.
        momentum_snr_still: what the ratio would be, had the gradient always been that of now: ``batch_snr *
            momentum_batches``.
        momentum_cosine: cosine between the momentum and the expected gradient of now. Below 0 where steps along the
            momentum have gone too far.
    """

    kind: str
    parameters: int
    signal: float
    noise: float
    scale: float | None
    low: float | None
    high: float | None
    scale_tokens: float | None
    batch_snr: float | None
    momentum_batches: float | None = None
    momentum_snr: float | None = None
    momentum_snr_still: float | None = None
    momentum_cosine: float | None = None


@dataclass(frozen=True)
class NoiseSnapshot:
    """All kinds of parameters after so many steps.

    Attributes:
        step: updates done.
        loss: mean over the sequences that were looked at.
        kinds: all together first.
    """

    step: int
    loss: float
    kinds: list[KindNoise]


@dataclass(frozen=True)
class Advice:
    """The damping scale at a batch.

    Attributes:
        batch_tokens: tokens per step.
        over_scale: the batch over the noise scale of the last step; None where that cannot be told.
        damping_scale: the run's alpha~ times the change of batch to the 0.33; None for a rule without alpha~.
        extrapolated: whether the run's batch or this one lies outside those at which the exponent was measured.
    """

    batch_tokens: int
    over_scale: float | None
    damping_scale: float | None
    extrapolated: bool


@dataclass(frozen=True)
class NoiseScales:
    """What :func:`noise` found.

    Attributes:
        run: as it was named.
        optimizer: its name.
        batch_size: sequences per step of the run.
        seq_len: tokens per sequence.
        sequences: how many were looked at, of the training text.
        unit: sequences of each gradient: 1 for single ones, more for the estimator of two batch sizes.
        snapshots: in the order of steps.
        advice: for the run's batch and others.
    """

    run: str
    optimizer: str
    batch_size: int
    seq_len: int
    sequences: int
    unit: int
    snapshots: list[NoiseSnapshot]
    advice: list[Advice]


def noise(
    run: str,
    *,
    sequences: int = 128,
    unit: int = 1,
    groups: int = 8,
    steps: Sequence[int] = (),
    batch_tokens: Sequence[int] = (),
    train: int = 0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> NoiseScales:
    """Gradient noise scale along a run, by kind of parameter, and the damping scale at other batches.

    Gradients of sequences of the training text that do not overlap, at the weights of each checkpoint and of the start.
    Memory is that of the model, and of ``groups`` gradients.

    Args:
        run: Folder of a run of adana train, one of its checkpoints, or the JSON file of a recipe.
        sequences: Sequences to take gradients of. The interval narrows with their number.
        unit: Sequences of each gradient. 1 takes single ones (torch.func); more is McCandlish et al.'s estimator of two
            batch sizes, these and all, and the only one for models with experts.
        groups: The interval is over so many groups of sequences.
        steps: Which checkpoints, by their steps (0 is the start); default all.
        batch_tokens: Batches to advise on, in tokens per step; default 1/4, 1, 4 and 16 times the run's.
        train: Of a recipe's file: train so many steps first, in a temporary folder.
        seed: Which sequences.
        progress: Is called with a line for each checkpoint.

    Returns:
        A snapshot for each checkpoint, and advice.

    Raises:
        ValueError: neither a run nor a recipe, no such checkpoint, too little text, or an argument out of range.
        OSError: a file cannot be read.

    Source: McCandlish et al. 2018, arXiv 1812.06162; the paper's Sections H.1 and N.
    """
    _check(sequences, unit, groups, batch_tokens)
    with contextlib.ExitStack() as stack:
        kept = _opened(run, train, stack, progress)
        recipe = kept.recipe
        chosen = kept.chosen(steps)
        windows = _windows(recipe, run, sequences // unit * unit, unit * groups, seed)
        found = []
        for step in chosen:
            if progress is not None:
                progress(f"step {step:,}: gradients of {sequences:,} sequences")
            found.append(_snapshot(kept, step, windows, unit, groups))
    asked = list(batch_tokens) or [
        max(1, recipe.tokens_per_step // 4),
        *(recipe.tokens_per_step * k for k in (1, 4, 16)),
    ]
    scale = found[-1].kinds[0].scale_tokens
    return NoiseScales(
        run,
        recipe.optimizer,
        recipe.batch_size,
        recipe.seq_len,
        len(windows),
        unit,
        found,
        [_advice(recipe, tokens, scale) for tokens in asked],
    )


def _check(sequences: int, unit: int, groups: int, batch_tokens: Sequence[int]) -> None:
    if unit < 1 or groups < 4:
        raise ValueError(f"unit must be at least 1 and groups at least 4, got {unit} and {groups}")
    check_enough(sequences, unit, groups)
    if any(tokens < 1 for tokens in batch_tokens):
        raise ValueError(f"batch_tokens must be at least 1, got {list(batch_tokens)}")


def _opened(run: str, steps: int, stack: contextlib.ExitStack, progress: Callable[[str], None] | None) -> Kept:
    """A run as it is kept; of a recipe its start, or a run of so many steps that is gone afterwards."""
    if not Path(run).is_file():
        if steps:
            raise ValueError(f"train={steps} is for a recipe's file; {run} is a folder")
        return open_run(run)
    recipe = read_recipe(Path(run))
    if not steps:
        return Kept(run, recipe, {})
    if not 1 <= steps <= recipe.total_steps or recipe.lr is None:
        raise ValueError(
            f"train must lie between 1 and the recipe's {recipe.total_steps:,} steps, got {steps}"
            if recipe.lr is not None
            else f"{run} has no learning rate: give it an lr to train with"
        )
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
    done = 0

    def report(line: Any) -> None:
        nonlocal done
        done = line.step
        if progress is not None and (done == steps or done % max(1, steps // 10) == 0):
            progress(f"training: step {done:,} of {steps:,}, loss {line.train_loss:.4f}")

    every = -(-steps // CHECKPOINTS_KEPT)
    execution = Execution(log_every=None, save_every=every, keep_last=CHECKPOINTS_KEPT)
    with contextlib.suppress(Interrupted):
        train_run(recipe, folder, execution=execution, report=report, should_stop=lambda: done >= steps)
    trained = open_run(str(folder))
    return Kept(run, trained.recipe, trained.folders)


def _windows(recipe: Recipe, run: str, sequences: int, least: int, seed: int) -> Tensor:
    """Sequences of the training text that do not overlap, (sequences, seq_len + 1)."""
    stream = load_data(recipe).train
    places = (len(stream) - 1) // recipe.seq_len
    if places < sequences:
        raise ValueError(
            f"the text of {run} is too short: {sequences} sequences that do not overlap need "
            f"{sequences * recipe.seq_len + 1:,} tokens, its training part has {len(stream):,}; pass more text, or "
            f"fewer --sequences (at least {2 * least})"
        )
    chosen = np.random.default_rng(seed).choice(places, sequences, replace=False)
    return torch.from_numpy(stream.windows(chosen * recipe.seq_len, recipe.seq_len + 1))


def _snapshot(kept: Kept, step: int, windows: Tensor, unit: int, groups: int) -> NoiseSnapshot:
    model = kept.model(step)
    found = of_model(model, windows, unit=unit, groups=groups)
    whole, *kinds = found.kinds
    rows = [_row(kept.recipe, whole)]
    step_norm = whole.noise.signal + whole.noise.noise / kept.recipe.batch_size  # expected, squared, of a gradient
    clipping = min(1.0, kept.recipe.clip_norm**2 / step_norm) if step_norm > 0 else 1.0
    momenta = _momenta(kept, step, model, {kind.name: kind.parameters for kind in kinds})
    for kind in kinds:
        row = _row(kept.recipe, kind)
        if kind.name in momenta:
            (total, squares), vector = momenta[kind.name]
            norm = float(vector.double().norm())
            left = clipping * squares * kind.noise.noise / kept.recipe.batch_size
            batches = total * total / squares if squares else None
            aligned = None if kind.gradients is None or not norm else kind.gradients.dot(vector) / norm
            row = replace(
                row,
                momentum_batches=batches,
                momentum_snr=norm * norm / left - 1 if left > 0 else None,
                momentum_snr_still=row.batch_snr * batches if row.batch_snr and batches else None,
                momentum_cosine=None
                if aligned is None or kind.noise.signal <= 0
                else aligned / math.sqrt(kind.noise.signal),
            )
        rows.append(row)
    return NoiseSnapshot(step, found.loss, rows)


def _momenta(
    kept: Kept, step: int, model: nn.Module, kinds: Mapping[str, Sequence[str]]
) -> dict[str, tuple[tuple[float, float], Tensor]]:
    """The momentum of each kind, and sums of the weights of its average; of our optimizers, where one was kept."""
    if step not in kept.folders:
        return {}
    found = checkpoints.read(kept.folders[step])
    made = with_state(found, kept.recipe, model) if "groups" in found.facts else None
    if not isinstance(made, FamilyOptimizer):
        return {}
    weights: dict[str, tuple[float, float]] = {}
    for group in made.param_groups:
        if group["kind"] not in weights:
            rule = rules.rule(group["rule"], group.get("form", "paper"))
            scalars = (rule.scalars(t, group) for t in range(step))
            updates = ((float(s["retain"] if "retain" in s else 1 - s["weight"]), float(s["weight"])) for s in scalars)
            weights[group["kind"]] = average_weights(updates)
    momenta: dict[str, tuple[tuple[float, float], Tensor]] = {}
    for kind, names in kinds.items():
        parts = []
        for name in names:
            state = readable(made.state[model.get_parameter(name)])
            parts.append(state.get("exp_avg", state.get("momentum_buffer")))
        if all(part is not None for part in parts):
            momenta[kind] = weights[kind], torch.cat([x.float().flatten() for x in parts if x is not None])
    return momenta


def _row(recipe: Recipe, kind: Kind) -> KindNoise:
    found = kind.noise
    return KindNoise(
        kind.name,
        kind.elements,
        found.signal,
        found.noise,
        found.scale,
        found.low,
        found.high,
        None if found.scale is None else found.scale * recipe.seq_len,
        recipe.batch_size / found.scale if found.scale else None,
    )


def _advice(recipe: Recipe, tokens: int, scale: float | None) -> Advice:
    entry = catalog.find(recipe.optimizer)
    own, damping = recipe.tokens_per_step, None
    if entry.damped:
        usual = recipe.options.get("damping_scale", entry.options["damping_scale"].default)
        damping = float(usual) * (tokens / own) ** BATCH_EXPONENT
    low, high = MEASURED
    outside = not (low <= tokens <= high and low <= own <= high)
    return Advice(tokens, tokens / scale if scale else None, damping, outside and tokens != own)
