"""One description of a table, which the terminal and the HTML page both show.

1. Whoever has results describes a table once: :func:`tabulate` takes the items, and a :class:`Column` for each thing
   to show of an item (heading, unit, alignment, value, number format).
2. The result is a :class:`Table` of finished cells. Numbers are formatted here and nowhere else.
3. ``adana.cli.tables.show_table`` prints it with Rich; ``adana.report.page`` writes it as HTML. Neither changes a cell,
   so that the two cannot differ.

Used by every command that prints a table: fit, plan, report, race, sweep, ladder. Imports nothing outside the standard
library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

__all__ = ["NONE", "Cell", "Column", "Span", "Table", "Value", "count", "printable", "span", "tabulate"]

NONE = "\N{EN DASH}"
"""What a cell without a value shows."""

T = TypeVar("T")


@runtime_checkable
class Span(Protocol):
    """Anything with a lower and an upper end, such as :class:`adana.scaling.intervals.Interval`."""

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it shows.
        sort: the number that a page sorts it by; None sorts by the text.
        href: a link out of it, for a page.
    """

    text: str
    sort: float | None = None
    href: str = ""


Value = str | bool | int | float | Span | Sequence[float | None] | Cell | None
"""What a column may give: words, a number, an interval (an object with ``low`` and ``high``, or its two ends), a cell
that is already made, or None for nothing."""


@dataclass(frozen=True)
class Column(Generic[T]):
    """One thing that a table shows of each of its items.

    Attributes:
        heading: its name.
        value: what it shows of an item.
        form: format of a number, as in an f-string; "" shows four digits of a float and all digits of an int. A form
            that ends in ``%`` shows a fraction in percent; ``count`` shows 7080000 as 7.08M.
        unit: unit of its numbers, shown behind the heading.
        none: what a missing or infinite number shows.
        words: whether it holds words, which stand on the left; numbers stand on the right.
    """

    heading: str
    value: Callable[[T], Value]
    form: str = ""
    unit: str = ""
    none: str = NONE
    words: bool = False

    @property
    def title(self) -> str:
        """Heading and unit."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def cell(self, item: T) -> Cell:
        """What the column shows of an item.

        >>> Column("lr", lambda lr: lr).cell(0.00123456)
        Cell(text='0.001235', sort=0.00123456, href='')
        >>> Column("saved", lambda x: x, "+.1%").cell(0.25).text
        '+25.0 %'
        >>> Column("95 %", lambda ends: ends, ".2f").cell((0, None)).text
        '0.00 to infinity'
        """
        value = self.value(item)
        if isinstance(value, Cell):
            return Cell(printable(value.text), value.sort, value.href)
        if value is None:
            return Cell(self.none)
        if isinstance(value, bool):
            return Cell("yes" if value else "no")
        if isinstance(value, str):
            return Cell(printable(value) or NONE)
        if isinstance(value, int | float):
            if not math.isfinite(value):
                return Cell(self.none, None if math.isnan(value) else value)
            return Cell(_number(value, self.form), float(value))
        low = value.low if isinstance(value, Span) else value[0]
        return Cell(span(value, self.form or ".3g"), low if low is not None and math.isfinite(low) else None)


@dataclass(frozen=True)
class Table:
    """A finished table; its first column names the rows.

    Attributes:
        id: unique in a page.
        caption: what it holds, in words.
        columns: headings with their units.
        words: for each column, whether it holds words.
        rows: as many cells as columns.
    """

    id: str
    caption: str
    columns: tuple[str, ...]
    words: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]


def tabulate(id: str, caption: str, items: Iterable[T], columns: Sequence[Column[T]]) -> Table:
    """A table with a row for each item.

    Args:
        id: unique in a page.
        caption: what the table holds, in words.
        items: what the rows are about.
        columns: what is shown of each item.

    >>> made = tabulate("t", "Squares", [1, 2], [Column("n", lambda n: n), Column("n squared", lambda n: n**2)])
    >>> [[cell.text for cell in row] for row in made.rows]
    [['1', '1'], ['2', '4']]
    """
    return Table(
        id,
        printable(caption),
        tuple(column.title for column in columns),
        tuple(column.words for column in columns),
        tuple(tuple(column.cell(item) for column in columns) for item in items),
    )


def span(ends: Span | Sequence[float | None], form: str = ".3g") -> str:
    """An interval in words; an upper end of None or inf is infinity, a lower one of None is 0.

    >>> span([0.5, 2.0]), span([None, None])
    ('0.5 to 2', '0 to infinity')
    """
    low, high = (ends.low, ends.high) if isinstance(ends, Span) else ends
    shown = "infinity" if high is None or high == math.inf else _number(high, form)
    return f"{_number(low or 0, form)} to {shown}"


def printable(text: str) -> str:
    r"""A text that is not ours, without characters that would command a terminal.

    >>> printable("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count(value: float) -> str:
    """A count in a few characters.

    >>> [count(x) for x in (0, 950, 7.08e6, 1.349e9)]
    ['0', '950', '7.08M', '1.35B']
    """
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit * 0.9995:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _number(value: float, form: str) -> str:
    if form == "count":
        return count(value)
    if not form:
        return str(value) if isinstance(value, int) else f"{value:.4g}"
    return format(value, form).replace("%", " %")
