"""What came out of a race: its numbers with their intervals, and its table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from adana import rules
from adana.models import build
from adana.scaling.intervals import t_interval
from adana.scaling.multiplier import compute_multiplier
from adana.tables import Column, Table, span, tabulate
from adana.train.folder import Result
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Recipe

__all__ = ["Lane", "RaceResult", "Row", "optimizer_flops", "race_notes", "race_table", "summarize"]

ALIKE = "no significant difference from"
"""Heading of the column of optimizers whose difference from a row's has an interval that holds 0."""


@dataclass(frozen=True)
class Lane:
    """One optimizer in the race, with what the search found for it."""

    optimizer: str
    lr: float
    options: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of the final table. Intervals are 95 % by Student's t over the seeds, None with fewer than two.

    Attributes:
        optimizer, lr, options: what ran.
        final_losses: validation loss of each seed, None where it diverged.
        diverged: (seed, step) of each diverged run.
        loss: mean over the seeds that finished, None if none did.
        loss_interval: of that mean.
        ahead: mean over seeds of the baseline's loss less this one's, seed by seed: above 0 this one is better.
        ahead_interval: of that mean difference.
        alike: the optimizers that these seeds cannot tell from this one: the interval of the paired difference of
            losses holds 0.
        multipliers: compute multiplier against the baseline, seed by seed, None where there is none; model FLOPs only.
        multiplier: their mean.
        multiplier_interval: of that mean.
        efficiency: relative compute saved, ``multiplier - 1``.
        extrapolated: whether any seed's multiplier lies outside what the baseline was trained for.
        optimizer_flops: of the optimizer's own matrix products (Newton-Schulz), as a share of the model's FLOPs.
        multiplier_all: the multiplier with these counted.
        multiplier_time: the multiplier by measured time: times the baseline's seconds per step over this one's, each
            of its fastest run.
        tokens_per_second: of its fastest run, evaluations included.
    """

    optimizer: str
    lr: float
    options: dict[str, Any]
    final_losses: list[float | None]
    diverged: list[tuple[int, int]]
    loss: float | None
    loss_interval: tuple[float, float] | None
    ahead: float | None
    ahead_interval: tuple[float, float] | None
    alike: list[str]
    multipliers: list[float | None]
    multiplier: float | None
    multiplier_interval: tuple[float, float] | None
    efficiency: float | None
    extrapolated: bool
    optimizer_flops: float
    multiplier_all: float | None
    multiplier_time: float | None
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
        baseline_lanes: for each horizon, what the baseline ran with.
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
    baseline_lanes: list[Lane]
    flops: float
    tuned: bool
    rows: list[Row]
    curves: list[dict[str, Any]]


def _ends(values: Sequence[float]) -> tuple[float, float] | None:
    found = t_interval(values)
    return None if found is None else (found.low, found.high)


def _differences(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float]:
    """Their loss less ours, seed by seed, where both finished."""
    return [b - a for a, b in zip(ours, theirs) if a is not None and b is not None]


def _alike(name: str, losses: Mapping[str, Sequence[float | None]]) -> list[str]:
    found = []
    for other in losses:
        ends = _ends(_differences(losses[name], losses[other])) if other != name else None
        if ends is not None and ends[0] <= 0 <= ends[1]:
            found.append(other)
    return found


def optimizer_flops(recipe: Recipe) -> float:
    """FLOPs of one step of the optimizer's matrix products, as a share of the model's in that step.

    Muon's Newton-Schulz iterations are matrix products of the size of the weights, whatever the batch; elementwise
    rules have none, and their own arithmetic is not counted. What somebody else's optimizer does is not known.
    """
    with torch.device("meta"):
        model = build(recipe.model_config())
        optimizer = build_optimizer(recipe.optimizer, model, lr=recipe.lr or 1.0, options=recipe.optimizer_options())
    products = 0
    for group in optimizer.param_groups:
        if "rule" in group and not rules.rule(group["rule"]).elementwise:
            products += sum(rules.newton_schulz_flops(*p.shape, steps=group["ns_steps"]) for p in group["params"])
    return products / (recipe.flops / recipe.total_steps)


def _multipliers(
    name: str,
    baseline: str,
    losses: Sequence[float | None],
    lines: Sequence[Sequence[tuple[float, float | None]]],
    flops: float,
) -> tuple[list[float | None], bool]:
    """The multiplier of each seed against the baseline's line of that seed, and whether any is extrapolated."""
    found: list[float | None] = []
    extrapolated = False
    for loss, line in zip(losses, lines):
        known = [(compute, x) for compute, x in line if x is not None]
        one = None
        if name == baseline:
            found.append(None if loss is None else 1.0)
            continue
        if loss is not None and len(known) > 1:
            one = compute_multiplier([c for c, _ in known], [x for _, x in known], flops, loss)
        found.append(one.multiplier if one else None)
        extrapolated |= bool(one and one.extrapolated)
    return found, extrapolated


