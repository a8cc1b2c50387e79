"""Runs on a Ray cluster whose nodes share the run folders (pip install 'adana[ray]')."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

from adana.lab.executors.base import FolderExecutor, WorkerDied
from adana.lab.executors.worker import Job, work

__all__ = ["RayExecutor"]


class RayExecutor(FolderExecutor):
    """One Ray task a run, spread over the nodes; where one dies, Ray finds another.

    A cluster that this process is connected to already is used, and left as it is. What travels through Ray is which
    run to do, by name and number; nothing comes back but that it has ended.

    Args:
        root: folder of run folders, the same on every node.
        workers: runs at a time; None for as many as the cluster has CPUs for, at this moment.
        gpus: GPUs a run; None for one where the cluster has any.
        address: of the cluster; None for that of ``RAY_ADDRESS``, one running on this machine, or a new one here.
        **options: those of :class:`~adana.lab.executors.base.FolderExecutor`.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: there is no cluster at the address.
    """

    def __init__(
        self,
        root: Path,
        *,
        workers: int | None = None,
        gpus: float | None = None,
        address: str | None = None,
        **options: Any,
    ) -> None:
        # It would count its users otherwise. Read when Ray is imported, by the processes it starts too.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._ray = ray
        self._connected = not ray.is_initialized()
        if self._connected:
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        there = ray.cluster_resources()
        threads = options.get("threads", 1)
        self._gpus = gpus if gpus is not None else min(1.0, there.get("GPU", 0.0))
        fit = there.get("GPU", 0.0) / self._gpus if self._gpus else there.get("CPU", 1.0) / threads
        super().__init__(root, workers=workers if workers is not None else max(1, int(fit)), **options)
        self._task = ray.remote(work).options(
            max_retries=0,  # ours are said to whoever waits
            num_cpus=threads,
            num_gpus=self._gpus,
            scheduling_strategy="SPREAD",
        )

    def _start(self, job: Job) -> _Attempt:
        return _Attempt(self._ray, self._task.remote(job))

    def _close(self) -> None:
        if self._connected:
            self._ray.shutdown()


class _Attempt:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def wait(self, seconds: float) -> bool:
        errors = self._ray.exceptions
        done, _ = self._ray.wait([self._reference], timeout=seconds)
        if not done:
            return False
        try:
            self._ray.get(self._reference)
        except errors.TaskCancelledError:
            return True
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            raise WorkerDied(" ".join(str(error).split())[:200]) from None
        return True

    def cancel(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.cancel(self._reference)
