"""What the bench's results look like as tables and sentences, for a terminal or a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np

from adana.tables import Column, Table, tabulate
from adana.theory.comparison import ComparedCurve, Comparison
from adana.theory.dana_map import DanaMap, DanaPoint
from adana.theory.kappa_map import KappaMap, KappaPoint
from adana.theory.ranking import GeometricMean, RankedRule, SweepResult
from adana.theory.sweeps import Value

__all__ = ["sentences", "tables"]


def tables(result: Comparison | SweepResult | KappaMap | DanaMap) -> list[Table]:
    """The tables of any result of :mod:`adana.theory.experiments`."""
    if isinstance(result, SweepResult):
        return _sweep(result)
    if isinstance(result, KappaMap):
        return [_kappa_map(result)]
    if isinstance(result, DanaMap):
        return [_dana_map(result)]
    return _comparison(result)


def sentences(result: Comparison | SweepResult | KappaMap | DanaMap) -> list[str]:
    """What is said below the tables."""
    if isinstance(result, SweepResult):
        first = result.sweeps[0]
        lrs = first.setting.lrs
        return [
            f"Every rule was tried at {len(lrs)} learning rates from {lrs[0]:.3g} to {lrs[-1]:.3g}, times the same "
            "number of values of one option of its own.",
            f"Risk at the start {first.start:.4g}, least possible {first.least:.4g} (first problem); "
            f"1/(2 rho) = {first.predicted:.3g}.",
        ]
    if isinstance(result, Comparison):
        return [*_numbers(result.numbers), *result.notes]
    return []


def _comparison(result: Comparison) -> list[Table]:
    def deviation(curve: ComparedCurve) -> float | None:
        return None if result.laws else curve.max_relative

    columns: list[Column[ComparedCurve]] = [
        Column("curve", lambda curve: curve.label, words=True),
        Column("first", lambda curve: float(curve.simulated[0])),
        Column("last", lambda curve: float(curve.simulated[-1])),
        Column("last predicted", lambda curve: None if curve.predicted is None else float(curve.predicted[-1])),
        Column("largest deviation", deviation, ".2%"),
        Column("in standard errors", lambda curve: curve.max_z, ".2f"),
        Column("diverged at", lambda curve: curve.diverged_at),
    ]
    # A column that is empty for every curve says nothing.
    kept = [c for c in columns if any(c.cell(curve).text != c.none for curve in result.curves)]
    made = [tabulate("comparison", result.title, result.curves, kept)]
    for value in result.numbers.values():
        if is_dataclass(value):
            made.append(_phase_map(value))
    return made


def _numbers(numbers: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in numbers.items():
        words = name.replace("_", " ")
        if isinstance(value, dict):
            if len(value) <= 12 and all(isinstance(x, (int, float, type(None))) for x in value.values()):
                lines.append(f"{words}: " + ", ".join(f"{key} {_number(x)}" for key, x in value.items()))
        elif isinstance(value, (int, float, type(None))):
            lines.append(f"{words}: {_number(value)}")
        elif isinstance(value, str):
            lines.append(f"{words}: {value}")
    return lines


def _number(x: float | None) -> str:
    return "none" if x is None or np.isnan(x) else f"{x:.4g}"


def _phase_map(mapped: Any) -> Table:
    rows = list(zip(mapped.alphas, mapped.verdict()))

    def ahead(k: int) -> Any:
        return lambda row: row[1][k]

    columns: list[Column[Any]] = [Column("data exponent", lambda row: float(row[0]), "g")]
    columns += [Column(f"target {beta:g}", ahead(k), words=True) for k, beta in enumerate(mapped.betas)]
    return tabulate("phase-map", "Who is ahead at every horizon, over data and target exponents", rows, columns)


def _value(value: Value) -> str:
    """A value of an option: kappa, delta or a pair of betas."""
    return ", ".join(f"{x:.4g}" for x in value) if isinstance(value, tuple) else f"{value:.3g}"


def _sweep(result: SweepResult) -> list[Table]:
    ranking, first = result.ranking, result.sweeps[0]
    problems = len(result.sweeps)
    over = f"{problems} problems" if problems > 1 else f"one problem (seed {first.seed})"
    best: list[Column[RankedRule]] = [
        Column("rule", lambda one: one.label, words=True),
        Column("risk", lambda one: one.risk.mean, ".3g"),
        Column("95 %", lambda one: _ends(one.risk), ".3g"),
        Column(f"of {ranking.baseline}'s", lambda one: one.ratio.mean, ".2f"),
        Column("best on", lambda one: one.wins),
        Column("at", lambda one: f"{one.option} {_value(one.value)}", words=True),
        Column("lr", lambda one: one.lr, ".3g"),
    ]
    # Of one problem there is no interval.
    kept = [c for c in best if any(c.cell(one).text != c.none for one in ranking.rules)]
    made = [
        tabulate(
            "best",
            f"{result.name}, {first.setting.total_steps:,} steps: least risk at the end, {over}",
            ranking.rules,
            kept,
        )
    ]
    if ranking.held_out_seeds:
        columns: list[Column[RankedRule]] = [
            Column("rule", lambda one: one.label, words=True),
            Column("risk", lambda one: _mean(one.held_out_risk), ".3g"),
            Column(f"of {ranking.baseline}'s", lambda one: _mean(one.held_out_ratio), ".2f"),
            Column("95 %", lambda one: _ends(one.held_out_ratio), ".2f"),
            Column("best on", lambda one: one.held_out_wins),
        ]
        caption = f"The same options and rates on {len(ranking.held_out_seeds)} other problems"
        made.append(tabulate("held-out", caption, ranking.rules, columns))
    made += _over_kappa(result)
    return made


def _mean(value: GeometricMean | None) -> float | None:
    return None if value is None else value.mean


def _ends(value: GeometricMean | None) -> tuple[float, float] | None:
    return None if value is None or value.low is None or value.high is None else (value.low, value.high)


def _over_kappa(result: SweepResult) -> list[Table]:
    """Risk over kappa at each rule's own best rate: a row per kappa, so that it fits a narrow terminal."""
    first = result.sweeps[0]
    rules = {label: rule for label, rule in first.setting.rules().items() if rule.option == "kappa"}
    risk = {(row.label, row.value): row.risk.mean for row in result.ranking.values}
    kappas: Sequence[Value] = next(iter(rules.values())).values if rules else ()
    made = []
    labels = list(rules)
    for start in range(0, len(labels), _RULES_PER_TABLE):
        part = labels[start : start + _RULES_PER_TABLE]
        columns: list[Column[Value]] = [Column("kappa", lambda kappa: _value(kappa))]
        columns += [Column(label, _risk_of(risk, label), ".3g") for label in part]
        made.append(tabulate(f"kappa-{start}", "Risk over kappa, each at its best learning rate", kappas, columns))
    return made


