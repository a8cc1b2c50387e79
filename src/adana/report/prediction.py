"""The section a ladder has of its own: what its laws planned for the next size, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adana.lab.tables import differences, planned_rates, predicted_losses
from adana.report.page import Section
from adana.report.wording import many
from adana.tables import count

__all__ = ["predicted"]


def predicted(result: Mapping[str, Any]) -> Section:
    """The plan of a finished ladder beside the runs that checked it.

    Args:
        result: what ``adana ladder --json`` prints.
    """
    ladder = result["ladder"]
    smallest, largest = (result["searches"][0]["bests"][i]["non_embedding_parameters"] for i in (0, -1))
    plan = result["plans"][0]
    said = (
        f"Laws fitted to {many(len(ladder['heads']), 'size')} of {count(smallest)} to {count(largest)} parameters "
        f"planned {ladder['predict']} heads ({count(plan['non_embedding_parameters'])} parameters, {plan['steps']:,} "
        f"steps), which then ran at the planned learning rate on {many(len(ladder['seeds']), 'seed')}. The laws of the "
        "other sections are fitted to all runs, these included; those of the plan are in lr.json and loss.json."
    )
    return Section(
        "predicted",
        "Predicted and measured",
        (said, *differences(result)),
        (),
        (),
        (predicted_losses(result), planned_rates(result)),
    )
