"""What pyproject.toml promises and constraints.txt pins fit one another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from adana.cli import COMMANDS

tomllib = pytest.importorskip("tomllib")  # Python 3.11
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {name: [Requirement(one) for one in needs] for name, needs in PROJECT["optional-dependencies"].items()}
OWN = [Requirement(one) for one in PROJECT["dependencies"]]


def _pins(file):
    return {
        canonicalize_name(name): pin
        for name, pin in re.findall(r"^([^#\s=]+)==(\S+)$", (ROOT / file).read_text(), re.M)
    }


PINS, EXAMPLES_PINS = _pins("constraints.txt"), _pins("constraints-examples.txt")


def test_every_package_is_pinned_within_its_range():
    needed = [(one, PINS) for name, needs in EXTRAS.items() if name != "examples" for one in needs]
    # Other people's frameworks exclude some of our versions.
    needed += [(one, EXAMPLES_PINS) for one in EXTRAS["examples"]]
    for one, pinned in [*((one, PINS) for one in OWN), *needed]:
        if one.name != "adana":
            assert canonicalize_name(one.name) in pinned, one
            assert one.specifier.contains(pinned[canonicalize_name(one.name)]), one


def test_a_package_has_one_range_in_all_extras():
    found = {}
    for one in (one for needs in EXTRAS.values() for one in needs if one.name != "adana"):
        assert found.setdefault(one.name, one.specifier) == one.specifier, one


def test_all_is_every_extra_but_those_of_development():
    (everything,) = EXTRAS["all"]
    assert everything.extras == EXTRAS.keys() - {"all", "dev", "docs", "examples"}


def test_a_report_brings_what_its_fits_need():
    assert {one.name for one in EXTRAS["fit"]} <= {one.name for one in EXTRAS["report"]}


def test_the_page_says_for_every_command_and_extra_what_to_install():
    page = (ROOT / "docs" / "dependencies.md").read_text()
    table = page[page.index("| what you use |") : page.index("| package |")]
    for extra in EXTRAS.keys() - {"dev", "docs", "examples"}:
        assert f"adana[{extra}]" in table, extra
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", table), command
