"""The search that gives every optimizer of the race its learning rate, decay and form (Section F.1)."""

from __future__ import annotations

import csv
import json
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adana.lab.executors import Executor
from adana.lab.search import bracketed_minimum
from adana.train.folder import Result, write_json
from adana.train.recipe import Recipe

__all__ = ["SEARCHES", "Best", "search", "sweep", "tuned_from"]

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
# Where each search starts, as powers of two; it moves wherever the minimum is.
STARTS = {"adamw-dw": -8, "adamw": -8, "nadamw": -8, "muon-dw": -6}
START = -9
OMEGAS = (1.0, 2.0, 4.0, 8.0)
CONFIRMED = 3


@dataclass(frozen=True)
class Best:
    """Where a search ended.

    Attributes:
        optimizer: its name.
        options: the options that were best, ``weight_decay`` among them.
        lr: the best learning rate.
        final_loss: validation loss there, the mean over the seeds; None if every run diverged.
        seeds: how many seeds that mean is over.
        bracketed: whether worse points stood on each side of the best of the last grid (two in a whole
            search, one in a short one).
    """

    optimizer: str
    options: dict[str, Any]
    lr: float
    final_loss: float | None
    seeds: int
    bracketed: bool


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
            ends.append(Best(base.optimizer, options, lr, loss, 1, bracketed))
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
        return _known(Best(base.optimizer, options, lr, math.inf, 1, False))
    more = run([replace(recipe, seed=base.seed + k) for recipe in candidates for k in (1, 2)])
    means = [(seen[repr(r)][0] + more[2 * i] + more[2 * i + 1]) / 3 for i, r in enumerate(candidates)]
    loss, winner = min(zip(means, candidates), key=lambda entry: entry[0])
    assert winner.lr is not None
    return Best(base.optimizer, winner.options, winner.lr, loss, 3, bracketed)


def _known(best: Best) -> Best:
    """An infinite loss, which JSON cannot hold, as None: every run diverged."""
    return best if best.final_loss is not None and math.isfinite(best.final_loss) else replace(best, final_loss=None)


def sweep(
    setting: Recipe,
    optimizers: Sequence[str],
    pool: Executor,
    output: Path,
    *,
    command: str = "",
    report: Callable[[str], None] = print,
) -> list[Best]:
    """Search every named optimizer on one setting, all of them sharing the pool's workers.

    Writes ``<output>.csv`` (a row a run, rewritten after each) and ``<output>.json`` (the best points and
    the command). Runs that are done are read from their folders, so the same command goes on.

    Raises:
        KeyboardInterrupt: it was interrupted; finished runs are kept.
    """
    rows: list[dict[str, Any]] = []
    lock = threading.Lock()

    def record(recipe: Recipe, result: Result) -> None:
        loss = result.final_loss
        row = {
            "optimizer": recipe.optimizer,
            "lr": repr(recipe.lr),
            "options": json.dumps(recipe.options),
            "seed": recipe.seed,
            "steps": recipe.steps,
            "final_loss": "" if loss is None else f"{loss:.5f}",
            "diverged_at": "" if result.diverged_at is None else result.diverged_at,
            "seconds": f"{result.seconds:.1f}",
        }
        with lock:
            rows.append(row)
            rows.sort(key=lambda r: (r["optimizer"], r["options"], float(r["lr"])))
            temporary = output.with_suffix(f".{os.getpid()}.tmp")
            with temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, row)
                writer.writeheader()
                writer.writerows(rows)
            os.replace(temporary, output.with_suffix(".csv"))
        outcome = f"{loss:.4f}" if loss is not None else f"diverged at {result.diverged_at}"
        report(f"{recipe.optimizer} lr={recipe.lr:.3g} {recipe.options}: {outcome} ({result.seconds:.0f} s)")

    seen: dict[str, float] = {}

    def run(recipes: Sequence[Recipe]) -> list[float]:
        futures = [pool.submit(recipe) for recipe in recipes]
        losses = []
        for recipe, future in zip(recipes, futures):
            result = future.result()
            if result is None:
                raise KeyboardInterrupt
            key = repr(recipe)
            if key not in seen:
                seen[key] = math.inf if result.final_loss is None else result.final_loss
                record(recipe, result)
            losses.append(seen[key])
        return losses

    def one(name: str) -> list[Best]:
        base = replace(setting, optimizer=name, lr=2.0 ** STARTS.get(name, START))
        bests = [search(base, run, mode, alternatives) for mode, alternatives in SEARCHES.get(name, SHORT)]
        for best in bests:
            outcome = "every run diverged" if best.final_loss is None else f"{best.final_loss:.4f}"
            report(f"BEST {best.optimizer} {best.options} lr={best.lr:.4g}: {outcome}")
        return bests

    output.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=min(len(optimizers), 4)) as threads:
        futures = [threads.submit(one, name) for name in optimizers]
        try:
            bests = [best for future in futures for best in future.result()]
        except BaseException:
            pool.stop()
            raise
    write_json(
        output.with_suffix(".json"),
        {"command": command, "setting": asdict(setting), "best": [asdict(best) for best in bests]},
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
