"""Where runs run: processes here, a Ray cluster, or SLURM jobs, behind one :class:`Executor`.

1. ``base`` does what every engine does: finished runs are read back from their folders; others are started, followed
   by the lines of their ``metrics.jsonl``, stopped by a file, and started again when their worker dies.
2. ``worker`` is what runs there, the same for every engine.
3. ``local``, ``ray`` and ``slurm`` start one run and say when it has ended; nothing else.

Every engine's workers write to the same run folders, so a cluster's nodes share a file system.
"""

from __future__ import annotations

from adana.lab.executors.base import Executor, RunLost, Update, run_name
from adana.lab.executors.local import LocalExecutor

__all__ = ["Executor", "LocalExecutor", "RunLost", "Update", "run_name"]
