"""Runs as SLURM jobs, through submitit (pip install 'adana[slurm]')."""

from __future__ import annotations

import shutil
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.files import Damaged, damaged, read_sealed, write_sealed
from adana.lab.executors.base import FolderExecutor, WorkerDied
from adana.lab.executors.worker import Job, work
from adana.train.lock import InUse
from adana.typed import from_mapping

__all__ = ["SlurmExecutor"]

ENDED = "job.json"
"""In a run's folder: that a job has ended by itself, and what it raised."""

TIMEOUT_MIN = 240
GRACE = 15.0
SIGNALS = (signal.SIGUSR2, signal.SIGTERM)


class SlurmExecutor(FolderExecutor):
    """One SLURM job a run.

    A job whose time is up, or that is preempted, saves and goes on in another; SLURM itself starts none again, for
    two jobs of one run would be in each other's way. What submitit writes is under ``root/.slurm``; results and errors
    are read from JSON, never from its pickles.

    Args:
        root: folder of run folders, the same on every node.
        workers: jobs at a time, queued ones included.
        parameters: of a job, as submitit calls them: ``timeout_min`` (default 240), ``slurm_partition``,
            ``gpus_per_node``, ``mem_gb``, ``slurm_account``, ...
        cluster: ``"slurm"``, or ``"local"`` for submitit's stand-in on this machine.
        **options: those of :class:`~adana.lab.executors.base.FolderExecutor`.

    Raises:
        ModuleNotFoundError: submitit is not installed.
        FileNotFoundError: there is no SLURM here.
        ValueError: a parameter that submitit does not know.
    """

    def __init__(
        self,
        root: Path,
        *,
        workers: int = 16,
        parameters: dict[str, Any] | None = None,
        cluster: str = "slurm",
        **options: Any,
    ) -> None:
        import submitit

        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise FileNotFoundError("no SLURM here: sbatch is not on the PATH")
        super().__init__(root, workers=workers, **options)
        self._queues = cluster == "slurm"
        self._submitit = submitit.AutoExecutor(folder=root.resolve() / ".slurm", cluster=cluster)
        given = parameters or {}
        mine = {"name": "adana", "timeout_min": TIMEOUT_MIN, "cpus_per_task": self.threads}
        try:
            more = {"no_requeue": True, **given.get("slurm_additional_parameters", {})}
            self._submitit.update_parameters(**{**mine, **given, "slurm_additional_parameters": more})
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise ValueError(f"SLURM parameters: {' '.join(str(error).split())}") from None

    def _start(self, job: Job) -> _Attempt:
        (job.folder / ENDED).unlink(missing_ok=True)
        try:
            with self._lock:  # submitit is not made for several threads
                return _Attempt(self._submitit.submit(_work, job), job.folder, self._lock, queues=self._queues)
        except RuntimeError as error:  # what sbatch refused
            raise WorkerDied(" ".join(str(error).split())) from None


def _work(job: Job) -> None:
    """In the job: save when SLURM warns, and say how it ended where that can be read without trust."""
    warned = False

    def warn(number: int, frame: Any) -> None:
        nonlocal warned
        warned = True

    for number in SIGNALS:
        signal.signal(number, warn)
    error: Exception | None = None
    try:
        work(job, lambda: warned)
    except Exception as raised:
        traceback.print_exc()  # to the job's log: all that is read of it elsewhere is one line
        error = raised
    job.folder.mkdir(parents=True, exist_ok=True)
    write_sealed(
        job.folder / ENDED, {"in_use": isinstance(error, InUse), "error": None if error is None else str(error)}
    )


@dataclass(frozen=True)
class _Ended:
    """What :data:`ENDED` holds."""

    in_use: bool
    error: str | None


class _Attempt:
    def __init__(self, job: Any, folder: Path, lock: threading.Lock, *, queues: bool) -> None:
        self._job, self._folder, self._lock, self._queues = job, folder, lock, queues
        self._cancelled = False

    def wait(self, seconds: float) -> bool:
        if self._cancelled:
            return True
        time.sleep(seconds)
        with self._lock:
            if not self._over():
                return False
        # A network file system may show a file a while after it was written.
        until = time.monotonic() + (GRACE if self._queues else 0.0)
        while not (self._folder / ENDED).exists():
            if time.monotonic() >= until:
                raise WorkerDied(f"job {self._job.job_id} is {self._job.state}; its log is {self._job.paths.stderr}")
            time.sleep(1)
        path, then = self._folder / ENDED, "delete it, and the run is tried again"
        try:
            ended = from_mapping(_Ended, read_sealed(path, then=then), what="the end of a job")
        except Damaged:
            raise
        except ValueError as error:
            raise damaged(path, str(error), then) from None
        if ended.error is not None:
            raise (InUse if ended.in_use else ValueError)(ended.error)
        return True

    def _over(self) -> bool:
        # submitit has both the other way round: it waits for SLURM to start a preempted job again.
        if self._job.state == "SUSPENDED":
            return False
        return bool(self._job.done()) or self._job.state == "PREEMPTED"

    def cancel(self) -> None:
        if self._queues:  # a job on this machine begins at once, and is told to stop as any other
            self._cancelled = True
            self._job.cancel(check=False)
