"""Executors for tests: runs in threads of this process, which may be told to die."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from adana.lab.executors.base import FolderExecutor, WorkerDied
from adana.lab.executors.worker import Job, work
from adana.train.folder import Result
from adana.train.recipe import Recipe

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


class Answers:
    """An executor that runs nothing: losses come from a function, inf for a diverged run."""

    def __init__(self, loss: Callable[[Recipe], float]) -> None:
        self.loss = loss
        self.asked: list[Recipe] = []
        self.stopped = False

    def submit(self, recipe: Recipe) -> Future[Result | None]:
        self.asked.append(recipe)
        future: Future[Result | None] = Future()
        loss = self.loss(recipe)
        finite = loss < float("inf")
        future.set_result(Result(loss if finite else None, None if finite else 3, [], [], 1.0, "hash"))
        return future

    def give_up(self, recipe: Recipe, step: int, loss: float, reason: str) -> None:
        raise AssertionError("nobody asked for it")

    def listen(self, listener: Callable[..., None]) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True


def die(job: Job) -> None:
    raise WorkerDied("killed")


def save_after(steps: int) -> Go:
    """A worker that has to leave after so many steps of its own, as a job does whose time is up."""

    def go(job: Job) -> None:
        calls = iter(range(1, 10**9))
        work(job, lambda: next(calls) > steps)

    return go
