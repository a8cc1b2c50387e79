"""What finished runs say together: groups of seeds, and every fit of :mod:`adana.scaling`.

Nothing is fitted here. A fit that the runs do not allow is the sentence that says why.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Generic, TypeVar

from adana import catalog
from adana.scaling import fitting, grouping, learning_rate
from adana.scaling.fits import (
    Fit,
    Formula,
    LearningRateLaws,
    LossLaws,
    Multipliers,
    Overtraining,
    RateBatchLaws,
    SizeTokensLaws,
)
from adana.scaling.learning_rate import SweepCurvature
from adana.scaling.multiplier import pooled_spread
from adana.scaling.overtraining import overtraining
from adana.scaling.rate_batch import rate_batch_law
from adana.scaling.reading import read_runs
from adana.scaling.runs import Run, common_horizon, told_apart
from adana.scaling.size_tokens_fit import size_tokens_law
from adana.train.folder import Result, read_result

__all__ = ["Entry", "Findings", "Fitted", "Group", "Sweep", "collect", "find"]

FORMULA: Formula = "6n"
F = TypeVar("F", bound=Fit)


@dataclass(frozen=True)
class Entry:
    """A finished run and where it is.

    Attributes:
        run: as the fits read it.
        path: its folder, or the CSV file it is a row of.
        result: what its folder says, the curve with it; None for a row.
    """

    run: Run
    path: Path
    result: Result | None

    @property
    def diverged(self) -> bool:
        return math.isinf(self.run.final_loss)


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        entries: the runs.
        run: the first, for what they share.
    """

    entries: tuple[Entry, ...]

    @property
    def run(self) -> Run:
        return self.entries[0].run

    @property
    def finished(self) -> list[float]:
        return [entry.run.final_loss for entry in self.entries if not entry.diverged]

    @property
    def diverged(self) -> int:
        return len(self.entries) - len(self.finished)

    @property
    def mean(self) -> float:
        """Mean final loss; inf if one diverged, as the fits count it."""
        return fmean(entry.run.final_loss for entry in self.entries)

    @property
    def spread(self) -> float | None:
        """Standard deviation over finished seeds; None with fewer than two."""
        return stdev(self.finished) if len(self.finished) > 1 else None


@dataclass(frozen=True)
class Fitted(Generic[F]):
    """A fit, or why there is none.

    Attributes:
        fit: what was fitted; None where it could not be.
        refused: why there is none.
        command: what prints it.
        left_out: optimizers that were left out of it, and why.
    """

    fit: F | None
    refused: str
    command: str
    left_out: str = ""


@dataclass(frozen=True)
class Sweep:
    """The learning rates of one optimizer at one size.

    Attributes:
        label: the optimizer.
        size: non-embedding parameters.
        losses: final loss by learning rate, of the best setting, mean over seeds; inf for one that diverged.
        best: the learning rate with the least loss; None with fewer than two that finished.
        bracketed: whether a smaller and a larger one did worse.
        curvature: a parabola through it, where it is lowest between the learning rates that were tried.
    """

    label: str
    size: float
    losses: dict[float, float]
    best: float | None
    bracketed: bool
    curvature: SweepCurvature | None


@dataclass(frozen=True)
class Findings:
    """Everything the page shows.

    Attributes:
        paths: what was read.
        entries: every finished run, the diverged ones too.
        unfinished: folders of runs that have not ended.
        baseline: the optimizer multipliers are over; None where there is none.
        groups: runs that differ in their seed alone, by optimizer, size and learning rate.
        horizon: what the laws hold for, in words, or why there is no one horizon.
        chosen: the runs the laws are fitted to.
        sweeps: learning rates by optimizer and size, of the chosen runs.
        learning_rates: law of the learning rate by optimizer, for those that were swept.
        rates_command: what prints those that could be fitted.
        loss: the loss laws.
        multiplier: the compute multipliers.
        size_tokens: law over size and tokens by optimizer, of all runs whatever their horizon, as the next two.
        rate_batch: laws of the learning rate and the batch over size and tokens.
        overtraining: multipliers over the overtraining axis.
        noise: pooled standard deviation over seeds, and its degrees of freedom.
    """

    paths: tuple[Path, ...]
    entries: tuple[Entry, ...]
    unfinished: tuple[Path, ...]
    baseline: str | None
    groups: tuple[Group, ...]
    horizon: str
    chosen: tuple[Run, ...]
    sweeps: tuple[Sweep, ...]
    learning_rates: dict[str, Fitted[LearningRateLaws]]
    rates_command: str
    loss: Fitted[LossLaws]
    multiplier: Fitted[Multipliers]
    size_tokens: dict[str, Fitted[SizeTokensLaws]]
    rate_batch: Fitted[RateBatchLaws]
    overtraining: Fitted[Overtraining]
    noise: tuple[float, int] | None

    @cached_property
    def labels(self) -> list[str]:
        """Optimizers, those with the most runs first."""
        runs = Counter(entry.run.label for entry in self.entries)
        return sorted(runs, key=lambda label: (-runs[label], label))

    @cached_property
    def best(self) -> list[Group]:
        """The group with the least loss of each optimizer at each size and horizon."""
        found: dict[Any, Group] = {}
        for group in self.groups:
            key = (group.run.label, group.run.model, group.run.non_embedding_parameters, group.run.tokens)
            if key not in found or group.mean < found[key].mean:
                found[key] = group
        return list(found.values())


