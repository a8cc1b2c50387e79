"""Run recipes in worker processes, watch them, and stop them so that they can go on later."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adana.train.run import Execution, Interrupted, Progress, Recipe, Result, read_result

__all__ = ["Pool", "Update", "run_name"]


@dataclass(frozen=True)
class Update:
    """One message from a worker: which run, and how far it is."""

    name: str
    progress: Progress


def run_name(recipe: Recipe) -> str:
    """A folder name that says what the run is and differs wherever the recipe does."""
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()[:8]
    return f"{recipe.optimizer}-lr{recipe.lr:.4g}-T{recipe.total_steps}-s{recipe.seed}-{digest}"


_worker: dict[str, Any] = {}


def _start_worker(updates: Any, stop: Any, threads: int, niceness: int) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides, and workers save before they end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(niceness)
    import torch

    torch.set_num_threads(threads)
    _worker.update(updates=updates, stop=stop, parent=os.getppid(), busy=False)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _orphaned() -> bool:
    return os.getppid() != int(_worker["parent"])


def _leave_with_parent() -> None:
    # A parent that was killed cannot shut its pool down, and a worker waiting for work would wait forever.
    while _worker["busy"] or not _orphaned():
        time.sleep(1)
    os._exit(1)


def _should_stop() -> bool:
    # For the same reason a run that is under way saves and ends.
    return bool(_worker["stop"].is_set()) or _orphaned()


def _run(recipe: Recipe, folder: Path, device: str) -> Result | None:
    from adana.train.run import train

    execution = Execution(device=device, log_every=None, save_every=None, keep_final=False)
    name = run_name(recipe)
    every = max(1, recipe.total_steps // 200)

    def report(progress: Progress) -> None:
        if progress.step % every == 0 or progress.step == progress.steps:
            _worker["updates"].put(Update(name, progress))

    _worker["busy"] = True
    try:
        return train(recipe, folder, execution=execution, report=report, should_stop=_should_stop)
    except Interrupted:
        return None
    finally:
        _worker["busy"] = False


class Pool:
    """Worker processes over a folder of runs. Finished runs are read back, not repeated.

    Args:
        root: folder of run folders.
        workers: processes; one CPU thread each unless ``threads`` says otherwise.
        threads: torch threads a worker.
        device: torch device of every run.
        niceness: added to the workers' niceness.
        on_update: called with every :class:`Update`, from a thread of its own.
    """

    def __init__(
        self,
        root: Path,
        *,
        workers: int,
        threads: int = 1,
        device: str = "cpu",
        niceness: int = 0,
        on_update: Callable[[Update], None] = lambda update: None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.root, self.device = root, device
        self._updates: Any = context.Queue()
        self._stop = context.Event()
        self._on_update = on_update
        self._executor = ProcessPoolExecutor(
            workers, context, initializer=_start_worker, initargs=(self._updates, self._stop, threads, niceness)
        )
        self._closed = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def submit(self, recipe: Recipe) -> Future[Result | None]:
        """Start a run, or read its result. The future holds None where the run was stopped."""
        folder = self.root / run_name(recipe)
        done = read_result(folder)
        if done is not None:
            future: Future[Result | None] = Future()
            future.set_result(done)
            return future
        return self._executor.submit(_run, recipe, folder, self.device)

    def stop(self) -> None:
        """Ask running runs to save and end; queued ones end before they begin."""
        self._stop.set()

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._closed.set()
        self._listener.join()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self.stop()
        self.close()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                self._on_update(self._updates.get(timeout=0.2))
            except queue.Empty:
                continue
