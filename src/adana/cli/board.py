"""The live lines of a race, one an optimizer, and of a sweep, one a search; plain lines where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adana.lab.executors import Update, run_name
from adana.lab.sweep import Best
from adana.train.folder import Result
from adana.train.recipe import Recipe

__all__ = ["Board", "SweepBoard"]


class Board:
    """One live line an optimizer: runs done, step, loss, speed, time left."""

    def __init__(self, console: Console, tokens_per_step: int) -> None:
        self.console, self.tokens_per_step = console, tokens_per_step
        self._lock = threading.Lock()
        self._owner: dict[str, str] = {}
        self._latest: dict[str, Update] = {}
        self._finished: dict[str, Result] = {}
        self._started = time.perf_counter()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Board:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def start(self, names: Mapping[str, str]) -> None:
        self._owner = dict(names)

    def update(self, update: Update) -> None:
        with self._lock:
            before = self._latest.get(update.name)
            self._latest[update.name] = update
        progress = update.progress
        if not self.console.is_terminal:
            quarter = 4 * progress.step // progress.steps
            if quarter > (4 * before.progress.step // before.progress.steps if before else 0):
                self.console.print(
                    f"{update.name}: step {progress.step}/{progress.steps}, loss {progress.train_loss:.3f}, "
                    f"{progress.tokens_per_second:,.0f} tokens/s"
                )

    def finish(self, name: str, result: Result) -> None:
        with self._lock:
            self._finished[name] = result
        if result.diverged_at is not None:
            self.console.print(f"{name}: diverged at step {result.diverged_at}")

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
        for column in ("optimizer", "runs", "", "step", "loss", "tokens/s", "left"):
            table.add_column(column, justify="left" if column in ("optimizer", "") else "right", no_wrap=True)
        with self._lock:
            owners = dict.fromkeys(self._owner.values())
            for optimizer in owners:
                names = [name for name, owner in self._owner.items() if owner == optimizer]
                done = [name for name in names if name in self._finished]
                active = [self._latest[n].progress for n in names if n in self._latest and n not in self._finished]
                runs = f"{len(done)}/{len(names)}"
                if not active:
                    losses = [f"{x:.3f}" for x in (self._finished[n].final_loss for n in done) if x is not None]
                    state = "done" if len(done) == len(names) else "waiting"
                    table.add_row(
                        optimizer,
                        runs,
                        ProgressBar(100, 100 * len(done) / len(names), width=16),
                        state,
                        losses[-1] if losses else "",
                        "",
                        "",
                    )
                    continue
                p = active[-1]
                left = (p.steps - p.step) * self.tokens_per_step / max(p.tokens_per_second, 1e-9)
                table.add_row(
                    optimizer,
                    runs,
                    ProgressBar(p.steps, p.step, width=16),
                    f"{p.step}/{p.steps}",
                    f"{p.train_loss:.3f}",
                    f"{p.tokens_per_second:,.0f}",
                    f"{left:.0f} s",
                )
        elapsed = time.perf_counter() - self._started
        return Group(table, Text(f"{elapsed:.0f} s; Ctrl-C stops, the same command goes on", style="dim"))


class SweepBoard:
    """Progress of the runs known so far, and a line for every search; a line a run where there is no terminal."""

    def __init__(self, console: Console, cells: Sequence[Recipe]) -> None:
        self.console, self.cells = console, cells
        self._lock = threading.Lock()
        self._known = self._done = 0
        self._under_way: dict[str, float] = {}
        self._bests: dict[int, tuple[Best, bool]] = {}
        self._started = time.perf_counter()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> SweepBoard:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def submitted(self, count: int) -> None:
        with self._lock:
            self._known += count

    def update(self, update: Update) -> None:
        with self._lock:
            self._under_way[update.name] = update.progress.step / update.progress.steps

    def ended(self, recipe: Recipe, result: Result) -> None:
        with self._lock:
            self._under_way.pop(run_name(recipe), None)
            self._done += 1
            known, done = self._known, self._done
        if not self.console.is_terminal:
            name = f"{recipe.optimizer} {recipe.heads} heads lr={recipe.lr:.4g}{_options(recipe.options)}"
            self.console.print(f"{done}/{known} {name} seed {recipe.seed}: {outcome(result)}", markup=False)

    def best(self, cell: int, best: Best, finished: bool) -> None:
        with self._lock:
            self._bests[cell] = (best, finished)
        if finished and not self.console.is_terminal:
            self._say(best)

    def found(self, best: Best) -> None:
        """The end of one of the race's searches, of which an optimizer may have several."""
        with self._lock:
            self._bests[len(self._bests)] = (best, True)
        if not self.console.is_terminal:
            self._say(best)

    def _say(self, best: Best) -> None:
        name = f"{best.optimizer} {best.heads} heads lr={best.lr:.4g}{_options(_cell(best))}"
        loss = "every run diverged" if best.final_loss is None else f"{best.final_loss:.4f}"
        self.console.print(f"BEST {name}: {loss}{'' if best.bracketed else ', not bracketed'}", markup=False)

    def table(self) -> Table:
        """The best of every search so far."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("optimizer", "heads", "options", "lr", "loss", "curvature", "bracketed"):
            # An option cut short would make rows of a grid look alike.
            table.add_column(column, justify="left" if column in ("optimizer", "options") else "right", overflow="fold")
        with self._lock:
            bests = sorted(self._bests.items())
        for _, (best, finished) in bests:
            table.add_row(
                Text(best.optimizer),
                str(best.heads),
                Text(_options(_cell(best)).removeprefix(", ")),
                f"{best.lr:.4g}",
                "diverged" if best.final_loss is None else f"{best.final_loss:.4f}",
                "" if best.curvature is None else f"{best.curvature:.3g}",
                ("yes" if best.bracketed else "no") if finished else "...",
            )
        return table

    def _render(self) -> Group:
        elapsed = time.perf_counter() - self._started
        with self._lock:
            done, known, under_way = self._done, self._known, list(self._under_way.values())
        line = Table.grid(padding=(0, 1))
        line.add_row(
            ProgressBar(max(known, 1), done + sum(under_way), width=32),
            f"{done}/{known} runs known so far, {len(under_way)} under way, {elapsed:.0f} s",
        )
        return Group(self.table(), line, Text("Ctrl-C stops, the same command goes on", style="dim"))


def outcome(result: Result) -> str:
    """How a run ended, in words."""
    if result.final_loss is not None:
        return f"{result.final_loss:.4f} ({result.seconds:.0f} s)"
    if result.diverged_at is not None:
        return f"diverged at step {result.diverged_at}"
    return f"given up: {result.reason}"


def _cell(best: Best) -> dict[str, Any]:
    """What tells its cell from others: a coupled decay's omega follows the learning rate."""
    return ({} if best.coupled is None else {"coupled": best.coupled}) | best.options


def _options(options: Mapping[str, Any]) -> str:
    shown = ((name, f"{value:.4g}" if isinstance(value, float) else value) for name, value in options.items())
    return "".join(f", {name}={value}" for name, value in shown)
