"""Rules compared over several problems, each at its own best learning rate.

Of every rule, :func:`adana.theory.sweeps.search` has the final risk on a grid: the values of one option and the
learning rates, which are the same for all rules. Three questions are answered here:

* *best on each problem*: the least final risk on the grid, problem by problem (:class:`RankedRule`). It is the least
  of many noisy numbers and so a little too low, for all rules alike.
* *one choice for all*: the option and rate of least geometric mean over the problems, measured anew on problems and
  streams that the choice has not seen (``held_out_seeds`` of :func:`rank`).
* *risk over kappa*: at every value of the option the least risk over the rates (:func:`by_value`).

Risks of different problems differ by factors, so means are geometric. GeometricMeans are Student's t intervals of the
mean logarithm, 95 %. Ratios to a baseline are paired: both rules saw the same problem and the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from adana.theory.checks import Floats
from adana.theory.comparison import plain
from adana.theory.sweeps import KappaSweep, Value, final_risk, learning_rates, make_problem

__all__ = ["GeometricMean", "RankedRule", "Ranking", "RuleAtValue", "SweepResult", "by_value", "geometric_mean", "rank"]


@dataclass(frozen=True)
class GeometricMean:
    """A geometric mean with its 95 % interval, which is None for a single problem or where a risk is not finite."""

    mean: float
    low: float | None = None
    high: float | None = None


def geometric_mean(values: ArrayLike) -> GeometricMean:
    """Geometric mean and Student's t interval of positive numbers, (n,).

    >>> found = geometric_mean([1.0, 4.0])
    >>> found.mean, found.low < 1 < 4 < found.high
    (2.0, True)
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        return GeometricMean(float("inf"))
    logs = np.log(array)
    mean = float(logs.mean())
    if logs.size == 1:
        return GeometricMean(float(np.exp(mean)))
    half = float(student.ppf(0.975, logs.size - 1) * logs.std(ddof=1) / np.sqrt(logs.size))
    with np.errstate(over="ignore"):
        return GeometricMean(float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half)))


@dataclass(frozen=True)
class RankedRule:
    """One rule over all problems.

    Attributes:
        label: of the rule.
        option: name of its searched option.
        runs: how many configurations per problem were tried.
        risk: least risk on each problem: geometric mean over problems.
        ratio: the same, divided by the baseline's on the same problem.
        wins: on how many problems no rule is better.
        bests: option and learning rate of the least risk, problem by problem.
        inside: on how many problems that rate lies inside the grid.
        value: option of the one choice for all problems, of least geometric mean.
        lr: learning rate of that choice.
        chosen_risk: its geometric mean over the searched problems.
        held_out_risk: the same on problems that the choice has not seen; None where none were run.
        held_out_ratio: divided by the baseline's choice on the same problem.
        held_out_wins: on how many of them no rule's choice is better.
    """

    label: str
    option: str
    runs: int
    risk: GeometricMean
    ratio: GeometricMean
    wins: int
    bests: tuple[tuple[Value, float], ...]
    inside: int
    value: Value
    lr: float
    chosen_risk: GeometricMean
    held_out_risk: GeometricMean | None = None
    held_out_ratio: GeometricMean | None = None
    held_out_wins: int | None = None


@dataclass(frozen=True)
class RuleAtValue:
    """One rule at one value of its option, at the best learning rate of each problem.

    Attributes:
        label: of the rule.
        value: of its option.
        risk: geometric mean over problems.
        to_start: the same divided by the risk at the start.
        lrs: the lowest and the highest of the best rates.
    """

    label: str
    value: Value
    risk: GeometricMean
    to_start: GeometricMean
    lrs: tuple[float, float]


@dataclass(frozen=True)
class Ranking:
    """The comparison.

    Attributes:
        baseline: label of the rule that ratios are taken to.
        seeds: of the searched problems.
        held_out_seeds: of the others.
        rules: the best first.
        values: every rule at every value of its option.
    """

    baseline: str
    seeds: tuple[int, ...]
    held_out_seeds: tuple[int, ...]
    rules: tuple[RankedRule, ...]
    values: tuple[RuleAtValue, ...]

    def rule(self, label: str) -> RankedRule:
        """The rule of that label."""
        found = [one for one in self.rules if one.label == label]
        if not found:
            raise ValueError(f"no {label!r} in this ranking: it has {', '.join(one.label for one in self.rules)}")
        return found[0]


@dataclass(frozen=True)
class SweepResult:
    """A search over all its problems, and the comparison of its rules.

    Attributes:
        name: of the setting.
        sweeps: one per seed.
        ranking: the rules compared.
    """

    name: str
    sweeps: tuple[KappaSweep, ...]
    ranking: Ranking

    def document(self) -> dict[str, Any]:
        """As data for JSON: the setting, every final risk, and the comparison; without the curves."""
        made: dict[str, Any] = plain(
            {
                "setting": {"name": self.name, **asdict(self.sweeps[0].setting)},
                "predicted_kappa": self.sweeps[0].predicted,
                "ranking": asdict(self.ranking),
                "sweeps": [sweep.document() for sweep in self.sweeps],
            }
        )
        return made


