"""A sample of tests/cli/fuzz.py: each option with a few of the values, other ones for each option."""

from __future__ import annotations

import pytest

from adana.cli import COMMANDS
from tests.cli.fuzz import BASES, cases, fault, options_of, prepared, text

SHARE = 29  # of the cases of a command, one in so many


@pytest.mark.parametrize("command", BASES)
def test_a_value_at_the_edge_gives_a_result_or_one_line(command):
    share = 3 * SHARE if command in ("fit", "report", "ladder", "sweep") else SHARE  # slower ones
    chosen = list(cases(command))[::share]
    assert chosen
    for case in chosen:
        with prepared(text()):
            said = fault(case)
        assert not said, case


def test_every_command_is_tried():
    assert {name.split()[0] for name in BASES} | {"theory"} == set(COMMANDS), "theory has a test of its own"


def test_the_options_are_those_of_the_help():
    assert {"--heads", "--lr", "--set", "--save-every", "--json", "--dry-run"} <= set(options_of("train"))
    assert {"--source", "--tokenizer", "--out"} <= set(options_of("data build"))
    assert "--out" in options_of("report"), "an option with a short name too"
