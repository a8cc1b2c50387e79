"""The race: same model, data and budget, every optimizer at its own tuned learning rate."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from adana.catalog import BASELINE
from adana.lab.executors import Executor, run_name
from adana.lab.race_result import Lane, RaceResult, summarize
from adana.train.folder import Result
from adana.train.recipe import Recipe

__all__ = ["is_tuned_setting", "race", "recipes", "tuned"]


def _search_results() -> dict[str, Any]:
    text = resources.files("adana.lab").joinpath("tuned.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def tuned() -> dict[str, Lane]:
    """The learning rate and options the search found for each optimizer, on the race's default setting."""
    return {name: Lane(name, **best) for name, best in _search_results()["lanes"].items()}


def is_tuned_setting(setting: Recipe) -> bool:
    """Whether the learning rates were searched on this very setting."""

    def compared(recipe: Recipe) -> dict[str, Any]:
        # The lanes say optimizer and options; a curve of more points costs nothing and changes no loss.
        apart = ("optimizer", "options", "evaluations")
        return {name: value for name, value in recipe.resolved().identity().items() if name not in apart}

    return compared(setting) == compared(Recipe(**_search_results()["setting"]))


@dataclass(frozen=True)
class _Job:
    optimizer: str
    seed: int
    horizon: float
    recipe: Recipe


def recipes(
    setting: Recipe,
    lanes: Sequence[Lane],
    *,
    seeds: Sequence[int],
    horizons: Sequence[float],
    baseline: str,
    longer: Mapping[float, Lane] | None = None,
) -> list[_Job]:
    """Every run of a race, longest first so that two workers end together."""
    jobs = []
    for own in lanes:
        for horizon in horizons if own.optimizer == baseline else (1.0,):
            lane = (longer or {}).get(horizon, own)
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
    longer: Mapping[float, Lane] | None = None,
    text: str = "",
    searched: bool = False,
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
        longer: settings of the baseline at horizons other than 1, where it has some of its own there.
        text: name of the corpus.
        searched: whether the settings of the lanes were searched on this very setting.
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
    jobs = recipes(setting, lanes, seeds=seeds, horizons=horizons, baseline=baseline, longer=longer)
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
    return summarize(
        setting,
        lanes,
        results,
        list(seeds),
        sorted(horizons),
        baseline,
        longer=longer,
        text=text,
        tuned=searched or is_tuned_setting(setting),
    )
