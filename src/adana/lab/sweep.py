"""A sweep: the paper's search for a learning rate in every cell, all cells sharing one executor (Section F.1)."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adana import catalog
from adana.files import write_text
from adana.lab.cells import COUPLED, at, start_of
from adana.lab.executors import Executor, Update, run_name
from adana.lab.results import Results
from adana.lab.search import MOST, LearningRateSearch, search_learning_rate
from adana.models import flops_per_token
from adana.scaling.laws import COMPUTE_FORMULAS
from adana.train.folder import Result
from adana.train.recipe import Recipe

__all__ = ["Best", "Interrupted", "Runs", "row", "sweep", "wait_for_all"]

OnRun = Callable[[Recipe, Result], None]


@dataclass(frozen=True)
class Best:
    """Where the search of a cell ended, or stands.

    Attributes:
        optimizer: its name.
        heads: the size.
        options: the options of the runs there, ``weight_decay`` as omega.
        coupled: the cell's coupled weight decay, where it has one: omega then follows the learning rate.
        lr: the best learning rate.
        final_loss: validation loss there, the mean over the seeds; None if every run diverged.
        seeds: how many seeds that mean is over.
        bracketed: whether worse points stood on each side of the best of the last grid.
        curvature: zeta (56), nats for an error in the learning rate of a factor e; None where it cannot be told.
    """

    optimizer: str
    options: dict[str, Any]
    lr: float
    final_loss: float | None
    seeds: int
    bracketed: bool
    heads: int
    curvature: float | None = None
    coupled: float | None = None


class Interrupted(Exception):
    """A run was stopped, and with it the search that waits for it."""


class Runs:
    """Recipes run on an executor, and a table of what came out.

    Args:
        executor: where they run.
        output: the table goes to ``<output>.csv``, anew after each run; None for none.
        on_submit: called with how many runs were asked for that were not before.
        on_run: called with every run that has ended, once.
    """

    def __init__(
        self,
        executor: Executor,
        output: Path | None = None,
        *,
        on_submit: Callable[[int], None] = lambda count: None,
        on_run: OnRun = lambda recipe, result: None,
    ) -> None:
        self.executor, self.output, self.on_submit, self.on_run = executor, output, on_submit, on_run
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Any]] = {}
        self._asked: set[str] = set()
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)

    def run(
        self, recipes: Sequence[Recipe], on_each: Callable[[int, Result], None] = lambda index, result: None
    ) -> list[Result]:
        """Results of several recipes, different ones.

        Args:
            recipes: what to run.
            on_each: called with the index of a recipe and its result as they come.

        Raises:
            Interrupted: one of them was stopped.
            Exception: what a run raised.
        """
        names = {run_name(recipe) for recipe in recipes}
        with self._lock:
            new = names - self._asked
            self._asked |= new
        self.on_submit(len(new))
        futures = {self.executor.submit(recipe): index for index, recipe in enumerate(recipes)}
        results: dict[int, Result] = {}
        for future in as_completed(futures):
            index, result = futures[future], future.result()
            if result is None:
                raise Interrupted
            results[index] = result
            self._add(recipes[index], result)
            on_each(index, result)
        return [results[index] for index in range(len(recipes))]

    def _add(self, recipe: Recipe, result: Result) -> None:
        with self._lock:
            name = run_name(recipe)
            if name in self._rows:
                return
            self._rows[name] = row(recipe, result)
            if self.output is not None:
                rows = sorted(
                    self._rows.values(),
                    key=lambda r: (
                        r["optimizer"],
                        int(r["heads"]),
                        r["options"],
                        r["kappa"],
                        float(r["lr"]),
                        r["seed"],
                    ),
                )
                text = io.StringIO()
                writer = csv.DictWriter(text, rows[0], lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
                write_text(self.output.with_name(self.output.name + ".csv"), text.getvalue())
        self.on_run(recipe, result)


def row(recipe: Recipe, result: Result) -> dict[str, Any]:
    """A run as a line of a table that ``adana fit`` reads.

    ``final_loss`` is empty where the run diverged; where it was given up, at ``stopped_at``, it is the last one seen.
    """
    config, settings = recipe.model_config(), recipe.resolved().identity()
    options = {name: value for name, value in settings.pop("options").items() if name != "kappa"}
    for name in ("optimizer", "data", "text"):  # the name comes first, and a text is told by its hash
        del settings[name]
    stopped = result.curve[-1] if result.final_loss is None and result.diverged_at is None else None
    loss = result.final_loss if stopped is None else stopped[1]
    return {
        "optimizer": recipe.optimizer,
        # Named even where it was left at its default: a run that was given the same number is of the same optimizer.
        "kappa": _kappa(recipe),
        "options": json.dumps(options, sort_keys=True),
        "lr": repr(recipe.lr),
        "seed": recipe.seed,
        **{name: "" if x is None else x if isinstance(x, str) else json.dumps(x) for name, x in settings.items()},
        "text_sha256": result.corpus_sha256,
        "non_embedding_parameters": config.non_embedding_parameters,
        "total_parameters": config.total_parameters,
        "batch_tokens": recipe.tokens_per_step,
        "tokens": recipe.tokens,
        **{
            f"flops_{name}": recipe.tokens * flops_per_token(config, formula=formula, seq_len=recipe.seq_len)
            for name, formula in COMPUTE_FORMULAS.items()
        },
        "final_loss": "" if loss is None else f"{loss:.6f}",
        "diverged_at": "" if result.diverged_at is None else result.diverged_at,
        "stopped_at": "" if stopped is None else stopped[0],
        "seconds": f"{result.seconds:.1f}",
    }


def _kappa(recipe: Recipe) -> Any:
    kappa = recipe.options.get("kappa", catalog.default_kappa(recipe.optimizer))
    return "" if kappa is None else kappa


def sweep(
    cells: Sequence[Recipe],
    executor: Executor,
    *,
    seeds: Sequence[int] = (0,),
    coarse: float = 2.0,
    fine: float | None = 1.25,
    sides: int = 2,
    most: int = MOST,
    stop_hopeless: bool = False,
    output: Path | None = None,
    command: str = "",
    runs: Runs | None = None,
    on_submit: Callable[[int], None] = lambda count: None,
    on_run: OnRun = lambda recipe, result: None,
    on_best: Callable[[int, Best, bool], None] = lambda cell, best, finished: None,
) -> list[Best]:
    """Search the learning rate of every cell by the paper's rule.

    A cell whose recipe has a learning rate starts there. Of those of one optimizer and size without one, the middle
    cell starts at :func:`~adana.lab.cells.start_of` and the others where it ended, whichever runs are done already: a
    sweep that is resumed takes the steps it would have taken.

    Args:
        cells: a recipe each; its seed does not count, and :data:`~adana.lab.cells.COUPLED` may be among its options.
        executor: where runs run.
        seeds: a point's loss is the mean over them, infinite if any diverged or was given up.
        coarse, fine, sides, most: as :func:`~adana.lab.search.search_learning_rate` has them.
        stop_hopeless: give up runs by the median rule (:class:`MedianRule`).
        output: runs go to ``<output>.csv``, the best points and the command to ``<output>.json``, after every run.
        command: what made it.
        runs: a table of runs on the executor that several sweeps share, with its own ``on_submit`` and ``on_run``;
            default one of this sweep's own.
        on_submit: called with how many runs were asked for that were not before.
        on_run: called with every run that has ended, once.
        on_best: called with the index of a cell, its best so far, and whether that is its last.

    Returns:
        The best of every cell, in the order of the cells.

    Raises:
        KeyboardInterrupt: it was interrupted; finished runs are kept, and the same call goes on.
        RunLost: a run's workers kept dying.
        ValueError: no cells, seeds that are none, results of another search at ``output``, or what a run refused.

    Source: Section F.1.
    """
    if not cells or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"a sweep needs cells and different seeds, got {len(cells)} cells and seeds {list(seeds)}")
    rule = MedianRule(executor) if stop_hopeless else None
    results = None
    if output is not None:
        searched = {
            "cells": [cell.identity() | {"lr": cell.lr} for cell in cells],
            "seeds": list(seeds),
            "rule": [coarse, fine, sides, most],
        }
        results = Results(output, searched, command)
    runs = runs or Runs(executor, output, on_submit=on_submit, on_run=on_run)
    lock = threading.Lock()
    bests: dict[int, Best] = {}
    finished: set[int] = set()

    def note(index: int, best: Best, *, last: bool = False) -> None:
        with lock:
            bests[index] = best
            if last:
                finished.add(index)
            if results is not None:
                shown = [asdict(bests[i]) | {"finished": i in finished} for i in sorted(bests)]
                results.write({"seeds": list(seeds), "finished": len(finished) == len(cells), "best": shown})
            on_best(index, best, last)

    def search(index: int, start: float) -> Best:
        cell = cells[index]
        losses: dict[float, list[float]] = {}
        points: dict[float, float] = {}

        def evaluate(lrs: Sequence[float]) -> list[float]:
            recipes = [at(cell, lr, seed) for lr in lrs for seed in seeds]

            def add(i: int, result: Result) -> None:
                lr = lrs[i // len(seeds)]
                losses.setdefault(lr, []).append(math.inf if result.final_loss is None else result.final_loss)
                if rule is not None:
                    rule.ended(index, recipes[i], result)
                if len(losses[lr]) == len(seeds):
                    points[lr] = statistics.fmean(losses[lr])
                    so_far = min(points, key=lambda lr: (points[lr], lr))
                    loss = None if points[so_far] == math.inf else points[so_far]
                    note(index, best(LearningRateSearch(so_far, loss, False, None, ())))

            if rule is not None:
                rule.enter(index, recipes)
            runs.run(recipes, add)
            return [points[lr] for lr in lrs]

        def best(found: LearningRateSearch) -> Best:
            return Best(
                cell.optimizer,
                at(cell, found.lr, 0).options,
                found.lr,
                found.loss,
                len(seeds),
                found.bracketed,
                cell.heads,
                found.curvature,
                cell.options.get(COUPLED),
            )

        found = best(search_learning_rate(evaluate, start, coarse=coarse, fine=fine, sides=sides, most=most))
        note(index, found, last=True)
        return found

    with ThreadPoolExecutor(len(cells), thread_name_prefix="adana-cell") as threads:
        searches: dict[int, Future[Best]] = {}
        for first in _first_of_each_group(cells):
            searches[first] = threads.submit(search, first, cells[first].lr or start_of(cells[first]))
            for index in _group(cells, first):
                if index != first:
                    searches[index] = threads.submit(_follow, search, index, cells[index].lr, searches[first])
        try:
            wait_for_all(list(searches.values()))
        except BaseException:
            executor.stop()
            raise
    return [searches[index].result() for index in range(len(cells))]


def _follow(search: Callable[[int, float], Best], index: int, lr: float | None, first: Future[Best]) -> Best:
    return search(index, first.result().lr if lr is None else lr)


def _kind(cell: Recipe) -> Recipe:
    """What cells of one optimizer and size have in common."""
    return replace(cell, options={}, lr=None, seed=0)


def _group(cells: Sequence[Recipe], index: int) -> list[int]:
    return [i for i, cell in enumerate(cells) if _kind(cell) == _kind(cells[index])]


def _first_of_each_group(cells: Sequence[Recipe]) -> list[int]:
    """The middle of every group: the nearest to all others, whatever the grid."""
    middles = [(group := _group(cells, index))[len(group) // 2] for index in range(len(cells))]
    return list(dict.fromkeys(middles))


def wait_for_all(futures: Sequence[Future[Any]]) -> None:
    """Wait for all; the first error that is one ends it.

    Raises:
        KeyboardInterrupt: a run was stopped.
    """
    waiting, interrupted = set(futures), False
    while waiting:
        # A timeout keeps Ctrl-C prompt: without one the wait cannot be interrupted on every platform.
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_EXCEPTION)
        for future in done:
            error = future.exception()
            # An error stops all runs: a search that hears of the stop first must not hide the error from which it came.
            if isinstance(error, Interrupted | KeyboardInterrupt):
                interrupted = True
            elif error is not None:
                raise error
    if interrupted:
        raise KeyboardInterrupt


class MedianRule:
    """Gives up runs that are hopeless: worse than the median of the others of their cell at the same step.

    At every evaluation but the last, a run whose best validation loss so far is above the median of the other runs'
    losses at that step, where at least ``least`` have come so far, is asked to save and end. It saves compute and can
    give up a run that would have won late; which runs it sees depends on which run together. A run that was given up
    never counts as best.
    """

    def __init__(self, executor: Executor, *, least: int = 3) -> None:
        self.executor, self.least = executor, least
        self._lock = threading.Lock()
        self._recipes: dict[str, tuple[int, Recipe]] = {}
        self._curves: dict[int, dict[str, dict[int, float]]] = {}
        self._given_up: set[str] = set()
        executor.listen(self.update)

    def enter(self, cell: int, recipes: Sequence[Recipe]) -> None:
        """Have these runs judged, as runs of a cell."""
        with self._lock:
            self._recipes.update({run_name(recipe): (cell, recipe) for recipe in recipes})

    def ended(self, cell: int, recipe: Recipe, result: Result) -> None:
        """Hear of a run that has ended: a finished one may have been read back, and never reported."""
        with self._lock:
            curve = self._curves.setdefault(cell, {}).setdefault(run_name(recipe), {})
            curve.update({int(step): loss for step, loss in result.curve})

    def update(self, update: Update) -> None:
        """Judge a run by its latest evaluation."""
        loss = (update.progress.metrics or {}).get("validation_loss")
        with self._lock:
            if loss is None or update.name not in self._recipes:
                return
            cell, recipe = self._recipes[update.name]
            curves = self._curves.setdefault(cell, {})
            step = update.progress.step
            curves.setdefault(update.name, {})[step] = loss
            median = self._median(curves, update.name, step)
            best = min(curves[update.name].values())
            if step == update.progress.steps or update.name in self._given_up or median is None or best <= median:
                return
            self._given_up.add(update.name)
        reason = f"at step {step} its best loss of {best:.4f} was above {median:.4f}, the median of the others"
        self.executor.give_up(recipe, step, loss, reason)

    def _median(self, curves: Mapping[str, Mapping[int, float]], name: str, step: int) -> float | None:
        others = [curve[step] for other, curve in curves.items() if other != name and step in curve]
        return statistics.median(others) if len(others) >= self.least else None
