"""``adana ladder``: tune small, predict bigger, and see how far that can be trusted."""

from __future__ import annotations

import json
import resource
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from adana import catalog
from adana.cli import Failed, UsageError
from adana.cli.arguments import parse
from adana.cli.board import SweepBoard
from adana.cli.common import (
    check_optimizer,
    check_optimizers,
    command_line,
    completed,
    cores,
    experiment,
    make_runs_folder,
    page_of,
    pick_device,
    read_corpus,
    refusing,
)
from adana.cli.tables import say, show_table, terminal
from adana.files import write_json
from adana.lab.cells import at, start_of
from adana.lab.executors import LocalExecutor
from adana.lab.executors.base import EXECUTION
from adana.lab.ladder import Events, Ladder, climb
from adana.lab.tables import (
    differences,
    ladder_plans,
    ladder_searches,
    options_in_words,
    planned_rates,
    predicted_losses,
)
from adana.scaling.fits import read_fit
from adana.scaling.laws import label
from adana.scaling.presentation import shown
from adana.tables import Table
from adana.train.recipe import Recipe

DESCRIPTION = (
    "The whole method on one machine: search the learning rate of each optimizer at several small sizes, fit how "
    "learning rate and loss change with size, plan the next size by that, train it, and compare. The defaults take "
    "from nine minutes to half an hour on two cores; the text is that of the Python standard library. An interrupted "
    "ladder goes on with the same command."
)


