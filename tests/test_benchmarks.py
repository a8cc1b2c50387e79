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
