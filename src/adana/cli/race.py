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
from adana.lab.sweep import Best
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
    search: int | None = None
    """Search every optimizer on this very setting first, with this many runs each (at least 3; 7 or more repeat the
    best on other seeds), from its tuned settings on; the baseline at each of the horizons too."""
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
    entered = _entered(options)
    for lane in [*entered.settled, *entered.tuned]:
        check_optimizer(lane.optimizer, lane.lr, options.steps, lane.options)
    for name in entered.unknown:
        check_optimizer(name, race_start(name), options.steps, {})
    jobs = options.seeds * (entered.count - 1 + len(set(options.horizons)))
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

        def searched(name: str, at: Recipe, budget: int, near: Sequence[Lane] = (), names: Sequence[str] = ()) -> Any:
            return _searched(at, near, names, budget, LocalExecutor(runs, **how), options.out / name, command, console)

        lanes, longer = entered.settled, {}
        if entered.unknown:
            lanes = lanes + searched("search", setting, RUNS, names=entered.unknown)
        if entered.tuned:
            assert options.search is not None
            lanes = lanes + searched("search-tuned", setting, options.search, near=entered.tuned)
            for horizon in sorted(set(options.horizons) - {1.0}):
                at = replace(setting, steps=round(setting.total_steps * horizon))
                own = [lane for lane in lanes if lane.optimizer == BASELINE and lane not in entered.settled]
                if own:
                    (longer[horizon],) = searched(f"search-{horizon:g}", at, options.search, near=own)
        with LocalExecutor(runs, **how, on_update=board.update) as executor, board:
            result = race(
                setting,
                lanes,
                executor,
                seeds=range(options.seeds),
                horizons=tuple(sorted(set(options.horizons))),
                longer=longer,
                text=corpus.name,
                searched=bool(entered.tuned),
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
    if options.search is not None and options.search < 3:
        raise UsageError(
            f"--search needs at least 3 runs for each optimizer, a point and both its neighbours; got {options.search}"
        )
    if 1.0 not in options.horizons or not all(0 < horizon < float("inf") for horizon in options.horizons):
        raise UsageError(f"--horizons must be above 0 and include 1, got {' '.join(map(str, options.horizons))}")


@dataclass(frozen=True)
class Entered:
    """Who races.

    Attributes:
        settled: those that race with these settings.
        tuned: those that are searched again, from these settings on.
        unknown: those that are searched from nothing.
    """

    settled: list[Lane]
    tuned: list[Lane]
    unknown: list[str]

    @property
    def count(self) -> int:
        return len(self.settled) + len(self.tuned) + len(self.unknown)


def _entered(options: Race) -> Entered:
    names = list(FULL) if list(options.optimizers) == ["all"] else list(dict.fromkeys(options.optimizers))
    check_optimizers(names)
    if BASELINE not in names:
        names.insert(0, BASELINE)
    own = _own_rates(options, names)
    known = tuned()
    found = Entered([], [], [])
    for name in names:
        best = known.get(name, Lane(name, 0.0, {}))
        if name in own:
            found.settled.append(replace(best, lr=own[name]))
        elif name not in known:
            found.unknown.append(name)
        else:
            (found.settled if options.search is None else found.tuned).append(best)
    return found


def _own_rates(options: Race, names: Sequence[str]) -> dict[str, float]:
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
    return own


def _searched(
    setting: Recipe,
    near: Sequence[Lane],
    names: Sequence[str],
    budget: int,
    executor: LocalExecutor,
    output: Path,
    command: str,
    console: Console,
) -> list[Lane]:
    """Lanes at what a search by everybody's rule finds: from settings of another search, or from nothing."""
    base = replace(setting, seed=SEARCH_SEED, evaluations=1)
    names = [lane.optimizer for lane in near] or names
    said = "each, as everybody had" if not near else f"each, {setting.total_steps:,} steps, from the tuned settings on"
    say(console, f"searching {', '.join(names)}: {budget} runs {said}", style="")
    with executor, SweepBoard(console) as board:
        executor.listen(board.update)
        bests = race_search(
            base,
            names,
            executor,
            output,
            runs=budget,
            near={
                lane.optimizer: Best(lane.optimizer, lane.options, lane.lr, None, 1, bracketed=True, heads=base.heads)
                for lane in near
            },
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
