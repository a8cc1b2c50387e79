"""What every engine does: read finished runs back, start the others, follow them, stop them, start them again."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from adana import catalog
from adana.files import damaged, parse_json, read_sealed, write_sealed, write_text
from adana.lab.executors.worker import STOPPED, GivenUp, Job
from adana.models import architecture
from adana.train.folder import Result, read_result
from adana.train.lock import InUse, is_held
from adana.train.recipe import Execution, Recipe
from adana.train.run import Progress
from adana.typed import from_mapping

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
        data_sha256: of the tokens that all runs are of, so that none is taken for one on a text that has changed since;
            None for whatever their recipes name.
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
        data_sha256: str | None = None,
        keep_stopped: bool = False,
        on_update: Callable[[Update], None] | None = None,
    ) -> None:
        if workers < 1 or threads < 1:
            raise ValueError(f"workers and threads must be at least 1, got {workers} and {threads}")
        self.root, self.workers, self.threads = root, workers, threads
        self.execution, self.command, self.data_sha256 = execution, command, data_sha256
        self.keep_stopped = keep_stopped
        self._listeners = [] if on_update is None else [on_update]
        self._stopping = threading.Event()
        self._stop_file = root.resolve() / f".stop-{socket.gethostname()}-{os.getpid()}-{id(self):x}"
        self._lock = threading.Lock()
        self._running: dict[str, Future[Result | None]] = {}
        # Ctrl-C reaches the whole process group: what drivers start ignores it, and is stopped by the file.
        blocked = (signal.SIG_BLOCK, {signal.SIGINT})
        self._drivers = ThreadPoolExecutor(workers, "adana-run", initializer=signal.pthread_sigmask, initargs=blocked)

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
        done = self._finished(self.root / name, recipe)
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
        write_sealed(self.root / run_name(recipe) / STOPPED, asdict(GivenUp(step, loss, reason)))

    def listen(self, listener: Callable[[Update], None]) -> None:
        """Have every :class:`Update` from now on."""
        self._listeners.append(listener)

    def stop(self) -> None:
        """Ask all runs to save and end; those that wait end before they begin."""
        self._stopping.set()
        self._stop_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._stop_file, "")

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

    def _finished(self, folder: Path, recipe: Recipe) -> Result | None:
        return self._result(folder, recipe) or (_given_up(folder) if self.keep_stopped else None)

    def _result(self, folder: Path, recipe: Recipe) -> Result | None:
        found = read_result(folder, recipe)
        if found is not None and self.data_sha256 not in (None, found.corpus_sha256):
            raise ValueError(
                f"{folder} is a run on other data (sha256 {found.corpus_sha256[:12]}, not "
                f"{str(self.data_sha256)[:12]}): choose another folder, or remove it"
            )
        return found

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
            self.data_sha256,
        )
        follower = _Follower(folder / "metrics.jsonl", recipe.total_steps)
        deaths, until = 0, 0.0
        (folder / STOPPED).unlink(missing_ok=True)
        while True:
            if self._ended(folder, recipe):
                return self._result(folder, recipe) or _given_up(folder)
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
            if died and not self._ended(folder, recipe):
                deaths, until = deaths + 1, time.monotonic() + PATIENCE
                if deaths > RETRIES:
                    raise RunLost(
                        f"{folder.name}: its worker died {deaths} times ({died}); its folder is {folder}, and the same "
                        "command tries it again"
                    )

    def _ended(self, folder: Path, recipe: Recipe) -> bool:
        return self._stopping.is_set() or self._result(folder, recipe) is not None or (folder / STOPPED).exists()

    def _once(self, job: Job, follower: _Follower) -> None:
        attempt = self._start(job)
        told = False
        while not attempt.wait(POLL):
            self._tell(job, follower)
            if self._stopping.is_set() and not told:
                # A run under way sees the file and saves; one that still waits for its turn would keep us waiting.
                if not is_held(job.folder):
                    attempt.cancel()
                told = True
        self._tell(job, follower)

    def _tell(self, job: Job, follower: _Follower) -> None:
        for progress in follower.new():
            for listener in self._listeners:
                listener(Update(job.folder.name, progress))


def _given_up(folder: Path) -> Result | None:
    """What a run that was given up came to, or None."""
    path, then = folder / STOPPED, "delete it, and the run goes on"
    try:
        found = read_sealed(path, then=then)
    except FileNotFoundError:
        return None
    try:
        note = from_mapping(GivenUp, found, what="a run that was given up")
    except ValueError as error:
        raise damaged(path, str(error), then) from None
    return Result(None, None, [(note.step, note.loss)], [], 0.0, "", reason=note.reason)


class _Follower:
    """The lines of a run's metrics, as they are written."""

    def __init__(self, path: Path, steps: int) -> None:
        self.path, self.steps = path, steps
        self._at, self.step = 0, 0
        self._validation: float | None = None

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
            # The file may have been rewritten by a resumed run, and this be the rest of a line.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                line = parse_json(raw)
                step, rate, loss = line["step"], line["tokens_per_second"], line["loss"]
                if rate is None or step <= self.step:
                    continue
                latest = line.get("validation_loss", self._validation)
                told = Progress(
                    int(step),
                    self.steps,
                    math.nan if loss is None else float(loss),
                    None if latest is None else float(latest),
                    float(rate),
                    line,
                )
                self.step, self._validation = told.step, told.validation_loss
                yield told
