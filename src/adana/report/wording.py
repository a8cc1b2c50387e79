"""How the report says numbers, names and what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from adana.report.findings import FORMULA, Group
from adana.report.page import Key, Panel, svg
from adana.scaling.runs import Run
from adana.tables import Cell, count

__all__ = [
    "Absent",
    "compute",
    "legend",
    "loss_of",
    "many",
    "panel",
    "size_title",
]


class Absent(Exception):
    """The runs do not allow a section; the message says why."""


def panel(id: str, title: str, description: str, draw: Callable[[Any], None], *, name: str = "") -> Panel:
    """A drawing under its title; ``name`` names one that needs no title for those who see it."""
    return Panel(title, svg(draw, id=id, title=name or title, description=description))


def legend(shown: Mapping[str, Key], labels: Iterable[str]) -> tuple[Key, ...]:
    """The keys of some labels, in the order of all."""
    wanted = set(labels)
    return tuple(key for label, key in shown.items() if label in wanted)


def many(n: int, name: str) -> str:
    """
    >>> many(1, "run"), many(2, "run")
    ('1 run', '2 runs')
    """
    return f"{n} {name}{'' if n == 1 else 's'}"


def size_title(value: float | None) -> str:
    return "size not said" if value is None else f"{count(value)} parameters"


def compute(run: Run) -> float | None:
    return run.pfh(FORMULA) if FORMULA in run.flops else None


def loss_of(group: Group) -> float | Cell:
    """The mean over seeds, or how many diverged."""
    if not group.diverged:
        return group.mean
    said = "diverged" if group.diverged == len(group.entries) else f"{group.diverged} of {len(group.entries)} diverged"
    return Cell(said, math.inf)
