"""The search that gives every optimizer of the race its learning rate, decay and form (Section F.1)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from adana.lab.cells import START, STARTS
from adana.lab.executors import Executor
from adana.lab.search import bracketed_minimum
from adana.lab.sweep import Best, Runs, wait_for_all
from adana.train.folder import Result, write_json
from adana.train.recipe import Recipe

__all__ = ["SEARCHES", "race_search", "search", "tuned_from"]

_BETA2 = [{"betas": (0.9, beta2)} for beta2 in (0.99, 0.95, 0.999)]

# The searches of each optimizer: whole or short (see `search`), over alternatives beside learning rate and omega
# of which the best is kept. Those not named have one short search of their defaults. The baselines have both: at
# omega 4 a whole search would not see that a smaller omega wants a smaller learning rate.
SEARCHES: dict[str, list[tuple[str, list[dict[str, Any]]]]] = {
    "adamw-dw": [("whole", _BETA2), ("short", _BETA2[:1])],
    "adamw": [("whole", _BETA2), ("short", _BETA2[:1]), ("short", _BETA2[1:2])],
    "adana": [("whole", [{"form": "paper"}]), ("short", [{"form": "released"}])],
    "nadamw": [("short", _BETA2[:1])],
    "muon-dw": [("short", _BETA2[:1])],
}
SHORT: list[tuple[str, list[dict[str, Any]]]] = [("short", [{}])]
OMEGAS = (1.0, 2.0, 4.0, 8.0)
CONFIRMED = 3


def search(
    base: Recipe, run: Callable[[Sequence[Recipe]], Sequence[float]], mode: str, alternatives: list[dict[str, Any]]
) -> Best:
    """Search one optimizer: coarse learning rate, omega, fine learning rate, confirmation.

    Coarse: factor 2, one worse point on each side, at omega 4 for every alternative, each starting where
    the one before ended. Then omega in 1, 2, 4, 8 (eq. 35), extended by factors of 2 while the best stands
    at an end. Then learning rates by factor 1.25 with two worse points on each side. At last the
    ``CONFIRMED`` best points of all run on two more seeds, and the best mean wins: one seed's luck is of
    the size of the differences between neighbours. A short search is the coarse one at omega 4 and at omega 1.

    Args:
        base: the setting; its ``lr`` starts the coarse grid.
        run: final losses of several recipes.
        mode: ``"whole"`` or ``"short"``.
        alternatives: option sets to choose from; a short search has one.
    """
    assert base.lr is not None
    seen: dict[str, tuple[float, Recipe]] = {}

    def evaluate(recipes: Sequence[Recipe]) -> list[float]:
        losses = list(run(recipes))
        seen.update({repr(recipe): (loss, recipe) for recipe, loss in zip(recipes, losses)})
        return losses

    def at(options: dict[str, Any]) -> Callable[[Sequence[float]], Sequence[float]]:
        return lambda lrs: evaluate([replace(base, lr=lr, options=options) for lr in lrs])

    lr = base.lr
    if mode == "short":
        (alternative,) = alternatives
        ends = []
        for omega in (4.0, 1.0):
            options = {"weight_decay": omega, **alternative}
            lr, loss, bracketed = bracketed_minimum(at(options), lr, 2.0, sides=1)
            ends.append(Best(base.optimizer, options, lr, loss, 1, bracketed, base.heads))
        return _known(min(ends, key=lambda end: math.inf if end.final_loss is None else end.final_loss))

    found = []
    for alternative in alternatives:
        options = {"weight_decay": 4.0, **alternative}
        lr, loss, _ = bracketed_minimum(at(options), lr, 2.0, sides=1)
        found.append((loss, lr, options))
    _, lr, options = min(found, key=lambda entry: entry[0])

    decays = dict.fromkeys(OMEGAS, math.inf)
    wanted = list(OMEGAS)
    while wanted and len(decays) < 10:
        recipes = [replace(base, lr=lr, options={**options, "weight_decay": omega}) for omega in wanted]
        decays.update(zip(wanted, evaluate(recipes)))
        best = min(decays, key=lambda omega: decays[omega])
        wanted = [omega for omega in (best / 2, best * 2) if omega not in decays]
    _, _, bracketed = bracketed_minimum(at({**options, "weight_decay": best}), lr, 1.25)

    ranked = sorted(seen.values(), key=lambda entry: entry[0])[:CONFIRMED]
    candidates = [recipe for loss, recipe in ranked if loss < math.inf]
    if not candidates:
        return _known(Best(base.optimizer, options, lr, math.inf, 1, False, base.heads))
    more = run([replace(recipe, seed=base.seed + k) for recipe in candidates for k in (1, 2)])
    means = [(seen[repr(r)][0] + more[2 * i] + more[2 * i + 1]) / 3 for i, r in enumerate(candidates)]
    loss, winner = min(zip(means, candidates), key=lambda entry: entry[0])
    assert winner.lr is not None
    return Best(base.optimizer, winner.options, winner.lr, loss, 3, bracketed, base.heads)


def _known(best: Best) -> Best:
    """An infinite loss, which JSON cannot hold, as None: every run diverged."""
    return best if best.final_loss is not None and math.isfinite(best.final_loss) else replace(best, final_loss=None)


def race_search(
    setting: Recipe,
    optimizers: Sequence[str],
    executor: Executor,
    output: Path,
    *,
    command: str = "",
    on_submit: Callable[[int], None] = lambda count: None,
    on_run: Callable[[Recipe, Result], None] = lambda recipe, result: None,
    on_best: Callable[[Best], None] = lambda best: None,
) -> list[Best]:
    """Search every named optimizer on one setting, all of them sharing the executor.

    Writes ``<output>.csv`` (a row a run, rewritten after each) and, at the end, ``<output>.json`` (the best points and
    the command). Runs that are done are read from their folders, so the same command goes on.

    Args:
        setting: what all runs share.
        optimizers: names.
        executor: where runs run.
        output: where the results go, without ``.csv`` and ``.json``.
        command: what made it.
        on_submit: called with how many runs were asked for.
        on_run: called with every run that has ended, once.
        on_best: called with the end of every search.

    Raises:
        KeyboardInterrupt: it was interrupted; finished runs are kept.
    """
    runs = Runs(executor, output, on_submit=on_submit, on_run=on_run)

    def run(recipes: Sequence[Recipe]) -> list[float]:
        found = runs.run(recipes)
        return [math.inf if result.final_loss is None else result.final_loss for result in found]

    def one(name: str) -> list[Best]:
        base = replace(setting, optimizer=name, lr=2.0 ** STARTS.get(name, START))
        bests = []
        for mode, alternatives in SEARCHES.get(name, SHORT):
            bests.append(search(base, run, mode, alternatives))
            on_best(bests[-1])
        return bests

    with ThreadPoolExecutor(max_workers=min(len(optimizers), 4)) as threads:
        futures = [threads.submit(one, name) for name in optimizers]
        try:
            wait_for_all(futures)
        except BaseException:
            executor.stop()
            raise
    bests = [best for future in futures for best in future.result()]
    write_json(
        output.with_name(output.name + ".json"),
        {"command": command, "rule": "race", "setting": asdict(setting), "best": [asdict(best) for best in bests]},
    )
    return bests


def tuned_from(results: Path) -> dict[str, Any]:
    """What a sweep's ``.json`` means for the race: the content of ``tuned.json``.

    Where several forms of an optimizer were searched, the race takes the paper's, which is the default;
    where it had several searches, the best of them.
    """
    found = json.loads(results.read_text())
    names = ("heads", "layers", "seq_len", "batch_size", "steps")
    searched = [best for best in found["best"] if best["options"].get("form", "paper") == "paper"]
    lanes = {}
    # Worst first, so that where an optimizer had two searches the better one stays.
    for best in sorted(searched, key=lambda best: best["final_loss"], reverse=True):
        lanes[best["optimizer"]] = {"lr": best["lr"], "options": best["options"]}
    return {"setting": {name: found["setting"][name] for name in names}, "lanes": lanes}
