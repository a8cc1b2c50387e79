"""What the scripts in benchmarks/ refuse; what they measure is in results/."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_a_contender_that_there_is_not_is_refused_with_those_there_are(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["optimizer_step.py", "--only", "adana NoSuch"])
    with pytest.raises(SystemExit, match=r"no contender begins with 'adana NoSuch': choose from .*adana ADana"):
        runpy.run_path(str(BENCHMARKS / "optimizer_step.py"), run_name="__main__")


def test_what_needs_a_gpu_fits_into_eight_minutes_whatever_hangs():
    script = (BENCHMARKS / "on_gpu.sh").read_text()
    limits = [int(limit) for limit in re.findall(r"\bpart [a-z-]+ (\d+) ", script)]
    killed = re.search(r"device=cuda .*killed=(\d+)", script)
    assert killed
    assert len(limits) == 7
    assert sum(limits) + int(killed[1]) < 8 * 60


def test_every_result_says_where_it_was_measured_or_is_listed_as_one_that_does_not():
    measured = runpy.run_path(str(BENCHMARKS / "measured.py"))
    page = (BENCHMARKS.parent / "results" / "README.md").read_text()
    assert measured["listed"](page) == measured["silent"](), "python benchmarks/measured.py writes the list"


def test_surroundings_are_those_of_this_checkout():
    found = runpy.run_path(str(BENCHMARKS / "measured.py"))["surroundings"](2, ["torch", "no-such-package"])
    assert found["threads"] == 2
    assert found["versions"]["no-such-package"] == "not installed"
    assert found["commit"]
    assert len(found["load"]) == 3