_RULES_PER_TABLE = 4  # fits 80 columns


def _risk_of(risk: dict[tuple[str, Value], float], label: str) -> Any:
    return lambda kappa: risk[label, kappa]


def _kappa_map(result: KappaMap) -> Table:
    columns: list[Column[KappaPoint]] = [
        Column("rho", lambda point: point.rho, "g"),
        Column("batch", lambda point: point.batch),
        Column("steps", lambda point: point.horizon),
        Column("lr", lambda point: point.lr, "g"),
        Column("1/(2 rho)", lambda point: point.predicted, ".3g"),
        Column("simulated", lambda point: _edge(point.best, point.at_edge)),
        Column("spread", lambda point: point.spread, ".2f"),
        Column("risk/least", lambda point: point.risk, ".3g"),
    ]
    return tabulate("kappa-map", f"Best kappa of {result.optimizer} on PLRF", result.points, columns)


def _dana_map(result: DanaMap) -> Table:
    columns: list[Column[DanaPoint]] = [
        Column("rho", lambda point: point.rho, "g"),
        Column("lr", lambda point: point.lr, "g"),
        Column("c", lambda point: point.damping_scale, "g"),
        Column("steps", lambda point: point.horizon),
        Column("1/(2 rho)", lambda point: point.predicted, ".3g"),
        Column("best", lambda point: _edge(point.best, point.at_edge)),
        Column("risk at 1/(2 rho)", lambda point: point.risk_at_predicted, ".2f"),
        Column("slope off by", lambda point: point.slope_gap, ".2f"),
    ]
    caption = "Best kappa of DANA's exact risk; risk at 1/(2 rho) in units of the least"
    return tabulate("dana-map", caption, result.points, columns)


def _edge(best: float, at_edge: bool) -> str:
    return f"{best:.2f}" + (" (edge)" if at_edge else "")
