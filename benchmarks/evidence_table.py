"""The tables of docs/evidence.md, from results/. tests/docs/test_evidence.py holds the page to them.

python benchmarks/evidence_table.py       write them into the page
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import evidence_claims
import evidence_contenders
import evidence_pieces
import evidence_tasks
import evidence_theory
import evidence_values
import overtraining_table
from adana.files import write_text
from evidence_claims import HEADINGS, RESULTS, Claim, lines, load
from evidence_tasks import DIGITS_HEADINGS, LATE_HEADINGS, SHARE_HEADINGS, SPARSE_HEADINGS
from evidence_theory import PUBLISHED_HEADINGS

PAGE = Path(__file__).parents[1] / "docs" / "evidence.md"
COST_HEADINGS = ("raw data", "runs", "core-hours", "counted")
CLOCK, CPU = "by the clock", "CPU time"
Table = tuple[Sequence[str], list[list[str]]]


def costs() -> list[list[str]]:
    """What measurements took, where their files have it."""
    found: dict[str, tuple[int, float, str]] = {}
    for path in RESULTS.glob("*.csv"):
        rows = lines(path.name)
        if "seconds" in rows[0]:
            found[path.name] = len(rows), sum(float(row["seconds"]) for row in rows), CLOCK
    found["ladder/ladder.json"] = len(lines("ladder/runs.csv")), load("ladder/ladder.json")["cpu_seconds"], CPU
    rows = lines("ladder-8/runs.csv")
    found["ladder-8/runs.csv"] = len(rows), sum(float(row["seconds"]) for row in rows), CLOCK
    jax = load("jax-enoki.json")["runs"]
    found["jax-enoki.json"] = len(jax), sum(run["seconds"] for run in jax), CLOCK
    for name, key, how in (
        ("digits.json", "cpu_seconds", CPU),
        ("sparse-gradients.json", "seconds", CLOCK),
        ("kappa-texts.json", "seconds", CLOCK),
        ("kappa-sizes.json", "seconds", CLOCK),
        ("delta.json", "seconds", CLOCK),
    ):
        searches = load(name)["rows"]
        runs = sum(len(row["search"]) + len(row["losses"]) for row in searches)
        found[name] = runs, sum(row[key] for row in searches), how
    return [
        [f"[{name}](../results/{name})", f"{runs:,}", f"{seconds / 3600:.2f}", how]
        for name, (runs, seconds, how) in sorted(found.items())
    ]


def topics() -> dict[str, list[Claim]]:
    """The claims by what they are about, in the order of the page."""
    claims, pieces, tasks, theory = evidence_claims, evidence_pieces, evidence_tasks, evidence_theory
    return {
        "in the race": [*claims.races(), *claims.time()],
        "over tokens per parameter": overtraining_table.claims(),
        "where nothing is searched": claims.unsearched(),
        "batch": [*claims.batches("small"), *claims.batches("race")],
        "weight decay": claims.decay(),
        "pieces of ADana at the race's size": pieces.ablations(
            ("ablations.json", "ablations-6000.json"), "the race's model", "ablations.md#measured"
        ),
        "pieces of ADana on a small model": pieces.ablations(
            ("ablations-small.json",), pieces.SMALL, "ablations.md#a-small-model"
        ),
        "kappa, delta, cooldown, eps and form": [
            *evidence_values.claims(),
            *pieces.cooldowns(),
            *claims.forms(),
        ],
        "rules beyond the paper's": [*evidence_contenders.claims(), *pieces.amcs()],
        "state in fewer bytes": claims.precision(),
        "other tasks and rare gradients": [*tasks.digit_claims(), *tasks.sparse_claims(), *tasks.late_claims()],
        "predictions and theory": [*theory.ladder(), *theory.kappa(), *theory.least_squares(), *theory.spectra()],
    }


def tables() -> list[Table]:
    """Headings and rows of every table of the page that is made here."""
    return [
        *(((f"claim: {what}", *HEADINGS), [claim.cells() for claim in made]) for what, made in topics().items()),
        (DIGITS_HEADINGS, evidence_tasks.digits()),
        (SHARE_HEADINGS, evidence_tasks.shares()),
        (SPARSE_HEADINGS, evidence_tasks.sparse()),
        (LATE_HEADINGS, evidence_tasks.late()),
        *evidence_values.tables(),
        *overtraining_table.tables(),
        (PUBLISHED_HEADINGS, evidence_theory.published()),
        (COST_HEADINGS, costs()),
    ]


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Put each table where the page has one with its headings."""
    page = PAGE.read_text(encoding="utf-8").splitlines()
    for headings, rows in tables():
        first = page.index(line(headings)) + 2
        last = next(i for i in range(first, len(page) + 1) if i == len(page) or not page[i].startswith("|"))
        page[first:last] = [line(row) for row in rows]
    write_text(PAGE, "\n".join(page) + "\n")


if __name__ == "__main__":
    main()
