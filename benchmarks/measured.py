"""What every measurement says of where it was made, and the one way that benchmarks print a table.

python benchmarks/measured.py       write the list of files that do not say it into results/README.md
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from adana.files import write_text

SURROUNDINGS = ("command", "machine", "cores", "threads", "load", "commit", "versions")


def surroundings(threads: int | Sequence[int], packages: Iterable[str] = (), device: str = "") -> dict[str, Any]:
    """Command, machine, cores, threads, load, commit and versions: what to write beside the numbers, before measuring.

    Args:
        threads: CPU threads that were used, or all numbers of them that were.
        packages: distributions whose versions matter.
        device: name of the accelerator, where one is measured.
    """
    kept = ("OMP_NUM_THREADS", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES")
    environment = [f"{name}={shlex.quote(os.environ[name])}" for name in kept if name in os.environ]
    script = os.path.relpath(sys.argv[0], Path(__file__).parents[1])
    return {
        "command": " ".join([*environment, "python", script, *map(shlex.quote, sys.argv[1:])]),
        "machine": device or processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "load": [round(x, 2) for x in os.getloadavg()],
        "commit": commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def processor() -> str:
    """Model of the CPU, as the system names it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str:
    """The commit that is checked out, with a plus sign where the files that Python reads differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "../src", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "not known"


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def print_table(found: dict[str, Any], title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The numbers as a table, under a line about where they were measured.

    Args:
        found: the document, with what :func:`surroundings` says.
        title: of the table.
        columns: headings; the first column is of names.
        rows: cells; a row that is shorter leaves the rest empty.
    """
    table = Table(title=title)
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console = Console(width=max(console.width, 110))  # also where it is no terminal
    console.print(table)
    load = ", ".join(f"{x:.1f}" for x in found["load"])
    where = f"{found['machine']}, {found['cores']} cores, threads: {found['threads']}"
    console.print(f"{where}, load {load}, commit {found['commit']}", highlight=False)


RESULTS = Path(__file__).parents[1] / "results"
BEFORE, AFTER = "what is missing was not recorded:\n\n", "\n\nMeasured on"


def silent() -> list[str]:
    """Files of results that lack some of ``SURROUNDINGS``."""

    def says(path: Path) -> bool:
        found = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else {}
        each = found if isinstance(found, list) else [found]
        return bool(each) and all(isinstance(one, dict) and set(SURROUNDINGS) <= set(one) for one in each)

    paths = [path for kind in ("*.json", "*.csv") for path in RESULTS.rglob(kind)]
    return sorted(path.relative_to(RESULTS).as_posix() for path in paths if not says(path))


def listed(page: str) -> list[str]:
    """The files that the page about results names as such."""
    return [word.strip("`,") for word in page.partition(BEFORE)[2].partition(AFTER)[0].split()]


def main() -> None:
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    before, rest = page.split(BEFORE)
    _, after = rest.split(AFTER, 1)
    names = ", ".join(f"`{name}`" for name in silent())
    words = textwrap.fill(names, 120, break_long_words=False, break_on_hyphens=False)
    write_text(RESULTS / "README.md", before + BEFORE + words + AFTER + after)


if __name__ == "__main__":
    main()
