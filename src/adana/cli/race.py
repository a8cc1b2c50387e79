"""``adana race``: the main job."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from adana.catalog import BASELINE, DEFAULT, FULL
from adana.cli import UsageError
from adana.cli.arguments import parse
from adana.cli.board import Board, SweepBoard
from adana.cli.common import (
    check_optimizer,
    check_optimizers,
    command_line,
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
from adana.lab.cells import SEARCH_SEED, race_start
from adana.lab.executors import LocalExecutor
from adana.lab.executors.base import EXECUTION
from adana.lab.race import race, tuned
from adana.lab.race_result import Lane, race_notes, race_table
from adana.lab.race_search import RUNS, race_search
from adana.lab.tables import options_in_words
from adana.train.recipe import Recipe

MOST_RUNS = 10_000
DESCRIPTION = (
    "Train the same small model on the same text with several optimizers, each at its own tuned learning "
    "rate, and show which one needed less compute. Interrupted races go on with the same command."
)


@dataclass(frozen=True)
class Race:
    """Options of ``adana race``."""

    heads: int = 2
    """Attention heads of 64 dimensions each; the model's width is 64 times this."""
    layers: int | None = None
    """Transformer blocks; default floor(3 heads / 4)."""
    seq_len: int = 256
    """Bytes per sequence."""
    batch_size: int = 4
    """Sequences per step."""
    steps: int = 1500
    """Optimizer steps of every run; learning rate and decay follow schedules of this length."""
    text: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Text files to train on (the last 5 % of each is held out); default the Python standard library."""
    workers: int | None = None
    """Runs at the same time; default one per core, or one if they run on a GPU."""
    device: str | None = None
    """Torch device; default a GPU if there is one, else the CPU."""
    optimizers: tuple[str, ...] = DEFAULT
    """Optimizers that race: adana, muon-dw, adamw-dw (AdamW whose weight decay fades), ... (an unknown name lists
    all); "all" for every one that is tuned, or any torch optimizer as package.module:Class."""
    lr: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """Peak learning rates in place of the tuned ones; an optimizer without one is searched first, in 16 runs."""
    seeds: int = 1
    """Number of seeds; a seed decides initial weights and data order, the same for every optimizer."""
    horizons: tuple[float, ...] = (1.0, 1.5)
    """Lengths of the baseline's runs, in multiples of --steps: longer ones show how much more compute it needs."""
    out: Path = Path("runs/race")
    """Folder of the runs and the report."""
    json: bool = False
    """Print the result as JSON on standard output instead of the table."""


