"""One of several processes of a run: ``RANK=.. WORLD_SIZE=.. python two_ranks.py JOBS.json STORE``.

What torchrun would start, with a file for a meeting point, so that tests on one machine never share a port.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist


def main(jobs: list[dict], store: str) -> None:
    from adana.train.distributed import leave
    from adana.train.recipe import Execution, Recipe
    from adana.train.run import Interrupted, train
    from tests.train.tools import stop_after

    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    for job in jobs:
        # Only the last rank is asked to stop: the others must hear of it.
        stop = stop_after(job["stop"]) if job.get("stop") and rank == ranks - 1 else lambda: False
        outcome = "finished"
        try:
            train(
                Recipe.from_json(job["recipe"]), Path(job["folder"]), execution=Execution(**job["execution"]),
                should_stop=stop,
            )  # fmt: skip
        except Interrupted:
            outcome = "stopped"
        except ValueError as error:
            outcome = f"refused: {error}"
        Path(f"{job['folder']}.{rank}.outcome").write_text(outcome)
    leave()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
