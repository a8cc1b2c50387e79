"""Tables and sentences on a terminal. A table is described once, by :mod:`adana.tables`, and only printed here."""

from __future__ import annotations

import rich.table
from rich.console import Console
from rich.text import Text

from adana.tables import Table, printable

__all__ = ["rich_table", "say", "show_table", "terminal"]

UNLIMITED = 100_000
"""Columns of a table that goes into a file or a pipe, where nothing may be broken to fit a screen."""


def terminal(*, stderr: bool = False) -> Console:
    """Where a command prints: on standard error where standard output is for JSON. It reads nothing as markup."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def rich_table(table: Table, *, whole: bool = False) -> rich.table.Table:
    """A table for Rich, without its caption.

    Args:
        table: what to show.
        whole: whether every row is one line; else long cells are folded to the width of the screen.
    """
    shown = rich.table.Table(box=None, pad_edge=False, header_style="dim")
    for i, (heading, words) in enumerate(zip(table.columns, table.words)):
        justify = "left" if words or i == 0 else "right"
        shown.add_column(Text(heading), justify=justify, overflow="fold", no_wrap=whole)  # type: ignore[arg-type]
    for row in table.rows:
        shown.add_row(*(Text(cell.text) for cell in row))
    return shown


def show_table(console: Console, table: Table) -> None:
    """Print a table under its caption. Cells are plain text: nothing in them is read as markup.

    On a terminal too narrow for it long cells are folded; in a pipe or a file every row is one line.
    """
    whole = not console.is_terminal
    shown = rich_table(table, whole=whole)
    if table.caption:
        console.print(Text(table.caption), style="bold", soft_wrap=whole)
    if whole:
        options = console.options.update(width=UNLIMITED, max_width=UNLIMITED)
        for line in console.render_lines(shown, options, pad=False):
            console.print(Text("".join(segment.text for segment in line).rstrip()), soft_wrap=True)
    else:
        console.print(shown)
    console.print()


def say(console: Console, line: str, *, style: str = "yellow") -> None:
    """Print a sentence in one piece, whatever stands in it; yellow is a warning and begins with an exclamation mark.

    The terminal breaks a long line, and not Rich: a path that Rich broke could not be copied.
    """
    mark = "! " if style == "yellow" else ""
    console.print(Text(mark + printable(line)), style=style, soft_wrap=True)
