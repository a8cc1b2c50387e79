"""A run goes on only with what is its own, and a run that is refused leaves nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace

import pytest

from adana.cli import main
from adana.data.text import text_files
from adana.files import Damaged, write_sealed
from adana.train import lock as locks
from adana.train.checkpoint import CorruptCheckpoint, Saver, checkpoints
from adana.train.folder import Result, read_result, write_result
from adana.train.lock import locked
from adana.train.run import Interrupted, train
from tests.train.tools import CPU, stop_after

SAVING = replace(CPU, save_every=4, keep_last=9)


def stopped(recipe, folder, at=10):
    with pytest.raises(Interrupted):
        train(recipe, folder, execution=SAVING, should_stop=stop_after(at))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": 2e-2}, "its lr is 0.02, not 0.003"),
        ({"seed": 7}, "its seed is 7, not 0"),
        ({"options": {"weight_decay": 1.0, "kappa": 0.3}}, "its options is"),
        ({"steps": 30}, "its steps is 30, not 24"),
        ({"optimizer": "adamw-dw"}, "its optimizer is 'adamw-dw', not 'adana'"),
    ],
    ids=["lr", "seed", "kappa", "T", "optimizer"],
)
def test_a_checkpoint_of_another_run_is_refused_and_the_one_before_used_when_asked(changes, words, tiny, tmp_path):
    mine = stopped(tiny(), tmp_path / "mine")
    other = stopped(replace(tiny(), **changes), tmp_path / "other")
    newest = "step-00000010"
    shutil.rmtree(mine / "checkpoints" / newest)
    shutil.copytree(other / "checkpoints" / newest, mine / "checkpoints" / newest)
    with pytest.raises(CorruptCheckpoint, match=rf"{newest} is a checkpoint of another run: {words}.*--use-previous"):
        train(tiny(), mine, execution=CPU)
    went_on = train(tiny(), mine, execution=replace(CPU, use_previous=True))
    assert went_on.final_loss == train(tiny(), tmp_path / "whole", execution=CPU).final_loss


@pytest.mark.parametrize("kind", ["text", "data", "library"])
def test_other_data_is_refused_with_both_hashes_before_and_after_the_end(kind, tiny, tmp_path, monkeypatch):
    """A text file, a folder of tokens, and the standard library of another Python."""
    text, folder = tmp_path / "a.txt", tmp_path / "folder"

    def change(words):
        text.write_text(words * 2000)
        if kind == "data":
            shutil.rmtree(folder, ignore_errors=True)
            assert main(["data", "build", "--source", "text", "--files", str(text), "--out", str(folder)]) == 0

    change("some words to learn ")
    if kind == "library":
        monkeypatch.setattr("adana.data.text.standard_library", lambda: text_files([text]))
    recipe = tiny(text=(str(text),) if kind == "text" else (), data=str(folder) if kind == "data" else None)
    stopped(recipe, tmp_path / "cut")
    train(recipe, tmp_path / "done", execution=CPU)
    data = json.loads((tmp_path / "cut" / "run.json").read_text())["data_sha256"]
    change("others that were not there ")
    for name in ("cut", "done"):
        before = sorted((tmp_path / name).rglob("*"))
        other = ("the standard library of Python", "that of Python") if kind == "library" else ("other data", ".*a.txt")
        words = rf"{name} began with {other[0]}.* \(sha256 {data[:12]}\), and {other[1]}.* has [0-9a-f]{{12}}: .* anew"
        with pytest.raises(ValueError, match=words):
            train(recipe, tmp_path / name, execution=CPU)
        assert sorted((tmp_path / name).rglob("*")) == before


@pytest.mark.parametrize(
    "changes",
    [{"init_from": "/nowhere"}, {"vocab_size": 5}, {"seed": 10**21}, {"heads": 20_000}, {"options": {"colour": 1}}],
    ids=str,
)
def test_a_refused_run_leaves_no_folder(changes, tiny, tmp_path):
    with pytest.raises((ValueError, TypeError)):
        train(replace(tiny(), **changes), tmp_path / "new" / "run", execution=CPU)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"recipe": []}', "[" * 100_000, "null"])
def test_a_damaged_run_json_is_named_and_written_again_once_deleted(content, tiny, tmp_path):
    folder = stopped(tiny(), tmp_path / "run")
    (folder / "run.json").write_text(content)
    with pytest.raises(Damaged, match=r"run.json is damaged .*: delete it, and the command .* writes it again"):
        train(tiny(), folder, execution=CPU)
    (folder / "run.json").unlink()
    assert train(tiny(), folder, execution=CPU).final_loss is not None


def test_any_byte_altered_in_a_result_is_seen(tiny, tmp_path):
    train(tiny(), tmp_path, execution=replace(CPU, keep_final=False))
    path = tmp_path / "result.json"
    whole, told = path.read_bytes(), read_result(tmp_path)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            assert read_result(tmp_path) == told, "a space may become another that says the same"
        except Damaged as error:
            assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "changes",
    [{"final_loss": -5.0}, {"final_loss": None}, {"seconds": -1.0}, {"skipped": -1}, {"curve": [(4, 1.0), (4, 1.0)]}],
    ids=str,
)
def test_a_result_that_no_run_ends_with_is_refused(changes, tiny, tmp_path):
    result = Result(2.0, None, [(24, 2.0)], [], 1.0, "hash")
    (tmp_path / "run.json").write_text(json.dumps({"recipe": tiny().to_json()}))
    write_result(tmp_path, tiny(), replace(result, **changes))
    with pytest.raises(Damaged, match=r"result.json is damaged .*: delete it, and the run is done again"):
        read_result(tmp_path)
    write_result(tmp_path, tiny(seed=1), result)
    with pytest.raises(Damaged, match="it is the result of another recipe"):
        read_result(tmp_path)


def test_checkpoints_are_removed_only_after_the_result_is_there(monkeypatch, tiny, tmp_path):
    true = Saver.remove_all

    def look(self):
        assert (tmp_path / "result.json").exists()
        true(self)

    monkeypatch.setattr(Saver, "remove_all", look)
    train(tiny(), tmp_path, execution=replace(SAVING, keep_final=False))
    assert not (tmp_path / "checkpoints").exists()


def test_the_same_step_may_be_corrupt_as_often_as_it_likes(tiny, tmp_path):
    newest = tmp_path / "checkpoints" / "step-00000008"
    stopped(tiny(), tmp_path, at=9)
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000009")
    execution = replace(SAVING, use_previous=True)
    for _ in range(3):
        (newest / "checkpoint.json").write_text("")
        with pytest.raises(Interrupted):
            train(tiny(), tmp_path, execution=execution, should_stop=stop_after(5))
        shutil.rmtree(tmp_path / "checkpoints" / "step-00000009")
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("corrupt-*"))
    assert names == ["corrupt-step-00000008", "corrupt-step-00000008.2", "corrupt-step-00000008.3"]


def test_what_killed_runs_left_goes_and_keep_last_holds_at_every_start(tiny, tmp_path):
    train(tiny(), tmp_path, execution=SAVING)
    root = tmp_path / "checkpoints"
    shutil.copytree(root / "step-00000008", root / ".step-00000004.0a0a0a0a.removed")
    (root / ".step-00000099.partial").symlink_to(tmp_path)
    (tmp_path / f".adana-{'0' * 16}-999999999-{locks.socket.gethostname()}.tmp").touch()
    train(tiny(), tmp_path, execution=replace(CPU, keep_last=1))
    assert list(checkpoints(root)) == [24]
    assert not [path for path in (*tmp_path.iterdir(), *root.iterdir()) if path.name.startswith((".step", ".adana"))]


def test_a_folder_that_is_removed_under_a_run_is_an_error_and_not_a_success(tiny, tmp_path):
    def remove(progress):
        if progress.step == 8:
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(OSError, match="removed or replaced") as found:
        train(tiny(), tmp_path / "run", execution=CPU, report=remove)
    assert found.value.filename == str(tmp_path / "run")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_named_and_gone_on_with(code, monkeypatch, tiny, tmp_path):
    def flock(file, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    monkeypatch.setattr(locks, "_warned", set())
    with pytest.warns(UserWarning, match=rf"{tmp_path}: its file system has no locks .*start no second process"):
        result = train(tiny(), tmp_path, execution=CPU)
    assert result.final_loss is not None


def test_a_lock_is_not_written_through_a_link(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"), locked(tmp_path / "run"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "../run.json", ""])
def test_a_name_in_an_index_that_is_no_file_of_its_folder_is_refused_unread(name, tiny, tmp_path):
    stopped(tiny(), tmp_path)
    newest = tmp_path / "checkpoints" / "step-00000010"
    os.mkfifo(newest / "pipe")
    body = json.loads((newest / "checkpoint.json").read_text())
    del body["sha256"]
    body["files"][name] = "0" * 64
    write_sealed(newest / "checkpoint.json", body)
    with pytest.raises(CorruptCheckpoint, match=r"is not a file of its folder|is no regular file"):
        train(tiny(), tmp_path, execution=CPU)


def test_ctrl_c_during_a_save_is_an_interrupt_that_says_what_is_whole(monkeypatch, tiny, tmp_path):
    from adana.train import checkpoint, checkpoint_index

    def interrupt(path):
        raise KeyboardInterrupt

    def strike(progress):
        if progress.step == 7:
            monkeypatch.setattr(checkpoint, "sha256_of", interrupt)

    assert checkpoint_index.sha256_of is checkpoint.sha256_of
    with pytest.raises(KeyboardInterrupt, match="step 8 was not written; the last whole one is of step 4"):
        train(tiny(), tmp_path, execution=SAVING, report=strike)
    assert list(checkpoints(tmp_path / "checkpoints")) == [4]
