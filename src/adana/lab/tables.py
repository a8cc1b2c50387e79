"""What sweeps and ladders came to, as tables and sentences that the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adana.lab.sweep import Best
from adana.scaling.laws import label
from adana.tables import Cell, Column, Table, tabulate

__all__ = [
    "best_points",
    "differences",
    "ladder_plans",
    "ladder_searches",
    "options_in_words",
    "planned_rates",
    "predicted_losses",
    "told_apart",
]


def best_points(bests: Sequence[tuple[Best, bool]]) -> Table:
    """Where searches for a learning rate ended or stand.

    Args:
        bests: the best point of each search so far, and whether that search has ended.
    """

    def bracketed(one: tuple[Best, bool]) -> str:
        best, finished = one
        return ("yes" if best.bracketed else "no") if finished else "..."

    return tabulate(
        "best",
        "",
        bests,
        [
            Column("optimizer", lambda one: one[0].optimizer, words=True),
            Column("heads", lambda one: one[0].heads),
            Column("options", lambda one: options_in_words(told_apart(one[0])), words=True),
            Column("lr", lambda one: one[0].lr),
            Column("loss", lambda one: one[0].final_loss, ".4f", none="diverged"),
            Column("curvature", lambda one: one[0].curvature, ".3g", none=""),
            Column("bracketed", bracketed),
        ],
    )


def ladder_searches(result: Mapping[str, Any]) -> Table:
    """A ladder's sizes: the best learning rate of each optimizer at each.

    Args:
        result: what ``adana ladder --json`` prints.
    """

    def rate(best: Mapping[str, Any]) -> Cell:
        return Cell(f"{best['lr']:.3g}" + ("" if best["bracketed"] else " (edge)"), best["lr"])

    return tabulate(
        "searches",
        f"Best learning rates, and the mean loss of {len(result['ladder']['seeds'])} other seeds there. Edge: the last "
        "one tried on its side.",
        [best for one in result["searches"] for best in one["bests"]],
        [
            Column("optimizer", lambda best: best["optimizer"], words=True),
            Column("heads", lambda best: best["heads"]),
            Column("P", lambda best: best["non_embedding_parameters"], ","),
            Column("steps", lambda best: best["steps"], ","),
            Column("lr", rate),
            Column("curvature", lambda best: best["curvature"], ".2g"),
            Column("loss", lambda best: best["loss"], ".4f", none="diverged"),
        ],
    )


def ladder_plans(result: Mapping[str, Any]) -> Table:
    """A ladder's planned size before it is run: learning rate and loss that the laws predict.

    Args:
        result: what ``adana ladder --plan-only --json`` prints.
    """
    return tabulate(
        "planned",
        f"What the laws predict of {result['ladder']['predict']} heads, with the interval of a new run's loss.",
        result["plans"],
        [
            Column("optimizer", lambda it: label(it["optimizer"], it["kappa"]), words=True),
            Column("planned lr", lambda it: it["lr"]),
            Column("95 %", lambda it: (it["lr_low"], it["lr_high"]), ".3g"),
            Column("predicted loss", lambda it: it["predicted_loss"], ".4f"),
            Column("95 %", lambda it: (it["predicted_loss_low"], it["predicted_loss_high"]), ".4f"),
        ],
    )


def predicted_losses(result: Mapping[str, Any]) -> Table:
    """A ladder's planned size: the loss that the laws predicted, and what came out.

    Args:
        result: what ``adana ladder --json`` prints.
    """
    return tabulate(
        "predicted-loss",
        "Loss: mean over seeds. It holds where it lies in the interval of the prediction.",
        result["checks"],
        [
            Column("optimizer", lambda it: label(it["optimizer"], it["kappa"]), words=True),
            Column("predicted", lambda it: it["predicted_loss"], ".4f"),
            Column("95 %", lambda it: it["predicted_interval"], ".4f"),
            Column("measured", lambda it: it["measured_loss"], ".4f", none="diverged"),
            Column("± standard error", lambda it: it["standard_error"], ".4f"),
            Column("measured - predicted", lambda it: it["error"], "+.4f"),
            Column("holds", lambda it: it["loss_holds"]),
        ],
    )


def planned_rates(result: Mapping[str, Any]) -> Table:
    """A ladder's planned size: losses at the planned learning rate and beside it.

    Args:
        result: what ``adana ladder --json`` prints.
    """
    ladder = result["ladder"]
    return tabulate(
        "predicted-lr",
        f"Learning rate: loss on seed {ladder['seeds'][0]} at the planned one and beside it. It holds where no "
        "neighbour did better by more than two standard deviations of a difference of two runs.",
        result["checks"],
        [
            Column("optimizer", lambda it: label(it["optimizer"], it["kappa"]), words=True),
            Column("planned lr", lambda it: it["lr"]),
            Column("95 %", lambda it: it["lr_interval"], ".3g"),
            Column(f"at lr / {ladder['off']:g}", lambda it: it["beside"][0]["loss"], ".4f", none="diverged"),
            Column("at lr", lambda it: it["losses"][0], ".4f", none="diverged"),
            Column(f"at lr * {ladder['off']:g}", lambda it: it["beside"][-1]["loss"], ".4f", none="diverged"),
            Column("holds", lambda it: it["lr_holds"]),
        ],
    )


def differences(result: Mapping[str, Any]) -> list[str]:
    """How far each optimizer of a ladder ended below the first, in sentences.

    Args:
        result: what ``adana ladder --json`` prints.
    """
    return [
        f"{one['optimizer']} below {one['baseline']}: {one['predicted']:+.4f} nats predicted, {one['measured']:+.4f} "
        "measured."
        for one in result["differences"]
        if one["predicted"] is not None and one["measured"] is not None
    ]


def told_apart(best: Best) -> dict[str, Any]:
    """What tells a search from others: a coupled decay's omega follows the learning rate."""
    return ({} if best.coupled is None else {"coupled": best.coupled}) | best.options


def options_in_words(options: Mapping[str, Any]) -> str:
    """
    >>> options_in_words({"kappa": 0.85, "weight_decay": 0.001234567})
    'kappa=0.85, weight_decay=0.001235'
    """
    return ", ".join(f"{k}={f'{v:.4g}' if isinstance(v, float) else v}" for k, v in options.items())
