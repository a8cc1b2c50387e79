"""Executors for tests: runs in threads of this process, which may be told to die."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from adana.lab.executors.base import FolderExecutor, WorkerDied
from adana.lab.executors.worker import Job, work

Go = Callable[[Job], None]


class ThreadExecutor(FolderExecutor):
    """Each go at a run is the next of ``goes``; after those, runs simply run."""

    goes: list[Go]
    started: int

    def with_goes(self, *goes: Go) -> ThreadExecutor:
        self.goes, self.started = list(goes), 0
        return self

    def _start(self, job: Job) -> ThreadAttempt:
        with self._lock:
            self.started = getattr(self, "started", 0) + 1
            left = getattr(self, "goes", [])
            go = left.pop(0) if left else work
        return ThreadAttempt(go, job)


class ThreadAttempt:
    def __init__(self, go: Go, job: Job) -> None:
        self.future: Future[None] = Future()
        threading.Thread(target=self._run, args=(go, job), daemon=True).start()

    def _run(self, go: Go, job: Job) -> None:
        try:
            self.future.set_result(go(job))
        except BaseException as error:
            self.future.set_exception(error)

    def wait(self, seconds: float) -> bool:
        if not wait([self.future], timeout=seconds).done:
            return False
        self.future.result()
        return True

    def cancel(self) -> None:
        pass


def die(job: Job) -> None:
    raise WorkerDied("killed")


def save_after(steps: int) -> Go:
    """A worker that has to leave after so many steps of its own, as a job does whose time is up."""

    def go(job: Job) -> None:
        calls = iter(range(1, 10**9))
        work(job, lambda: next(calls) > steps)

    return go