def collect(paths: Sequence[Path]) -> tuple[list[Entry], list[Path]]:
    """Finished runs with their places, and the folders of unfinished ones.

    Raises:
        ValueError: nothing finished, a run found twice, or what :func:`adana.scaling.read_runs` refuses.
        OSError: a path cannot be read.
    """
    entries: list[Entry] = []
    unfinished: list[Path] = []
    seen: set[Path] = set()
    for path in paths:
        for run in read_runs([path]):
            where = Path(run.where) if path.is_dir() else path
            entries.append(Entry(run, where, read_result(where) if path.is_dir() else None))
        folders = sorted(found.parent for found in path.rglob("run.json")) if path.is_dir() else [path]
        for folder in folders:
            if folder.resolve() in seen:
                raise ValueError(f"{folder} is read twice: name it, or a folder above it, once")
            seen.add(folder.resolve())
        unfinished += [folder for folder in folders if path.is_dir() and not (folder / "result.json").exists()]
    entries = [replace(entry, run=run) for entry, run in zip(entries, told_apart([entry.run for entry in entries]))]
    if not entries:
        raise ValueError("no finished run: name run folders or CSV files")
    return entries, unfinished


def find(paths: Sequence[Path], *, baseline: str | None = None, bootstrap: int = 400, seed: int = 0) -> Findings:
    """Read runs and fit what they allow.

    Args:
        paths: run folders, folders of them, CSV files.
        baseline: the optimizer that multipliers are over; None takes AdamW where it ran.
        bootstrap: samples of every interval.
        seed: of the bootstrap.

    Raises:
        ValueError: as :func:`collect`, or no run of the baseline.
        OSError: a path cannot be read.
    """
    entries, unfinished = collect(paths)
    runs = [entry.run for entry in entries]
    labels = {run.label for run in runs}
    if baseline is not None and baseline not in labels:
        raise ValueError(f"no runs of the baseline {baseline!r}: choose one of {', '.join(sorted(labels))}")
    if baseline is None:
        baseline = next((name for name in catalog.baselines() if name in labels), None)

    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        run = entry.run
        key = (run.label, run.model, run.non_embedding_parameters, run.tokens, run.batch_tokens, run.lr, run.setting)
        groups.setdefault((*key, run.linear_damping), []).append(entry)
    ordered = sorted(groups.values(), key=lambda group: _order(group[0].run))

    chosen, ratio, horizon = _one_horizon(runs)
    more = [] if ratio is None else ["--tokens-per-parameter", f"{ratio:g}"]
    if bootstrap != 400:
        more += ["--bootstrap", str(bootstrap)]

    def command(law: str, labels: Iterable[str] = (), *extra: str) -> str:
        names = ["--optimizers", *labels] if labels else []
        return shlex.join(["adana", "fit", *map(str, paths), "--law", law, *extra, *names, *more])

    def command_of_all(law: str, *extra: str) -> str:
        samples = ["--bootstrap", str(bootstrap)] if bootstrap != 400 else []
        return shlex.join(["adana", "fit", *map(str, paths), "--law", law, *extra, *samples])

    sweeps = list(_sweeps(chosen))
    learning_rates = {}
    for label, own in grouping.by_label(chosen).items():
        if any(len(sweep.losses) > 1 for sweep in sweeps if sweep.label == label):
            learning_rates[label] = _try(
                lambda own=own: fitting.learning_rate_law(own, bootstrap=bootstrap, seed=seed, formula=FORMULA),  # type: ignore[misc]
                command("lr", [label]),
            )
    multiplier: Fitted[Multipliers] = Fitted(None, "there is no AdamW among them: name a baseline with --baseline", "")
    if baseline is not None:
        name = baseline
        multiplier = _try(
            lambda: fitting.multipliers(chosen, baseline=name, formula=FORMULA, seed=seed),
            command("multiplier", (), "--baseline", name),
        )
    return Findings(
        tuple(paths),
        tuple(sorted(entries, key=lambda entry: (_order(entry.run), entry.run.seed or 0))),
        tuple(unfinished),
        baseline,
        tuple(Group(tuple(sorted(group, key=lambda entry: entry.run.seed or 0))) for group in ordered),
        horizon,
        tuple(chosen),
        tuple(sorted(sweeps, key=lambda sweep: (sweep.label, sweep.size))),
        dict(sorted(learning_rates.items())),
        command("lr", sorted(label for label, fitted in learning_rates.items() if fitted.fit is not None)),
        _loss(chosen, command, bootstrap, seed),
        multiplier,
        *_over_tokens(runs, baseline, command_of_all, bootstrap, seed),
        pooled_spread([group.finished for group in map(Group, map(tuple, ordered)) if len(group.finished) > 1]),
    )


