"""Checkpoints under what disks, people and processes do to them."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adana.files import write_sealed
from adana.train.checkpoint import CorruptCheckpoint, Saver, SavingFailed, checkpoints, load, read, read_newest
from adana.train.checkpoint_index import sha256_of
from adana.train.run import Interrupted, train
from tests.train.tools import CPU, losses, stop_after


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, text_file):
    """A run with checkpoints at 4 and 8, stopped at 10 without one."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Interrupted):
        train(make(text_file), folder, execution=replace(CPU, save_every=4, keep_last=9), should_stop=stop_after(10))
    shutil.rmtree(folder / "checkpoints" / "step-00000010")
    return folder


def make(text_file):
    from adana.train.recipe import Recipe

    sizes = {"heads": 1, "layers": 1, "seq_len": 32, "batch_size": 2, "steps": 14}
    return Recipe("dana-star-mk4", 3e-3, {"weight_decay": 1.0}, text=(str(text_file),), **sizes)


@pytest.fixture
def copy(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


def truncate(path):
    file = next(path.glob("*.distcp"))
    os.truncate(file, file.stat().st_size // 2)


def flip(path):
    file = next(path.glob("*.distcp"))
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)


def lose(path):
    next(path.glob("*.distcp")).unlink()


def truncate_index(path):
    os.truncate(path / "checkpoint.json", 1000)


def change_index(path):
    file = path / "checkpoint.json"
    file.write_text(file.read_text().replace('"step": 8', '"step": 9', 1))


def lose_index(path):
    (path / "checkpoint.json").unlink()


DAMAGE = {
    truncate: r"step-00000008.__0_0.distcp is corrupt or truncated",
    flip: r"step-00000008.__0_0.distcp is corrupt or truncated",
    lose: r"step-00000008.__0_0.distcp is missing",
    truncate_index: r"step-00000008.checkpoint.json is corrupt or truncated",
    change_index: r"step-00000008.checkpoint.json is corrupt",
    lose_index: r"step-00000008 is not a checkpoint",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__)
def test_a_damaged_checkpoint_is_named_and_refused_and_the_one_before_used_when_asked(damage, copy, text_file):
    damage(copy / "checkpoints" / "step-00000008")
    recipe = make(text_file)
    with pytest.raises(CorruptCheckpoint, match=DAMAGE[damage] + r".*--use-previous"):
        train(recipe, copy, execution=CPU)
    assert list(checkpoints(copy / "checkpoints")) == [4, 8], "who refuses must not touch anything"
    train(recipe, copy, execution=replace(CPU, use_previous=True))
    train(recipe, copy.parent / "whole", execution=CPU)
    assert losses(copy) == losses(copy.parent / "whole")
    assert (copy / "checkpoints" / "corrupt-step-00000008").is_dir()


def test_where_no_checkpoint_is_whole_the_run_does_not_silently_begin_anew(copy, text_file):
    for path in checkpoints(copy / "checkpoints").values():
        truncate(path)
    with pytest.raises(CorruptCheckpoint, match=r"no checkpoint in .* is whole: step-00000008, step-00000004"):
        train(make(text_file), copy, execution=replace(CPU, use_previous=True))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_that_is_loaded_can_run_code(copy, text_file, tmp_path):
    """With checksums made to match: an attacker can do that."""
    marker = tmp_path / "ran"
    path = copy / "checkpoints" / "step-00000008"
    (path / ".metadata").write_bytes(pickle.dumps(Evil(str(marker))))  # where torch's own reader would look
    file, evil = next(path.glob("*.distcp")), tmp_path / "evil.pt"
    torch.save([Evil(str(marker)), torch.zeros(100_000)], evil)  # as long as the longest tensor, or nothing reads it
    data = evil.read_bytes()
    file.write_bytes(data + bytes(max(0, file.stat().st_size - len(data))))
    body = json.loads((path / "checkpoint.json").read_text())
    del body["sha256"]
    body["files"][file.name] = sha256_of(file)
    for one in body["tensors"].values():
        for place in one["places"]:
            place |= {"offset": 0, "length": len(data)}
    write_sealed(path / "checkpoint.json", body)
    with pytest.raises(CorruptCheckpoint, match="cannot be read"):
        train(make(text_file), copy, execution=CPU)
    assert not marker.exists()
    pickle.loads((path / ".metadata").read_bytes()).close()
    assert marker.exists(), "the test's own poison must be poisonous"


def test_an_index_that_points_out_of_its_folder_is_refused(copy):
    path = copy / "checkpoints" / "step-00000008"
    found = read(path)
    name, spec = next(iter(found.tensors.items()))
    body = json.loads((path / "checkpoint.json").read_text())
    del body["sha256"]
    next(iter(body["tensors"].values()))["places"][0]["file"] = "../../../secret"
    write_sealed(path / "checkpoint.json", body)
    with pytest.raises(CorruptCheckpoint, match=r"'../../../secret' of .* is not a file of its folder"):
        read(path)
    with pytest.raises(CorruptCheckpoint, match="not a file of its folder"):
        load(found, {name: torch.zeros(spec.shape, dtype=spec.dtype)})


@pytest.mark.parametrize("asynchronous", [False, True], ids=["at once", "in the background"])
def test_a_full_disk_during_a_save_leaves_the_last_good_checkpoint(asynchronous, copy, text_file):
    """A limit on the size of files makes the write itself fail, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(progress):
        if progress.step == 11:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    execution = replace(CPU, save_every=4, asynchronous=asynchronous)
    try:
        with pytest.raises(SavingFailed, match=r"step 12 could not be written.*File too large.*whole one is of step 8"):
            train(make(text_file), copy, execution=execution, report=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(checkpoints(copy / "checkpoints")) == [4, 8]
    assert not list((copy / "checkpoints").glob(".*")), "nothing half-written stays"
    train(make(text_file), copy, execution=execution)
    train(make(text_file), copy.parent / "whole", execution=CPU)
    assert losses(copy) == losses(copy.parent / "whole")


def test_a_save_that_was_cut_off_is_never_taken_for_a_checkpoint_and_is_cleared_away(copy, text_file):
    root = copy / "checkpoints"
    shutil.copytree(root / "step-00000008", root / ".step-00000012.partial")
    assert list(checkpoints(root)) == [4, 8]
    train(make(text_file), copy, execution=CPU)
    assert not (root / ".step-00000012.partial").exists()


def test_the_checkpoint_appears_last_by_a_rename_after_its_files_are_synced(monkeypatch, tmp_path):
    seen = []
    true_replace, true_fsync = os.replace, os.fsync

    def name(path):
        return "temporary" if Path(path).name.startswith(".adana-") else Path(path).name

    def fsync(descriptor):
        seen.append(f"sync {name(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        true_fsync(descriptor)

    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(f"rename to {name(b)}"), true_replace(a, b)))
    monkeypatch.setattr(os, "fsync", fsync)
    Saver(tmp_path).save(3, {"x": torch.ones(4)}, {})
    folder = "step-00000003"
    assert seen == [
        "sync __0_0.distcp",
        "sync temporary",
        "rename to checkpoint.json",
        f"sync .{folder}.partial",
        f"rename to {folder}",
        f"sync {tmp_path.name}",
    ]


def test_in_the_background_the_tensors_may_change_at_once(tmp_path):
    x = torch.arange(1000.0)
    saver = Saver(tmp_path, asynchronous=True)
    saver.save(1, {"x": x}, {"a": 1})
    x.zero_()
    saver.save(2, {"x": x}, {"a": 2})  # waits for the first
    assert list(checkpoints(tmp_path))[:1] == [1]
    saver.wait()
    for step, expected in ((1, torch.arange(1000.0)), (2, torch.zeros(1000))):
        found = read(checkpoints(tmp_path)[step])
        assert (found.step, found.facts["a"]) == (step, step)
        y = torch.empty(1000)
        load(found, {"x": y})
        assert torch.equal(y, expected)


@pytest.mark.slow
def test_a_run_that_saves_in_the_background_has_the_same_losses_and_checkpoints(text_file, tmp_path):
    recipe = make(text_file)
    for name, asynchronous in (("a", False), ("b", True)):
        train(recipe, tmp_path / name, execution=replace(CPU, save_every=5, asynchronous=asynchronous))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    a, b = (read_newest(tmp_path / name / "checkpoints") for name in ("a", "b"))
    assert a.tensors == b.tensors
    for name, spec in a.tensors.items():
        x, y = torch.empty(spec.shape, dtype=spec.dtype), torch.empty(spec.shape, dtype=spec.dtype)
        load(a, {name: x})
        load(b, {name: y})
        assert torch.equal(x, y), name


def test_a_checkpoint_holds_all_that_decides_what_comes_next(copy):
    found = read(copy / "checkpoints" / "step-00000008")
    state = {name.split(".")[-1] for name in found.tensors if name.startswith("optimizer.")}
    assert state == {"step", "exp_avg", "exp_avg_sq", "tau"}
    assert {name.partition(".")[0] for name in found.tensors} == {"model", "optimizer", "rng"}
    assert found.step == found.facts["state"]["step"] == 8
    assert found.facts["tokens"] == 8 * 64
    assert found.facts["recipe"]["optimizer"] == "dana-star-mk4"
    assert found.facts["groups"][0]["clip_snr"] == 2.0


def test_dtypes_and_odd_shapes_come_back_as_they_were(tmp_path):
    tensors = {
        "scalar": torch.tensor(3.5),
        "bf16": torch.randn(3, 5).bfloat16(),
        "wide": torch.randn(2, 3, dtype=torch.float64),
        "empty": torch.zeros(0, 4),
        "codes": torch.arange(7, dtype=torch.uint8),
        "a.name with spaces": torch.ones(1),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
    }
    Saver(tmp_path).save(1, tensors, {})
    found = read_newest(tmp_path)
    for name, x in tensors.items():
        y = torch.empty(found.tensors[name].shape, dtype=found.tensors[name].dtype)
        load(found, {name: y})
        assert y.dtype == x.dtype, name
        assert torch.equal(y, x), name
    with pytest.raises(ValueError, match=r"bf16 of shape \(3, 6\) is wanted, the checkpoint has shape \(3, 5\)"):
        load(found, {"bf16": torch.zeros(3, 6)})
    with pytest.raises(ValueError, match=r"other of shape .* does not have it"):
        load(found, {"other": torch.zeros(3)})


def test_keep_last_keep_every_and_what_is_kept_for_ever(tmp_path):
    saver = Saver(tmp_path, keep_last=2, keep_every=4)
    for step in range(1, 11):
        saver.save(step, {"x": torch.ones(1)}, {}, keep=step == 3)
    assert list(checkpoints(tmp_path)) == [3, 4, 8, 9, 10]
