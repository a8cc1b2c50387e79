"""Two processes over gloo on the CPU: the same run, whatever the layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from adana.train.checkpoint import checkpoints, read_newest
from adana.train.recipe import Recipe
from adana.train.run import Interrupted, train
from tests.train.tools import CPU, losses, stop_after, validation

# Two processes train for all that only look at what they did: once, not once in each test process.
pytestmark = [pytest.mark.xdist_group("two ranks"), pytest.mark.slow]  # the ranks take long to start

# Sums are taken in another order: float32's last digits differ, and the steps after them with these.
TOLERANCE = 2e-5

LAYOUTS = {
    "ddp": {"parallel": "ddp"},
    "ddp, micro-batches": {"parallel": "ddp", "micro_batch_size": 1},
    "fsdp": {"parallel": "fsdp"},
    "fsdp, micro-batches": {"parallel": "fsdp", "micro_batch_size": 1},
}
# Sharded: with tau, with whole matrices, with three averages (whose warm-up wants a delta below the 8 steps).
OPTIMIZERS = {"dana-star-mk4": {}, "muon-dw": {}, "ademamix-dw": {"delta": 4.0}}


@pytest.fixture(scope="module")
def recipe(text_file):
    sizes = {"heads": 1, "layers": 2, "seq_len": 32, "batch_size": 4, "steps": 8}
    return Recipe("adana", 3e-3, {"weight_decay": 1.0}, text=(str(text_file),), **sizes)


@pytest.fixture(scope="module")
def root(recipe, tmp_path_factory):
    """Everything that two ranks do here, done once; and what one rank did before and beside it."""
    root = tmp_path_factory.mktemp("ranks")
    jobs = [job(recipe, root / name, **layout) for name, layout in LAYOUTS.items()]
    jobs += [job(with_optimizer(recipe, name), root / name, parallel="fsdp") for name in OPTIMIZERS]
    jobs += [job(replace(recipe, arch="qwen3", head_dim=64), root / "qwen3", parallel="fsdp")]
    jobs += [job(replace(recipe, experts=4, active=2, balance=0.0), root / "experts", parallel="fsdp")]
    jobs += [job(recipe, root / f"2 to 1 {mode}", parallel=mode) | {"stop": 4} for mode in ("ddp", "fsdp")]
    jobs += [job(replace(recipe, batch_size=3), root / "odd", parallel="ddp")]
    for mode in ("ddp", "fsdp"):
        with pytest.raises(Interrupted):
            train(recipe, root / f"1 to 2 {mode}", execution=CPU, should_stop=stop_after(4))
        jobs += [job(recipe, root / f"1 to 2 {mode}", parallel=mode)]
    (root / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("two_ranks.py")
    command = [sys.executable, str(script), str(root / "jobs.json"), str(root / "store")]
    here = str(Path(__file__).parents[2])
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    ranks = [
        subprocess.Popen(
            command, env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], said[0] + said[1]
    return root


def with_optimizer(recipe, name):
    return replace(recipe, optimizer=name, options=recipe.options | OPTIMIZERS[name])


def job(recipe, folder, **execution):
    return {
        "recipe": recipe.to_json(),
        "folder": str(folder),
        "execution": asdict(replace(CPU, **execution)),
    }


def outcomes(root, name):
    return [(root / f"{name}.{rank}.outcome").read_text() for rank in range(2)]


@pytest.fixture(scope="module")
def alone(recipe, root):
    train(recipe, root / "alone", execution=CPU)
    return root / "alone"


def assert_same_run(ours, theirs):
    assert losses(ours).keys() == losses(theirs).keys()
    assert losses(ours) == pytest.approx(losses(theirs), abs=TOLERANCE)
    assert dict(validation(ours)) == pytest.approx(dict(validation(theirs)), abs=TOLERANCE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_losses_are_equal_across_ranks_shards_and_micro_batches(layout, root, alone):
    assert outcomes(root, layout) == ["finished", "finished"]
    assert_same_run(root / layout, alone)
    first = losses(alone)[1]
    assert losses(root / layout)[1] == pytest.approx(first, abs=1e-6), "initial weights do not depend on the layout"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_sharded_run_of_other_optimizers_equals_a_single_one(name, recipe, root, tmp_path):
    train(with_optimizer(recipe, name), tmp_path, execution=CPU)
    assert_same_run(root / name, tmp_path)


@pytest.mark.parametrize("name", ["qwen3", "experts"])
def test_a_sharded_run_of_other_models_equals_a_single_one(name, recipe, root, tmp_path):
    changes = {"arch": "qwen3", "head_dim": 64} if name == "qwen3" else {"experts": 4, "active": 2, "balance": 0.0}
    train(replace(recipe, **changes), tmp_path, execution=CPU)
    assert_same_run(root / name, tmp_path)


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_a_run_on_two_ranks_goes_on_with_one(mode, recipe, root, alone):
    """And one rank's request to stop stopped both, at the same step."""
    folder = root / f"2 to 1 {mode}"
    assert outcomes(root, folder.name) == ["stopped", "stopped"]
    assert list(checkpoints(folder / "checkpoints")) == [4]
    train(recipe, folder, execution=CPU)
    assert_same_run(folder, alone)


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_a_run_on_one_rank_goes_on_with_two(mode, root, alone):
    folder = root / f"1 to 2 {mode}"
    assert outcomes(root, folder.name) == ["finished", "finished"]
    assert_same_run(folder, alone)


def test_a_checkpoint_of_two_ranks_is_stored_in_parts_and_knows_the_generator_of_each(root):
    for mode in ("ddp", "fsdp"):
        found = read_newest(root / mode / "checkpoints")
        assert {"rng.0.cpu", "rng.1.cpu"} <= found.tensors.keys()
        files = {path.name: path.stat().st_size for path in found.path.glob("*.distcp")}
        assert set(files) == {"__0_0.distcp", "__1_0.distcp"}
        assert min(files.values()) > 0.3 * max(files.values()), "the work of writing is shared"


def test_a_batch_that_two_ranks_cannot_share_is_refused_by_both_in_one_line(root):
    assert outcomes(root, "odd") == ["refused: a batch of 3 sequences cannot be shared equally by 2 ranks"] * 2
    assert not (root / "odd").exists()
