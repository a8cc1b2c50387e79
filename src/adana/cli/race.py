"""``adana race``: the main job."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from adana.catalog import BASELINE, DEFAULT, FULL
from adana.cli import UsageError
from adana.cli.board import Board, SweepBoard
from adana.cli.setting import (
    Setting,
    check_optimizer,
    check_optimizers,
    check_setting,
    command_line,
    parse,
    pick_device,
    prepare,
)
from adana.cli.tables import say, show_table
from adana.lab.cells import SEARCH_SEED, race_start
from adana.lab.executors import LocalExecutor, RunLost
from adana.lab.executors.base import EXECUTION
from adana.lab.race import race, tuned
from adana.lab.race_result import Lane, race_table
from adana.lab.race_search import RUNS, race_search
from adana.train.folder import InUse, write_json
from adana.train.recipe import Recipe

DESCRIPTION = (
    "Train the same small model on the same text with several optimizers, each at its own tuned learning "
    "rate, and show which one needed less compute. Interrupted races go on with the same command."
)


@dataclass(frozen=True)
class Race(Setting):
    """Options of ``adana race``."""

    optimizers: tuple[str, ...] = DEFAULT
    """Who races; "all" for the full table; anybody's torch optimizer as package.module:Class."""
    lr: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """Peak learning rates in place of the tuned ones; an optimizer without one is searched first, in 16 runs."""
    seeds: int = 1
    """How many seeds; each decides initial weights and data order, the same for every optimizer."""
    horizons: tuple[float, ...] = (1.0, 1.5)
    """Multiples of the budget the baseline (adamw-dw) is trained to the end for."""
    out: Path = Path("runs/race")
    """Folder of the runs and the report."""
    json: bool = False
    """Print the result as JSON on standard output instead of the table."""


def run(argv: Sequence[str]) -> int:
    options = parse(Race, "race", DESCRIPTION, argv)
    check_setting(options)
    lanes, unsearched = _lanes(options)
    if options.seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {options.seeds}")
    if 1.0 not in options.horizons or min(options.horizons) <= 0:
        raise UsageError(f"--horizons must be positive and include 1, got {' '.join(map(str, options.horizons))}")
    for lane in lanes:
        check_optimizer(lane.optimizer, lane.lr, options.steps, lane.options)
    for name in unsearched:
        check_optimizer(name, race_start(name), options.steps, {})
    device = pick_device(options.device)
    setting, corpus, runs, workers = prepare(options, options.out)
    jobs = options.seeds * (len(lanes) + len(unsearched) - 1 + len(options.horizons))
    workers = min(jobs, 1 if device != "cpu" and options.workers is None else workers)
    threads = max(1, (os.cpu_count() or 1) // workers)

    console = Console(stderr=options.json, highlight=False)
    console.print(
        f"{corpus.name}: {len(corpus.train) / 1e6:.1f} MB to train on, {len(corpus.validation) / 1e6:.2f} MB held out; "
        f"{jobs} runs, {workers} at a time"
    )
    board = Board(console, setting.batch_size * setting.seq_len)
    started = time.perf_counter()
    command = command_line("race", argv)
    how: dict[str, Any] = {
        "workers": workers,
        "threads": threads,
        "execution": replace(EXECUTION, device=device),
        "command": command,
    }
    try:
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
    except InUse as error:
        raise UsageError(f"{error}: wait for it, or choose another folder with --out") from None
    except (RunLost, ValueError) as error:
        print(f"adana race: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        console.print(f"stopped; what is done is kept in {runs}. The same command goes on from here.")
        return 130
    seconds = time.perf_counter() - started
    page = options.out / "report.html"
    payload = asdict(result) | {
        "command": command,
        "seconds": round(seconds, 1),
        "report": str(page),
    }
    write_json(options.out / "result.json", payload)
    missing = _write_page(payload, page)
    if options.json:
        print(json.dumps(payload, indent=1))
    else:
        show(console, payload)
        console.print(f"took {seconds:.0f} s; numbers: {options.out / 'result.json'}")
    console.print(missing or f"report: {page}")
    return 0


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
    console.print(f"searching {', '.join(names)}: {RUNS} runs each, as everybody had", markup=False)
    with executor, SweepBoard(console, [replace(base, optimizer=name) for name in names]) as board:
        executor.listen(board.update)
        bests = race_search(
            base,
            names,
            executor,
            out / "search",
            command=command,
            on_submit=board.submitted,
            on_run=board.ended,
            on_best=board.found,
        )
    for best in bests:
        if best.final_loss is None:
            raise ValueError(f"{best.optimizer}: every run of its search diverged: give it a rate with --lr")
        console.print(f"{best.optimizer}: lr {best.lr:.4g}, {best.options}", markup=False)
    return [Lane(best.optimizer, best.lr, best.options) for best in bests]


def _write_page(payload: dict[str, object], page: Path) -> str | None:
    try:
        from adana.report.race import write_race_page
    except ModuleNotFoundError as error:
        return f"no HTML page: {error.name} is not installed; pip install 'adana[report]'"
    write_race_page(payload, page)
    return None


def show(console: Console, result: Mapping[str, Any]) -> None:
    """The final table and what it means."""
    show_table(console, race_table(result))
    for horizon, losses in zip(result["horizons"], result["baseline_losses"]):
        shown = ", ".join("diverged" if x is None else f"{x:.4f}" for x in losses)
        say(console, f"{result['baseline']} trained to the end for {horizon:g} x the budget: {shown}", style="dim")
    if len(result["seeds"]) == 1:
        say(console, "One seed moves these losses by about 0.02: pass --seeds 5 before you believe small gaps.")
    if not result["tuned"]:
        say(console, "The learning rates were searched at the default setting; this is another one.")
