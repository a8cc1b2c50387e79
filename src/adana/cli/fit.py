"""``adana fit``: laws and compute multipliers from finished runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adana.cli import Failed, UsageError
from adana.cli.arguments import parse
from adana.cli.common import command_line
from adana.cli.tables import say, show_table, terminal
from adana.cli.words import one_line
from adana.files import write_json
from adana.scaling.describe import described
from adana.scaling.fits import Fit
from adana.scaling.grouping import select
from adana.scaling.presentation import shown
from adana.scaling.progress import listening
from adana.scaling.reading import COLUMNS, read_runs

DESCRIPTION = (
    "Fit a law to finished runs: run folders, or tables (CSV, TSV, JSON, JSON lines, Parquet) with these columns "
    "(optimizer and final_loss, and what the law needs). --columns says what a table calls them; some published "
    "tables are known by their header:\n\n" + "\n".join(f"  {name}: {what}." for name, what in COLUMNS.items()) + "\n\n"
    "Where runs of one size differ in learning rate or setting, a loss law and a multiplier take the best."
)


@dataclass(frozen=True)
class Options:
    """Options of ``adana fit``."""

    paths: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUNS...", help_behavior_hint="(required)")
    ]
    """Run folders, folders of them, or tables."""
    law: Literal["lr", "lr-batch", "loss", "tokens", "overtraining", "multiplier", "damping", "batch"] | None = None
    """What to fit. lr: best learning rate over size. lr-batch: best learning rate over size, tokens and batch, and the
    best batch. loss: loss over compute. tokens: loss over size and tokens. multiplier: how much more compute a baseline
    needs for the same loss. overtraining: how many more tokens, over tokens per parameter. damping: best linear weight
    of momentum over the length of a run. batch: best alpha~, and what an optimizer is worth, over tokens per step.
    Default: none, with --describe alone."""
    describe: bool = False
    """Say what was read from the files and which laws can be fitted to it; fit none."""
    columns: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=COLUMN...")] = ()
    """What your tables call a column, and its unit, such as loss=val_loss tokens=billions*1e9 flops=compute*PFH."""
    arch: str | None = None
    """Your own architecture that run folders are of, as package.module:NAME; give it once for each."""
    optimizers: tuple[str, ...] = ()
    """Only these optimizers, by name, or by name and kappa as the tables show them; default all."""
    tokens_per_parameter: float | None = None
    """Only runs of this many tokens per parameter; default all."""
    searched_kappa: bool = False
    """Kappa was searched with the rest: the best counts. Default: each kappa is an optimizer of its own."""
    compute: Literal["6n", "6p", "m"] = "6n"
    """Compute of loss laws and multipliers. 6n: 6 x tokens x parameters with one embedding. 6p: without embeddings.
    m: with attention, without embeddings."""
    form: Literal["single", "broken"] = "single"
    """Loss law, over compute C: single is loss = a + e C^-f, broken is loss = a + b C^-c + e C^-f."""
    exponents: Literal["free", "shared"] = "free"
    """Loss law: each optimizer's own exponents, or one set. Tokens law: shared takes several optimizers."""
    saturation: str = "free"
    """Loss law: the limit a of the loss is free, 0, or at most a number."""
    without_outliers: bool = False
    """Loss and tokens law: leave out the losses that are flagged as outliers."""
    baseline: str = "adamw"
    """Multiplier, overtraining and batch: the optimizer to compare with (by name, or by name and kappa as shown)."""
    seed_noise: float | None = None
    """Multiplier, overtraining and batch: standard deviation of a loss over seeds, for runs of one seed; default
    unknown."""
    top: int = 5
    """Learning-rate law: how many of the best learning rates count, per size."""
    resample: Literal["residuals", "sizes"] = "residuals"
    """Learning-rate law: what the bootstrap draws; sizes is the paper's way, and needs ten of them."""
    size: Literal["total", "non-embedding"] | None = None
    """Tokens, lr-batch and overtraining: which parameters count; default without embeddings where all runs say so."""
    draw: Literal["rows", "cells"] = "rows"
    """Tokens law: what the bootstrap draws; cells are all rows of one size and number of tokens."""
    predict: tuple[float, ...] = ()
    """Sizes (non-embedding parameters; lr), petaflop-hours (loss) or FLOPs (tokens) to predict for; default ten times
    the largest."""
    bootstrap: int = 400
    """Bootstrap samples: a confidence interval needs a hundred or more."""
    seed: int = 0
    """Random seed of the fit's starting points and of the bootstrap."""
    output: Path | None = None
    """Also write the fit to this JSON file, which adana plan --law reads; default no file."""
    json: bool = False
    """Print the fit as JSON on standard output."""


