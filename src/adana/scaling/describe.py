"""What was understood of somebody's runs, and which laws they can be fitted by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from adana.records import Record
from adana.scaling.columns import parse_columns, read_table
from adana.scaling.grouping import by_label
from adana.scaling.reading import read_runs, runs_of
from adana.scaling.runs import Run, told_apart
from adana.tables import Column, Table, tabulate

__all__ = ["Described", "Fittable", "Quantity", "Source", "described"]

QUANTITIES = {
    "final loss": lambda run: run.final_loss if math.isfinite(run.final_loss) else None,
    "parameters without embeddings": lambda run: run.non_embedding_parameters,
    "parameters with embeddings": lambda run: run.total_parameters,
    "tokens": lambda run: run.tokens,
    "tokens per parameter": lambda run: run.tokens / size if run.tokens and (size := _size(run)) else None,
    "peak learning rate": lambda run: run.lr,
    "tokens per step": lambda run: run.batch_tokens,
    "steps": lambda run: run.steps,
    "FLOPs": lambda run: run.flops.get("6n", run.flops.get("6p")),
    "linear damping": lambda run: run.linear_damping,
}
FAR = 8.0
"""Robust standard deviations from the median of its cell from which a loss is called far off."""
SHOWN = 5


def _size(run: Run) -> float | None:
    return run.total_parameters or run.non_embedding_parameters


@dataclass(frozen=True)
class Source(Record):
    """A file or folder: its format, rows, the known layout, which expression gives which name, and unread columns."""

    path: str
    format: str
    runs: int
    layout: str = ""
    columns: dict[str, str] | None = None
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quantity(Record):
    """What the runs say of one quantity: how many say it, how many values, and the least and greatest."""

    name: str
    runs: int
    values: int
    least: float
    greatest: float


@dataclass(frozen=True)
class Fittable(Record):
    """A law, and what is missing to fit it; empty where nothing is."""

    law: str
    missing: str


@dataclass(frozen=True)
class Described(Record):
    """What ``adana fit --describe`` says.

    Attributes:
        sources: the files and folders.
        optimizers: runs by optimizer.
        quantities: what the runs say.
        cells: runs by (N, D) or (N, D, batch), how many there are of each kind.
        laws: what can be fitted.
        derived: what was reckoned.
        warnings: duplicates, diverged runs, losses far off.
    """

    sources: tuple[Source, ...]
    optimizers: dict[str, int]
    quantities: tuple[Quantity, ...]
    cells: dict[str, int]
    laws: tuple[Fittable, ...]
    derived: tuple[str, ...]
    warnings: tuple[str, ...]

    def tables(self) -> list[Table]:
        """The same as tables."""
        columns = [
            (source.path, name, expression)
            for source in self.sources
            for name, expression in (source.columns or {}).items()
        ]
        found = [
            tabulate(
                "describe-sources",
                "Files and folders.",
                self.sources,
                [
                    Column("file", lambda it: it.path, words=True),
                    Column("format", lambda it: it.format, words=True),
                    Column("runs", lambda it: it.runs),
                    Column("known as", lambda it: it.layout or None, words=True),
                    Column("not read", lambda it: ", ".join(it.ignored) or None, words=True),
                ],
            )
        ]
        if columns or self.derived:
            found.append(
                tabulate(
                    "describe-columns",
                    "What stands for what.",
                    [*columns, *(("all", one, "reckoned") for one in self.derived)],
                    [
                        Column("file", lambda it: it[0], words=True),
                        Column("name", lambda it: it[1], words=True),
                        Column("from", lambda it: it[2], words=True),
                    ],
                )
            )
        found.append(
            tabulate(
                "describe-quantities",
                f"What the runs say: {', '.join(f'{count} of {name}' for name, count in self.optimizers.items())}; "
                + ", ".join(f"{count} cells of {name}" for name, count in self.cells.items())
                + ".",
                self.quantities,
                [
                    Column("quantity", lambda it: it.name, words=True),
                    Column("runs", lambda it: it.runs),
                    Column("values", lambda it: it.values),
                    Column("least", lambda it: it.least, ".4g"),
                    Column("greatest", lambda it: it.greatest, ".4g"),
                ],
            )
        )
        found.append(
            tabulate(
                "describe-laws",
                "Which laws can be fitted.",
                self.laws,
                [
                    Column("--law", lambda it: it.law, words=True),
                    Column("missing", lambda it: it.missing or "nothing", words=True),
                ],
            )
        )
        return found


def described(paths: Iterable[Path], columns: Sequence[str] = ()) -> Described:
    """What is understood of files and folders.

    Args:
        paths: as :func:`~adana.scaling.reading.read_runs` takes them.
        columns: as there.

    Raises:
        ValueError: as there.
    """
    mapping = parse_columns(columns)
    runs: list[Run] = []
    sources = []
    for path in paths:
        if path.is_dir():
            own = read_runs([path])
            sources.append(Source(str(path), "run folders", len(own)))
        else:
            table = read_table(path, mapping)
            own = runs_of(table)
            sources.append(Source(str(path), table.format, len(own), table.layout, table.columns, table.ignored))
        runs += own
    runs = told_apart(runs)
    quantities = []
    for name, read in QUANTITIES.items():
        values = [value for run in runs if (value := read(run)) is not None]
        if values:
            quantities.append(Quantity(name, len(values), len(set(values)), min(values), max(values)))
    return Described(
        sources=tuple(sources),
        optimizers=dict(Counter(run.label for run in runs)),
        quantities=tuple(quantities),
        cells={
            "(N, D)": len({(run.label, _size(run), run.tokens) for run in runs if _size(run) and run.tokens}),
            "(N, D, batch)": len(
                {
                    (r.label, _size(r), r.tokens, r.batch_tokens)
                    for r in runs
                    if _size(r) and r.tokens and r.batch_tokens
                }
            ),
        },
        laws=tuple(_laws(runs)),
        derived=tuple(dict.fromkeys(one for run in runs for one in run.derived)),
        warnings=tuple(_warnings(runs)),
    )


def _laws(runs: Sequence[Run]) -> list[Fittable]:
    """Each law and what it misses: counts of what must vary, for the optimizer that has the most."""
    groups = by_label(runs)

    def most(count: str) -> int:
        return max(len({_key(run, count) for run in own if _key(run, count) is not None}) for own in groups.values())

    def lacks(*needs: tuple[bool, str]) -> str:
        return "; ".join(said for fine, said in needs if not fine)

    sizes, cells, compute = most("size"), most("cell"), most("compute")
    lrs = max(
        (
            len({run.lr for run in own if run.lr and _size(run) == size})
            for own in groups.values()
            for size in {_size(r) for r in own}
        ),
        default=0,
    )
    tokens = max(
        (
            len({run.tokens for run in own if run.tokens and _size(run) == size})
            for own in groups.values()
            for size in {_size(r) for r in own}
        ),
        default=0,
    )
    horizons = {round(math.log(run.tokens / size) / 0.02) for run in runs if run.tokens and (size := _size(run))}
    budgets = {round(math.log(run.tokens) / 0.02) for run in runs if run.tokens}
    several = (
        min(len(horizons), len(budgets)) <= 1,
        "one horizon: choose it with --tokens-per-parameter, or take --law tokens or lr-batch",
    )
    batches = {run.batch_tokens for run in runs if run.batch_tokens}
    return [
        Fittable(
            "lr",
            lacks(
                (sizes >= 3, f"three sizes (has {sizes})"),
                (lrs >= 2, "two learning rates at a size"),
                several,
                (len(batches) <= 1, f"one batch (has {len(batches)})"),
            ),
        ),
        Fittable(
            "lr-batch",
            lacks(
                (cells >= 3, f"three cells of size and tokens (has {cells})"),
                (lrs >= 3, "three learning rates at a size"),
                (bool(batches), "the batch of every run"),
            ),
        ),
        Fittable("loss", lacks((compute >= 4, f"four budgets of compute (has {compute})"), several)),
        Fittable("tokens", lacks((cells >= 6, f"six cells of size and tokens (has {cells})"))),
        Fittable(
            "multiplier", lacks((len(groups) > 1, "a second optimizer"), (compute >= 2, f"two budgets (has {compute})"))
        ),
        Fittable(
            "overtraining",
            lacks(
                (len(groups) > 1, "a second optimizer"), (tokens >= 3, f"three token counts at one size (has {tokens})")
            ),
        ),
        Fittable("batch", lacks((_batches_at_equal_tokens(runs) > 1, "two batches at one size and number of tokens"))),
        Fittable("damping", lacks((any(run.linear_damping for run in runs), "the column linear_damping"))),
    ]


def _batches_at_equal_tokens(runs: Sequence[Run]) -> int:
    seen: dict[object, set[float]] = {}
    for run in runs:
        if run.batch_tokens and (cell := _key(run, "cell")) is not None:
            seen.setdefault(cell, set()).add(run.batch_tokens)
    return max(map(len, seen.values()), default=0)


def _key(run: Run, what: str) -> object:
    if what == "size":
        return _size(run)
    if what == "cell":
        return (_size(run), run.tokens) if _size(run) and run.tokens else None
    return run.flops.get("6n", run.flops.get("6p"))


def _warnings(runs: Sequence[Run]) -> list[str]:
    said = []
    diverged = sum(math.isinf(run.final_loss) for run in runs)
    if diverged:
        said.append(f"{diverged} runs diverged or have no final loss")
    first: dict[str, Run] = {}
    twice = []
    for run in runs:
        # Seeds of one setting do not agree to the last digit.
        seen = first.setdefault(repr(replace(run, where="")), run)
        if seen is not run and math.isfinite(run.final_loss):
            twice.append(f"{seen.where} and {run.where}")
    if twice:
        said.append(f"{len(twice)} rows are there twice: {_some(twice)}")
    texts = {run.text for run in runs if run.text}
    if len(texts) > 1:
        said.append(f"{len(texts)} different texts: losses of different texts are not fitted together")
    cells: dict[object, list[Run]] = {}
    for run in runs:
        if math.isfinite(run.final_loss):
            cells.setdefault((run.label, _size(run), run.tokens, run.batch_tokens, run.lr), []).append(run)
    far = []
    for own in cells.values():
        middle = median(run.final_loss for run in own)
        spread = 1.4826 * median(abs(run.final_loss - middle) for run in own)
        if len(own) >= SHOWN and spread > 0:
            far += [f"{run.where} ({run.final_loss:.4g})" for run in own if abs(run.final_loss - middle) > FAR * spread]
    if far:
        said.append(
            f"{len(far)} losses are far from the others of their size, tokens, batch and learning rate: {_some(far)}"
        )
    return said


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
