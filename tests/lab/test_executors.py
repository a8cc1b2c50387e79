from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from adana.lab.executors import LocalExecutor, RunLost, run_name
from adana.lab.executors.base import EXECUTION
from adana.train.lock import InUse, locked
from adana.train.run import train
from tests.lab.engines import ThreadExecutor, die, save_after

CPU = replace(EXECUTION, device="cpu")


def until(condition, seconds=300.0):
    """Wait for something that will happen; the limit only ends a hang."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def worker_of(folder: Path) -> int:
    """The process that holds a run folder."""
    return int((folder / ".lock").read_text().split()[1])


def checkpoint_in(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("step-*"))


@pytest.fixture
def threads(tmp_path):
    with ThreadExecutor(tmp_path / "runs", workers=2, execution=CPU) as executor:
        yield executor


@pytest.fixture
def undisturbed(tiny, tmp_path):
    recipe = tiny()
    return train(recipe, tmp_path / "undisturbed", execution=CPU)


def same(one, other):
    """Whether two results are one, but for the time they took; a result that was read has lists for tuples."""
    return json.dumps(asdict(replace(one, seconds=0.0))) == json.dumps(asdict(replace(other, seconds=0.0)))


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_run_goes_on_as_if_nothing_had_happened(tiny, tmp_path):
    recipe = tiny(steps=160)
    updates = []
    execution = replace(CPU, save_every=20)
    with LocalExecutor(tmp_path, workers=1, execution=execution, on_update=updates.append) as executor:
        future = executor.submit(recipe)
        folder = tmp_path / run_name(recipe)
        until(lambda: checkpoint_in(folder))
        killed = worker_of(folder)
        os.kill(killed, signal.SIGKILL)
        until(lambda: future.done() or ((folder / ".lock").read_text() and worker_of(folder) != killed))
        result = future.result(timeout=300)
    assert same(result, train(recipe, tmp_path / "undisturbed", execution=CPU))
    steps = [update.progress.step for update in updates]
    assert steps == sorted(set(steps))
    assert steps[-1] == 160


@pytest.mark.slow
def test_a_ctrl_c_that_reaches_a_worker_as_it_starts_does_not_kill_it(tiny, tmp_path):
    recipe = tiny(steps=40)
    others = set(multiprocessing.active_children())
    with LocalExecutor(tmp_path, workers=1, execution=replace(CPU, save_every=10)) as executor:
        future = executor.submit(recipe)
        until(lambda: set(multiprocessing.active_children()) - others)
        (worker,) = set(multiprocessing.active_children()) - others
        os.kill(worker.pid, signal.SIGINT)
        until(lambda: checkpoint_in(tmp_path / run_name(recipe)))
        assert worker_of(tmp_path / run_name(recipe)) == worker.pid
        assert future.result(timeout=300).final_loss is not None


def test_a_run_whose_worker_dies_is_tried_three_times_and_then_named(tiny, threads):
    recipe = tiny()
    threads.with_goes(die, die, die)
    with pytest.raises(RunLost, match=rf"{run_name(recipe)}: its worker died 3 times \(killed\)"):
        threads.submit(recipe).result()
    assert threads.started == 3


def test_a_run_survives_two_deaths(tiny, threads, undisturbed):
    threads.with_goes(die, die)
    assert same(threads.submit(tiny()).result(), undisturbed)
    assert threads.started == 3


def test_a_run_that_saves_and_leaves_goes_on_as_often_as_it_gets_somewhere(tiny, threads, undisturbed):
    threads.with_goes(*[save_after(4)] * 5)
    assert same(threads.submit(tiny()).result(), undisturbed)
    assert threads.started == 6


def test_a_worker_that_gets_nowhere_is_not_asked_for_ever(tiny, threads):
    threads.with_goes(*[lambda job: None] * 9)
    with pytest.raises(RunLost, match="without a step"):
        threads.submit(tiny()).result()
    assert threads.started == 3


def test_what_a_run_raises_is_raised_and_not_tried_again(tiny, threads):
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        threads.submit(tiny(batch_size=0)).result()
    assert threads.started == 1


def test_a_folder_that_is_held_is_waited_for_only_after_a_death(tiny, threads):
    recipe = tiny()
    folder = threads.root / run_name(recipe)
    release = threading.Event()
    held = threading.Event()

    def hold():
        with locked(folder):
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    with pytest.raises(InUse):
        threads.submit(recipe).result()
    threads.with_goes(die)
    future = threads.submit(recipe)
    until(lambda: threads.started >= 2)
    release.set()
    holder.join()
    assert future.result().final_loss is not None


def test_finished_runs_are_read_back_and_a_run_asked_for_twice_runs_once(tiny, threads):
    recipe = tiny()
    first, second = threads.submit(recipe), threads.submit(recipe)
    assert first.result() == second.result()
    assert threads.submit(recipe).done()
    assert threads.submit(recipe).result() == first.result()
    assert getattr(threads, "started", 0) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"loss": 1}'])
def test_a_result_that_is_damaged_is_named_and_what_to_do_about_it(tiny, threads, text):
    folder = threads.root / run_name(tiny())
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(text)
    with pytest.raises(ValueError, match=rf"{folder}/result.json is damaged .*: delete it, and the run is done again"):
        threads.submit(tiny())


def test_stopped_runs_save_and_waiting_ones_never_begin(tiny, tmp_path):
    began = threading.Event()
    recipes = [tiny(steps=5000, seed=seed) for seed in range(3)]
    with ThreadExecutor(tmp_path, workers=1, execution=CPU, on_update=lambda update: began.set()) as executor:
        futures = [executor.submit(recipe) for recipe in recipes]
        began.wait(60)
        executor.stop()
        assert [future.result() for future in futures] == [None] * 3
    assert checkpoint_in(tmp_path / run_name(recipes[0]))
    assert [path.name for path in tmp_path.iterdir()] == [run_name(recipes[0])], "no stop file may stay"


@pytest.mark.slow
def test_a_run_that_was_given_up_stays_so_where_asked_and_goes_on_elsewhere(tiny, tmp_path):
    recipe = tiny(steps=120)
    with ThreadExecutor(tmp_path, workers=1, execution=CPU, keep_stopped=True) as executor:

        def given_up(job):
            save_after(15)(job)
            executor.give_up(recipe, 15, 4.5, "worse than the others")

        result = executor.with_goes(given_up).submit(recipe).result()
        assert (result.final_loss, result.diverged_at, result.reason) == (None, None, "worse than the others")
        assert result.curve == [(15, 4.5)]
        assert executor.submit(recipe).result() == result
    assert json.loads((tmp_path / run_name(recipe) / "stopped.json").read_text())["loss"] == 4.5
    with ThreadExecutor(tmp_path, workers=1, execution=CPU) as executor:
        whole = executor.submit(recipe).result()
    assert same(whole, train(recipe, tmp_path / "undisturbed", execution=CPU))
    assert not (tmp_path / run_name(recipe) / "stopped.json").exists()


ORPHANS = """
import sys
from pathlib import Path
from adana.lab.executors import LocalExecutor
from adana.lab.executors.base import EXECUTION
from adana.train.recipe import Recipe
if __name__ == "__main__":
    import json
    recipes = [Recipe.from_json(one) for one in json.loads(Path(sys.argv[1]).read_text())]
    with LocalExecutor(Path(sys.argv[2]), workers=1) as executor:
        [future.result() for future in [executor.submit(recipe) for recipe in recipes]]
"""


@pytest.mark.slow
def test_workers_of_a_killed_parent_save_and_leave(tiny, tmp_path):
    recipe = tiny(steps=100_000)
    (tmp_path / "script.py").write_text(ORPHANS)
    (tmp_path / "recipes.json").write_text(json.dumps([recipe.to_json()]))
    parent = subprocess.Popen([sys.executable, "script.py", "recipes.json", "runs"], cwd=tmp_path)
    folder = tmp_path / "runs" / run_name(recipe)
    until(lambda: (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_size > 0)
    worker = worker_of(folder)
    parent.kill()
    parent.wait()
    until(lambda: not Path(f"/proc/{worker}").exists())
    assert checkpoint_in(folder)
