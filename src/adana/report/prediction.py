"""The section a ladder has of its own: what its laws planned for the next size, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adana.report.page import Section
from adana.report.wording import many
from adana.scaling.laws import label
from adana.tables import Column, count, tabulate

__all__ = ["predicted"]


def predicted(result: Mapping[str, Any]) -> Section:
    """The plan of a finished ladder beside the runs that checked it.

    Args:
        result: what ``adana ladder --json`` prints.
    """
    checks, ladder = result["checks"], result["ladder"]
    smallest, largest = (result["searches"][0]["bests"][i]["non_embedding_parameters"] for i in (0, -1))
    plan = result["plans"][0]
    said = (
        f"Laws fitted to {many(len(ladder['heads']), 'size')} of {count(smallest)} to {count(largest)} parameters "
        f"planned {ladder['predict']} heads ({count(plan['non_embedding_parameters'])} parameters, {plan['steps']:,} "
        f"steps), which then ran at the planned learning rate on {many(len(ladder['seeds']), 'seed')}. The laws of the "
        "other sections are fitted to all runs, these included; those of the plan are in lr.json and loss.json."
    )
    differences = [
        f"{one['optimizer']} below {one['baseline']}: {one['predicted']:+.4f} nats predicted, {one['measured']:+.4f} "
        "measured."
        for one in result["differences"]
        if one["predicted"] is not None and one["measured"] is not None
    ]

    losses = tabulate(
        "predicted-loss",
        "Loss: mean over seeds. It holds where it lies in the interval of the prediction.",
        checks,
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
    rates = tabulate(
        "predicted-lr",
        f"Learning rate: loss on seed {ladder['seeds'][0]} at the planned one and beside it. It holds where no "
        "neighbour did better by more than two standard deviations of a difference of two runs.",
        checks,
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
    return Section("predicted", "Predicted and measured", (said, *differences), (), (), (losses, rates))
