"""Reading the pages."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def script(name: str) -> dict[str, Any]:
    """The names of a script of benchmarks/, which imports those beside it."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return runpy.run_path(f"{folder}/{name}.py")
    finally:
        sys.path.remove(folder)


def table(page: str, first: str, after: str = "") -> list[list[str]]:
    """Rows of the table of a page whose headings begin with ``first``, the first one after a text."""
    _, _, rest = (ROOT / page).read_text().partition(after) if after else ("", "", (ROOT / page).read_text())
    lines = iter(rest.splitlines())
    for line in lines:
        if line.startswith(f"| {first}"):
            break
    else:
        raise ValueError(f"{page} has no table that begins with {first}")
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows
    return rows
