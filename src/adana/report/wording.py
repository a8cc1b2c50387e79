"""How the report says numbers, names and what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from adana.report.findings import FORMULA, Group
from adana.report.page import Key, Panel, svg
from adana.scaling.runs import Run
from adana.tables import Cell, Column

__all__ = [
    "Absent",
    "compute",
    "count",
    "legend",
    "loss_of",
    "many",
    "marked",
    "panel",
    "size",
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


def count(value: float) -> str:
    """A count in a few characters.

    >>> [count(x) for x in (0, 950, 7.08e6, 1.349e9)]
    ['0', '950', '7.08M', '1.35B']
    """
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit * 0.9995:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def many(n: int, name: str) -> str:
    """
    >>> many(1, "run"), many(2, "run")
    ('1 run', '2 runs')
    """
    return f"{n} {name}{'' if n == 1 else 's'}"


def size_title(value: float | None) -> str:
    return "size not said" if value is None else f"{count(value)} parameters"


def size(value: float | None) -> Cell | None:
    return None if value is None else Cell(count(value), value)


def compute(run: Run) -> float | None:
    return run.pfh(FORMULA) if FORMULA in run.flops else None


def loss_of(group: Group) -> float | Cell:
    """The mean over seeds, or how many diverged."""
    if not group.diverged:
        return group.mean
    said = "diverged" if group.diverged == len(group.entries) else f"{group.diverged} of {len(group.entries)} diverged"
    return Cell(said, math.inf)


def marked(value: float | None, form: str, extrapolated: bool | None) -> Cell | None:
    """A number with a star where it is extrapolated."""
    if value is None:
        return None
    made = Column("", lambda it: it, form).cell(value)
    return Cell(made.text + ("*" if extrapolated else ""), made.sort)