def summarize(
    setting: Recipe,
    lanes: Sequence[Lane],
    results: Mapping[tuple[str, int, float], Result],
    seeds: list[int],
    horizons: list[float],
    baseline: str,
    *,
    longer: Mapping[float, Lane] | None = None,
    text: str,
    tuned: bool,
) -> RaceResult:
    """Sum up the runs of a race.

    Args:
        setting: what all runs share.
        lanes: the optimizers.
        results: of every run, by optimizer, seed and horizon.
        seeds: which seeds ran.
        horizons: of the baseline, in multiples of the budget.
        baseline: its name.
        longer: settings of the baseline at horizons where it has some of its own.
        text: name of the corpus.
        tuned: whether the setting is the one that the learning rates were searched on.
    """
    flops = setting.flops
    losses = {lane.optimizer: [results[lane.optimizer, seed, 1.0].final_loss for seed in seeds] for lane in lanes}
    lines = [[(flops * h, results[baseline, seed, h].final_loss) for h in horizons] for seed in seeds]
    own = {
        lane.optimizer: optimizer_flops(replace(setting, optimizer=lane.optimizer, lr=lane.lr, options=lane.options))
        for lane in lanes
    }
    speeds = {}
    for lane in lanes:
        runs = [results[lane.optimizer, seed, 1.0] for seed in seeds]
        # The fastest run, as other work on the machine only ever makes one slower.
        speeds[lane.optimizer] = setting.tokens_per_step * max(
            (run.diverged_at or setting.total_steps) / max(run.seconds, 1e-9) for run in runs
        )
    rows = []
    for lane in lanes:
        name = lane.optimizer
        finished = [loss for loss in losses[name] if loss is not None]
        multipliers, extrapolated = _multipliers(name, baseline, losses[name], lines, flops)
        measured = [x for x in multipliers if x is not None]
        multiplier = statistics.fmean(measured) if measured else None
        ahead = [] if name == baseline else _differences(losses[name], losses[baseline])
        rows.append(
            Row(
                optimizer=name,
                lr=lane.lr,
                options=lane.options,
                final_losses=losses[name],
                diverged=[(seed, at) for seed in seeds if (at := results[name, seed, 1.0].diverged_at) is not None],
                loss=statistics.fmean(finished) if finished else None,
                loss_interval=_ends(finished),
                ahead=statistics.fmean(ahead) if ahead else None,
                ahead_interval=_ends(ahead),
                alike=_alike(name, losses),
                multipliers=multipliers,
                multiplier=multiplier,
                multiplier_interval=None if name == baseline else _ends(measured),
                efficiency=None if multiplier is None else multiplier - 1,
                extrapolated=extrapolated,
                optimizer_flops=own[name],
                multiplier_all=None if multiplier is None else multiplier * (1 + own[baseline]) / (1 + own[name]),
                multiplier_time=None if multiplier is None else multiplier * speeds[name] / speeds[baseline],
                tokens_per_second=speeds[name],
            )
        )
    own_lane = next(lane for lane in lanes if lane.optimizer == baseline)
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
        baseline_lanes=[(longer or {}).get(h, own_lane) for h in horizons],
        flops=flops,
        tuned=tuned,
        rows=rows,
        curves=[
            {"optimizer": name, "seed": seed, "horizon": horizon, "points": run.curve, "train": run.train_curve}
            for (name, seed, horizon), run in results.items()
        ],
    )


