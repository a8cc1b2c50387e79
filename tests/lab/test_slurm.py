"""SLURM jobs in submitit's stand-in on this machine, and how a job is asked for where there is SLURM."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("submitit", reason="submitit is not installed")

from adana.lab.executors import run_name
from adana.lab.executors.base import EXECUTION, WorkerDied
from adana.lab.executors.slurm import SIGNALS, SlurmExecutor, _Attempt, _work
from adana.lab.executors.worker import Job
from adana.train.folder import InUse, locked
from adana.train.run import train
from tests.lab.engines import ThreadExecutor
from tests.lab.test_executors import checkpoint_in, same, until, worker_of

CPU = replace(EXECUTION, device="cpu", save_every=20)


def test_a_job_that_is_killed_warned_or_stopped_goes_on_in_another(tiny, tmp_path):
    """The first job is killed outright, the second gets SLURM's warning that its time is up, the third is stopped."""
    recipe = tiny(steps=400)
    folder = tmp_path / "runs" / run_name(recipe)
    with SlurmExecutor(tmp_path / "runs", workers=1, cluster="local", execution=CPU) as executor:
        future = executor.submit(recipe)
        held = {0}
        for number in (signal.SIGKILL, signal.SIGUSR2, None):
            until(lambda: checkpoint_in(folder) and (folder / ".lock").read_text() and worker_of(folder) not in held)
            held.add(worker_of(folder))
            if number is None:
                executor.stop()
            else:
                os.kill(worker_of(folder), number)
        assert future.result(timeout=600) is None
    assert len(list((tmp_path / "runs" / ".slurm").glob("*_submitted.pkl"))) == 3
    with ThreadExecutor(tmp_path / "runs", workers=1, execution=CPU) as executor:
        result = executor.submit(recipe).result()
    assert same(result, train(recipe, tmp_path / "undisturbed", execution=CPU))


class Ended:
    """A job of submitit's that is done; whoever asks it for its result, which is a pickle, fails."""

    job_id, state, paths = "17", "FAILED", SimpleNamespace(stderr="17.err")

    def done(self):
        return True


@pytest.mark.parametrize("in_use", [False, True])
def test_what_a_job_raises_is_read_from_json_and_raised(tiny, tmp_path, in_use):
    recipe = tiny(batch_size=1 if in_use else 0)
    job = Job(recipe, tmp_path / "run", CPU, 1, tmp_path / "stop", "")
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with locked(job.folder) if in_use else contextlib.nullcontext():
            _work(job)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    attempt = _Attempt(Ended(), job.folder, threading.Lock(), 0.0)
    with pytest.raises(InUse if in_use else ValueError, match="is in use by" if in_use else r"^batch_size must be"):
        attempt.wait(0.0)


def test_a_job_that_says_nothing_has_died(tmp_path):
    with pytest.raises(WorkerDied, match=r"job 17 is FAILED; its log is 17\.err"):
        _Attempt(Ended(), tmp_path, threading.Lock(), 0.0).wait(0.0)


def test_where_there_is_no_slurm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no SLURM here: sbatch is not on the PATH"):
        SlurmExecutor(tmp_path / "runs")


def test_a_parameter_that_submitit_does_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"SLURM parameters: .*colour"):
        SlurmExecutor(tmp_path, cluster="local", parameters={"colour": "blue"})
