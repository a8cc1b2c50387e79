"""A process that is killed in mid-run, once for each recipe it is given: ``python killed.py JOBS.json``.

It imports torch, runs once to have all that is imported late, and forks: fifteen deaths cost little more than one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from adana.train.recipe import Execution, Recipe
from adana.train.run import train


def main(jobs: list[dict]) -> None:
    warm = Recipe.from_json(jobs[0]["recipe"])
    train(warm, Path(jobs[0]["folder"] + "-warm"), execution=Execution(**jobs[0]["execution"]))
    for job in jobs:
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            continue

        def die(progress, at=job["at"]):
            if progress.step == at:
                os.kill(os.getpid(), signal.SIGKILL)

        train(Recipe.from_json(job["recipe"]), Path(job["folder"]), execution=Execution(**job["execution"]), report=die)
        os._exit(1)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