def race_table(result: Mapping[str, Any]) -> Table:
    """The table of a race, for the terminal and the page.

    Args:
        result: what ``adana race --json`` prints.
    """
    seeds = len(result["seeds"])

    def loss(row: Mapping[str, Any]) -> str:
        if row["loss"] is None:
            return "diverged at step " + ", ".join(f"{step} (seed {seed})" for seed, step in row["diverged"])
        some = f" ({len(row['diverged'])} of {seeds} diverged)" if row["diverged"] else ""
        return f"{row['loss']:.4f}{some}"

    def star(value: float | None, row: Mapping[str, Any], form: str) -> str | None:
        return None if value is None else f"{value:{form}}{'*' if row['extrapolated'] else ''}"

    def ends(row: Mapping[str, Any], name: str, form: str) -> str | None:
        return None if row[name] is None else span(row[name], form)

    columns: list[Column[Mapping[str, Any]]] = [
        Column(
            "optimizer",
            lambda row: row["optimizer"] + (" (baseline)" if row["optimizer"] == result["baseline"] else ""),
            words=True,
        ),
        Column("lr", lambda row: row["lr"], ".3g"),
        Column("weight decay", lambda row: row["options"].get("weight_decay"), "g"),
        Column(
            "options",
            lambda row: ", ".join(f"{k}={v}" for k, v in row["options"].items() if k != "weight_decay"),
            words=True,
        ),
        Column("loss", loss),
        Column("95 %", lambda row: ends(row, "loss_interval", ".4f")),
        Column("compute multiplier", lambda row: star(row["multiplier"], row, ".2f")),
        Column("95 %", lambda row: ends(row, "multiplier_interval", ".2f")),
        Column("with the optimizer's FLOPs", lambda row: star(row["multiplier_all"], row, ".2f")),
        Column("by time", lambda row: star(row["multiplier_time"], row, ".2f")),
        Column(ALIKE, lambda row: ", ".join(row["alike"]), words=True),
    ]
    caption = (
        f"Validation loss in nats per byte, mean over {seeds} seed{'s' * (seeds > 1)}. Multiplier: the compute that "
        f"{result['baseline']} would need for that loss, over the budget of {result['flops']:.3g} FLOP; above 1 it "
        "needs more. * outside the losses that the baseline was trained to."
    )
    kept = [
        column for column in columns if seeds > 1 or column.heading not in ("95 %", "no significant difference from")
    ]
    return tabulate("race", caption, result["rows"], kept)


def race_notes(result: Mapping[str, Any]) -> list[str]:
    """What to know before a race's table is believed, for the terminal and the page.

    Args:
        result: what ``adana race --json`` prints.
    """
    notes = []
    for horizon, losses in zip(result["horizons"], result["baseline_losses"]):
        shown = ", ".join("diverged" if loss is None else f"{loss:.4f}" for loss in losses)
        notes.append(f"{result['baseline']} trained to the end for {horizon:g} x the budget: {shown}")
    if len(result["seeds"]) == 1:
        notes.append("One seed moves these losses by about 0.02: pass --seeds 5 before you believe small gaps.")
    else:
        notes.append(
            "Intervals are 95 % by Student's t over the seeds. Two optimizers differ significantly where the interval "
            "of their difference, seed by seed, does not hold 0. The multiplier counts the model's FLOPs; Muon's "
            "Newton-Schulz products come on top."
        )
    if not result["tuned"]:
        notes.append("The learning rates were searched at the default setting; this is another one.")
    return notes
