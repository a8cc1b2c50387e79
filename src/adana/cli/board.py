"""The live lines of a race, one per optimizer, and of a sweep, one per search; plain lines without a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import adana.tables
from adana.cli.tables import rich_table, say
from adana.lab.executors import Update, run_name
from adana.lab.sweep import Best
from adana.lab.tables import best_points, options_in_words, told_apart
from adana.train.folder import Result
from adana.train.recipe import Recipe

__all__ = ["Board", "SweepBoard"]

T = TypeVar("T", bound="_Picture")
GOES_ON = "Ctrl-C stops, the same command goes on"


class _Picture:
    """A picture that is drawn anew four times per second, where there is a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._started = time.perf_counter()
        self._live: Live | None = None

    def __enter__(self: T) -> T:
        if self.console.is_terminal:
            draw = self._render
            self._live = Live(console=self.console, get_renderable=draw, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._started

    def say(self, line: str) -> None:
        say(self.console, line, style="")

    def _render(self) -> Group:
        raise NotImplementedError


class Board(_Picture):
    """One live line per optimizer: runs done, step, loss, speed, time left."""

    def __init__(self, console: Console, tokens_per_step: int) -> None:
        super().__init__(console)
        self.tokens_per_step = tokens_per_step
        self._owner: dict[str, str] = {}
        self._latest: dict[str, Update] = {}
        self._finished: dict[str, Result] = {}

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
                self.say(
                    f"{update.name}: step {progress.step}/{progress.steps}, loss {progress.train_loss:.3f}, "
                    f"{progress.tokens_per_second:,.0f} tokens/s"
                )

    def finish(self, name: str, result: Result) -> None:
        with self._lock:
            self._finished[name] = result
        if result.diverged_at is not None:
            self.say(f"{name}: diverged at step {result.diverged_at}")

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
        for column in ("optimizer", "runs", "", "step", "loss", "tokens/s", "left"):
            table.add_column(column, justify="left" if column in ("optimizer", "") else "right", no_wrap=True)
        with self._lock:
            for optimizer in dict.fromkeys(self._owner.values()):
                table.add_row(Text(optimizer), *self._row(optimizer))
        return Group(table, Text(f"{self.elapsed:.0f} s; {GOES_ON}", style="dim"))

    def _row(self, optimizer: str) -> Sequence[str | ProgressBar]:
        names = [name for name, owner in self._owner.items() if owner == optimizer]
        done = [name for name in names if name in self._finished]
        active = [self._latest[n].progress for n in names if n in self._latest and n not in self._finished]
        runs = f"{len(done)}/{len(names)}"
        if not active:
            losses = [f"{x:.3f}" for x in (self._finished[n].final_loss for n in done) if x is not None]
            bar = ProgressBar(100, 100 * len(done) / len(names), width=16)
            state = "done" if len(done) == len(names) else "waiting"
            return runs, bar, state, losses[-1] if losses else "", "", ""
        p = active[-1]
        left = (p.steps - p.step) * self.tokens_per_step / max(p.tokens_per_second, 1e-9)
        return (
            runs,
            ProgressBar(p.steps, p.step, width=16),
            f"{p.step}/{p.steps}",
            f"{p.train_loss:.3f}",
            f"{p.tokens_per_second:,.0f}",
            f"{left:.0f} s",
        )


class SweepBoard(_Picture):
    """Progress of the runs known so far, and a line per search; a line per run where there is no terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._known = self._done = 0
        self._under_way: dict[str, float] = {}
        self._bests: dict[int, tuple[Best, bool]] = {}

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
            name = _name(recipe, recipe.options)
            self.say(f"{done}/{known} {name} seed {recipe.seed}: {outcome(result)}")

    def best(self, cell: int, best: Best, finished: bool) -> None:
        with self._lock:
            self._bests[cell] = (best, finished)
        if finished and not self.console.is_terminal:
            self._say_best(best)

    def found(self, best: Best) -> None:
        """The end of one of the race's searches, of which an optimizer may have several."""
        with self._lock:
            self._bests[len(self._bests)] = (best, True)
        if not self.console.is_terminal:
            self._say_best(best)

    def _say_best(self, best: Best) -> None:
        loss = "every run diverged" if best.final_loss is None else f"{best.final_loss:.4f}"
        self.say(f"BEST {_name(best, told_apart(best))}: {loss}{'' if best.bracketed else ', not bracketed'}")

    def table(self) -> adana.tables.Table:
        """The best of every search so far."""
        with self._lock:
            return best_points([self._bests[cell] for cell in sorted(self._bests)])

    def _render(self) -> Group:
        with self._lock:
            done, known, under_way = self._done, self._known, list(self._under_way.values())
        line = Table.grid(padding=(0, 1))
        line.add_row(
            ProgressBar(max(known, 1), done + sum(under_way), width=32),
            f"{done}/{known} runs known so far, {len(under_way)} under way, {self.elapsed:.0f} s",
        )
        return Group(rich_table(self.table()), line, Text(GOES_ON, style="dim"))


class _Point(Protocol):
    """A learning rate that was tried: a recipe, or the best of a search."""

    @property
    def optimizer(self) -> str: ...

    @property
    def heads(self) -> int: ...

    @property
    def lr(self) -> float | None: ...


def _name(point: _Point, options: Mapping[str, object]) -> str:
    words = options_in_words(options)
    return f"{point.optimizer} {point.heads} heads lr={point.lr:.4g}" + (f", {words}" if words else "")


def outcome(result: Result) -> str:
    """How a run ended, in words."""
    if result.final_loss is not None:
        return f"{result.final_loss:.4f} ({result.seconds:.0f} s)"
    if result.diverged_at is not None:
        return f"diverged at step {result.diverged_at}"
    return f"given up: {result.reason}"
