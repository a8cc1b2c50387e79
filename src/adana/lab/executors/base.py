"""What every engine does: read finished runs back, start the others, follow them, stop them, start them again."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from adana import catalog
from adana.lab.executors.worker import STOPPED, Job
from adana.models import architecture
from adana.train.folder import InUse, Result, read_result, write_json
from adana.train.recipe import Execution, Recipe
from adana.train.run import Progress

__all__ = ["EXECUTION", "Attempt", "Executor", "FolderExecutor", "RunLost", "Update", "WorkerDied", "run_name"]

EXECUTION = Execution(log_every=None, save_every=1000, keep_last=1, keep_final=False)
"""How the lab runs a recipe: many runs leave results and curves, not checkpoints."""

RETRIES = 2
"""How often a run whose worker died is started again."""

POLL = 0.25
PATIENCE = 60.0
LINES = 200

Self = TypeVar("Self", bound="FolderExecutor")


@dataclass(frozen=True)
class Update:
    """One message from a run: its name, and how far it is."""

    name: str
    progress: Progress


class RunLost(RuntimeError):
    """A run's worker died again and again."""


class WorkerDied(Exception):
    """What ran the run is gone, for no fault that the run can tell of."""


class Executor(Protocol):
    """Runs recipes somewhere, each in its own folder."""

    def submit(self, recipe: Recipe) -> Future[Result | None]:
        """Start a run, or read its result. The future holds None where the run was stopped by :meth:`stop`."""
        ...

    def give_up(self, recipe: Recipe, step: int, loss: float, reason: str) -> None:
        """Ask one run to save and end, and mark its folder: its result has neither final loss nor divergence."""
        ...

    def listen(self, listener: Callable[[Update], None]) -> None:
        """Have every :class:`Update` from now on."""
        ...

    def stop(self) -> None:
        """Ask all runs to save and end; those that wait end before they begin."""
        ...

    def close(self) -> None:
        """Wait for all runs to end, and let the workers go; also at the end of a ``with``."""
        ...


