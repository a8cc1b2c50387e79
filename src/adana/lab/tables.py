"""What searches for a learning rate came to, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adana.lab.sweep import Best
from adana.tables import Column, Table, tabulate

__all__ = ["best_points", "options_in_words", "told_apart"]


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


def told_apart(best: Best) -> dict[str, Any]:
    """What tells a search from others: a coupled decay's omega follows the learning rate."""
    return ({} if best.coupled is None else {"coupled": best.coupled}) | best.options


def options_in_words(options: Mapping[str, Any]) -> str:
    """
    >>> options_in_words({"kappa": 0.85, "weight_decay": 0.001234567})
    'kappa=0.85, weight_decay=0.001235'
    """
    return ", ".join(f"{k}={f'{v:.4g}' if isinstance(v, float) else v}" for k, v in options.items())
