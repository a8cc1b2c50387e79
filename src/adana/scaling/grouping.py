"""Which finished runs count for a fit: those chosen, seeds together, the best setting of each size and budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from adana.scaling.runs import SAME_HORIZON, Run

__all__ = [
    "best_loss",
    "by_label",
    "by_setting",
    "check",
    "common_keywords",
    "ladder_of",
    "one_batch",
    "select",
    "sweeps_of",
]


def select(
    runs: Sequence[Run],
    *,
    optimizers: Iterable[str] = (),
    tokens_per_parameter: float | None = None,
    searched_kappa: bool = False,
) -> list[Run]:
    """Runs of some optimizers (by name, or by name and kappa as shown) and of one horizon.

    Args:
        runs: to choose from.
        optimizers: which; none for all.
        tokens_per_parameter: the horizon; None for all.
        searched_kappa: kappa is a setting like others, of which the best counts. Else each kappa is an optimizer of
            its own.

    Raises:
        ValueError: an optimizer that has no run, or a horizon that none has.
    """
    if searched_kappa:
        runs = [replace(run, kappa=None, settings=run.settings | {"kappa": run.kappa}) for run in runs]
    wanted = list(optimizers)
    known = {run.optimizer for run in runs} | {run.label for run in runs}
    for name in wanted:
        if name not in known:
            raise ValueError(f"no runs of {name!r}: choose from {', '.join(sorted(known))}")
    kept = [run for run in runs if not wanted or run.optimizer in wanted or run.label in wanted]
    if tokens_per_parameter is None:
        return kept
    if not tokens_per_parameter > 0:
        raise ValueError(f"tokens_per_parameter must be above 0, got {tokens_per_parameter}")
    ratios = [(run, run.tokens / run.total_parameters) for run in kept if run.tokens and run.total_parameters]
    found = [run for run, ratio in ratios if abs(ratio / tokens_per_parameter - 1) <= SAME_HORIZON]
    if not found:
        seen = ", ".join(sorted({f"{ratio:.3g}" for _, ratio in ratios})) or "no horizon at all"
        raise ValueError(f"no runs of {tokens_per_parameter:g} tokens per parameter; the runs have {seen}")
    return found


def by_setting(runs: Sequence[Run]) -> dict[tuple[float | None, float | None, str], list[Run]]:
    """Seeds of one learning rate, batch and setting together."""
    groups: dict[tuple[float | None, float | None, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.lr, run.batch_tokens, run.setting), []).append(run)
    return groups


def by_label(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by optimizer, each kappa an optimizer of its own."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    return groups


def sweeps_of(runs: Sequence[Run]) -> dict[float, dict[float, float]]:
    """Final loss by learning rate by size: the mean over seeds, of the best setting."""
    sweeps: dict[float, dict[float, float]] = {}
    for run in runs:
        if run.lr is None:
            raise ValueError(f"{run.where}: no learning rate: add the column lr")
        sweeps.setdefault(run.size, {})
    for size, sweep in sweeps.items():
        for (lr, _, _), group in by_setting([run for run in runs if run.size == size]).items():
            assert lr is not None
            sweep[lr] = min(sweep.get(lr, math.inf), fmean(run.final_loss for run in group))
    return sweeps


def ladder_of(runs: Sequence[Run], formula: str) -> dict[float, list[float]]:
    """Final losses, one a seed, of the best learning rate and setting at each compute; none where all diverged."""
    at: dict[float, list[Run]] = {}
    for run in runs:
        at.setdefault(run.pfh(formula), []).append(run)
    ladder = {}
    for compute, group in sorted(at.items()):
        losses = min(
            ([run.final_loss for run in seeds] for seeds in by_setting(group).values()), key=lambda row: fmean(row)
        )
        if math.isfinite(fmean(losses)):
            ladder[compute] = losses
    return ladder


def common_keywords(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The optimizer's keywords of the best runs at each size, where they are the same at all; else None."""
    found = []
    for size in {run.size for run in runs}:
        groups = by_setting([run for run in runs if run.size == size]).values()
        best = min(groups, key=lambda group: fmean(run.final_loss for run in group))
        found.append(best[0].keywords)
    return found[0] if all(one == found[0] for one in found) else None


def check(runs: Sequence[Run]) -> None:
    """Refuse runs that can be fitted by no law: none at all, one twice, or of different texts."""
    if not runs:
        raise ValueError("no runs to fit")
    seen: dict[str, Run] = {}
    for run in runs:
        # Rows without seeds may be seeds of one another, but not to the last digit.
        told = 0.0 if run.seed is not None or math.isinf(run.final_loss) else run.final_loss
        first = seen.setdefault(repr(replace(run, where="", final_loss=told)), run)
        if first is not run and (run.seed is not None or math.isfinite(run.final_loss)):
            raise ValueError(
                f"{first.where} and {run.where} are one run twice: take one out, or say in the column "
                f"{'seed' if run.seed is None else 'options'} what tells them apart"
            )
    texts = {run.text: run.where for run in runs if run.text}
    if len(texts) > 1:
        raise ValueError(
            f"mixed texts: {' and '.join(list(texts.values())[:2])} were measured on different text, so that their "
            "losses say nothing together; name the runs of one"
        )


def one_batch(runs: Sequence[Run]) -> float | None:
    batches = {run.batch_tokens for run in runs if run.batch_tokens is not None}
    if len(batches) > 1:
        shown = ", ".join(f"{batch:g}" for batch in sorted(batches))
        raise ValueError(f"mixed batches: {shown} tokens per step; a learning-rate law holds for one")
    return batches.pop() if batches else None


def best_loss(runs: Sequence[Run]) -> float:
    """The loss of the best learning rate and setting, the mean over its seeds."""
    return min(fmean(run.final_loss for run in group) for group in by_setting(runs).values())