class Attempt(Protocol):
    """One go at a run, under way."""

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, waiting so long for it.

        Raises:
            WorkerDied: it will never end.
            Exception: what the run raised.
        """
        ...

    def cancel(self) -> None:
        """Take it back: nobody holds its folder yet, so it has hardly begun if it has at all."""
        ...


def run_name(recipe: Recipe) -> str:
    """A folder name that says what the run is and differs wherever the recipe does."""
    name = catalog.file_name(recipe.optimizer)
    return f"{name}-lr{recipe.lr:.4g}-T{recipe.total_steps}-s{recipe.seed}-{recipe.digest()}"


class FolderExecutor(ABC):
    """An :class:`Executor` that knows its runs by their folders alone.

    An engine adds :meth:`_start`. Results are read from ``result.json``, progress from ``metrics.jsonl``; a file asks
    workers to stop. A run whose worker died goes on from its newest checkpoint, with another worker, twice at most. A
    run that saved and ended unasked, as a job does whose time is up, goes on as often as it does.

    Args:
        root: folder of run folders.
        workers: runs at a time.
        threads: torch threads a run.
        execution: how to run them; its ``log_every`` None means 200 lines a run.
        command: noted in every ``run.json``.
        keep_stopped: whether runs that were given up stay so; else they go on.
        on_update: called with every :class:`Update`, from a run's own thread.

    Raises:
        ValueError: fewer than one worker or thread.
    """

    def __init__(
        self,
        root: Path,
        *,
        workers: int,
        threads: int = 1,
        execution: Execution = EXECUTION,
        command: str = "",
        keep_stopped: bool = False,
        on_update: Callable[[Update], None] | None = None,
    ) -> None:
        if workers < 1 or threads < 1:
            raise ValueError(f"workers and threads must be at least 1, got {workers} and {threads}")
        self.root, self.workers, self.threads = root, workers, threads
        self.execution, self.command, self.keep_stopped = execution, command, keep_stopped
        self._listeners = [] if on_update is None else [on_update]
        self._stopping = threading.Event()
        self._stop_file = root.resolve() / f".stop-{socket.gethostname()}-{os.getpid()}-{id(self):x}"
        self._lock = threading.Lock()
        self._running: dict[str, Future[Result | None]] = {}
        # Ctrl-C reaches the whole process group: what drivers start is deaf to it, and is stopped by the file.
        deaf = (signal.SIG_BLOCK, {signal.SIGINT})
        self._drivers = ThreadPoolExecutor(workers, "adana-run", initializer=signal.pthread_sigmask, initargs=deaf)

    @abstractmethod
    def _start(self, job: Job) -> Attempt:
        """Have a worker begin :func:`adana.lab.executors.worker.work` on a job.

        Raises:
            WorkerDied: there is no worker that could.
        """

    def _close(self) -> None:  # noqa: B027
        """Let go of the engine's workers; all runs have ended."""

    def submit(self, recipe: Recipe) -> Future[Result | None]:
        """Start a run, or read its result. The future holds None where the run was stopped by :meth:`stop`.

        The future raises :class:`RunLost` where workers kept dying, and what the run itself raised.
        """
        name = run_name(recipe)
        done = self._finished(self.root / name)
        if done is not None:
            future: Future[Result | None] = Future()
            future.set_result(done)
            return future
        with self._lock:
            if name not in self._running or self._running[name].done():
                self._running[name] = self._drivers.submit(self._to_the_end, recipe, self.root / name)
            return self._running[name]

    def give_up(self, recipe: Recipe, step: int, loss: float, reason: str) -> None:
        """Ask one run to save and end, and mark its folder: its result has neither final loss nor divergence."""
        write_json(self.root / run_name(recipe) / STOPPED, {"step": step, "loss": loss, "reason": reason})

    def listen(self, listener: Callable[[Update], None]) -> None:
        """Have every :class:`Update` from now on."""
        self._listeners.append(listener)

    def stop(self) -> None:
        """Ask all runs to save and end; those that wait end before they begin."""
        self._stopping.set()
        self._stop_file.parent.mkdir(parents=True, exist_ok=True)
        self._stop_file.touch()

    def close(self) -> None:
        """Wait for all runs to end, and let the workers go."""
        self._drivers.shutdown(wait=True)
        self._close()
        self._stop_file.unlink(missing_ok=True)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.stop()
        self.close()

    def _finished(self, folder: Path) -> Result | None:
        return read_result(folder) or (_given_up(folder) if self.keep_stopped else None)

    # --- one run --------------------------------------------------------------------------------------

    def _to_the_end(self, recipe: Recipe, folder: Path) -> Result | None:
        log_every = self.execution.log_every or max(1, recipe.total_steps // LINES)
        # Absolute, for a worker may live in another directory.
        job = Job(
            recipe,
            folder.resolve(),
            replace(self.execution, log_every=log_every),
            self.threads,
            self._stop_file,
            self.command,
            architecture(recipe.arch),
        )
        follower = _Follower(folder / "metrics.jsonl", recipe.total_steps)
        deaths, until = 0, 0.0
        (folder / STOPPED).unlink(missing_ok=True)
        while True:
            if self._ended(folder):
                return read_result(folder) or _given_up(folder)
            before = follower.step
            try:
                self._once(job, follower)
                died = "it ended without a step" if follower.step == before else ""
            except WorkerDied as error:
                died = str(error)
            except InUse:
                # The worker that is thought dead may be saving yet: on a lost node, or behind a slow network.
                if time.monotonic() > until:
                    raise
                time.sleep(1)
                continue
            if died and not self._ended(folder):
                deaths, until = deaths + 1, time.monotonic() + PATIENCE
                if deaths > RETRIES:
                    raise RunLost(
                        f"{folder.name}: its worker died {deaths} times ({died}); its folder is {folder}, and the same "
                        "command tries it again"
                    )

    def _ended(self, folder: Path) -> bool:
        return self._stopping.is_set() or read_result(folder) is not None or (folder / STOPPED).exists()

    def _once(self, job: Job, follower: _Follower) -> None:
        attempt = self._start(job)
        told = False
        while not attempt.wait(POLL):
            self._tell(job, follower)
            if self._stopping.is_set() and not told:
                # A run under way sees the file and saves; one that still waits for its turn would keep us waiting.
                if not _held(job.folder):
                    attempt.cancel()
                told = True
        self._tell(job, follower)

    def _tell(self, job: Job, follower: _Follower) -> None:
        for progress in follower.new():
            for listener in self._listeners:
                listener(Update(job.folder.name, progress))


def _held(folder: Path) -> bool:
    """Whether a process says that it runs in a folder."""
    lock = folder / ".lock"
    return lock.exists() and lock.stat().st_size > 0


def _given_up(folder: Path) -> Result | None:
    """What a run that was given up came to, or None."""
    if not (folder / STOPPED).exists():
        return None
    note: dict[str, Any] = json.loads((folder / STOPPED).read_text())
    return Result(None, None, [(note["step"], note["loss"])], [], 0.0, "", reason=note["reason"])


class _Follower:
    """The lines of a run's metrics, as they are written."""

    def __init__(self, path: Path, steps: int) -> None:
        self.path, self.steps = path, steps
        self._at, self.step, self._validation = 0, 0, None

    def new(self) -> Iterator[Progress]:
        """Progress by every line since the last call; lines that a resumed run writes again are told once."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size == self._at:
            return
        with self.path.open("rb") as file:
            file.seek(self._at if size > self._at else 0)
            text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._at = file.tell() - len(text) + len(whole)
        for raw in whole.splitlines():
            try:
                line: dict[str, Any] = json.loads(raw)
            except ValueError:  # the file was rewritten by a resumed run, and this is the rest of a line
                continue
            if not isinstance(line, dict) or line.get("tokens_per_second") is None or line["step"] <= self.step:
                continue
            self.step = line["step"]
            self._validation = line.get("validation_loss", self._validation)
            loss = line["loss"] if line["loss"] is not None else float("nan")
            yield Progress(self.step, self.steps, loss, self._validation, line["tokens_per_second"], line)
