"""SLURM jobs in submitit's stand-in on this machine, and how a job is asked for where there is SLURM."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("submitit", reason="submitit is not installed")

from adana.lab.executors import RunLost, run_name
from adana.lab.executors.base import EXECUTION, WorkerDied
from adana.lab.executors.slurm import SIGNALS, SlurmExecutor, _Attempt, _work
from adana.lab.executors.worker import Job
from adana.models import architecture
from adana.train.lock import InUse, locked
from adana.train.run import train
from tests.lab.engines import ThreadExecutor
from tests.lab.test_executors import ORPHANS, checkpoint_in, same, until, worker_of

CPU = replace(EXECUTION, device="cpu", save_every=20)


@pytest.mark.slow
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
    job = Job(recipe, tmp_path / "run", CPU, 1, tmp_path / "stop", "", architecture(recipe.arch))
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with locked(job.folder) if in_use else contextlib.nullcontext():
            _work(job)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    attempt = _Attempt(Ended(), job.folder, threading.Lock(), queues=False)
    with pytest.raises(InUse if in_use else ValueError, match="is in use by" if in_use else r"^batch_size must be"):
        attempt.wait(0.0)


def test_a_job_that_says_nothing_has_died(tmp_path):
    with pytest.raises(WorkerDied, match=r"job 17 is FAILED; its log is 17\.err"):
        _Attempt(Ended(), tmp_path, threading.Lock(), queues=False).wait(0.0)


class Unheard(Ended):
    """A job of which submitit says the opposite of what is true."""

    def __init__(self, state, done):
        self.state, self.done = state, lambda: done


def test_a_preempted_job_has_died_and_a_suspended_one_has_not(tmp_path):
    with pytest.raises(WorkerDied, match="PREEMPTED"):
        _Attempt(Unheard("PREEMPTED", False), tmp_path, threading.Lock(), queues=False).wait(0.0)
    assert not _Attempt(Unheard("SUSPENDED", True), tmp_path, threading.Lock(), queues=False).wait(0.0)


def test_ctrl_c_in_the_terminal_of_jobs_on_this_machine_has_them_save(tiny, tmp_path):
    recipe = tiny(steps=100_000)
    script = ORPHANS.replace("LocalExecutor(Path(sys.argv[2]), workers=1)", SLURM_HERE)
    (tmp_path / "script.py").write_text(script.replace("import LocalExecutor", "import slurm"))
    (tmp_path / "recipes.json").write_text(json.dumps([recipe.to_json()]))
    parent = subprocess.Popen(
        [sys.executable, "script.py", "recipes.json", "runs"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folder = tmp_path / "runs" / run_name(recipe)
    until(lambda: (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_size > 0)
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=300)
    assert checkpoint_in(folder)
    assert errors.count("Traceback") == 1, "the script's own"


SLURM_HERE = "slurm.SlurmExecutor(Path(sys.argv[2]), workers=1, cluster='local')"


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """A machine with SLURM, of which there is only an sbatch with a body of one's own."""

    def write(body):
        (tmp_path / "bin").mkdir(exist_ok=True)
        for name, text in (("sbatch", body), ("sacct", ""), ("scancel", ""), ("srun", "")):
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    return write


def test_slurm_is_asked_never_to_start_a_job_again_by_itself(tiny, tmp_path, sbatch):
    """Whatever else is asked for."""
    sbatch(f'cp "$1" {tmp_path}/asked; echo Submitted batch job 17')
    parameters = {"timeout_min": 5, "slurm_additional_parameters": {"qos": "low"}}
    with SlurmExecutor(tmp_path / "runs", workers=1, execution=CPU, parameters=parameters) as executor:
        future = executor.submit(tiny())
        until((tmp_path / "asked").exists)
        executor.stop()
        assert future.result(timeout=300) is None
    asked = (tmp_path / "asked").read_text().splitlines()
    assert {"#SBATCH --no-requeue", "#SBATCH --qos=low", "#SBATCH --time=5"} <= set(asked)


def test_a_job_that_sbatch_refuses_is_tried_again_and_then_named_with_its_reason(tiny, tmp_path, sbatch):
    sbatch(f"echo once >> {tmp_path}/asked; echo 'sbatch: error: invalid partition: gpuu' >&2; exit 1")
    with (
        SlurmExecutor(tmp_path / "runs", workers=1, execution=CPU) as executor,
        pytest.raises(RunLost, match=r"died 3 times \(sbatch: error: invalid partition: gpuu\)"),
    ):
        executor.submit(tiny()).result(timeout=300)
    assert (tmp_path / "asked").read_text().count("once") == 3


def test_where_there_is_no_slurm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no SLURM here: sbatch is not on the PATH"):
        SlurmExecutor(tmp_path / "runs")


def test_a_parameter_that_submitit_does_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"SLURM parameters: .*colour"):
        SlurmExecutor(tmp_path, cluster="local", parameters={"colour": "blue"})


@pytest.mark.parametrize(
    "wrong", [{"timeout_min": "soon"}, {"gpus_per_node": 0.5}, {"slurm_additional_parameters": "qos"}]
)
def test_a_parameter_of_the_wrong_type_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"^SLURM parameters: \S"):
        SlurmExecutor(tmp_path, cluster="local", parameters=wrong)
