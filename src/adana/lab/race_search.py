"""The search that gives every optimizer of the race its settings: one rule and one budget for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adana import catalog
from adana.files import read_json
from adana.lab.cells import race_start
from adana.lab.executors import Executor
from adana.lab.results import Results
from adana.lab.sweep import Best, Runs, wait_for_all
from adana.train.folder import Result
from adana.train.recipe import Recipe

__all__ = ["RULE", "RUNS", "race_search", "search", "tuned_from"]

RUNS = 16
"""Runs of every optimizer's search."""

CONFIRMING = 4
"""Runs of these that repeat the best points on two more seeds."""

RULE = (
    "every optimizer has the same number of runs over its learning rate, its weight decay and one option of its own "
    "with three values: coordinate search, then the best points again on two more seeds"
)

OMEGA = 2.0

FOREIGN_DECAY = 0.05
"""The first weight decay above 0 that is tried of somebody else's optimizer whose default is 0."""


@dataclass(frozen=True)
class _Point:
    """A place of the grid: half octaves of the learning rate, octaves of omega, index of the own option's value."""

    lr: int = 0
    omega: int = 0
    own: int = 0

    def moved(self, axis: str, by: int) -> _Point:
        return replace(self, **{axis: getattr(self, axis) + by})


# Coarse learning rates first (factor 2), then omega and the own option, then learning rates by the root of 2.
_MOVES = (("lr", 2), ("omega", 1), ("own", 1), ("lr", 1))


