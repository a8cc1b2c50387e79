from __future__ import annotations

import contextlib
import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

from adana.lab.executors import run_name
from adana.lab.executors.base import EXECUTION
from adana.lab.executors.ray import RayExecutor
from adana.lab.sweep import sweep
from adana.train.run import train
from tests.lab.test_executors import checkpoint_in, same, until, worker_of

pytestmark = pytest.mark.xdist_group("ray")  # one cluster, not one a test process

CPU = replace(EXECUTION, device="cpu", save_every=20)
STORE = 80 * 2**20


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes on this machine, each with its own scheduler and workers."""
    import ray
    from ray.cluster_utils import Cluster

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # by themselves workers give way to all else on the machine
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE},
        )
        try:
            cluster.add_node(num_cpus=1, object_store_memory=STORE)
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            for number, handler in before.items():
                signal.signal(number, handler)


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.mark.slow
def test_a_run_whose_node_is_lost_goes_on_on_the_other(cluster, tiny, tmp_path):
    """A run on each node; one node is killed as a whole. Both runs end as if nothing had happened."""
    recipes = [tiny(steps=160, seed=seed) for seed in (0, 1)]
    folders = [tmp_path / run_name(recipe) for recipe in recipes]
    (lost,) = cluster.worker_nodes
    (raylet,) = [one.process.pid for one in lost.all_processes["raylet"]]

    def on_it(folder):
        with contextlib.suppress(OSError, IndexError):  # not begun yet, or ended
            return checkpoint_in(folder) and parent(worker_of(folder)) == raylet
        return False

    with RayExecutor(tmp_path, execution=CPU, command="adana sweep") as executor:
        assert executor.workers == 2
        futures = [executor.submit(recipe) for recipe in recipes]
        until(lambda: any(map(on_it, folders)))
        cluster.remove_node(lost, allow_graceful=False)
        results = [future.result(timeout=600) for future in futures]
    for recipe, folder, result in zip(recipes, folders, results):
        assert same(result, train(recipe, tmp_path / "undisturbed" / folder.name, execution=CPU))
        assert json.loads((folder / "run.json").read_text())["command"] == "adana sweep"


@pytest.mark.slow
def test_what_a_run_raises_is_raised_as_it_is(cluster, tiny, tmp_path):
    with (
        RayExecutor(tmp_path, workers=1, execution=CPU) as executor,
        pytest.raises(ValueError, match=r"^batch_size must be at least 1, got 0$"),
    ):
        executor.submit(tiny(batch_size=0)).result(timeout=600)


@pytest.mark.slow
def test_stopped_runs_save_and_those_without_a_place_are_taken_back(cluster, tiny, tmp_path):
    """More runs than the cluster has room for: the last waits for a place it would not get before the others end."""
    recipes = [tiny(steps=100_000, seed=seed) for seed in range(3)]
    with RayExecutor(tmp_path, workers=3, execution=CPU) as executor:
        futures = [executor.submit(recipe) for recipe in recipes]
        until(lambda: any((tmp_path / run_name(recipe) / "metrics.jsonl").exists() for recipe in recipes))
        time.sleep(0.5)
        executor.stop()
        assert [future.result(timeout=600) for future in futures] == [None] * 3
    assert any(checkpoint_in(tmp_path / run_name(recipe)) for recipe in recipes)


@pytest.mark.slow
def test_a_sweep_runs_on_the_cluster(cluster, tiny, tmp_path):
    with RayExecutor(tmp_path / "runs", execution=CPU) as executor:
        (best,) = sweep([replace(tiny(), lr=2.0**-8)], executor, fine=None, sides=1, output=tmp_path / "sweep")
    assert best.final_loss is not None
    saved = json.loads((tmp_path / "sweep.json").read_text())
    assert saved["finished"]
    assert saved["best"][0]["lr"] == best.lr
