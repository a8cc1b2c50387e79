from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adana import files
from adana.files import (
    Damaged,
    append_to,
    naming,
    parse_json,
    read_json,
    remove_leftovers,
    replacing,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_synced_renamed_and_its_folder_synced_in_this_order(monkeypatch, tmp_path):
    seen = []
    true_fsync, true_replace = os.fsync, os.replace

    def fsync(descriptor):
        where = os.readlink(f"/proc/self/fd/{descriptor}")
        seen.append("sync folder" if where == str(tmp_path) else "sync file")
        true_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append("rename"), true_replace(a, b)))
    write_json(tmp_path / "a.json", {"x": 1})
    assert seen == ["sync file", "rename", "sync folder"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_there_stays_when_writing_fails(error, tmp_path):
    (tmp_path / "a").write_text("old")

    def write():
        with replacing(tmp_path / "a") as file:
            file.write(b"half of the n")
            raise error

    with pytest.raises(error):
        write()
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_an_error_of_writing_names_the_file_and_not_the_temporary_one(monkeypatch, tmp_path):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileNotFoundError) as found:
        write_text(tmp_path / "no" / "a", "x")
    assert found.value.filename == str(tmp_path / "no" / "a")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as found:
        write_text(tmp_path / "a", "x")
    assert found.value.filename == str(tmp_path / "a")
    assert names(tmp_path) == []
    with pytest.raises(OSError, match="quota") as other, naming("b"):
        raise OSError(errno.EDQUOT, "quota", "c")
    assert other.value.filename == "c", "a file that an error names already is that one"


def test_a_name_of_255_bytes_can_be_written_and_one_of_300_is_refused_by_name(tmp_path):
    write_text(tmp_path / ("x" * 255), "a")
    with pytest.raises(OSError, match="too long") as found:
        write_text(tmp_path / ("x" * 300), "a")
    assert found.value.filename.endswith("x" * 300)


def test_nothing_is_written_through_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "a").symlink_to(victim)
    write_text(tmp_path / "a", "new")
    assert not (tmp_path / "a").is_symlink(), "the link itself is replaced"
    (tmp_path / "link").symlink_to(victim)
    os.link(victim, tmp_path / "hard")
    for name, why in (("link", "symbolic link"), ("hard", "hard link")):
        with pytest.raises(OSError, match=why) as found:
            append_to(tmp_path / name)
        assert found.value.filename == str(tmp_path / name)
    assert victim.read_text() == "precious"


def test_a_device_or_a_pipe_is_neither_replaced_nor_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OSError, match="device or a pipe"):
            write_text(path, "x")
        with pytest.raises(OSError, match="device or a pipe"):
            read_json(path)
    with pytest.raises(OSError, match="no regular file"):
        append_to(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "x")
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path)


def test_temporary_files_of_killed_processes_go_and_those_being_written_stay(tmp_path):
    script = (
        "import os, signal, sys\nfrom adana.files import replacing\n"
        "with replacing(sys.argv[1]) as file:\n    file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    assert len(names(tmp_path)) == 1
    host = socket.gethostname()
    mine = f".adana-{'0' * 16}-{os.getpid()}-{files._HOST}.tmp"
    young, old = (f".adana-{digit * 16}-1-other{host}.tmp" for digit in "12")
    for name in (mine, young, old, ".adana-notes.tmp", "b"):
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (time.time() - 2e5,) * 2)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([mine, young, ".adana-notes.tmp", "b"])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not JSON: Expecting value: line 1"),
        (b'{"a": 1', "it is not JSON: Expecting ',' delimiter"),
        (b"\xff\xfe{", "it is not UTF-8 text"),
        (b"[1]", "it holds a list, not an object"),
        (b"null", "it holds null, not an object"),
        (b"[" * 100_000, "it is nested deeper than 64 levels"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "it is nested deeper than 64 levels"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it has a whole number of 5,000 digits"),
    ],
)
def test_a_damaged_file_is_named_with_why_and_what_to_do(content, why, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(Damaged) as found:
        read_json(path, then="delete it")
    assert str(found.value).startswith(f"{path} is damaged ({why}")
    assert str(found.value).endswith("): delete it")


def test_a_file_is_not_read_beyond_its_bound(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(Damaged, match=r"a.json is larger than the 1,000 bytes"):
        read_json(tmp_path / "a.json", most=1000)


def test_depth_is_counted_and_not_size():
    assert parse_json("[" * 64 + "]" * 64)
    with pytest.raises(ValueError, match="deeper"):
        parse_json("[" * 65 + "[]" + "]" * 65)
    assert len(parse_json("[" + ",".join("[]" for _ in range(10_000)) + "]")) == 10_000