def search(
    base: Recipe,
    run: Callable[[Sequence[Recipe]], Sequence[float]],
    *,
    runs: int = RUNS,
    near: Best | None = None,
) -> Best:
    """Search one optimizer with a budget of runs.

    The grid has learning rates ``start 2^(k/2)``, weight decays ``omega = 2 2^j`` and the values of its own option
    (``own`` of its entry in :mod:`adana.catalog`).
    From the best point so far both neighbours along one axis are run, and again while the best moves; then along the
    next axis, in the order learning rate by factor 2, omega, own option, learning rate by the root of 2, and from the
    first again, until no neighbour is left or the budget less :data:`CONFIRMING` is spent. What remains repeats the
    best points, best first, on two more seeds each, and the lowest mean over three seeds wins. A budget below
    ``CONFIRMING + 3`` is spent on exploring alone.

    Args:
        base: the setting; its ``lr`` is where the grid starts, its seed the first of the three.
        run: final losses of several recipes; infinite where a run diverged.
        runs: the budget, at least 3.
        near: the end of another search, of another horizon say, to begin at; None begins at the rate of ``base``, at
            omega 2 and the middle value of the own option.

    Returns:
        The best point. It is bracketed where both neighbours of its learning rate were run and are no better.

    Raises:
        ValueError: a budget too small to search and confirm.
    """
    if runs < 3:
        raise ValueError(f"a search needs at least 3 runs, a point and both its neighbours; got {runs}")
    entry = catalog.find(base.optimizer)
    own = entry.own
    middle = len(own) // 2
    first = _Point()
    start = base.lr
    if near is not None:
        start = near.lr
        # Read from JSON, a pair of betas is a list.
        known = {name: tuple(x) if isinstance(x, list) else x for name, x in near.options.items()}
        omega = known.get("weight_decay")
        first = _Point(
            omega=0
            if omega is None
            else next(k for k in range(-16, 17) if _decay(entry, k) == {"weight_decay": omega}),
            own=next(i for i, option in enumerate(own) if option.items() <= known.items()) - middle,
        )
    assert start is not None

    def recipe(point: _Point) -> Recipe:
        options = {**(_decay(entry, point.omega) or {}), **own[middle + point.own]}
        return replace(base, lr=start * 2.0 ** (point.lr / 2), options=options)

    losses: dict[_Point, float] = {}

    def evaluate(points: list[_Point]) -> None:
        losses.update(zip(points, map(float, run([recipe(point) for point in points]))))

    def best() -> _Point:
        return min(losses, key=lambda point: (losses[point], point.lr, point.omega, point.own))

    def unseen(axis: str, step: int) -> list[_Point]:
        beside = [best().moved(axis, by) for by in (-step, step)]
        if axis == "omega":
            beside = [point for point in beside if _decay(entry, point.omega) is not None]
        return [point for point in beside if point not in losses and 0 <= middle + point.own < len(own)]

    explored = runs - CONFIRMING if runs >= CONFIRMING + 3 else runs
    evaluate([first])
    moving = True
    while moving and len(losses) < explored:
        moving = False
        for axis, step in _MOVES:
            while beside := unseen(axis, step)[: explored - len(losses)]:
                moving = True
                evaluate(beside)

    ranked = sorted((loss, i, point) for i, (point, loss) in enumerate(losses.items()) if loss < math.inf)
    if not ranked:
        return Best(base.optimizer, recipe(first).options, start, None, 1, False, base.heads)
    candidates = [point for _, _, point in ranked[: (runs - len(losses)) // 2]]
    means, winner = losses, ranked[0][2]
    if candidates:
        more = run([replace(recipe(point), seed=base.seed + k) for point in candidates for k in (1, 2)])
        means = {point: (losses[point] + more[2 * i] + more[2 * i + 1]) / 3 for i, point in enumerate(candidates)}
        winner = min(candidates, key=lambda point: means[point])
    found = recipe(winner)
    assert found.lr is not None
    bracketed = all(
        any(losses.get(winner.moved("lr", side * step), -math.inf) >= losses[winner] for step in (1, 2))
        for side in (-1, 1)
    )
    loss = means[winner] if math.isfinite(means[winner]) else None
    return Best(base.optimizer, found.options, found.lr, loss, 3 if candidates else 1, bracketed, base.heads)


def _decay(entry: catalog.Optimizer, k: int) -> dict[str, float] | None:
    """Weight decay at a place of the grid, None where there is none.

    Somebody else's is in its own unit: its default times ``2^k``, or where that is 0, that and ``0.05 2^(k-1)``.
    """
    if entry.decay is not None:
        return {"weight_decay": OMEGA * 2.0**k}
    if not entry.foreign or "weight_decay" not in entry.grids:
        return None
    usual = float(entry.options["weight_decay"].default)
    if usual > 0:
        return {"weight_decay": usual * 2.0**k}
    return None if k < 0 else {"weight_decay": 0.0 if k == 0 else FOREIGN_DECAY * 2.0 ** (k - 1)}


def race_search(
    setting: Recipe,
    optimizers: Sequence[str],
    executor: Executor,
    output: Path,
    *,
    runs: int = RUNS,
    near: Mapping[str, Best] | None = None,
    command: str = "",
    anew: bool = False,
    on_submit: Callable[[int], None] = lambda count: None,
    on_run: Callable[[Recipe, Result], None] = lambda recipe, result: None,
    on_best: Callable[[Best], None] = lambda best: None,
) -> list[Best]:
    """Search every named optimizer on one setting, all of them sharing the executor.

    Writes ``<output>.csv`` (a row per run, rewritten after each) and, at the end, ``<output>.json`` (the best points
    and the command). Runs that are done are read from their folders, so the same command goes on.

    Args:
        setting: what all runs share.
        optimizers: names.
        executor: where runs run.
        output: where the results go, without ``.csv`` and ``.json``.
        runs: the budget of each search.
        near: where the search of an optimizer begins, by its name: see :func:`search`.
        command: what made it.
        anew: whether the results of another search may be replaced.
        on_submit: called with how many runs were asked for.
        on_run: called with every run that has ended, once.
        on_best: called with the end of every search.

    Raises:
        KeyboardInterrupt: it was interrupted; finished runs are kept.
    """
    near = near or {}
    searched = {"rule": RULE, "runs": runs, "setting": setting.identity(), "optimizers": sorted(optimizers)}
    searched |= {"near": {name: [best.lr, best.options] for name, best in sorted(near.items())}} if near else {}
    results = Results(output, searched | {"seed": setting.seed}, command, anew=anew)
    table = Runs(executor, output, on_submit=on_submit, on_run=on_run)

    def run(recipes: Sequence[Recipe]) -> list[float]:
        found = table.run(recipes)
        return [math.inf if result.final_loss is None else result.final_loss for result in found]

    def one(name: str) -> Best:
        found = search(replace(setting, optimizer=name, lr=race_start(name)), run, runs=runs, near=near.get(name))
        on_best(found)
        return found

    with ThreadPoolExecutor(max_workers=min(len(optimizers), 4)) as threads:
        futures = [threads.submit(one, name) for name in optimizers]
        try:
            wait_for_all(futures)
        except BaseException:
            executor.stop()
            raise
    bests = [future.result() for future in futures]
    found = {"rule": RULE, "runs": runs, "setting": asdict(setting), "finished": True}
    results.write(found | {"best": [asdict(best) for best in bests]})
    return bests


def tuned_from(results: Path) -> dict[str, Any]:
    """What a search's ``.json`` means for the race: the content of ``tuned.json``."""
    found = read_json(results)
    names = ("heads", "layers", "seq_len", "batch_size", "steps")
    lanes = {best["optimizer"]: {"lr": best["lr"], "options": best["options"]} for best in found["best"]}
    return {"setting": {name: found["setting"][name] for name in names}, "lanes": lanes}