def run(argv: Sequence[str]) -> int:
    options = parse(Race, "race", DESCRIPTION, argv)
    _check(options)
    lanes, unsearched = _lanes(options)
    for lane in lanes:
        check_optimizer(lane.optimizer, lane.lr, options.steps, lane.options)
    for name in unsearched:
        check_optimizer(name, race_start(name), options.steps, {})
    jobs = options.seeds * (len(lanes) + len(unsearched) - 1 + len(set(options.horizons)))
    if jobs > MOST_RUNS:
        raise UsageError(f"--seeds {options.seeds} makes {jobs:,} runs, more than the {MOST_RUNS:,} of one race")
    device = pick_device(options.device)
    setting = Recipe(
        "adamw",  # each lane has its own
        1.0,
        heads=options.heads,
        layers=options.layers,
        seq_len=options.seq_len,
        batch_size=options.batch_size,
        steps=options.steps,
        text=tuple(str(Path(path).resolve()) for path in options.text),
    )
    with refusing():
        setting.check()
    corpus = read_corpus(setting)
    runs = make_runs_folder(corpus, options.out)
    workers = min(jobs, options.workers or (cores() if device == "cpu" else 1))
    threads = max(1, cores() // workers)
    command = command_line("race", argv)

    console = terminal(stderr=options.json)
    say(
        console,
        f"{corpus.name}: {len(corpus.train) / 1e6:.1f} MB to train on, {len(corpus.validation) / 1e6:.2f} MB held out; "
        f"{jobs} runs, {workers} at a time",
        style="",
    )
    board = Board(console, setting.batch_size * setting.seq_len)
    started = time.perf_counter()
    how: dict[str, Any] = {
        "workers": workers,
        "threads": threads,
        "execution": replace(EXECUTION, device=device),
        "command": command,
        "data_sha256": corpus.sha256,
    }
    with experiment(console, runs):
        if unsearched:
            lanes += _searched(setting, unsearched, LocalExecutor(runs, **how), options.out, command, console)
        with LocalExecutor(runs, **how, on_update=board.update) as executor, board:
            result = race(
                setting,
                lanes,
                executor,
                seeds=range(options.seeds),
                horizons=tuple(sorted(set(options.horizons))),
                text=corpus.name,
                on_start=board.start,
                on_finish=board.finish,
            )
    seconds = time.perf_counter() - started
    page = options.out / "report.html"
    payload = asdict(result) | {"command": command, "seconds": round(seconds, 1), "report": str(page)}
    write_json(options.out / "result.json", payload)
    missing = page_of("report", lambda: _write_page(payload, page))
    if options.json:
        print(json.dumps(payload, indent=1))
    else:
        show_table(console, race_table(payload))
        for note in race_notes(payload):
            say(console, note, style="dim")
        say(console, f"took {seconds:.0f} s; numbers: {options.out / 'result.json'}", style="")
    say(console, missing or f"report: {page}", style="")
    return 0


def _check(options: Race) -> None:
    for name in ("heads", "layers", "seq_len", "batch_size", "steps", "workers", "seeds"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if 1.0 not in options.horizons or not all(0 < horizon < float("inf") for horizon in options.horizons):
        raise UsageError(f"--horizons must be above 0 and include 1, got {' '.join(map(str, options.horizons))}")


def _lanes(options: Race) -> tuple[list[Lane], list[str]]:
    """Who races with what is known of each, and the names of those whose settings must be searched first."""
    names = list(FULL) if list(options.optimizers) == ["all"] else list(dict.fromkeys(options.optimizers))
    check_optimizers(names)
    if BASELINE not in names:
        names.insert(0, BASELINE)
    own: dict[str, float] = {}
    for text in options.lr:
        name, separator, value = text.partition("=")
        check_optimizers([name])
        if name not in names:
            raise UsageError(f"--lr {text}: {name} is not in this race")
        try:
            own[name] = float(value)
        except ValueError:
            separator = ""
        if not separator:
            raise UsageError(f"--lr {text}: write NAME=VALUE, such as adana=0.004")
        if not 0 < own[name] < float("inf"):
            raise UsageError(f"--lr {text}: a learning rate must be above 0")
    known = tuned()
    unsearched = [name for name in names if name not in known and name not in own]
    lanes = []
    for name in names:
        if name not in unsearched:
            best = known.get(name, Lane(name, 0.0, {}))
            lanes.append(Lane(name, own.get(name, best.lr), best.options))
    return lanes, unsearched


def _searched(
    setting: Recipe, names: Sequence[str], executor: LocalExecutor, out: Path, command: str, console: Console
) -> list[Lane]:
    """Lanes of optimizers that nobody has searched yet: by the rule and the budget of everybody else's search."""
    base = replace(setting, seed=SEARCH_SEED, evaluations=1)
    say(console, f"searching {', '.join(names)}: {RUNS} runs each, as everybody had", style="")
    with executor, SweepBoard(console) as board:
        executor.listen(board.update)
        bests = race_search(
            base,
            names,
            executor,
            out / "search",
            command=command,
            anew=True,
            on_submit=board.submitted,
            on_run=board.ended,
            on_best=board.found,
        )
    for best in bests:
        if best.final_loss is None:
            raise ValueError(f"{best.optimizer}: every run of its search diverged: give it a rate with --lr")
        say(console, f"{best.optimizer}: lr {best.lr:.4g}, {options_in_words(best.options)}", style="")
    return [Lane(best.optimizer, best.lr, best.options) for best in bests]


def _write_page(payload: dict[str, object], page: Path) -> None:
    from adana.report.race import write_race_page

    write_race_page(payload, page)