def by_value(sweeps: Sequence[KappaSweep]) -> tuple[RuleAtValue, ...]:
    """Every rule at every value of its option, at the best learning rate of each problem."""
    rows = []
    for label, rule in sweeps[0].setting.rules().items():
        tables = np.stack([sweep.finite_risk(label) for sweep in sweeps])
        least, best = tables.min(axis=2), tables.argmin(axis=2)
        starts = np.array([sweep.start for sweep in sweeps])
        for i, value in enumerate(rule.values):
            lrs = [float(sweep.lrs[k]) for sweep, k in zip(sweeps, best[:, i])]
            rows.append(
                RuleAtValue(
                    label,
                    value,
                    geometric_mean(least[:, i]),
                    geometric_mean(least[:, i] / starts),
                    (min(lrs), max(lrs)),
                )
            )
    return tuple(rows)


def rank(
    sweeps: Sequence[KappaSweep],
    *,
    baseline: str = "adamw",
    held_out_seeds: Sequence[int] = (),
    device: str | None = None,
) -> Ranking:
    """Compare the rules of finished sweeps.

    Args:
        sweeps: of one setting and one grid, one per seed.
        baseline: label of the rule that ratios are taken to.
        held_out_seeds: seeds of further problems, on which each rule runs once, with the option and rate of least
            geometric mean over the sweeps.
        device: as in :func:`adana.theory.simulate.simulate`.
    """
    first = sweeps[0]
    first.rule(baseline)
    seeds = tuple(sweep.seed for sweep in sweeps)
    if set(seeds) & set(held_out_seeds):
        raise ValueError(f"the held-out seeds {sorted(set(seeds) & set(held_out_seeds))} were searched: pass others")
    rules = first.setting.rules()
    tables = {label: np.stack([sweep.finite_risk(label) for sweep in sweeps]) for label in rules}
    least = {label: table.min(axis=(1, 2)) for label, table in tables.items()}
    lowest = np.min(list(least.values()), axis=0)
    chosen = {label: _choice(table) for label, table in tables.items()}
    outside = _held_out(first, chosen, held_out_seeds, device)
    lowest_outside = np.min(list(outside.values()), axis=0) if held_out_seeds else np.zeros(0)
    ranked = []
    for label, rule in rules.items():
        i, k = chosen[label]
        bests = tuple(sweep.best(label) for sweep in sweeps)
        ranked.append(
            RankedRule(
                label,
                rule.option,
                tables[label][0].size,
                geometric_mean(least[label]),
                geometric_mean(_ratio(least[label], least[baseline])),
                int((least[label] <= lowest).sum()),
                bests,
                sum(bool(sweep.lrs[0] < lr < sweep.lrs[-1]) for sweep, (_, lr) in zip(sweeps, bests)),
                rule.values[i],
                first.setting.lrs[k],
                geometric_mean(tables[label][:, i, k]),
                geometric_mean(outside[label]) if held_out_seeds else None,
                geometric_mean(_ratio(outside[label], outside[baseline])) if held_out_seeds else None,
                int((outside[label] <= lowest_outside).sum()) if held_out_seeds else None,
            )
        )
    ranked.sort(key=lambda one: (one.held_out_risk or one.risk).mean)
    return Ranking(baseline, seeds, tuple(held_out_seeds), tuple(ranked), by_value(sweeps))


def _ratio(values: Floats, baseline: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(values / baseline, nan=np.inf)


def _choice(table: Floats) -> tuple[int, int]:
    """Value and rate of least geometric mean over the problems, (problems, values, rates)."""
    with np.errstate(divide="ignore"):
        means = np.log(table).mean(axis=0)
    i, k = np.unravel_index(int(means.argmin()), means.shape)
    return int(i), int(k)


def _held_out(
    first: KappaSweep, chosen: dict[str, tuple[int, int]], seeds: Sequence[int], device: str | None
) -> dict[str, Floats]:
    """Final risk of each rule's choice on further problems, (problems,) by label."""
    setting, rules = first.setting, first.setting.rules()
    risks = []
    for seed in seeds:
        problem = make_problem(setting, seed)
        lrs = learning_rates(setting, problem)
        runs = [rule.at(rule.values[chosen[label][0]], float(lrs[chosen[label][1]])) for label, rule in rules.items()]
        _, risk, _ = final_risk(problem, setting, runs, seed, device=device)
        risks.append(np.nan_to_num(risk[:, -1], nan=np.inf, posinf=np.inf))
    stacked = np.array(risks).reshape(len(seeds), len(rules))
    return dict(zip(rules, stacked.T))