def run(argv: Sequence[str]) -> int:
    options = parse(Options, "fit", DESCRIPTION, argv)
    if not options.paths:
        raise UsageError("name run folders, or a CSV file or another table")
    if options.law is None and not options.describe:
        raise UsageError("name a law with --law, or say --describe to see which can be fitted")
    for path in options.paths:
        if not os.path.exists(path):  # pathlib raises where a name is too long
            raise UsageError(f"{path}: no such file or folder")
    for name, least in (("top", 1), ("bootstrap", 1), ("seed", 0)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name} must be at least {least}, got {getattr(options, name)}")
    if options.seed_noise is not None and not 0 <= options.seed_noise < float("inf"):
        raise UsageError(f"--seed-noise must be a number of at least 0, got {options.seed_noise}")
    ratio = options.tokens_per_parameter
    if ratio is not None and not 0 < ratio < float("inf"):
        raise UsageError(f"--tokens-per-parameter must be above 0, got {ratio}")
    if options.output is not None and (options.output.is_dir() or not options.output.name):
        raise UsageError(f"--output {options.output}: a folder: name a file")
    if any(not 0 < value < float("inf") for value in options.predict):
        raise UsageError(f"--predict must be above 0, got {' '.join(map(str, options.predict))}")
    saturation = _saturation(options.saturation)
    if options.describe:
        return _describe(options)
    try:
        with _progress(terminal(stderr=True)):
            fit = replace(_fit(options, saturation), command=command_line("fit", argv))
        payload = fit.to_json()
        printed = _text(payload)
        if options.output is not None:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            write_json(options.output, payload, indent=None)
    except ModuleNotFoundError as error:
        raise Failed(f"{error.name} is not installed: pip install 'adana[fit]'") from None
    except ValueError as error:
        raise Failed(one_line(error)) from None
    except ArithmeticError as error:
        what = "the fit ran out of the range of numbers: are sizes nearly equal, or a value in the wrong unit?"
        raise Failed(f"{what} ({error})") from None
    if options.json:
        print(printed)
    else:
        show(terminal(), fit)
    return 0


def _describe(options: Options) -> int:
    try:
        said = described(options.paths, options.columns)
    except ValueError as error:
        raise Failed(one_line(error)) from None
    if options.json:
        print(json.dumps(said.to_json(), allow_nan=False))
        return 0
    console = terminal()
    for table in said.tables():
        show_table(console, table)
    for warning in said.warnings:
        say(console, warning)
    return 0


@contextmanager
def _progress(console: Console) -> Iterator[None]:
    """A bar of the loop that a fit is in, on a terminal; nothing is left of it."""
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fitting", total=None)
        with listening(lambda name, done, of: bar.update(task, description=name, completed=done, total=of)):
            yield


def _text(payload: dict[str, Any]) -> str:
    try:
        return json.dumps(payload, allow_nan=False)
    except ValueError:
        raise ArithmeticError("a result is not finite") from None


def _saturation(text: str) -> float | None:
    if text == "free":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"--saturation {text}: write free, 0, or a greatest value for a")
    return value


def _fit(options: Options, saturation: float | None) -> Fit:
    from adana.scaling import fitting

    wanted = options.optimizers
    if wanted and options.law in ("multiplier", "overtraining", "batch"):
        wanted = (*wanted, options.baseline)
    runs = select(
        read_runs(options.paths, options.columns),
        optimizers=wanted,
        tokens_per_parameter=options.tokens_per_parameter,
        searched_kappa=options.searched_kappa,
    )
    if options.law == "lr":
        return fitting.learning_rate_law(
            runs,
            top=options.top,
            bootstrap=options.bootstrap,
            seed=options.seed,
            resample=options.resample,
            predict=options.predict,
            formula=options.compute,
        )
    if options.law == "loss":
        return fitting.loss_law(
            runs,
            formula=options.compute,
            form=options.form,
            exponents=options.exponents,
            saturation=saturation,
            bootstrap=options.bootstrap,
            seed=options.seed,
            predict=options.predict,
            without_outliers=options.without_outliers,
        )
    if options.law == "tokens":
        from adana.scaling.size_tokens_fit import size_tokens_law

        return size_tokens_law(
            runs,
            size=options.size,
            draw=options.draw,
            shared=options.exponents == "shared",
            bootstrap=options.bootstrap,
            seed=options.seed,
            budgets=options.predict,
            without_extremes=options.without_outliers,
        )
    if options.law == "lr-batch":
        from adana.scaling.rate_batch import rate_batch_law

        return rate_batch_law(runs, size=options.size, bootstrap=options.bootstrap, seed=options.seed)
    if options.law == "overtraining":
        from adana.scaling.overtraining import overtraining

        return overtraining(
            runs,
            baseline=options.baseline,
            size=options.size,
            seed_noise=options.seed_noise,
            draws=options.bootstrap,
            seed=options.seed,
        )
    if options.law == "batch":
        from adana.scaling.batch import batch_law

        return batch_law(
            runs, baseline=options.baseline, size=options.size, seed_noise=options.seed_noise, seed=options.seed
        )
    if options.law == "multiplier":
        return fitting.multipliers(
            runs,
            baseline=options.baseline,
            formula=options.compute,
            seed_noise=options.seed_noise,
            seed=options.seed,
        )
    return fitting.damping_law(runs, bootstrap=options.bootstrap, seed=options.seed)


def show(console: Console, fit: Fit) -> None:
    """A fit as tables and sentences."""
    found = shown(fit)
    for table in found.tables:
        show_table(console, table)
    for warning in found.warnings:
        say(console, warning)
    for remark in found.remarks:
        say(console, remark, style="dim")
