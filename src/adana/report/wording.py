"""How the report says numbers, names and what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from adana.report.findings import FORMULA, Group
from adana.report.page import NONE, Cell, Key, Panel, Table, number, svg
from adana.scaling.runs import Run

__all__ = [
    "Absent",
    "compute",
    "count",
    "legend",
    "loss_of",
    "many",
    "marked",
    "panel",
    "percent",
    "size",
    "size_title",
    "span",
    "table",
    "text",
    "whole",
    "yes_no",
]

T = TypeVar("T")


class Absent(Exception):
    """The runs do not allow a section; the message says why."""


def table(id: str, caption: str, items: Iterable[T], columns: Mapping[str, Callable[[T], Cell]]) -> Table:
    """A table from its columns: heading, and what it shows of an item; a heading of text ends in a space."""
    made = tuple(columns.values())
    return Table(id, caption, tuple(columns), tuple(tuple(column(item) for column in made) for item in items))


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


def span(ends: Sequence[float | None], form: str = ".3g") -> str:
    """An interval in words.

    >>> span([0.5, 2.0]), span([None, None])
    ('0.5 to 2', '0 to infinity')
    """
    low, high = ends
    return f"{low or 0:{form}} to {'infinity' if high is None else format(high, form)}"


def size_title(value: float | None) -> str:
    return "size not said" if value is None else f"{count(value)} parameters"


def text(value: str) -> Cell:
    return Cell(value or NONE)


def size(value: float | None) -> Cell:
    return Cell(NONE) if value is None else Cell(count(value), value)


def whole(value: int | None) -> Cell:
    return Cell(NONE) if value is None else Cell(str(value), value)


def compute(run: Run) -> Cell:
    return number(run.pfh(FORMULA)) if FORMULA in run.flops else number(None)


def yes_no(known: bool, value: bool) -> Cell:
    return Cell(("yes" if value else "no") if known else NONE)


def loss_of(group: Group) -> Cell:
    """The mean over seeds, or how many diverged."""
    if not group.diverged:
        return number(group.mean, ".4f")
    said = "diverged" if group.diverged == len(group.entries) else f"{group.diverged} of {len(group.entries)} diverged"
    return Cell(said, math.inf)


def marked(value: float | None, form: str, extrapolated: bool | None, unit: str = "") -> Cell:
    """A number with a star where it is extrapolated."""
    return Cell(NONE) if value is None else Cell(f"{value:{form}}{unit}{'*' if extrapolated else ''}", value)


def percent(value: float | None) -> Cell:
    return Cell(NONE) if value is None else Cell(f"{100 * value:.3g} %", value)
