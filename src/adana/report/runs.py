"""The report of a folder of runs: read, fitted by :mod:`adana.scaling`, drawn, written as one file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import adana
from adana.report.findings import Findings, Fitted, find
from adana.report.page import Section, link, render, write
from adana.report.sections import facts, sections
from adana.scaling.fits import without_samples
from adana.tables import Cell

__all__ = ["summary", "write_page", "write_report"]

TITLE = "Runs and what they say"


def write_report(
    paths: Sequence[Path],
    out: Path,
    *,
    baseline: str | None = None,
    title: str = TITLE,
    command: str = "",
    bootstrap: int = 400,
    before: Sequence[Section] = (),
) -> None:
    """Write the report of runs, whole or not at all.

    Args:
        paths: run folders, folders of them, CSV files as ``adana fit`` takes them.
        out: the HTML file.
        baseline: the optimizer that multipliers are over; None takes AdamW where it ran.
        title: heading of the page.
        command: what made the page, shown at its end; "" shows the ``adana report`` that makes it.
        bootstrap: samples of every interval.
        before: sections of one's own, which come first.

    Raises:
        ValueError: nothing finished there, no run of the baseline, or a file that is not one of runs.
        OSError: a path cannot be read or written.
    """
    found = find(paths, baseline=baseline, bootstrap=bootstrap)
    write_page(found, out, title=title, command=command, before=before)


def write_page(
    findings: Findings, out: Path, *, title: str = TITLE, command: str = "", before: Sequence[Section] = ()
) -> None:
    """Write what was found as a page, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    base = [] if findings.baseline is None else ["--baseline", findings.baseline]
    remade = shlex.join(["adana", "report", *map(str, findings.paths), "-o", str(out), *base])
    page = render(
        "runs.html",
        title=title,
        facts=facts(findings),
        sections=[*before, *sections(findings, out, remade)],
        command=command or remade,
        sources=[Cell(str(path), href=link(path, out)) for path in findings.paths],
        version=adana.__version__,
    )
    write(page, out)


def summary(findings: Findings) -> dict[str, Any]:
    """What ``adana report --json`` prints: how many runs, and every fit or why there is none."""

    def plain(fitted: Fitted[Any]) -> dict[str, Any]:
        return {
            "command": fitted.command,
            "refused": fitted.refused or None,
            "left_out": fitted.left_out or None,
            "fit": None if fitted.fit is None else without_samples(fitted.fit),
        }

    noise = findings.noise
    return {
        "finished": sum(not entry.diverged for entry in findings.entries),
        "diverged": sum(entry.diverged for entry in findings.entries),
        "unfinished": [str(path) for path in findings.unfinished],
        "optimizers": findings.labels,
        "baseline": findings.baseline,
        "horizon": findings.horizon,
        "seed_noise": None if noise is None else {"standard_deviation": noise[0], "degrees_of_freedom": noise[1]},
        "lr": {label: plain(fitted) for label, fitted in findings.learning_rates.items()},
        "loss": plain(findings.loss),
        "multiplier": plain(findings.multiplier),
    }
