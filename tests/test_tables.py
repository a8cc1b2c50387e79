"""One description of a table: what its cells show, and that the terminal and the page show the same."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import pytest
from rich.console import Console

from adana.cli.tables import say, show_table
from adana.report.page import Section, render
from adana.tables import NONE, Cell, Column, tabulate
from tests.report.folders import Page


@dataclass(frozen=True)
class Ends:
    low: float
    high: float


CELLS = [
    (1234.5678, "", "1235"),
    (1234567, "", "1234567"),
    (1234567, ",d", "1,234,567"),
    (0.5, ".4f", "0.5000"),
    (-0.125, "+.1%", "-12.5 %"),
    (None, ".4f", NONE),
    (math.inf, ".4f", NONE),
    (math.nan, ".4f", NONE),
    ("", "", NONE),
    ("adamw", "", "adamw"),
    (True, "", "yes"),
    (False, "", "no"),
    ((1.0, 2.0), ".2f", "1.00 to 2.00"),
    ([None, None], "", "0 to infinity"),
    (Ends(0.5, math.inf), ".2g", "0.5 to infinity"),
    (Ends(-0.5, 0.25), "", "-0.5 to 0.25"),
    (Cell("1.5*", 1.5), ".4f", "1.5*"),
]


@pytest.mark.parametrize(("value", "form", "shown"), CELLS, ids=[str(row[:2]) for row in CELLS])
def test_a_value_is_shown_as_its_column_says(value, form, shown):
    assert Column("x", lambda item: item, form).cell(value).text == shown


def test_numbers_and_intervals_are_sorted_by_their_value_and_words_by_themselves():
    column = Column("x", lambda item: item, ".0f", none="diverged")
    assert [column.cell(x).sort for x in (1.25, 3, math.inf, (0.5, 2.0), "word", True, None, math.nan)] == [
        *(1.25, 3.0, math.inf, 0.5, None, None, None, None)
    ]
    assert column.cell(math.inf).text == "diverged"


HOSTILE = "[red]a[/red] \x1b[31mb\x07\n<script>c</script> :smile:"
SHOWN = "[red]a[/red] \\x1b[31mb\\x07\\n<script>c</script> :smile:"
LONG = " ".join(["word"] * 60)


def made():
    return tabulate(
        "t",
        f"A table of {HOSTILE}",
        [(HOSTILE, 1.5, (1.0, 2.0)), (LONG, math.inf, (0.0, None))],
        [
            Column("optimizer", lambda it: it[0], words=True),
            Column("loss", lambda it: it[1], ".4f", unit="nats", none="diverged"),
            Column("95 %", lambda it: it[2], ".2f"),
        ],
    )


def on_terminal(**options) -> str:
    console = Console(file=io.StringIO(), highlight=False, **options)
    show_table(console, made())
    return console.file.getvalue()


def test_the_terminal_and_the_page_show_the_same_cells():
    page = Page(
        render(
            "runs.html",
            title="t",
            facts=[],
            sections=[Section("s", "s", (), (), (), (made(),))],
            command="",
            sources=[],
            version="",
        )
    )
    cells = page.tables["t"]
    assert cells == [
        ["optimizer", "loss (nats)", "95 %"],
        [SHOWN, "1.5000", "1.00 to 2.00"],
        [LONG, "diverged", "0.00 to infinity"],
    ]
    caption, *rows = [line for line in on_terminal().splitlines() if line]
    assert caption == page.captions["t"] == f"A table of {SHOWN}"
    for line, row in zip(rows, cells, strict=True):
        assert line.split() == " ".join(row).split()


def test_in_a_pipe_nothing_is_broken_and_on_a_terminal_nothing_is_lost():
    piped = on_terminal()
    assert LONG in piped
    assert "\x1b" not in piped
    narrow = on_terminal(force_terminal=True, color_system=None, width=60)
    assert all(len(line) <= 60 for line in narrow.splitlines())
    assert narrow.count("word") == 60


def test_words_stand_on_the_left_and_numbers_on_the_right():
    lines = on_terminal().splitlines()
    assert lines[1].startswith("optimizer")
    assert len({len(line) for line in lines[1:4]}) == 1


def test_a_sentence_is_printed_in_one_piece_without_markup():
    console = Console(file=io.StringIO(), highlight=False)
    say(console, f"{HOSTILE} {LONG}")
    assert console.file.getvalue() == f"! {SHOWN} {LONG}\n"