@dataclass(frozen=True)
class Options:
    """Options of ``adana ladder``."""

    optimizers: tuple[str, ...] = ("adamw-dw", "adana")
    """Optimizers to compare; the first is the baseline of the others."""
    heads: tuple[int, ...] = (1, 2, 3, 4)
    """Model sizes to search, in attention heads, three at least, and four for a law whose loss tends to a limit."""
    predict: int = 5
    """Model size, in attention heads, that is predicted and then trained."""
    head_dim: int = 12
    """Width of an attention head; the model's width is heads times this."""
    arch: str = "enoki"
    """Architecture: enoki, qwen3, or your own by its name or as package.module:NAME."""
    tokens_per_parameter: float = 8.0
    """Tokens per parameter (embeddings included), the same at every size: a law holds for one such ratio."""
    seq_len: int = 128
    """Tokens per sequence."""
    batch_size: int = 4
    """Sequences per step."""
    tune: int | None = None
    """Model size, in heads, at which the options below are chosen; default the largest but one."""
    beta2: tuple[float, ...] = (0.95, 0.99, 0.999)
    """Values of beta2 to choose from, for AdamW and other optimizers that have it."""
    weight_decay: tuple[float, ...] = (1.0,)
    """Weight decays to choose from, for every optimizer (omega, where they fade in log time)."""
    kappa: tuple[float, ...] = ()
    """Values of kappa to choose from: adana weighs momentum by t^(1 - kappa) at step t; default 0.85 alone."""
    seeds: tuple[int, ...] = (0, 1)
    """Random seeds of the runs whose losses are fitted and compared; the searches have another one (100)."""
    text: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Text files to train on (the last 5 % of each is held out); default the Python standard library."""
    data: str | None = None
    """Folder made by `adana data build`, in place of text."""
    validation_tokens: int = 32_768
    """Tokens of the fixed validation set, at most."""
    workers: int | None = None
    """Runs at the same time, one thread each; default one per core, or one on a GPU."""
    device: str | None = None
    """Torch device; default a GPU if there is one, else the CPU."""
    bootstrap: int = 400
    """Bootstrap samples per confidence interval."""
    plan_only: bool = False
    """Stop when the next size is planned, to put the prediction on record; without this, the same command runs it."""
    out: Path = Path("runs/ladder")
    """Folder of the runs, ladder.json, runs.csv, the laws, the planned recipes and the report."""
    json: bool = False
    """Print the result as JSON on standard output instead of tables."""


def run(argv: Sequence[str]) -> int:
    options = parse(Options, "ladder", DESCRIPTION, argv)
    ladder = _ladder(options)
    device = pick_device(options.device)
    try:
        import scipy  # noqa: F401
    except ModuleNotFoundError as error:
        raise Failed(f"{error.name} is not installed: pip install 'adana[fit]'") from None
    corpus = read_corpus(ladder.base)
    runs = make_runs_folder(corpus, options.out)
    workers = options.workers or (cores() if device == "cpu" else 1)
    command = command_line("ladder", argv)
    console = terminal(stderr=options.json)
    say(console, f"{corpus.name}: {workers} runs at a time in {runs}", style="")
    board = SweepBoard(console)
    events = Events(
        stage=lambda text: say(console, f"{_clock(started)} {text}", style="bold"),
        submitted=board.submitted,
        ran=board.ended,
        best=board.best,
    )
    started = time.perf_counter()
    execution = replace(EXECUTION, device=device)
    executor = LocalExecutor(
        runs,
        workers=workers,
        execution=execution,
        command=command,
        data_sha256=corpus.sha256,
        on_update=board.update,
    )
    with experiment(console, options.out), executor, board:
        result = climb(ladder, executor, options.out, check=not options.plan_only, command=command, events=events)
    page = options.out / "report.html"
    missing = "" if options.plan_only else page_of("report", lambda: _write_report(runs, page, result))
    result |= {"text": corpus.name, "text_sha256": corpus.sha256, "seconds": round(time.perf_counter() - started, 1)}
    result |= {
        "cpu_seconds": round(_cpu_seconds(), 1),
        "workers": workers,
        "report": None if missing or options.plan_only else str(page),
    }
    write_json(options.out / "ladder.json", result)
    if options.json:
        print(json.dumps(result, allow_nan=False))
    else:
        laws = [shown(read_fit(options.out / name)).tables[0] for name in ("lr.json", "loss.json")]
        show(terminal(), result, laws)
    if options.plan_only:
        say(console, f"prediction: {options.out / 'ladder.json'}; without --plan-only this command runs it", style="")
    else:
        say(console, missing or f"report: {page}", style="")
    return 0


def _ladder(options: Options) -> Ladder:
    """What is to be climbed; all that can be refused is refused here."""
    check_optimizers(options.optimizers)
    for name in ("workers", "bootstrap", "head_dim", "seq_len", "batch_size", "predict"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if not options.heads or min(options.heads) < 1:
        raise UsageError(f"--heads must be at least 1, got {' '.join(map(str, options.heads)) or 'none'}")
    heads = tuple(sorted(set(options.heads)))
    grids = {name: tuple(dict.fromkeys(getattr(options, name))) for name in ("beta2", "weight_decay", "kappa")}
    if options.kappa and not any("kappa" in catalog.find(name).grids for name in options.optimizers):
        raise UsageError(f"--kappa: none of {', '.join(options.optimizers)} has one")
    with refusing():
        base = completed(
            Recipe(
                arch=options.arch,
                head_dim=options.head_dim,
                seq_len=options.seq_len,
                batch_size=options.batch_size,
                text=options.text,
                data=options.data,
                evaluations=2,
                validation_tokens=options.validation_tokens,
            ),
            (),
        )
        base = replace(base, vocab_size=read_corpus(base).vocabulary)
        ladder = Ladder(
            base,
            optimizers=tuple(options.optimizers),
            heads=heads,
            predict=options.predict,
            tune=heads[max(len(heads) - 2, 0)] if options.tune is None else options.tune,
            tokens_per_parameter=options.tokens_per_parameter,
            grids={name: values for name, values in grids.items() if values},
            seeds=options.seeds,
            bootstrap=options.bootstrap,
        )
        ladder.check()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ladder.optimizers:
                for cell in ladder.candidates(name):
                    check_optimizer(name, start_of(cell), cell.total_steps, at(cell, start_of(cell), 0).options)
    return ladder


def _write_report(runs: Path, page: Path, result: Mapping[str, Any]) -> None:
    from adana.report.prediction import predicted
    from adana.report.runs import write_report

    optimizers = result["ladder"]["optimizers"]
    title = f"A ladder of {', '.join(optimizers)}"
    baseline = label(optimizers[0], result["checks"][0]["kappa"])
    before = (predicted(result),)
    write_report([runs], page, baseline=baseline, title=title, command=result["command"], before=before)


def _cpu_seconds() -> float:
    """Processor seconds of this process and of its workers, which have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _clock(started: float) -> str:
    seconds = round(time.perf_counter() - started)
    return f"[{seconds // 60}:{seconds % 60:02}]"


# --- what it shows --------------------------------------------------------------------------------------


def show(console: Console, result: Mapping[str, Any], laws: Sequence[Table]) -> None:
    """The searches, the laws, the plan, and the plan beside what came out."""
    show_table(console, ladder_searches(result))
    for one in result["searches"]:
        tried = "; ".join(f"{options_in_words(best['options'])}: {_loss(best['final_loss'])}" for best in one["tuned"])
        chosen = options_in_words(one["options"]) or "its defaults"
        say(console, f"{one['optimizer']} runs with {chosen} (tried: {tried})", style="dim")
    if result["seed_noise"] is not None:
        say(console, f"One run's seed noise: {result['seed_noise']:.2g} nats.", style="dim")
    console.print()
    for table in laws:
        show_table(console, table)
    if "checks" not in result:
        show_table(console, ladder_plans(result))
        return
    say(console, f"{result['ladder']['predict']} heads, predicted and measured", style="bold")
    console.print()
    show_table(console, predicted_losses(result))
    show_table(console, planned_rates(result))
    for line in differences(result):
        say(console, line, style="")
    sizes = len(result["ladder"]["heads"])
    say(
        console,
        f"{sizes} sizes this small leave wide intervals and no b; a prediction that holds here says that the method "
        "works one step up, and nothing about models a thousand times larger.",
        style="dim",
    )


def _loss(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.4f}"
