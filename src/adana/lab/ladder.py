"""A ladder: search small sizes, fit laws to them, plan the next size by the laws, run it, and compare.

1. At one size the options of each optimizer are chosen (a baseline's beta2, omega), on a coarse grid of learning rates.
2. Every size has a search of its learning rate (Section F.1), and its best one runs again on seeds that the search
   did not see.
3. A learning-rate law is fitted to the searches, a loss law to the losses on those seeds.
4. The laws plan the size to predict. It runs at the planned learning rate, and a factor below and above it.
5. What came out stands beside what was said.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from adana import catalog
from adana.files import write_json
from adana.lab.cells import cells
from adana.lab.executors.base import FolderExecutor, run_name
from adana.lab.sweep import Best, Runs, sweep, wait_for_all
from adana.scaling.curvature import curvature
from adana.scaling.fits import Fit, LearningRateLaws, LossLaws, without_samples
from adana.scaling.laws import PETAFLOP_HOUR, label
from adana.scaling.multiplier import pooled_spread
from adana.scaling.planning import plan
from adana.scaling.plans import Plan, recipe_fields
from adana.scaling.reading import read_runs
from adana.scaling.runs import Run
from adana.train.folder import Result
from adana.train.recipe import Recipe

__all__ = ["Events", "Ladder", "climb", "sized"]

SIZES = 3
SIZES_FOR_SATURATION = 4
"""Sizes from which a loss law's saturation is fitted; with fewer it is held at 0."""
LEAST_STEPS = 50
"""A whole number of so many steps is within 2 % of the horizon that all sizes must share for a law."""
DEVIATIONS = 2.0
"""A neighbour's learning rate counts as better where it is so by this many standard deviations of a difference."""


@dataclass(frozen=True)
class Ladder:
    """What is searched and what is predicted.

    Attributes:
        base: what all runs share: data, architecture, width of a head, batch; sizes and horizons are set here.
        optimizers: names; the first is the one that the others are compared with.
        heads: sizes of the ladder, ascending.
        predict: the size to predict.
        tune: the size at which options are chosen.
        tokens_per_parameter: horizon of every run, over total parameters.
        grids: options to choose from, by name of :func:`adana.catalog.grids`; an optimizer has those it takes.
        seeds: seeds of the losses that the loss law and the comparison see.
        search_seed: seed of the searches; none of ``seeds``, for the best of a search has its luck in it.
        off: factor below and above the predicted learning rate that the check tries.
        coarse, fine, sides: of the searches (:func:`~adana.lab.search.search_learning_rate`).
        bootstrap: samples of every interval.
    """

    base: Recipe
    optimizers: tuple[str, ...]
    heads: tuple[int, ...]
    predict: int
    tune: int
    tokens_per_parameter: float
    grids: Mapping[str, Sequence[float]]
    seeds: tuple[int, ...] = (0, 1, 2)
    search_seed: int = 100
    off: float = 1.5
    coarse: float = 2.0
    fine: float | None = 1.25
    sides: int = 2
    bootstrap: int = 400

    def check(self) -> None:
        """Refuse what cannot be climbed, before anything runs.

        Raises:
            ValueError: the message shows the value.
        """
        if len(set(self.heads)) < SIZES or list(self.heads) != sorted(set(self.heads)):
            raise ValueError(f"heads must be {SIZES} different sizes or more, ascending, got {_listed(self.heads)}")
        if self.predict in self.heads or self.predict < self.heads[0]:
            raise ValueError(f"predict must be another size than those searched, got {self.predict}")
        if self.tune not in self.heads:
            raise ValueError(f"tune must be one of heads {_listed(self.heads)}, got {self.tune}")
        if not self.optimizers or len(set(self.optimizers)) < len(self.optimizers):
            raise ValueError(f"optimizers must be different names, got {_listed(self.optimizers) or 'none'}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be different numbers of at least 0, got {_listed(self.seeds) or 'none'}")
        if self.search_seed in self.seeds:
            raise ValueError(f"seeds must leave out {self.search_seed}, which the searches use")
        if not 0 < self.tokens_per_parameter < math.inf:
            raise ValueError(f"tokens_per_parameter must be above 0, got {self.tokens_per_parameter}")
        if not self.off > 1:
            raise ValueError(f"off must be a factor above 1, got {self.off}")
        for heads in (*self.heads, self.predict):
            recipe = self.sized(heads)
            recipe.check()
            if recipe.total_steps < LEAST_STEPS:
                raise ValueError(
                    f"{heads} heads make {recipe.total_steps} steps, fewer than {LEAST_STEPS}: more tokens per "
                    "parameter, smaller batches or larger sizes"
                )
        # What the end would refuse is refused here: every choice of options is planned and made a recipe.
        for optimizer in self.optimizers:
            for cell in self.candidates(optimizer):
                found = self.plan(optimizer, cell.options, lr=1e-3)
                self.planned(found)
                config = self.sized(self.predict).model_config()
                if found.total_parameters != config.total_parameters:
                    raise ValueError(
                        f"a plan of {self.predict} heads has {found.total_parameters:,} parameters, and the ladder's "
                        f"model {config.total_parameters:,}: plans know head_dim and layers alone"
                    )

    def plan(
        self, optimizer: str, options: Mapping[str, Any], *, laws: Sequence[Fit] = (), lr: float | None = None
    ) -> Plan:
        """The plan of the size to predict, by laws or at a given learning rate.

        Raises:
            ValueError: it cannot be planned.
        """
        base = self.base
        return plan(
            self.predict,
            optimizer,
            arch=base.arch,
            kappa=options.get("kappa") if "kappa" in catalog.find(optimizer).grids else None,
            batch_tokens=base.tokens_per_step,
            tokens_per_parameter=self.tokens_per_parameter,
            vocab_size=self.sized(self.predict).model_config().vocab_size,
            seq_len=base.seq_len,
            layers=base.layers,
            head_dim=base.head_dim,
            lr=lr,
            laws=laws,
        )

    def planned(self, found: Plan) -> Recipe:
        """The recipe of a plan.

        Raises:
            ValueError: the plan cannot be run.
        """
        recipe = Recipe.from_json(self.base.to_json() | recipe_fields(found))
        recipe.check()
        return recipe

    def sized(self, heads: int) -> Recipe:
        return sized(self.base, heads, self.tokens_per_parameter)

    def candidates(self, optimizer: str) -> list[Recipe]:
        """The cells among which an optimizer's options are chosen."""
        taken = catalog.find(optimizer).grids
        mine = {name: values for name, values in self.grids.items() if name in taken}
        return cells(self.sized(self.tune), optimizers=[optimizer], heads=[self.tune], grids=mine)


