"""The race: same model, data and budget, every optimizer at its own tuned learning rate."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from adana.lab.executors import Executor, run_name
from adana.scaling.multiplier import compute_multiplier
from adana.train.folder import Result
from adana.train.recipe import Recipe

__all__ = ["BASELINE", "DEFAULT", "FULL", "Lane", "RaceResult", "Row", "is_tuned_setting", "race", "recipes", "tuned"]

BASELINE = "adamw-dw"
DEFAULT = (BASELINE, "adana", "dana-mk4")
FULL = (
    *DEFAULT,
    "adamw",
    "nadamw",
    "ademamix-dw",
    "muon-dw",
    "dana-star",
    "dana-star-mk4",
)


@dataclass(frozen=True)
class Lane:
    """One optimizer in the race, with what the search found for it."""

    optimizer: str
    lr: float
    options: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of the final table.

    Attributes:
        optimizer, lr, options: what ran.
        final_losses: validation loss of each seed, None where it diverged.
        diverged: (seed, step) of each diverged run.
        loss: mean over the seeds that finished, None if none did.
        spread: half the range between the seeds' losses, None with fewer than two.
        multipliers: compute multiplier against the baseline, seed by seed, None where there is none.
        multiplier, multiplier_spread: their mean and half range.
        efficiency: relative compute saved, ``multiplier - 1``.
        extrapolated: whether any seed's multiplier lies outside what the baseline was trained for.
        tokens_per_second: mean over its runs, each on its own worker.
    """

    optimizer: str
    lr: float
    options: dict[str, Any]
    final_losses: list[float | None]
    diverged: list[tuple[int, int]]
    loss: float | None
    spread: float | None
    multipliers: list[float | None]
    multiplier: float | None
    multiplier_spread: float | None
    efficiency: float | None
    extrapolated: bool
    tokens_per_second: float


@dataclass(frozen=True)
class RaceResult:
    """Everything the table, the page and ``--json`` show.

    Attributes:
        setting: the recipe all runs share.
        seeds: which seeds ran.
        text: name of the corpus; ``text_sha256`` its hash.
        baseline: name of the baseline.
        horizons: multiples of the budget the baseline was trained to the end for.
        baseline_losses: for each horizon, the final loss of each seed.
        flops: training compute of one run at the budget (6 tokens (P + n_embd V)).
        tuned: whether the setting is the one the learning rates were searched on.
        rows: the table, best loss first.
        curves: (label, seed, horizon, points) of every run, points being (step, validation loss).
    """

    setting: dict[str, Any]
    seeds: list[int]
    text: str
    text_sha256: str
    baseline: str
    horizons: list[float]
    baseline_losses: list[list[float | None]]
    flops: float
    tuned: bool
    rows: list[Row]
    curves: list[dict[str, Any]]


