"""``adana report``: one HTML page of a folder of runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from adana.cli import Failed, UsageError
from adana.cli.arguments import parse
from adana.cli.common import command_line
from adana.cli.tables import say, terminal
from adana.cli.words import one_line

DESCRIPTION = (
    "Write one HTML page that opens offline: loss curves, loss and multipliers over compute, learning rates, weight "
    "decay, kappa and seeds of finished runs, with every fit and its command. RUNS are run folders, folders of them, "
    "and CSV files as adana fit takes them."
)


@dataclass(frozen=True)
class Report:
    """Options of ``adana report``."""

    paths: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUNS...", help_behavior_hint="(required)")
    ]
    """Run folders, folders of them, or CSV files."""
    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))] = Path("report.html")
    """The HTML file to write."""
    arch: str | None = None
    """Your own architecture that run folders are of, as package.module:NAME; give it once for each."""
    baseline: str | None = None
    """The optimizer with which the compute of the others is compared; default adamw, or else adamw-dw."""
    title: str | None = None
    """Heading of the page; default one that says what is on it."""
    bootstrap: int = 400
    """Bootstrap samples per confidence interval."""
    json: bool = False
    """Print what was found, every fit with it, as JSON on standard output."""


def run(argv: Sequence[str]) -> int:
    options = parse(Report, "report", DESCRIPTION, argv)
    if not options.paths:
        raise UsageError("name run folders, or a CSV file")
    # os.path answers no where pathlib raises: a name that is too long.
    for path in options.paths:
        if not os.path.exists(path):
            raise UsageError(f"{path}: no such file or folder")
    if options.bootstrap < 1:
        raise UsageError(f"--bootstrap must be at least 1, got {options.bootstrap}")
    if os.path.isdir(options.out):
        raise UsageError(f"-o {options.out} is a folder: name a file, such as {options.out / 'report.html'}")
    if os.path.exists(options.out) and not os.path.isfile(options.out):
        raise UsageError(f"-o {options.out} is not a file, and a page would take its place: name one")
    # A fit takes seconds: what cannot be written is said before.
    if not options.out.parent.is_dir() or not os.access(options.out.parent, os.W_OK):
        raise UsageError(f"cannot write to {options.out.parent}: choose another place with -o")
    try:
        from adana.report.findings import find
        from adana.report.runs import TITLE, summary, write_page

        found = find(options.paths, baseline=options.baseline, bootstrap=options.bootstrap)
        write_page(found, options.out, title=options.title or TITLE, command=command_line("report", argv))
    except ModuleNotFoundError as error:
        raise Failed(f"{error.name} is not installed: pip install 'adana[report]'") from None
    except ValueError as error:
        raise Failed(one_line(error)) from None
    if options.json:
        said = summary(found) | {"report": str(options.out), "command": command_line("report", argv)}
        print(json.dumps(said, allow_nan=False))
    else:
        say(terminal(), f"report: {options.out}", style="")
    return 0
