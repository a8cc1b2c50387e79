"""Runs in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from multiprocessing import resource_tracker

from adana.lab.executors.base import FolderExecutor, WorkerDied
from adana.lab.executors.worker import Job, work

__all__ = ["LocalExecutor"]

_busy = threading.Event()


def _begin(parent: int) -> None:
    # The parent alone decides about Ctrl-C, and workers save before they end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()


def _leave_with_parent(parent: int) -> None:
    # A parent that was killed cannot shut its workers down, and one that waits for work would wait forever.
    while _busy.is_set() or os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(job: Job) -> None:
    _busy.set()
    try:
        work(job)
    finally:
        _busy.clear()


class LocalExecutor(FolderExecutor):
    """Worker processes, each with its runs one after the other.

    Args: those of :class:`~adana.lab.executors.base.FolderExecutor`.

    >>> from pathlib import Path
    >>> LocalExecutor(Path("runs"), workers=0)
    Traceback (most recent call last):
    ValueError: workers and threads must be at least 1, got 0 and 1
    """

    @cached_property
    def _idle(self) -> list[ProcessPoolExecutor]:
        # Pools of one process: when a process dies its pool is lost, and nobody else's.
        return []

    def _start(self, job: Job) -> _Attempt:
        with self._lock:
            pool = self._idle.pop() if self._idle else None
        if pool is None:
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(os.getpid(),))
        # The process starts at the first submit, with this thread's signal mask. Where Python first has to start its
        # resource tracker it unblocks SIGINT in the thread that asks (before 3.12): a Ctrl-C would then end the worker
        # while it still imports.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return _Attempt(self, pool, pool.submit(_work, job))
        except BrokenProcessPool:
            raise WorkerDied("it died while it waited") from None

    def _take_back(self, pool: ProcessPoolExecutor) -> None:
        with self._lock:
            self._idle.append(pool)

    def _close(self) -> None:
        for pool in self._idle:
            pool.shutdown(wait=True)


class _Attempt:
    def __init__(self, owner: LocalExecutor, pool: ProcessPoolExecutor, future: Future[None]) -> None:
        self._owner, self._pool, self._future = owner, pool, future

    def wait(self, seconds: float) -> bool:
        if not wait([self._future], timeout=seconds).done:
            return False
        try:
            self._future.result()
        except BrokenProcessPool:
            self._pool.shutdown(wait=True)  # it is gone already, and its thread must be before the interpreter ends
            raise WorkerDied("its process was killed") from None
        except Exception:
            self._owner._take_back(self._pool)
            raise
        self._owner._take_back(self._pool)
        return True

    def cancel(self) -> None:
        self._future.cancel()