def sized(base: Recipe, heads: int, tokens_per_parameter: float) -> Recipe:
    """A size of a ladder: the horizon follows its total parameters, in whole steps (36).

    >>> sized(Recipe(head_dim=16, batch_size=4, seq_len=128, vocab_size=256), 4, 10).steps
    3520
    """
    recipe = replace(base, heads=heads)
    tokens = round(tokens_per_parameter * recipe.model_config().total_parameters)
    return replace(recipe, steps=max(1, tokens // recipe.tokens_per_step))


@dataclass(frozen=True)
class Events:
    """What a ladder tells while it is climbed, from any thread.

    Attributes:
        stage: a step has begun, in words.
        submitted: so many runs were asked for that were not before.
        ran: a run has ended.
        best: a search stands at, or ended with, this; its number and whether it ended.
    """

    stage: Callable[[str], None] = lambda text: None
    submitted: Callable[[int], None] = lambda count: None
    ran: Callable[[Recipe, Result], None] = lambda recipe, result: None
    best: Callable[[int, Best, bool], None] = lambda number, best, finished: None


@dataclass(frozen=True)
class _Climbed:
    """What the searches of one optimizer ended with.

    Attributes:
        optimizer: its name.
        options: those that were chosen.
        tuned: the coarse search of every choice of options.
        bests: the search of every size.
        losses: at the best learning rate of every size, one a seed.
        searched: runs of the searches with the chosen options.
        confirmed: runs behind ``losses``.
    """

    optimizer: str
    options: dict[str, Any]
    tuned: list[Best]
    bests: list[Best]
    losses: list[list[float]]
    searched: list[Recipe]
    confirmed: list[Recipe]


def climb(
    ladder: Ladder,
    executor: FolderExecutor,
    out: Path,
    *,
    check: bool = True,
    command: str = "",
    events: Events | None = None,
) -> dict[str, Any]:
    """Climb a ladder; what is done is read back, so that the same call goes on.

    Writes into ``out``, each file whole or not at all: ``runs.csv`` (a row a run), ``lr.json`` and ``loss.json`` (the
    laws, as ``adana plan --law`` reads them), a ``recipe-<optimizer>.json`` of each plan, and ``ladder.json``, which
    is returned, after every step. With ``check=False`` it ends with the plan, so that a prediction can be put on record
    before its run; the same call with ``check=True`` goes on from there.

    Raises:
        KeyboardInterrupt: it was interrupted; finished runs are kept.
        RunLost: a run's workers kept dying.
        ValueError: an impossible ladder, an optimizer whose every run diverged, or laws that cannot be fitted.
    """
    return _Climb(ladder, executor, out, command, events or Events()).to_the_top(check)


class _Climb:
    def __init__(self, ladder: Ladder, executor: FolderExecutor, out: Path, command: str, events: Events) -> None:
        ladder.check()
        self.ladder, self.executor, self.out, self.events = ladder, executor, out, events
        out.mkdir(parents=True, exist_ok=True)
        self.runs = Runs(executor, out / "runs", on_submit=events.submitted, on_run=self._ran)
        self._lock = threading.Lock()
        self._searches = 0
        self._recipes: list[Recipe] = []
        self.payload: dict[str, Any] = {"command": command, "finished": False, "ladder": _setting(ladder)}

    def to_the_top(self, check: bool) -> dict[str, Any]:
        climbed = self._search()
        laws = self._fit(climbed)
        plans = self._plan(climbed, laws)
        if check:
            self._check(climbed, plans)
            self.payload["finished"] = True
            self._save()
        return self.payload

    def _save(self) -> None:
        write_json(self.out / "ladder.json", self.payload)

    def _ran(self, recipe: Recipe, result: Result) -> None:
        with self._lock:
            self._recipes.append(recipe)
        self.events.ran(recipe, result)

    def _read(self, recipes: Sequence[Recipe]) -> list[Run]:
        """Finished runs as the fits read them."""
        return read_runs([self.executor.root / run_name(recipe) for recipe in recipes])

    # --- searches --------------------------------------------------------------------------------------

    def _search(self) -> list[_Climbed]:
        ladder = self.ladder
        self.events.stage(
            f"{_listed(ladder.optimizers)} at {_listed(ladder.heads)} heads: options at {ladder.tune} heads, learning "
            "rates at each"
        )
        with ThreadPoolExecutor(len(ladder.optimizers), thread_name_prefix="adana-ladder") as threads:
            futures = [threads.submit(self._climb, name) for name in ladder.optimizers]
            try:
                wait_for_all(futures)
            except BaseException:
                self.executor.stop()
                raise
        climbed = [future.result() for future in futures]
        spread = pooled_spread([[x for x in losses if math.isfinite(x)] for one in climbed for losses in one.losses])
        self.payload["seed_noise"] = None if spread is None else spread[0]
        self.payload["searches"] = [
            {
                "optimizer": one.optimizer,
                "options": one.options,
                "tuned": [asdict(best) for best in one.tuned],
                "bests": [
                    asdict(best)
                    | _size(ladder.sized(best.heads))
                    | {"losses": [_finite(x) for x in losses], "loss": _finite(fmean(losses))}
                    for best, losses in zip(one.bests, one.losses)
                ],
            }
            for one in climbed
        ]
        self._save()
        return climbed

    def _climb(self, optimizer: str) -> _Climbed:
        ladder = self.ladder
        candidates = ladder.candidates(optimizer)
        tuned = self._sweep(candidates, fine=None)
        losses_tuned = [math.inf if best.final_loss is None else best.final_loss for best in tuned]
        first = losses_tuned.index(min(losses_tuned))
        options = candidates[first].options
        known = {ladder.tune: _finished(tuned[first])}
        bests: dict[int, Best] = {}
        # From the size that was tuned outwards: each search starts where the nearest one says.
        for heads in sorted(ladder.heads, key=lambda heads: (abs(heads - ladder.tune), heads)):
            near = min(known, key=lambda other: abs(other - heads))
            start = _moved(known[near].lr, ladder.sized(near), ladder.sized(heads))
            cell = replace(ladder.sized(heads), optimizer=optimizer, options=options, lr=start)
            bests[heads] = known[heads] = _finished(self._sweep([cell], fine=ladder.fine)[0])
        at_best = [
            replace(ladder.sized(heads), optimizer=optimizer, options=options, lr=bests[heads].lr)
            for heads in ladder.heads
        ]
        # The longest first, so that the workers end together.
        confirmed = [replace(recipe, seed=seed) for recipe in reversed(at_best) for seed in ladder.seeds]
        found = dict(zip(map(run_name, confirmed), self.runs.run(confirmed)))
        losses = [[_final(found[run_name(replace(recipe, seed=seed))]) for seed in ladder.seeds] for recipe in at_best]
        whole = [replace(recipe, options={}, lr=None, seed=ladder.search_seed) for recipe in at_best]
        with self._lock:
            own = [recipe for recipe in self._recipes if recipe.options == options]
        # In one order, whichever ended first: a sum's last digit must not depend on it.
        searched = sorted(
            (recipe for recipe in own if replace(recipe, options={}, lr=None) in whole),
            key=lambda recipe: (recipe.heads, recipe.lr or 0.0),
        )
        return _Climbed(
            optimizer, options, tuned, [bests[heads] for heads in ladder.heads], losses, searched, confirmed
        )

    def _sweep(self, candidates: Sequence[Recipe], *, fine: float | None) -> list[Best]:
        ladder = self.ladder
        with self._lock:
            first = self._searches
            self._searches += len(candidates)
        return sweep(
            candidates,
            self.executor,
            seeds=(ladder.search_seed,),
            coarse=ladder.coarse,
            fine=fine,
            sides=ladder.sides,
            runs=self.runs,
            on_best=lambda index, best, finished: self.events.best(first + index, best, finished),
        )

    # --- laws and plans --------------------------------------------------------------------------------

    def _fit(self, climbed: Sequence[_Climbed]) -> list[LearningRateLaws | LossLaws]:
        from adana.scaling import fitting

        ladder = self.ladder
        self.events.stage("fit laws of learning rate and loss")
        predicted = ladder.sized(ladder.predict).model_config().non_embedding_parameters
        lr = fitting.learning_rate_law(
            self._read([recipe for one in climbed for recipe in one.searched]),
            bootstrap=ladder.bootstrap,
            predict=[predicted],
        )
        loss = fitting.loss_law(
            self._read([recipe for one in climbed for recipe in one.confirmed]),
            saturation=None if len(ladder.heads) >= SIZES_FOR_SATURATION else 0.0,
            bootstrap=ladder.bootstrap,
            predict=[ladder.sized(ladder.predict).flops / PETAFLOP_HOUR],
        )
        command = self.payload["command"]
        laws: list[LearningRateLaws | LossLaws] = [replace(lr, command=command), replace(loss, command=command)]
        for law in laws:
            write_json(self.out / f"{law.law}.json", law.to_json())
        self.payload["laws"] = [_brief(law) for law in laws]
        self._save()
        return laws

    def _plan(self, climbed: Sequence[_Climbed], laws: Sequence[Fit]) -> list[Plan]:
        plans = []
        for one in climbed:
            found = self.ladder.plan(one.optimizer, one.options, laws=laws)
            write_json(
                self.out / f"recipe-{catalog.file_name(one.optimizer)}.json", self.ladder.planned(found).to_json()
            )
            plans.append(found)
        self.payload["plans"] = [asdict(found) for found in plans]
        self._save()
        return plans

    # --- the size that was predicted -------------------------------------------------------------------

    def _check(self, climbed: Sequence[_Climbed], plans: Sequence[Plan]) -> None:
        from adana.scaling import fitting

        ladder = self.ladder
        self.events.stage(f"run {ladder.predict} heads as planned")
        at_plan = [[replace(self.ladder.planned(found), seed=seed) for seed in ladder.seeds] for found in plans]
        beside = [
            [replace(runs[0], lr=factor * (found.lr or 0.0)) for factor in (1 / ladder.off, ladder.off)]
            for found, runs in zip(plans, at_plan)
        ]
        asked = [recipe for runs in (*at_plan, *beside) for recipe in runs]
        losses = dict(zip(map(run_name, asked), map(_final, self.runs.run(asked))))
        noise = self.payload["seed_noise"]
        checks = []
        for found, runs, sides in zip(plans, at_plan, beside):
            own = [losses[run_name(recipe)] for recipe in runs]
            checks.append(
                _compared(found, own, {recipe.lr or 0.0: losses[run_name(recipe)] for recipe in sides}, noise)
            )
        self.payload["checks"] = checks
        self.payload["differences"] = [_difference(checks[0], check) for check in checks[1:]]
        runs_of_all = self._read(
            [recipe for one in climbed for recipe in one.confirmed] + [recipe for runs in at_plan for recipe in runs]
        )
        baseline = label(plans[0].optimizer, plans[0].kappa)
        try:
            self.payload["multipliers"] = fitting.multipliers(runs_of_all, baseline=baseline).to_json()
        except ValueError as error:  # A baseline that diverged at a size leaves no line to compare with.
            self.payload["multipliers"] = {"error": str(error)}
        self._save()


def _compared(
    found: Plan, losses: Sequence[float], beside: Mapping[float, float], noise: float | None
) -> dict[str, Any]:
    """A plan beside what came out.

    The predicted loss holds where the mean over seeds lies in its interval, which is that of a new run's loss and so
    has the noise of a run in it. The learning rate holds where neither neighbour, on the first seed, did better by more
    than chance: two standard deviations of a difference of two runs.
    """
    assert found.lr is not None
    measured = fmean(losses)
    low, high = found.predicted_loss_low, found.predicted_loss_high
    better = losses[0] - min(beside.values())
    chance = None if noise is None else DEVIATIONS * math.sqrt(2) * noise
    parabola = curvature({**beside, found.lr: losses[0]}) if math.isfinite(measured) else None
    return {
        "optimizer": found.optimizer,
        "kappa": found.kappa,
        "heads": found.heads,
        "steps": found.steps,
        "pfh": found.pfh,
        "lr": found.lr,
        "lr_interval": [found.lr_low, found.lr_high],
        "predicted_loss": found.predicted_loss,
        "predicted_interval": [low, high],
        "losses": [_finite(x) for x in losses],
        "measured_loss": _finite(measured),
        "standard_error": None if noise is None else noise / math.sqrt(len(losses)),
        "error": None if found.predicted_loss is None else _finite(measured - found.predicted_loss),
        "loss_holds": None if low is None or high is None else low <= measured <= high,
        "beside": [{"lr": lr, "loss": _finite(loss)} for lr, loss in sorted(beside.items())],
        "better_beside": _finite(better),
        "chance": chance,
        "lr_holds": None if chance is None else math.isfinite(losses[0]) and better <= chance,
        "parabola_lr": None if parabola is None else _finite(parabola.best_lr),
    }


def _difference(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """How much less loss an optimizer has than the first, as predicted and as measured."""

    def less(name: str) -> float | None:
        return None if first[name] is None or other[name] is None else first[name] - other[name]

    return {
        "optimizer": other["optimizer"],
        "baseline": first["optimizer"],
        "predicted": less("predicted_loss"),
        "measured": less("measured_loss"),
    }


def _setting(ladder: Ladder) -> dict[str, Any]:
    found = {name: value for name, value in vars(ladder).items() if name != "base"}
    plain: dict[str, Any] = json.loads(json.dumps(found | {"base": ladder.base.to_json()}))
    return plain


def _size(recipe: Recipe) -> dict[str, Any]:
    config = recipe.model_config()
    return {
        "non_embedding_parameters": config.non_embedding_parameters,
        "total_parameters": config.total_parameters,
        "steps": recipe.total_steps,
        "tokens": recipe.tokens,
        "pfh": recipe.flops / PETAFLOP_HOUR,
    }


def _moved(lr: float, start: Recipe, end: Recipe) -> float:
    """A learning rate moved to another size, where it falls with the root of P; a power of two, as (32)."""
    sizes = [recipe.model_config().non_embedding_parameters for recipe in (start, end)]
    return float(2.0 ** round(math.log2(lr * math.sqrt(sizes[0] / sizes[1]))))


def _finished(best: Best) -> Best:
    if best.final_loss is None:
        raise ValueError(f"{best.optimizer}: every run diverged at {best.heads} heads: no learning rate to go on with")
    return best


def _final(result: Result) -> float:
    return math.inf if result.final_loss is None else result.final_loss


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _brief(law: LearningRateLaws | LossLaws) -> dict[str, Any]:
    return {name: value for name, value in without_samples(law).items() if name not in ("literature", "command")}


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
