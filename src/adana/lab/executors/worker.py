"""What a worker does with a run, on whatever engine; it reports to the run's folder and to nobody else."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adana.models import Architecture, register
from adana.train.recipe import Execution, Recipe

__all__ = ["STOPPED", "GivenUp", "Job", "work"]

STOPPED = "stopped.json"
"""In a run's folder: it is not worth going on with, and why."""

LOOK_EVERY = 0.5


@dataclass(frozen=True)
class Job:
    """A run to be done.

    Attributes:
        recipe: what to run.
        folder: where.
        execution: how.
        threads: torch threads.
        stop: a file that asks all runs to save and end, by being there.
        command: noted in ``run.json``.
        architecture: of the recipe; a worker may be a process that does not know it yet.
        data_sha256: of the tokens that it is to be run on; None for whatever the recipe names now.
    """

    recipe: Recipe
    folder: Path
    execution: Execution
    threads: int
    stop: Path
    command: str
    architecture: Architecture
    data_sha256: str | None = None


@dataclass(frozen=True)
class GivenUp:
    """What :data:`STOPPED` holds.

    Attributes:
        step: where the run was given up.
        loss: its last validation loss.
        reason: why it is not worth going on with.
    """

    step: int
    loss: float
    reason: str


def work(job: Job, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Run a job until it ends, or is asked to save and stop: its folder tells which.

    Raises:
        InUse: another process runs in the folder.
        ValueError: as :func:`adana.train.run.train` does.
    """
    import torch

    from adana.train.run import Interrupted, train

    parent = os.getppid()
    looked, seen = -LOOK_EVERY, False

    def stop() -> bool:
        nonlocal looked, seen
        now = time.monotonic()
        if now - looked >= LOOK_EVERY:
            # A worker whose parent was killed is watched by nobody: it saves, too.
            looked, seen = now, job.stop.exists() or (job.folder / STOPPED).exists() or os.getppid() != parent
        return seen or should_stop()

    if stop():
        return
    register(job.architecture, job.recipe.arch)
    torch.set_num_threads(job.threads)
    with contextlib.suppress(Interrupted), warnings.catch_warnings():
        # The optimizers' guards against AdamW's habits: a grid has small decays on purpose.
        warnings.filterwarnings("ignore", "weight_decay=.* looks like AdamW's coupled value")
        warnings.filterwarnings("ignore", "weight decay starts at")
        train(
            job.recipe,
            job.folder,
            execution=job.execution,
            command=job.command,
            data_sha256=job.data_sha256,
            should_stop=stop,
        )