def _search_results() -> dict[str, Any]:
    text = resources.files("adana.lab").joinpath("tuned.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def tuned() -> dict[str, Lane]:
    """The learning rate and options the search found for each optimizer, on the race's default setting."""
    return {name: Lane(name, **best) for name, best in _search_results()["lanes"].items()}


def is_tuned_setting(setting: Recipe) -> bool:
    """Whether the learning rates were searched on this very setting."""
    known = _search_results()["setting"]
    return all(getattr(setting, name) == value for name, value in known.items()) and not setting.text


@dataclass(frozen=True)
class _Job:
    optimizer: str
    seed: int
    horizon: float
    recipe: Recipe


def recipes(
    setting: Recipe, lanes: Sequence[Lane], *, seeds: Sequence[int], horizons: Sequence[float], baseline: str
) -> list[_Job]:
    """Every run of a race, longest first so that two workers end together."""
    jobs = []
    for lane in lanes:
        for horizon in horizons if lane.optimizer == baseline else (1.0,):
            for seed in seeds:
                recipe = replace(
                    setting,
                    optimizer=lane.optimizer,
                    lr=lane.lr,
                    options=dict(lane.options),
                    seed=seed,
                    steps=round(setting.total_steps * horizon),
                )
                jobs.append(_Job(lane.optimizer, seed, horizon, recipe))
    return sorted(jobs, key=lambda job: (-job.horizon, job.seed))


def race(
    setting: Recipe,
    lanes: Sequence[Lane],
    executor: Executor,
    *,
    seeds: Sequence[int],
    horizons: Sequence[float] = (1.0, 1.5),
    baseline: str = BASELINE,
    text: str = "",
    on_start: Callable[[Mapping[str, str]], None] = lambda names: None,
    on_finish: Callable[[str, Result], None] = lambda name, result: None,
) -> RaceResult:
    """Run the race and say who needed less compute.

    Args:
        setting: model, data and budget; its ``steps`` are the budget of horizon 1.
        lanes: the optimizers; the baseline must be among them.
        executor: where runs run; finished ones are read from their folders.
        seeds: each seeds initial weights and data order, the same for every optimizer.
        horizons: multiples of the budget the baseline is trained to the end for, 1 among them.
        baseline: the optimizer the others are measured against.
        text: name of the corpus.
        on_start: called with run name -> optimizer before the first run.
        on_finish: called with the run name and its result.

    Raises:
        KeyboardInterrupt: the race was stopped; finished runs and checkpoints are kept.
        ValueError: no baseline among the lanes, or no horizon 1.
    """
    if baseline not in [lane.optimizer for lane in lanes]:
        raise ValueError(f"the race needs its baseline {baseline!r} among the optimizers")
    if 1.0 not in horizons:
        raise ValueError(f"the baseline's horizons must include 1, got {list(horizons)}")
    jobs = recipes(setting, lanes, seeds=seeds, horizons=horizons, baseline=baseline)
    on_start({run_name(job.recipe): job.optimizer for job in jobs})
    futures: dict[Future[Result | None], _Job] = {executor.submit(job.recipe): job for job in jobs}
    results: dict[tuple[str, int, float], Result] = {}
    waiting = set(futures)
    while waiting:
        # A timeout keeps Ctrl-C prompt: without one the wait cannot be interrupted on every platform.
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in done:
            job, result = futures[future], future.result()
            if result is None:
                raise KeyboardInterrupt
            results[job.optimizer, job.seed, job.horizon] = result
            on_finish(run_name(job.recipe), result)
    return _summary(setting, lanes, results, list(seeds), sorted(horizons), baseline, text)


def _half_range(values: Sequence[float]) -> float | None:
    return (max(values) - min(values)) / 2 if len(values) > 1 else None


def _summary(
    setting: Recipe,
    lanes: Sequence[Lane],
    results: Mapping[tuple[str, int, float], Result],
    seeds: list[int],
    horizons: list[float],
    baseline: str,
    text: str,
) -> RaceResult:
    flops = setting.flops
    rows = []
    for lane in lanes:
        runs = [results[lane.optimizer, seed, 1.0] for seed in seeds]
        losses = [run.final_loss for run in runs]
        finished = [loss for loss in losses if loss is not None]
        multipliers: list[float | None] = []
        extrapolated = False
        for seed, loss in zip(seeds, losses):
            line = [results[baseline, seed, horizon].final_loss for horizon in horizons]
            known = [(flops * horizon, x) for horizon, x in zip(horizons, line) if x is not None]
            found = None
            if lane.optimizer == baseline:
                multipliers.append(1.0 if loss is not None else None)
                continue
            if loss is not None and len(known) > 1:
                found = compute_multiplier([c for c, _ in known], [x for _, x in known], flops, loss)
            multipliers.append(found.multiplier if found else None)
            extrapolated |= bool(found and found.extrapolated)
        measured = [x for x in multipliers if x is not None]
        multiplier = statistics.fmean(measured) if measured else None
        seconds = max(math.fsum(run.seconds for run in runs), 1e-9)
        rows.append(
            Row(
                lane.optimizer,
                lane.lr,
                lane.options,
                losses,
                [(seed, run.diverged_at) for seed, run in zip(seeds, runs) if run.diverged_at is not None],
                statistics.fmean(finished) if finished else None,
                _half_range(finished),
                multipliers,
                multiplier,
                _half_range(measured),
                multiplier - 1 if multiplier is not None else None,
                extrapolated,
                setting.tokens_per_step * sum(run.diverged_at or setting.total_steps for run in runs) / seconds,
            )
        )
    rows.sort(key=lambda row: (row.loss is None, row.loss or 0.0))
    names = ("heads", "layers", "seq_len", "batch_size", "steps", "text", "evaluations")
    shown: dict[str, Any] = {name: getattr(setting, name) for name in names}
    shown["layers"] = setting.model_config().depth
    shown["non_embedding_parameters"] = setting.model_config().non_embedding_parameters
    shown["total_parameters"] = setting.model_config().total_parameters
    return RaceResult(
        setting=shown,
        seeds=seeds,
        text=text,
        text_sha256=next(iter(results.values())).corpus_sha256,
        baseline=baseline,
        horizons=horizons,
        baseline_losses=[[results[baseline, seed, h].final_loss for seed in seeds] for h in horizons],
        flops=flops,
        tuned=is_tuned_setting(setting),
        rows=rows,
        curves=[
            {"optimizer": name, "seed": seed, "horizon": horizon, "points": run.curve, "train": run.train_curve}
            for (name, seed, horizon), run in results.items()
        ],
    )