def _over_tokens(
    runs: Sequence[Run], baseline: str | None, command: Callable[..., str], bootstrap: int, seed: int
) -> tuple[dict[str, Fitted[SizeTokensLaws]], Fitted[RateBatchLaws], Fitted[Overtraining]]:
    """Laws over size, tokens and batch, of runs of every horizon."""
    size_tokens = {
        label: _try(
            lambda own=own: size_tokens_law(own, bootstrap=bootstrap, seed=seed),  # type: ignore[misc]
            command("tokens", "--optimizers", label),
        )
        for label, own in grouping.by_label(runs).items()
    }
    rates = _try(lambda: rate_batch_law(runs, bootstrap=bootstrap, seed=seed), command("lr-batch"))
    over: Fitted[Overtraining] = Fitted(None, "there is no AdamW among them: name a baseline with --baseline", "")
    if baseline is not None:
        name = baseline
        over = _try(
            lambda: overtraining(runs, baseline=name, draws=bootstrap, seed=seed),
            command("overtraining", "--baseline", name),
        )
    return size_tokens, rates, over


def _order(run: Run) -> tuple[Any, ...]:
    def known(value: float | None) -> float:
        return -1.0 if value is None else value

    sizes = (run.model, known(run.non_embedding_parameters), known(run.tokens))
    return (*sizes, run.optimizer, known(run.kappa), run.options, known(run.weight_decay), known(run.lr), run.setting)


def _try(fit: Callable[[], F], command: str) -> Fitted[F]:
    try:
        return Fitted(fit(), "", command)
    except ValueError as error:
        return Fitted(None, " ".join(str(error).split()), command)


def _one_horizon(runs: Sequence[Run]) -> tuple[list[Run], float | None, str]:
    """The runs of one horizon, its tokens per parameter where it had to be chosen, and a sentence about it.

    Of several horizons the one with the most sizes, then the most runs, then the longest.
    """
    try:
        return list(runs), None, f"The runs share one horizon: {common_horizon(runs)}."
    except ValueError as error:
        refused = str(error)
    ratios = sorted(
        {float(f"{run.tokens / run.total_parameters:.4g}") for run in runs if run.tokens and run.total_parameters}
    )
    if not ratios:
        return list(runs), None, f"No law is fitted: {refused}."

    def rank(ratio: float) -> tuple[int, int, float]:
        own = grouping.select(runs, tokens_per_parameter=ratio)
        return len({run.non_embedding_parameters for run in own}), len(own), ratio

    best = max((ratio for ratio in ratios), key=rank)
    chosen = grouping.select(runs, tokens_per_parameter=best)
    seen = f"{ratios[0]:g} to {ratios[-1]:g}"
    return (
        chosen,
        best,
        f"The runs have several horizons ({seen} tokens per parameter), and a law holds for one: fits and multipliers "
        f"are of the {len(chosen)} runs with {best:g}.",
    )


def _sweeps(runs: Sequence[Run]) -> Iterable[Sweep]:
    for label, own in grouping.by_label(runs).items():
        known = [run for run in own if run.lr is not None and run.non_embedding_parameters is not None]
        for size, losses in grouping.sweeps_of(known).items():
            losses = dict(sorted(losses.items()))
            try:
                (best, *_), bracketed = learning_rate.best_learning_rates(size, losses, 1)
            except ValueError:  # one learning rate, or none, finished
                yield Sweep(label, size, losses, None, False, None)
                continue
            bend = learning_rate.curvature(losses)
            if bend is not None and not min(losses) <= bend.best_lr <= max(losses):
                bend = None
            yield Sweep(label, size, losses, best, bracketed, bend)


def _loss(runs: Sequence[Run], command: Callable[..., str], bootstrap: int, seed: int) -> Fitted[LossLaws]:
    """Loss laws of as many optimizers as have the sizes for it: those with the fewest are left out first."""
    by_label = grouping.by_label(runs)
    try:
        sizes = {name: len(grouping.ladder_of(own, FORMULA)) for name, own in by_label.items()}
    except ValueError as error:
        return Fitted(None, str(error), command("loss"))
    first = ""
    left = dict(sizes)
    while left:
        own = [run for run in runs if run.label in left]
        names = sorted(left) if len(left) < len(sizes) else []
        found = _try(
            lambda own=own: fitting.loss_law(own, formula=FORMULA, bootstrap=bootstrap, seed=seed),  # type: ignore[misc]
            command("loss", names),
        )
        if found.fit is not None:
            out = ", ".join(
                f"{name} ({n} size{'' if n == 1 else 's'})" for name, n in sizes.items() if name not in left
            )
            return Fitted(found.fit, "", found.command, f"The loss laws leave out {out}: {first}." if out else "")
        first = first or found.refused
        fewest = min(left.values())
        left = {name: n for name, n in left.items() if n > fewest}
    return Fitted(None, first, command("loss"))
